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
FEW = 200
"""Firings of the median live latent below which ranks of latents are doubtful."""
AGREE = 0.3
"""Rank correlation with virtual growth below which the two opinions disagree."""
FOUND = 0.75
"""`injected_auc` below which known hedging is not found."""
FOOLED = 0.2
"""Rise of random signs, over that of hedging, above which variance is taken for hedging."""


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


def measure(sample: LatentSample, generator: torch.Generator, cfg: Any) -> Measured:
    """Every estimate, for latents that all fire in both halves.

    Raises:
        CannotMeasure: The SAE leaves nothing over, or nothing sparse.
    """
    from hedgebench.atoms import kmeans_growth
    from hedgebench.hedging import fit, hedging, sketched
    from hedgebench.modulation import shuffled

    fitted = fit(sample)
    found = hedging(fitted, generator, cfg.n_atoms)
    second, error = sketched(fitted, fitted.residuals, generator, cfg.pairs, consistent=True)
    null, _ = sketched(fitted, shuffled(fitted.residuals, generator), generator, cfg.pairs)
    growth = kmeans_growth(fitted.x, fitted.whole, generator)
    return Measured(sample, fitted, found, second, error, null, growth)


def totals(found: Measured, slice_by: str = "all", slice_value: str = "all") -> Iterator[Score]:
    """Means over live latents, of an SAE or a prefix, without errors but for those of `errors`."""
    from hedgebench.hedging import signed_root

    size, place = found.hedging.missing.spike * found.norms, (slice_by, slice_value)
    m, n_missing = len(found.norms), len(found.hedging.missing.atoms)
    with_errors = ("hedging", "modulation") if slice_by == "all" else ()
    for metric, values in found.latents().items():
        if metric not in with_errors:
            yield Score(metric, float(values.nanmean()), {}, *place, n=m)
    null = signed_root(found.null.squared) / size
    yield Score("modulation", float(null.nanmean()), {"null": "shuffled"}, *place, n=m)
    yield Score("spike", found.hedging.missing.spike, {}, *place, n=n_missing)
    yield Score("two_sided", float(found.hedging.missing.opposite.double().mean()), {}, *place, n=n_missing)


def errors(found: Measured, generator: torch.Generator, cfg: Any) -> Iterator[Score]:
    """`hedging` and `modulation` with their standard errors: of documents, the directions held, by a jackknife; of the sketch, too, for the second."""
    import torch

    from hedgebench.hedging import fit, jackknife, owed_share, signed_root
    from hedgebench.latent_sample import subset
    from hedgebench.modulation import modulation

    missing, counted = found.hedging.missing, found.hedging.counted
    size, m = missing.spike * found.norms, len(found.norms)
    seed = int(generator.initial_seed())

    def both(rows: Tensor) -> Tensor:
        some = fit(subset(found.sample, rows))
        share = owed_share(some, missing._replace(codes=missing.codes[rows]), counted)
        same_sketch = torch.Generator().manual_seed(seed)
        second = modulation(some.halves, some.residuals, some.rows, same_sketch, 64, consistent=False)
        return torch.stack([share.mean(), (signed_root(second.squared) / size).nanmean()])

    documents = jackknife(found.sample, both, cfg.groups, generator)
    per_root = found.sketch_error / (2 * found.modulation.squared.abs().sqrt().clamp(min=1e-12) * size)
    sketch = float(per_root.nanmean())  # one sketch for all latents: their errors are as one
    latents = found.latents()
    yield Score("hedging", float(latents["hedging"].mean()), stderr=float(documents[0]), n=m)
    yield Score(
        "modulation", float(latents["modulation"].nanmean()), stderr=(float(documents[1]) ** 2 + sketch**2) ** 0.5, n=m
    )


def one_by_one(found: Measured, alive: Tensor, width: int, cfg: Any) -> Iterator[Score]:
    """Each live latent's estimates and firing density, and the mean density."""
    import torch

    n = len(found.fit.x)
    density = torch.bincount(found.fit.whole.f.col_indices(), minlength=len(alive)).double() / n
    yield Score("density", float(density.mean()), n=len(alive))
    if width > cfg.slice_limit:
        return
    for metric, values in (found.latents() | {"density": density}).items():
        for latent, value, fired in zip(alive.tolist(), values.tolist(), (density * n).tolist(), strict=True):
            if value == value:
                yield Score(metric, value, slice_by="latent", slice_value=str(latent), n=round(fired))


def weights(sae: SAE) -> Iterator[Score]:
    """What older guesses go by: the decoder's cosines and its bias."""
    from hedgebench.cosines import pairs, random_cosine

    width, d_in = sae.W_dec.shape
    if width > 1:
        yield Score("c_dec", pairs(sae.W_dec).mean_abs, n=width, chance=random_cosine(d_in))
    if (bias := getattr(sae, "b_dec", None)) is not None:
        yield Score("b_dec_norm", float(bias.double().norm()))


def doubts(found: Measured, alive: Tensor, width: int, injected: list[Score]) -> list[str]:
    """Why these numbers may mislead, a line each."""
    import torch
    from scipy.stats import spearmanr

    reasons, latents = [], found.latents()
    firings = torch.bincount(found.fit.whole.f.col_indices(), minlength=len(alive)).double()
    if float(firings.median()) < FEW:
        reasons.append(
            f"the median live latent fires on {firings.median():.0f} tokens only, fewer than {FEW}: give more text"
        )
    if len(alive) < width / 2:
        reasons.append(f"{len(alive)} of {width} latents fire often enough to be measured: the mean is not of the SAE")
    size = found.hedging.missing.spike * found.norms
    null = float((found.null.squared.clamp(min=0).sqrt() / size).nanmean())
    if null > 0.5 * float(latents["modulation"].abs().nanmean()):
        reasons.append("shuffled residuals follow the latents half as much as the real ones do: noise")
    first, second = latents["hedging"].cpu(), latents["virtual_growth"].nan_to_num().cpu()
    if float(first.std()) == 0 or float(second.std()) == 0:
        reasons.append("an estimate is the same for all latents: there is nothing to rank")
    elif (agreement := float(spearmanr(first, second).statistic)) < AGREE:
        reasons.append(f"the two opinions rank latents differently (rank correlation {agreement:.2f})")
    told = {s.metric: s for s in injected if s.params.get("of") == "hedging" and "than" not in s.params}
    if told:
        rise, fooled, user = (told[name] for name in ("injected_rise", "random_sign_rise", "injected_auc"))
        if rise.value < 2 * (rise.stderr or 0) or user.value < FOUND:
            reasons.append(
                f"known hedging of {rise.params['share']:.0%} raises the estimate by {rise.value:.3f} ± {rise.stderr:.3f} only, and stands out from other latents with probability {user.value:.2f}"
            )
        if fooled.value - 2 * (fooled.stderr or 0) > FOOLED * max(rise.value, 0):
            reasons.append(
                f"features of random sign, which nothing hedges, raise the estimate by {fooled.value:.3f}, known hedging by {rise.value:.3f}"
            )
    return reasons
