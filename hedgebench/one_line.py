"""Text from outside, as it may stand in a line of ours. No torch."""

from __future__ import annotations

import re
import sys

LONGEST = 1000
"""Letters of a line that tells of a mistake; of a longer one the beginning and the end are shown."""


def one_line(text: str) -> str:
    """Text without line breaks, or anything else that a terminal would obey or XML and YAML cannot hold: a space stands in its place."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]+", " ", text
    )


def tell(text: object) -> None:
    """Say what is wrong: one line on standard error, whatever the text holds and however long it is."""
    line = one_line(str(text))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST * 2 // 3]} [...] {line[-LONGEST // 4 :]}"
    print(f"hedgebench: {line}", file=sys.stderr)  # noqa: T201
