"""Atoms of residuals where the directions are known, and what rows give up to them against one least-squares problem of all."""

import pytest
import torch
from known_saes import orthonormal_features

from hedgebench.atoms import find_atoms, kmeans_growth, spike_size
from hedgebench.latent_regression import LatentRegression


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


FEATURES = orthonormal_features(10, 30, seeded()).float()


def spikes(n: int, size: float, p: float = 0.03) -> torch.Tensor:
    """[n, 30]: each feature is there with probability p, with that size, beside a little noise."""
    there = torch.rand(n, 10, generator=seeded(1)) < p
    return size * there.float() @ FEATURES + 1e-3 * torch.randn(n, 30, generator=seeded(2))


@pytest.mark.parametrize("size", [0.2, 7.0])
def test_atoms_are_the_directions_of_seldom_features_and_their_spikes_have_the_features_size(size):
    r = spikes(6000, size)
    atoms = find_atoms(r, seeded(), 60)
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(60))
    assert (FEATURES @ atoms.T).max(dim=1).values.min() > 0.98
    assert spike_size(r, FEATURES) == pytest.approx(size, rel=0.01)
    # three residuals in four are noise, and so are most atoms: the median is theirs
    assert spike_size(r, atoms) < 0.5 * size
    assert spike_size(3 * r, atoms) == pytest.approx(3 * spike_size(r, atoms))


def test_a_seed_decides_the_atoms_and_there_are_no_more_than_residuals():
    r = spikes(500, 1.0)
    first, again, other = (find_atoms(r, seeded(seed), 20) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(find_atoms(r[:7], seeded(), 20)) == 7


def pairs(n: int, given: float, alone: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Five latents that track features exactly, and five features that fire with them or without."""
    f = (torch.rand(n, 5, generator=seeded(3)) < 0.3).float() * (1 + torch.rand(n, 5, generator=seeded(4)))
    there = torch.rand(n, 5, generator=seeded(5)) < torch.where(f > 0, given, alone)
    return torch.cat([f, there.float()], dim=1) @ FEATURES, f


def test_rows_change_as_they_do_when_all_are_fitted_together():
    x, f = pairs(4000, 0.4, 0.05)
    fit = LatentRegression(f, ridge=1e-10)
    r = fit.residual(x)
    largest, which = (r @ find_atoms(r, seeded(), 40).T).max(dim=1)
    codes = torch.zeros(4000, 40).scatter_(1, which[:, None], largest.relu()[:, None])
    before = fit.coefficients(x)
    after = LatentRegression(torch.cat([f, codes], dim=1), ridge=1e-4).coefficients(x)[:5]
    found = kmeans_growth(x, fit, seeded(), 40)
    torch.testing.assert_close(found, (before - after).norm(dim=1) / before.norm(dim=1), rtol=1e-2, atol=1e-3)


def test_rows_that_hedge_change_and_others_do_not():
    hedging, alone = (
        kmeans_growth(x, LatentRegression(f), seeded(), 40) for x, f in (pairs(8000, q, 0.05) for q in (0.4, 0.05))
    )
    assert hedging.min() > 0.1 > 0.04 > alone.max()
