"""Estimates with honest errors, from units (sequences, latents, ...) that are independent of each other.

Tokens of one sequence are correlated, so an error computed over tokens is too small. Every function here takes one entry per unit
and computes in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike
    from torch import Tensor


def ratio_of_sums(num: ArrayLike, den: ArrayLike) -> tuple[float, float | None, int]:
    """The ratio sum(num) / sum(den) and its standard error by the delta method.

    With e_i = num_i - value * den_i, whose mean is zero, stderr = sqrt(n * var(e, ddof=1)) / |sum(den)|: units may be of unequal size.

    Args:
        num: [n], one numerator per independent unit.
        den: [n], the denominators, of any sign.

    Returns:
        (value, stderr, n). A unit that adds nothing to either sum is not counted; stderr is None for fewer than two units.

    Raises:
        ValueError: The two are not vectors of one length, or hold a NaN or infinity.
        CannotMeasure: There is no unit, or the denominators sum to zero.
    """
    num, den = np.asarray(num, dtype=np.float64), np.asarray(den, dtype=np.float64)
    _check(num, den)
    if num.ndim != 1 or den.ndim != 1:
        raise ValueError(f"expected two vectors, found shapes {num.shape} and {den.shape}")
    n, total = int(((num != 0) | (den != 0)).sum()), float(den.sum())
    if total == 0.0:
        raise CannotMeasure("the ratio's denominator is zero")
    value = float(num.sum()) / total
    if n < 2:
        return value, None, n
    residuals = num - value * den
    return value, float(np.sqrt(n / (n - 1) * (residuals**2).sum())) / abs(total), n


def jackknife(statistic: Callable[..., Tensor], *units: Tensor) -> tuple[Tensor, Tensor | None, int]:
    """A smooth statistic of sums over units, and its standard errors by leaving out one unit at a time.

    Args:
        statistic: From totals, one [..., *shape] per entry of `units`, to values [..., m]; it must broadcast over leading dimensions.
        units: Each [n, *shape]: what every independent unit adds to the totals.

    Returns:
        (values [m], stderrs [m], n). The stderrs are None for a single unit.

    Raises:
        ValueError: The lengths differ, or a NaN or infinity is among them.
        CannotMeasure: There is no unit.
    """
    wide = [unit.double() for unit in units]
    _check(*wide)
    totals = [unit.sum(0) for unit in wide]
    n = len(wide[0])
    values = statistic(*totals)
    if n < 2:
        return values, None, n
    left_out = statistic(*(total - unit for total, unit in zip(totals, wide, strict=True)))
    return values, (n - 1) / n**0.5 * left_out.std(0, correction=1), n


def bootstrap(
    statistic: Callable[..., Tensor], *units: Tensor, generator: torch.Generator, resamples: int = 1000
) -> tuple[Tensor, Tensor | None, int]:
    """As `jackknife`, with standard errors by resampling units with replacement.

    Args:
        statistic: From totals, one [..., *shape] per entry of `units`, to values [..., m]; it must broadcast over leading dimensions.
        units: Each [n, *shape].
        generator: On the CPU.
        resamples: How often all units are drawn anew.

    Returns:
        (values [m], stderrs [m], n). The stderrs are None for a single unit.

    Raises:
        ValueError: The lengths differ, or a NaN or infinity is among them.
        CannotMeasure: There is no unit.
    """
    import torch

    wide = [unit.double() for unit in units]
    _check(*wide)
    values, n = statistic(*(unit.sum(0) for unit in wide)), len(wide[0])
    if n < 2:
        return values, None, n
    flat = torch.cat([unit.reshape(n, -1) for unit in wide], dim=1)
    drawn = []
    for _ in range(resamples):
        times = torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n).double()
        drawn.append(times @ flat)
    totals = torch.stack(drawn).split([unit[0].numel() for unit in wide], dim=1)
    shaped = (total.reshape(resamples, *unit.shape[1:]) for total, unit in zip(totals, wide, strict=True))
    return values, statistic(*shaped).std(0, correction=1), n


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
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64)
    _check(values)
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    reach = float(t.ppf((1 + level) / 2, n - 1)) * float(values.std(ddof=1)) / n**0.5
    return Interval(mean, mean - reach, mean + reach, n)


def _check(*units: Any) -> None:
    lengths = [len(unit) for unit in units]
    if len(set(lengths)) > 1:
        raise ValueError(f"expected one entry per unit in each, found {' and '.join(map(str, lengths))}")
    if lengths[0] == 0:
        raise CannotMeasure("there is no unit to average over")
    for unit in units:
        total = float(abs(unit).sum())
        if not math.isfinite(total):
            raise ValueError("a NaN or an infinity is among the units")
