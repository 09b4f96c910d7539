"""The settings that a suite gives an eval, as the eval's own `Config`. No torch."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import Any

from hedgebench.eval import Eval
from hedgebench.spelling import nearest
from hedgebench.types import BadInput


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
