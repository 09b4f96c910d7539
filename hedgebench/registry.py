"""Find evals and loaders by entry point. The built-in ones come in by the same door as anybody else's.

Nothing here imports torch: listing the evals is instant. A plugin is imported when its name, or all, is asked for; one that cannot be is listed as broken and
breaks nothing else.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from traceback import walk_tb
from typing import Any

from hedgebench.eval import Eval
from hedgebench.plugin_rules import InvalidPlugin, check_eval
from hedgebench.spelling import nearest
from hedgebench.stopping import stoppable
from hedgebench.types import BadInput

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
