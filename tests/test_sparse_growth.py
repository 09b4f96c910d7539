"""What latents owe to features the SAE lacks, found without growing."""

from __future__ import annotations

import math

import pytest
import torch

from hedgebench.hedging import fit, hedging
from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import LatentSample
from hedgebench.sparse_growth import find_missing, nearest_row, sparse_codes
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
    return hedging(fit(sample), torch.Generator().manual_seed(0), n_atoms).share


def crowd() -> torch.Tensor:
    """[N, D]: independent missing features along axes 20 to 59."""
    return sum(fires(0.04, 100 + j)[:, None] * FEATURES[j] for j in range(20, D))


@pytest.mark.parametrize(("given", "alone"), [(0.3, 0.02), (0.4, 0.1), (0.1, 0.02), (0.02, 0.3)])
def test_the_share_is_that_of_the_coefficient_of_the_missing_feature(given: float, alone: float):
    latent = fires(0.2, 1)
    missing = follower(latent, given, alone, 2)
    x = latent[:, None] * FEATURES[0] + missing[:, None] * FEATURES[1] + crowd()
    h = float(LatentRegression(latent[:, None]).coefficients(missing[:, None]))
    assert float(shares(x, latent[:, None])) == pytest.approx(abs(h) / math.hypot(1, h), abs=0.05)


def test_a_feature_that_is_mostly_there_counts_as_the_latents_own_and_its_absence_as_missing():
    """Fewer codes say so. Second moments are blind here, where the chances sum to 1: the residual's variance does not follow the latent at all."""
    latent = fires(0.2, 1)
    missing = follower(latent, 0.7, 0.3, 2)
    x = latent[:, None] * FEATURES[0] + missing[:, None] * FEATURES[1] + crowd()
    h = float(LatentRegression(latent[:, None]).coefficients(missing[:, None]))
    assert float(shares(x, latent[:, None])) == pytest.approx((1 - h) / math.hypot(1 - h, math.sqrt(2)), abs=0.06)


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


def test_codes_are_the_closed_form_for_orthonormal_directions():
    y = torch.randn(50, D, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sparse_codes(y, FEATURES[:7], 0.3, 3), (y[:, :7] - 0.3).clamp(min=0), atol=2e-3, rtol=0)


def test_codes_satisfy_the_conditions_of_the_minimum():
    generator = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(30, 20, generator=generator), dim=1)
    y = torch.randn(40, 20, generator=generator)
    codes = sparse_codes(y, atoms, 0.2, 2000)
    slope = (codes @ atoms - y) @ atoms.T + 0.2
    assert (codes >= 0).all()
    assert slope[codes > 0].abs().max() < 1e-3
    assert slope.min() > -1e-3


def test_an_sae_that_leaves_nothing_over_cannot_be_measured():
    f = fires(0.2, 1)[:, None]
    regression = LatentRegression(f, ridge=1e-12)
    with pytest.raises(CannotMeasure, match="nothing over"):
        find_missing(torch.zeros(N, D), regression, torch.Generator().manual_seed(0), 10)
