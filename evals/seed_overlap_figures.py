"""The figures of `seed_overlap`, and the numbers they show, from its rows of the scores table."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

from hedgebench.eval import CannotMeasure
from hedgebench.figures import draw_points, handle, width_axis
from hedgebench.looks import Look, Looks
from hedgebench.reading import from_to, level
from hedgebench.series import APART, FAMILY, editions, labels, with_family

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from pandas import DataFrame

_SHARED = (
    "Latents of two training seeds are paired one to one, once by their encoder columns and once by their decoder rows, each time so that the sum of cosines is largest; a latent is shared "
    "where both pair it with the same one and both cosines reach the threshold."
)
HOW_THRESHOLD = f"{_SHARED} Points are means over pairs of seeds, bars one standard error (jackknife over seeds); dotted: an SAE that is turned at random."
HOW_WIDTH = (
    f"{_SHARED} Small points are pairs of seeds, large ones their means, bars 95 % intervals over training seeds."
)
HOW_DENSITY = (
    "The latents of each SAE that fire at all are ordered by how often they do, and cut into tenths, 1 the rarest and 10 the most frequent. A point is the share of a tenth's "
    "latents that another training seed has, too (a mean over pairs of seeds), its bar one standard error (jackknife over seeds). A line that falls to the right: rare latents are found "
    "again more often than frequent ones; one that rises: less often. A tenth of a narrow SAE is a handful of latents, so that its point jumps by chance, as the bars show. Points of one tenth stand "
    f"beside each other so that no bar hides another. {_SHARED}"
)


def draw_against_threshold(scores: DataFrame, axes: Axes) -> None:
    """A line per group: the share of shared latents as more is asked of them. Dotted: an unrelated SAE."""
    lines = list(_lines(scores, "all", "threshold"))
    for line, look, _ in lines:
        axes.errorbar(
            line.index,
            line["value"],
            line["stderr"],
            capsize=2,
            linewidth=1.2,
            markersize=5,
            **look.style(),
        )
        axes.plot(line.index, line["chance"], color=look.color, linestyle=":")
    axes.set(xlabel="threshold of both cosines", ylabel="share of latents", title="Shared with another training seed")
    _finish(axes, [handle(look, name) for _, look, name in lines])


def read_against_threshold(scores: DataFrame) -> str:
    """What the narrowest and the widest SAEs share, at the lowest and the highest threshold, with its intervals."""
    rows = _shared(scores, "all")
    ends = sorted({rows["threshold"].min(), rows["threshold"].max()})
    said = [f"at {end:g}: {_ends(_intervals(rows[rows['threshold'] == end]))}" for end in ends]
    unrelated = rows[rows["threshold"] == ends[0]]["chance"].max()
    chance = "" if isnan(unrelated) else f" An SAE that is turned at random shares at most {unrelated:.3g}."
    return f"Share of latents that another training seed has, too, both cosines {'; '.join(said)}.{chance}"


def draw_against_width(scores: DataFrame, axes: Axes) -> None:
    """A point for each pair of seeds, the mean of each group with its interval, and a line per family that has one group at each width."""
    points, shown = with_family(_shared(scores, "pair")), with_family(width_table(scores))
    words, looks, handles = labels(points), Looks(scores, "seed_overlap"), []
    for family, pairs in points.groupby("family"):
        means, look = shown[shown["family"] == family], looks.of(pairs, *APART)
        draw_points(axes, pairs["width"], pairs["value"], look, [look.color] * len(pairs), 14, alpha=0.6)
        joined = bool(means["width"].is_unique)
        style = look.style() | ({} if joined else {"linestyle": "none"})
        reach = [means["mean"] - means["low"], means["high"] - means["mean"]]
        axes.errorbar(means["width"], means["mean"], reach, capsize=3, linewidth=1.2, markersize=6, **style)
        handles += [handle(look, words[str(family)], joined=joined)] if words else []
    width_axis(axes, points["width"])
    axes.set(xlabel="width (latents)", ylabel=_at_least(scores, "pair"))
    axes.set(title="Shared with another training seed; bars: 95 % over training seeds")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    if handles:
        axes.legend(handles=handles, fontsize="small")


def width_table(scores: DataFrame) -> DataFrame:
    """The shared share of each group, with its 95 % interval over training seeds.

    Returns:
        A row for each group: its columns of `FAMILY`, metric, params, width, mean (over pairs of seeds), low and high (Student's t on the jackknife over
        seeds, within 0 and 1; NaN for fewer than three), train_seeds (how many) and saes (the group's name).
    """
    pairs, rows = _shared(scores, "pair"), _shared(scores, "all")
    return _intervals(rows[rows["threshold"].isin(pairs["threshold"])])  # the others are the curve's


def read_against_width(scores: DataFrame) -> str:
    """What is shared by the narrowest and the widest SAEs."""
    return f"Share of latents that another training seed has, too: {_ends(width_table(scores))}."


def draw_against_density(scores: DataFrame, axes: Axes) -> None:
    """A line per group: the share of shared latents of each tenth, from the rarest to the most frequent."""
    lines = list(_lines(scores, "density_decile", "decile"))
    for i, (line, look, _) in enumerate(lines):
        beside = line.index + 0.5 * (i + 0.5 - len(lines) / 2) / len(lines)  # so that no bar hides another
        axes.errorbar(beside, line["value"], line["stderr"], capsize=2, linewidth=1.2, markersize=5, **look.style())
    axes.set(xlabel="tenth of the latents by firing density (1: rarest, 10: most frequent)")
    axes.set(ylabel=_at_least(scores, "density_decile"), title="Shared with another training seed", xticks=range(1, 11))
    _finish(axes, [handle(look, name) for _, look, name in lines])


def read_against_density(scores: DataFrame) -> str:
    """What the narrowest and the widest SAEs share of their rarest and of their most frequent latents, with its intervals."""
    rows = _shared(scores, "density_decile")
    said = [
        f"of the {word} tenth {_ends(_intervals(rows[rows['decile'] == tenth]))}"
        for word, tenth in (("rarest", 1), ("most frequent", 10))
    ]
    return f"Share of latents that another training seed has, too: {'; '.join(said)}."


def _intervals(rows: DataFrame) -> DataFrame:
    """`width_table` of some rows, one for each group and evaluation seed."""
    from scipy.stats import t

    rows = with_family(rows)
    keys = [*FAMILY, "metric", "params", "width"]
    over = {"mean": ("value", "mean"), "stderr": ("stderr", "mean"), "train_seeds": ("n", "first")}
    found = rows.groupby([*keys, "sae"]).agg(**over).reset_index()  # over evaluation seeds
    reach = found["stderr"] * t.ppf(0.975, found["train_seeds"].astype(float) - 1)
    low, high = (found["mean"] - reach).clip(lower=0.0), (found["mean"] + reach).clip(upper=1.0)  # it is a share
    found = found.assign(low=low, high=high, saes=found["sae"])
    return found[[*keys, "mean", "low", "high", "train_seeds", "saes"]]


def _ends(intervals: DataFrame) -> str:
    """The narrowest and the widest of each family, with their intervals."""
    shown = with_family(intervals)
    words = labels(shown)
    return "; ".join(
        (f"{words[str(family)]}: " if words else "") + from_to(means) + level(means)
        for family, means in shown.groupby("family")
    )


def _lines(scores: DataFrame, slice_by: str, along: str) -> Iterator[tuple[DataFrame, Look, str]]:
    """A line for each group and each way it was measured in, from the narrowest: its numbers along a column, its look and its name."""
    looks = Looks(scores, "seed_overlap")
    found: list[tuple[Any, str, DataFrame, DataFrame]] = []
    for words, rows in editions(_shared(scores, slice_by)):
        for (width, name), group in rows.groupby(["width", "sae"], dropna=False):
            means = group.groupby(along)[["value", "stderr", "chance"]].mean()
            found.append((width, f"{name}, {words}" if words else str(name), means, group))
    for _, label, means, group in sorted(found, key=lambda line: line[:2]):
        yield means, looks.of(group, *APART, "width"), label


def _at_least(scores: DataFrame, slice_by: str) -> str:
    """The name of the axis of what is shared at the eval's own threshold."""
    thresholds = sorted(set(_shared(scores, slice_by)["threshold"]))
    return f"share of latents, both cosines at least {' or '.join(f'{t:g}' for t in thresholds)}"


def _finish(axes: Axes, handles: Sequence[Line2D]) -> None:
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(handles=handles, fontsize="small")


def _shared(scores: DataFrame, slice_by: str) -> DataFrame:
    """Rows of the metric `shared`, with their threshold and, by density, their tenth (without the latents that never fire) as numbers."""
    rows = scores[
        (scores["eval"] == "seed_overlap") & (scores["metric"] == "shared") & (scores["slice_by"] == slice_by)
    ]
    if slice_by == "density_decile":
        rows = rows[rows["slice_value"] != "dead"]
        rows = rows.assign(decile=rows["slice_value"].astype(int))
    if rows.empty:
        raise CannotMeasure(f"no group here has a `shared` by {slice_by}")
    return rows.assign(threshold=rows["params"].str.extract(r"threshold=([-+.\de]+)")[0].astype(float))
