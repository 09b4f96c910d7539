"""Tables in Markdown, of words that are ours (text from outside: `one_line.markdown_text`). No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """The lines of a table.

    Raises:
        ValueError: A row has more or fewer cells than there are columns.
    """
    lines = [_line(columns), "| --- " * len(columns) + "|"]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"{len(columns)} columns, but a row of {len(row)} cells: {row}")
        lines.append(_line(row))
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
