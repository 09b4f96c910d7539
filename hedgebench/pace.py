"""How long runs take, from the records of those that are done. No torch."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hedgebench.finished import read_finished
from hedgebench.types import Run

_SAMPLE = 200
"""Records that are read of each eval. Their names are hashes: the first by name are a sample of all."""


class Pace:
    """The mean seconds of a run, by eval and settings."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    @classmethod
    def of_folder(cls, out: Path, evals: Iterable[str]) -> Pace:
        """From the records of these evals in a results folder."""
        pace = cls()
        for name in set(evals):
            for path in islice(sorted((out / "records" / name).glob("*.json")), _SAMPLE):
                record = read_finished(path)
                if record is not None and record["hedgebench"]["status"] == "ok":
                    ours = record["hedgebench"]
                    pace.add(_key(ours["eval"], ours["config"]), ours["seconds"])
        return pace

    def add(self, kind: str, seconds: float) -> None:
        """Count a run that is done."""
        n, total = self._seen.get(kind, (0, 0.0))
        self._seen[kind] = n + 1, total + seconds

    @property
    def n_records(self) -> int:
        """How many runs have been counted."""
        return sum(n for n, _ in self._seen.values())

    def seconds(self, kind: str) -> float | None:
        """The mean of one kind; None where none has been counted."""
        n, total = self._seen.get(kind, (0, 0.0))
        return total / n if n else None


def kind_of(run: Run) -> str:
    """What runs must have in common to take about as long: the eval and its settings."""
    return _key(run.eval, run.config)


def _key(name: str, config: Mapping[str, Any]) -> str:
    return f"{name} {json.dumps(config, sort_keys=True)}"


def words(seconds: float) -> str:
    """A time as people say it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Bar(tqdm):
    """Counts runs, and tells a time left that goes by what those take that are left, not by how many they are.

    Args:
        name: What is being done.
        runs: What there is to do.
        pace: What is known of how long runs take; it learns from those that are done.
        n_places: How many are done at once.
    """

    def __init__(self, name: str, runs: Sequence[Run], pace: Pace, n_places: int) -> None:
        self._pace, self._n_places = pace, n_places
        self._left, self._done = Counter(map(kind_of, runs)), Counter[str]()
        self._under_way: dict[int, tuple[str, float]] = {}
        self._all_known = all(pace.seconds(kind) is not None for kind in self._left)
        super().__init__(
            total=len(runs),
            unit="run",
            desc=name,
            disable=not runs,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            mininterval=0.1 if sys.stderr.isatty() else 30.0,  # a log file need not hold every step
        )

    def count(self, run: Run, seconds: float | None) -> None:
        """A run is done; `seconds` is None where it was not measured here."""
        kind = kind_of(run)
        if seconds is not None:
            self._pace.add(kind, seconds)
        self._left[kind] -= 1
        self._done[kind] += 1
        self._show()

    def under_way(self, place: int, run: Run, amount: float) -> None:
        """Of the runs that a place has in hand, so many are done, in parts of a run."""
        self._under_way[place] = kind_of(run), amount
        self._show()

    def _show(self) -> None:
        shown = self._done.total() + sum(amount for _, amount in self._under_way.values())
        self.update(round(shown, 1) - self.n)

    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        """What tqdm draws; it reckons the time left from the rate."""
        drawn = super().format_dict
        seconds = self._seconds_left(drawn["elapsed"])
        if seconds:
            drawn["rate"] = (drawn["total"] - drawn["n"]) / seconds
        return drawn

    def _seconds_left(self, elapsed: float) -> float | None:
        known = [s for kind in self._left if (s := self._pace.seconds(kind)) is not None]
        usual = sum(known) / len(known) if known else 1.0

        def work(kinds: Mapping[str, float]) -> float:
            return sum(n * (usual if (s := self._pace.seconds(kind)) is None else s) for kind, n in kinds.items())

        part = sum(work({kind: amount}) for kind, amount in self._under_way.values())
        # past records are believed for the first half minute
        trust = 30.0 if self._all_known else 0.0
        speed = (work(self._done) + part + trust * self._n_places) / (elapsed + trust or 1.0)
        return (work(self._left) - part) / speed if speed > 0 else None
