"""What a table of `effects` says of two values of a setting, whichever of them it has first. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pandas import DataFrame


class Difference(NamedTuple):
    """A difference with its 95 % interval; as text, with its sign and three decimals (`format(one, ".4f")`: another format of its numbers)."""

    mean: float
    low: float
    high: float

    def __neg__(self) -> Difference:
        return Difference(-self.mean, -self.high, -self.low)

    def __format__(self, spec: str) -> str:
        spec = spec or ".3f"
        return f"{self.mean:+{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        return format(self, "")


def oriented(row: Any, first: str) -> Difference:
    """A row's difference with its simultaneous interval: `first` less the other."""
    found = Difference(row.difference, row.low, row.high)
    return found if row.first == first else -found


def difference(rows: DataFrame, first: str, second: str) -> Difference | None:
    """The first of `rows` that compares the two: `first` less `second`, with its simultaneous interval. None where no row does."""
    row = _between(rows, first, second)
    return None if row is None else oriented(row, first)


def paired_difference(rows: DataFrame, first: str, second: str) -> Difference | None:
    """The same with its interval seed by seed, by itself; None, too, where they share no two training seeds."""
    row = _between(rows.dropna(subset="paired_low"), first, second)
    return None if row is None else oriented(row._replace(low=row.paired_low, high=row.paired_high), first)


def level_means(rows: DataFrame) -> dict[str, float]:
    """The mean of each value of a setting, from its pairs of one metric."""
    return {
        level: mean for end in ("first", "second") for level, mean in zip(rows[end], rows[f"{end}_mean"], strict=True)
    }


def _between(rows: DataFrame, *levels: str) -> Any:
    found = rows[rows["first"].isin(levels) & rows["second"].isin(levels)]
    return next(found.itertuples(), None)
