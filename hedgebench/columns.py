"""The columns of the tables: what type each has, and how whatever a record holds becomes a value of it. No pandas until one is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas.api.extensions import ExtensionArray


def typed_column(name: str, values: Sequence[Any]) -> ExtensionArray:
    """A column of a table, of its own type whatever the values are; what cannot be of that type is missing.

    Args:
        name: The column's.
        values: As they stand in the records.
    """
    import pandas as pd

    kind, read = _KINDS.get(name, ("string", _text))
    column: ExtensionArray = pd.array([read(value) for value in values], dtype=kind)
    return column


def _whole(value: Any) -> int | None:
    """A whole number that a column can hold, and None for all else: one odd record costs its own cell, and never goes through a float."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    good = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return value if good else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


_KINDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("n", "seed", "width", "train_seed", "train_tokens", "layer", "eval_version"), ("Int64", _whole)),
    **dict.fromkeys(("value", "stderr", "chance", "k", "l0", "seconds", "peak_mb", "started_at"), ("float64", _number)),
    "higher_is_better": ("boolean", _truth),
}
"""Columns that hold no text: their type, and how a value in a record becomes one of it."""
