"""What latents owe to features the SAE lacks, found without growing."""

from __future__ import annotations

import math

import pytest
import torch

from hedgebench.hedging import fit, hedging
from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import LatentSample
from hedgebench.sparse_growth import find_missing, hedged_share, nearest_row, sparse_codes
from hedgebench.types import CannotMeasure

N, D = 8000, 60
FEATURES = torch.eye(D)


def fires(p: torch.Tensor | float, seed: int) -> torch.Tensor:
    """[N], 1.0 where a feature of this probability fires, of a strength of about 1."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(N, generator=generator) < p).float() * (1 + 0.1 * torch.randn(N, generator=generator))


def follower(latent: torch.Tensor, given: float, alone: float, seed: int) -> torch.Tensor:
    """A feature that fires with one chance where the latent does, and another elsewhere."""
    return fires(torch.where(latent > 0, given, alone), seed)


def shares(x: torch.Tensor, f: torch.Tensor, n_atoms: int = 60) -> torch.Tensor:
    """The whole of it, on even and odd rows."""
    n = len(x)
    sample = LatentSample(x, f, torch.arange(n), torch.arange(n) % 2 == 1, 0.0, n)
    return hedging(fit(sample), torch.Generator().manual_seed(0), n_atoms).owed


def crowd() -> torch.Tensor:
    """[N, D]: independent missing features along axes 20 to 59."""
    return sum(fires(0.04, 100 + j)[:, None] * FEATURES[j] for j in range(20, D))


# --- what is found and what rows owe to it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "alone"), [(0.3, 0.02), (0.4, 0.1), (0.1, 0.02), (0.02, 0.3)])
def test_the_share_is_that_of_the_coefficient_of_the_missing_feature(given: float, alone: float):
    latent = fires(0.2, 1)
    missing = follower(latent, given, alone, 2)
    x = latent[:, None] * FEATURES[0] + missing[:, None] * FEATURES[1] + crowd()
    h = float(LatentRegression(latent[:, None]).coefficients(missing[:, None]))
    assert float(shares(x, latent[:, None])) == pytest.approx(abs(h) / math.hypot(1, h), abs=0.05)


def test_a_feature_that_is_mostly_there_counts_as_the_latents_own_and_its_absence_as_missing():
    """Fewer codes say so: the row is d0 + h d1 in place of d0 + d1. Second moments are blind here, where the chances sum to 1: the residual's variance does not follow the latent at all."""
    latent = fires(0.2, 1)
    missing = follower(latent, 0.7, 0.3, 2)
    x = latent[:, None] * FEATURES[0] + missing[:, None] * FEATURES[1] + crowd()
    h = float(LatentRegression(latent[:, None]).coefficients(missing[:, None]))
    assert float(shares(x, latent[:, None])) == pytest.approx(math.sin(math.pi / 4 - math.atan(h)), abs=0.06)


def test_a_variance_that_follows_a_latent_without_a_mean_is_no_hedging():
    latent = fires(0.2, 1)
    sign = (torch.rand(N, generator=torch.Generator().manual_seed(3)) < 0.5).float() * 2 - 1
    x = latent[:, None] * FEATURES[0] + (sign * follower(latent, 0.5, 0.02, 2))[:, None] * FEATURES[1] + crowd()
    assert abs(float(shares(x, latent[:, None]))) < 0.06


def test_independent_features_are_no_hedging():
    f = torch.stack([fires(0.1, seed) for seed in range(5)], dim=1)
    found = shares(f @ FEATURES[:5] + crowd(), f)
    assert found.abs().max() < 0.07


def test_a_feature_that_is_always_there_cannot_be_told_from_the_latents_own():
    latent = fires(0.2, 1)
    x = latent[:, None] * (FEATURES[0] + FEATURES[1]) + crowd()
    assert abs(float(shares(x, latent[:, None]))) < 0.06


def test_the_scale_and_the_order_of_latents_do_not_matter():
    f = torch.stack([fires(0.15, seed) for seed in range(3)], dim=1)
    x = f @ FEATURES[:3] + follower(f[:, 0], 0.4, 0.02, 9)[:, None] * FEATURES[5] + crowd()
    plain = shares(x, f)
    other = shares(x, f[:, [2, 0, 1]] * torch.tensor([7.0, 0.1, 3.0]))
    torch.testing.assert_close(other, plain[[2, 0, 1]], atol=1e-2, rtol=0)  # rounding can tip a threshold


def test_the_missing_direction_is_found_and_is_its_own_opposite_only_where_the_sign_is_random():
    latent = fires(0.2, 1)
    spikes = follower(latent, 0.4, 0.02, 2)
    sign = (torch.rand(N, generator=torch.Generator().manual_seed(3)) < 0.5).float() * 2 - 1
    for strength, two_sided in ((spikes, False), (sign * spikes, True)):
        x = latent[:, None] * FEATURES[0] + strength[:, None] * FEATURES[1] + crowd()
        regression = LatentRegression(latent[:, None])
        missing = find_missing(regression.residual(x), regression, torch.Generator().manual_seed(0), 60)
        cosines = missing.atoms @ FEATURES[1]
        assert cosines.max() > 0.97
        assert bool(missing.opposite[cosines.argmax()]) is two_sided


