"""What of the scores table may be averaged and compared: one metric of the SAEs at one place, their values by SAE and evaluation seed. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.made_with import told_apart
from hedgebench.scores_table import scores_table

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

COLUMN = ["eval", "eval_version", "metric", "params", "slice_by", "slice_value", "data", "config", "made_with"]
"""Of the scores table: numbers that differ in any of these are never averaged nor compared."""
PLACE = ["model", "hook"]
"""SAEs are compared with others that read the same activations."""
VARIANT = ["architecture", "loss", "width", "k", "objective", "train_tokens", "release", "recipe", *PLACE]
"""SAEs that are equal in these, and known to differ in their training seed, are one variant: trained alike but for the seed. Without a recipe, the others are all that is known of it."""
_OF_SAES = ["sae", "train_seed", *VARIANT]
_READ = list(dict.fromkeys([*COLUMN, "source", *PLACE, *_OF_SAES, "value", "higher_is_better", "chance", "seed"]))
"""Columns of the scores table that are read here."""
LARGEST = float(np.finfo(np.float64).max)
_EXTREME = 1e100
"""Numbers that are larger, or smaller than its inverse, have squares that no float64 holds."""


class Grid(NamedTuple):
    """One metric of all SAEs at one place."""

    column: dict[str, Any]
    """The values of `COLUMN` and `PLACE`; None where the table has none."""
    higher_is_better: bool | None
    chance: float | None
    """None where there is none, or where it is not the same for all."""
    table: DataFrame
    """A row for each SAE (index: `sae`), a column for each evaluation seed (`pandas.NA` for an eval that draws nothing); NaN where there is no number."""
    variant: NDArray[np.object_]
    """[SAEs], the variant of each row of `table`."""
    unit: float = 1.0
    """What the values of `table` are in: 1, but for numbers so large or so small that their squares are none; then a power of two."""

    @property
    def draws(self) -> bool:
        """Whether there are evaluation seeds."""
        return not self.table.columns.isna().any()

    def where(self, rows: NDArray[np.bool_]) -> Grid:
        """Some of its SAEs.

        Args:
            rows: [SAEs], those that stay.
        """
        return self._replace(table=self.table[rows], variant=self.variant[rows])

    def in_ones(self, row: Mapping[str, float | None]) -> dict[str, float | None]:
        """Numbers in its unit, as they are in the scores table; beyond what a float64 holds, the largest it does."""
        return {
            name: None if value is None else float(np.clip(value * self.unit, -LARGEST, LARGEST))
            for name, value in row.items()
        }

    def groups(self) -> dict[str, NDArray[np.float64]]:
        """The values of each variant, [a SAEs, b evaluation seeds], at the seeds that all its SAEs have; none of a variant whose SAEs have no seed in common."""
        found, values = {}, self.table.to_numpy()
        places: dict[str, list[int]] = {}
        for i, name in enumerate(self.variant):
            places.setdefault(name, []).append(i)
        for name, where in places.items():
            rows = values[where]
            rows = rows[np.isfinite(rows).any(axis=1)]
            rows = rows[:, np.isfinite(rows).all(axis=0)]
            if rows.size:
                found[str(name)] = rows
        return found

    def without_blanks(self, members: Mapping[str, Sequence[str]]) -> tuple[Grid, dict[str, str]]:
        """The variants that have a mean, and why each other one has none. A mean over the SAEs that happen to have a number is none of the variant.

        Args:
            members: All SAEs of each variant (`members`).
        """
        known, together, blank = set(self.table.index[self.table.notna().any(axis=1)]), self.groups(), {}
        for name in dict.fromkeys(map(str, self.variant)):
            lacking = [sae for sae in members[name] if sae not in known]
            if lacking:
                blank[name] = f"{len(lacking)} of {len(members[name])} SAEs without a number: {' '.join(lacking)}"
            elif name not in together:
                blank[name] = "its SAEs have no evaluation seed in common"
        kept = np.array([name not in blank for name in self.variant], dtype=bool)
        return self.where(kept), blank

    def complete(self, several: bool = True) -> DataFrame:
        """The most SAEs that have an evaluation seed in common, at all the seeds that they have in common; `several`: two seeds, unless at most half as many SAEs have two."""
        known = self.table.notna()
        by_seed = [known[seed].to_numpy() for seed in known.columns[known.any()]]
        one = max(by_seed, key=np.sum, default=np.zeros(len(known), dtype=bool))
        two = max((a & b for a, b in combinations(by_seed, 2)), key=np.sum, default=one)
        rows = two if several and 2 * two.sum() > one.sum() else one
        here = self.table[rows]
        return here.loc[:, here.notna().all()] if rows.any() else here.iloc[:, :0]


def grids(scores: DataFrame, variant: Series | None = None) -> Iterator[Grid]:
    """Every metric of a scores table at every place, in the table's order. Two different numbers for one SAE and seed (records made by different versions of a package, say) are none.

    Args:
        scores: The scores table.
        variant: The variant of each SAE, where that is not for these scores alone to say; None: `variants(scores)`.
    """
    scores = told_apart(scores_table(scores, columns=_READ))
    variant = variants(scores) if variant is None else variant
    for _, rows in scores.groupby([*COLUMN, *PLACE], sort=False, dropna=False):
        first = rows.iloc[0]
        different = rows.drop_duplicates(["sae", "seed", "value"])
        single = different["value"].where(~different.duplicated(["sae", "seed"], keep=False))
        once = different.assign(value=single).drop_duplicates(["sae", "seed"]).set_index(["sae", "seed"])
        values, unit = _in_unit(once["value"].unstack("seed").astype(float))  # noqa: PD010 - nothing is aggregated
        if not values.notna().any(axis=None):
            continue
        chance, direction = rows["chance"].unique(), first["higher_is_better"]
        column = {name: None if _missing(first[name]) else first[name] for name in [*COLUMN, *PLACE]}
        yield Grid(
            column,
            None if _missing(direction) else bool(direction),
            float(chance[0]) if len(chance) == 1 and np.isfinite(chance[0]) else None,
            values,
            variant[values.index].to_numpy(dtype=object),
            unit,
        )


def _in_unit(values: DataFrame) -> tuple[DataFrame, float]:
    """Values in a unit in which they can be squared, and that unit."""
    largest = float(np.abs(values.to_numpy()[values.notna()]).max(initial=0.0))
    unit = unit_for(largest)
    return (values, 1.0) if unit == 1.0 else (values / unit, unit)


def unit_for(largest: float) -> float:
    """The unit in which numbers of which this is the largest can be squared: 1 wherever they can be anyway, else a power of two."""
    if not largest or 1 / _EXTREME < largest < _EXTREME:
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)


def variants(scores: DataFrame) -> Series:
    """The variant of each SAE, by name: in words what its SAEs have in common that tells them from other variants'; the SAE's own name where it is alone.

    An SAE is alone where its training seed is not known, or where two SAEs that are equal in `VARIANT` have the same training seed, so that they differ in something else.
    """
    import pandas as pd

    saes = scores_table(scores, columns=_OF_SAES).drop_duplicates("sae").set_index("sae")
    keys = saes[VARIANT].astype("object").where(saes[VARIANT].notna(), None)
    names = pd.Series(saes.index.to_numpy(dtype=object, copy=True), index=saes.index, dtype=object)
    groups = [
        rows.index
        for _, rows in saes[saes["train_seed"].notna()].groupby(VARIANT, sort=False, dropna=False)
        if len(rows) > 1 and rows["train_seed"].is_unique
    ]
    firsts = keys.loc[[members[0] for members in groups]]
    telling = [key for key in VARIANT if key != "recipe" and len(set(firsts[key].map(str))) > 1] or ["architecture"]
    words = [" ".join(filter(None, (_word(key, keys.loc[first, key]) for key in telling))) for first in firsts.index]
    for members, said in zip(groups, words, strict=True):
        named = said if words.count(said) == 1 else f"{said} recipe {keys.loc[members[0], 'recipe']:.6}".strip()
        names[members] = f"{named} ({len(members)} seeds)" if named in saes.index else named
    return names


def members(variant: Series) -> dict[str, list[str]]:
    """The SAEs of each variant, from the variant of each SAE."""
    found: dict[str, list[str]] = {}
    for sae, name in variant.items():
        found.setdefault(str(name), []).append(str(sae))
    return found


def _word(key: str, value: Any) -> str:
    if value is None:
        return ""
    short = {"width": "width {:.12g}", "k": "k {:.12g}", "train_tokens": "{:,} tokens"}
    return short[key].format(value) if key in short else str(value)


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))
