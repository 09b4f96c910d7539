"""Hedging that is added: rows owe what they were made to, and the control nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_saes import orthonormal_features
from scipy.stats import mannwhitneyu

from hedgebench.hedging import Fit, fit
from hedgebench.injection import RATE, auc, inject
from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import LatentSample, csr
from hedgebench.types import CannotMeasure

N, D, M, SELDOM, LOUD = 8000, 60, 30, 28, 29
"""The last latents: one that fires too seldom, and one whose row is very large."""
FEATURES = orthonormal_features(D, D, torch.Generator().manual_seed(0)).float()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents() -> torch.Tensor:
    p = torch.full((N, M), 0.12)
    p[:, SELDOM] = 0.01
    return (torch.rand(N, M, generator=seeded(1)) < p) * (1 + 0.1 * torch.randn(N, M, generator=seeded(2)))


F = latents()
SIZES = torch.ones(M).index_fill(0, torch.tensor([LOUD]), 50.0)
X = F * SIZES @ FEATURES[:M] + (torch.rand(N, D - M, generator=seeded(3)) < 0.04).float() @ FEATURES[M:]


def sparse(f: torch.Tensor) -> torch.Tensor:
    return csr((f != 0).sum(1), f.nonzero()[:, 1], f[f != 0], f.shape[1])


def fitted(f: torch.Tensor = F, layout=sparse) -> Fit:
    document = torch.arange(N) // 20
    return fit(LatentSample(X, layout(f), document, document % 2 == 1, 0.0, N))


@pytest.fixture(scope="module")
def whole() -> Fit:
    return fitted()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_the_new_best_row_owes_its_share_to_the_feature_and_the_controls_row_nothing(whole, share):
    added = inject(whole, share, 4, seeded())
    before = LatentRegression(F).coefficients(X)[added.latents]
    rows = LatentRegression(F).coefficients(added.x)[added.latents]
    along = (added.directions * (rows - before)).sum(dim=1)
    torch.testing.assert_close(
        along / (along.square() + before.square().sum(dim=1)).sqrt(),
        torch.full_like(along, share),
        atol=1e-4,
        rtol=1e-4,
    )
    # a direction at random is not quite orthogonal to the row that was there
    fraction = ((added.directions * rows).sum(dim=1) / rows.norm(dim=1)).abs()
    assert float(fraction.mean()) == pytest.approx(share, abs=0.12)
    control = LatentRegression(F).coefficients(added.control)[added.latents]
    owed = (added.directions * (control - before)).sum(dim=1) / before.norm(dim=1)
    assert owed.abs().max() < 0.15 * along.max() + 0.02
    assert owed.abs().mean() < 0.1 * float(along.mean())


def test_rows_of_other_latents_owe_nothing(whole):
    added = inject(whole, 0.3, 4, seeded())
    change = (LatentRegression(F).coefficients(added.x) - whole.rows)[added.others]
    assert (change @ added.directions.double().T).abs().max() < 0.08
    assert change.norm(dim=1).mean() < 0.08


def test_the_feature_is_there_on_a_share_of_its_latents_tokens_with_its_size_and_nowhere_else(whole):
    added = inject(whole, 0.3, 4, seeded())
    strength = (added.x - X) @ added.directions.T
    on = F[:, added.latents] > 0
    assert strength[~on].abs().max() < 1e-3
    there = strength > 1e-3
    rates = there.sum(dim=0) / on.sum(dim=0)
    torch.testing.assert_close(rates, torch.full_like(rates, RATE), atol=0.06, rtol=0)
    torch.testing.assert_close(strength, there * added.sizes.to(strength), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("alone", "spread"), [(0.05, 0.0), (0.0, 0.4), (0.05, 0.4)])
def test_a_feature_may_be_there_without_its_latent_and_vary_in_strength_and_the_row_owes_the_same_share(
    whole, alone, spread
):
    added = inject(whole, 0.3, 4, seeded(), alone, spread)
    strength = (added.x - X) @ added.directions.T
    fires = F[:, added.latents] > 0
    there = strength > 1e-3
    for on, rate in ((fires, RATE), (~fires, alone)):
        rates = (there & on).sum(dim=0) / on.sum(dim=0)
        torch.testing.assert_close(rates, torch.full_like(rates, rate), atol=0.06 if rate == RATE else 0.01, rtol=0)
    sizes = strength[there] / (there * added.sizes.to(strength))[there]
    assert float(sizes.mean()) == pytest.approx(1, abs=0.03)
    assert float(sizes.std()) == pytest.approx(spread, abs=0.03)
    before, rows = (LatentRegression(F).coefficients(x)[added.latents] for x in (X, added.x))
    along = (added.directions * (rows - before)).sum(dim=1)
    share = along / (along.square() + before.square().sum(dim=1)).sqrt()
    torch.testing.assert_close(share, torch.full_like(share, 0.3), atol=0.02, rtol=0)


def test_the_control_has_the_same_second_moment_and_signs_at_random(whole):
    added = inject(whole, 0.3, 4, seeded())
    strength, signed = ((x - X) @ added.directions.T for x in (added.x, added.control))
    torch.testing.assert_close(signed.abs(), strength, atol=1e-3, rtol=1e-3)
    there = strength > 1e-3
    positive = (signed > 1e-3).sum(dim=0) / there.sum(dim=0)
    torch.testing.assert_close(positive, torch.full_like(positive, 0.5), atol=0.1, rtol=0)


def test_latents_are_chosen_once_from_those_that_fire_often_and_are_of_ordinary_size(whole):
    added = inject(whole, 0.3, 4, seeded())
    chosen, others = added.latents.tolist(), added.others.tolist()
    assert len(chosen) == 28 // 4
    assert sorted(chosen + others) == list(range(28))
    torch.testing.assert_close(added.directions @ added.directions.T, torch.eye(len(chosen)), atol=1e-5, rtol=0)
    assert added.sizes.shape == (len(chosen),) and (added.sizes > 0).all()


def test_a_generator_decides_everything_and_nothing_else_is_touched(whole):
    before, x = torch.get_rng_state(), X.clone()
    first, again, other = (inject(whole, 0.3, 4, seeded(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(*both) for both in zip(first, again, strict=True))
    assert not torch.equal(first.latents, other.latents) and not torch.equal(first.directions, other.directions)
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(X, x)


def test_dense_and_sparse_latents_are_the_same(whole):
    dense = fitted(layout=lambda f: f)
    for one, other in zip(inject(whole, 0.3, 4, seeded()), inject(dense, 0.3, 4, seeded()), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_unit_of_a_latent_does_not_matter(whole):
    scaled = inject(fitted(F * 10 ** torch.linspace(-2, 2, M)), 0.3, 4, seeded())
    plain = inject(whole, 0.3, 4, seeded())
    assert torch.equal(scaled.latents, plain.latents)
    torch.testing.assert_close(scaled.x, plain.x, atol=1e-3, rtol=1e-3)


def test_too_few_latents_are_refused_with_how_many_there_are(whole):
    with pytest.raises(CannotMeasure, match=r"28 latents .* 30 are needed"):
        inject(whole, 0.3, 10, seeded())
    assert len(inject(whole, 0.3, 9, seeded()).latents) == 3
    with pytest.raises(CannotMeasure, match="0 latents"):
        inject(fitted(F * (torch.arange(N)[:, None] < 1000)), 0.3, 4, seeded())


# --- auc ---


def test_all_above_all_below_and_all_alike():
    high, low = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1.0, 2.0])
    assert (auc(high, low), auc(low, high), auc(low, low)) == (1, 0, 0.5)
    assert auc(torch.ones(3), torch.ones(5)) == 0.5
    assert auc(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])) == pytest.approx(3.5 / 4)


values = st.lists(st.integers(-4, 4), min_size=1, max_size=20)


@settings(max_examples=50, deadline=None)
@given(values, values)
def test_the_auc_is_the_u_statistic_over_its_largest_value(above, below):
    wanted = mannwhitneyu(above, below).statistic / (len(above) * len(below))
    assert auc(torch.tensor(above).double(), torch.tensor(below).double()) == pytest.approx(float(wanted))
