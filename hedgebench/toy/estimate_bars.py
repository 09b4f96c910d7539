"""What the judged estimate of hedging must reach on families that are held out, and whether it does. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from hedgebench.toy.estimate_families import CONTROLS
from hedgebench.toy.estimate_summary import MIN_COSINE, SAE, by_sae, summarise

if TYPE_CHECKING:
    from pandas import DataFrame

JUDGED = "hedging"
"""The estimator that the bars are for."""
SETS = {"development": False, "held out": True}
"""The two sets of families, and what their SAEs have in the column `held_out`."""


class Number(NamedTuple):
    """One measure of one estimator."""

    value: float
    """NaN where there is none, such as the rank of a constant; an int where something is counted."""
    low: float
    """NaN where no interval is known; likewise `high`."""
    high: float
    n: int
    """SAEs, prefixes counted too."""

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "none"
        if isinstance(self.value, int):
            return str(self.value)
        return f"{self.value:.3f}" + ("" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


Numbers = Mapping[tuple[str, str], Number]
"""By estimator and measure."""


@dataclass(frozen=True)
class Bar:
    """What a measure of the judged estimator must reach: a range, or more than a rival has."""

    measure: str
    least: float = -math.inf
    most: float = math.inf
    rival: str | None = None

    @property
    def meant(self) -> str:
        """In words."""
        if self.rival is not None:
            return f"above {self.rival}"
        if math.isinf(self.most):
            return f"at least {self.least:g}"
        return f"at most {self.most:g}" if math.isinf(self.least) else f"{self.least:g} to {self.most:g}"

    def found(self, numbers: Numbers) -> str:
        """The number, and that of the rival."""
        own = f"{numbers[JUDGED, self.measure]}"
        return own if self.rival is None else f"{own} against {numbers[self.rival, self.measure]}"

    def verdict(self, numbers: Numbers) -> Literal["met", "not met", "no number"]:
        """Of the number itself, not of its interval. A rival that has no number, as one that says the same of all latents ranks none of them, is behind."""
        own = numbers[JUDGED, self.measure].value
        if math.isnan(own):
            return "no number"
        if self.rival is None:
            return "met" if self.least <= own <= self.most else "not met"
        return "not met" if own <= numbers[self.rival, self.measure].value else "met"


BARS = (
    Bar("SAEs", least=20),
    Bar("families", least=4),
    Bar("across", least=0.90),
    Bar("within_median", least=0.85),
    Bar("within_p10", least=0.65),
    *(Bar(f"control {kind}", most=0.03) for kind in CONTROLS),
    Bar("partial_absorb", least=-0.3, most=0.3),
    *(
        Bar(measure, rival=rival)
        for measure in ("across", "within_median")
        for rival in ("c_dec", "bias_norm", "kmeans_growth")
    ),
)
"""Set before the estimator was judged."""


def summarise_sets(frame: DataFrame) -> DataFrame:
    """What `estimate_summary.summarise` says of each set of families, with the set's name as first column `set`."""
    import pandas as pd

    found = {name: summarise(of_set(frame, name)) for name in SETS}
    return pd.concat(found, names=["set"]).reset_index("set").reset_index(drop=True)


def counted(frame: DataFrame) -> DataFrame:
    """`estimate_summary.by_sae` of those SAEs and prefixes whose latents have not merged features."""
    table = by_sae(frame)
    return table[table["best_cosine"] >= MIN_COSINE]


def read_numbers(saes: DataFrame, summary: DataFrame, name: str) -> Numbers:
    """The numbers of one set, and of the judged estimator also how many `SAEs` (each once, with all its prefixes) and `families` they are from.

    Args:
        saes: From `counted`.
        summary: From `summarise_sets`.
        name: Of the set.
    """
    rows = summary[summary["set"] == name].to_dict("records")
    numbers = {(row["estimator"], row["measure"]): Number(*(row[field] for field in Number._fields)) for row in rows}
    own = of_set(saes, name).dropna(subset=JUDGED)
    for measure, unit in (("SAEs", [column for column in SAE if column != "prefix"]), ("families", ["family"])):
        numbers[JUDGED, measure] = Number(len(own[unit].drop_duplicates()), math.nan, math.nan, len(own))
    return numbers


def of_set(table: DataFrame, name: str) -> DataFrame:
    """The rows of one set, from any table with a column `held_out`."""
    return table[table["held_out"] == SETS[name]]
