"""How noisy one value is. Pure functions of arrays; no torch, no tables.

Few seeds know little of their own variance, so the variances of others (other recipes, other SAEs) are mixed in, as in the moderated t test of Smyth (2004, *Statistical Applications in Genetics and
Molecular Biology* 3:3), on the safe side in two ways. What is seen of the subject itself counts alone where it is more than the mixture, since others may be less noisy. And no more than `BELIEVED`
degrees of freedom are believed of others, however many there are: their noise may not be the subject's, and noise has heavier tails than the normal distribution; Student's t of few degrees of freedom
has both. `benchmarks/check_false_alarms.py` shows what comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hedgebench.stats.components import mean_squares

if TYPE_CHECKING:
    from numpy.typing import NDArray

BELIEVED = 5.0
"""Degrees of freedom."""
BORROWED = 4.0
"""The same, where nothing is seen of the subject itself."""


class Spread(NamedTuple):
    """A variance, and how well it is known."""

    variance: float
    df: float

    def plus(self, other: Spread) -> Spread:
        """Of a sum of independent parts; degrees of freedom after Satterthwaite."""
        total = self.variance + other.variance
        parts = self.variance**2 / self.df + other.variance**2 / other.df
        return Spread(total, total**2 / parts if parts else min(self.df, other.df))

    def times(self, factor: float) -> Spread:
        """Of what varies so many times as much, in the square."""
        return Spread(self.variance * factor, self.df)


def pooled(parts: Sequence[Spread]) -> Spread | None:
    """The variance of what is equally noisy; None of nothing."""
    df = sum(part.df for part in parts)
    return Spread(sum(part.variance * part.df for part in parts) / df, df) if df else None


def mixed(own: Spread | None, others: Spread | None) -> Spread | None:
    """The variance of a subject by what is known of it and of others; None where nothing is."""
    if others is None:
        return own
    believed = others._replace(df=min(others.df, BORROWED if own is None else BELIEVED))
    if own is None:
        return believed
    mixture = pooled([own, believed])
    assert mixture is not None
    return Spread(max(own.variance, mixture.variance), max(own.df, believed.df))


def within(values: NDArray[np.float64]) -> Spread | None:
    """The variance between values of one kind [n]; None of fewer than two."""
    return Spread(float(values.var(ddof=1)), float(len(values) - 1)) if len(values) > 1 else None


def over_seeds(values: NDArray[np.float64]) -> Spread | None:
    """The variance over evaluation seeds of one SAE's value, from SAEs at the same seeds [a, b]; None where there are none, or a single seed."""
    return total(seed_parts(values))


def seed_parts(values: NDArray[np.float64]) -> tuple[Spread, ...]:
    """What `over_seeds` is the sum of: what the seeds do to all SAEs alike, and where there are several SAEs what they do to each."""
    a, b = values.shape
    if not a or b < 2:
        return ()
    found = mean_squares(values)
    alike, each = Spread(found.evaluation / a, float(b - 1)), Spread((a - 1) * found.rest / a, float(found.rest_df))
    return (alike, each) if found.rest_df else (alike,)


def total(parts: Sequence[Spread]) -> Spread | None:
    """The variance of a sum of independent parts; None of nothing."""
    return reduce(Spread.plus, parts) if parts else None


def rest(values: NDArray[np.float64]) -> Spread | None:
    """The same without what the seeds do to all alike; None of a single SAE or seed."""
    found = mean_squares(values)
    return Spread(found.rest, float(found.rest_df)) if found.rest_df else None


def reach(spread: Spread, level: float) -> float:
    """How far from the truth a value is at most, at a two-sided level: Student's quantile times the standard error."""
    from scipy.special import stdtrit

    return float(stdtrit(spread.df, (1 + level) / 2)) * math.sqrt(spread.variance)
