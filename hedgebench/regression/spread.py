"""How noisy one value is. Pure functions of arrays; no torch, no tables.

Few seeds know little of their own variance, so the variances of others (other recipes, other SAEs) are mixed in, as in the moderated t test of Smyth (2004, *Statistical Applications in Genetics and
Molecular Biology* 3:3), and on the safe side. What is seen of the subject itself counts alone where it is more than the mixture, since others may be less noisy. No more than `BELIEVED` degrees of
freedom are believed of others, however many there are, for their noise may not be the subject's; and for what must hardly ever be wrong, a change, no more than `SURE`: with more of its own, a subject is judged
by Student's t of its own seeds, whatever others are like. `benchmarks/check_false_alarms.py` shows what comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hedgebench.stats.components import mean_squares

if TYPE_CHECKING:
    from numpy.typing import NDArray

BELIEVED = 5.0
"""Degrees of freedom."""
SURE = 3.0
"""The same, for what must hardly ever be wrong."""


class Spread(NamedTuple):
    """A variance, and how well it is known."""

    variance: float
    df: float
    """Degrees of freedom, with those that are believed of others."""
    sure: float
    """The same for what must hardly ever be wrong."""

    def plus(self, other: Spread) -> Spread:
        """Of a sum of independent parts; degrees of freedom after Satterthwaite, of the sure ones the fewer, which errs on the safe side whichever part is the larger (Hsu 1938)."""
        parts = self.variance**2 / self.df + other.variance**2 / other.df
        total = self.variance + other.variance
        df = total**2 / parts if parts else min(self.df, other.df)
        return Spread(total, df, min(self.sure, other.sure))

    def times(self, factor: float) -> Spread:
        """Of what varies so many times as much, in the square."""
        return self._replace(variance=self.variance * factor)


def known(variance: float, df: float) -> Spread:
    """A variance by seeds alone."""
    return Spread(variance, df, df)


def pooled(parts: Sequence[Spread]) -> Spread | None:
    """The variance of what is equally noisy; None of nothing."""
    df = sum(part.df for part in parts)
    return Spread(sum(part.variance * part.df for part in parts) / df, df, df) if df else None


def mixed(own: Spread, others: Spread | None) -> Spread:
    """The variance of a subject by what is known of it and of others."""
    if others is None:
        return own
    believed = min(others.df, BELIEVED)
    mixture = (own.df * own.variance + believed * others.variance) / (own.df + believed)
    return Spread(max(own.variance, mixture), max(own.df, believed), max(own.df, min(others.df, SURE)))


def in_steps(spread: Spread, step: float, rounding: float) -> Spread:
    """Of a value that comes in steps: two or three seeds may well fall on the same one, so the variance is no less than that of a value which falls on either side of a step as often. What does not move but for rounding is left as it is."""
    return spread._replace(variance=max(spread.variance, step**2 / 4)) if spread.variance > rounding**2 else spread


def within(values: NDArray[np.float64]) -> Spread | None:
    """The variance between values of one kind [n]; None of fewer than two."""
    return known(float(values.var(ddof=1)), float(len(values) - 1)) if len(values) > 1 else None


def over_seeds(values: NDArray[np.float64]) -> Spread | None:
    """The variance over evaluation seeds of one SAE's value, from SAEs at the same seeds [a, b]; None where there are none, or a single seed."""
    a, b = values.shape
    if not a or b < 2:
        return None
    found = mean_squares(values)
    alike, each = known(found.evaluation / a, float(b - 1)), known((a - 1) * found.rest / a, float(found.rest_df))
    return alike.plus(each) if found.rest_df else alike


def rest(values: NDArray[np.float64]) -> Spread | None:
    """The same without what the seeds do to all alike; None of a single SAE or seed."""
    found = mean_squares(values)
    return known(found.rest, float(found.rest_df)) if found.rest_df else None


def reach(spread: Spread, level: float) -> float:
    """How far from the truth a value is at most, at a two-sided level: Student's quantile times the standard error."""
    from scipy.special import stdtrit

    return float(stdtrit(spread.df, (1 + level) / 2)) * math.sqrt(spread.variance)
