"""Estimators that were there before, or that are simple: what any new estimate of hedging is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hedgebench.atoms import find_atoms, spike_size
from hedgebench.atoms import kmeans_growth as virtual_growth
from hedgebench.hedging import fit, hedging_of, signed_root
from hedgebench.hedging import hedging as _hedging
from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import LatentSample
from hedgebench.modulation import modulation, shares
from hedgebench.toy.estimating import Estimator, Given
from hedgebench.types import CannotMeasure

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
    rows, r = regression.fitted(given.x)
    halves = LatentRegression(given.f[::2]), LatentRegression(given.f[1::2])
    found = modulation(halves, (r[::2], r[1::2]), rows, generator, consistent=False)
    return shares(found.squared, spike_size(r, find_atoms(r, generator)), rows)


def kmeans_growth(given: Given, seed: int) -> Tensor:
    """How much a row of the best decoder changes when atoms of its residuals join as latents: see `hedgebench.atoms.kmeans_growth`."""
    return virtual_growth(given.x, LatentRegression(given.f), torch.Generator().manual_seed(seed))


def hedging(given: Given, seed: int) -> dict[str, Tensor]:
    """This project's, on even and odd samples (`hedgebench.hedging`).

    Returns:
        `owed`, to sparse features of the residual; `consistent`, modulation along what is in the row, over the spikes' size; and `hedging`, what the two say together. NaN where
        nothing sparse is left over.
    """
    fitted, generator = fit(as_sample(given)), torch.Generator().manual_seed(seed)
    modulated = modulation(fitted.halves, fitted.residuals, fitted.rows, generator, pairs=1).consistent
    assert modulated is not None
    along = signed_root(modulated) / fitted.rows.norm(dim=1)
    try:
        found = _hedging(fitted, torch.Generator().manual_seed(seed), N_ATOMS)
    except CannotMeasure:
        nothing = torch.full_like(along, float("nan"))
        return {"hedging": nothing, "owed": nothing, "consistent": nothing}
    return {"hedging": hedging_of(found.owed, along), "owed": found.owed, "consistent": along / found.missing.spike}


def as_sample(given: Given) -> LatentSample:
    """Every sample a document of its own."""
    n = len(given.x)
    return LatentSample(given.x, given.f, torch.arange(n), torch.arange(n) % 2 == 1, 0.0, n)


RIVALS: dict[str, Estimator] = {"c_dec": c_dec, "bias_norm": bias_norm, "smr": smr, "kmeans_growth": kmeans_growth}
"""By name."""
N_ATOMS = 200
"""Of `hedging`: clusters of residuals."""
ESTIMATORS: dict[str, Estimator] = {"hedging": hedging, **RIVALS}
"""By name: the project's own, the rivals."""
METHOD = "3"
"""Rises whenever a number of these could change."""
