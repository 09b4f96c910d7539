"""Estimators that were there before, or that are simple: what any new estimate of hedging is held against. In float32 where sums are large, on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hedgebench.atoms import find_atoms, spike_size
from hedgebench.atoms import kmeans_growth as virtual_growth
from hedgebench.latent_regression import LatentRegression
from hedgebench.toy.estimate_truth import least_squares
from hedgebench.toy.estimating import Estimator, Given

if TYPE_CHECKING:
    from torch import Tensor

PAIRS = 512
"""Rademacher pairs of the sketch in `smr`."""
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


def kmeans_growth(given: Given, seed: int) -> Tensor:
    """How much a row of the best decoder changes when atoms of its residuals join as latents: see `hedgebench.atoms.kmeans_growth`."""
    return virtual_growth(given.x, LatentRegression(given.f), torch.Generator().manual_seed(seed))


RIVALS: dict[str, Estimator] = {"c_dec": c_dec, "bias_norm": bias_norm, "smr": smr, "kmeans_growth": kmeans_growth}
"""By name."""
