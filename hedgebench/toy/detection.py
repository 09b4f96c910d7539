"""What an SAE makes of samples of a toy world: how well its latents detect features, and how well it reconstructs. SAELens's own definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from sae_lens.evals import ExplainedVarianceCalculator
from sae_lens.synthetic.evals import (
    ClassificationMetricsCalculator,
    ShrinkageCalculator,
    feature_uniqueness,
    mean_correlation_coefficient,
)

from hedgebench.stats.units import jackknife
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.toy.worlds import Sample, World


class Estimate(NamedTuple):
    """A mean over samples."""

    value: float
    stderr: float | None
    """None for fewer than two units."""


class Detection(NamedTuple):
    """What came of the samples. Latents that never fire count in every mean over latents, as in SAELens."""

    n_samples: int
    l0: Estimate
    true_l0: Estimate
    fires: Tensor
    """[width], float64: the share of the samples on which each latent fires."""
    feature_fires: Tensor
    """[n_features], float64."""
    mcc: float
    uniqueness: float
    precision: float
    recall: float
    f1: float
    latent_precision: Tensor
    """[width], of each latent for the feature that its decoder row is nearest to by |cosine|; 0 where it is not defined, and so below."""
    latent_recall: Tensor
    latent_f1: Tensor
    explained_variance: Estimate | None
    """None where the samples do not vary."""
    shrinkage: float | None
    """None where every sample is zero."""


@torch.no_grad()
def detect(
    sae: SAE,
    world: World,
    generator: torch.Generator,
    *,
    n_samples: int,
    batch_size: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Detection:
    """Draw samples, and run an SAE on them.

    The numbers are those of `sae_lens.synthetic.eval_sae_on_synthetic_data` on the same samples, by its own calculators. Added are the values of single
    latents and features, and errors: of the L0s over samples, of the explained variance by a jackknife over batches.

    Args:
        sae: On any device; in evaluation mode.
        world: On the CPU.
        generator: Decides the samples.
        n_samples: At least 1.
        batch_size: Samples at a time: memory grows with batch_size * (width + n_features).
        progress: Told the fraction done.

    Raises:
        CannotMeasure: A reconstruction is not finite.
    """
    wide = torch.promote_types(sae.W_dec.dtype, torch.float32)  # an SAE in half precision is measured in more
    rows = sae.W_dec.to(wide)
    features = world.features.to(rows)
    detects, explains = ClassificationMetricsCalculator(rows, features), ExplainedVarianceCalculator()
    shrinks, errors = ShrinkageCalculator(), _ErrorSums()
    latents, truth = _Counts(rows.shape[0]), _Counts(world.n_features)
    for start in range(0, n_samples, batch_size):
        sample: Sample = world.sample(min(batch_size, n_samples - start), generator)
        firings, x = sample.firings.to(rows), sample.activations.to(rows)
        acts = sae.encode(x.to(sae.W_dec.dtype))
        output = sae.decode(acts).to(wide)
        if not output.isfinite().all():
            raise CannotMeasure(
                "the SAE's reconstruction of some samples is not finite: does it divide by the norm of a sample that may be zero?"
            )
        detects.add_batch(acts, firings)
        explains.add_batch(output, x)
        shrinks.add_batch(output, x)
        errors.add(output, x)
        latents.add(acts)
        truth.add(firings)
        progress((start + len(x)) / n_samples)
    means = detects.compute()
    precision = _share(detects.tp, detects.tp + detects.fp)
    recall = _share(detects.tp, detects.tp + detects.fn)
    return Detection(
        n_samples=n_samples,
        l0=latents.mean(),
        true_l0=truth.mean(),
        fires=latents.fired / n_samples,
        feature_fires=truth.fired / n_samples,
        mcc=mean_correlation_coefficient(rows, features),
        uniqueness=feature_uniqueness(rows, features),
        precision=means.precision,
        recall=means.recall,
        f1=means.f1_score,
        latent_precision=precision,
        latent_recall=recall,
        latent_f1=_share(2 * precision * recall, precision + recall),
        explained_variance=errors.explained(explains.compute()),
        shrinkage=shrinks.compute() if shrinks.num_samples else None,
    )


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.zeros_like(part))


class _Counts:
    """How many units fire on a sample, and how often each does."""

    def __init__(self, n_units: int) -> None:
        self.fired = torch.zeros(n_units, dtype=torch.float64)
        self.n, self.sum, self.squares = 0, 0.0, 0.0

    def add(self, values: Tensor) -> None:
        fires = values != 0
        self.fired += fires.sum(0).cpu()
        each = fires.sum(1).double()
        self.n += len(each)
        self.sum += float(each.sum())
        self.squares += float(each.square().sum())

    def mean(self) -> Estimate:
        mean = self.sum / self.n
        if self.n < 2:
            return Estimate(mean, None)
        variance = max(0.0, self.squares - self.n * mean**2) / (self.n - 1)
        return Estimate(mean, math.sqrt(variance / self.n))


class _ErrorSums:
    """What each batch adds to squared errors and to the variance of the samples."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, ...]] = []

    def add(self, output: Tensor, x: Tensor) -> None:
        x, output = x.double(), output.double()
        sums = (x - output).square().sum(), x.square().sum(), x.sum(0), torch.tensor(float(len(x)))
        self.batches.append(tuple(part.cpu() for part in sums))

    def explained(self, value: float) -> Estimate | None:
        """SAELens's value with a standard error; None where nothing is to be explained, for which SAELens says 0 or 1."""
        units = [torch.stack(part) for part in zip(*self.batches, strict=True)]
        _, size, total, count = (unit.sum(0) for unit in units)
        if float(size / count - (total / count).square().sum()) < 1e-10:  # SAELens's own bound
            return None
        _, stderr, _ = jackknife(_explained_variance, *units)
        return Estimate(value, None if stderr is None else float(stderr))


def _explained_variance(error: Tensor, size: Tensor, total: Tensor, count: Tensor) -> Tensor:
    """1 - error / variance, from the sums [...] of squared errors, of squared norms, of samples [..., d], and their number [...]; [..., 1]."""
    variance = size - total.square().sum(-1) / count
    return (1 - error / variance)[..., None]
