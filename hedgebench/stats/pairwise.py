"""Which variants can be told apart, and the ranks that this leaves. No torch.

Every comparison here is of all pairs at once: p values are adjusted after Holm (1979), so that the chance of any false difference among them is 5 % at most.
Whether the variants are equally noisy is asked first (Bartlett's test, at a level of .25, so that little doubt is enough). If they may be, their variances are pooled; if not, each has its own
(Welch; degrees of freedom are twice those of the fewer seeds at most, as they are where both have as many). Always pooling makes false differences (up to 28 % of tables where one of 12 variants is ten times as noisy), never pooling finds none with few seeds
(`benchmarks/seed_statistics.py` has both).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from string import ascii_lowercase
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05
DOUBT = 0.25
"""Level of the test that variants are equally noisy: how often it doubts those that are."""
_MOST_GROUPS = 26 * 27
_ROUNDING = 1e-9
"""Of the median size: what differs by less is the same number, added up in another order."""
_SMALLEST = 1e-60
"""Of the largest size: what differs by less is the same beside it."""


class Pairs(NamedTuple):
    """All pairs of v variants, p = v (v - 1) / 2; every array is [p] but for the first three."""

    means: NDArray[np.float64]
    """[v]; likewise the two that follow."""
    error: NDArray[np.float64]
    """The standard error of each mean, as far as it matters between variants."""
    error_df: NDArray[np.float64]
    """Its degrees of freedom."""
    first: NDArray[np.int64]
    """Which variant of the pair comes first in `means`; likewise `second`."""
    second: NDArray[np.int64]
    difference: NDArray[np.float64]
    """The mean of the first less that of the second."""
    stderr: NDArray[np.float64]
    df: NDArray[np.float64]
    """Degrees of freedom of `stderr`."""
    adjusted: NDArray[np.float64]
    """Two-sided p value, Holm's adjustment for all pairs done."""
    low: NDArray[np.float64]
    """Simultaneous interval of the differences (Bonferroni's); likewise `high`. Holm finds a little more than these show."""
    high: NDArray[np.float64]
    pooled: bool
    """Whether the variants' variances were pooled."""

    @property
    def apart(self) -> NDArray[np.bool_]:
        """[v, v], symmetric: whether two variants can be told apart."""
        found: NDArray[np.bool_] = np.zeros((len(self.means), len(self.means)), dtype=bool)
        found[self.first, self.second] = self.adjusted < ALPHA
        found[self.second, self.first] = found[self.first, self.second]
        return found


def compare(groups: Sequence[ArrayLike], pooled: bool | None = None) -> Pairs:
    """Compare variants by the values of their SAEs, which are independent: is there a difference between the recipes?

    Args:
        groups: v variants, each a vector of at least 2 values, one for each training seed.
        pooled: Whether their variances are; None: as the module has it.
    """
    values, step = in_steps(groups)
    v, n = len(values), np.array([len(group) for group in values])
    if n.size and n.min() < 2:
        raise ValueError("a variant of one SAE has no spread to be compared by")
    variance = np.array([group.var(ddof=1) for group in values])
    pooled = equally_noisy(variance, n - 1) if pooled is None else pooled
    first, second = np.triu_indices(v, 1)
    if pooled:
        total = float((n - 1).sum())
        shared = float(((n - 1) * variance).sum() / total) if v else 0.0
        own_df, df = np.full(v, total), np.full(len(first), total)
        error = (shared or _of_a_step(values)) / n
    else:
        own_df, error = n - 1.0, _some(variance, _of_a_step(values)) / n
        both = (error[first] + error[second]) ** 2
        spread = error[first] ** 2 / own_df[first] + error[second] ** 2 / own_df[second]
        df = np.divide(both, spread, out=np.ones(len(first)), where=spread > 0)
        df = np.minimum(df, 2 * np.minimum(own_df[first], own_df[second]))  # two seeds may look quiet beside ten
    means = np.array([group.mean() for group in values])
    return _pairs(means, error, own_df, first, second, error[first] + error[second], df, pooled, step)


