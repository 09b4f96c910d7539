"""A number against the width of the SAEs: the drawing that several evals' figures share. No torch, and no knowledge of any eval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hedgebench.looks import MARKERS, OKABE_ITO, look
from hedgebench.reading import from_to, level, reading
from hedgebench.series import labels, means, points, shared
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_SAME_L0 = 1.2
"""L0s that differ by a smaller factor are no scale of colours: they are one setting, measured on several SAEs."""
_LABEL = 0.06
"""Share of a colour scale that a label takes."""
_LETTER, _GAP = 0.017, 0.02
"""Share of the width axis that a letter of a label takes, and the least space between two labels."""


def width_series(scores: DataFrame, axes: Axes, eval_name: str, metric: str, ylabel: str, title: str) -> None:
    """Draw one metric of one eval against the width, a marker per family and the colour for L0 where that is known.

    Values of several evaluation seeds are averaged. Several training seeds are small points, and their mean a large one; a line joins the
    widths of a family that has one SAE (of each training seed) at each. The dimension of what the SAEs read, where the scores hold it
    (rows `d_in`), is a vertical line. Both axes are logarithmic where the values allow it.

    Raises:
        CannotMeasure: The eval has no such values.
    """
    from matplotlib.collections import Collection

    known = _known(scores, eval_name, metric)
    families = list(known.groupby("family", sort=True))
    looks = _looks([group for _, group in families])
    colour = _Colours(known, [colour for colour, _ in looks])
    words = labels(known)
    for i, (family, group) in enumerate(families):
        marker = looks[i][1]
        shown = means(group)
        if group["series"].all():
            axes.plot(shown["width"], shown["mean"], "-", color=colour.line(i), linewidth=1.2, zorder=1)
        if (shown["train_seeds"] > 1).any():
            axes.scatter(
                group["width"], group["value"], s=14, color=colour.of(group["l0"], i), alpha=0.6, marker=marker
            )
        axes.scatter(
            shown["width"],
            shown["mean"],
            s=55,
            marker=marker,
            color=colour.of(shown["l0"], i),
            edgecolors="black",
            linewidths=0.6,
            label=words.get(str(family)),
            zorder=3,
        )
    _values(axes, known)
    width_axis(axes, known["width"], _dimensions(scores, known))
    axes.set(xlabel="width (number of latents)", ylabel=ylabel)
    axes.set_title("\n".join(filter(None, [title, shared(known)])), fontsize="medium")
    axes.grid(alpha=0.25, linewidth=0.6)
    colour.explain(axes)
    if words:
        legend = axes.legend(fontsize="small", framealpha=0.9)
        for handle in legend.legend_handles:
            if colour.by_l0 and isinstance(handle, Collection):
                handle.set_facecolor("lightgrey")  # the colour means L0, not the family


def width_table(scores: DataFrame, eval_name: str, metric: str) -> DataFrame:
    """The numbers that `width_series` draws, as `hedgebench.series.means` gives them.

    Raises:
        CannotMeasure: The eval has no such values.
    """
    return means(_known(scores, eval_name, metric))


def read_width_series(scores: DataFrame, eval_name: str, metric: str) -> str:
    """Which variants can be told apart, and how each line of several widths goes from the narrowest to the widest.

    Raises:
        CannotMeasure: The eval has no such values.
    """
    known = _known(scores, eval_name, metric)
    words = labels(known)
    several = {
        (f"{words[str(family)]}: " if words else ""): means(group)
        for family, group in known.groupby("family", sort=True)
        if group["width"].min() < group["width"].max()
    }
    lines = [f"{name}{from_to(line)}{level(line)}" for name, line in several.items()]
    return " ".join([reading(scores, eval_name, metric), f"{'; '.join(lines)}." if lines else ""]).strip()


def _known(scores: DataFrame, eval_name: str, metric: str) -> DataFrame:
    known = points(scores, eval_name, (metric, ""))
    if not len(known):
        raise CannotMeasure(f"no SAE here has a {metric} and a width")
    return known


def _looks(families: list[DataFrame]) -> list[tuple[str, str]]:
    """Colour and marker of each family: those that its variant has everywhere, where that tells all of them apart."""
    same = [look(str(group["architecture"].iloc[0]), str(group["loss"].iloc[0])) for group in families]
    found = [(one["color"], one["marker"]) for one in same]
    if len(set(found)) == len(found):
        return found
    return [(OKABE_ITO[i % len(OKABE_ITO)], MARKERS[i % len(MARKERS)]) for i in range(len(families))]


class _Colours:
    """Which colour a point has: its L0's where one is known, else its family's."""

    def __init__(self, points: DataFrame, families: list[str]) -> None:
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
            return [self.families[family]] * len(l0)
        return [self.scale.to_rgba(value) if value > 0 else "lightgrey" for value in l0]

    def line(self, family: int) -> str:
        return "0.6" if self.by_l0 else self.families[family]

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


def _values(axes: Axes, points: DataFrame) -> None:
    """The scale of the values."""
    values = points["value"]
    if values.min() > 0 and values.max() > 3 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: short(value))
        axes.yaxis.set_minor_formatter(lambda value, _: short(value) if f"{value:e}"[0] in "25" else "")
    elif values.min() >= 0:
        axes.set_ylim(bottom=0, top=1.08 * max(values.max(), 1e-12))


def width_axis(axes: Axes, every: Iterable[float], dimensions: Mapping[float, str] = MappingProxyType({})) -> None:
    """A logarithmic axis of widths, for axes on which all is drawn: a tick at each, and a label where there is room.

    Args:
        axes: What is drawn on.
        every: The widths, in any order and number.
        dimensions: Of what the SAEs read, each with its name: a line each.
    """
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    widths = sorted(set(map(float, every)))
    axes.set_xscale("log", base=2)
    for size in dimensions:
        axes.axvline(size, color="0.35", linestyle="--", linewidth=1, zorder=0)
    axes.xaxis.set_major_locator(FixedLocator(widths) if len(widths) <= 8 else LogLocator(base=2, numticks=10))
    axes.xaxis.set_minor_locator(NullLocator())
    labelled = _labelled(axes, widths) if len(widths) <= 8 else None
    axes.xaxis.set_major_formatter(lambda value, _: short(value) if labelled is None or value in labelled else "")
    for i, (size, word) in enumerate(dimensions.items()):
        right = _place(axes, size) > 0.5  # the words stay inside the axes
        axes.annotate(
            f"{word} = {short(size)} " if right else f" {word} = {short(size)}",
            (size, 0.985 - 0.05 * (i % 4)),
            xycoords=("data", "axes fraction"),
            ha="right" if right else "left",
            va="top",
            fontsize="small",
            color="0.25",
        )


def _labelled(axes: Axes, widths: list[float]) -> set[float]:
    """The widths whose labels have room: the last, and from the first on each that leaves some to those before it and to the last."""

    def apart(a: float, b: float) -> bool:
        room = _LETTER * (len(short(a)) + len(short(b))) / 2 + _GAP
        return _place(axes, b) - _place(axes, a) >= room

    *others, last = widths
    chosen: list[float] = []
    for width in others:
        if apart(width, last) and (not chosen or apart(chosen[-1], width)):
            chosen.append(width)
    return {*chosen, last}


def _place(axes: Axes, width: float) -> float:
    """Where a width is on its logarithmic axis, from 0 (left) to 1."""
    from math import log

    low, high = axes.get_xlim()
    return log(width / low) / log(high / low)


def _dimensions(scores: DataFrame, points: DataFrame) -> dict[float, str]:
    """The dimensions of what the SAEs read, where they are known, each with its name."""
    rows = scores[(scores["metric"] == "d_in") & scores["sae"].isin(points["sae"])]
    words = {}
    for size in sorted(map(float, rows["value"].unique())):
        hooks = rows[rows["value"] == size]["hook"].fillna("").str
        stream = bool(hooks.contains("hook_resid|hook_mlp_out|hook_attn_out|hook_embed").all())
        words[size] = "d_model" if stream else "d_in"
    return words


def short(value: float) -> str:
    """A number as on an axis: 512, 16k (16,384), 1M (1,048,576); of others, at most four digits."""
    for size, letter in ((2**20, "M"), (2**10, "k")):
        if value >= size and value % size == 0:
            return f"{value / size:.0f}{letter}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
