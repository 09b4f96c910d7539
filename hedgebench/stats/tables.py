"""The statistics of a whole scores table, as tables: what each variant has, how noisy each metric is, and which differences are real. No torch.

Each is a pure function of the scores table. Numbers of other versions, settings, data or hook points are never mixed; a number that cannot be told from the seeds there are is missing, never made up.
Time grows with the number of metrics times the square of the number of variants.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from hedgebench.control_cards import control_kind
from hedgebench.scores_table import scores_table
from hedgebench.stats import components as parts
from hedgebench.stats.both_seeds import over_both
from hedgebench.stats.discriminability import discriminability, discriminability_paired
from hedgebench.stats.grid import COLUMN, LARGEST, PLACE, Grid, grids, members, variants
from hedgebench.stats.pairwise import (
    ALPHA,
    Pairs,
    compare,
    compare_paired,
    letters,
    rank_intervals,
    ranks,
)
from hedgebench.stats.power import Spread, detectable, seeds_needed
from hedgebench.stats.ways import ways_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

Scope = Literal["training", "evaluation"]
"""What is compared. `training`: recipes, by the spread over their training seeds. `evaluation`: these SAEs themselves, by the spread over evaluation seeds."""
MOST = 300
"""Variants of a metric: more are not compared pair by pair."""


class Contest(NamedTuple):
    """The variants of a grid that can be compared, and how they compare."""

    scope: Scope
    names: list[str]
    """[v]: variants, or SAEs where the scope is `evaluation`."""
    values: list[NDArray[np.float64]]
    """[v] vectors, each with an entry for each seed of the scope."""
    pairs: Pairs

    def spread(self, *pair: int) -> Spread:
        """The standard deviations of a pair, or of two of middling noise: one for both where the variances are pooled."""
        if self.pairs.pooled:
            return self._sd()
        if self.scope == "evaluation":
            return (self._sd(*pair),) * 2
        own = [self._sd(i) for i in pair or range(len(self.values))]
        return (own[0], own[1]) if pair else (float(np.median(own)),) * 2

    def _sd(self, *of: int) -> float:
        """The standard deviation over seeds of the scope, pooled over all or over some; of SAEs without what a seed does to all of them alike."""
        chosen = [self.values[i] for i in of or range(len(self.values))]
        if self.scope == "evaluation":
            return math.sqrt(parts.mean_squares(np.array(chosen)).rest)
        squares = sum(float((len(group) - 1) * group.var(ddof=1)) for group in chosen)
        return math.sqrt(squares / sum(len(group) - 1 for group in chosen))


def contest(grid: Grid, scope: Scope | None = None, without: Collection[str] = ()) -> Contest | None:
    """Compare what a grid holds: recipes where two or more have several training seeds, else the SAEs that are alone in their variant, where there are several evaluation seeds. None where there is nothing to compare by.

    SAEs are compared at the evaluation seeds that all of them have, so that what a seed does to all alike is no difference. A recipe of which one SAE lacks some of these is compared with none.

    Args:
        grid: One metric at one place.
        scope: Only this; SAEs by evaluation seeds are then all SAEs, of whatever variant.
        without: SAEs that do not take part. Controls should not: they are like no SAE in noise, and every row more asks more of all comparisons.
    """
    trained = grid.where(~grid.table.index.isin(without))
    variant, size = dict(zip(grid.table.index, grid.variant, strict=True)), Counter(grid.variant)
    if scope != "evaluation":
        groups: dict[str, list[float]] = {}
        values = trained.complete(several=False)
        for sae, mean in values.mean(axis=1).items():
            groups.setdefault(variant[sae], []).append(mean)
        several = {name: np.array(of) for name, of in groups.items() if len(of) == size[name] > 1}
        if 2 <= len(several) <= MOST:
            return Contest("training", list(several), list(several.values()), compare(list(several.values())))
    values = trained.complete()
    if scope is None:
        values = values[[size[variant[sae]] == 1 for sae in values.index]]
    if scope != "training" and values.shape[1] > 1 and 2 <= len(values) <= MOST:
        rows = values.to_numpy()
        return Contest("evaluation", list(values.index), list(rows), compare_paired(rows))
    return None


def summary(scores: DataFrame, variant: Series | None = None) -> DataFrame:
    """A row for each variant of each metric: its mean, the intervals over either seed and both, its rank and how sure that is.

    Args:
        scores: The scores table.
        variant: As in `grids`.

    Returns:
        `COLUMN`, `PLACE`, variant, saes (names of those with a number), n_saes, n_seeds (evaluation seeds that all have; 0: nothing is drawn, or the table does not say by which seed), mean (missing where one of the variant's SAEs has no number, or
        they have no seed in common: no mean is taken over a blank), blank (then the reason; else empty), training_low and _high, evaluation_low and _high, both_low and _high (95 %,
        missing where there are fewer than two of what varies), scope (of the rank), rank, rank_low, rank_high, letters (`pairwise.letters`; these are missing of controls, and where the metric has no better end or nothing to rank by), of_best (how far
        from chance or the random controls of its width, whichever is better, 0, to the oracle or else the best variant, 1; missing where neither is known or nothing beats them: see `ways`), of_best_low and _high (95 % over evaluation seeds; missing unless
        the best is an oracle: the best of the variants is chosen by these very numbers, so that a share of the way to it is a point value).
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    controls, ways_in = control_rows(scores), ways_of(scores)
    variant = variants(scores) if variant is None else variant
    everyone = members(variant)
    for grid in grids(scores, variant):
        whole, blank = grid.without_blanks(everyone)
        placed, ways, groups = ranking(whole, controls), ways_in(whole), whole.groups()
        known = set(grid.table.index[grid.table.notna().any(axis=1)])
        for name in dict.fromkeys(grid.variant):
            saes = [sae for sae in everyone[name] if sae in known]
            row: dict[str, Any] = {**grid.column, "variant": name, "saes": " ".join(saes), "n_saes": len(saes)}
            row |= {"n_seeds": 0, "blank": blank.get(name, "")}
            if name in groups:
                row |= _mean(groups[name], grid) | placed.get(name, {})
                row["of_best"] = ways[name].share(row["mean"])
                row["of_best_low"], row["of_best_high"] = ways[name].share_ends or (None, None)
            rows.append(row)
    seeds = [f"{over}_{end}" for over in ("training", "evaluation", "both") for end in ("low", "high")]
    columns = [*COLUMN, *PLACE, "variant", "saes", "n_saes", "n_seeds", "mean", *seeds, "scope"]
    columns += ["rank", "rank_low", "rank_high", "letters", "of_best", "of_best_low", "of_best_high", "blank"]
    return pd.DataFrame(rows, columns=columns)


