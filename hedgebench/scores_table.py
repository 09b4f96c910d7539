"""What a scores table must be, wherever it comes from: its columns, of their types, and no row that contradicts another. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hedgebench.columns import KEY, SCORES, YOUNGER, kind_of, typed_column
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_NEVER_MISSING = ("sae", "eval", "metric", "run_id", "slice_by")
_MAY_BE_EMPTY = ("params", "slice_value")
"""Texts: a CSV does not tell an empty one from none."""
_RUN = ["sae", "eval", "eval_version", "model", "hook", "data", "config", "seed", "source", "made_with"]
"""Of one run: one each."""
_FEW = 5
"""Rows or cells that are named."""
_WORDS = {"Int64": "a whole number", "float64": "a finite number", "boolean": "True or False"}


def scores_table(scores: DataFrame, where: str = "the scores table", columns: Sequence[str] = SCORES) -> DataFrame:
    """A scores table with its columns in their own types, once it is seen to be one. Text becomes numbers, as a file may know no types, and a row that is there twice is there once.

    Args:
        scores: The table. Where `value` is missing, the row is a blank.
        where: The table's name in what is said of a mistake.
        columns: That are asked for. Others stay as they are.

    Raises:
        BadInput: A column is missing or there twice, a cell is of another type, or rows contradict each other: one line with the column, the row (from 1) and what to do.
    """
    import pandas as pd

    rows = scores.reset_index(drop=True)
    table = rows.assign(**{name: typed_column(name, [None] * len(rows)) for name in YOUNGER if name not in rows})
    names = [str(name) for name in table.columns]
    for name in columns:
        if count := names.count(name) - 1:
            problem = f"it has {count + 1} columns" if count > 0 else "it has no column"
            raise BadInput(
                f"{where}: no scores table: {problem} {name!r}; `hedgebench table DIR --out FILE` writes one"
            )
    table = table.assign(**{name: pd.Series(_typed(table[name], where), index=table.index) for name in columns})
    asked = set(columns)
    if asked >= {"run_id", *_RUN}:
        _agree(table, ["run_id"], _RUN, where, "give two runs two names")
    if asked >= {*KEY, "value"}:
        table = table[~table.duplicated([*columns])]
        _agree(table, KEY, ["value"], where, "one of them is wrong")
    if asked >= {"sae", "digest"}:
        _agree(table.dropna(subset=["digest"]), ["sae"], ["digest"], where, "give two SAEs two names")
    if asked >= {"eval", "eval_version", "metric", "higher_is_better"}:
        by = ["eval", "eval_version", "metric"]
        _agree(table, by, ["higher_is_better"], where, "a metric has one better end, so that some of these are wrong")
    return table


def _typed(column: Series, where: str) -> Any:
    """The values of a column, in its own type."""
    import numpy as np

    name, missing = str(column.name), column.isna().to_numpy()
    kind = kind_of(name)
    if name in _NEVER_MISSING and missing.any():
        raise BadInput(f"{where}: row {missing.argmax() + 1} has no {name}; every row of a scores table has one")
    values = column.array
    if column.dtype != kind or (kind == "float64" and np.isinf(values).any()):
        plain = [value.item() if isinstance(value, np.generic) else value for value in column]
        values = typed_column(name, [None if gone else value for value, gone in zip(plain, missing, strict=True)])
        if (odd := np.asarray(values.isna()) & ~missing).any():
            at = int(odd.argmax())
            instead = "leave the row out" if name == "value" else "leave the cell empty where it is not known"
            raise BadInput(f"{where}: {name} is {_shown(plain[at])} in row {at + 1}, not {_WORDS[kind]}; {instead}")
    return values.fillna("") if name in _MAY_BE_EMPTY else values


def _agree(table: DataFrame, by: list[str], same: list[str], where: str, then: str) -> None:
    """Refuse rows that are equal in `by` and differ in `same`."""
    told = table[[*by, *same]].drop_duplicates()
    clash = told[told.duplicated(by, keep=False)]
    if clash.empty:
        return
    group = table.groupby(by, dropna=False, sort=False).ngroup()
    rows = table[group == group[clash.index[0]]]
    name = next(name for name in same if len(rows[name].unique()) > 1)
    what = ", ".join(f"{key} {_shown(rows[key].iloc[0])}" for key in by)
    found = [f"{_shown(value)} in {_rows(own.index)}" for value, own in rows.groupby(name, dropna=False, sort=False)]
    raise BadInput(f"{where}: {name} of {what} is {' and '.join(found[:_FEW])}; {then}")


def _rows(index: Iterable[int]) -> str:
    numbers = [str(at + 1) for at in index]
    more = f" and {len(numbers) - _FEW} more" if len(numbers) > _FEW else ""
    return f"{'rows' if len(numbers) > 1 else 'row'} {', '.join(numbers[:_FEW])}{more}"


def _shown(value: Any) -> str:
    """A cell, on one line and not too long."""
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "empty"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
