"""All cases, and the rows of docs/bad-input.md."""

from __future__ import annotations

from bad_inputs import (
    baselines,
    checkpoints,
    formats,
    labelled,
    options,
    plugins,
    records,
    references,
    suites,
    toys,
    training,
)
from bad_inputs.cases import Case, Shown

CASES: list[Case] = [
    case
    for module in (
        suites,
        references,
        options,
        checkpoints,
        formats,
        records,
        baselines,
        training,
        toys,
        labelled,
        plugins,
    )
    for case in module.CASES
]
BEGINNING, END = 150, 70
"""Letters that the page has of a longer line."""


def row(case: Case, shown: Shown) -> str:
    """What the page says of a case."""
    line = " ".join(shown.lines).removeprefix("hedgebench: ")
    line = line if len(line) <= BEGINNING + END else f"{line[:BEGINNING]} [...] {line[-END:]}"
    return f"| {_cell(case.what)} | {_cell(line)} | {shown.code} |"


def _cell(text: str) -> str:
    for mark in "\\|<>*_":
        text = text.replace(mark, f"\\{mark}")
    return "".join(c if c.isprintable() else "?" for c in text)
