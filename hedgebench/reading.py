"""What a metric says of the SAEs in a scores table, in words: the caption of a figure of it. No torch, and no knowledge of any eval."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame


def reading(scores: DataFrame, eval_name: str, metric: str, params: str = "") -> str:
    """What the numbers say, in words: which variants can be told apart, and which cannot."""
    from hedgebench.stats.tables import comparisons, summary

    rows = scores[(scores["eval"] == eval_name) & (scores["metric"] == metric)]
    rows = rows[(rows["params"] == params) & (rows["slice_by"] == "all")]
    pairs = comparisons(rows)
    if pairs.empty:
        return f"{metric}: too few seeds to tell a difference from noise."
    seeds = "training" if set(pairs["scope"]) == {"training"} else "evaluation"
    said = f"{metric}: {int(pairs['apart'].sum())} of {len(pairs)} pairs can be told apart (95 %, all pairs together, over {seeds} seeds)."
    ranked = summary(rows).dropna(subset="rank")
    if not len(ranked):
        return said
    first = ranked[ranked["rank"] == 1]
    best = ", ".join(sorted(first["variant"].unique()))
    least, most = first["mean"].min(), first["mean"].max()
    where = f"{least:.3g}" if len(first) == 1 else f"{least:.3g} to {most:.3g}"
    return f"{said} Beaten by none: {best} ({where})."
