"""How far a variant is on the way from what learnt nothing to the best there is. No torch.

A share of the way is a ratio of differences of noisy means. It has an interval (Fieller's, over evaluation seeds) where the best is an oracle. Where the best is chosen among the SAEs, by the very
numbers that it is a measure of, such an interval would be too short (`docs/noise.md`), and the share is a point value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hedgebench.control_cards import control_kind
from hedgebench.scores_table import scores_table
from hedgebench.stats.intervals import ratio_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from hedgebench.stats.grid import Grid

ROUNDING = 1e-9
"""What differs by so small a part of itself is the same number, added up in another order."""


class Way(NamedTuple):
    """What a variant's mean is held against: random controls, and the way from what learnt nothing (0) to the best there is (1)."""

    control: float | None
    """The mean of the random controls of its width (of all widths, where there are none of its own), and of these of those with the most evaluation seeds. None where there are none."""
    control_seeds: int
    """Evaluation seeds of these controls; 0 where nothing is drawn, or there are none."""
    own_width: bool
    """Whether they are of its width."""
    start: float | None
    """Chance, where that is known and the same for all, or `control`: whichever is better. None where there is no way, as `best`."""
    best: float | None
    """The mean of the oracles, or else of the best variant that is no control."""
    why: str
    """Why there is no way; empty where there is one."""
    share_ends: tuple[float, float] | None = None
    """Of the 95 % interval of the variant's share, for these SAEs, this oracle and these controls over evaluation seeds without end. None unless the best is an oracle and all of them are at the same seeds, two or more, and where the way may have no length."""

    def share(self, mean: float) -> float | None:
        """How far along the way a mean is; below 0 where it is worse than the start."""
        if self.start is None or self.best is None:
            return None
        # halves: what lies between two numbers may be larger than a number can be
        return (mean / 2 - self.start / 2) / (self.best / 2 - self.start / 2)


def ways_of(scores: DataFrame) -> Callable[[Grid], dict[str, Way]]:
    """From a grid of a scores table without blanks (`Grid.without_blanks`) to the `Way` of each of its variants, in the unit of the table."""
    saes = scores_table(scores, columns=["sae", "architecture", "width"]).drop_duplicates("sae")
    architecture, width = (
        dict(zip(saes["sae"], saes[name].astype("string").fillna(""), strict=True))
        for name in ("architecture", "width")
    )
    kinds = {sae: kind for sae, name in architecture.items() if (kind := control_kind(name)) is not None}
    return partial(_ways, kinds, width)


def _ways(kinds: Mapping[str, str], width: Mapping[str, str], grid: Grid) -> dict[str, Way]:
    """As `ways_of`, from the kind of each control and the width of each SAE, as text."""
    groups = grid.groups()
    first = {str(name): sae for name, sae in zip(grid.variant[::-1], grid.table.index[::-1], strict=True)}
    mean = {name: float(values.mean()) for name, values in groups.items()}
    random, oracle, others = (
        [name for name in groups if kinds.get(first[name]) == kind] for kind in ("random", "oracle", None)
    )
    better = max if grid.higher_is_better else min
    ends = [float(np.mean([mean[name] for name in oracle]))] if oracle else [mean[name] for name in others]
    best = better(ends) if others else None
    chance = None if grid.chance is None else grid.chance / grid.unit
    ways, by_width = {}, dict[str, list[str]]()
    by_seed = _by_seed(grid) if oracle and others and grid.draws and grid.table.shape[1] > 1 else {}
    for one in random:
        by_width.setdefault(width[first[one]], []).append(one)
    for name in groups:
        own = by_width.get(width[first[name]], [])
        alike = own or random
        seeds = max((groups[one].shape[1] for one in alike), default=0)
        alike = [one for one in alike if groups[one].shape[1] == seeds]
        control = float(np.mean([mean[one] for one in alike])) if alike else None
        start = better((level for level in (chance, control) if level is not None), default=None)
        why = _no_way(grid, start, best)
        found = grid.in_ones({"control": control, "start": None if why else start, "best": None if why else best})
        share_ends = None
        if by_seed and not why:
            begin = [by_seed[one] for one in alike] if start == control else []
            share_ends = _share_ends(by_seed[name], begin, start or 0.0, [by_seed[one] for one in oracle])
        ways[name] = Way(
            **found, control_seeds=seeds if grid.draws else 0, own_width=bool(own), why=why, share_ends=share_ends
        )
    return ways


def _by_seed(grid: Grid) -> dict[str, NDArray[np.float64]]:
    """The mean of each variant at each evaluation seed of the table, NaN where one of its SAEs has no number."""
    values = grid.table.to_numpy(dtype=np.float64)
    return {str(name): values[grid.variant == name].mean(axis=0) for name in dict.fromkeys(grid.variant)}


def _share_ends(
    one: NDArray[np.float64], begin: Sequence[NDArray[np.float64]], start: float, end: Sequence[NDArray[np.float64]]
) -> tuple[float, float] | None:
    """The ends of the interval of a share, from what a variant, the controls it starts at (none: at a `start` that is known) and the oracles are at each seed."""
    there = np.isfinite(one)
    if there.sum() < 2 or any((np.isfinite(other) != there).any() for other in (*begin, *end)):
        return None
    low = np.mean(begin, axis=0)[there] if begin else start
    found = ratio_interval(one[there] - low, np.mean(end, axis=0)[there] - low)
    return None if np.isnan(found.low) else (found.low, found.high)


def _no_way(grid: Grid, start: float | None, best: float | None) -> str:
    """Why there is no way from a start to a best, in words; empty where there is one."""
    if grid.higher_is_better is None:
        return "neither end of this metric is better by itself"
    if start is None:
        return "no chance level is known, and there are no random controls"
    if best is None:
        return "there are only controls"
    gain = best - start if grid.higher_is_better else start - best
    beyond = gain > ROUNDING * max(abs(best), abs(start))
    return "" if beyond else "nothing is better than chance or the random controls"
