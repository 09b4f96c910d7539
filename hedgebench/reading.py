"""What a metric says of the SAEs in a scores table, in words: the caption of a figure of it. No torch, and no knowledge of any eval."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from hedgebench.series import editions

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def reading(scores: DataFrame, eval_name: str, metric: str, params: str = "") -> str:
    """What the numbers of a metric say, in words: which variants can be told apart, and which cannot; of each version, setting, text and hook point by itself."""
    from hedgebench.stats.grid import variants

    rows = scores[(scores["eval"] == eval_name) & (scores["metric"] == metric)]
    rows = rows[(rows["params"] == params) & (rows["slice_by"] == "all")]
    parts = editions(rows) if len(rows) else [("", rows)]
    variant, name = variants(scores), f"{metric} {params}".strip()
    return " ".join(told(part, f"{name} ({words})" if words else name, variant) for words, part in parts)


def told(rows: DataFrame, name: str, variant: Series | None = None) -> str:
    """Which variants can be told apart, and which of them none beats.

    Args:
        rows: Of one metric, as one eval measured it at one place.
        name: What the numbers are called.
        variant: The variant of each SAE, as `stats.grid.variants` has it of a whole table, whose SAEs without such a number are blanks; None: of these rows.
    """
    from hedgebench.stats.tables import summary

    seeds, count, more = compared(rows, summary(rows, variant), variant)
    return f"{name}: {count}{f' (95 %, all pairs together, over {seeds} seeds)' if seeds else ''}{more}"


def compared(rows: DataFrame, found: DataFrame, variant: Series | None = None) -> tuple[str, str, str]:
    """The parts of `told`: which seeds are compared (empty: neither), how many pairs can be told apart or why none is compared, and what else is to be said. `found` is the `stats.tables.summary` of the rows."""
    from hedgebench.stats.tables import comparisons

    pairs = comparisons(rows, variant=variant)
    blank = found.loc[found["blank"] != "", ["variant", "blank"]].itertuples(index=False)
    left_out = "".join(f" Left out: {name} ({why})." for name, why in blank)
    if pairs.empty:
        return "", _why_none(rows, found, variant), f".{left_out}"
    seeds = "training" if set(pairs["scope"]) == {"training"} else "evaluation"
    apart = int(pairs["apart"].sum())
    count = f"{apart or 'none'} of {len(pairs)} pairs can be told apart"
    ranked = found.dropna(subset="rank")
    if not len(ranked):
        return seeds, count, f".{left_out}"
    if not apart:
        return seeds, count, f". Means are {ranked['mean'].min():.3g} to {ranked['mean'].max():.3g}.{left_out}"
    first = ranked[ranked["rank"] == 1]
    best = ", ".join(sorted(first["variant"].unique()))
    least, most = first["mean"].min(), first["mean"].max()
    where = f"{least:.3g}" if len(first) == 1 else f"{least:.3g} to {most:.3g}"
    return seeds, count, f". Beaten by none: {best} ({where}).{left_out}"


def _why_none(rows: DataFrame, found: DataFrame, variant: Series | None) -> str:
    """Why no two variants of some rows are compared."""
    from hedgebench.stats.grid import variants
    from hedgebench.stats.tables import MOST, control_rows

    of = variants(rows) if variant is None else variant
    trained = found[~found["variant"].isin(of[control_rows(rows)])]
    if len(found) and not len(trained):
        return "there are only controls"
    whole = trained.loc[trained["blank"] == "", "variant"]
    if len(whole) < 2:
        return f"{whole.iloc[0]} alone" if len(whole) else "nothing has all its numbers"
    if len(whole) > MOST:
        return f"{len(whole)} variants are too many to compare pair by pair"
    return "too few seeds to tell a difference from noise"


def from_to(means: DataFrame) -> str:
    """How a line goes from the narrowest SAEs to the widest: `0.428 [0.363, 0.493] at width 128, 0.354 [0.34, 0.369] at width 512`.

    Args:
        means: Columns width, mean, low and high (NaN: no interval is known). Of several SAEs of one width, which are no line, the range is said.
    """
    ends = sorted({means["width"].min(), means["width"].max()})
    return ", ".join(f"{_value(means[means['width'] == width])} at width {width}" for width in ends)


def _value(rows: DataFrame) -> str:
    if len(rows) > 1:
        return f"{rows['mean'].min():.3g} to {rows['mean'].max():.3g} ({len(rows)} SAEs)"
    mean, low, high = rows.iloc[0][["mean", "low", "high"]].astype(float)
    return f"{mean:.3g}" + ("" if isnan(low) else f" [{low:.3g}, {high:.3g}]")


def level(means: DataFrame) -> str:
    """What the brackets of `from_to` are, where there are any."""
    return " (95 % over training seeds)" if means["low"].notna().any() else ""


def signs(differences: DataFrame) -> str:
    """At how many widths a difference is certain: `above at 4, below at 1 of 7 widths`.

    Args:
        differences: A row for each width: columns low and high (NaN: not known).
    """
    counts = {"above": (differences["low"] > 0).sum(), "below": (differences["high"] < 0).sum()}
    said = ", ".join(f"{word} at {count}" for word, count in counts.items() if count)
    return f"{said or 'not to be told apart at any'} of {len(differences)} widths"
