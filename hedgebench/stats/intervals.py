"""Means over independent units with their intervals. No torch: the reading side uses them, too."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """A mean over independent units, with the range in which it lies at a level of confidence."""

    mean: float
    low: float
    """NaN for a single unit, of which no range is known; likewise `high`."""
    high: float
    n: int

    def __str__(self) -> str:
        if self.n < 2:
            return f"{self.mean:.3f} (one seed, no interval)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of independent values and its Student t interval.

    Args:
        values: [n].
        level: Confidence.

    Raises:
        ValueError: A NaN or infinity is among them.
        CannotMeasure: There is none.
    """
    values = np.asarray(values, dtype=np.float64)
    check_units(values)
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    reach = _quantile((1 + level) / 2, n - 1) * float(values.std(ddof=1)) / n**0.5
    return Interval(mean, mean - reach, mean + reach, n)


@cache
def _quantile(q: float, df: int) -> float:
    """Of Student's t; kept, since a table asks thousands of times for a few."""
    from scipy.stats import t

    return float(t.ppf(q, df))


def check_units(*units: Any) -> None:
    """Refuse units that no mean can be taken of.

    Args:
        units: Vectors, or anything else with a length, `abs` and `sum`, with one entry per unit each.

    Raises:
        ValueError: The lengths differ, or a NaN or infinity is among them.
        CannotMeasure: There is no unit.
    """
    lengths = [len(unit) for unit in units]
    if len(set(lengths)) > 1:
        raise ValueError(f"expected one entry per unit in each, found {' and '.join(map(str, lengths))}")
    if lengths[0] == 0:
        raise CannotMeasure("there is no unit to average over")
    for unit in units:
        total = float(abs(unit).sum())
        if not math.isfinite(total):
            raise ValueError("a NaN or an infinity is among the units")
