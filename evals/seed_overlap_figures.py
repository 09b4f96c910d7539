"""The figures of `seed_overlap`, and the numbers they show, from its rows of the scores table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgebench.eval import CannotMeasure
from hedgebench.figures import width_axis
from hedgebench.looks import MARKERS
from hedgebench.series import FAMILY, labels, with_family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


def draw_against_threshold(scores: DataFrame, axes: Axes) -> None:
    """A line per group: the share of shared latents as more is asked of them. Dotted: an unrelated SAE."""
    rows = _shared(scores, "all")
    for i, (name, group) in enumerate(rows.groupby("sae")):
        line = group.groupby("threshold")[["value", "stderr", "chance"]].mean()
        axes.errorbar(line.index, line["value"], line["stderr"], color=f"C{i}", marker="o", capsize=3, label=name)
        axes.plot(line.index, line["chance"], color=f"C{i}", linestyle=":")
    axes.set(xlabel="threshold of both cosines", ylabel="share of latents", title="Shared with another training seed")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


def draw_against_width(scores: DataFrame, axes: Axes) -> None:
    """A point for each pair of seeds, the mean of each group with its interval, and a line per family that has one group at each width."""
    points, shown = with_family(_shared(scores, "pair")), with_family(width_table(scores))
    words = labels(points)
    for i, (family, pairs) in enumerate(points.groupby("family")):
        means, mark = shown[shown["family"] == family], MARKERS[i % len(MARKERS)]
        axes.scatter(pairs["width"], pairs["value"], marker=mark, alpha=0.5, s=25, color=f"C{i}")
        line = "-" if means["width"].is_unique else "none"
        reach = means["high"] - means["mean"]
        name = words.get(str(family))
        axes.errorbar(
            means["width"], means["mean"], reach, color=f"C{i}", marker="_", ls=line, ms=14, capsize=3, label=name
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


def draw_against_density(scores: DataFrame, axes: Axes) -> None:
    """A line per group: the share of shared latents of each tenth, from the rarest to the most frequent."""
    rows = _shared(scores, "density_decile")
    rows = rows[rows["slice_value"] != "dead"]
    for i, (name, group) in enumerate(rows.groupby("sae")):
        line = group.assign(decile=group["slice_value"].astype(int)).groupby("decile")[["value", "stderr"]].mean()
        axes.errorbar(line.index, line["value"], line["stderr"], color=f"C{i}", marker="o", capsize=3, label=name)
    axes.set(xlabel="decile of firing density (10: most frequent)", ylabel="share of latents")
    axes.set(title="Shared with another training seed")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


def _shared(scores: DataFrame, slice_by: str) -> DataFrame:
    """Rows of the metric `shared` with their threshold as a number."""
    rows = scores[
        (scores["eval"] == "seed_overlap") & (scores["metric"] == "shared") & (scores["slice_by"] == slice_by)
    ]
    if rows.empty:
        raise CannotMeasure(f"no group here has a `shared` by {slice_by}")
    return rows.assign(threshold=rows["params"].str.extract(r"threshold=([-+.\de]+)")[0].astype(float))
