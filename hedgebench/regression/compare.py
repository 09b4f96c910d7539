"""One metric of one subject in two tables: the difference, and how noisy it is. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hedgebench.regression.cells import Runs, Values
from hedgebench.regression.noise import Group, Noise
from hedgebench.regression.rules import FLOAT_TOLERANCE
from hedgebench.regression.spread import Spread, in_steps, mixed, over_seeds, pooled, within
from hedgebench.regression.subjects import Subject
from hedgebench.stats.grid import unit_for

_TRAINED = "a single training seed of this recipe on either side, so what training again does by chance is not known"
_NOTHING = "no seed has one number for each of its SAEs, on either side (two numbers for one seed, of two versions of a package, are none)"
_DRAWN = "a single evaluation seed, so what drawing again does by chance is not known"
_SIZE = "numbers so large, or all so small, have no noise that a float64 holds"
_RUN = "the same weights, but not the same run (model revision, dtype, control or SAEBench version)"


class Difference(NamedTuple):
    """What is here less what is in the baseline, in the metric's unit."""

    before: float
    """The mean over the subject's SAEs and the seeds that are compared; likewise `here`."""
    here: float
    n_before: int
    """SAEs; likewise `n_here`."""
    n_here: int
    seeds: int
    """Evaluation seeds that both sides share, or, where they share none, the fewer of the two; 0 where nothing is drawn."""
    rounding: float
    """What differs by less is the same number, added up in another order."""
    noise: Spread | None
    """Of the difference; None where it is exact, or its noise is not known."""
    single: Spread | None
    """Of one value: one SAE at one seed of what is drawn, trained and drawn again as far as the difference is."""
    still: bool
    """Whether that is nothing but rounding: the metric does not move by chance, as far as its seeds show."""
    unknown: str
    """Why the noise is not known; empty where it is, or the difference is exact."""
    lost: tuple[int | None, ...] = ()
    """Evaluation seeds of the baseline that have no number here, though others have."""

    @property
    def value(self) -> float:
        """The difference itself."""
        return self.here - self.before

    @property
    def exact(self) -> bool:
        """Whether nothing of it is noise."""
        return self.noise is None and not self.unknown

    def times(self, unit: float) -> Difference:
        """Of numbers in a unit so large, or so small, that only exact differences can be told in another."""
        before, here = self.before * unit, self.here * unit
        if not math.isfinite(here - before):
            before = here = math.nan
        elif self.exact:
            return self._replace(before=before, here=here, rounding=self.rounding * unit)
        unknown = self.unknown or _SIZE
        return self._replace(before=before, here=here, noise=None, single=None, still=False, unknown=unknown)


class Comparison(NamedTuple):
    """A metric of a subject, ready to be compared."""

    subject: Subject
    before: tuple[str, ...]
    """The subject's SAEs that have a number in the baseline; likewise `here`."""
    here: tuple[str, ...]
    weights: bool | None
    """Whether both are the same weights; None where that is not known."""
    runs_before: Runs
    runs_here: Runs

    def same_runs(self, seeds: Sequence[int | None]) -> bool:
        """Whether all that went into the numbers at some seeds is known to be the same, as far as the runs say."""
        pairs = [(self.runs_before.get(seed), self.runs_here.get(seed)) for seed in seeds]
        return all(one is None or other is None or one == other for one, other in pairs)


def compare(
    comparisons: Sequence[Comparison],
    before: Values,
    here: Values,
    groups: Mapping[Group, Sequence[str]],
    judge_checkpoints: bool,
    float_tolerance: float,
) -> list[Difference]:
    """Compare one metric of all subjects that have it.

    Args:
        comparisons: The subjects.
        before: The numbers in the baseline.
        here: The numbers here.
        groups: As in `Noise`.
        judge_checkpoints: Whether these very weights are compared, so that training again is no noise.
        float_tolerance: Relative, of the larger of the two numbers and of what is typical of the metric.
    """
    unit = unit_for(max(before.largest, here.largest))
    cell = _Cell(comparisons, before.over(unit), here.over(unit), groups, judge_checkpoints, float_tolerance)
    found = [cell.difference(i) for i in range(len(comparisons))]
    return found if unit == 1.0 else [one.times(unit) for one in found]


