"""Read a suite: which SAEs, which evals, which seeds. Every mistake is one line with its place and the nearest right word."""

from __future__ import annotations

import glob
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hedgebench.control_cards import KINDS, split_kind
from hedgebench.formats.layouts import find_paths
from hedgebench.lines import LineMap, read_yaml
from hedgebench.paths import is_folder, is_there, user_path
from hedgebench.spelling import nearest
from hedgebench.types import BadInput
from hedgebench.world_files import stands_for_world

_TOP = ("name", "model", "data", "saes", "evals", "seeds", "dtype", "time_limit", "ray")
_SAE = ("path", "release", "ids", "controls", "like", "control", "second_control", "group", "world", "tags", "name")
DTYPES = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class SaeEntry:
    """One line of `saes:`: references, or controls for the SAEs that other lines bring."""

    where: str
    """`file:line`, for messages."""
    refs: tuple[str, ...] = ()
    name: str | None = None
    control: str | None = None
    """The reference of the SAE that these are compared with; None: the one that their own metadata name, if any."""
    second_control: str | None = None
    """The reference of the control trained in another order of the data."""
    group: str | None = None
    """These SAEs, and those of other entries with this name, differ in their training seed only."""
    tags: Mapping[str, Any] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    like: str | None = None
    """With `controls`: only for SAEs of this name, path or tag value."""
    world: str | None = None
    """The folder of the true features, for SAEs that have none beside them."""


@dataclass(frozen=True)
class EvalEntry:
    """One line of `evals:`: a name and its settings."""

    where: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RayOptions:
    """`ray:`, for `--executor ray`."""

    address: str | None = None
    """Of a cluster that is there; None: RAY_ADDRESS, or else one on this machine, for as long as it is used."""
    num_cpus: float = 1.0
    """Cores of each place, which also are its threads."""
    num_gpus: float | None = None
    """GPUs of each place, or a share of one; None: one where `--device` is a GPU."""


@dataclass(frozen=True)
class Suite:
    """A whole suite, checked but not yet loaded."""

    name: str
    saes: tuple[SaeEntry, ...]
    evals: tuple[EvalEntry, ...]
    model: str | None = None
    """None: each SAE's own model."""
    data: str = "offline"
    seeds: tuple[int, ...] = (0,)
    dtype: str = "float32"
    time_limit: float = 3600.0
    """Seconds one run may take."""
    ray: RayOptions = RayOptions()


def read_suite(path: str | Path) -> Suite:
    """Read and check a suite file. Paths in it are relative to the file.

    Raises:
        BadInput: No such file, not YAML, or any unknown or wrong key or value.
    """
    path = Path(path)
    return _Reader(path).suite(read_yaml(path, "a suite"))


def check_seeds(seeds: object, where: str) -> tuple[int, ...]:
    """Evaluation seeds as a tuple.

    Raises:
        BadInput: They are not a list of different whole numbers from 0.
    """
    given = list(seeds) if isinstance(seeds, Sequence) and not isinstance(seeds, str) else []
    good = all(isinstance(s, int) and not isinstance(s, bool) and 0 <= s < 2**63 for s in given)
    if not given or not good or len(set(given)) != len(given):
        raise BadInput(f"{where} must be a list of different whole numbers from 0, not {seeds!r}")
    return tuple(given)


