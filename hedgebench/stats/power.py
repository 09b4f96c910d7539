"""Which difference a number of seeds would find, and how many seeds a difference needs. No torch."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.stats.pairwise import ALPHA

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

POWER = 0.8
MOST = 1000
"""Seeds: a difference that needs more is as good as none."""


def power(difference: float, sd: float, seeds: int, variants: int = 2, pooled: bool = True) -> float:
    """The chance that two variants whose means differ by `difference` are told apart, at a level of 5 % for all pairs of variants together.

    Of equally noisy variants. For more than two a little too low, since Holm's adjustment is Bonferroni's at worst (`benchmarks/seed_statistics.py` has it beside what is found).

    Args:
        difference: Of the means, in the metric's unit.
        sd: Over training seeds within a variant.
        seeds: Training seeds of each variant, 2 at least.
        variants: That are compared.
        pooled: Whether their variances are (`Pairs.pooled`); if not, those of the two alone count.
    """
    if seeds < 2 or variants < 2:
        raise ValueError(f"power is of two variants or more, of two seeds or more, not {variants} and {seeds}")
    if not difference or not sd:
        return float(bool(difference))
    level = ALPHA / math.comb(variants, 2)
    shift = abs(difference) / sd * math.sqrt(seeds / 2)
    return _found(shift, (variants if pooled else 2) * (seeds - 1), level)


def _found(shift: float, df: int, level: float) -> float:
    """The chance that Student's t with `df` degrees of freedom, noncentral by `shift`, is significant on two sides: the normal one's, averaged over what the standard error may come out as.

    scipy's own noncentral t is not finite where the threshold is large, as with few degrees of freedom and many pairs.
    """
    from scipy.special import ndtr, stdtrit

    limit = float(stdtrit(df, 1 - level / 2)) * _spreads(df)
    return float((ndtr(shift - limit) + ndtr(-shift - limit)).mean())


@cache
def _spreads(df: int) -> NDArray[np.float64]:
    """What an estimated standard deviation of `df` degrees of freedom may be, over the true one: the middles of so many equally likely ranges."""
    from scipy.stats import chi2

    found: NDArray[np.float64] = np.sqrt(chi2.ppf((np.arange(4000) + 0.5) / 4000, df) / df)
    return found


def detectable(sd: float, seeds: int, variants: int = 2, pooled: bool = True, wanted: float = POWER) -> float:
    """The minimal detectable difference: the smallest that is found with the wanted power. In the unit of `sd`; the rest as in `power`."""
    return sd * _detectable(seeds, variants, pooled, wanted) if sd else 0.0


@cache
def _detectable(seeds: int, variants: int, pooled: bool, wanted: float) -> float:
    """In standard deviations."""
    from scipy.optimize import brentq

    def missing(ratio: float) -> float:
        return power(ratio, 1.0, seeds, variants, pooled) - wanted

    high = 1.0
    while missing(high) < 0:
        high *= 2
    return float(brentq(missing, 0.0, high))


def seeds_needed(
    difference: float, sd: float, variants: int = 2, pooled: bool = True, wanted: float = POWER
) -> int | None:
    """The least number of training seeds with which a difference is found with the wanted power; None where `MOST` do not do. The rest as in `power`."""
    if not difference or not sd:
        return 2 if difference else None
    ratio = abs(difference) / sd
    return _first(lambda seeds: _detectable(seeds, variants, pooled, wanted) <= ratio, 2, MOST)


def _first(true: Callable[[int], bool], low: int, high: int) -> int | None:
    """The first number from which on something is true, by bisection; None where it is not at the last."""
    if not true(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if true(middle) else (middle + 1, high)
    return low
