"""Which difference a number of seeds would find, and how many seeds a difference needs. No torch."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from hedgebench.stats.pairwise import ALPHA

if TYPE_CHECKING:
    from collections.abc import Callable

POWER = 0.8
MOST = 1000
"""Seeds: a difference that needs more is as good as none."""


def power(difference: float, sd: float, seeds: int, variants: int = 2) -> float:
    """The chance that two variants whose means differ by `difference` are told apart, at a level of 5 % for all pairs of variants together.

    By Student's t, noncentral, with the variance pooled over the variants, as `pairwise.compare` has it where they are equally noisy; exact for two variants, and where there are more a lower bound,
    since Holm's adjustment is Bonferroni's at worst.

    Args:
        difference: Of the means, in the metric's unit.
        sd: Over training seeds within a variant.
        seeds: Training seeds of each variant, 2 at least.
        variants: That are compared.
    """
    from scipy.stats import nct, t

    if seeds < 2 or variants < 2:
        raise ValueError(f"power is of two variants or more, of two seeds or more, not {variants} and {seeds}")
    if not difference or not sd:
        return float(bool(difference))
    df = variants * (seeds - 1)
    threshold = float(t.ppf(1 - ALPHA / 2 / math.comb(variants, 2), df))
    shift = abs(difference) / sd * math.sqrt(seeds / 2)
    found = float(nct.sf(threshold, df, shift) + nct.cdf(-threshold, df, shift))
    return found if math.isfinite(found) else 1.0  # the tail of a large shift overflows in scipy


def detectable(sd: float, seeds: int, variants: int = 2, wanted: float = POWER) -> float:
    """The minimal detectable difference: the smallest that is found with the wanted power. In the unit of `sd`; the rest as in `power`."""
    return sd * _detectable(seeds, variants, wanted) if sd else 0.0


@cache
def _detectable(seeds: int, variants: int, wanted: float) -> float:
    """In standard deviations."""
    from scipy.optimize import brentq

    def missing(ratio: float) -> float:
        return power(ratio, 1.0, seeds, variants) - wanted

    high = 1.0
    while missing(high) < 0:
        high *= 2
    return float(brentq(missing, 0.0, high))


def seeds_needed(difference: float, sd: float, variants: int = 2, wanted: float = POWER) -> int | None:
    """The least number of training seeds with which a difference is found with the wanted power; None where `MOST` do not do. The rest as in `power`."""

    def enough(seeds: int) -> bool:
        return power(difference, sd, seeds, variants) >= wanted

    return _first(enough, 2, MOST)


def _first(true: Callable[[int], bool], low: int, high: int) -> int | None:
    """The first number from which on something is true, by bisection; None where it is not at the last."""
    if not true(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if true(middle) else (middle + 1, high)
    return low
