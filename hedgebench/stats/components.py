"""How much the training seed and the evaluation seed move a number, and what a mean over seeds is worth. No torch.

The model of a metric at one place: value of SAE i at evaluation seed j = variant of i + T_i + S_j + e_ij. T is the training seed's part, S the evaluation seed's, which all SAEs share (they see the
same draw), e the rest. Every SAE has a value at every seed, so that the mean squares of the analysis of variance give the parts without bias (Searle, Casella and McCulloch, *Variance Components*,
1992, chapter 4), as restricted maximum likelihood does wherever none comes out below 0 (`tests/stats` holds both to statsmodels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.stats.intervals import Interval, mean_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Components(NamedTuple):
    """Standard deviations that a metric has from each source, in the metric's unit. None where the table cannot tell: no source is read off fewer than two seeds."""

    training: float | None
    """Between SAEs of one variant, over evaluation seeds without end. With a single evaluation seed it holds `rest`, too, which then is None."""
    evaluation: float | None
    """What moves all SAEs alike from one evaluation seed to the next. For a single SAE it holds `rest`, too, which then is None."""
    rest: float | None
    n_variants: int
    """Variants that have several training seeds."""
    n_saes: int
    n_seeds: int
    """Evaluation seeds."""


class Squares(NamedTuple):
    """Mean squares and their degrees of freedom, 0 where there is no such square (which then is 0, too)."""

    training: float
    training_df: int
    evaluation: float
    evaluation_df: int
    rest: float
    rest_df: int


def mean_squares(values: ArrayLike, variant: Sequence[Any] | None = None) -> Squares:
    """The mean squares of values [a SAEs, b evaluation seeds]: of SAEs within their variants, of evaluation seeds, and of what is left.

    Their expectations are b T^2 + e^2, a S^2 + e^2 and e^2, T, S and e the standard deviations.

    Args:
        values: [a, b], finite.
        variant: [a], the variant of each SAE; None: all are one.
    """
    values = np.asarray(values, dtype=np.float64)
    a, b = values.shape
    _, code = np.unique(np.zeros(a) if variant is None else np.asarray(variant, dtype=str), return_inverse=True)
    sae, seed = values.mean(axis=1), values.mean(axis=0)
    sizes = np.bincount(code)
    within = sae - (np.bincount(code, sae) / sizes)[code]
    left = values - sae[:, None] - seed + values.mean()
    dfs = a - len(sizes), b - 1, (a - 1) * (b - 1)
    sums = b * (within**2).sum(), a * ((seed - seed.mean()) ** 2).sum(), (left**2).sum()
    training, evaluation, rest = (float(total) / df if df else 0.0 for total, df in zip(sums, dfs, strict=True))
    return Squares(training, dfs[0], evaluation, dfs[1], rest, dfs[2])


def components(values: ArrayLike, variant: Sequence[Any]) -> Components:
    """The parts of the variance of values [a SAEs, b evaluation seeds]; one that comes out below 0 is 0.

    Args:
        values: [a, b], finite.
        variant: [a], the variant of each SAE.
    """
    values = np.asarray(values, dtype=np.float64)
    (a, b), found = values.shape, mean_squares(values, variant)

    def spread(square: float, df: int, n: int) -> float | None:
        return math.sqrt(max(0.0, square - found.rest) / n) if df else None

    _, sizes = np.unique(np.asarray(variant, dtype=str), return_counts=True)
    return Components(
        spread(found.training, found.training_df, b),
        spread(found.evaluation, found.evaluation_df, a),
        math.sqrt(found.rest) if found.rest_df else None,
        int((sizes > 1).sum()),
        a,
        b,
    )


class NoiseFloor(NamedTuple):
    """What a metric of one SAE does when nothing but the evaluation seed changes."""

    sd: float | None
    """Over evaluation seeds, pooled over SAEs; None with a single seed."""
    low: float | None
    """95 % interval of `sd`; likewise `high`."""
    high: float | None
    cv: float | None
    """`sd` over the mean absolute value ("Are SAE Benchmarks Reliable?", arXiv 2605.18229); None where that is 0."""


def noise_floor(values: ArrayLike, level: float = 0.95) -> NoiseFloor:
    """The standard deviation over evaluation seeds of one SAE's values; of several SAEs [a, b], pooled.

    The seeds are the same for all SAEs, so that more SAEs tell more about `rest` and not about the seeds. The interval of the sum of the two is that of Graybill and Wang (1980, "Confidence intervals
    on nonnegative linear combinations of variances"); of one SAE it is the chi square's. Coverage at 95 %: `benchmarks/seed_statistics.py`.
    """
    from scipy.stats import chi2

    values = np.asarray(values, dtype=np.float64)
    a, b = values.shape
    if b < 2:
        return NoiseFloor(None, None, None, None)
    found = mean_squares(values)
    parts = np.array([found.evaluation, (a - 1) * found.rest]) / a
    df = np.array([found.evaluation_df, max(1, found.rest_df)])
    variance, typical = float(parts.sum()), float(np.abs(values).mean())
    below, above = (parts * (df / chi2.ppf(q, df) - 1) for q in ((1 + level) / 2, (1 - level) / 2))
    low, high = variance - float(np.linalg.norm(below)), variance + float(np.linalg.norm(above))
    sd = math.sqrt(variance)
    return NoiseFloor(sd, math.sqrt(max(0.0, low)), math.sqrt(high), sd / typical if typical else None)


def over_training(values: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of one variant's values [a SAEs, b evaluation seeds], with its interval over training seeds: where the mean of all such SAEs lies, on these evaluation seeds. NaN ends for a single SAE."""
    return mean_interval(_means(values, 1), level)


def over_evaluation(values: ArrayLike, level: float = 0.95) -> Interval:
    """The same mean with its interval over evaluation seeds: where it lies for these SAEs, over evaluation seeds without end. NaN ends for a single seed."""
    return mean_interval(_means(values, 0), level)


def _means(values: ArrayLike, axis: int) -> NDArray[np.float64]:
    means: NDArray[np.float64] = np.asarray(values, dtype=np.float64).mean(axis=axis)
    return means