def _mean(values: NDArray[np.float64], grid: Grid) -> dict[str, Any]:
    """The mean of a variant's values [a SAEs, b evaluation seeds] with its intervals, as columns of `summary`."""
    found = {"training": parts.over_training(values)}
    if grid.draws:
        found |= {"evaluation": parts.over_evaluation(values), "both": over_both(values)}
    row = {"mean": float(values.mean())}
    for over, interval in found.items():
        row[f"{over}_low"], row[f"{over}_high"] = interval.low, interval.high
    return {"n_seeds": values.shape[1] if grid.draws else 0} | grid.in_ones(row)


def noise(scores: DataFrame, variant: Series | None = None) -> DataFrame:
    """A row for each metric: what moves it, and what it can tell apart. Control rows are left out: they are like no SAE, in noise neither.

    Args:
        scores: The scores table.
        variant: As in `grids`.

    Returns:
        `COLUMN`, `PLACE`, mean_size (mean absolute value), n_saes, n_variants (with several training seeds), n_seeds; sd_training, sd_evaluation, sd_rest (`components.Components`); floor, floor_low,
        floor_high, cv (`components.noise_floor`); and where there is something to compare (`contest`) its scope, f, p, share, groups (`discriminability.Discriminability`), compared (how many recipes, or SAEs),
        pooled, and detectable_2, _3, _5 and _10: the minimal detectable difference between two of them at so many seeds of the scope (`power.detectable`; where they are not pooled, between two of
        middling noise).
    """
    import pandas as pd

    rows, controls = [], control_rows(scores)
    for grid in grids(scores, variant):
        whole = grid.where(~grid.table.index.isin(controls)).complete()
        if not whole.size:
            continue
        of = dict(zip(grid.table.index, grid.variant, strict=True))
        values = whole.to_numpy()
        found = parts.components(values, [of[sae] for sae in whole.index])
        floor = parts.noise_floor(values)
        sizes: dict[str, float | None] = {"mean_size": float(np.abs(values).mean())}
        sizes |= {"sd_training": found.training, "sd_evaluation": found.evaluation, "sd_rest": found.rest}
        sizes |= {"floor": floor.sd, "floor_low": floor.low, "floor_high": floor.high}
        row: dict[str, Any] = {**grid.column, **grid.in_ones(sizes), "cv": floor.cv}
        row |= {"n_saes": found.n_saes, "n_variants": found.n_variants, "n_seeds": found.n_seeds if grid.draws else 0}
        compared = contest(grid, without=controls)
        if compared is not None:
            paired = compared.scope == "evaluation"
            told = discriminability_paired(compared.values) if paired else discriminability(compared.values)
            row |= {"scope": compared.scope, **told._asdict(), "compared": len(compared.names)}
            row |= {"pooled": compared.pairs.pooled}
            least = {n: detectable(compared.spread(), n, len(compared.names), paired=paired) for n in (2, 3, 5, 10)}
            row |= grid.in_ones({f"detectable_{n}": size for n, size in least.items()})
        rows.append(row)
    columns = ["mean_size", "n_saes", "n_variants", "n_seeds", "sd_training", "sd_evaluation", "sd_rest"]
    columns += ["floor", "floor_low", "floor_high", "cv", "scope", "f", "p", "share", "groups", "compared", "pooled"]
    columns += [f"detectable_{n}" for n in (2, 3, 5, 10)]
    return pd.DataFrame(rows, columns=[*COLUMN, *PLACE, *columns])


