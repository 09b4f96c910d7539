"""The columns of the tables: what type each has, and how whatever a record holds becomes a value of it. No pandas until one is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas.api.extensions import ExtensionArray

YOUNGER = ("objective", "recipe", "made_with")
"""Columns that tables of older versions do not have."""
SCORES = [
    "sae",
    "eval",
    "metric",
    "params",
    "slice_by",
    "slice_value",
    "value",
    "stderr",
    "n",
    "higher_is_better",
    "chance",
    "seed",
    "architecture",
    "loss",
    "width",
    "k",
    "l0",
    "train_seed",
    "train_tokens",
    "model",
    "hook",
    "layer",
    "data",
    "release",
    "sae_id",
    "digest",
    "eval_version",
    "config",
    "run_id",
    "source",
    *YOUNGER,
]
"""Columns of the scores table. Key: `KEY`."""
CARD = [
    "architecture",
    "loss",
    "width",
    "k",
    "objective",
    "l0",
    "train_seed",
    "train_tokens",
    "recipe",
    "model",
    "hook",
    "layer",
]
"""What the scores table says of an SAE; with `NAMES`, by which it is found again."""
NAMES = ["release", "sae_id", "digest"]
KEY = ["run_id", "metric", "params", "slice_by", "slice_value"]
RUNS = ["run_id", "sae", "eval", "seed", "status", "error", "seconds", "peak_mb", "started_at", "versions"]
"""Columns of the runs table."""


def typed_column(name: str, values: Sequence[Any]) -> ExtensionArray:
    """A column of a table, of its own type whatever the values are; what cannot be of that type is missing.

    Args:
        name: The column's.
        values: As they stand in the records.
    """
    import pandas as pd

    kind: Any
    kind, read = _KINDS.get(name, _TEXT)
    column: ExtensionArray = pd.array([read(value) for value in values], dtype=kind)
    return column


def typed_value(name: str, value: Any) -> Any:
    """A value as a column of this name holds it; None where it is not of the column's type."""
    read = _KINDS.get(name, _TEXT)[1](value)
    return None if isinstance(read, float) and math.isnan(read) else read


def kind_of(name: str) -> str:
    """The type of a column, as pandas calls it: `string`, `Int64`, `float64` or `boolean`."""
    kind, _ = _KINDS.get(name, _TEXT)
    return kind


def _whole(value: Any) -> int | None:
    """A whole number that a column can hold, and None for all else: one odd record costs its own cell, and never goes through a float."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            value = _number(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    good = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return value if good else None


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _truth(value: Any) -> bool | None:
    return _TRUTHS.get(str(value).lower())


_TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


_TEXT: tuple[str, Callable[[Any], Any]] = ("string", _text)
_KINDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("n", "seed", "width", "train_seed", "train_tokens", "layer", "eval_version"), ("Int64", _whole)),
    **dict.fromkeys(("value", "stderr", "chance", "k", "l0", "seconds", "peak_mb", "started_at"), ("float64", _number)),
    "higher_is_better": ("boolean", _truth),
}
"""Columns that hold no text: their type, and how a value in a record becomes one of it."""
