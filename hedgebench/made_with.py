"""What decides a run's numbers beside its eval, settings and data: revision of the model, numeric type, versions of packages. A cell of the scores table, as JSON. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from hedgebench.registry import find_evals

if TYPE_CHECKING:
    from pandas import DataFrame

_PLACE = ["eval", "source", "model"]
"""Columns of the scores table: runs that are equal in these may differ in what they were made with."""
_UNKNOWN = "not known"


def deciding_packages(eval_name: str) -> tuple[str, ...]:
    """The packages whose version decides an eval's numbers; none where no such eval is installed."""
    evals, _ = find_evals([eval_name])
    return tuple(evals[eval_name].object.packages or ()) if eval_name in evals else ()


def made_with(ours: Mapping[str, Any], deciding: Iterable[str]) -> str | None:
    """The cell of a record's rows; None where nothing is known.

    Args:
        ours: The record's part that is ours.
        deciding: `deciding_packages` of its eval.
    """
    versions = ours["versions"] if isinstance(ours.get("versions"), Mapping) else {}
    found = {key: str(ours[key]) for key in ("revision", "dtype") if ours.get(key)}
    found |= {name: str(versions[name]) for name in deciding if name in versions}
    return json.dumps(found, sort_keys=True) if found else None


def settings(text: str | None) -> dict[str, Any]:
    """What a cell of the column `config` or `made_with` says, by name."""
    try:
        found = json.loads(text or "{}", parse_constant=str, parse_float=_finite)
    except (ValueError, RecursionError):
        return {"config": text}
    return found if isinstance(found, dict) else {"config": found}


def _finite(text: str) -> float | str:
    """A number of a text, which itself is left of one that no number holds."""
    return number if math.isfinite(number := float(text)) else text


def telling(places: Sequence[Hashable], cells: Sequence[str | None]) -> list[dict[str, Any]]:
    """Of each cell what tells it from others of its place: facts of which two values are known. A cell that lacks one (an eval of weights alone knows no model) says so then, and otherwise is like all others.

    Args:
        places: [n], what each cell is of.
        cells: [n].
    """
    facts = [settings(cell) for cell in cells]
    alike: dict[Hashable, list[dict[str, Any]]] = {}
    for place, found in zip(places, facts, strict=True):
        alike.setdefault(place, []).append(found)
    keys = {
        place: [key for key in dict.fromkeys(chain(*those)) if len({str(one[key]) for one in those if key in one}) > 1]
        for place, those in alike.items()
    }
    return [{key: one.get(key, _UNKNOWN) for key in keys[place]} for place, one in zip(places, facts, strict=True)]


def told_apart(scores: DataFrame) -> DataFrame:
    """A scores table whose column `made_with` has only what tells rows apart (`telling`); None where nothing does. Tables of older versions do not have the column."""
    import pandas as pd

    if "made_with" not in scores or scores["made_with"].isna().all():
        return scores
    kinds = scores[[*_PLACE, "made_with"]].astype("object")
    kinds = kinds.where(kinds.notna(), None)
    once = kinds.drop_duplicates()
    rows = list(once.itertuples(index=False, name=None))
    found = telling([row[:-1] for row in rows], [row[-1] for row in rows])
    cells = {row: json.dumps(facts, sort_keys=True) if facts else None for row, facts in zip(rows, found, strict=True)}
    told = [cells[row] for row in kinds.itertuples(index=False, name=None)]
    return scores.assign(made_with=pd.array(told, dtype="string"))
