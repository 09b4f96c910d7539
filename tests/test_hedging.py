"""The parts of the estimate put together, where missing features and what they leave in rows are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_saes import orthonormal_features

from hedgebench.hedging import (
    BATCHES,
    Fit,
    fit,
    hedging,
    hedging_of,
    jackknife,
    owed_share,
    owing_nothing,
    refit,
    signed_root,
    sketched,
)
from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import LatentSample, csr
from hedgebench.modulation import modulation, moment_norms
from hedgebench.sparse_growth import Missing
from hedgebench.types import CannotMeasure

N, D, M = 6000, 40, 6
FEATURES = orthonormal_features(D, D, torch.Generator().manual_seed(0)).float()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sparse(f: torch.Tensor) -> torch.Tensor:
    return csr((f != 0).sum(1), f.nonzero()[:, 1], f[f != 0], f.shape[1])


def sample_of(x: torch.Tensor, f: torch.Tensor, size: int = 20) -> LatentSample:
    """Documents of equal size, one in each half in turn."""
    document = torch.arange(len(x)) // size
    return LatentSample(x, sparse(f), document, document % 2 == 1, 0.0, len(x))


def fires(p: torch.Tensor, seed: int) -> torch.Tensor:
    return (torch.rand(p.shape, generator=seeded(seed)) < p).float()


def parts(given: float = 0.4, alone: float = 0.05) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, features of which each follows one latent, and independent ones."""
    f = fires(torch.full((N, M), 0.15), 1) * (1 + 0.1 * torch.randn(N, M, generator=seeded(2)))
    return f, fires(torch.where(f > 0, given, alone), 3), fires(torch.full((N, D - 2 * M), 0.04), 4)


F, FOLLOWERS, CROWD = parts()
X = torch.cat([F, FOLLOWERS, CROWD], dim=1) @ FEATURES


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit(sample_of(X, F))


def known(codes: torch.Tensor, atoms: torch.Tensor) -> Missing:
    return Missing(atoms, codes, 1.0)


# --- fit ---


def test_a_fit_is_least_squares_on_all_tokens_and_on_each_half(fitted):
    second = sample_of(X, F).half
    whole = LatentRegression(F)
    torch.testing.assert_close(fitted.rows, whole.coefficients(X))
    torch.testing.assert_close(fitted.r, whole.residual(X), atol=1e-5, rtol=1e-5)
    assert torch.equal(fitted.x, X)
    for half, own in enumerate((~second, second)):
        assert torch.equal(fitted.tokens[half], own.nonzero()[:, 0])
        torch.testing.assert_close(
            fitted.halves[half].coefficients(X[own]), LatentRegression(F[own]).coefficients(X[own])
        )
        assert torch.equal(fitted.residuals[half], fitted.r[own])


# --- the share ---


def halves_share(fitted: Fit, follower: torch.Tensor) -> torch.Tensor:
    """[M]: the share in closed form, of the halves' coefficients of each latent's follower."""
    own = [
        half.coefficients(follower[tokens]).diagonal()
        for half, tokens in zip(fitted.halves, fitted.tokens, strict=True)
    ]
    squared = own[0] * own[1]
    return (squared / (1 + squared)).sqrt()


def test_known_features_give_the_share_in_closed_form(fitted):
    missing = known(FOLLOWERS, FEATURES[M : 2 * M])
    # what is independent leaves sampling noise in both parts of a row
    found = owed_share(fitted, missing, torch.ones(M, dtype=torch.bool))
    torch.testing.assert_close(found, halves_share(fitted, FOLLOWERS), atol=0.02, rtol=0)


