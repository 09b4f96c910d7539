"""Atoms of residuals where the directions are known, and what rows give up to them against one least-squares problem of all."""

import pytest
import torch
from known_saes import orthonormal_features
from scipy.linalg import eigh

from hedgebench.atoms import find_atoms, kmeans_growth, spike_size, where_latents_fire
from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import csr


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


# --- where latents fire ---


def loud(n: int = 5000, m: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Residuals that vary unequally and are correlated, and far more along feature i where latent i fires."""
    f = (torch.rand(n, m, generator=seeded(6)) < 0.1).float() * (1 + torch.rand(n, m, generator=seeded(7)))
    noise = torch.randn(n, 30, generator=seeded(8)) * torch.linspace(0.05, 0.5, 30)
    mixed = noise @ torch.linalg.qr(torch.randn(30, 30, generator=seeded(9))).Q
    return mixed + (2 * torch.randn(n, m, generator=seeded(10)) * (f > 0)) @ FEATURES[:m], f


def sparse(f: torch.Tensor) -> torch.Tensor:
    return csr((f != 0).sum(1), f.nonzero()[:, 1], f[f != 0], f.shape[1])


def test_a_latents_direction_is_the_one_along_which_residuals_spread_where_it_fires():
    r, f = loud()
    found, ratio = where_latents_fire(r, f, seeded())
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    assert (found * FEATURES[:4]).sum(dim=1).abs().min() > 0.97
    for i in range(4):
        own, whole = (part.double().T @ part.double() / len(part) for part in (r[f[:, i] > 0], r))
        values, vectors = eigh(own.numpy(), whole.numpy())
        leading = torch.nn.functional.normalize(whole @ torch.from_numpy(vectors[:, -1]), dim=0)
        assert float(ratio[i]) == pytest.approx(values[-1], rel=1e-2)
        assert abs(float(found[i].double() @ leading)) > 0.999


def test_only_where_a_latent_fires_counts_and_not_how_strongly_nor_in_which_layout_or_order():
    r, f = loud()
    found, ratio = where_latents_fire(r, f, seeded())
    kept, order = [0, 1, 2, 3], [2, 0, 3, 1]
    for other, which in (
        (f * 100, kept),
        (sparse(f), kept),
        (f[:, order], order),
        (sparse(f[:, order]), order),
    ):
        directions, times = where_latents_fire(r, other, seeded())
        torch.testing.assert_close(times, ratio[which], rtol=1e-4, atol=1e-4)
        assert (directions * found[which]).sum(dim=1).abs().min() > 0.9999


def test_a_latent_that_always_fires_sees_what_all_tokens_do():
    r, f = loud()
    _, ratio = where_latents_fire(r, torch.cat([f, torch.ones(len(f), 1)], dim=1), seeded())
    assert float(ratio[4]) == pytest.approx(1, abs=1e-3)
    assert ratio[:4].min() > 5


@pytest.mark.parametrize("layout", [sparse, lambda f: f], ids=["sparse", "dense"])
def test_a_latent_that_fires_once_has_that_residuals_direction_and_one_that_never_does_no_number_that_is_none(layout):
    r, f = loud()
    f = torch.cat([torch.zeros(len(f), 1), f, torch.zeros(len(f), 2)], dim=1)
    f[17, 6] = 1
    found, ratio = where_latents_fire(r, layout(f), seeded())
    assert found.isfinite().all() and ratio.isfinite().all()
    assert ratio[[0, 5]].tolist() == [0, 0]
    for length in found[[0, 5]].norm(dim=1).tolist():
        assert length == pytest.approx(0) or length == pytest.approx(1)
    assert abs(float(found[6] @ torch.nn.functional.normalize(r[17], dim=0))) > 0.999
    without, _ = where_latents_fire(r, f[:, 1:5], seeded())
    assert (found[1:5] * without).sum(dim=1).abs().min() > 0.9999
