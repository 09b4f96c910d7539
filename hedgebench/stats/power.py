"""Which difference a number of seeds would find, and how many seeds a difference needs. No torch.

Of the comparisons as `pairwise` makes them: whether variances are pooled is asked first, and those of equally noisy variants are not in a quarter of tables, where a difference has to be larger to be
found. What the variances of a table come out as is drawn many times over, with a fixed seed; given these, the chance of finding a difference is that of a normal mean beyond a threshold.

`paired`: of SAEs at shared evaluation seeds (`compare_paired`), where seeds are evaluation seeds and standard deviations those of the rest, what a seed does to one SAE alone.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.stats.pairwise import ALPHA, DOUBT, bartlett

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

POWER = 0.8
MOST = 1000
"""Seeds: a difference that needs more is as good as none."""
_DRAWS = 10_000
"""Tables: a power has a standard error of .004 at most."""
_NUMBERS = 4_000_000
"""Drawn at once at most; of tables so large that this makes fewer than `_DRAWS`, each has nearly the same threshold."""
_STEP = 0.25
"""Ratios of two standard deviations are rounded to so many doublings, so that thresholds are drawn once for many pairs."""
Spread = float | tuple[float, float]
"""Standard deviation over training seeds within a variant: one, where all variants are as noisy; that of either, where each counts for itself."""


def power(difference: float, sd: Spread, seeds: int, variants: int = 2, *, paired: bool = False) -> float:
    """The chance that two variants whose means differ by `difference` are told apart, at a level of 5 % for all pairs of variants together.

    For more than two variants a little too low, since Holm's adjustment is Bonferroni's at worst (`benchmarks/seed_statistics.py` has it beside what is found).

    Args:
        difference: Of the means, in the metric's unit.
        sd: In the same unit. A single one: of variants that are equally noisy, so that their variances are pooled as often as they are. Two: of the two variants, in a table that is not pooled.
        seeds: Training seeds of each variant, 2 at least.
        variants: That are compared.
        paired: As the module has it.
    """
    if seeds < 2 or variants < 2:
        raise ValueError(f"power is of two variants or more, of two seeds or more, not {variants} and {seeds}")
    size = _size(sd)
    if not difference or not size:
        return float(bool(difference))
    limits = _thresholds(seeds, variants, _ratio(sd), paired)
    return _found(abs(difference) / size * math.sqrt(seeds / 2), limits)


def _size(sd: Spread) -> float:
    """Root mean square of two standard deviations, or the one."""
    return math.hypot(*sd) / math.sqrt(2) if isinstance(sd, tuple) else sd


def _ratio(sd: Spread) -> float | None:
    """The larger of two standard deviations over the smaller, rounded; None where there is but one."""
    if not isinstance(sd, tuple):
        return None
    low, high = sorted(sd)
    doublings = math.log2(high / low) if low else math.inf
    return float(2 ** (_STEP * round(min(doublings, 10) / _STEP)))


def _found(shift: float, limits: NDArray[np.float64]) -> float:
    """The chance that a normal difference, `shift` standard errors from 0, is beyond a threshold, on either side; the mean over thresholds."""
    from scipy.special import ndtr

    return float((ndtr(shift - limits) + ndtr(-shift - limits)).mean())


def _thresholds(
    seeds: int, variants: int, ratio: float | None, paired: bool, comparisons: int | None = None
) -> NDArray[np.float64]:
    if paired:
        return _paired_limits(seeds, variants, ratio is None)
    return _limits(seeds, variants, ratio, comparisons=comparisons)


@cache
def _paired_limits(seeds: int, variants: int, asked: bool) -> NDArray[np.float64]:
    """As `_limits`, of SAEs at shared evaluation seeds.

    Args:
        seeds: Evaluation seeds.
        variants: SAEs that are compared.
        asked: Whether pooling is asked about; else each pair has its own variance.
    """
    from scipy.special import stdtrit

    df = seeds - 1
    draws = int(np.clip(_NUMBERS // (variants * seeds), 100, _DRAWS))
    rest = np.random.default_rng(0).standard_normal((draws, variants, seeds))
    left = (
        rest
        - rest.mean(axis=2, keepdims=True)
        - rest.mean(axis=1, keepdims=True)
        + rest.mean(axis=(1, 2), keepdims=True)
    )
    shared, dfs = ((left[:, 0] - left[:, 1]) ** 2).sum(axis=1) / df / 2, np.full(draws, float(df))
    if asked:
        sums = (left**2).sum(axis=2)
        pooled = bartlett(sums / df, np.full(variants, df)) >= DOUBT
        shared = np.where(pooled, sums.sum(axis=1) / ((variants - 1) * df), shared)
        dfs = np.where(pooled, (variants - 1) * df, dfs)
    found: NDArray[np.float64] = stdtrit(dfs, 1 - ALPHA / 2 / math.comb(variants, 2)) * np.sqrt(shared)
    return found


@cache
def _limits(
    seeds: int, variants: int, ratio: float | None, doubt: float = DOUBT, comparisons: int | None = None
) -> NDArray[np.float64]:
    """The thresholds of drawn tables, [draws]: how large a difference of two means must be to be found, in true standard errors of such a difference.

    Args:
        seeds: Of each variant.
        variants: That are compared.
        ratio: Of the standard deviations of the two, whose variances then are not pooled; None: all are equally noisy.
        doubt: Level of the test that decides whether variances are pooled.
        comparisons: Made together; None: of all pairs of variants.
    """
    from scipy.special import stdtrit

    df = seeds - 1
    if ratio is None:
        variance = np.random.default_rng(0).chisquare(df, (_DRAWS, variants)) / df
        pair = variance[:, :2]
    else:
        pair = _pairs(df, ratio)
    shared, dfs = pair.mean(axis=1), pair.sum(axis=1) ** 2 / (pair**2).sum(axis=1) * df
    if ratio is None:
        pooled = bartlett(variance, np.full(variants, df)) >= doubt
        shared = np.where(pooled, variance.mean(axis=1), shared)
        dfs = np.where(pooled, variants * df, dfs)
    found: NDArray[np.float64] = stdtrit(dfs, 1 - ALPHA / 2 / (comparisons or math.comb(variants, 2))) * np.sqrt(shared)
    return found


def _pairs(df: int, ratio: float) -> NDArray[np.float64]:
    """[draws, 2]: what the variances of two variants may come out as, the middles of equally likely ranges of either, in their mean. There may be a pair of its own for every comparison, so few must do."""
    from scipy.stats import chi2

    n = 48 if df < 10 else 24 if df < 30 else 8
    one = chi2.ppf((np.arange(n) + 0.5) / n, df) / df
    true = np.array([ratio**2, 1.0]) * 2 / (ratio**2 + 1)
    found: NDArray[np.float64] = true * np.stack(np.meshgrid(one, one), axis=-1).reshape(-1, 2)
    return found


def detectable(
    sd: Spread,
    seeds: int,
    variants: int = 2,
    wanted: float = POWER,
    *,
    paired: bool = False,
    comparisons: int | None = None,
) -> float:
    """The minimal detectable difference: the smallest that is found with the wanted power. In the unit of `sd`; the rest as in `power`.

    Args:
        sd: As in `power`, like `paired`.
        seeds: Of each variant.
        variants: That are compared.
        wanted: The power.
        paired: As the module has it.
        comparisons: That share the level of 5 % (of several metrics, say); None: all pairs of the variants. Not for paired ones.
    """
    if paired and comparisons is not None:
        raise ValueError("a number of comparisons is for variants that are not paired")
    return _size(sd) * _detectable(seeds, variants, _ratio(sd), wanted, paired, comparisons) if _size(sd) else 0.0


@cache
def _detectable(
    seeds: int, variants: int, ratio: float | None, wanted: float, paired: bool, comparisons: int | None = None
) -> float:
    """In standard deviations."""
    from scipy.optimize import brentq

    limits = _thresholds(seeds, variants, ratio, paired, comparisons)

    def missing(shift: float) -> float:
        return _found(shift, limits) - wanted

    high = 1.0
    while missing(high) < 0:
        high *= 2
    return float(brentq(missing, 0.0, high)) / math.sqrt(seeds / 2)


def seeds_needed(
    difference: float, sd: Spread, variants: int = 2, wanted: float = POWER, *, paired: bool = False
) -> int | None:
    """The least number of seeds with which a difference is found with the wanted power; None where `MOST` do not do. The rest as in `power`."""
    size = _size(sd)
    if not difference or not size:
        return 2 if difference else None
    return _first(
        lambda seeds: _detectable(seeds, variants, _ratio(sd), wanted, paired) <= abs(difference) / size, 2, MOST
    )


def _first(true: Callable[[int], bool], low: int, high: int) -> int | None:
    """The first number from which on something is true, by bisection; None where it is not at the last."""
    if not true(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if true(middle) else (middle + 1, high)
    return low
