"""What one training setting does to a metric, whatever else it depends on: losses averaged over L0s, say. No torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hedgebench.scores_table import scores_table
from hedgebench.stats.grid import COLUMN, PLACE, VARIANT, Grid, grids
from hedgebench.stats.intervals import mean_interval
from hedgebench.stats.pairwise import ALPHA, compare, holm
from hedgebench.stats.power import detectable
from hedgebench.stats.tables import control_rows
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SETTINGS = ("architecture", "loss", "width", "k", "objective", "train_tokens")
"""Of training: what may be compared, or averaged over."""
_EFFECT = ["difference", "stderr", "df", "low", "high", "p", "apart", "better", "sd", "detectable", "n_seeds", "paired_low", "paired_high"]  # fmt: skip


class _Crossed(NamedTuple):
    """SAEs that are equal in all settings but those compared and averaged over, at all combinations of these."""

    levels: list[Any]
    """[v], of the setting that is compared."""
    blocks: list[Any]
    """Of what is averaged over."""
    seeds: list[Series[float]]
    """[v]: the mean over blocks for each training seed (index)."""


class _Pair(NamedTuple):
    """Two values of a setting, of one metric."""

    row: dict[str, Any]
    """What does not depend on how many pairs are compared at once."""
    ratio: tuple[float, float] | None
    """Of their standard deviations, where each has its own."""
    variants: int
    """Values of the setting."""
    higher_is_better: bool | None


def effects(scores: DataFrame, of: str, over: str | Sequence[str], *, together: bool = False) -> DataFrame:
    """What a setting of training does to each metric, averaged over another; SAEs are otherwise alike. Controls take no part.

    A training seed counts once, with the mean over its SAEs: they start from the same draws, so that four L0s are not four seeds. Read are those values of `over` at which the most values of `of`
    are there, with the seeds that these have at most of them: an L0 that lacks a seed is left out, rather than the seed. An SAE counts with its mean over the evaluation seeds that all have.

    Args:
        scores: The scores table.
        of: The setting that is compared, of `SETTINGS`.
        over: Another, or several, whose values (for several: combinations of values) are averaged over with equal weights.
        together: Make all comparisons of the table at once, as of one question; else the pairs of each metric among SAEs that are else alike, a question for each.

    Returns:
        A row for each pair of values of `of`, of each metric, among SAEs that are else alike: `COLUMN`, `PLACE`, the other settings, `over` (the values, in words), first, second, first_mean, second_mean, difference (first less second), stderr, df,
        low, high (simultaneous 95 % interval, Bonferroni's), p (adjusted for all that is compared at once, Holm's), apart (p below .05), better (`first` or `second`; missing where they are not apart or the metric has no better end), sd (of a training seed's
        mean), detectable (the difference that would be found 4 times of 5 among as many comparisons; at most, where seeds differ in number), n_seeds (of either, the fewer), paired_low, paired_high (95 % interval of the difference seed by seed, by itself, over the seeds that both have: narrower
        where SAEs of one seed, which start from the same draws, vary alike; missing of fewer than two).

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
    questions = [
        [pair._replace(row={**grid.column, **dict(zip(alike, family, strict=True)), **pair.row}) for pair in pairs]
        for grid in grids(scores)
        for family, members in saes.groupby(alike, sort=False, dropna=False)
        if (pairs := _pairs(grid, _crossed(grid.where(grid.table.index.isin(members.index)), members, of, over)))
    ]
    if together and questions:
        questions = [list(itertools.chain(*questions))]
    return pd.DataFrame(
        itertools.chain.from_iterable(map(_answers, questions)),
        columns=[*COLUMN, *PLACE, *alike, "over", "first", "second", "first_mean", "second_mean", *_EFFECT],
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
    there: dict[tuple[Any, ...], dict[Any, frozenset[Any]]] = {}
    for (level, block), values in cells.items():
        there.setdefault(block, {})[level] = frozenset(values.index)
    shapes = list(there.values())
    # of the blocks that most levels have, those with the levels and seeds that most others have, or more
    shape = max(shapes, key=lambda one: (len(one), shapes.count(one), sum(map(len, one.values()))), default={})
    blocks = [block for block, one in there.items() if all(one.get(level, set()) >= shape[level] for level in shape)]
    found = {}
    for level, seeds in shape.items():
        at = pd.concat([cells[level, block] for block in blocks], axis=1, join="inner")
        found[level] = at[at.index.isin(seeds)].mean(axis=1)
    return _Crossed(list(found), blocks, list(found.values())) if len(found) > 1 else None


def _pairs(grid: Grid, crossed: _Crossed | None) -> list[_Pair]:
    """All pairs of one metric of SAEs that are otherwise alike."""
    if crossed is None:
        return []
    pairs = compare([seeds.to_numpy() for seeds in crossed.seeds])
    n = np.array([len(seeds) for seeds in crossed.seeds])
    own = pairs.error * np.sqrt(n)
    found = []
    for k, (i, j) in enumerate(zip(pairs.first, pairs.second, strict=True)):
        low, high = _paired(crossed.seeds[i], crossed.seeds[j])
        sizes = {
            "first_mean": float(pairs.means[i]),
            "second_mean": float(pairs.means[j]),
            "difference": float(pairs.difference[k]),
            "stderr": float(pairs.stderr[k]),
            "sd": float(np.hypot(own[i], own[j]) / np.sqrt(2)),
            "paired_low": low,
            "paired_high": high,
        }
        row = {
            "over": " ".join("/".join(map(_word, block)) for block in crossed.blocks),
            "first": _word(crossed.levels[i]),
            "second": _word(crossed.levels[j]),
            **grid.in_ones(sizes),
            "df": float(pairs.df[k]),
            "n_seeds": int(n[[i, j]].min()),
        }
        ratio = None if pairs.pooled else (float(own[i]), float(own[j]))
        found.append(_Pair(row, ratio, len(n), grid.higher_is_better))
    return found


def _answers(question: list[_Pair]) -> Iterator[dict[str, Any]]:
    """The rows of `effects` for what is compared at once."""
    from scipy.stats import t

    difference, stderr, df = (
        np.array([pair.row[name] for pair in question]) for name in ("difference", "stderr", "df")
    )
    size = np.abs(difference)
    certain = np.where(size > 0, np.inf, 0.0)  # where nothing is noise
    p = holm(2 * t.sf(np.divide(size, stderr, out=certain, where=stderr > 0), df))
    reach = t.ppf(1 - ALPHA / 2 / len(question), df) * stderr
    for k, pair in enumerate(question):
        apart, sd = bool(p[k] < ALPHA), pair.row["sd"]
        better = None
        if apart and pair.higher_is_better is not None:
            better = "first" if (difference[k] > 0) == pair.higher_is_better else "second"
        spread = sd
        if pair.ratio is not None and any(pair.ratio):
            spread = tuple(one * sd * np.sqrt(2) / np.hypot(*pair.ratio) for one in pair.ratio)
        yield {
            **pair.row,
            "low": difference[k] - reach[k],
            "high": difference[k] + reach[k],
            "p": float(p[k]),
            "apart": apart,
            "better": better,
            "detectable": detectable(spread, pair.row["n_seeds"], pair.variants, comparisons=len(question)),
        }


def _paired(first: Series[float], second: Series[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the difference seed by seed; None of fewer than two seeds that both have."""
    both = (first - second).dropna()
    if len(both) < 2:
        return None, None
    found = mean_interval(both)
    return found.low, found.high


def _plain(value: Any) -> Any:
    """A setting that no SAE of a cell has is None, which is equal to itself."""
    import pandas as pd

    return None if pd.isna(value) else value


def _word(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.12g}" if isinstance(value, (int, float, np.number)) else str(value)
