"""Text from outside, as it may stand in a line of ours. No torch."""

from __future__ import annotations

import re


def one_line(text: str) -> str:
    """Text without line breaks, or anything else that a terminal would obey or XML and YAML cannot hold: a space stands in its place."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]+", " ", text
    )
