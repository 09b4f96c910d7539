"""What a user says of metrics (tolerance, better end) and of SAEs (which is which), from a small YAML file. No torch."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from hedgebench.lines import LineMap, read_yaml
from hedgebench.spelling import nearest
from hedgebench.types import BadInput

_TOP = ("judge", "float_tolerance", "match", "metrics")
_METRIC = ("tolerance", "better", "ignore")
_JUDGE = ("recipes", "checkpoints")
_BETTER = {"higher": True, "lower": False}
FLOAT_TOLERANCE = 1e-5
"""Relative. Sums of float32 in another order, on another processor, differ by a few millionths."""


@dataclass(frozen=True)
class Rule:
    """What holds for a metric; None where nothing is said."""

    tolerance: float | None = None
    """A change up to this does not matter: in the metric's unit, or a share of the baseline's value where `relative`."""
    relative: bool = False
    better: bool | None = None
    """Whether higher is better."""
    ignore: bool | None = None

    def over(self, other: Rule) -> Rule:
        """This rule, and the other's where this says nothing."""
        tolerance = self if self.tolerance is not None else other
        return Rule(
            tolerance.tolerance,
            tolerance.relative,
            other.better if self.better is None else self.better,
            other.ignore if self.ignore is None else self.ignore,
        )

    def allowed(self, value: float) -> float | None:
        """The tolerance of a metric whose value in the baseline is `value`."""
        return self.tolerance if self.tolerance is None or not self.relative else self.tolerance * abs(value)


@dataclass(frozen=True)
class Rules:
    """All that a user says."""

    judge: Literal["recipes", "checkpoints"] = "recipes"
    """Of SAEs with other weights. `recipes`: what training again does is noise. `checkpoints`: these very weights are meant, and only the evaluation's noise counts."""
    float_tolerance: float = FLOAT_TOLERANCE
    match: Mapping[str, str] = field(default_factory=dict)
    """SAEs of the table here, and what they are called in the baseline."""
    metrics: Mapping[str, Rule] = field(default_factory=dict)
    """By `eval.metric`, `eval.metric[k=1]` or a pattern of such names; of several that match, the last one counts, key by key."""
    where: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """`file:line` of every entry of `match` and `metrics`, for messages."""

    def rule(self, eval_name: str, metric: str, params: str) -> Rule:
        """What holds for one metric."""
        found = Rule()
        for pattern, rule in self.metrics.items():
            if _matches(pattern, metric_names(eval_name, metric, params)):
                found = rule.over(found)
        return found

    def check_names(self, metrics: Collection[tuple[str, ...]], here: Collection[str], before: Collection[str]) -> None:
        """Refuse an entry that speaks of nothing there is.

        Args:
            metrics: The `metric_names` of every metric of both tables.
            here: SAEs of the table here.
            before: SAEs of the baseline.

        Raises:
            BadInput: With the entry's place and the nearest right word.
        """
        for pattern in self.metrics:
            if not any(_matches(pattern, names) for names in metrics):
                known = {name for names in metrics for name in names}
                raise BadInput(
                    f"{self.where['metrics', pattern]}: no metric is called {pattern!r}{nearest(pattern, known)}"
                )
        for name, old in self.match.items():
            for given, saes, place in ((name, here, "here"), (old, before, "in the baseline")):
                if given not in saes:
                    raise BadInput(
                        f"{self.where['match', name]}: no SAE {place} is called {given!r}{nearest(given, saes)}"
                    )


def metric_names(eval_name: str, metric: str, params: str) -> tuple[str, ...]:
    """What an entry may call a metric."""
    plain = f"{eval_name}.{metric}"
    return (f"{plain}[{params}]", plain) if params else (plain,)


def _matches(pattern: str, names: tuple[str, ...]) -> bool:
    """Brackets are part of a name, and not the pattern's."""
    return pattern in names or any(fnmatchcase(name, pattern.replace("[", "[[]")) for name in names)


