"""What one training setting does to a metric, whatever else it depends on: losses averaged over L0s, say. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.scores_table import scores_table
from hedgebench.stats.grid import COLUMN, PLACE, VARIANT, Grid, grids
from hedgebench.stats.pairwise import compare_averaged
from hedgebench.stats.power import detectable
from hedgebench.stats.tables import control_rows
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

SETTINGS = ("architecture", "loss", "width", "k", "objective", "train_tokens")
"""Of training: what may be compared, or averaged over."""
_EFFECT = ["difference", "stderr", "df", "low", "high", "p", "apart", "better", "sd", "detectable", "n_saes"]


class _Crossed(NamedTuple):
    """SAEs that are equal in all settings but two, at all combinations of these."""

    levels: list[Any]
    """[v], of the setting that is compared."""
    blocks: list[Any]
    """[b], of the other."""
    cells: list[list[NDArray[np.float64]]]
    """[v][b] vectors: a value for each training seed."""


def effects(scores: DataFrame, of: str, over: str) -> DataFrame:
    """What a setting of training does to each metric, averaged over another; SAEs are otherwise alike. Controls take no part.

    Only cells of two training seeds and more are read, at the values of `over` that most values of `of` have in common; an SAE counts with its mean over the evaluation seeds that all have.

    Args:
        scores: The scores table.
        of: The setting that is compared, of `SETTINGS`.
        over: Another, whose values are averaged over with equal weights.

    Returns:
        A row for each pair of values of `of`, of each metric, among SAEs that are else alike: `COLUMN`, `PLACE`, the other settings, `over` (the values, in words), first, second, first_mean, second_mean, difference (first less second), stderr, df,
        low, high (simultaneous 95 % interval), p (adjusted for all pairs of the metric among these SAEs), apart (p below .05), better (`first` or `second`; missing where they are not apart or the metric has no better end), sd (of an SAE, over
        training seeds within a cell), detectable (the difference that would be found 4 times of 5), n_saes (of either, the fewer).

    Raises:
        BadInput: No such setting, or twice the same.
    """
    import pandas as pd

    if {of, over} - set(SETTINGS) or of == over:
        raise BadInput(f"effects: two of {', '.join(SETTINGS)} are wanted, not {of!r} and {over!r}")
    alike = [name for name in VARIANT if name not in (of, over, "recipe", *PLACE)]
    saes = scores_table(scores, columns=["sae", "train_seed", *VARIANT]).drop_duplicates("sae").set_index("sae")
    saes = saes[saes["train_seed"].notna() & ~saes.index.isin(control_rows(scores))]
    rows = [
        {**grid.column, **dict(zip(alike, family, strict=True)), **row}
        for grid in grids(scores)
        for family, members in saes.groupby(alike, sort=False, dropna=False)
        for row in _pairs(grid, _crossed(grid.where(grid.table.index.isin(members.index)), members, of, over))
    ]
    return pd.DataFrame(
        rows, columns=[*COLUMN, *PLACE, *alike, "over", "first", "second", "first_mean", "second_mean", *_EFFECT]
    )


def _crossed(grid: Grid, saes: DataFrame, of: str, over: str) -> _Crossed | None:
    """The cells of a grid's SAEs; None where no two values of `of` can be compared."""
    means = grid.complete(several=False).mean(axis=1)
    here = saes.loc[means.index]
    cells: dict[tuple[Any, Any], NDArray[np.float64]] = {}
    for (level, block), members in here.groupby([of, over], sort=True, dropna=False):
        if len(members) > 1 and members["train_seed"].is_unique:
            cells[_plain(level), _plain(block)] = means[members.index].to_numpy()
    levels, blocks = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    most = max((sum((level, block) in cells for level in levels) for block in blocks), default=0)
    blocks = [block for block in blocks if sum((level, block) in cells for level in levels) == most]
    levels = [level for level in levels if all((level, block) in cells for block in blocks)]
    if len(levels) < 2:
        return None
    return _Crossed(levels, blocks, [[cells[level, block] for block in blocks] for level in levels])


def _pairs(grid: Grid, crossed: _Crossed | None) -> Iterator[dict[str, Any]]:
    """The rows of `effects` for one metric of SAEs that are otherwise alike."""
    if crossed is None:
        return
    pairs = compare_averaged(crossed.cells)
    n = np.array([[len(cell) for cell in row] for row in crossed.cells])
    own = pairs.error * n.shape[1] / np.sqrt((1 / n).sum(axis=1))
    for k, (i, j) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        apart = bool(pairs.apart[i, j])
        spread = float(own[i]) if pairs.pooled else (float(own[i]), float(own[j]))
        least = detectable(spread, int(n[[i, j]].min()), len(n), blocks=n.shape[1])
        sizes = {
            "first_mean": float(pairs.means[i]),
            "second_mean": float(pairs.means[j]),
            "difference": float(pairs.difference[k]),
            "stderr": float(pairs.stderr[k]),
            "low": float(pairs.low[k]),
            "high": float(pairs.high[k]),
            "sd": float(np.hypot(own[i], own[j]) / np.sqrt(2)),
            "detectable": least,
        }
        better = None
        if apart and grid.higher_is_better is not None:
            better = "first" if (pairs.difference[k] > 0) == grid.higher_is_better else "second"
        yield {
            "over": " ".join(map(_word, crossed.blocks)),
            "first": _word(crossed.levels[i]),
            "second": _word(crossed.levels[j]),
            **grid.in_ones(sizes),
            "df": float(pairs.df[k]),
            "p": float(pairs.adjusted[k]),
            "apart": apart,
            "better": better,
            "n_saes": int(n[[i, j]].sum(axis=1).min()),
        }


def _plain(value: Any) -> Any:
    """A setting that no SAE of a cell has is None, which is equal to itself."""
    import pandas as pd

    return None if pd.isna(value) else value


def _word(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.12g}" if isinstance(value, (int, float, np.number)) else str(value)