def test_codes_of_opposite_directions_do_not_cancel_at_large_sizes():
    latent = fires(0.2, 1)
    x = latent[:, None] * FEATURES[0] + follower(latent, 0.7, 0.3, 2)[:, None] * FEATURES[1] + crowd()
    regression = LatentRegression(latent[:, None])
    missing = find_missing(regression.residual(x), regression, torch.Generator().manual_seed(0), 60)
    assert missing.codes.max() < 4 * missing.spike


def test_directions_of_latents_that_miss_firings_are_near_their_rows():
    feature = fires(0.2, 1)
    heard = feature * (torch.rand(N, generator=torch.Generator().manual_seed(4)) < 0.6)
    regression = LatentRegression(heard[:, None])
    x = feature[:, None] * FEATURES[0] + crowd()
    missing = find_missing(regression.residual(x), regression, torch.Generator().manual_seed(0), 60)
    near = nearest_row(missing.atoms, FEATURES[:1])
    assert near.max() > 0.95
    assert (near > 0.9).sum() == 1


def test_an_sae_that_leaves_nothing_over_cannot_be_measured():
    f = fires(0.2, 1)[:, None]
    regression = LatentRegression(f, ridge=1e-12)
    with pytest.raises(CannotMeasure, match="nothing over"):
        find_missing(torch.zeros(N, D), regression, torch.Generator().manual_seed(0), 10)


# --- the share -----------------------------------------------------------------------------------------------------------------------


