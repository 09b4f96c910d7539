"""Estimators that were there before, or that are simple: what any new estimate of hedging is held against. In float32 where sums are large, on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hedgebench.toy.estimate_truth import least_squares
from hedgebench.toy.estimating import Estimator, Given

if TYPE_CHECKING:
    from torch import Tensor

PAIRS = 512
"""Rademacher pairs of the sketch in `smr`."""
ATOMS = 200
_ROUNDS = 10
"""Of k-means."""
_AT_MOST = 40_000
"""Residuals that atoms are found from."""
_RIDGE = 1e-4


def c_dec(given: Given, _seed: int) -> Tensor:
    """Mean |cosine| of a latent's decoder row with the other rows, NaN for a single latent; over all latents, Chanin & Garriga-Alonso's c_dec (arXiv 2508.16560)."""
    rows = torch.nn.functional.normalize(given.W_dec.double(), dim=1)
    others: Tensor = ((rows @ rows.T).abs().sum(dim=1) - 1) / (len(rows) - 1)
    return others


def bias_norm(given: Given, _seed: int) -> Tensor:
    """|b_dec|, the same for all latents."""
    norms: Tensor = given.b_dec.double().norm().repeat(len(given.W_dec))
    return norms


def smr(given: Given, seed: int) -> Tensor:
    """Residual second-moment regression: how much the residual's second moment follows a latent, as a share of its row.

    A hedged feature is there or not when the latent fires, so that the residual's variance along it changes with the latent. r = x - f C, C = Cov(f)^-1 Cov(f, x);
    N_i, the coefficients of r r^T on f_i, enter through sketches z_l = (u_l . r)(v_l . r), u and v of random signs, and t = |r|^2: with S and T the coefficients of z and t
    on f, on two halves A and B, n_i^2 = mean_l S^A_il S^B_il - T^A_i T^B_i / d estimates |N_i|_F^2 less its isotropic part. The estimate is sqrt(max(0, n_i^2)) / (s |C_i|),
    with s the typical size of what is missed (`spike_size`).
    """
    coefficients, r = refit(given)
    d = r.shape[1]
    generator = torch.Generator().manual_seed(seed)
    u, v = ((torch.randint(2, (d, PAIRS), generator=generator) * 2 - 1).to(r) for _ in range(2))
    moments = [_follow(given.f[start::2], r[start::2], u, v) for start in (0, 1)]
    product = moments[0] * moments[1]
    squared = product[:, :-1].mean(dim=1) - product[:, -1] / d
    scale = spike_size(r, find_atoms(r, generator))
    shares: Tensor = squared.clamp(min=0).sqrt() / (scale * coefficients.norm(dim=1))
    return shares


def _follow(f: Tensor, r: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """[m, PAIRS + 1]: the coefficients on f of (u_l . r)(v_l . r), and of |r|^2, with an intercept and a small ridge; float64."""
    f = f - f.mean(dim=0)
    sums = torch.zeros(f.shape[1], u.shape[1] + 1, dtype=torch.float64)
    for own, rest in zip(f.split(4096), r.split(4096), strict=True):
        sums += (own.T @ torch.cat([(rest @ u) * (rest @ v), rest.square().sum(dim=1, keepdim=True)], dim=1)).double()
    gram = (f.T @ f).double()
    gram.diagonal().mul_(1 + _RIDGE)
    found: Tensor = torch.linalg.solve(gram, sums)
    return found


def refit(given: Given) -> tuple[Tensor, Tensor]:
    """The decoder that fits best by least squares, [m, d] in float64, and what it leaves over, [n, d] of mean 0."""
    x, f = given.x - given.x.mean(dim=0), given.f - given.f.mean(dim=0)
    coefficients = least_squares(f, x)
    return coefficients, x - f @ coefficients.to(x)


def find_atoms(r: Tensor, generator: torch.Generator) -> Tensor:
    """[ATOMS, d] unit rows that residuals r [n, d] cluster about: spherical k-means, from residuals drawn at random."""
    units = torch.nn.functional.normalize(r[torch.randperm(len(r), generator=generator)[:_AT_MOST]], dim=1)
    atoms = units[:ATOMS].clone()
    for _ in range(_ROUNDS):
        sums = torch.zeros_like(atoms).index_add_(0, (units @ atoms.T).argmax(dim=1), units)
        filled = sums.norm(dim=1) > 0
        atoms[filled] = torch.nn.functional.normalize(sums[filled], dim=1)
    return atoms


def spike_size(r: Tensor, atoms: Tensor) -> float:
    """The median over atoms of E[p^4] / E[p^3], p = max(0, r . atom): the strength of a feature that fires seldom, were the atom that feature."""
    p = (r[:_AT_MOST] @ atoms.T).relu().double()
    return float((p**4).mean(dim=0).div((p**3).mean(dim=0)).nanmedian())


def kmeans_growth(given: Given, seed: int) -> Tensor:
    """|C_i - C'_i| / |C_i|: how much a row of the best decoder changes when atoms of the residuals join as latents.

    An atom is on, with r . atom, where that is the largest of all atoms and above 0; C' are the coefficients of x on f and the atoms together.
    """
    coefficients, r = refit(given)
    atoms = find_atoms(r, torch.Generator().manual_seed(seed))
    largest, which = (r @ atoms.T).max(dim=1)
    codes = torch.zeros(len(r), len(atoms)).scatter_(1, which[:, None], largest.relu()[:, None])
    codes = codes[:, codes.any(dim=0)]
    grown = least_squares(torch.cat([given.f, codes], dim=1), given.x)[: len(coefficients)]
    changes: Tensor = (coefficients - grown).norm(dim=1) / coefficients.norm(dim=1)
    return changes


RIVALS: dict[str, Estimator] = {"c_dec": c_dec, "bias_norm": bias_norm, "smr": smr, "kmeans_growth": kmeans_growth}
"""By name."""
