"""What came of a check, as plain text for a terminal; and the words that all reports share. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hedgebench.one_line import one_line
from hedgebench.regression.check import Report
from hedgebench.regression.verdicts import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

MOST = 50
"""Lines that are listed of one kind."""
_MOST_NAMES = 8
"""SAEs, or metrics, that are listed in a line."""
WHAT: dict[Verdict, str] = {
    "worse": "worse",
    "missing": "missing here",
    "cannot tell": "cannot be told",
    "better": "better",
    "new": "new",
    "same": "the same",
}


CHANGED: tuple[Verdict, ...] = ("worse", "better")
OPEN: tuple[Verdict, ...] = ("missing", "cannot tell", "new")


def text(report: Report) -> str:
    """The whole report: what is worse, what is better, what is not decided and why."""
    parts = [headline(report)]
    for verdict in CHANGED:
        shown, more = changes(report, verdict)
        lines = [f"  {one_line(row['sae'])}  {metric(row)}: {change(row)}; {row['reason']}" for row in shown]
        parts += ["\n".join([f"{verdict}:", *lines, *([f"  and {more} more"] if more else [])])] if lines else []
    for verdict in OPEN:
        for reason, rows, groups in undecided(report, verdict):
            head = WHAT[verdict] + (f": {one_line(reason)}" if reason else ":")
            lines = [f"  {listed(saes)}: {listed(metrics)}" for saes, metrics in groups[:MOST]] + more_groups(groups)
            if with_numbers(rows):
                lines = [f"  {one_line(row['sae'])}  {metric(row)}: {change(row)}" for row in rows]
            parts.append("\n".join([head, *lines]))
    parts += [one_line(note) for note in report.notes]
    return "\n\n".join(parts) + "\n"


def headline(report: Report) -> str:
    """One line: how often each verdict was given."""
    counts = report.counts
    said = [f"{counts[verdict]} {word}" for verdict, word in WHAT.items() if counts[verdict]]
    start = "" if counts["worse"] else "nothing is worse: "
    return f"{start}{', '.join(said)}"


def changes(report: Report, verdict: Verdict) -> tuple[list[Mapping[str, Any]], int]:
    """The first rows of a verdict, and how many more there are."""
    rows = rows_of(report.findings[report.findings["verdict"] == verdict])
    return rows[:MOST], max(0, len(rows) - MOST)


def undecided(
    report: Report, verdict: Verdict
) -> Iterator[tuple[str, list[Mapping[str, Any]], list[tuple[list[str], list[str]]]]]:
    """Each reason why something has a verdict, with the rows that it is about, and their SAEs and metrics: SAEs with the same metrics together."""
    rows = report.findings[report.findings["verdict"] == verdict]
    for reason, of_reason in rows.groupby("reason", sort=False):
        metrics: dict[str, list[str]] = {}
        found = rows_of(of_reason)
        for row in found:
            metrics.setdefault(row["sae"], []).append(metric(row))
        together: dict[tuple[str, ...], list[str]] = {}
        for sae, names in metrics.items():
            together.setdefault(tuple(sorted(names)), []).append(sae)
        yield str(reason), found, [(saes, list(names)) for names, saes in together.items()]


def with_numbers(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each row has a line of its own with its numbers: both sides have them, and the lines are few enough that none is left out."""
    return len(rows) <= MOST and all(math.isfinite(row["difference"]) for row in rows)


def more_groups(groups: Sequence[tuple[list[str], list[str]]]) -> list[str]:
    """A line that says how many groups of `undecided` are not listed; none where all are."""
    return [f"  and {len(groups) - MOST} more lines of this kind"] if len(groups) > MOST else []


def listed(names: list[str]) -> str:
    """Names in a line: the first of them, and how many there are besides."""
    more = len(names) - _MOST_NAMES
    said = ", ".join(one_line(name) for name in names[:_MOST_NAMES])
    return said + (f" and {more} more" if more > 0 else "")


def metric(row: Mapping[str, Any]) -> str:
    """A metric's name: `eval.metric[k=1]`."""
    return one_line(f"{row['eval']}.{row['metric']}" + (f"[{row['params']}]" if row["params"] else ""))


def change(row: Mapping[str, Any]) -> str:
    """From what to what, and how sure that is."""
    said = f"{row['baseline']:.4g} -> {row['here']:.4g} ({_short(row['difference'], '+')}"
    if not math.isnan(row["low"]) and row["low"] < row["high"]:
        said += f", 95 % {_short(row['low'])} to {_short(row['high'])}"
    return said + ")"


def _short(value: float, sign: str = "") -> str:
    """Two digits, and all that stand before the point."""
    return format(value, f"{sign}.0f" if abs(value) >= 100 else f"{sign}.2g")


def rows_of(frame: DataFrame) -> list[Mapping[str, Any]]:
    """The rows of a frame of findings."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
