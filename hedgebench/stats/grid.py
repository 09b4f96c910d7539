"""What of the scores table may be averaged and compared: one metric of the SAEs at one place, their values by SAE and evaluation seed. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

COLUMN = ["eval", "eval_version", "metric", "params", "slice_by", "slice_value", "data", "config"]
"""Of the scores table: numbers that differ in any of these are never averaged nor compared."""
PLACE = ["model", "hook"]
"""SAEs are compared with others that read the same activations."""
VARIANT = ["architecture", "loss", "width", "k", "objective", "train_tokens", "release", "recipe", *PLACE]
"""SAEs that are equal in these, and known to differ in their training seed, are one variant: trained alike but for the seed. Without a recipe, the others are all that is known of it."""


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

    @property
    def draws(self) -> bool:
        """Whether there are evaluation seeds."""
        return not self.table.columns.isna().any()

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

    def complete(self) -> DataFrame:
        """The SAEs that have a number at every seed that any SAE has one at; at least those at the seed most have."""
        seeds = self.table.loc[:, self.table.notna().any()]
        whole = seeds.dropna()
        most = seeds.loc[:, [seeds.notna().sum().idxmax()]].dropna() if len(seeds.columns) else seeds
        return whole if whole.size >= most.size else most


def grids(scores: DataFrame, variant: Series | None = None) -> Iterator[Grid]:
    """Every metric of a scores table at every place, in the table's order. Two numbers for one SAE and seed (records made by different versions of a package, say) are none.

    Args:
        scores: The scores table.
        variant: The variant of each SAE, where that is not for these scores alone to say; None: `variants(scores)`.
    """
    variant = variants(scores) if variant is None else variant
    for _, rows in scores.groupby([*COLUMN, *PLACE], sort=False, dropna=False):
        first = rows.iloc[0]
        single = rows[~rows.duplicated(["sae", "seed"], keep=False)]
        values = single.set_index(["sae", "seed"])["value"].unstack("seed")  # noqa: PD010 - nothing is aggregated
        if not len(values):
            continue
        chance, direction = rows["chance"].unique(), first["higher_is_better"]
        column = {name: None if _missing(first[name]) else first[name] for name in [*COLUMN, *PLACE]}
        yield Grid(
            column,
            None if _missing(direction) else bool(direction),
            float(chance[0]) if len(chance) == 1 and np.isfinite(chance[0]) else None,
            values.astype(float),
            variant[values.index].to_numpy(dtype=object),
        )


def variants(scores: DataFrame) -> Series:
    """The variant of each SAE, by name: in words what its SAEs have in common that tells them from other variants'; the SAE's own name where it is alone.

    An SAE is alone where its training seed is not known, or where two SAEs that are equal in `VARIANT` have the same training seed, so that they differ in something else.
    """
    import pandas as pd

    saes = scores.drop_duplicates("sae").set_index("sae").reindex(columns=[*VARIANT, "train_seed"])
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


def _word(key: str, value: Any) -> str:
    if value is None:
        return ""
    short = {"width": "width {:.12g}", "k": "k {:.12g}", "train_tokens": "{:,} tokens"}
    return short[key].format(value) if key in short else str(value)


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))