def compare_paired(values: ArrayLike, pooled: bool | None = None) -> Pairs:
    """Compare SAEs by their values at the same evaluation seeds: do these SAEs differ, whatever the seed? Nothing is said of others trained alike.

    Args:
        values: [v, b], b >= 2 seeds.
        pooled: As in `compare`.
    """
    rows, step = in_steps(np.asarray(values, dtype=np.float64))
    values = np.array(rows)
    v, b = values.shape
    if b < 2:
        raise ValueError("one evaluation seed has no spread to be compared by")
    left = without_what_is_shared(values)
    variance = (left**2).sum(axis=1) / (b - 1)
    pooled = equally_noisy(variance, np.full(v, b - 1)) if pooled is None else pooled
    first, second = np.triu_indices(v, 1)
    if pooled:
        own_df = np.full(v, float(max(1, (v - 1) * (b - 1))))
        error = np.full(v, ((left**2).sum() / own_df[0] or _of_a_step(rows)) / b) if v else np.empty(0)
        squared = error[first] + error[second]
    else:
        least, covariance = _of_a_step(rows), left @ left.T / (b - 1)
        own_df, error = np.full(v, float(b - 1)), _some(variance, least) / b
        squared = (variance[first] + variance[second] - 2 * covariance[first, second]).clip(min=0)
        squared = _some(squared, 2 * least) / b
    return _pairs(values.mean(axis=1), error, own_df, first, second, squared, own_df[first], pooled, step)


def ranks(pairs: Pairs, higher_is_better: bool) -> NDArray[np.int64]:
    """[v]: 1 more than the number of variants that are better and can be told apart. Variants that nothing is known to beat share rank 1."""
    sign = 1 if higher_is_better else -1
    better = sign * pairs.means[:, None] > sign * pairs.means
    found: NDArray[np.int64] = 1 + (better & pairs.apart).sum(axis=0)
    return found


def letters(pairs: Pairs, higher_is_better: bool) -> list[str]:
    """[v]: the groups of each variant, in letters. Two variants share a letter if and only if they cannot be told apart, which is no order: of a, b and c, a and c may be apart, and b from neither.

    The compact letter display of Piepho (2004), every largest group of variants none of which can be told apart; the best has an a. Past 702 groups there are no letters.
    """
    import networkx as nx

    v = len(pairs.means)
    graph = nx.from_numpy_array(~pairs.apart & ~np.eye(v, dtype=bool))
    groups = list(islice(nx.find_cliques(graph), _MOST_GROUPS + 1))
    if len(groups) > _MOST_GROUPS:
        return [""] * v
    from_best = np.argsort(np.argsort(-pairs.means if higher_is_better else pairs.means, kind="stable"))
    found = [""] * v
    for i, group in enumerate(sorted(groups, key=lambda group: sorted(from_best[group]))):
        for member in group:
            found[member] += _letter(i)
    return found


def _letter(i: int) -> str:
    """One letter from a to z, then two in brackets: (aa) to (zz)."""
    return ascii_lowercase[i] if i < 26 else f"({ascii_lowercase[i // 26 - 1]}{ascii_lowercase[i % 26]})"


def groups_apart(pairs: Pairs) -> int:
    """How many variants can be chosen so that each can be told apart from each: along the means, greedily. 1: the metric tells nothing apart."""
    chosen: list[int] = []
    for i in np.argsort(pairs.means, kind="stable"):
        if pairs.apart[chosen, i].all():
            chosen.append(int(i))
    return len(chosen)


