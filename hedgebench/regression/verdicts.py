"""Better, same, worse, cannot tell: what a difference and its noise come to, with all that are compared at once. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from hedgebench.regression.compare import Difference
from hedgebench.regression.rules import Rule
from hedgebench.regression.spread import Spread, reach
from hedgebench.stats.pairwise import holm

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Verdict = Literal["worse", "missing", "cannot tell", "better", "new", "same"]
VERDICTS: tuple[Verdict, ...] = ("worse", "missing", "cannot tell", "better", "new", "same")
"""Those that need attention first."""
UNDECIDED: tuple[Verdict, ...] = ("missing", "cannot tell")
ALPHA = 0.01
"""The chance of any false `worse` or `better` in a whole check (Holm)."""
POWER = 0.9
LEVEL = 0.95
"""Of the interval of a difference, one by one."""
_STILL = "every seed of the baseline has the same value, so how noisy it is cannot be known; `tolerance:` in the config settles it"
REPEATABILITY = 1.96 * math.sqrt(2)
"""Two values that only noise tells apart differ by less than this many of its standard deviations 19 times of 20 (the repeatability limit of ISO 5725-6)."""


class Judged(NamedTuple):
    """What came of one difference; None for what is not known."""

    verdict: Verdict
    reason: str
    low: float | None
    """Interval of the difference; likewise `high`."""
    high: float | None
    margin: float | None
    """`same`: the interval lies within this much of 0."""
    detectable: float | None
    """A change of this size would be found 9 times of 10."""
    p: float | None
    """Two-sided, adjusted for all that are compared."""


def judge(differences: Sequence[Difference], rules: Sequence[Rule], directions: Sequence[bool | None]) -> list[Judged]:
    """Judge all differences of one check together.

    Args:
        differences: Of every metric and subject.
        rules: What the user says of each.
        directions: Whether higher is better, for each.
    """
    from scipy.special import stdtr

    tolerances = [rule.allowed(found.before) for found, rule in zip(differences, rules, strict=True)]
    tested = [i for i, found in enumerate(differences) if found.noise is not None and not found.still]
    beyond = {}
    for i in tested:
        noise, over = differences[i].noise, abs(differences[i].value) - (tolerances[i] or 0.0)
        assert noise is not None
        beyond[i] = min(1.0, 2 * float(stdtr(noise.sure, -over / math.sqrt(noise.variance))))
    adjusted = dict(zip(tested, holm(np.array([beyond[i] for i in tested])).tolist(), strict=True)) if tested else {}
    judged = [
        _judged(found, tolerances[i], directions[i], adjusted.get(i), len(tested))
        for i, found in enumerate(differences)
    ]
    return [_without_lost(found, one) for found, one in zip(differences, judged, strict=True)]


def _without_lost(found: Difference, judged: Judged) -> Judged:
    """What the seeds that are there show to be the same may not be at those that are not."""
    if not found.lost or judged.verdict not in ("same", "better"):
        return judged
    seeds = ", ".join(map(str, found.lost))
    return judged._replace(
        verdict="cannot tell",
        reason=f"no number here at evaluation seed {seeds} of the baseline; {judged.reason} at the others",
    )


def critical(df: ArrayLike, tests: int) -> NDArray[np.float64]:
    """How many standard errors a change must be to be found, among so many that are compared: Student's t at the level of Holm's first step."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, 1 - ALPHA / 2 / tests))


def _detectable(noise: Spread, tests: int) -> float:
    """The smallest change that is found with a probability of `POWER` where the noise is as it came out."""
    from scipy.special import stdtrit

    return (float(critical(noise.sure, tests)) + float(stdtrit(noise.sure, POWER))) * math.sqrt(noise.variance)


def _judged(found: Difference, tolerance: float | None, higher: bool | None, p: float | None, tests: int) -> Judged:
    value = found.value
    if found.unknown:
        return Judged("cannot tell", found.unknown, None, None, tolerance, None, None)
    if found.noise is None or found.still:
        margin = max(found.rounding, tolerance or 0.0)
        if abs(value) <= margin:
            return Judged("same", f"equal within {margin:.2g}", value, value, margin, margin, None)
        if found.still and tolerance is None:
            return Judged("cannot tell", _STILL, None, None, margin, None, None)
        return Judged(*_changed(value, higher, "nothing of it is noise"), value, value, margin, margin, None)
    assert found.single is not None and p is not None
    half = reach(found.noise, LEVEL)
    margin = REPEATABILITY * math.sqrt(found.single.variance) if tolerance is None else tolerance
    smallest = (tolerance or 0.0) + _detectable(found.noise, tests)
    numbers = value - half, value + half, margin, smallest, p
    if p < ALPHA:
        return Judged(*_changed(value, higher, f"p = {p:.1g}" if p > 1e-12 else "p < 1e-12"), *numbers)
    if abs(value) + half <= margin:
        return Judged("same", f"within ±{margin:.2g}", *numbers)
    return Judged("cannot tell", "neither a change nor that there is none can be shown", *numbers)


def _changed(value: float, higher: bool | None, how: str) -> tuple[Verdict, str]:
    if higher is None:
        return "cannot tell", "changed, and neither end is better; `better:` in the config says which is"
    return ("better" if (value > 0) is higher else "worse"), how
