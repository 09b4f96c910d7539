"""The keys of a YAML mapping as the arguments of a dataclass, each checked against its field's type."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from hedgebench.lines import LineMap
from hedgebench.spelling import nearest
from hedgebench.types import BadInput


def typed_values(path: Path, data: LineMap, cls: type, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys of `data` as arguments of a dataclass, each of its field's type; `given` replaces what was read.

    Raises:
        BadInput: A key that is unknown, missing, or of another type; the message has the path, the line and the nearest word.
    """
    known = {f.name: f for f in fields(cls)}
    hints = get_type_hints(cls)
    values = dict(given or {})
    for key, value in data.items():
        if key not in known:
            raise BadInput(f"{path}:{data.lines[key]}: there is no key {key!r}{nearest(key, known)}")
        if key not in values:
            values[key] = _cast(value, hints[key], f"{path}:{data.lines[key]}: {key!r}")
    for key, f in known.items():
        if key not in values and f.default is MISSING:
            raise BadInput(f"{path}:{data.line}: {key!r} is missing")
    return values


def _cast(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`.

    Raises:
        BadInput: It is of another type.
    """
    if hint is float and not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if math.isfinite(number := float(value)):
                return number
        raise BadInput(f"{where} must be a number, not {value!r}")
    if hint == tuple[int, ...]:
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise BadInput(f"{where} must be a list of whole numbers, not {value!r}")
        return tuple(value)
    kinds = {int: "a whole number", bool: "true or false"}
    wanted = hint if hint in kinds else str
    if type(value) is not wanted:
        raise BadInput(f"{where} must be {kinds.get(wanted, 'a text')}, not {value!r}")
    return value
