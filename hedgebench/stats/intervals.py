"""Means over independent units with their intervals. No torch: the reading side uses them, too."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


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


def ratio_interval(num: ArrayLike, den: ArrayLike, level: float = 0.95) -> Interval:
    """The ratio of the means of two values of the same independent units, and Fieller's interval: the ratios r for which num - r den may be 0 on average, by Student's t.

    Args:
        num: [n], of each unit.
        den: [n], of the same units.
        level: Confidence.

    Returns:
        The ratio. NaN ends also where the mean of `den` may be 0, so that the ratio may be of any size.

    Raises:
        ValueError: The lengths differ, or a NaN or infinity is among them.
        CannotMeasure: There is no unit, or the mean of `den` is 0.
    """
    num, den = np.asarray(num, dtype=np.float64), np.asarray(den, dtype=np.float64)
    check_units(num, den)
    n, over, under = len(num), float(num.mean()), float(den.mean())
    if not under:
        raise CannotMeasure("the ratio's denominator is zero")
    ratio = over / under
    if n < 2:
        return Interval(ratio, math.nan, math.nan, n)
    reach = _quantile((1 + level) / 2, n - 1) ** 2 / n * np.cov(num, den)
    # a r^2 - 2 b r + c <= 0
    a, b, c = under**2 - float(reach[1, 1]), over * under - float(reach[0, 1]), over**2 - float(reach[0, 0])
    if a <= 0:
        return Interval(ratio, math.nan, math.nan, n)
    half = math.sqrt(max(0.0, b**2 - a * c))
    return Interval(ratio, (b - half) / a, (b + half) / a, n)


def slope_interval(x: ArrayLike, y: ArrayLike, unit: ArrayLike, level: float = 0.95) -> Interval:
    """The slope of y on x by least squares, of each unit by itself: the mean over units and its Student t interval.

    Args:
        x: [n].
        y: [n].
        unit: [n], which unit each value is of (a training seed). One that has no two different x has no slope, and is left out.
        level: Confidence.

    Raises:
        ValueError: The lengths differ, or a NaN or infinity is among x and y.
        CannotMeasure: No unit has a slope.
    """
    x, y, unit = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), np.asarray(unit)
    check_units(x, y)
    if len(unit) != len(x):
        raise ValueError(f"{len(x)} values, but {len(unit)} units")
    slopes = list[float]()
    for one in np.unique(unit):
        of = unit == one
        apart = x[of] - x[of].mean()
        if (x[of] != x[of][0]).any():
            slopes.append(float(apart @ y[of] / (apart @ apart)))
    return mean_interval(slopes, level)


def complete(x: ArrayLike, unit: ArrayLike) -> NDArray[np.bool_]:
    """Which values make up the largest table without a gap, of some x and the units that have a value at each of them (of two as large, that of more units): in slopes over it all units weigh alike, and none has an end that others lack.

    Args:
        x: [n].
        unit: [n], which unit each value is of; it has one value at each x.

    Returns:
        [n].
    """
    x, unit = np.asarray(x), np.asarray(unit)
    units = {one: frozenset(unit[x == one]) for one in np.unique(x)}
    blocks = list(dict.fromkeys(units.values()))
    for block in blocks:  # grows meanwhile: the units of the largest table are those that some x have in common
        common = dict.fromkeys(block & own for own in units.values())
        blocks += [one for one in common if one not in blocks]

    def size(block: frozenset[Any]) -> tuple[int, int]:
        return len(block) * sum(block <= own for own in units.values()), len(block)

    block = max(blocks, key=size, default=frozenset[Any]())
    return np.array([two in block and block <= units[one] for one, two in zip(x, unit, strict=True)], dtype=bool)


def step_intervals(x: ArrayLike, y: ArrayLike, unit: ArrayLike, level: float = 0.95) -> dict[str, Interval]:
    """From each x to the next larger one, by name (`64 to 128`): the change of y, over the units that have both, and its Student t interval. Steps that no unit has both ends of are left out.

    Args:
        x: [n].
        y: [n].
        unit: [n], which unit each value is of (a training seed); it has one value at each x.
        level: Confidence.

    Raises:
        ValueError: A NaN or infinity is among y.
    """
    import pandas as pd

    at = pd.Series(np.asarray(y, dtype=np.float64), index=[np.asarray(unit), np.asarray(x)]).unstack()  # noqa: PD010 - one value in each cell
    steps = {f"{low:,} to {high:,}": (at[high] - at[low]).dropna() for low, high in itertools.pairwise(at.columns)}
    return {name: mean_interval(change, level) for name, change in steps.items() if len(change)}


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
