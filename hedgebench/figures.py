"""A number against the width of the SAEs: the drawing that several evals' figures share. No torch, and no knowledge of any eval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hedgebench.looks import Look, Looks, drawable, unfilled
from hedgebench.reading import from_to, level, reading
from hedgebench.series import APART, labels, means, points, shared
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from pandas import DataFrame, Series

_LARGE = 30
"""Square points: smaller points have no edge."""
_SAME_L0 = 1.2
"""L0s that differ by a smaller factor are no scale of colours: they are one setting, measured on several SAEs."""
_LABEL = 0.06
"""Share of a colour scale that a label takes."""
_LETTER, _GAP = 0.017, 0.02
"""Share of the width axis that a letter of a label takes, and the least space between two labels."""

HOW_WIDTH_SERIES = "Small points are training seeds, large ones their means; lines join SAEs of one recipe, and colours are L0 where there is a scale of it."


def width_series(scores: DataFrame, axes: Axes, eval_name: str, metric: str, ylabel: str, title: str) -> None:
    """Draw one metric of one eval against the width: a marker and a line per family, as it looks everywhere (`hedgebench.looks`); where L0 is known, markers have its colour.

    Values of several evaluation seeds are averaged. Several training seeds are small points, and their mean a large one; a line joins the
    widths of a family that has one SAE (of each training seed) at each. The dimension of what the SAEs read, where the scores hold it
    (rows `d_in`), is a vertical line. Both axes are logarithmic where the values allow it. Families of one and the same width stand beside each other.

    Raises:
        CannotMeasure: The eval has no such values.
    """
    known = _known(scores, eval_name, metric)
    looks, colour, words = Looks(scores, eval_name), _Colours(known), labels(known)
    several = known["width"].min() < known["width"].max()
    handles: list[Any] = []
    for i, (family, group) in enumerate(known.groupby("family", sort=True)):
        look, shown = looks.of(group, *APART), means(group)
        seeds_at, means_at = (rows["width"] if several else rows["width"] * 0 + i for rows in (group, shown))
        joined = group["series"].all() and several
        if joined:
            axes.plot(means_at, shown["mean"], color=look.color, linestyle=look.linestyle, linewidth=1.2, zorder=1)
        if (shown["train_seeds"] > 1).any():
            draw_points(axes, seeds_at, group["value"], look, colour.of(group["l0"], look), 14, alpha=0.6)
        draw_points(axes, means_at, shown["mean"], look, colour.of(shown["l0"], look), 50, zorder=3)
        if words:
            face = {"markerfacecolor": look.filled("lightgrey")} if colour.by_l0 else {}
            handles.append(handle(look, words[str(family)], joined=joined, **face))
    _values(axes, known)
    dimensions = _dimensions(scores, known)
    if several:
        handles += width_axis(axes, known["width"], dimensions)
        axes.set_xlabel("width (number of latents)")
    else:
        said = [f"{word} = {short(size)}" for size, word in dimensions.items()]
        axes.set(xticks=[], xlabel=", ".join([f"width {short(known['width'].iloc[0])}", *said]))
    axes.set_ylabel(ylabel)
    axes.set_title("\n".join(filter(None, [title, drawable(shared(known))])), fontsize="medium")
    axes.grid(alpha=0.25, linewidth=0.6)
    colour.explain(axes)
    if handles:
        axes.legend(handles=handles, fontsize="small", framealpha=0.9)


def draw_points(axes: Axes, x: Series, y: Series, look: Look, colours: Sequence[Any], size: float, **more: Any) -> None:
    """Points of one look, each of its own colour, of a size in square points; large full ones have a black edge, others that are filled with less one of their colour."""
    edges: Any = colours if look.white else "black" if size >= _LARGE else "none"
    if unfilled(look.marker):
        edges = None  # strokes are all it is
    wide = 0.6 if edges == "black" else 1.2
    faces = [look.filled(one) for one in colours]
    axes.scatter(x, y, size, faces, marker=look.marker, edgecolors=edges, linewidths=wide, **more)


def handle(look: Look, label: str, *, joined: bool = True, **more: Any) -> Line2D:
    """What stands for a look in a legend.

    Args:
        look: How it looks.
        label: What it is, as a table has it.
        joined: Whether a line goes through its markers.
        more: For matplotlib's `Line2D`, instead of what the look says.
    """
    from matplotlib.lines import Line2D

    return Line2D([], [], label=drawable(label), **(look.style() | ({} if joined else {"linestyle": "none"}) | more))


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


class _Colours:
    """Which colour a point has: its L0's where one is known, else that of its look."""

    def __init__(self, points: DataFrame) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LogNorm

        known = points["l0"][points["l0"] > 0]
        self.by_l0 = bool(known.max() > _SAME_L0 * known.min())
        low, high = (float(known.min()), float(known.max())) if self.by_l0 else (1.0, 10.0)
        self.scale = ScalarMappable(LogNorm(low, high), colormaps["viridis"])

    def of(self, l0: Series, look: Look) -> list[Any]:
        """A colour for each L0; grey where L0 is the colour and is not known."""
        if not self.by_l0:
            return [look.color] * len(l0)
        return [self.scale.to_rgba(value) if value > 0 else "lightgrey" for value in l0]

    def explain(self, axes: Axes) -> None:
        """The scale of the colours, beside the axes."""
        if self.by_l0 and axes.figure is not None:
            bar = axes.figure.colorbar(self.scale, ax=axes, label="L0 (latents per token)")
            ticks = _ticks(*self.scale.get_clim())
            bar.set_ticks(ticks, labels=[short(float(f"{value:.3g}")) for value in ticks])
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
        labelled = "25" if values.max() > 10 * values.min() else "23456789"
        axes.yaxis.set_minor_formatter(lambda value, _: short(value) if f"{value:e}"[0] in labelled else "")
    elif values.min() >= 0:
        axes.set_ylim(bottom=0, top=1.08 * max(values.max(), 1e-12))


def width_axis(
    axes: Axes, every: Iterable[float], dimensions: Mapping[float, str] = MappingProxyType({})
) -> list[Line2D]:
    """A logarithmic axis of widths, for axes on which all is drawn: a tick at each, and a label where there is room.

    Args:
        axes: What is drawn on.
        every: The widths, in any order and number.
        dimensions: Of what the SAEs read, each with its name: a vertical line each.

    Returns:
        These lines, for a legend: words beside them would lie over points.
    """
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    widths = sorted(set(map(float, every)))
    axes.set_xscale("log", base=2)
    lines = [
        axes.axvline(
            size,
            color="0.35",
            linestyle=("--", ":", "-.")[i % 3],
            linewidth=1,
            zorder=0,
            label=f"{word} = {short(size)}",
        )
        for i, (size, word) in enumerate(dimensions.items())
    ]
    axes.xaxis.set_major_locator(FixedLocator(widths) if len(widths) <= 8 else LogLocator(base=2, numticks=10))
    axes.xaxis.set_minor_locator(NullLocator())
    labelled = _labelled(axes, widths) if len(widths) <= 8 else None
    axes.xaxis.set_major_formatter(lambda value, _: short(value) if labelled is None or value in labelled else "")
    return lines


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
