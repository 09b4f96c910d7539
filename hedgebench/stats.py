"""Estimates with honest errors, from units (sequences, latents, ...) that are independent of each other.

Tokens of one sequence are correlated, so an error computed over tokens is too small. Every function here takes one entry per unit, as
numpy arrays or CPU tensors, and computes in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


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
    num, den = _checked(num, den)
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


def jackknife(statistic: Callable[..., NDArray], *units: ArrayLike) -> tuple[NDArray, NDArray | None, int]:
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
    arrays = _checked(*units)
    totals = [array.sum(axis=0) for array in arrays]
    n = len(arrays[0])
    values = statistic(*totals)
    if n < 2:
        return values, None, n
    left_out = statistic(*(total - array for total, array in zip(totals, arrays, strict=True)))
    return values, (n - 1) / np.sqrt(n) * left_out.std(axis=0, ddof=1), n


def _checked(*units: ArrayLike) -> list[NDArray]:
    arrays = [np.asarray(unit, dtype=np.float64) for unit in units]
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"expected one entry per unit in each, found {' and '.join(map(str, lengths))}")
    if lengths[0] == 0:
        raise CannotMeasure("there is no unit to average over")
    for array in arrays:
        bad = int((~np.isfinite(array)).sum())
        if bad:
            raise ValueError(f"{bad} of {array.size} values are NaN or infinite")
    return arrays