def check_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags as they are, once those that replace what a checkpoint says of itself are of its kind.

    Raises:
        BadInput: One is not.
    """
    for name, value in tags.items():
        kind, what = _TAGS.get(name, (object, ""))
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and name in _TAGS)):
            raise BadInput(f"tag {name!r} must be {what}, not {value!r}")
        if kind is int and value is not None and not -(2**63) <= value < 2**63:
            raise BadInput(f"tag {name!r} must be {what} that a table can hold, not {value!r}")
    return dict(tags)


_TAGS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(("architecture", "loss", "objective", "model", "hook"), (str, "a text")),
    **dict.fromkeys(("k", "l0"), ((int, float), "a number")),
    **dict.fromkeys(("train_seed", "train_tokens"), (int, "a whole number")),
}
"""The tags that `hedgebench.checkpoint.label` puts in place of what the checkpoint says, and what they are."""


def _is_plain(value: Any) -> bool:
    """Whether JSON has a word for a value that is no list and no mapping."""
    finite = not isinstance(value, float) or math.isfinite(value)
    return value is None or (isinstance(value, (str, int, float)) and finite)


class _Reader:
    """Turns the parsed YAML of one file into a `Suite`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wrong(self, line: int, text: str) -> BadInput:
        return BadInput(f"{self.path}:{line}: {text}")

    def suite(self, data: LineMap) -> Suite:
        self.keys(data, _TOP, "a suite")
        for key in ("saes", "evals"):
            if not isinstance(data.get(key), list) or not data[key]:
                raise self.wrong(data.lines.get(key, data.line), f"{key!r} must be a list with at least one entry")
        return Suite(
            name=self.name(data),
            model=self.beside(self.text(data, "model")),
            data=self.beside(self.text(data, "data")) or "offline",
            dtype=self.choice(data, "dtype", "float32", DTYPES),
            time_limit=self.positive(data, "time_limit", 3600.0),
            seeds=self.seeds(data),
            ray=self.ray(data),
            saes=tuple(self.sae(entry, data.lines["saes"]) for entry in data["saes"]),
            evals=tuple(self.eval(entry, data.lines["evals"]) for entry in data["evals"]),
        )

    def keys(self, data: LineMap, known: tuple[str, ...], what: str) -> None:
        for key in data:
            if key not in known:
                raise self.wrong(data.lines[key], f"{what} has no key {key!r}{nearest(key, known)}")

    def text(self, data: LineMap, key: str) -> str | None:
        value = data.get(key)
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise self.wrong(data.lines[key], f"{key!r} must be a text, not {value!r}")
        return value

    def needed(self, data: LineMap, key: str) -> str:
        if (value := self.text(data, key)) is None:
            raise self.wrong(data.lines[key], f"{key!r} must be a text, and nothing is there")
        return value

    def name(self, data: LineMap) -> str:
        """The suite's, which also names its results folder."""
        name = self.text(data, "name") or self.path.stem
        if Path(name).name != name or name == "..":
            raise self.wrong(data.lines["name"], f"'name' is {name!r}, which is no folder name")
        return name

    def choice(self, data: LineMap, key: str, default: str, known: tuple[str, ...]) -> str:
        value = data.get(key, default)
        if value not in known:
            raise self.wrong(data.lines[key], f"{key!r} is {value!r}{nearest(str(value), known)}")
        return str(value)

    def positive(self, data: LineMap, key: str, default: float) -> float:
        value = data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= sys.float_info.max:
            raise self.wrong(data.lines[key], f"{key!r} must be a number above 0, not {value!r}")
        return float(value)

    def ray(self, data: LineMap) -> RayOptions:
        given = data.get("ray", {})
        if not isinstance(given, LineMap) and given:
            raise self.wrong(data.lines["ray"], f"'ray' is a mapping such as `num_gpus: 1`, not {given!r}")
        if not given:
            return RayOptions()
        self.keys(given, ("address", "num_cpus", "num_gpus"), "'ray'")
        cpus, gpus = self.amount(given, "num_cpus"), self.amount(given, "num_gpus")
        if cpus == 0 and not gpus:
            raise self.wrong(data.lines["ray"], "'ray' takes no core and no GPU: nothing would limit its places")
        return RayOptions(self.text(given, "address"), 1.0 if cpus is None else cpus, gpus)

    def amount(self, data: LineMap, key: str) -> float | None:
        if key not in data:
            return None
        return 0.0 if data[key] == 0 and data[key] is not False else self.positive(data, key, 1.0)

    def beside(self, value: str | None) -> str | None:
        """A file or folder beside the suite is meant before any other thing of that name."""
        if value is None or not is_there(self.path.parent / value):
            return value
        return str(self.path.parent / value)

    def seeds(self, data: LineMap) -> tuple[int, ...]:
        seeds = data.get("seeds", [0])
        return check_seeds(seeds, f"{self.path}:{data.lines.get('seeds', data.line)}: 'seeds'")

    def sae(self, entry: Any, line: int) -> SaeEntry:
        if not isinstance(entry, LineMap):
            raise self.wrong(line, f"an entry of 'saes' is a mapping such as `path: FOLDER`, not {entry!r}")
        self.keys(entry, _SAE, "an entry of 'saes'")
        kinds = [key for key in ("path", "release", "controls") if key in entry]
        if len(kinds) != 1:
            raise self.wrong(entry.line, "an entry of 'saes' has exactly one of 'path', 'release', 'controls'")
        tags = self.tags(entry)
        where = f"{self.path}:{entry.line}"
        if kinds == ["controls"]:
            for key in ("control", "second_control", "group", "name", "world", "ids"):
                if key in entry:
                    raise self.wrong(
                        entry.lines[key], f"{key!r} goes with a 'path' or a 'release', not with 'controls'"
                    )
            return SaeEntry(where, controls=self.controls(entry), like=self.beside(self.text(entry, "like")), tags=tags)
        for key, with_it in (("like", "controls"), ("ids", "release")):
            if key in entry and with_it not in entry:
                raise self.wrong(entry.lines[key], f"{key!r} goes with {with_it!r}, which is not there")
        refs = self.paths(entry) if kinds == ["path"] else self.release(entry)
        control, second = (self.text(entry, key) for key in ("control", "second_control"))
        return SaeEntry(
            where,
            refs,
            self.text(entry, "name"),
            self.ref(control) if control else None,
            tags=tags,
            world=self.world(entry),
            second_control=self.ref(second) if second else None,
            group=self.text(entry, "group"),
        )

    def tags(self, entry: LineMap) -> dict[str, Any]:
        tags = entry.get("tags") or {}
        plain = isinstance(tags, dict) and all(_is_plain(value) for value in tags.values())
        if not plain:
            raise self.wrong(entry.lines["tags"], "'tags' must be a mapping from names to plain values")
        try:
            return check_tags(tags)
        except BadInput as error:
            raise self.wrong(entry.lines["tags"], str(error)) from None

    def world(self, entry: LineMap) -> str | None:
        given = self.text(entry, "world")
        if given is None:
            return None
        folder = self.path.parent / user_path(given)
        if not is_folder(folder):
            raise self.wrong(entry.lines["world"], f"'world' is {given!r}, and there is no such folder")
        if not stands_for_world(folder):
            raise self.wrong(entry.lines["world"], f"'world' is {given!r}, which holds no toy world")
        return str(folder)

    def controls(self, entry: LineMap) -> tuple[str, ...]:
        kinds = entry["controls"]
        if not isinstance(kinds, list) or not kinds:
            raise self.wrong(entry.lines["controls"], f"'controls' must be a list out of {', '.join(KINDS)}")
        for kind in kinds:
            try:
                split_kind(str(kind))
            except BadInput as error:
                raise self.wrong(entry.lines["controls"], str(error)) from None
        return tuple(kinds)

    def ref(self, ref: str) -> str:
        """A reference as the suite means it: a path relative to the suite, or `release:sae_id` as it stands."""
        path = user_path(ref)
        beside = self.path.parent / path
        return str(beside) if path.is_absolute() or is_there(beside) or ":" not in ref else ref

    def paths(self, entry: LineMap) -> tuple[str, ...]:
        pattern = self.needed(entry, "path")
        full = self.ref(pattern)
        if not glob.has_magic(pattern):
            return (full,)
        found = find_paths(full)
        if not found:
            raise self.wrong(entry.lines["path"], f"no folder or file of weights matches {pattern!r}")
        return tuple(found)

    def release(self, entry: LineMap) -> tuple[str, ...]:
        release, ids = self.needed(entry, "release"), entry.get("ids")
        ids = [ids] if isinstance(ids, str) else ids
        if not isinstance(ids, list) or not ids or not all(isinstance(i, str) and i for i in ids):
            raise self.wrong(entry.line, "a 'release' needs 'ids': one SAE id or a list of them, `*` allowed")
        return tuple(f"{release}:{i}" for i in ids)

    def eval(self, entry: Any, line: int) -> EvalEntry:
        if isinstance(entry, str):
            return EvalEntry(f"{self.path}:{line}", entry)
        if isinstance(entry, LineMap) and len(entry) == 1:
            (name, config), *_ = entry.items()
            if config is None or isinstance(config, dict):
                return EvalEntry(f"{self.path}:{entry.line}", name, dict(config or {}))
        raise self.wrong(
            getattr(entry, "line", line),
            f"an entry of 'evals' is a name or `{{name: {{setting: value}}}}`, not {entry!r}",
        )
