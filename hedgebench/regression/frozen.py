"""Scores tables as a check reads them, and as a baseline keeps them. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.columns import SCORES
from hedgebench.made_with import told_apart
from hedgebench.results import read_results, read_runs, read_table
from hedgebench.scores_table import scores_table
from hedgebench.stats.tables import control_rows
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame

VERSIONS = "versions"
"""What a baseline has besides the columns of the scores table: the packages that made the number, as `name version, name version`; missing where they are not known."""
_ORDER = ["sae", "eval", "metric", "params", "seed", "eval_version", "data", "config", "run_id"]


class Table(NamedTuple):
    """A scores table that can be compared."""

    place: str
    """What messages call it."""
    scores: DataFrame
    """All columns of the scores table, and `versions`; rows about the whole of what an SAE was evaluated on."""
    controls: int
    """Control rows that were left out (SAEs)."""
    slices: int
    """Rows about subsets that were left out."""

    @property
    def versions(self) -> dict[str, set[str]]:
        """The versions of each package."""
        found: dict[str, set[str]] = {}
        for text in self.scores[VERSIONS].dropna().unique():
            for one in filter(None, text.split(", ")):
                name, _, number = one.rpartition(" ")
                found.setdefault(name, set()).add(number)
        return found


def open_table(source: DataFrame | str | Path, what: str) -> Table:
    """A scores table, its file, or a results folder, as a check reads it.

    Args:
        source: Where it is.
        what: What messages call a table in memory: "baseline".

    Raises:
        BadInput: It cannot be read, is no scores table, or holds no number to compare.
    """
    place = str(source) if isinstance(source, (str, Path)) else f"the {what}"
    if not isinstance(source, (str, Path)):
        scores = source
    elif str(source).endswith((".csv", ".parquet")):
        scores = read_table(source)
    else:
        scores = _with_versions(read_results(source), source)
    if VERSIONS not in scores:
        scores = scores.assign(**{VERSIONS: None})
    scores = scores_table(scores, place, [*SCORES, VERSIONS])
    whole = scores["slice_by"] == "all"
    controls = control_rows(scores)
    known = scores["value"].notna()  # a blank is no number, and missing
    kept = scores[whole & known & ~scores["sae"].isin(controls)].reset_index(drop=True)
    if not len(kept):
        raise BadInput(f"{place}: there is no number to compare (controls, and numbers about subsets, take no part)")
    return Table(place, kept, len(controls), int((~whole).sum()))


def told_together(before: Table, here: Table) -> tuple[Table, Table]:
    """Two tables whose column `made_with` has only what tells their numbers apart (`told_apart`), in both together."""
    import pandas as pd

    both, n = told_apart(pd.concat([before.scores, here.scores], ignore_index=True)), len(before.scores)
    return before._replace(scores=both[:n]), here._replace(scores=both[n:].reset_index(drop=True))


def freeze(source: DataFrame | str | Path) -> DataFrame:
    """The rows of a scores table that a later check compares: fit for git, in an order of their own, with versions.

    Raises:
        BadInput: As `open_table`.
    """
    scores = open_table(source, "results").scores
    return scores[[*SCORES, VERSIONS]].sort_values(_ORDER, kind="stable", ignore_index=True)


def _with_versions(scores: DataFrame, folder: str | Path) -> DataFrame:
    """The scores of a results folder with the packages that made each number."""
    runs = read_runs(folder).drop_duplicates("run_id").set_index("run_id")["versions"]
    said = {text: _said(text) for text in runs.dropna().unique()}
    return scores.assign(**{VERSIONS: scores["run_id"].map(runs).map(said).astype("string")})


def _said(text: str) -> str:
    versions = json.loads(text)
    return (
        ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) if isinstance(versions, dict) else ""
    )


def differing(before: Mapping[str, Iterable[str]], here: Mapping[str, Iterable[str]]) -> list[str]:
    """The packages whose versions differ: `torch 2.12.0 in the baseline, 2.13.0 here`."""
    return [
        f"{name} {' and '.join(sorted(before[name]))} in the baseline, {' and '.join(sorted(here[name]))} here"
        for name in sorted(before.keys() & here.keys())
        if set(before[name]) != set(here[name])
    ]
