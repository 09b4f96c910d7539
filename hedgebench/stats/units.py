"""Estimates with honest errors, from units (sequences, latents, ...) that are independent of each other.

Tokens of one sequence are correlated, so an error computed over tokens is too small. Every function here takes one entry per unit
and computes in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.stats.intervals import check_units
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
    check_units(num, den)
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
    check_units(*wide)
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
    check_units(*wide)
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