def read_rules(path: str | Path) -> Rules:
    """Read and check a rules file.

    Raises:
        BadInput: No such file, not YAML, or any unknown or wrong key or value, with its line.
    """
    path = Path(path)
    data = read_yaml(path, "a config of checks")
    _known(path, data, _TOP, "a config of checks")
    judge = data.get("judge", "recipes")
    if judge not in _JUDGE:
        raise _wrong(path, data, "judge", f"'judge' is {judge!r}{nearest(str(judge), _JUDGE)}")
    where: dict[tuple[str, str], str] = {}
    match = _mapping(path, data, "match", "from names of SAEs here to their names in the baseline")
    for name, old in match.items():
        if not isinstance(old, str):
            raise _wrong(path, match, name, f"{name!r} is the name of an SAE in the baseline, not {old!r}")
        where["match", name] = f"{path}:{match.lines[name]}"
    if len(set(match.values())) < len(match):
        twice = next(name for i, name in enumerate(match) if match[name] in list(match.values())[:i])
        raise _wrong(path, match, twice, f"{match[twice]!r} of the baseline is matched twice")
    metrics = {}
    given = _mapping(path, data, "metrics", "from `eval.metric` to what holds for it")
    for name in given:
        metrics[name] = _rule(path, given, name)
        where["metrics", name] = f"{path}:{given.lines[name]}"
    float_tolerance = _number(path, data, "float_tolerance", data.get("float_tolerance", FLOAT_TOLERANCE))
    return Rules(judge, float_tolerance, dict(match), metrics, where)


def _rule(path: Path, data: LineMap, name: str) -> Rule:
    entry = data[name]
    if not isinstance(entry, LineMap):
        raise _wrong(path, data, name, f"{name!r} is a mapping such as `{{tolerance: 0.01}}`, not {entry!r}")
    _known(path, entry, _METRIC, "a metric")
    better = entry.get("better")
    if better is not None and str(better) not in _BETTER:
        raise _wrong(path, entry, "better", f"'better' is {better!r}{nearest(str(better), _BETTER)}")
    ignore = entry.get("ignore")
    if ignore is not None and not isinstance(ignore, bool):
        raise _wrong(path, entry, "ignore", f"'ignore' is true or false, not {ignore!r}")
    tolerance, relative = _tolerance(path, entry)
    return Rule(tolerance, relative, None if better is None else _BETTER[str(better)], ignore)


def _tolerance(path: Path, entry: LineMap) -> tuple[float | None, bool]:
    """The number, and whether it is a share of the baseline's value."""
    if "tolerance" not in entry:
        return None, False
    given = entry["tolerance"]
    if isinstance(given, str) and re.fullmatch(r"\d+(\.\d*)?\s*%", given):
        share = _number(path, entry, "tolerance", float(given[:-1]))
        return share / 100, True
    return _number(path, entry, "tolerance", given), False


def _number(path: Path, data: LineMap, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= sys.float_info.max:
        more = " or a share such as 2%" if key == "tolerance" else ""
        raise _wrong(path, data, key, f"{key!r} must be a number from 0{more}, not {value!r}")
    return float(value)


def _mapping(path: Path, data: LineMap, key: str, what: str) -> LineMap:
    found = data.get(key)
    if key not in data:
        found = LineMap()
    if not isinstance(found, LineMap):
        raise _wrong(path, data, key, f"{key!r} is a mapping {what}, not {found!r}")
    return found


def _known(path: Path, data: LineMap, known: tuple[str, ...], what: str) -> None:
    for key in data:
        if key not in known:
            raise _wrong(path, data, key, f"{what} has no key {key!r}{nearest(key, known)}")


def _wrong(path: Path, data: LineMap, key: str, text: str) -> BadInput:
    return BadInput(f"{path}:{data.lines.get(key, data.line)}: {text}")
