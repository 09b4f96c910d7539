"""Estimators that were there before, or that are simple: what any new estimate of hedging is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hedgebench.atoms import find_atoms, spike_size
from hedgebench.atoms import kmeans_growth as virtual_growth
from hedgebench.latent_regression import LatentRegression
from hedgebench.modulation import modulation, shares
from hedgebench.toy.estimating import Estimator, Given

if TYPE_CHECKING:
    from torch import Tensor


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
    """Residual second-moment regression: how much the residual's second moment follows a latent, as a share of its row (`hedgebench.modulation`), on even and odd samples."""
    generator, regression = torch.Generator().manual_seed(seed), LatentRegression(given.f)
    rows, r = regression.coefficients(given.x), regression.residual(given.x)
    halves = LatentRegression(given.f[::2]), LatentRegression(given.f[1::2])
    found = modulation(halves, (r[::2], r[1::2]), rows, generator, consistent=False)
    return shares(found.squared, spike_size(r, find_atoms(r, generator)), rows)


def kmeans_growth(given: Given, seed: int) -> Tensor:
    """How much a row of the best decoder changes when atoms of its residuals join as latents: see `hedgebench.atoms.kmeans_growth`."""
    return virtual_growth(given.x, LatentRegression(given.f), torch.Generator().manual_seed(seed))


RIVALS: dict[str, Estimator] = {"c_dec": c_dec, "bias_norm": bias_norm, "smr": smr, "kmeans_growth": kmeans_growth}
"""By name."""
