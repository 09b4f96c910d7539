"""A leaderboard as its page reads it: plain JSON data. No torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from hedgebench.board.board import Board, Cell, Rank
from hedgebench.board.columns import Setting
from hedgebench.board.rows import Row, about_controls
from hedgebench.board.sources import Made
from hedgebench.made_with import settings
from hedgebench.stats.grid import PLACE


def page_data(board: Board, title: str) -> dict[str, Any]:
    """The board with whatever many cells share (runs, settings, reasons) written once and named by its index."""
    all_settings, versions = _Index[Setting](), _Index[tuple[tuple[str, str], ...]]()
    reasons, no_ways = _Index[str](), _Index[str]()
    places = list(dict.fromkeys(row.place for row in board.rows))
    columns = [_column(board, i, all_settings, places) for i in range(len(board.columns))]
    runs = {run.run_id: i for i, run in enumerate(board.runs)}
    by_sae: dict[str, list[int]] = {}
    for i, run in enumerate(board.runs):
        by_sae.setdefault(run.sae, []).append(i)
    rows = []
    for row, cells in zip(board.rows, board.cells, strict=True):
        shown = [_cell(cell, runs, reasons, no_ways) for cell in cells]
        its = [i for sae in row.saes for i in by_sae.get(sae["sae"], ())]
        rows.append({**_row(row, places), "runs": its, "cells": shown})
    return {
        "title": title,
        "rows": rows,
        "columns": columns,
        "bands": [band._asdict() for band in board.bands],
        "places": [" ".join(str(word) for word in place if word) for place in places],
        "runs": [_run(run, all_settings, versions) for run in board.runs],
        "settings": [{**setting._asdict(), "config": settings(setting.config)} for setting in all_settings.known],
        "versions": [dict(found) for found in versions.known],
        "reasons": list(reasons.known),
        "no_ways": list(no_ways.known),
        "controls": about_controls(board.rows),
    }


T = TypeVar("T")


class _Index(Generic[T]):
    """What was seen so far, each with a number."""

    def __init__(self) -> None:
        self.known: dict[T, int] = {}

    def __call__(self, value: T) -> int:
        return self.known.setdefault(value, len(self.known))


def _row(row: Row, places: Sequence[Any]) -> dict[str, Any]:
    saes = [
        {key: sae[key] for key in ("sae", "digest", "train_seed", "release", "sae_id") if sae[key] is not None}
        for sae in row.saes
    ]
    facts = {key: value for key, value in row.facts.items() if value is not None}
    more = {"control": row.control, "l0": short(row.l0), "l0_from": row.l0_from, "band": row.band}
    return {"name": row.name, **facts, **more, "place": places.index(row.place), "saes": saes}


def _column(board: Board, at: int, all_settings: _Index[Setting], places: Sequence[Any]) -> dict[str, Any]:
    column = board.columns[at]
    cells = [(row, cells[at]) for row, cells in zip(board.rows, board.cells, strict=True)]
    levels = [level for _, cell in cells for level in (cell.chance, cell.way and cell.way.control)]
    metric = column.metric
    about = {"summary": metric.summary, "unit": metric.unit, "paper": metric.paper} if metric else {}
    narrow = _range(cell for row, cell in cells if row.control is None)
    wide = _range((cell for _, cell in cells), levels)
    return {
        "metric": column.name,
        "eval": column.key.setting.eval,
        "setting": all_settings(column.key.setting),
        "apart": column.apart,
        "better": {True: "high", False: "low", None: None}[column.higher_is_better],
        **about,
        "bounds": [metric.low, metric.high] if metric else [None, None],
        "package": column.package,
        "declared_version": column.declared_version,
        "first": column.first,
        "narrow": narrow or wide,
        "wide": wide,
        "noise": [_noise(row, places) for row in column.noise],
        "unranked": board.unranked.get(column.key, ""),
        "seeds": max((cell.n_seeds for _, cell in cells), default=0),
    }


def _range(cells: Iterable[Cell], more: Iterable[float | None] = ()) -> list[float] | None:
    """From the least to the largest mean, made wider by what most intervals reach, so that one seed's wide interval does not press all others into a point."""
    known = [cell for cell in cells if cell.mean is not None]
    ends = [float(cell.mean) for cell in known if cell.mean is not None]
    reach = sorted(pair[1] / 2 - pair[0] / 2 for cell in known for pair in list(cell.intervals.values())[:1])
    spread = max(ends, default=0.0) - min(ends, default=0.0)
    margin = min(reach[len(reach) // 2], spread or math.inf) if reach else 0.0
    ends = [end + sign * margin for end in ends for sign in (-1, 1)] + [value for value in more if value is not None]
    return (
        [short(max(min(ends), -sys.float_info.max)) or 0.0, short(min(max(ends), sys.float_info.max)) or 0.0]
        if ends
        else None
    )


def _cell(cell: Cell, runs: Mapping[str, int], reasons: _Index[str], no_ways: _Index[str]) -> dict[str, Any]:
    values = {
        str(runs[run_id]): [
            found["value"],
            *([short(found["stderr"]), found["n"]] if found["stderr"] is not None or found["n"] is not None else []),
        ]
        for run_id, found in cell.values.items()
    }
    if cell.mean is None:
        return {"why": reasons(cell.why), **({"values": values} if values else {})}
    found: dict[str, Any] = {"mean": short(cell.mean), "saes": cell.n_saes, "seeds": cell.n_seeds, "values": values}
    found |= {over: [short(end) for end in ends] for over, ends in cell.intervals.items()}
    way = cell.way
    if way is not None and way.control is not None:
        found["control"] = [short(way.control), way.control_seeds, way.own_width]
    if way is not None:
        found |= {"no_way": no_ways(way.why)} if way.why else {"way": [short(way.start), short(way.best)]}
        found |= {"share_ends": [short(end) for end in way.share_ends]} if way.share_ends else {}
    more = {
        "chance": short(cell.chance),
        "of_best": short(cell.of_best),
        "rank": _rank(cell.rank),
        "matched": _rank(cell.matched),
    }
    return found | {key: value for key, value in more.items() if value is not None}


def _rank(rank: Rank | None) -> list[Any] | None:
    return None if rank is None else [*rank]


def _noise(row: Mapping[str, Any], places: Sequence[Any]) -> dict[str, Any]:
    place = tuple(row[key] for key in PLACE)
    kept = {
        key: value
        for key, value in row.items()
        if key not in ("eval", "eval_version", "metric", "params", "slice_by", "slice_value", "data", "config", *PLACE)
    }
    return {
        key: short(value) if isinstance(value, float) else value for key, value in kept.items() if value is not None
    } | {"place": places.index(place)}


def _run(run: Made, all_settings: _Index[Setting], versions: _Index[tuple[tuple[str, str], ...]]) -> dict[str, Any]:
    setting = Setting(run.eval, run.eval_version, run.data, run.config)
    found = {
        "id": run.run_id,
        "sae": run.sae,
        "setting": all_settings(setting),
        "versions": versions(tuple(sorted(run.versions.items()))),
    }
    more: dict[str, Any] = {
        "seed": run.seed,
        "status": run.status,
        "error": run.error,
        "file": run.file,
        "source": run.source,
    }
    more |= {"incomplete": dict(run.incomplete), "circumstances": dict(run.circumstances)}
    return found | {key: value for key, value in more.items() if value or value == 0}


def short(value: float | None) -> float | None:
    """A number that was computed, to 8 digits; none where it is not finite."""
    return float(f"{value:.8g}") if value is not None and math.isfinite(value) else None