def test_the_share_is_that_of_products_of_halves_where_all_that_is_missing_is_known(fitted):
    every = known(torch.cat([FOLLOWERS, CROWD], dim=1), FEATURES[M:])
    directions = FEATURES[M : 2 * M].double()
    halves = list(zip(fitted.halves, fitted.tokens, strict=True))
    owed = [half.coefficients(FOLLOWERS[tokens]) @ directions for half, tokens in halves]
    rest = [half.coefficients(X[tokens]) - part for (half, tokens), part in zip(halves, owed, strict=True)]
    squared, left = (owed[0] * owed[1]).sum(1), (rest[0] * rest[1]).sum(1)
    found = owed_share(fitted, every, torch.arange(D - M) < M)
    torch.testing.assert_close(found, (squared / (squared + left)).sqrt(), atol=1e-3, rtol=0)


def test_features_that_do_not_count_are_owed_nothing(fitted):
    missing = known(FOLLOWERS, FEATURES[M : 2 * M])
    assert owed_share(fitted, missing, torch.zeros(M, dtype=torch.bool)).abs().max() < 1e-9
    some = torch.tensor([True, False] * (M // 2))
    found = owed_share(fitted, missing, some)
    wanted = halves_share(fitted, FOLLOWERS)
    torch.testing.assert_close(found[some], wanted[some], atol=0.03, rtol=0)
    assert found[~some].abs().max() < 0.05 < 0.2 < wanted.min()


def test_the_codes_unit_does_not_matter(fitted):
    every = torch.ones(M, dtype=torch.bool)
    plain, scaled = (owed_share(fitted, known(c * FOLLOWERS, FEATURES[M : 2 * M]), every) for c in (1.0, 25.0))
    torch.testing.assert_close(scaled, plain, atol=1e-4, rtol=1e-3)


def test_features_that_are_looked_for_give_the_share_of_those_that_are_there(fitted):
    found = hedging(fitted, seeded(), 40)
    torch.testing.assert_close(found.owed, halves_share(fitted, FOLLOWERS), atol=0.04, rtol=0)
    assert found.counted.all()
    torch.testing.assert_close(found.owed, owed_share(fitted, found.missing, found.counted))
    cosines = FEATURES[M : 2 * M] @ found.missing.atoms.T
    assert cosines.amax(dim=1).min() > 0.97


def test_a_latents_own_feature_does_not_count_where_it_fires_without_the_latent():
    heard = F * fires(torch.full(F.shape, 0.6), 9)
    found = hedging(
        fit(sample_of(torch.cat([F, CROWD], dim=1) @ torch.cat([FEATURES[:M], FEATURES[2 * M :]]), heard)), seeded(), 40
    )
    own = (found.missing.atoms @ FEATURES[:M].T).amax(dim=1) > 0.9
    assert own.any()
    assert not found.counted[own].any()
    assert found.owed.abs().max() < 0.12


# --- where nothing is owed ---


@pytest.fixture(scope="module")
def nothing(fitted) -> Fit:
    return owing_nothing(fitted, hedging(fitted, seeded(), 40), seeded())


def test_where_nothing_is_owed_the_residual_is_what_is_missing_with_a_sign_at_random(fitted, nothing):
    strengths, there = nothing.r @ FEATURES[M : 2 * M].T, FOLLOWERS > 0
    assert float((strengths[there].abs() - 1).abs().mean()) < 0.1
    assert float(strengths[~there].abs().mean()) < 0.1
    assert float((strengths[there] > 0).float().mean()) == pytest.approx(0.5, abs=0.05)
    own = FEATURES[:M].T.double()
    torch.testing.assert_close(nothing.rows @ own, fitted.rows @ own, atol=0.02, rtol=0)
    assert float((nothing.rows @ FEATURES[M : 2 * M].T.double()).abs().max()) < 0.05


def test_nothing_is_read_where_nothing_is_owed(nothing):
    assert hedging(nothing, seeded(), 40).owed.abs().max() < 0.06


def test_the_variance_follows_latents_where_nothing_is_owed_as_it_did(fitted, nothing):
    weights = [half.weights(torch.arange(M)) for half in fitted.halves]
    before, after = (moment_norms(*one.residuals, *weights, 2) for one in (fitted, nothing))
    assert (after > before).all()  # of spikes of their full size


def test_a_sign_on_the_residual_itself_leaves_hedging_there(fitted):
    signs = torch.randint(2, (N, 1), generator=seeded(5)) * 2 - 1
    flipped = refit(fitted, fitted.x - fitted.r + signs * fitted.r)
    assert float(hedging(flipped, seeded(), 40).owed.mean()) > 0.25


def test_an_sae_that_leaves_only_zeros_is_refused(fitted):
    with pytest.raises(CannotMeasure, match="nothing over"):
        hedging(fitted._replace(r=torch.zeros_like(fitted.r)), seeded(), 20)


# --- two witnesses ---


def of(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def share(low: float) -> st.SearchStrategy[float]:
    return st.floats(low, 1).map(lambda value: round(value, 3))


LATENTS = st.lists(st.tuples(share(-1), share(-1) | st.just(math.nan)), min_size=1, max_size=12)
"""What each witness says of latents."""


def both_speak(owed: torch.Tensor, consistent: torch.Tensor) -> bool:
    return bool(((owed > 0) & (consistent > 0)).any())


@settings(deadline=None)
@given(LATENTS)
def test_the_mean_is_that_of_what_is_owed_whatever_the_other_witness_says(latents):
    owed, consistent = map(of, zip(*latents, strict=True))
    assert float(hedging_of(owed, consistent).mean()) == pytest.approx(float(owed.mean()), abs=1e-12)


@settings(deadline=None)
@given(LATENTS)
def test_latents_of_which_either_witness_says_nothing_hedge_nothing_and_what_is_owed_below_zero_stays(latents):
    owed, consistent = map(of, zip(*latents, strict=True))
    assume(both_speak(owed, consistent))
    found = hedging_of(owed, consistent)
    assert torch.equal(found[owed <= 0], owed[owed <= 0])
    says = (owed > 0) & (consistent > 0)
    assert found[(owed > 0) & ~says].eq(0).all()
    assert (found[says] > 0).all()


@settings(deadline=None)
@given(LATENTS, st.floats(1e-6, 1e6))
def test_the_unit_of_the_other_witness_does_not_matter(latents, scale):
    owed, consistent = map(of, zip(*latents, strict=True))
    torch.testing.assert_close(hedging_of(owed, scale * consistent), hedging_of(owed, consistent))


@settings(deadline=None)
@given(LATENTS)
def test_where_the_other_witness_has_no_number_it_says_nothing(latents):
    owed, consistent = map(of, zip(*latents, strict=True))
    assert torch.equal(hedging_of(owed, consistent), hedging_of(owed, consistent.where(consistent.isfinite(), 0.0)))


@settings(deadline=None)
@given(st.lists(share(-1), min_size=1, max_size=12), st.sampled_from([0.0, -0.5, math.nan]))
def test_where_the_other_witness_says_nothing_of_any_latent_what_is_owed_stands(owed, said):
    assert torch.equal(hedging_of(of(owed), torch.full((len(owed),), said).double()), of(owed))


def test_latents_have_their_parts_as_the_cube_root_of_the_product():
    owed, consistent = of([0.1, 0.2, 0.4, -0.3]), of([0.4, 0.2, 0.05, 0.9])
    parts = (owed * consistent)[:3] ** (1 / 3)
    wanted = torch.cat([parts * 0.7 / parts.sum(), owed[3:]])
    torch.testing.assert_close(hedging_of(owed, consistent), wanted)


def test_witnesses_that_agree_change_nothing():
    """Of one feature with coefficient h on its latent the one says h, the other h²."""
    owed = of([0.05, 0.3, 0.0, 0.6])
    torch.testing.assert_close(hedging_of(owed, 3 * owed.square()), owed)
    assert hedging_of(of([0.2]), of([0.01])).tolist() == pytest.approx([0.2])


# --- the sketch ---


def test_the_sketch_is_modulation_within_its_own_error(fitted):
    weights = [half.weights(torch.arange(M)) for half in fitted.halves]
    found, error = sketched(fitted, fitted.residuals, seeded(), 512)
    exactly = moment_norms(*fitted.residuals, *weights, 2) - found.isotropic
    assert error.shape == (M,) and (error > 0).all()
    assert ((found.squared - exactly).abs() < 5 * error).all()
    assert (exactly > 0).all()
    many = torch.stack([sketched(fitted, fitted.residuals, seeded(seed), 64)[0].squared for seed in range(1, 25)])
    told = torch.stack([sketched(fitted, fitted.residuals, seeded(seed), 64)[1] for seed in range(1, 25)])
    assert float((many.std(dim=0) / told.square().mean(dim=0).sqrt()).mean()) == pytest.approx(1, abs=0.35)
    assert float(error.mean() / told.mean()) == pytest.approx(8**-0.5, rel=0.5)


def test_the_sketch_is_the_mean_of_batches_and_consistency_is_told_once_where_it_is_wanted(fitted):
    plain, _ = sketched(fitted, fitted.residuals, seeded(), 64)
    assert plain.consistent is None
    wanted, _ = sketched(fitted, fitted.residuals, seeded(), 64, consistent=True)
    assert torch.equal(plain.squared, wanted.squared)
    generator = seeded()
    each = [modulation(fitted.halves, fitted.residuals, fitted.rows, generator, 64 // BATCHES) for _ in range(BATCHES)]
    torch.testing.assert_close(plain.squared, torch.stack([one.squared for one in each]).mean(dim=0))
    torch.testing.assert_close(wanted.consistent, each[0].consistent)
    assert not torch.equal(sketched(fitted, fitted.residuals, seeded(1), 64)[0].squared, plain.squared)


def test_roots_keep_their_sign():
    found = signed_root(torch.tensor([-4.0, 0.0, 9.0, -0.25]))
    assert found.tolist() == [-2, 0, 3, -0.5]


# --- the jackknife ---


@pytest.mark.parametrize("groups", [2, 10, 20])
def test_the_jackknife_of_a_mean_is_the_standard_error_of_the_groups_means(groups):
    sample = sample_of(X[:600], F[:600], size=15)
    left_out = []

    def mean(rows: torch.Tensor) -> torch.Tensor:
        assert (rows.diff() > 0).all()
        out = torch.ones(600, dtype=torch.bool)
        out[rows] = False
        left_out.append(out)
        return X[rows].double().mean(dim=0)

    found = jackknife(sample, mean, groups, seeded())
    assert torch.stack(left_out).sum(dim=0).eq(1).all()
    for out in left_out:
        assert out.view(40, 15).float().std(dim=1).eq(0).all()  # whole documents
        assert int(out.sum()) == 600 // groups
        assert int((out & sample.half).sum()) == 300 // groups  # as many of either half
    means = torch.stack([X[:600][out].double().mean(dim=0) for out in left_out])
    torch.testing.assert_close(found, means.std(dim=0) / groups**0.5)


def test_more_groups_than_half_of_the_text_has_documents_are_refused():
    sample = sample_of(X[:600], F[:600], size=15)
    with pytest.raises(CannotMeasure, match="half of the text is 20 documents, and 21 must be: give more text"):
        jackknife(sample, lambda rows: X[rows].mean(), 21, seeded())


def test_conjugate_gradients_owe_what_the_exact_solution_does(fitted):
    iterative = [LatentRegression(one.f, exact_up_to=0) for one in (fitted.whole, *fitted.halves)]
    rows, r = iterative[0].fitted(fitted.x)
    same = fitted._replace(whole=iterative[0], halves=tuple(iterative[1:]), rows=rows, r=r)
    exact, found = (hedging(one, seeded(), 60) for one in (fitted, same))
    torch.testing.assert_close(found.owed, exact.owed, atol=0.01, rtol=0)


def test_the_jackknife_deals_documents_at_random_and_a_constant_has_no_error():
    sample = sample_of(X[:600], F[:600], size=15)
    first, again, other = (jackknife(sample, lambda rows: X[rows, 0].mean(), 4, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert float(jackknife(sample, lambda rows: torch.tensor(3.0), 4, seeded())) == 0
