"""A number against the width of the SAEs: the drawing that several evals' figures share. No torch, and no knowledge of any eval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that people of every colour vision tell apart (Okabe and Ito 2008)."""
_MARKERS = "osD^vP*X<>"
_SAME_L0 = 1.2
"""L0s that differ by a smaller factor are no scale of colours: they are one setting, measured on several SAEs."""
_LABEL = 0.06
"""Share of a colour scale that a label takes."""
_FAMILY = ["model", "hook", "architecture", "loss", "k", "data", "config"]
"""What is equal within a width series."""


def width_series(scores: DataFrame, axes: Axes, eval_name: str, metric: str, ylabel: str, title: str) -> None:
    """Draw one metric of one eval against the width, a marker per family and the colour for L0 where that is known.

    Values of several evaluation seeds are averaged. Several training seeds are small points, and their mean a large one; a line joins the
    widths of a family that has one SAE (of each training seed) at each. The dimension of what the SAEs read, where the scores hold it
    (rows `d_in`), is a vertical line. Both axes are logarithmic where the values allow it.

    Raises:
        CannotMeasure: The eval has no such values.
    """
    from matplotlib.collections import Collection

    points = _points(scores, eval_name, metric)
    if not len(points):
        raise CannotMeasure(f"no SAE here has a {metric} and a width")
    families = list(points.groupby("family", sort=True))
    colour = _Colours(points, len(families))
    labels = _labels(points)
    for i, (family, group) in enumerate(families):
        marker = _MARKERS[i % len(_MARKERS)]
        means = group.groupby("width")[["value", "l0"]].mean()
        counts, seeds = group.groupby("width")["sae"].nunique(), group.groupby("width")["train_seed"].nunique()
        series = bool((counts <= seeds.clip(lower=1)).all())  # no width has two SAEs of one training seed
        if series:
            axes.plot(means.index, means["value"], "-", color=colour.line(i), linewidth=1.2, zorder=1)
            if (counts > 1).any():
                axes.scatter(
                    group["width"], group["value"], s=14, color=colour.of(group["l0"], i), alpha=0.6, marker=marker
                )
        shown = means.reset_index() if series else group
        axes.scatter(
            shown["width"],
            shown["value"],
            s=55,
            marker=marker,
            color=colour.of(shown["l0"], i),
            edgecolors="black",
            linewidths=0.6,
            label=labels.get(str(family)),
            zorder=3,
        )
    _scales(axes, points)
    _dimensions(axes, scores, points)
    axes.set(xlabel="width (number of latents)", ylabel=ylabel)
    axes.set_title("\n".join(filter(None, [title, _shared(points)])), fontsize="medium")
    axes.grid(alpha=0.25, linewidth=0.6)
    colour.explain(axes)
    if labels:
        legend = axes.legend(fontsize="small", framealpha=0.9)
        for handle in legend.legend_handles:
            if colour.by_l0 and isinstance(handle, Collection):
                handle.set_facecolor("lightgrey")  # the colour means L0, not the family


def _points(scores: DataFrame, eval_name: str, metric: str) -> DataFrame:
    """One row for each SAE and family: width, value (mean over evaluation seeds), L0, training seed."""
    rows = scores[(scores["eval"] == eval_name) & (scores["metric"] == metric)]
    rows = rows[(rows["slice_by"] == "all") & (rows["params"] == "") & rows["width"].notna()]
    rows = rows.reindex(columns=[*_FAMILY, "digest", "sae", "width", "value", "l0", "train_seed"])
    rows = rows.assign(width=rows["width"].astype(float), train_seed=rows["train_seed"].astype(float).fillna(-1.0))
    topk = rows["architecture"].fillna("").str.contains("topk")
    rows["l0"] = rows["l0"].astype(float).fillna(rows["k"].astype(float).where(topk))
    rows[_FAMILY] = rows[_FAMILY].astype("object").where(rows[_FAMILY].notna(), "")
    rows["family"] = rows[_FAMILY].astype(str).agg("\x1f".join, axis=1) if len(rows) else ""
    keys = ["family", "sae", "width", "train_seed"]
    return rows.groupby(keys, sort=True, dropna=False).agg(value=("value", "mean"), l0=("l0", "mean")).reset_index()