class _Cell:
    """One metric: what its subjects say of each other's noise."""

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        before: Values,
        here: Values,
        groups: Mapping[Group, Sequence[str]],
        judge_checkpoints: bool,
        float_tolerance: float,
    ) -> None:
        self.comparisons, self.before, self.here = comparisons, before, here
        self.noise = Noise(before, here, groups)
        self.step = min((side.step for side in (before, here) if side.step), default=0.0)
        self.judge_checkpoints = judge_checkpoints
        sizes = np.abs(np.concatenate([before.table.ravel(), here.table.ravel()]))
        self.typical = float(np.median(sizes[np.isfinite(sizes)])) if np.isfinite(sizes).any() else 0.0
        self.seeds_before = [before.seeds_of(one.before) for one in comparisons]
        self.seeds_here = [here.seeds_of(one.here) for one in comparisons]
        self.shared = [
            [seed for seed in old if seed in new] for old, new in zip(self.seeds_before, self.seeds_here, strict=True)
        ]
        self.sizes = [self._size(i) for i in range(len(comparisons))]
        self.rounding = [float_tolerance * size for size in self.sizes]
        self.apart = [self._differences(i) for i in range(len(comparisons))]
        self.equal = [len(d) > 0 and bool((np.abs(d) <= self.rounding[i]).all()) for i, d in enumerate(self.apart)]
        self.unchanged = [
            one.weights is True and one.same_runs(seeds) for one, seeds in zip(comparisons, self.shared, strict=True)
        ]
        self.reproduced = all(
            equal
            for equal, alike, seeds in zip(self.equal, self.unchanged, self.shared, strict=True)
            if alike and seeds
        )
        """Whether the same seeds draw the same on both sides, as far as unchanged SAEs show."""
        self._apart: dict[tuple[int | None, ...], tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    def _differences(self, i: int) -> NDArray[np.float64]:
        """[shared seeds], of the means over SAEs."""
        one, seeds = self.comparisons[i], self.shared[i]
        if not seeds:
            return np.empty(0)
        old, new = self.before.at(one.before, seeds), self.here.at(one.here, seeds)
        found: NDArray[np.float64] = new.mean(axis=0) - old.mean(axis=0)
        return found

    def _size(self, i: int) -> float:
        """How large the numbers of a subject are, and those of all where they happen to be small."""
        one = self.comparisons[i]
        sides = (self.before, one.before, self.seeds_before[i]), (self.here, one.here, self.seeds_here[i])
        sizes = [float(np.abs(values.at(saes, seeds)).max()) for values, saes, seeds in sides if seeds]
        return max(self.typical, *sizes, 0.0)

    def difference(self, i: int) -> Difference:
        """What comes of one subject."""
        one, shared = self.comparisons[i], self.shared[i]
        draws = None not in self.before.seeds
        if not self.seeds_before[i] or not self.seeds_here[i] or draws is (None in self.here.seeds):
            return Difference(math.nan, math.nan, len(one.before), len(one.here), 0, 0.0, None, None, False, _NOTHING)
        if self.equal[i] and one.weights is not False:
            return self._found(i, shared, shared, None, None)
        if self.unchanged[i] or self.judge_checkpoints:
            return self._drawn_again(i) if draws else self._found(i, shared, shared, None, None)
        return self._trained_again(i)

    def _drawn_again(self, i: int) -> Difference:
        shared = self.shared[i]
        if not self.reproduced or len(shared) < 2:  # other draws on either side
            before, here = self.seeds_before[i], self.seeds_here[i]
            single = self._over_seeds(i, before, here)
            noise = single and single.times(1 / len(before) + 1 / len(here))
            return self._found(i, before, here, noise, single, _DRAWN)
        own = within(self.apart[i])
        assert own is not None  # there are two seeds
        apart = mixed(own, over_seeds(self._others(i)) or self.noise.between(shared))
        single = self._in_steps(i, apart.times(0.5))
        return self._found(i, shared, shared, single.times(2 / len(shared)), single)

    def _over_seeds(self, i: int, before: Sequence[int | None], here: Sequence[int | None]) -> Spread | None:
        """The variance of a subject's value at one evaluation seed when another is drawn; None where neither side has several."""
        one = self.comparisons[i]
        sides = (
            within(self.before.at(one.before, before).mean(axis=0)),
            within(self.here.at(one.here, here).mean(axis=0)),
        )
        own = pooled([side for side in sides if side is not None])
        return own and self._in_steps(i, mixed(own, self.noise.floor))

    def _in_steps(self, i: int, spread: Spread) -> Spread:
        return in_steps(spread, self.step, FLOAT_TOLERANCE * self.sizes[i])

    def _others(self, i: int) -> NDArray[np.float64]:
        """[other SAEs, shared seeds]: their differences at the seeds of this one."""
        saes, differences = self._apart_at(tuple(self.shared[i]))
        found: NDArray[np.float64] = differences[saes != i]
        return found

    def _apart_at(self, seeds: tuple[int | None, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The SAEs (not recipes) that differ and share some seeds, by number, and their differences there [SAEs, seeds]."""
        if seeds not in self._apart:
            saes = [
                j
                for j, other in enumerate(self.comparisons)
                if not other.subject.recipe and not self.equal[j] and set(seeds) <= set(self.shared[j])
            ]
            rows = [[self.apart[j][self.shared[j].index(seed)] for seed in seeds] for j in saes]
            self._apart[seeds] = np.array(saes, dtype=np.int64), np.array(rows).reshape(len(saes), len(seeds))
        return self._apart[seeds]

    def _trained_again(self, i: int) -> Difference:
        one, shared = self.comparisons[i], self.shared[i]
        paired = bool(shared) and self.reproduced
        before = shared if paired else self.seeds_before[i]
        here = shared if paired else self.seeds_here[i]
        own = [
            group
            for group, saes in self.noise.groups.items()
            if set(saes) & set(one.before if group.side == "before" else one.here)
        ]
        mine, others = self.noise.training(own, before, here)
        if mine is None:
            return self._found(i, before, here, None, None, f"{_RUN}, and {_TRAINED}" if one.weights else _TRAINED)
        single = self._in_steps(i, mixed(mine, others))
        noise = single.times(1 / len(one.before) + 1 / len(one.here))
        if paired or None in self.before.seeds:
            return self._found(i, before, here, noise, single)
        drawn = self._over_seeds(i, before, here)
        if drawn is None:
            return self._found(i, before, here, None, None, f"not drawn alike in the baseline, and {_DRAWN}")
        noise = noise.plus(drawn.times(1 / len(before) + 1 / len(here)))
        return self._found(i, before, here, noise, single.plus(drawn))

    def _found(
        self,
        i: int,
        seeds_before: Sequence[int | None],
        seeds_here: Sequence[int | None],
        noise: Spread | None,
        single: Spread | None,
        why: str = "",
    ) -> Difference:
        one = self.comparisons[i]
        return Difference(
            float(self.before.at(one.before, seeds_before).mean()),
            float(self.here.at(one.here, seeds_here).mean()),
            len(one.before),
            len(one.here),
            0 if None in self.before.seeds else min(len(seeds_before), len(seeds_here)),
            self.rounding[i],
            noise,
            single,
            noise is not None and noise.variance <= (FLOAT_TOLERANCE * self.sizes[i]) ** 2,
            why if noise is None else "",
            tuple(seed for seed in self.seeds_before[i] if seed not in self.shared[i]) if self.shared[i] else (),
        )
