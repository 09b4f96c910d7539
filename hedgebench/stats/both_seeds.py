"""The interval of a mean over training seeds and evaluation seeds together. No torch.

With few seeds no formula of the mean squares alone keeps its word here: the usual one (Satterthwaite's degrees of freedom) holds the truth too seldom where a source with two seeds came out small by
chance, and made wide enough for that it holds it in up to .998 of tables. So the interval that is wide enough is scaled by what its own draws say: how it would do if the table's mean squares were
the true ones (prepivoting: Beran 1987, "Prepivoting to reduce level error of confidence sets"). Coverage: `benchmarks/seed_statistics.py`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.stats.components import mean_squares
from hedgebench.stats.intervals import Interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.float64]

_DRAWS = 2**12


def over_both(values: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of one variant's values [a SAEs, b evaluation seeds], with its interval over both: where it lies for all such SAEs, over evaluation seeds without end.

    The same table has the same interval every time: the draws that scale it are fixed points.

    Args:
        values: [a, b], finite.
        level: Confidence.

    Returns:
        NaN ends where either has a single seed.
    """
    values = np.asarray(values, dtype=np.float64)
    a, b = values.shape
    mean, n = float(values.mean()), min(a, b)
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    found = mean_squares(values)
    squares = np.array([found.training, found.evaluation, found.rest])
    if not (largest := squares.max()):
        return Interval(mean, mean, mean, n)
    squares /= largest  # their squares stay in range
    reach = float(_reach(squares, a, b, level)) * _scale(squares, a, b, level) * math.sqrt(largest / (a * b))
    return Interval(mean, mean - reach, mean + reach, n)


def _scale(squares: Numbers, a: int, b: int, level: float) -> float:
    """What `_reach` is to be multiplied by.

    It would hold the truth in exactly its share if the mean squares were as found. They are estimates themselves, which makes the share too small by a part that goes down with the number of seeds: the
    chance of a miss is made smaller by one part in as many as there are of the fewer seeds, which simulation found to be about enough.
    """
    chances, error = _drawn(a, b)
    training, evaluation, rest = squares
    expected = np.array([max(training, rest), max(evaluation, rest), rest])  # b T^2 + e^2, a S^2 + e^2, e^2
    pivots = error * math.sqrt(expected[0] + expected[1] - rest) / _reach(expected[:, None] * chances, a, b, level)
    n = min(a, b)
    return float(np.quantile(pivots, 1 - (1 - level) * (n - 1) / n))


def _reach(squares: Numbers, a: int, b: int, level: float) -> Numbers:
    """How far the interval reaches that is scaled, in units of 1 / sqrt(a b): never less than that over either seed.

    Args:
        squares: [3, ...], mean squares of training seeds, evaluation seeds and the rest. The variance of the mean is their first and second less the third, over a b, and not less than any of them is.
        a: Training seeds.
        b: Evaluation seeds.
        level: Confidence.
    """
    training, evaluation, rest = squares
    variance = np.maximum(training + evaluation - rest, squares.max(axis=0))
    spread = training**2 / (a - 1) + evaluation**2 / (b - 1)
    reach: Numbers = _quantile(spread / variance**2, level) * np.sqrt(variance)  # Satterthwaite's degrees of freedom
    for square, df in ((training, a - 1), (evaluation, b - 1)):
        reach = np.maximum(reach, _quantile(np.float64(1 / df), level) * np.sqrt(square))
    return reach


def _quantile(inverse_df: Numbers | np.float64, level: float) -> Numbers:
    """Student's two-sided quantile, of 1 over the degrees of freedom, which is at most 2 (half a degree)."""
    inverse, logs = _quantiles(level)
    quantile: Numbers = np.exp(np.interp(inverse_df, inverse, logs))
    return quantile


@cache
def _quantiles(level: float) -> tuple[Numbers, Numbers]:
    """Inverse degrees of freedom and logarithms of the quantile, close enough for interpolation: to a relative 1e-5."""
    from scipy.stats import t

    inverse = np.linspace(0, 2, 2001)
    df = np.divide(1, inverse, out=np.full_like(inverse, np.inf), where=inverse > 0)
    return inverse, np.log(t.ppf((1 + level) / 2, df))


@cache
def _drawn(a: int, b: int) -> tuple[Numbers, Numbers]:
    """Evenly spread draws (Sobol's points): mean squares [3, draws] over their expectations, and how far off the mean is [draws], in its own standard deviations."""
    from scipy.stats import chi2, norm
    from scipy.stats.qmc import Sobol

    points = Sobol(4, scramble=False).random(_DRAWS) + 0.5 / _DRAWS
    df = np.array([a - 1, b - 1, (a - 1) * (b - 1)])
    return (chi2.ppf(points[:, :3], df) / df).T, np.abs(norm.ppf(points[:, 3]))
