"""What one training setting does to a metric, whatever else it depends on: losses averaged over L0s, say. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.scores_table import scores_table
from hedgebench.stats.grid import COLUMN, PLACE, VARIANT, Grid, grids
from hedgebench.stats.pairwise import compare
from hedgebench.stats.power import detectable
from hedgebench.stats.tables import control_rows
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

SETTINGS = ("architecture", "loss", "width", "k", "objective", "train_tokens")
"""Of training: what may be compared, or averaged over."""
_EFFECT = ["difference", "stderr", "df", "low", "high", "p", "apart", "better", "sd", "detectable", "n_seeds"]


class _Crossed(NamedTuple):
    """SAEs that are equal in all settings but those compared and averaged over, at all combinations of these."""

    levels: list[Any]
    """[v], of the setting that is compared."""
    blocks: list[Any]
    """Of what is averaged over."""
    means: list[NDArray[np.float64]]
    """[v] vectors: the mean over blocks for each training seed."""


def effects(scores: DataFrame, of: str, over: str | Sequence[str]) -> DataFrame:
    """What a setting of training does to each metric, averaged over another; SAEs are otherwise alike. Controls take no part.

    A training seed counts once, with the mean over its SAEs: they start from the same draws, so that four L0s are not four seeds. Read are the values of `over` that most values of `of` have in common, and of each value of `of` the seeds that are at
    all of these; an SAE counts with its mean over the evaluation seeds that all have.

    Args:
        scores: The scores table.
        of: The setting that is compared, of `SETTINGS`.
        over: Another, or several, whose values (for several: combinations of values) are averaged over with equal weights.

    Returns:
        A row for each pair of values of `of`, of each metric, among SAEs that are else alike: `COLUMN`, `PLACE`, the other settings, `over` (the values, in words), first, second, first_mean, second_mean, difference (first less second), stderr, df,
        low, high (simultaneous 95 % interval), p (adjusted for all pairs of the metric among these SAEs), apart (p below .05), better (`first` or `second`; missing where they are not apart or the metric has no better end), sd (of a training seed's
        mean), detectable (the difference that would be found 4 times of 5), n_seeds (of either, the fewer).

    Raises:
        BadInput: No such setting, or twice the same.
    """
    import pandas as pd

    over = [over] if isinstance(over, str) else list(over)
    asked = [of, *over]
    if not over or set(asked) - set(SETTINGS) or len(set(asked)) < len(asked):
        raise BadInput(f"effects: two or more of {', '.join(SETTINGS)} are wanted, not {', '.join(map(repr, asked))}")
    alike = [name for name in VARIANT if name not in (*asked, "recipe", *PLACE)]
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


def _crossed(grid: Grid, saes: DataFrame, of: str, over: list[str]) -> _Crossed | None:
    """The cells of a grid's SAEs; None where no two values of `of` can be compared."""
    import pandas as pd

    means = grid.complete(several=False).mean(axis=1)
    here = saes.loc[means.index]
    cells: dict[tuple[Any, Any], Series[float]] = {}
    for (level, *block), members in here.groupby([of, *over], sort=True, dropna=False):
        if len(members) > 1 and members["train_seed"].is_unique:
            cells[_plain(level), tuple(map(_plain, block))] = means[members.index].set_axis(members["train_seed"])
    levels, blocks = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    most = max((sum((level, block) in cells for level in levels) for block in blocks), default=0)
    blocks = [block for block in blocks if sum((level, block) in cells for level in levels) == most]
    found = {}
    for level in levels:
        if all((level, block) in cells for block in blocks):
            seeds = pd.concat([cells[level, block] for block in blocks], axis=1, join="inner")
            if len(seeds) > 1:
                found[level] = seeds.mean(axis=1).to_numpy()
    return _Crossed(list(found), blocks, list(found.values())) if len(found) > 1 else None


def _pairs(grid: Grid, crossed: _Crossed | None) -> Iterator[dict[str, Any]]:
    """The rows of `effects` for one metric of SAEs that are otherwise alike."""
    if crossed is None:
        return
    pairs = compare(crossed.means)
    n = np.array([len(seeds) for seeds in crossed.means])
    own = pairs.error * np.sqrt(n)
    for k, (i, j) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        apart = bool(pairs.apart[i, j])
        spread = float(own[i]) if pairs.pooled else (float(own[i]), float(own[j]))
        sizes = {
            "first_mean": float(pairs.means[i]),
            "second_mean": float(pairs.means[j]),
            "difference": float(pairs.difference[k]),
            "stderr": float(pairs.stderr[k]),
            "low": float(pairs.low[k]),
            "high": float(pairs.high[k]),
            "sd": float(np.hypot(own[i], own[j]) / np.sqrt(2)),
            "detectable": detectable(spread, int(n[[i, j]].min()), len(n)),
        }
        better = None
        if apart and grid.higher_is_better is not None:
            better = "first" if (pairs.difference[k] > 0) == grid.higher_is_better else "second"
        yield {
            "over": " ".join("/".join(map(_word, block)) for block in crossed.blocks),
            "first": _word(crossed.levels[i]),
            "second": _word(crossed.levels[j]),
            **grid.in_ones(sizes),
            "df": float(pairs.df[k]),
            "p": float(pairs.adjusted[k]),
            "apart": apart,
            "better": better,
            "n_seeds": int(n[[i, j]].min()),
        }


def _plain(value: Any) -> Any:
    """A setting that no SAE of a cell has is None, which is equal to itself."""
    import pandas as pd

    return None if pd.isna(value) else value


def _word(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.12g}" if isinstance(value, (int, float, np.number)) else str(value)
