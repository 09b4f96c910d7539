"""How noisy a difference between two tables is, of one metric. No torch.

What may have moved a number is one of two things. Trained again: what training does by chance, which variants of several training seeds show, in the baseline or among what was trained again as a whole.
Drawn again: what the evaluation does by chance, which evaluation seeds show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hedgebench.regression.cells import Values
from hedgebench.regression.spread import Spread, over_seeds, pooled, rest, within

Side = Literal["before", "here"]
Seeds = Sequence[int | None]


class Group(NamedTuple):
    """SAEs that differ in their training seed only."""

    side: Side
    name: str


class Noise:
    """All that is known of how noisy one metric is."""

    def __init__(self, before: Values, here: Values, groups: Mapping[Group, Sequence[str]]) -> None:
        """Keep both sides' numbers.

        Args:
            before: Of the baseline.
            here: Of the table that is checked.
            groups: Which SAEs of either are trained alike, two or more each. Those here must be as they are by training alone: not one that was trained again beside one that was not.
        """
        self.before, self.here, self.groups = before, here, groups
        self._training: dict[tuple[Group, tuple[int | None, ...]], Spread | None] = {}

    def training(
        self, own: Sequence[Group], seeds_before: Seeds, seeds_here: Seeds
    ) -> tuple[Spread | None, Spread | None]:
        """The variance of one SAE's mean over evaluation seeds, when it is trained again: of the subject itself, and of others; None where nothing tells.

        Args:
            own: The groups of the subject itself.
            seeds_before: The evaluation seeds of the mean in the baseline; None alone where nothing is drawn.
            seeds_here: Likewise.
        """
        seeds = {"before": tuple(seeds_before), "here": tuple(seeds_here)}
        spreads = {group: self._within(group, seeds[group.side]) for group in self.groups}
        mine = [spread for group, spread in spreads.items() if spread is not None and group in own]
        others = [spread for group, spread in spreads.items() if spread is not None and group not in own]
        return pooled(mine), pooled(others)

    def _within(self, group: Group, seeds: tuple[int | None, ...]) -> Spread | None:
        if (group, seeds) not in self._training:
            values = self.before if group.side == "before" else self.here
            known = set(values.whole(seeds))
            saes = [sae for sae in self.groups[group] if sae in known]
            self._training[group, seeds] = within(values.at(saes, seeds).mean(axis=1)) if saes else None
        return self._training[group, seeds]

    @cached_property
    def floor(self) -> Spread | None:
        """The variance of one SAE's value at one evaluation seed, when another is drawn, from both sides; None where neither has several seeds."""
        sides = [over_seeds(_complete(values)) for values in (self.before, self.here)]
        return pooled([side for side in sides if side is not None])

    def between(self, seeds: Seeds) -> Spread | None:
        """The variance of the difference between two SAEs at one evaluation seed that both share, from SAEs of the baseline held against each other."""
        saes = self.before.whole(seeds)
        found = rest(self.before.at(saes, seeds)) if len(saes) > 1 else None
        return found and found.times(2.0)


def _complete(values: Values) -> NDArray[np.float64]:
    """The SAEs that have a number at every seed; those that have one at the most seeds, where none has."""
    known = np.isfinite(values.table)
    most = known.sum(axis=1).max(initial=0)
    if most < 2:
        return np.empty((0, 0))
    seeds = known[known.sum(axis=1).argmax()]
    found: NDArray[np.float64] = values.table[known[:, seeds].all(axis=1)][:, seeds]
    return found
