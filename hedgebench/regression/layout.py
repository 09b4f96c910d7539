"""Two scores tables, laid side by side: what is compared with what, and what is missing, new, or made in another way. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hedgebench.regression.cells import Key, Runs, Values, pairings, runs_of, values_of
from hedgebench.regression.compare import Comparison
from hedgebench.regression.noise import Group
from hedgebench.regression.rules import Rules, metric_names
from hedgebench.regression.subjects import Subject, several
from hedgebench.regression.verdicts import Verdict
from hedgebench.stats.grid import variants

if TYPE_CHECKING:
    from pandas import DataFrame, Series


class Side(NamedTuple):
    """One of the two tables, read for comparing."""

    metrics: dict[Key, tuple[Values, bool | None]]
    """The numbers, and whether higher ones are better."""
    runs: dict[str, dict[Key, Runs]]
    variant: Series
    digests: Mapping[str, str]

    @classmethod
    def of(cls, scores: DataFrame) -> Side:
        """Read a scores table."""
        variant = variants(scores)
        digests = scores.drop_duplicates("sae").set_index("sae")["digest"].dropna()
        return cls(values_of(scores, variant), runs_of(scores), variant, {str(k): str(v) for k, v in digests.items()})

    def numbers(self, key: Key) -> Values:
        """The numbers of a metric; none where there are two for every seed."""
        return self.metrics[key][0] if key in self.metrics else Values({}, (), np.empty((0, 0)))

    def direction(self, key: Key) -> bool | None:
        """Whether higher is better, of a metric."""
        return self.metrics[key][1] if key in self.metrics else None

    @property
    def names(self) -> set[tuple[str, ...]]:
        """What its metrics may be called."""
        keys = {key for of_sae in self.runs.values() for key in of_sae}
        return {metric_names(key.eval, key.metric, key.params) for key in keys}

    @property
    def alike(self) -> dict[str, list[str]]:
        """The SAEs of each variant that has several."""
        return several(self.variant)


_TWO = "two SAEs here are called {}, as after training again into the same results folder: check a fresh folder, or say under `match:` in the config which is the baseline's"


class Settled(NamedTuple):
    """A metric whose verdict needs no comparison."""

    subject: Subject
    key: Key
    verdict: Verdict
    reason: str


class Layout(NamedTuple):
    """All metrics of all subjects."""

    settled: list[Settled]
    pending: dict[Key, list[Comparison]]
    """What is to be compared, by metric."""


def lay_out(matched: Sequence[Subject], before: Side, here: Side, rules: Rules) -> Layout:
    """Set every number beside its own; metrics that the rules ignore take no part."""
    found = Layout([], {})
    known = {_base(sae) for subject in matched if subject.before for sae in subject.here}
    for subject in matched:
        again = not subject.before and "~" in subject.name and _base(subject.name) in known
        sides = [before.runs[sae] for sae in subject.before], [here.runs[sae] for sae in subject.here]
        for pairing in pairings(*sides):
            key = pairing.here or pairing.before
            assert key is not None
            if rules.rule(key.eval, key.metric, key.params).ignore:
                continue
            if again:
                found.settled.append(Settled(subject, key, "cannot tell", _TWO.format(_base(subject.name))))
            elif pairing.before is None or pairing.here is None:
                found.settled.append(Settled(subject, key, "new" if pairing.before is None else "missing", ""))
            elif pairing.apart:
                found.settled.append(Settled(subject, key, "cannot tell", pairing.apart))
            else:
                _compare_or_miss(found, subject, key, before, here)
    return found


def _base(name: str) -> str:
    """An SAE's name without the start of its digest, which tells two of one name in one results folder apart."""
    return name.rpartition("~")[0] or name


def _compare_or_miss(found: Layout, subject: Subject, key: Key, before: Side, here: Side) -> None:
    """Compare a metric by those of a subject's SAEs that have it; where the others have it on one side only, say so."""
    old = tuple(sae for sae in subject.before if key in before.runs[sae])
    new = tuple(sae for sae in subject.here if key in here.runs[sae])
    if subject.by != "recipe":
        pairs = [(a, b) for a, b in zip(subject.before, subject.here, strict=True) if a in old or b in new]
        for a, b in pairs:
            if a not in old or b not in new:
                alone = subject._replace(name=b, before=(a,), here=(b,))
                found.settled.append(Settled(alone, key, "missing" if a in old else "new", ""))
        pairs = [(a, b) for a, b in pairs if a in old and b in new]
        old, new = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    if old and new:
        runs = before.runs[old[0]][key], here.runs[new[0]][key]
        found.pending.setdefault(key, []).append(Comparison(subject, old, new, _weights(subject, before, here), *runs))


def _weights(subject: Subject, before: Side, here: Side) -> bool | None:
    """Whether both sides are the same weights, as far as their digests say."""
    if subject.recipe:
        return False
    one, other = before.digests.get(subject.before[0]), here.digests.get(subject.here[0])
    return None if one is None or other is None else one == other


def groups(before: Side, comparisons: Sequence[Comparison]) -> dict[Group, Sequence[str]]:
    """The SAEs that differ in their training seed only: of the baseline, and of recipes that were trained again as a whole."""
    found: dict[Group, Sequence[str]] = {Group("before", name): saes for name, saes in before.alike.items()}
    for one in comparisons:
        if one.subject.recipe and len(one.here) > 1:
            found[Group("here", one.subject.name)] = one.here
    return found
