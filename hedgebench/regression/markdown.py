"""What came of a check, as Markdown for a comment on a pull request. No torch."""

from __future__ import annotations

import html

from hedgebench.one_line import markdown_text, one_line
from hedgebench.regression.check import Report
from hedgebench.regression.text import (
    CHANGED,
    MOST,
    OPEN,
    WHAT,
    change,
    changes,
    headline,
    listed,
    metric,
    more_groups,
    undecided,
    with_numbers,
)

_MOST = 60_000
"""Characters: GitHub takes no comment of more than 65,536."""
_ICONS = {"worse": "❌", "undecided": "❔", "fine": "✅"}


def markdown(report: Report) -> str:
    """The whole report; what is long is folded, and cut where it would be too long for a comment."""
    icon = _ICONS["worse" if report.counts["worse"] else "undecided" if report.undecided else "fine"]
    parts = [f"### {icon} hedgebench check: {markdown_text(headline(report))}"]
    for verdict in CHANGED:
        shown, more = changes(report, verdict)
        rows = [[row["sae"], metric(row), change(row), f"{row['detectable']:.2g}", row["reason"]] for row in shown]
        if rows:
            parts.append(
                _table(
                    [verdict, "metric", "from the baseline to here", "a change that would be found", "how sure"], rows
                )
            )
        if more:
            parts.append(f"and {more} more {verdict}")
    for verdict in OPEN:
        for reason, found, groups in undecided(report, verdict):
            rows = [[listed(saes), listed(metrics)] for saes, metrics in groups[:MOST]]
            head = _in_html(f"{len(found)} {WHAT[verdict]}" + (f": {reason}" if reason else ""))
            inside = "\n\n".join([_table(["SAEs", "metrics"], rows), *more_groups(groups)])
            if with_numbers(found):
                inside = _table(
                    ["SAE", "metric", "from the baseline to here"],
                    [[row["sae"], metric(row), change(row)] for row in found],
                )
            parts.append(f"<details><summary>{head}</summary>\n\n{inside}\n\n</details>")
    parts += [markdown_text(note) for note in report.notes]
    return _cut(parts)


def _in_html(text: str) -> str:
    """Text inside a tag, where nothing is Markdown."""
    return html.escape(one_line(text)).replace("@", "&#64;")


def _cut(parts: list[str]) -> str:
    """The parts that fit."""
    size, kept = 0, []
    for part in parts:
        size += len(part) + 2
        if size > _MOST:
            kept.append("(cut: the whole report is too long for a comment)")
            break
        kept.append(part)
    return "\n\n".join(kept) + "\n"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([markdown_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
