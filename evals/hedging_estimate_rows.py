"""From a sample of activations to the numbers that `hedging_estimate` reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.eval import Score

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.hedging import Fit, Hedging
    from hedgebench.latent_sample import LatentSample
    from hedgebench.modulation import Modulation

LEAST = 8
"""Latents that must fire often enough."""
NOTHING_OWED = {"null": "nothing owed"}
"""Of what is read where no row owes anything."""


class Measured(NamedTuple):
    """What was found of m live latents."""

    sample: LatentSample
    fit: Fit
    hedging: Hedging
    modulation: Modulation
    sketch_error: Tensor
    """[m], of `modulation.squared`."""
    null: Modulation
    virtual_growth: Tensor
    """[m]."""

    @property
    def norms(self) -> Tensor:
        """[m], |C_i|; NaN for a row that is zero, of which nothing has a share."""
        norms: Tensor = self.fit.rows.norm(dim=1)
        return norms.where(norms > 0, float("nan"))

    def latents(self) -> dict[str, Tensor]:
        """Each estimate for each latent, [m]; NaN for shares of a row that is zero."""
        from hedgebench.hedging import hedging_of, signed_root

        assert self.modulation.consistent is not None
        size = self.hedging.missing.spike * self.norms
        consistent = signed_root(self.modulation.consistent) / size
        return {
            "hedging": hedging_of(self.hedging.owed, consistent),
            "owed": self.hedging.owed,
            "modulation": signed_root(self.modulation.squared) / size,
            "modulation_unscaled": signed_root(self.modulation.squared) / self.norms,
            "consistent": consistent,
            "virtual_growth": self.virtual_growth,
        }


class Errors(NamedTuple):
    """Standard errors over documents, by a jackknife that holds the missing features as they were found on all of them."""

    owed: Tensor
    """[m], of each latent's."""
    mean: float
    """Of the mean of `owed`, which is that of `hedging`."""
    modulation: float
    """Of its mean; of the sketch, too."""


def measure(sample: LatentSample, generator: torch.Generator, cfg: Any, fitted: Fit | None = None) -> Measured:
    """Every estimate, for latents that all fire in both halves.

    Args:
        sample: Of m latents.
        generator: On the CPU.
        cfg: The eval's.
        fitted: Of the sample, where it is there already.

    Raises:
        CannotMeasure: The SAE leaves nothing over, or nothing sparse.
    """
    from hedgebench.atoms import kmeans_growth
    from hedgebench.hedging import fit, hedging, sketched
    from hedgebench.modulation import shuffled

    fitted = fitted or fit(sample)
    found = hedging(fitted, generator, cfg.n_atoms)
    second, error = sketched(fitted, fitted.residuals, generator, cfg.pairs, consistent=True)
    null, _ = sketched(fitted, shuffled(fitted.residuals, generator), generator, cfg.pairs)
    growth = kmeans_growth(fitted.x, fitted.whole, generator)
    return Measured(sample, fitted, found, second, error, null, growth)


def totals(
    found: Measured, slice_by: str = "all", slice_value: str = "all", errors: Errors | None = None
) -> Iterator[Score]:
    """Means over live latents, of an SAE or a prefix."""
    from hedgebench.hedging import signed_root

    size, place = found.hedging.missing.spike * found.norms, (slice_by, slice_value)
    m, n_missing = len(found.norms), len(found.hedging.missing.atoms)
    known = {} if errors is None else {"hedging": errors.mean, "owed": errors.mean, "modulation": errors.modulation}
    for metric, values in found.latents().items():
        yield Score(metric, float(values.nanmean()), {}, *place, stderr=known.get(metric), n=m)
    null = signed_root(found.null.squared) / size
    yield Score("modulation", float(null.nanmean()), {"null": "shuffled"}, *place, n=m)
    yield Score("spike", found.hedging.missing.spike, {}, *place, n=n_missing)
    yield Score("two_sided", float(found.hedging.missing.opposite.double().mean()), {}, *place, n=n_missing)


def standard_errors(found: Measured, generator: torch.Generator, cfg: Any) -> Errors:
    """Of documents, and of the sketch.

    Raises:
        CannotMeasure: A half has too few documents.
    """
    import torch

    from hedgebench.hedging import fit, jackknife, owed_share, signed_root
    from hedgebench.latent_sample import subset
    from hedgebench.modulation import modulation

    missing, counted = found.hedging.missing, found.hedging.counted
    size = missing.spike * found.norms
    seed = int(generator.initial_seed())

    def all_of(rows: Tensor) -> Tensor:
        some = fit(subset(found.sample, rows))
        share = owed_share(some, missing._replace(codes=missing.codes[rows]), counted)
        same_sketch = torch.Generator().manual_seed(seed)
        second = modulation(some.halves, some.residuals, some.rows, same_sketch, 64, consistent=False)
        return torch.cat([share, share.mean()[None], (signed_root(second.squared) / size).nanmean()[None]])

    *owed, mean, modulated = jackknife(found.sample, all_of, cfg.groups, generator).unbind()
    # of the root, where the error is smaller than what it is of; one sketch for all latents: their errors are as one
    root = torch.maximum(found.modulation.squared.abs(), found.sketch_error).clamp(min=1e-24).sqrt()
    sketch = float((found.sketch_error / (2 * root * size)).nanmean())
    return Errors(torch.stack(owed), float(mean), (float(modulated) ** 2 + sketch**2) ** 0.5)


def one_by_one(found: Measured, alive: Tensor, sae: SAE, cfg: Any, errors: Errors) -> Iterator[Score]:
    """Each live latent's estimates, firing density and the cosine of its own decoder row with the best, and the means of the last two."""
    import torch

    n = len(found.fit.x)
    density = torch.bincount(found.fit.whole.f.col_indices(), minlength=len(alive)).double() / n
    cosine = torch.cosine_similarity(sae.W_dec[alive].double(), found.fit.rows, dim=1)
    beside = {"density": density, "row_cosine": cosine.where(found.norms.isfinite(), float("nan"))}
    for metric, values in beside.items():
        yield Score(metric, float(values.nanmean()), n=len(alive))
    if len(sae.W_dec) > cfg.slice_limit:
        return
    fired = [round(count) for count in (density * n).tolist()]
    for metric, values in (found.latents() | beside).items():
        known = errors.owed.tolist() if metric == "owed" else [None] * len(alive)
        for latent, value, error, count in zip(alive.tolist(), values.tolist(), known, fired, strict=True):
            if value == value:
                yield Score(metric, value, slice_by="latent", slice_value=str(latent), stderr=error, n=count)


def weights(sae: SAE) -> Iterator[Score]:
    """What older guesses go by: the decoder's cosines and its bias."""
    from hedgebench.cosines import pairs, random_cosine

    width, d_in = sae.W_dec.shape
    if width > 1:
        yield Score("c_dec", pairs(sae.W_dec).mean_abs, n=width, chance=random_cosine(d_in))
    if (bias := getattr(sae, "b_dec", None)) is not None:
        yield Score("b_dec_norm", float(bias.double().norm()))
