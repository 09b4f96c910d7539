"""What a metric says of two SAEs of which one is known to be better, held against its noise; and of an SAE that is made worse step by step. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.control_cards import split_kind
from hedgebench.stats.grid import COLUMN, PLACE, Grid, grids
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

WORDS = ("right", "wrong", "same", "unknown")


class Answer(NamedTuple):
    """What a metric says of two SAEs of which one is known to be better."""

    gap: float
    """The mean difference, positive where it is the right way; NaN where there is no number."""
    p: float | None
    """Chance of so large a difference if there were none, two-sided; None where no noise is known."""
    same: bool = False
    """Equal at every seed."""

    def word(self, level: float) -> str:
        """One of `WORDS`: `unknown` is within the noise, or of unknown noise."""
        if self.same:
            return "same"
        if self.p is None or self.p >= level:
            return "unknown"
        return "right" if self.gap > 0 else "wrong"


class Steps(NamedTuple):
    """What a metric says of one SAE and a dial."""

    amounts: Sequence[float]
    """Rising."""
    below: Sequence[Answer]
    """[amounts], the SAE itself against each amount."""
    falls: Sequence[Answer]
    """[amounts], what was before each amount against it: the SAE itself before the first."""

    def first(self, level: float) -> float:
        """The least amount that is told apart from the SAE itself, as all greater ones are; infinity where the greatest is not."""
        told = [answer.word(level) == "right" for answer in self.below]
        return min((a for i, a in enumerate(self.amounts) if all(told[i:])), default=math.inf)

    def word(self, level: float, any_level: float) -> str:
        """One of `WORDS`: wrong where an amount is above the SAE itself or above the amount before (at `any_level`), else what is said of the greatest amount (at `level`)."""
        answers = [*self.below, *self.falls]
        if any(answer.word(any_level) == "wrong" for answer in answers):
            return "wrong"
        last = self.below[-1].word(level)
        return last if last == "right" or all(answer.same for answer in answers) else "unknown"


def answer(gaps: NDArray[np.float64], stderrs: Sequence[float | None] = ()) -> Answer:
    """What a metric says, from its differences.

    Args:
        gaps: [seeds], the difference at each evaluation seed, NaN where either has no number; positive is right.
        stderrs: Of the two numbers, where one seed is all there is.
    """
    from scipy.stats import norm, t

    gaps = gaps[np.isfinite(gaps)]
    if not len(gaps):
        return Answer(math.nan, None)
    gap = float(gaps.mean())
    if not gaps.any():
        return Answer(gap, None, same=True)
    if len(gaps) > 1:
        noise, law = float(gaps.std(ddof=1)) / math.sqrt(len(gaps)), t(len(gaps) - 1)
    elif stderrs and all(error is not None and np.isfinite(error) for error in stderrs):
        noise, law = math.hypot(*(float(error or 0.0) for error in stderrs)), norm
    else:
        return Answer(gap, None)
    return Answer(gap, 2 * float(law.sf(abs(gap) / noise)) if noise else float(gap == 0))


Compare = Callable[[str, str], Answer]
"""From two SAEs, the better one first."""


def with_noise(scores: DataFrame) -> Iterator[tuple[Grid, Compare]]:
    """Every metric that has a better end, with the answer it gives on two SAEs of which the first is the better one."""
    stderrs = _stderrs(scores)
    for grid in grids(scores):
        if grid.higher_is_better is not None:
            yield grid, partial(_compare, grid, stderrs)


def _compare(grid: Grid, stderrs: dict[tuple[Any, ...], float], better: str, worse: str) -> Answer:
    sign = 1 if grid.higher_is_better else -1
    pair = grid.table.loc[[better, worse]].to_numpy()
    return answer(sign * (pair[0] - pair[1]), [stderrs.get((*_key(grid.column), name)) for name in (better, worse)])


def steps_of(compare: Compare, sae: str, amounts: Sequence[tuple[float, str]]) -> Steps | None:
    """What is said of the amounts at which there is a number, if there are any."""
    known = [(amount, name) for amount, name in amounts if np.isfinite(compare(sae, name).gap)]
    if not known:
        return None
    names = [name for _, name in known]
    falls = [compare(before, name) for before, name in zip([sae, *names], names, strict=False)]
    return Steps([amount for amount, _ in known], [compare(sae, name) for name in names], falls)


def dials(names: Iterable[str]) -> dict[str, dict[str, list[tuple[float, str]]]]:
    """By dial and SAE: the amounts that there are, rising, with the names they go by: `SAE/DIAL=AMOUNT`, and `SAE/DIAL` for the whole where the dial is a control, too."""
    known = list(names)
    found: dict[str, dict[str, list[tuple[float, str]]]] = {}
    graded = set()
    for name in known:
        sae, _, kind = name.rpartition("/")
        try:
            dial, amount = split_kind(kind)
        except BadInput:
            continue
        if sae in known:
            found.setdefault(dial, {}).setdefault(sae, []).append((amount, name))
            graded |= {dial} if "=" in kind else set()
    return {dial: {sae: sorted(own) for sae, own in saes.items()} for dial, saes in found.items() if dial in graded}


def _stderrs(scores: DataFrame) -> dict[tuple[Any, ...], float]:
    """The standard error of each number that is the only one of its SAE in its column."""
    keys = [*COLUMN, *PLACE, "sae"]
    single = scores[~scores.duplicated(keys, keep=False)]
    texts = single[keys].astype("object").where(single[keys].notna(), None)
    return dict(zip(map(tuple, texts.to_numpy()), single["stderr"], strict=True))


def _key(column: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(column[name] for name in [*COLUMN, *PLACE])
