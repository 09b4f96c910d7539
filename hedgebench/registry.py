"""Find evals and loaders by entry point. The built-in ones come in by the same door as anybody else's.

Nothing here imports torch: listing the evals is instant. A plugin that cannot be imported is listed as broken and breaks nothing else.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hedgebench.eval import NEEDS, OPTIONAL, Eval
from hedgebench.types import BadInput, Metric

EVAL_GROUP = "hedgebench.evals"
LOADER_GROUP = "hedgebench.loaders"


@dataclass(frozen=True)
class Plugin:
    """One registered eval or loader: what it is, and which installed package brought it."""

    name: str
    package: str
    package_version: str
    object: Any


@dataclass(frozen=True)
class Broken:
    """A registered name that cannot be used, and why."""

    name: str
    package: str
    error: str


class InvalidPlugin(ValueError):
    """A plugin does not keep to the interface; the message shows what was found."""


def nearest(word: str, words: Iterable[str]) -> str:
    """A "; did you mean ...?" clause, or the list of right words where none is near."""
    words = sorted(words)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(words)}" if words else ""


def check_eval(name: str, found: Any) -> type[Eval]:
    """Return `found` if it is a well-formed eval called `name`.

    Raises:
        InvalidPlugin: It is not; one line says what was expected and what was found.
    """
    if not (isinstance(found, type) and issubclass(found, Eval)):
        raise InvalidPlugin(f"expected a subclass of hedgebench.Eval, found {found!r}")
    if getattr(found, "name", None) != name:
        raise InvalidPlugin(
            f"its `name` is {getattr(found, 'name', None)!r}, but it is registered as {name!r}: they must be equal"
        )
    version = getattr(found, "version", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidPlugin(f"`version` must be a whole number from 1, found {version!r}")
    for attribute, known in (("needs", NEEDS), ("may_use", OPTIONAL)):
        words = getattr(found, attribute)
        if not isinstance(words, (set, frozenset, list, tuple)) or not set(words) <= known:
            raise InvalidPlugin(f"`{attribute}` must be a set out of {sorted(known)}, found {words!r}")
    metrics = getattr(found, "metrics", ())
    names = [m.name for m in metrics if isinstance(m, Metric)] if isinstance(metrics, (tuple, list)) else []
    if not names or len(names) != len(metrics) or len(set(names)) != len(names):
        raise InvalidPlugin(f"`metrics` must be a tuple of Metric with distinct names, found {metrics!r}")
    _check_config(found.Config)
    _check_run(found)
    return found


def _check_config(config: Any) -> None:
    if not (is_dataclass(config) and isinstance(config, type)):
        raise InvalidPlugin(f"`Config` must be a frozen dataclass, found {config!r}")
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise InvalidPlugin("`Config` must be frozen: write @dataclass(frozen=True)")
    bare = [f.name for f in fields(config) if f.default is MISSING and f.default_factory is MISSING]
    if bare:
        raise InvalidPlugin(f"every field of `Config` needs a default; without one: {', '.join(bare)}")


def _check_run(found: type[Eval]) -> None:
    if found.run is Eval.run and found.run_many is Eval.run_many:
        raise InvalidPlugin("it overrides neither `run(self, ctx, cfg)` nor `run_many(self, ctxs, cfg)`")
    for method, wanted in (("run", ["self", "ctx", "cfg"]), ("run_many", ["self", "ctxs", "cfg"])):
        function = getattr(found, method)
        given = list(inspect.signature(function).parameters) if callable(function) else [repr(function)]
        if len(given) != len(wanted):
            raise InvalidPlugin(f"`{method}` must take ({', '.join(wanted)}), found ({', '.join(given)})")


def _load(group: str) -> tuple[dict[str, Plugin], list[Broken]]:
    return _load_from(group, tuple((place, _changed(place)) for place in sys.path))


def _changed(place: str) -> int | None:
    try:
        return os.stat(place or ".").st_mtime_ns  # noqa: PTH116 - looked up for every run
    except OSError:
        return None


@lru_cache(maxsize=8)
def _load_from(
    group: str,
    places: tuple[tuple[str, int | None], ...],  # noqa: ARG001 - what is installed there is looked up once, until it changes
) -> tuple[dict[str, Plugin], list[Broken]]:
    plugins: dict[str, Plugin] = {}
    broken: list[Broken] = []
    for point in sorted(set(entry_points(group=group)), key=_order):
        package, version = _package_of(point)
        try:
            found = point.load()
            if group == EVAL_GROUP:
                check_eval(point.name, found)
            elif not callable(found):
                raise InvalidPlugin(f"expected a function from a reference to an SAE or None, found {found!r}")
        except (Exception, SystemExit) as error:
            # A plugin is somebody else's code: whatever it raises while being imported is its own fault, and stays with it.
            broken.append(Broken(point.name, package, f"{type(error).__name__}: {error}".splitlines()[0]))
            continue
        if point.name in plugins:
            other = plugins[point.name].package
            broken.append(Broken(point.name, package, f"the name is taken by package {other!r}: rename one of them"))
            continue
        plugins[point.name] = Plugin(point.name, package, version, found)
    return dict(sorted(plugins.items())), broken


def _order(point: EntryPoint) -> tuple[bool, str, str]:
    """By name, ours before others': nobody takes a built-in's name."""
    return (_package_of(point)[0] != "hedgebench", point.name, point.value)


def _package_of(point: EntryPoint) -> tuple[str, str]:
    dist = point.dist
    return (dist.name, dist.version) if dist is not None else ("?", "?")


def find_evals() -> tuple[dict[str, Plugin], list[Broken]]:
    """All evals that installed packages register, by name, and the broken ones."""
    return _load(EVAL_GROUP)


def find_loaders() -> tuple[dict[str, Plugin], list[Broken]]:
    """All loaders that installed packages register, by name, and the broken ones."""
    return _load(LOADER_GROUP)


def list_evals() -> list[type[Eval]]:
    """Every usable eval, by name."""
    return [plugin.object for plugin in find_evals()[0].values()]


def get_eval(name: str) -> type[Eval]:
    """The eval called `name`.

    Raises:
        BadInput: No such eval, or its plugin is broken; the line says which, and the nearest right name.
    """
    evals, broken = find_evals()
    if name in evals:
        found: type[Eval] = evals[name].object
        return found
    for b in broken:
        if b.name == name:
            raise BadInput(f"eval {name!r} of package {b.package!r} is broken: {b.error}")
    raise BadInput(f"unknown eval {name!r}{nearest(name, evals)}")


def make_config(eval_class: type[Eval], given: dict[str, Any]) -> Any:
    """The eval's `Config` with `given` values, checked by name and type.

    Raises:
        BadInput: Unknown key or a value of the wrong type.
    """
    known = {f.name: f for f in fields(eval_class.Config)}
    if eval_class.labelled_sets and isinstance(given.get("data"), str):
        given = {**given, "data": [given["data"]]}
    for key, value in given.items():
        if key not in known:
            raise BadInput(f"eval {eval_class.name!r} has no setting {key!r}{nearest(key, known)}")
        _check_value(eval_class.name, key, str(known[key].type), value)
    try:
        return eval_class.Config(**given)
    except (TypeError, ValueError) as error:
        raise BadInput(f"eval {eval_class.name!r}: {error}") from None


_PLAIN = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "None": (type(None),)}
_LIST = re.compile(r"tuple\[(int|float|str), \.\.\.\]")


def _check_value(eval_name: str, key: str, annotation: str, value: Any) -> None:
    """Refuse a value whose type is not among an annotation's (`int | None`, `tuple[int, ...]`), or that is no finite number.

    Annotations of another form are the eval's own business.
    """
    kinds = [part.strip() for part in annotation.split("|")]
    if not all(kind in _PLAIN or _LIST.fullmatch(kind) for kind in kinds):
        return
    if not any(_fits(kind, value) for kind in kinds):
        wanted = _LIST.sub(r"a list of \1", annotation)
        raise BadInput(f"eval {eval_name!r}: setting {key!r} must be {wanted}, not {value!r}")


def _fits(kind: str, value: Any) -> bool:
    inner = _LIST.fullmatch(kind)
    if inner is not None:
        return isinstance(value, (list, tuple)) and all(_fits(inner[1], each) for each in value)
    if isinstance(value, bool) or not isinstance(value, _PLAIN[kind]):
        return isinstance(value, bool) and kind == "bool"
    return not isinstance(value, float) or math.isfinite(value)
