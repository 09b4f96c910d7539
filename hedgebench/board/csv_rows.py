"""A leaderboard as CSV: one line is one cell, blank ones with their reason. No torch."""

from __future__ import annotations

import csv
import io
from typing import Any

from hedgebench.board.board import Board, Cell
from hedgebench.board.columns import Column, Setting
from hedgebench.board.rows import Row
from hedgebench.one_line import no_formula
from hedgebench.stats.grid import VARIANT

_INTERVALS = [f"{over}_{end}" for over in ("training", "evaluation", "both") for end in ("low", "high")]
_RANKS = [
    f"{rank}{part}" for rank in ("rank", "matched_l0_rank") for part in ("", "_low", "_high", "_scope", "_letters")
]
_COLUMNS = [
    *("row", "saes", *VARIANT, "layer", "control", "l0", "l0_from", "l0_band", *Setting._fields, "metric", "params"),
    *("higher_is_better", "mean", *_INTERVALS, "n_saes", "n_seeds", "chance", *_RANKS, "of_best", "blank", "run_ids"),
    *("random_control", "random_control_seeds", "start", "best", "of_best_low", "of_best_high"),
]


def csv_text(board: Board) -> str:
    """The file: a line for each row and column. A text that a spreadsheet would take for a formula has an apostrophe before it."""
    out = io.StringIO()
    lines = [
        _line(row, column, cell)
        for row, cells in zip(board.rows, board.cells, strict=True)
        for column, cell in zip(board.columns, cells, strict=True)
    ]
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: no_formula(value) for name, value in line.items()} for line in lines)
    return out.getvalue()


def _line(row: Row, column: Column, cell: Cell) -> dict[str, Any]:
    key = column.key
    line: dict[str, Any] = {"row": row.name, "saes": "; ".join(sae["sae"] for sae in row.saes)}
    line |= {**row.facts, "control": row.control, "l0": row.l0, "l0_from": row.l0_from, "l0_band": row.band}
    line |= {**key.setting._asdict(), "metric": key.metric, "params": key.params}
    line |= {"higher_is_better": column.higher_is_better, "mean": cell.mean}
    for over in ("training", "evaluation", "both"):
        line[f"{over}_low"], line[f"{over}_high"] = cell.intervals.get(over, (None, None))
    line |= {"n_saes": cell.n_saes, "n_seeds": cell.n_seeds, "chance": cell.chance}
    for name, rank in (("rank", cell.rank), ("matched_l0_rank", cell.matched)):
        ends = (None,) * 5 if rank is None else rank
        line |= dict(zip((name, f"{name}_low", f"{name}_high", f"{name}_scope", f"{name}_letters"), ends, strict=True))
    if cell.way is not None:
        line |= {"random_control": cell.way.control, "random_control_seeds": cell.way.control_seeds}
        line |= {"start": cell.way.start, "best": cell.way.best}
        line["of_best_low"], line["of_best_high"] = cell.way.share_ends or (None, None)
    return line | {"of_best": cell.of_best, "blank": cell.why, "run_ids": " ".join(cell.values)}
