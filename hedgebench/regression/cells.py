"""Which numbers of two scores tables may be compared: those of one metric that were made alike. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.regression.rules import FLOAT_TOLERANCE
from hedgebench.stats.grid import COLUMN, PLACE, grids

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

METRIC = ["eval", "metric", "params", "slice_by", "slice_value"]
"""Of the scores table: what a number is of."""
MADE = [name for name in [*COLUMN, *PLACE] if name not in METRIC]
"""Of the scores table: how it was made. Numbers that differ in any of these are never compared."""
_WORDS = {"eval_version": "eval version", "made_with": "made with"}
_MOST = 40
"""Characters of a value in a reason."""


class Key(NamedTuple):
    """One metric, made in one way; None for what the table does not have."""

    eval: str
    metric: str
    params: str
    slice_by: str
    slice_value: str
    eval_version: Any
    data: Any
    config: Any
    made_with: Any
    model: Any
    hook: Any

    @property
    def of(self) -> tuple[str, ...]:
        """What the number is of, however it was made."""
        return self[: len(METRIC)]


Runs = dict[Any, str | None]
"""Evaluation seeds (None for an eval that draws nothing), and what names all that went into the number: its run. None where nothing does (SAEBench's own output)."""


def runs_of(scores: DataFrame) -> dict[str, dict[Key, Runs]]:
    """Everything that each SAE has a number of, and the runs that made it, in the table's order."""
    columns = scores.reindex(columns=["sae", *Key._fields, "seed", "run_id", "source"])
    columns = columns.astype(object).where(columns.notna(), None)
    found: dict[str, dict[Key, Runs]] = {}
    for sae, *key, seed, run_id, source in columns.itertuples(index=False, name=None):
        runs = found.setdefault(sae, {}).setdefault(Key(*key), {})
        runs[seed] = run_id if source == "hedgebench" else None
    return found


class Values(NamedTuple):
    """The numbers of one metric, made in one way."""

    saes: dict[str, int]
    """Rows of `table`, by name."""
    seeds: tuple[int | None, ...]
    """Columns of `table`; None alone where nothing is drawn."""
    table: NDArray[np.float64]
    """NaN where there is no number."""

    @property
    def largest(self) -> float:
        """The largest number, without its sign; 0 where there is none."""
        return float(np.abs(self.table[np.isfinite(self.table)]).max(initial=0.0))

    @property
    def step(self) -> float:
        """The smallest difference between two numbers that are not the same, rounding aside: 1 of a count, hardly anything of what is measured, 0 where all are the same."""
        gaps = np.diff(np.unique(self.table[np.isfinite(self.table)]))
        return min(gaps[gaps > FLOAT_TOLERANCE * self.largest].tolist(), default=0.0)

    def over(self, unit: float) -> Values:
        """The same in another unit."""
        return self._replace(table=self.table / unit)

    def seeds_of(self, saes: Sequence[str]) -> list[int | None]:
        """The seeds at which all of some SAEs have a number."""
        if any(sae not in self.saes for sae in saes):
            return []
        known = np.isfinite(self.table[[self.saes[sae] for sae in saes]]).all(axis=0)
        return [seed for seed, all_have in zip(self.seeds, known, strict=True) if all_have]

    def at(self, saes: Sequence[str], seeds: Sequence[int | None]) -> NDArray[np.float64]:
        """[SAEs, seeds]; both must be there."""
        rows, columns = [self.saes[sae] for sae in saes], [self.seeds.index(seed) for seed in seeds]
        found: NDArray[np.float64] = self.table[rows][:, columns]
        return found

    def whole(self, seeds: Sequence[int | None]) -> list[str]:
        """The SAEs that have a number at all of some seeds."""
        if not set(seeds) <= set(self.seeds):
            return []
        known = np.isfinite(self.table[:, [self.seeds.index(seed) for seed in seeds]]).all(axis=1)
        return [sae for sae, row in self.saes.items() if known[row]]


def values_of(scores: DataFrame, variant: Series) -> dict[Key, tuple[Values, bool | None]]:
    """The numbers of every metric, and whether higher ones are better."""
    import pandas as pd

    found = {}
    for made, alike in scores.groupby("made_with", sort=False, dropna=False):
        for grid in grids(alike.assign(made_with=None), variant):
            key = Key(**{**grid.column, "made_with": None if pd.isna(made) else made})
            rows = {str(sae): i for i, sae in enumerate(grid.table.index)}
            seeds = tuple(None if pd.isna(seed) else int(seed) for seed in grid.table.columns)
            found[key] = Values(rows, seeds, grid.table.to_numpy() * grid.unit), grid.higher_is_better
    return found


class Pairing(NamedTuple):
    """One metric of one subject: how it was made on either side; None where it is not there."""

    before: Key | None
    here: Key | None

    @property
    def apart(self) -> str:
        """Why the two cannot be compared; empty where they can, or where one is not there."""
        if self.before is None or self.here is None or self.before == self.here:
            return ""
        old, new = self.before._asdict(), self.here._asdict()
        parts = [
            f"{_WORDS.get(name, name)} {_short(old[name], new[name])} in the baseline, {_short(new[name], old[name])} here"
            for name in MADE
            if old[name] != new[name]
        ]
        return f"cannot compare: {'; '.join(parts)}"


def pairings(before: Sequence[Mapping[Key, Any]], here: Sequence[Mapping[Key, Any]]) -> Iterator[Pairing]:
    """Set what there is of a subject's SAEs in the baseline beside what there is here: made alike where that is possible, else what differs least."""
    old, new = (list(dict.fromkeys(key for keys in side for key in keys)) for side in (before, here))
    left = [key for key in new if key not in set(old)]
    both = set(new)
    for key in old:
        if key in both:
            yield Pairing(key, key)
            continue
        others = [other for other in left if other.of == key.of]
        nearest = min(others, key=lambda other: sum(a != b for a, b in zip(key, other, strict=True)), default=None)
        if nearest is not None:
            left.remove(nearest)
        yield Pairing(key, nearest)
    for key in left:
        yield Pairing(None, key)


def _short(value: Any, other: Any) -> str:
    """A value as it stands in a reason; of two long ones, where they begin to differ."""
    text, beside = str(value), str(other)
    if value is None:
        return "unknown"
    if len(text) <= _MOST:
        return text
    same = next((i for i, (a, b) in enumerate(zip(text, beside, strict=False)) if a != b), min(len(text), len(beside)))
    start = max(0, same - _MOST // 2)
    return ("…" if start else "") + text[start : start + _MOST] + ("…" if start + _MOST < len(text) else "")
