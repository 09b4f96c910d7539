"""What came of a check, as plain text for a terminal; and the words that all reports share. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hedgebench.regression.check import Report
from hedgebench.regression.verdicts import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

_MOST = 50
"""Changes that are listed."""
_MOST_METRICS = 12
"""Metrics of one SAE that are listed."""
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
        for reason, saes in undecided(report, verdict):
            head = WHAT[verdict] + (f": {one_line(reason)}" if reason else ":")
            parts.append("\n".join([head, *(f"  {one_line(sae)}: {listed(metrics)}" for sae, metrics in saes.items())]))
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
    return rows[:_MOST], max(0, len(rows) - _MOST)


def undecided(report: Report, verdict: Verdict) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Each reason why something has a verdict, with the metrics of each SAE."""
    rows = report.findings[report.findings["verdict"] == verdict]
    for reason, of_reason in rows.groupby("reason", sort=False):
        found: dict[str, list[str]] = {}
        for row in rows_of(of_reason):
            found.setdefault(row["sae"], []).append(metric(row))
        yield str(reason), found


def listed(metrics: list[str]) -> str:
    """Metrics in a line: the first of them, and how many there are besides."""
    more = len(metrics) - _MOST_METRICS
    return ", ".join(metrics[:_MOST_METRICS]) + (f" and {more} more" if more > 0 else "")


def metric(row: Mapping[str, Any]) -> str:
    """A metric's name: `eval.metric[k=1]`."""
    return one_line(f"{row['eval']}.{row['metric']}" + (f"[{row['params']}]" if row["params"] else ""))


def change(row: Mapping[str, Any]) -> str:
    """From what to what, and how sure that is."""
    said = f"{row['baseline']:.4g} -> {row['here']:.4g} ({row['difference']:+.2g}"
    if not math.isnan(row["low"]) and row["low"] < row["high"]:
        said += f", 95 % {row['low']:.2g} to {row['high']:.2g}"
    return said + ")"


def one_line(text: str) -> str:
    """Text without line breaks, or anything else that a terminal would obey or XML cannot hold."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]+", " ", text)


def rows_of(frame: DataFrame) -> list[Mapping[str, Any]]:
    """The rows of a frame of findings."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