def rank_intervals(
    pairs: Pairs, higher_is_better: bool, seed: int = 0, draws: int = 2000
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lowest and the highest rank, [v] each, that a variant may have: at 95 % by a parametric bootstrap (each mean drawn anew, + `error` * Student's t), and all that the comparisons leave open.

    Resampling the two to five values of a variant themselves would make the intervals too short by sqrt((n - 1) / n), and 0 wide where they happen to agree.

    Args:
        pairs: The variants compared.
        higher_is_better: Which end has rank 1.
        seed: Of the draws.
        draws: How often.
    """
    from scipy.stats import rankdata

    sign = 1 if higher_is_better else -1
    v = len(pairs.means)
    drawn = pairs.means + pairs.error * np.random.default_rng(seed).standard_t(pairs.error_df, (draws, v))
    found = rankdata(-sign * drawn, axis=1, method="min")
    low, high = np.quantile(found, [0.025, 0.975], axis=0, method="nearest").astype(np.int64)
    worst = v - (ranks(pairs, not higher_is_better) - 1)
    return np.minimum(low, ranks(pairs, higher_is_better)), np.maximum(high, worst)


def in_steps(groups: Sequence[ArrayLike] | NDArray[np.float64]) -> tuple[list[NDArray[np.float64]], float]:
    """The vectors as whole numbers, of which rounding makes no differences between equal ones, and the step that they count."""
    values = [np.asarray(group, dtype=np.float64) for group in groups]
    sizes = np.abs(np.concatenate(values)) if values else np.empty(0)
    if not sizes.any():
        return values, 1.0
    # not of the largest, since a single huge value says nothing of the others; but one whose fourth power is no number would hide all
    step = max(float(np.median(sizes[sizes > 0])) * _ROUNDING, float(sizes.max()) * _SMALLEST)
    return [np.round(group / step) for group in values], step


def without_what_is_shared(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of whole numbers [v, b] without what a row, and what a column, has in common; 0 where it is rounding of the means."""
    left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    found: NDArray[np.float64] = np.where(np.abs(left) > 1e-3, left, 0.0)
    return found


def equally_noisy(variance: NDArray[np.float64], df: NDArray[np.int64]) -> bool:
    """Bartlett's test, from variances [v] and their degrees of freedom. Those that are 0 are not asked: few values of a metric that comes in steps are often the same."""
    some = variance > 0
    return int(some.sum()) < 2 or float(bartlett(variance[some], df[some])) >= DOUBT


def _some(variance: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Variances, none of which is 0: values that happen to be the same are taken as noisy as the least noisy others, or where all are 0 as `least`."""
    return np.maximum(variance, variance[variance > 0].min(initial=math.inf) if variance.any() else least)


def _of_a_step(values: Sequence[NDArray[np.float64]]) -> float:
    """The variance that is hidden where a metric comes in steps: a twelfth of a step squared (Sheppard's), the step being the least by which two of the values differ.

    It stands for a variance of 0, which two or three values show by chance: a difference of one step between two variants of two seeds is none.
    """
    gaps = np.diff(np.unique(np.concatenate(values))) if len(values) else np.empty(0)
    return float(gaps.min()) ** 2 / 12 if gaps.size else 0.0


def bartlett(variance: NDArray[np.float64], df: NDArray[np.int64]) -> NDArray[np.float64]:
    """The p value of Bartlett's test, [...], from variances [..., v] above 0 and their degrees of freedom [v]; scipy's own wants the values."""
    from scipy.special import chdtrc

    total, v = df.sum(), variance.shape[-1]
    shared = (df * variance).sum(axis=-1) / total
    statistic = total * np.log(shared) - (df * np.log(variance)).sum(axis=-1)
    correction = 1 + float((1 / df).sum() - 1 / total) / (3 * (v - 1))
    p: NDArray[np.float64] = chdtrc(v - 1, statistic.clip(min=0) / correction)
    return p


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P values [p], each adjusted for all; as statsmodels' `multipletests` has them, which collects garbage at every call (a tenth of a second)."""
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def _pairs(
    means: NDArray[np.float64],
    error: NDArray[np.float64],
    own_df: NDArray[np.float64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    squared: NDArray[np.float64],
    df: NDArray[np.float64],
    pooled: bool,
    step: float,
) -> Pairs:
    """From variances, of the means and of their differences, all in steps, to `Pairs`."""
    from scipy.stats import t

    means, difference, stderr = means * step, (means[first] - means[second]) * step, np.sqrt(squared) * step
    adjusted = reach = np.empty(0)
    if len(first):
        size = np.abs(difference)
        certain = np.where(size > 0, np.inf, 0.0)  # where nothing is noise
        p = 2 * t.sf(np.divide(size, stderr, out=certain, where=stderr > 0), df)
        adjusted = holm(p)
        reach = t.ppf(1 - ALPHA / 2 / len(p), df) * stderr
    low, high = difference - reach, difference + reach
    return Pairs(
        means, np.sqrt(error) * step, own_df, first, second, difference, stderr, df, adjusted, low, high, pooled
    )
