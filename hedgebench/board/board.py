"""A leaderboard: rows of SAEs, columns of metrics, and in each cell a mean with its intervals and rank, or the reason that there is none. No torch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.board.blanks import why_blank
from hedgebench.board.columns import Column, Key, Setting, key_of, make_columns
from hedgebench.board.rows import Row, make_rows
from hedgebench.board.sources import Made, plain, read_source
from hedgebench.series import Band
from hedgebench.stats.grid import COLUMN, PLACE, Grid, grids, members
from hedgebench.stats.tables import MOST, noise, ranking, summary
from hedgebench.stats.ways import ROUNDING, Way, ways_of

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Ends = tuple[float, float]


class Rank(NamedTuple):
    """Of a variant among those it is compared with."""

    rank: int
    """1 more than the number of variants that are better and can be told apart."""
    low: int
    """The lowest it may be; likewise `high`."""
    high: int
    scope: str
    """What was compared: `training` or `evaluation` seeds."""
    letters: str
    """It shares one with each variant that it cannot be told apart from, and with no other."""


class Cell(NamedTuple):
    """One variant's number, or why there is none."""

    mean: float | None
    why: str
    """Where there is no mean."""
    intervals: Mapping[str, Ends]
    """By what varies (training, evaluation, both), where it is known; of no length where it is nothing but rounding."""
    n_saes: int
    n_seeds: int
    """Evaluation seeds that all its SAEs have; 0 where nothing is drawn."""
    chance: float | None
    """The mean of its SAEs' chance levels."""
    rank: Rank | None
    matched: Rank | None
    """Among the variants of its band of L0 alone."""
    of_best: float | None
    way: Way | None
    """That `of_best` is a share of; None where there is no mean."""
    values: Mapping[str, Mapping[str, Any]]
    """By run_id: value, stderr, n, chance."""


class Board(NamedTuple):
    """All of a leaderboard."""

    rows: list[Row]
    columns: list[Column]
    cells: list[list[Cell]]
    """[rows, columns]."""
    bands: list[Band]
    runs: list[Made]
    unranked: Mapping[Key, str]
    """Why a column has no ranks."""


def make_board(given: DataFrame | str | Path) -> Board:
    """The leaderboard of a results folder (HedgeBench's records or SAEBench's output) or a scores table.

    A variant has a mean only where each of its SAEs has a number. Numbers of two versions of an eval, two settings or two data sets are in two columns.

    Raises:
        BadInput: There is nothing to be read.
    """
    source = read_source(given)
    rows, bands, named = make_rows(source)
    columns = make_columns(source, plain(noise(source.scores, named)))
    known = [row for row in plain(summary(source.scores, named)) if row["mean"] is not None]
    means = {(key_of(row), _place(row), row["variant"]): row for row in known}
    ranked = {key for (key, _, _), row in means.items() if row["rank"] is not None}
    everyone = members(named)
    whole = [grid.without_blanks(everyone)[0] for grid in grids(source.scores, named)]
    matched, ways_in = _matched(whole, rows), ways_of(source.scores)
    ways = {
        (key_of(grid.column), _place(grid.column), name): way for grid in whole for name, way in ways_in(grid).items()
    }
    numbers = _numbers(source.scores)
    runs = _by_row(source.runs, named)
    cells = []
    for row in rows:
        mine, line = runs.get(row.name, {}), []
        for column in columns:
            key = column.key
            where = (key, row.place, row.name)
            its = mine.get(key.setting, [])
            values = {run.run_id: numbers[key, run.run_id] for run in its if (key, run.run_id) in numbers}
            if where in means:
                line.append(_cell(means[where], matched.get(where), ways[where], values))
            else:
                found = {run_id: number["value"] for run_id, number in values.items()}
                line.append(_blank(why_blank(row, key, mine, found, source.records), values))
        cells.append(line)
    return Board(rows, columns, cells, bands, source.runs, _unranked(whole, ranked))


