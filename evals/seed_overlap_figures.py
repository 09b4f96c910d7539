"""The figures of `seed_overlap`, and the numbers they show, from its rows of the scores table."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

from hedgebench.eval import CannotMeasure
from hedgebench.figures import width_axis
from hedgebench.looks import MARKERS, OKABE_ITO
from hedgebench.reading import from_to, level, span
from hedgebench.series import FAMILY, labels, with_family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from pandas import DataFrame


def draw_against_threshold(scores: DataFrame, axes: Axes) -> None:
    """A line per group: the share of shared latents as more is asked of them. Dotted: an unrelated SAE."""
    for line, look in _lines(_shared(scores, "all"), "threshold"):
        axes.errorbar(line.index, line["value"], line["stderr"], capsize=2, linewidth=1.2, markersize=5, **look)
        axes.plot(line.index, line["chance"], color=look["color"], linestyle=":")
    axes.set(xlabel="threshold of both cosines", ylabel="share of latents", title="Shared with another training seed")
    _finish(axes)


def read_against_threshold(scores: DataFrame) -> str:
    """Which groups share least and most, at the lowest and the highest threshold."""
    rows = _shared(scores, "all")
    ends = sorted({rows["threshold"].min(), rows["threshold"].max()})
    at = {end: rows[rows["threshold"] == end].groupby("sae")[["value", "chance"]].mean() for end in ends}
    said = "; ".join(f"at {end:g}: {span(found['value'])}" for end, found in at.items())
    unrelated = at[ends[0]]["chance"].max()
    chance = "" if isnan(unrelated) else f" An unrelated SAE shares at most {unrelated:.3g}."
    return f"Share of latents that another training seed has, too, both cosines {said}.{chance}"


def draw_against_width(scores: DataFrame, axes: Axes) -> None:
    """A point for each pair of seeds, the mean of each group with its interval, and a line per family that has one group at each width."""
    points, shown = with_family(_shared(scores, "pair")), with_family(width_table(scores))
    words = labels(points)
    for i, (family, pairs) in enumerate(points.groupby("family")):
        means, mark = shown[shown["family"] == family], MARKERS[i % len(MARKERS)]
        colour = OKABE_ITO[i % len(OKABE_ITO)]
        axes.scatter(pairs["width"], pairs["value"], marker=mark, alpha=0.5, s=25, color=colour)
        line = "-" if means["width"].is_unique else "none"
        reach = means["high"] - means["mean"]
        name = words.get(str(family))
        axes.errorbar(
            means["width"], means["mean"], reach, color=colour, marker="_", ls=line, ms=14, capsize=3, label=name
        )
    width_axis(axes, points["width"])
    threshold = " or ".join(f"{t:g}" for t in sorted(set(points["threshold"])))
    axes.set(xlabel="width (latents)", ylabel=f"share of latents, both cosines at least {threshold}")
    axes.set(title="Shared with another training seed; bars: 95 % over training seeds")
    axes.set_ylim(bottom=0)
    if words:
        axes.legend(fontsize="small")


def width_table(scores: DataFrame) -> DataFrame:
    """The shared share of each group, with its 95 % interval over training seeds.

    Returns:
        A row for each group: its columns of `FAMILY`, metric, params, width, mean (over pairs of seeds), low and high (Student's t on the jackknife over
        seeds; NaN for fewer than three), train_seeds (how many) and saes (the group's name).
    """
    from scipy.stats import t

    pairs, rows = _shared(scores, "pair"), with_family(_shared(scores, "all"))
    rows = rows[rows["threshold"].isin(pairs["threshold"])]  # the others are the curve's
    keys = [*FAMILY, "metric", "params", "width"]
    over = {"mean": ("value", "mean"), "stderr": ("stderr", "mean"), "train_seeds": ("n", "first")}
    found = rows.groupby([*keys, "sae"]).agg(**over).reset_index()  # over evaluation seeds
    seeds = found["train_seeds"].astype(float)
    reach = found["stderr"] * t.ppf(0.975, seeds - 1)
    found = found.assign(low=found["mean"] - reach, high=found["mean"] + reach, saes=found["sae"])
    return found[[*keys, "mean", "low", "high", "train_seeds", "saes"]]


def read_against_width(scores: DataFrame) -> str:
    """What is shared by the narrowest and the widest SAEs."""
    shown = with_family(width_table(scores))
    words = labels(shown)
    said = "; ".join(
        (f"{words[str(family)]}: " if words else "") + from_to(means) + level(means)
        for family, means in shown.groupby("family")
    )
    return f"Share of latents that another training seed has, too: {said}."


def draw_against_density(scores: DataFrame, axes: Axes) -> None:
    """A line per group: the share of shared latents of each tenth, from the rarest to the most frequent."""
    lines = list(_lines(_deciles(scores), "decile"))
    for i, (line, look) in enumerate(lines):
        beside = line.index + 0.5 * (i + 0.5 - len(lines) / 2) / len(lines)  # so that no bar hides another
        axes.errorbar(beside, line["value"], line["stderr"], capsize=2, linewidth=1.2, markersize=5, **look)
    axes.set(xlabel="decile of firing density (10: most frequent)", ylabel="share of latents")
    axes.set(title="Shared with another training seed", xticks=range(1, 11))
    _finish(axes)


def read_against_density(scores: DataFrame) -> str:
    """Which groups share least and most of their rarest and of their most frequent latents."""
    rows = _deciles(scores)
    rarest, commonest = (rows[rows["decile"] == of].groupby("sae")["value"].mean() for of in (1, 10))
    fall = int((rarest > commonest).sum())
    return (
        f"Share of latents that another training seed has, too: of the rarest tenth {span(rarest)}, of the most frequent {span(commonest)}; "
        f"larger of the rarest in {fall} of {len(rarest)} groups."
    )


def _deciles(scores: DataFrame) -> DataFrame:
    rows = _shared(scores, "density_decile")
    rows = rows[rows["slice_value"] != "dead"]
    return rows.assign(decile=rows["slice_value"].astype(int))


def _lines(rows: DataFrame, along: str) -> Iterator[tuple[DataFrame, dict[str, Any]]]:
    """A line for each group, from the narrowest: its numbers along a column, and how it looks."""
    from matplotlib import colormaps

    groups = sorted(rows.groupby("sae"), key=lambda group: (group[1]["width"].max(), group[0]))
    few = len(groups) <= len(OKABE_ITO)
    for i, (name, group) in enumerate(groups):
        colour = OKABE_ITO[i] if few else colormaps["viridis"](i / len(groups))
        means = group.groupby(along)[["value", "stderr", "chance"]].mean()
        yield means, {"color": colour, "marker": MARKERS[i % len(MARKERS)], "label": name}


def _finish(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(fontsize="small")


def _shared(scores: DataFrame, slice_by: str) -> DataFrame:
    """Rows of the metric `shared` with their threshold as a number."""
    rows = scores[
        (scores["eval"] == "seed_overlap") & (scores["metric"] == "shared") & (scores["slice_by"] == slice_by)
    ]
    if rows.empty:
        raise CannotMeasure(f"no group here has a `shared` by {slice_by}")
    return rows.assign(threshold=rows["params"].str.extract(r"threshold=([-+.\de]+)")[0].astype(float))
