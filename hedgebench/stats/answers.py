"""What a metric says of two SAEs of which one is known to be better, held against its noise; and of an SAE that is made worse step by step. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.control_cards import split_kind
from hedgebench.made_with import told_apart
from hedgebench.scores_table import scores_table
from hedgebench.stats.grid import COLUMN, PLACE, Grid, grids
from hedgebench.stats.pairwise import equally_noisy
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

_ROUNDING = 1e-6
"""Of a number, or of 1 where that is larger: evals compute in float32."""
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


def answers(gaps: Sequence[NDArray[np.float64]], stderrs: Sequence[float | None]) -> list[Answer]:
    """What a metric says of the same case on several SAEs.

    With two seeds or more of an SAE its noise is the spread over seeds, pooled over the SAEs where they may be equally noisy (Bartlett's test at .25); where not, its own or the pooled one, whichever is
    larger, as few seeds look quiet by chance.

    Args:
        gaps: Of each SAE its differences [seeds], NaN where either of the two has no number; positive is right.
        stderrs: Of each SAE the standard error of its difference, where one seed is all there is; None where it is not known.
    """
    from scipy.stats import norm, t

    known = [own[np.isfinite(own)] for own in gaps]
    spread = [own for own in known if len(own) > 1 and own.any()]
    variance, df = np.array([own.var(ddof=1) for own in spread]), np.array([len(own) - 1 for own in spread])
    pooled, alike = float((df * variance).sum() / df.sum()) if len(spread) else 0.0, equally_noisy(variance, df)
    found = []
    for own, error in zip(known, stderrs, strict=True):
        if not len(own):
            found.append(Answer(math.nan, None))
        elif not own.any():
            found.append(Answer(0.0, None, same=True))
        elif len(own) > 1:
            squared = pooled if alike else max(pooled, float(own.var(ddof=1)))
            free = int(df.sum()) if alike else len(own) - 1
            found.append(_against(float(own.mean()), math.sqrt(squared / len(own)), t(free)))
        else:
            found.append(Answer(float(own[0]), None) if error is None else _against(float(own[0]), error, norm))
    return found


def _against(gap: float, noise: float, law: Any) -> Answer:
    return Answer(gap, 2 * float(law.sf(abs(gap) / noise)) if noise else 0.0)


Compare = Callable[[Sequence[tuple[str, str]]], list[Answer]]
"""From pairs of SAEs, the better one first, one pair of each SAE that is judged."""


def with_noise(scores: DataFrame) -> Iterator[tuple[Grid, Compare]]:
    """Every metric that has a better end, with the answers it gives on pairs of SAEs."""
    scores = told_apart(scores_table(scores))
    stderrs = _stderrs(scores)
    for grid in grids(scores):
        if grid.higher_is_better is not None:
            yield grid, partial(_compare, grid, stderrs)


def _compare(grid: Grid, stderrs: dict[tuple[Any, ...], float], pairs: Sequence[tuple[str, str]]) -> list[Answer]:
    sign, key = 1 if grid.higher_is_better else -1, tuple(grid.column[name] for name in [*COLUMN, *PLACE])
    values = [grid.table.loc[list(pair)].to_numpy() * grid.unit for pair in pairs]
    errors = [[stderrs.get((*key, name), math.nan) for name in pair] for pair in pairs]
    single = [math.hypot(*pair) if np.isfinite(pair).all() else None for pair in errors]
    return answers([sign * _difference(better, worse) for better, worse in values], single)


def _difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first less the second, without what rounding makes of equal numbers."""
    largest = np.nanmax(np.abs([a, b, np.ones_like(a)]), axis=0)
    difference: NDArray[np.float64] = np.where(np.abs(a - b) <= _ROUNDING * largest, 0.0, a - b)
    return difference


def steps_of(grid: Grid, compare: Compare, saes: Mapping[str, Sequence[tuple[float, str]]]) -> list[Steps]:
    """What is said of each SAE and the amounts at which there is a number, where there are any.

    Args:
        grid: Of the metric.
        compare: Its answers.
        saes: By SAE, the amounts, rising, and their names.
    """
    seeds = {sae: grid.table.loc[sae].notna() for sae in saes}
    known = {
        sae: [step for step in own if (grid.table.loc[step[1]].notna() & seeds[sae]).any()] for sae, own in saes.items()
    }
    known = {sae: own for sae, own in known.items() if own}
    below: dict[tuple[str, int], Answer] = {}
    falls: dict[tuple[str, int], Answer] = {}
    for i in range(max(map(len, known.values()), default=0)):
        there = [sae for sae, own in known.items() if i < len(own)]
        names = [known[sae][i][1] for sae in there]
        before = [known[sae][i - 1][1] if i else sae for sae in there]
        places = [(sae, i) for sae in there]
        below |= zip(places, compare(list(zip(there, names, strict=True))), strict=True)
        falls |= zip(places, compare(list(zip(before, names, strict=True))), strict=True)
    return [
        Steps([amount for amount, _ in own], *([found[sae, i] for i in range(len(own))] for found in (below, falls)))
        for sae, own in known.items()
    ]


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