def _labels(points: DataFrame) -> dict[str, str]:
    """What tells the families apart, in words; nothing where there is but one."""
    parts = {family: family.split("\x1f") for family in points["family"].unique()}
    if len(parts) < 2:
        return {}
    differing = [i for i in range(len(_FAMILY)) if len({p[i] for p in parts.values()}) > 1]
    named = {"k": "k = {:g}"}

    def text(part: list[str]) -> str:
        said = [
            named[_FAMILY[i]].format(float(part[i])) if _FAMILY[i] in named and part[i] else part[i] for i in differing
        ]
        return ", ".join(filter(None, said)) or "other"

    return {family: text(part) for family, part in parts.items()}


def _shared(points: DataFrame) -> str:
    """The model and hook point of all the SAEs, where they have one."""
    said = [{family.split("\x1f")[i] for family in points["family"]} for i in (0, 1)]
    return ", ".join(next(iter(words)) for words in said if len(words) == 1).strip(", ")


class _Colours:
    """Which colour a point has: its L0's where one is known, else its family's."""

    def __init__(self, points: DataFrame, families: int) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LogNorm

        known = points["l0"][points["l0"] > 0]
        self.by_l0 = bool(known.max() > _SAME_L0 * known.min())
        self.families = families
        low, high = (float(known.min()), float(known.max())) if self.by_l0 else (1.0, 10.0)
        self.scale = ScalarMappable(LogNorm(low, high), colormaps["viridis"])

    def of(self, l0: Any, family: int) -> list[Any]:
        """A colour for each L0; grey where L0 is the colour and is not known."""
        if not self.by_l0:
            return [OKABE_ITO[family % len(OKABE_ITO)]] * len(l0)
        return [self.scale.to_rgba(value) if value > 0 else "lightgrey" for value in l0]

    def line(self, family: int) -> str:
        return "0.6" if self.by_l0 else OKABE_ITO[family % len(OKABE_ITO)]

    def explain(self, axes: Axes) -> None:
        """The scale of the colours, beside the axes."""
        if self.by_l0 and axes.figure is not None:
            bar = axes.figure.colorbar(self.scale, ax=axes, label="L0 (latents per token)")
            ticks = _ticks(*self.scale.get_clim())
            bar.set_ticks(ticks, labels=[short(value) for value in ticks])
            bar.minorticks_off()


def _ticks(low: float, high: float) -> list[float]:
    """Both ends of a logarithmic scale, and 1-2-5 steps (powers of ten where it spans many) between them, as far as their labels have room."""
    from math import ceil, floor, log10

    steps = (1, 2, 5) if high < 1e4 * low else (1,)
    between = [n * 10.0**power for power in range(floor(log10(low)), ceil(log10(high))) for n in steps]
    room = _LABEL * log10(high / low)
    return [low, *(v for v in between if log10(v / low) > room and log10(high / v) > room), high]


def _scales(axes: Axes, points: DataFrame) -> None:
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    widths, values = sorted(points["width"].unique()), points["value"]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(widths) if len(widths) <= 8 else LogLocator(base=2, numticks=10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    if values.min() > 0 and values.max() > 3 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: short(value))
        axes.yaxis.set_minor_formatter(lambda value, _: short(value) if f"{value:e}"[0] in "25" else "")
    elif values.min() >= 0:
        axes.set_ylim(bottom=0, top=1.08 * max(values.max(), 1e-12))


def _dimensions(axes: Axes, scores: DataFrame, points: DataFrame) -> None:
    """A line where the width is that of what the SAEs read."""
    rows = scores[(scores["metric"] == "d_in") & scores["sae"].isin(points["sae"])]
    for i, size in enumerate(sorted(map(float, rows["value"].unique()))):
        hooks = rows[rows["value"] == size]["hook"].fillna("").str
        word = "d_model" if bool(hooks.contains("hook_resid|hook_mlp_out|hook_attn_out|hook_embed").all()) else "d_in"
        axes.axvline(size, color="0.35", linestyle="--", linewidth=1, zorder=0)
        axes.annotate(
            f" {word} = {short(size)}",
            (size, 0.985 - 0.05 * (i % 4)),
            xycoords=("data", "axes fraction"),
            va="top",
            fontsize="small",
            color="0.25",
        )


def short(value: float) -> str:
    """A number as on an axis: 512, 16k (16,384), 1M (1,048,576); of others, at most four digits."""
    for size, letter in ((2**20, "M"), (2**10, "k")):
        if value >= size and value % size == 0:
            return f"{value / size:.0f}{letter}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
