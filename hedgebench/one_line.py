"""Text from outside, as it may stand in a line of ours. No torch."""

from __future__ import annotations

import re
from typing import Any

_RISKY = ("=", "+", "-", "@", "\t", "\r")


def one_line(text: str) -> str:
    """Text without line breaks, or anything else that a terminal would obey or XML and YAML cannot hold: a space stands in its place."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]+", " ", text
    )


def natural(text: str) -> list[tuple[float, str]]:
    """A key for sorting, by which numbers within a text go by their size: `blocks.4` before `blocks.12`, `l1=0.25` before `l1=0.5`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(float(part), "") if i % 2 else (float("inf"), part) for i, part in enumerate(parts)]


def no_formula(value: Any) -> Any:
    """What may stand in a cell of a CSV that people open: a text that a spreadsheet would take for a formula has an apostrophe before it; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "replace").decode()
    return (f"'{text}" if text.startswith(_RISKY) else text).replace("\r", " ")  # which the csv module leaves bare


def markdown_text(text: str) -> str:
    """Text that Markdown leaves as it is, on one line: no table cell, tag, link, image, code or emphasis begins in it, and no web address becomes a link."""
    line = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_{}\[\]()#!|~$])", r"\\\1", line)
    return re.sub(
        r"(?i)(https?|ftp)(:)|(www)(\.)|(@)",
        lambda found: "".join(
            filter(None, (found[1], found[2] and "&#58;", found[3], found[4] and "&#46;", found[5] and "&#64;"))
        ),
        line,
    )
