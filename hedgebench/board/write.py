"""Write a leaderboard: `hedgebench leaderboard`, or `hedgebench.leaderboard` in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hedgebench.records import write_text
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame

FORMATS = (".html", ".md", ".csv")


def leaderboard(given: DataFrame | str | Path, file: str | Path, title: str | None = None) -> Path:
    """Write the leaderboard of a results folder or a scores table, whole or not at all.

    Args:
        given: A results folder (records of HedgeBench, output of SAEBench, or both), a scores table in a .csv or .parquet file, or one in memory.
        file: `.html`, one page with everything in it; `.md`, the columns that the page shows first; `.csv`, a row for each row and column of the page.
        title: Of the page and the text; None: the name of the folder or the file.

    Raises:
        BadInput: Another suffix, nothing to be read, or a file that cannot be written.
    """
    from hedgebench.board.board import make_board

    file = Path(file)
    if file.suffix not in FORMATS:
        raise BadInput(f"{file}: a leaderboard is written as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    board = make_board(given)
    title = title or _name(given)
    if file.suffix == ".html":
        from hedgebench.board.html import page
        from hedgebench.board.page_data import page_data

        text = page(page_data(board, title))
    elif file.suffix == ".md":
        from hedgebench.board.markdown import markdown

        text = markdown(board, title)
    else:
        from hedgebench.board.csv_rows import csv_text

        text = csv_text(board)
    write_text(file, text)
    return file


def _name(given: DataFrame | str | Path) -> str:
    if not isinstance(given, (str, Path)):
        return "HedgeBench"
    path = Path(given).resolve()
    return path.name if path.is_dir() else path.parent.name if path.stem == "scores" else path.stem
