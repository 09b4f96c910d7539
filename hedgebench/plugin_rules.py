"""What an eval must be like to be registered (README, "Add one, in one file"). No torch."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from hedgebench.eval import NEEDS, OPTIONAL, Eval
from hedgebench.types import Metric


class InvalidPlugin(ValueError):
    """A plugin does not keep to the interface; the message shows what was found."""


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