def drawn(seed: int, n: int = 200, d: int = 5) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equal_halves(part: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    return hedged_share(part, part, (row, row))


def test_the_share_of_equal_halves_is_the_sine_of_the_angle_between_the_row_and_its_rest():
    part, row = drawn(1), drawn(2)
    cosine = torch.cosine_similarity(row, row - part, dim=1)
    torch.testing.assert_close(equal_halves(part, row), (1 - cosine.square()).sqrt())


def test_the_share_is_that_of_what_is_owed_across_the_rest_in_the_row():
    part, row = drawn(1), drawn(2)
    rest = torch.nn.functional.normalize(row - part, dim=1)
    across = part - (part * rest).sum(dim=1, keepdim=True) * rest
    torch.testing.assert_close(equal_halves(part, row), across.norm(dim=1) / row.norm(dim=1))


@pytest.mark.parametrize("much", [-3.0, -0.2, 0.5, 2.0])
def test_a_row_owes_nothing_that_lies_along_itself(much: float):
    row = drawn(2)
    assert equal_halves(much * row, row).abs().max() < 1e-7
    assert hedged_share(much * row, -row, (row, drawn(3))).abs().max() < 1e-6  # in one half is enough


@pytest.mark.parametrize("much", [-3.0, 0.5, 0.9])
def test_a_longer_or_shorter_rest_changes_nothing(much: float):
    part, row = drawn(1), drawn(2)
    torch.testing.assert_close(equal_halves(part + much * (row - part), row), equal_halves(part, row))


def test_where_what_is_owed_is_orthogonal_to_the_rest_the_share_is_its_norm_over_the_rows():
    part, rest = drawn(1), drawn(2)
    part[:, 2:], rest[:, :2] = 0, 0
    wanted = part.norm(dim=1) / (part + rest).norm(dim=1)
    torch.testing.assert_close(equal_halves(part, part + rest), wanted)
    other, size = drawn(3), torch.linspace(0.5, 2, len(part)).double()[:, None]
    other[:, :2] = 0
    first, second = hedged_share(part, size * part, (part + rest, size * part + rest)), size[:, 0].sqrt()
    wanted = second * part.norm(dim=1) / (size[:, 0] * part.square().sum(dim=1) + rest.square().sum(dim=1)).sqrt()
    torch.testing.assert_close(first, wanted)  # squares are products of the halves


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_share_lies_between_minus_one_and_one_whatever_the_halves_say(scale: float):
    found = hedged_share(scale * drawn(1, 2000, 2), scale * drawn(2, 2000, 2), (drawn(3, 2000, 2), drawn(4, 2000, 2)))
    assert found.isfinite().all() and found.abs().max() <= 1
    assert (found < 0).any() and (found > 0).any()


def test_halves_that_turn_the_row_in_opposite_ways_give_a_share_below_zero():
    own, other = FEATURES[:1].double(), FEATURES[1:2].double()
    found = hedged_share(0.5 * other, -0.5 * other, (own + 0.5 * other, own - 0.5 * other))
    assert float(found) == pytest.approx(-0.5 / math.hypot(1, 0.5))


def test_noise_in_both_halves_is_nothing_on_average_and_would_be_much_in_one():
    first, second = 0.1 * drawn(1, 4000, 20), 0.1 * drawn(2, 4000, 20)
    row = FEATURES[:1, :20].double()
    found = hedged_share(first, second, (row + first, row + second))
    assert abs(float(found.mean())) < 4 * float(found.std()) / 4000**0.5 < 0.02
    assert float(equal_halves(first, row + first).mean()) > 0.35


def test_neither_the_scale_nor_the_turn_nor_the_order_of_halves_matters():
    one, other, rows = drawn(1), drawn(2), (drawn(3), drawn(4))
    plain, turn = hedged_share(one, other, rows), torch.linalg.qr(drawn(5, 5)).Q * 7
    torch.testing.assert_close(hedged_share(one @ turn, other @ turn, (rows[0] @ turn, rows[1] @ turn)), plain)
    torch.testing.assert_close(hedged_share(other, one, rows[::-1]), plain)
    torch.testing.assert_close(hedged_share(100 * one, other, (100 * rows[0], rows[1])), plain)


def test_a_row_of_zeros_owes_nothing_and_one_that_is_all_owed_everything():
    row, nothing = drawn(1), torch.zeros(200, 5).double()
    assert equal_halves(nothing, nothing).eq(0).all()
    assert equal_halves(nothing, row).abs().max() < 1e-7
    torch.testing.assert_close(equal_halves(row, row), torch.ones(200).double())


# --- codes -------------------------------------------------------------------------------------------------------------------------


def units(k: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(drawn(seed, k, d).float(), dim=1)


def slopes(codes: torch.Tensor, y: torch.Tensor, atoms: torch.Tensor, threshold: float) -> torch.Tensor:
    """[n, K], of what codes make small."""
    return (codes @ atoms - y) @ atoms.T + threshold


def test_codes_are_the_closed_form_for_orthonormal_directions():
    """Of so many rows that not all are coded at a time."""
    y = torch.randn(9000, D, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sparse_codes(y, FEATURES[:7], 0.3, 3), (y[:, :7] - 0.3).clamp(min=0), atol=1e-5, rtol=0)


def test_no_more_than_the_32_directions_are_coded_that_a_row_has_most_of():
    y = 1 + torch.rand(50, D, generator=torch.Generator().manual_seed(0))
    most = y >= y.sort(dim=1, descending=True).values[:, 31:32]
    wanted = (y - 0.3).where(most, torch.tensor(0.0))
    torch.testing.assert_close(sparse_codes(y, FEATURES, 0.3, 3), wanted, atol=1e-5, rtol=0)


def test_codes_satisfy_the_conditions_of_the_minimum_on_the_directions_of_which_a_row_has_enough_alone():
    atoms, y = units(30, 20), drawn(1, 40, 20).float()
    codes = sparse_codes(y, atoms, 0.2, 2000)
    slope = slopes(codes, y, atoms, 0.2)
    assert (codes >= 0).all() and (codes > 0).sum(dim=1).float().mean() > 2
    assert slope[codes > 0].abs().max() < 1e-3
    assert slope[y @ atoms.T > 0.2].min() > -1e-3


def test_codes_satisfy_the_conditions_of_the_minimum_where_no_two_directions_are_opposed():
    """One of which a row has not enough alone then has no part in the minimum."""
    atoms, y = torch.nn.functional.normalize(units(30, 20).abs(), dim=1), drawn(1, 40, 20).float() + 0.5
    assert (atoms @ atoms.T).min() > 0
    codes = sparse_codes(y, atoms, 0.2, 5000)
    slope = slopes(codes, y, atoms, 0.2)
    assert (codes >= 0).all() and slope.min() > -1e-3
    assert slope[codes > 0].abs().max() < 1e-3


def test_a_row_without_enough_of_any_direction_has_no_codes():
    atoms, y = units(30, 20), drawn(1, 3000, 20).float()
    found = sparse_codes(torch.cat([y, 0 * y]), atoms, 5.0, 20)
    assert found.shape == (6000, 30)
    for row, codes in ((y, found[:3000]), (0 * y, found[3000:])):
        assert torch.equal(codes.sum(dim=1) > 0, (row @ atoms.T > 5.0).any(dim=1))


OTHERS = "a row is given candidates, and a pace, by the rows that it is coded with"


def test_codes_do_not_depend_on_the_other_rows_nor_on_their_order():
    atoms, y = units(30, 20), drawn(1, 3000, 20).float()
    whole = sparse_codes(y, atoms, 0.2, 24)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sparse_codes(y[order], atoms, 0.2, 24), whole[order], atol=1e-4, rtol=0)
    for some in ([0], [7, 2999], list(range(1000, 2000))):
        torch.testing.assert_close(sparse_codes(y[some], atoms, 0.2, 24), whole[some], atol=1e-4, rtol=0)


def test_a_direction_of_which_a_row_has_not_enough_alone_is_no_code_of_it():
    atoms, y = units(30, 20), drawn(1, 3000, 20).float()
    assert sparse_codes(y, atoms, 0.2, 24)[y @ atoms.T <= 0.2].eq(0).all()
