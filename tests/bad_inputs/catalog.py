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
LONGEST = 220
"""Letters of a line, as the page has it."""


def row(case: Case, shown: Shown) -> str:
    """What the page says of a case."""
    line = " ".join(shown.lines).removeprefix("hedgebench: ")
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
    return f"| {_cell(case.what)} | {_cell(line)} | {shown.code} |"


def _cell(text: str) -> str:
    for mark in "\\|<>*_":
        text = text.replace(mark, f"\\{mark}")
    return "".join(c if c.isprintable() else "?" for c in text)
