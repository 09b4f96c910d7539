"""A leaderboard as Markdown: the columns that the page shows first. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hedgebench.board.board import Board, Cell
from hedgebench.board.rows import Row, about_controls
from hedgebench.one_line import markdown_text

_KINDS = {
    "both": ("te", "over training and evaluation seeds"),
    "training": ("t", "over training seeds"),
    "evaluation": ("e", "over evaluation seeds alone, of these very weights"),
}
"""What an interval is over: its sign in a cell, and in words."""


def markdown(board: Board, title: str) -> str:
    """The text: what the numbers are, the table, why cells are blank, and what the metrics are."""
    shown = [i for i, column in enumerate(board.columns) if column.first]
    rows = sorted(range(len(board.rows)), key=lambda i: (board.rows[i].control is not None, i))
    reasons: dict[str, int] = {}
    most = {at: max(cells[at].n_seeds for cells in board.cells) for at in shown} if board.cells else {}
    lines = [
        " | ".join(
            [
                _name(board.rows[i]),
                _number(board.rows[i].l0),
                *(_cell(board.cells[i][at], reasons, most[at]) for at in shown),
            ]
        )
        for i in rows
    ]
    columns = [board.columns[at] for at in shown]
    arrows = {True: " ↑", False: " ↓", None: ""}
    heads = [
        f"{markdown_text(column.key.setting.eval)} {markdown_text(column.name)}{arrows[column.higher_is_better]}"
        + (f" ({markdown_text(column.apart)})" if column.apart else "")
        for column in columns
    ]
    table = [" | ".join(["SAEs", "L0", *heads]), " | ".join(["---", *["---:"] * (len(shown) + 1)]), *lines]
    blanks = [f"{number}. {markdown_text(why)}" for why, number in reasons.items()]
    cards = [
        f"- **{markdown_text(column.key.setting.eval)} {markdown_text(column.name)}**: {markdown_text(column.metric.summary)}"
        + (f" ({markdown_text(column.metric.paper)})" if column.metric.paper else "")
        for column in columns
        if column.metric
    ]
    parts = [
        f"# {markdown_text(title)}",
        _about(board, shown),
        "\n".join(f"| {line} |" for line in table),
        "Blank cells:\n\n" + "\n".join(blanks) if blanks else "",
        "\n".join(cards),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(board: Board, shown: Sequence[int]) -> str:
    """What stands in a cell, with nothing said of what no cell has."""
    if not board.columns:
        return "There is no column: no run gave a number of a whole SAE. Numbers of subsets (a data set, a letter, a latent) have none."
    cells = [line[at] for line in board.cells for at in shown]
    kinds = [
        f"{sign}: {words}"
        for kind, (sign, words) in _KINDS.items()
        if any(next(iter(_best(cell)), None) == kind for cell in cells)
    ]
    interval = f" ± half of the 95 % interval ({'; '.join(kinds)})" if kinds else ""
    ranks = (
        "; #, the rank, with the ranks that the comparisons leave open, and letters: rows that share one cannot be told apart, and others can"
        if any(cell.rank for cell in cells)
        else ""
    )
    more = len(board.columns) - len(shown)
    rest = f" {more} more columns are in the page and the CSV file." if more else ""
    controls = about_controls(board.rows)
    last = f" {markdown_text(controls)} They come last." if controls else ""
    return f"Mean{interval}{ranks}. ↑ ↓: the better end.{last}{rest}"


def _best(cell: Cell) -> dict[str, tuple[float, float]]:
    """The interval that says most, by what varies."""
    kind = next((kind for kind in _KINDS if kind in cell.intervals), None)
    return {} if kind is None else {kind: cell.intervals[kind]}


def _cell(cell: Cell, reasons: dict[str, int], most: int) -> str:
    """What stands in a cell; with a mark where it has fewer evaluation seeds than the `most` of its column."""
    if cell.mean is None:
        return f"blank ({reasons.setdefault(cell.why, len(reasons) + 1)})"
    text = _number(cell.mean)
    for kind, (low, high) in _best(cell).items():
        sign, half = _KINDS[kind][0], high / 2 - low / 2
        text = f"{_with_half(cell.mean, half)} {sign}" if half else f"{text} (does not move, {sign})"
    if cell.rank:
        rank, low_rank, high_rank, _, letters = cell.rank
        between = f", {low_rank}–{high_rank}" if low_rank != high_rank else ""
        text += f" (#{rank}{between}{f', {letters}' if letters else ''})"
    if cell.n_seeds < most:
        text += f" ({cell.n_seeds} of {most} evaluation seeds)"
    return text


def _name(row: Row) -> str:
    many = f" ({len(row.saes)} seeds)" if len(row.saes) > 1 else ""
    return (f"*control* {markdown_text(row.name)}" if row.control is not None else markdown_text(row.name)) + many


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _with_half(mean: float, half: float) -> str:
    """A mean and half of its interval, to two digits of the latter."""
    decimals = max(0, 1 - math.floor(math.log10(half)))
    if not 0 < decimals < 7:
        return f"{mean:.4g} ±{half:.2g}"
    return f"{mean:.{decimals}f} ±{half:.{decimals}f}"