def comparisons(scores: DataFrame, scope: Scope | None = None, variant: Series | None = None) -> DataFrame:
    """A row for each pair of variants of each metric (see `contest`); control rows are compared with none.

    Args:
        scores: The scores table.
        scope: As in `contest`.
        variant: As in `grids`.

    Returns:
        `COLUMN`, `PLACE`, scope, first, second, difference (of their means), stderr, df, low, high (simultaneous 95 % interval), p (adjusted for all pairs of the metric), apart (p below .05), better
        (`first` or `second`; missing where they cannot be told apart or the metric has no better end), seeds_needed (of those that cannot be told apart: with how many seeds of the scope a true
        difference of this size would be found four times in five; missing where 1,000 do not do).
    """
    import pandas as pd

    frames, controls = [], control_rows(scores)
    variant = variants(scores) if variant is None else variant
    everyone = members(variant)
    for grid in grids(scores, variant):
        found = contest(grid.without_blanks(everyone)[0], scope, controls)
        if found is None:
            continue
        pairs, names = found.pairs, np.array(found.names, dtype=object)
        apart = pairs.apart[pairs.first, pairs.second]
        better = np.where((pairs.difference > 0) == bool(grid.higher_is_better), "first", "second")
        known = apart if grid.higher_is_better is not None else np.zeros_like(apart)
        frame = pd.DataFrame(
            {
                "scope": found.scope,
                "first": names[pairs.first],
                "second": names[pairs.second],
                "difference": pairs.difference,
                "stderr": pairs.stderr,
                "df": pairs.df,
                "low": pairs.low,
                "high": pairs.high,
                "p": pairs.adjusted,
                "apart": apart,
                "better": pd.Series(better, dtype="string").where(known),
            }
        )
        sizes = ["difference", "stderr", "low", "high"]
        frame[sizes] = (frame[sizes] * grid.unit).clip(-LARGEST, LARGEST)
        frame["seeds_needed"] = pd.array(_needed(found), dtype="Int64")
        frames.append(frame.assign(**grid.column)[[*COLUMN, *PLACE, *frame.columns]])
    empty = [*COLUMN, *PLACE, "scope", "first", "second", "difference", "stderr", "df", "low", "high", "p"]
    return (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame(columns=[*empty, "apart", "better", "seeds_needed"])
    )


def _needed(found: Contest) -> list[int | None]:
    """For each pair that cannot be told apart, the seeds of the scope that its difference needs."""
    pairs, paired = found.pairs, found.scope == "evaluation"
    usual, many = found.spread(), len(found.names)
    return [
        None
        if p < ALPHA
        else seeds_needed(float(size), usual if pairs.pooled else found.spread(i, j), many, paired=paired)
        for i, j, size, p in zip(pairs.first, pairs.second, pairs.difference, pairs.adjusted, strict=True)
    ]


def ranking(grid: Grid, without: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """The scope, rank, rank_low, rank_high and letters of each variant that can be ranked, `without` some SAEs (see `contest`); where SAEs are compared, of those that are alone in their variant."""
    if grid.higher_is_better is None:
        return {}
    found = contest(grid, without=without)
    if found is None:
        return {}
    places = ranks(found.pairs, bool(grid.higher_is_better))
    low, high = rank_intervals(found.pairs, bool(grid.higher_is_better))
    groups = letters(found.pairs, bool(grid.higher_is_better))
    ranges = zip(places.tolist(), low.tolist(), high.tolist(), groups, strict=True)
    columns = ("rank", "rank_low", "rank_high", "letters")
    return {
        name: {"scope": found.scope, **dict(zip(columns, one, strict=True))}
        for name, one in zip(found.names, ranges, strict=True)
    }


def control_rows(scores: DataFrame) -> list[str]:
    """The SAEs of the scores table that are controls (see `hedgebench.controls`)."""
    saes = scores_table(scores, columns=["sae", "architecture"]).drop_duplicates()
    return list(saes.loc[saes["architecture"].fillna("").map(control_kind).notna(), "sae"].unique())