def _matched(whole: Sequence[Grid], rows: Sequence[Row]) -> dict[tuple[Any, ...], Rank]:
    """The ranks within each band of L0, by column, place and variant."""
    band = {sae["sae"]: row.band for row in rows for sae in row.saes}
    controls = [sae["sae"] for row in rows if row.control is not None for sae in row.saes]
    ranks: dict[tuple[Any, ...], Rank] = {}
    for grid in whole:
        bands = grid.table.index.map(lambda sae: -1 if band[sae] is None else band[sae])
        for one in sorted(set(bands) - {-1}):
            for name, row in ranking(grid.where(bands == one), controls).items():
                ranks[key_of(grid.column), _place(grid.column), name] = _rank(row)
    return ranks


def _numbers(scores: DataFrame) -> dict[tuple[Key, str], dict[str, Any]]:
    """What each run gives for each column."""
    columns = [*(name for name in COLUMN if not name.startswith("slice")), "run_id", "value", "stderr", "n", "chance"]
    kept = ("value", "stderr", "n", "chance")
    return {(key_of(row), row["run_id"]): {name: row[name] for name in kept} for row in plain(scores[columns])}


def _by_row(runs: Sequence[Made], named: Series) -> dict[str, dict[Setting, list[Made]]]:
    """The runs of each row by setting, in the order of SAEs and seeds."""
    found: dict[str, dict[Setting, list[Made]]] = {}
    variant = named.to_dict()
    for run in sorted(runs, key=lambda run: (run.sae, -1 if run.seed is None else run.seed, run.run_id)):
        setting = Setting(run.eval, run.eval_version, run.data, run.config)
        found.setdefault(variant[run.sae], {}).setdefault(setting, []).append(run)
    return found


def _blank(why: str, values: Mapping[str, Mapping[str, Any]]) -> Cell:
    return Cell(None, why, {}, 0, 0, None, None, None, None, None, values)


def _cell(mean: Mapping[str, Any], matched: Rank | None, way: Way, values: Mapping[str, Mapping[str, Any]]) -> Cell:
    """A cell with a row of `summary`."""
    ends = {over: (mean[f"{over}_low"], mean[f"{over}_high"]) for over in ("training", "evaluation", "both")}
    if not mean["n_seeds"]:
        del ends["both"], ends["evaluation"]
    chances = [value["chance"] for value in values.values() if value["chance"] is not None]
    return Cell(
        mean["mean"],
        "",
        {over: _beyond_rounding(mean["mean"], pair) for over, pair in ends.items() if pair[0] is not None},
        mean["n_saes"],
        mean["n_seeds"],
        statistics.mean(chances) if len(chances) == len(values) else None,
        _rank(mean) if mean["rank"] is not None else None,
        matched,
        mean["of_best"],
        way,
        values,
    )


def _beyond_rounding(mean: float, ends: Ends) -> Ends:
    """An interval, of no length where the order in which numbers are added up makes all of it."""
    return (mean, mean) if ends[1] / 2 - ends[0] / 2 <= ROUNDING * abs(mean) else ends


def _rank(row: Mapping[str, Any]) -> Rank:
    return Rank(int(row["rank"]), int(row["rank_low"]), int(row["rank_high"]), row["scope"], row["letters"])


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in PLACE)


def _unranked(whole: Sequence[Grid], ranked: set[Key]) -> dict[Key, str]:
    """Why a column has no ranks at any place."""
    why: dict[Key, str] = {}
    for grid in whole:
        key = key_of(grid.column)
        if grid.higher_is_better is None:
            why[key] = "neither end of this metric is better by itself"
        elif len(grid.table) > MOST:
            why[key] = f"more than {MOST} rows are not compared pair by pair"
        else:
            why.setdefault(
                key,
                "no two rows have several training seeds at the same evaluation seeds, or several evaluation seeds in common, without which there is no spread to compare by",
            )
    return {key: reason for key, reason in why.items() if key not in ranked}
