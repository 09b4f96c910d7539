"""The figures of `seed_overlap`, from its rows of the scores table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgebench.eval import CannotMeasure

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """A line per architecture, loss and k through the means of the groups; a point for each pair of seeds."""
    points = _shared(scores, "pair")
    for i, (name, kind) in enumerate(_kinds(points)):
        axes.plot(kind["width"], kind["value"], linestyle="none", marker="o", alpha=0.5, color=f"C{i}")
        means = kind.groupby("width")["value"].mean()
        axes.plot(means.index, means, color=f"C{i}", marker="_", markersize=14, label=name)
    axes.set_xscale("log", base=2)
    threshold = " or ".join(f"{t:g}" for t in sorted(set(points["threshold"])))
    axes.set(xlabel="width (latents)", ylabel=f"share of latents, both cosines at least {threshold}")
    axes.set(title="Shared with another training seed")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


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


def _kinds(rows: DataFrame) -> Iterator[tuple[str, DataFrame]]:
    """The rows of each architecture, loss and k, by name."""
    known = rows[["architecture", "loss"]].fillna("").assign(k=rows["k"].map("k {:g}".format).replace("k nan", ""))
    names = [", ".join(filter(None, row)) for row in known.itertuples(index=False)]
    for name, kind in rows.groupby(names):
        yield str(name), kind
