"""Find evals and loaders by entry point. The built-in ones come in by the same door as anybody else's.

Nothing here imports torch: listing the evals is instant. A plugin is imported when its name, or all, is asked for; one that cannot be is listed as broken and
breaks nothing else.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from traceback import walk_tb
from typing import Any

from hedgebench.eval import NEEDS, OPTIONAL, Eval
from hedgebench.stopping import stoppable
from hedgebench.types import BadInput, Metric

logger = logging.getLogger(__name__)

EVAL_GROUP = "hedgebench.evals"
LOADER_GROUP = "hedgebench.loaders"
SLOW = 20.0
"""Seconds after which an import is told of."""


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


_Places = tuple[tuple[str, int | None], ...]
"""Where packages are looked for, and when each place was last changed: what is installed there is looked up once, until it changes."""


def _load(group: str, names: Iterable[str] | None) -> tuple[dict[str, Plugin], list[Broken]]:
    """Import what is registered under some names, or under all."""
    places = _places()
    points = _points(group, places)
    plugins: dict[str, Plugin] = {}
    broken: list[Broken] = []
    for name in sorted(points if names is None else points.keys() & set(names)):
        plugin, bad = _import(points[name], places)
        broken += bad
        if plugin is not None:
            plugins[name] = plugin
    return plugins, broken


def _places() -> _Places:
    return tuple((place, _changed(place)) for place in sys.path)


def _changed(place: str) -> int | None:
    try:
        return os.stat(place or ".").st_mtime_ns  # noqa: PTH116 - looked up for every run
    except OSError:
        return None


@lru_cache(maxsize=8)
def _points(group: str, places: _Places) -> dict[str, tuple[EntryPoint, ...]]:  # noqa: ARG001
    """What is registered under each name, the first of which gets it. Nothing is imported."""
    points: dict[str, tuple[EntryPoint, ...]] = {}
    for point in sorted(set(entry_points(group=group)), key=_order):
        points[point.name] = (*points.get(point.name, ()), point)
    return points


@lru_cache(maxsize=1024)
def _import(
    points: tuple[EntryPoint, ...],
    places: _Places,  # noqa: ARG001
) -> tuple[Plugin | None, tuple[Broken, ...]]:
    """Of the entry points of one name the first that is fine, and the others."""
    plugin: Plugin | None = None
    broken: list[Broken] = []
    for point in points:
        package, version = _package_of(point)
        with _told_if_slow(point.name, package):
            found, error = None, _import_module(point.value.partition(":")[0].strip())
            if error is None:
                found, error = _attempt(partial(_checked, point))
        if error is None and plugin is not None:
            error = f"the name is taken by package {plugin.package!r}: rename one of them"
        if error is None:
            plugin = Plugin(point.name, package, version, found)
        else:
            broken.append(Broken(point.name, package, error))
    return plugin, tuple(broken)


@lru_cache(maxsize=1024)
def _import_module(name: str) -> str | None:
    """Import a module, in a process only once, also where that fails; what it raises, as a line."""
    return _attempt(partial(import_module, name))[1]


def _checked(point: EntryPoint) -> Any:
    found = point.load()
    if point.group == EVAL_GROUP:
        check_eval(point.name, found)
    elif not callable(found):
        raise InvalidPlugin(f"expected a function from a reference to an SAE or None, found {found!r}")
    return found


def _attempt(do: Callable[[], Any]) -> tuple[Any, str | None]:
    """What somebody else's code gives, or what it raises, as a line: whatever that is, it is its own fault, and stays with it."""
    try:
        return do(), None
    except KeyboardInterrupt as error:
        if _may_be_ctrl_c(error):
            raise
        return None, _line(error)
    except BaseException as error:
        return None, _line(error)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def _may_be_ctrl_c(error: KeyboardInterrupt) -> bool:
    """Whether the user may have raised it. Where the command line hears Ctrl-C (`hedgebench.stopping`), its own function raises what the user does, and not during an import."""
    hear = signal.getsignal(signal.SIGINT)
    if getattr(hear, "__module__", None) == stoppable.__module__:
        *_, (frame, _) = walk_tb(error.__traceback__)
        return frame.f_code is getattr(hear, "__code__", None)
    return hear not in (signal.SIG_IGN, signal.SIG_DFL)  # which raise nothing


@contextmanager
def _told_if_slow(name: str, package: str) -> Iterator[None]:
    """Say after `SLOW` seconds what is being imported, which goes on."""
    timer = threading.Timer(
        SLOW, logger.warning, ("importing %r from package %r takes long; it goes on, and Ctrl-C stops", name, package)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _order(point: EntryPoint) -> tuple[bool, str, str]:
    """By name, ours before others': nobody takes a built-in's name."""
    return (_package_of(point)[0] != "hedgebench", point.name, point.value)


def _package_of(point: EntryPoint) -> tuple[str, str]:
    dist = point.dist
    return (dist.name, dist.version) if dist is not None else ("?", "?")


def find_evals(names: Iterable[str] | None = None) -> tuple[dict[str, Plugin], list[Broken]]:
    """The evals that installed packages register, by name, and the broken ones: those of some names, or all. No other is imported."""
    return _load(EVAL_GROUP, names)


def find_loaders() -> tuple[dict[str, Plugin], list[Broken]]:
    """All loaders that installed packages register, by name, and the broken ones."""
    return _load(LOADER_GROUP, None)


def list_evals() -> list[type[Eval]]:
    """Every usable eval, by name."""
    return [plugin.object for plugin in find_evals()[0].values()]


def get_eval(name: str) -> type[Eval]:
    """The eval called `name`. No other is imported.

    Raises:
        BadInput: No such eval, or its plugin is broken; the line says which, and the nearest right name.
    """
    evals, broken = find_evals([name])
    if name in evals:
        found: type[Eval] = evals[name].object
        return found
    for b in broken:
        raise BadInput(f"eval {name!r} of package {b.package!r} is broken: {b.error}")
    raise BadInput(f"unknown eval {name!r}{nearest(name, _points(EVAL_GROUP, _places()))}")


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
