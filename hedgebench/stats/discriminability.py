"""How well a metric tells variants apart. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hedgebench.stats.components import mean_squares
from hedgebench.stats.pairwise import compare, compare_paired, groups_apart, in_steps, without_what_is_shared

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Discriminability(NamedTuple):
    """How well a metric tells v variants apart."""

    f: float
    """Ratio of the mean squares between and within variants; infinite where nothing is noise, NaN where nothing differs."""
    p: float
    """That no two variants differ: by the F ratio where variances are pooled; where not, or where it is infinite, the smallest adjusted p of a pair (Welch's F finds too much with few seeds, the plain one where noise is unequal)."""
    share: float
    """Of the variance, what lies between variants: 0 where all is noise."""
    groups: int
    """`groups_apart`."""


def discriminability(groups: Sequence[ArrayLike]) -> Discriminability:
    """How well a metric tells variants apart by the values of their SAEs; at least two variants of at least two values each."""
    from scipy.stats import f_oneway

    values, _ = in_steps(groups)
    pairs = compare(values)
    n, means = np.array([len(group) for group in values]), np.array([group.mean() for group in values])
    within = float(sum((len(group) - 1) * group.var(ddof=1) for group in values) / (n - 1).sum())
    total = n.sum()
    between = float((n * (means - (n * means).sum() / total) ** 2).sum() / (len(n) - 1))
    typical = float((total - (n**2).sum() / total) / (len(n) - 1))  # SAEs of a variant, where they are not equally many
    real = max(0.0, (between - within) / typical)
    share = real / (real + within) if real + within else 0.0
    if not within:
        return Discriminability(math.inf if real else math.nan, float(pairs.adjusted.min()), share, groups_apart(pairs))
    found = f_oneway(*values)
    p = float(found.pvalue) if pairs.pooled else float(pairs.adjusted.min())
    return Discriminability(float(found.statistic), p, share, groups_apart(pairs))


def discriminability_paired(values: ArrayLike) -> Discriminability:
    """The same of SAEs [v >= 2, b >= 2 evaluation seeds], by the spread that is left when what a seed does to all of them alike is taken off (two-way analysis of variance)."""
    from scipy.stats import f

    values = np.array(in_steps(np.asarray(values, dtype=np.float64))[0])
    v, b = values.shape
    found = mean_squares(values)
    between, within = found.training, found.rest if without_what_is_shared(values).any() else 0.0
    pairs, real = compare_paired(values), max(0.0, between - within) / b
    groups = groups_apart(pairs)
    share = real / (real + within) if real + within else 0.0
    if not within:
        return Discriminability(math.inf if real else math.nan, float(pairs.adjusted.min()), share, groups)
    ratio = between / within
    return Discriminability(ratio, float(f.sf(ratio, v - 1, (v - 1) * (b - 1))), share, groups)
