"""A number held against what a claim means.

A claim is held against the 95 % interval of a number over training seeds: it *holds* where the whole interval lies in the range the claim means, *does not
hold* where the interval lies outside, and otherwise the seeds *cannot tell*. The ranges are stated beside the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from hedgebench.stats.intervals import Interval

Verdict = Literal["holds", "does not hold", "cannot tell", "not run"]
"""What is said of a claim; `not run` where the table lacks its scenarios."""


class Check(NamedTuple):
    """One number held against a range."""

    what: str
    found: Interval
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Whether the interval lies in the range. A single seed has no interval and cannot tell."""
        if self.found.n < 2:
            return "cannot tell"
        if self.low <= self.found.low and self.found.high <= self.high:
            return "holds"
        return "does not hold" if self.found.high < self.low or self.found.low > self.high else "cannot tell"

    @property
    def meant(self) -> str:
        """The range in words."""
        if math.isinf(self.high):
            return f"above {self.low:g}"
        return f"below {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"


def verdict(checks: Sequence[Check]) -> Verdict:
    """The verdict of a claim: it holds where every check does, and does not where one does not."""
    found = [check.verdict for check in checks]
    for word in ("does not hold", "cannot tell"):
        if word in found:
            return word
    return "holds" if found else "not run"
