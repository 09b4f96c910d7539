"""What of a drawn figure cannot be read on paper. A figure is drawn before it is asked."""

from __future__ import annotations

import itertools
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

SMALLEST = 6
"""Points."""


def words(figure: Figure) -> list[Text]:
    """All that is written; labels of ticks beyond the ends of an axis are not."""
    every = [axes for top in figure.axes for axes in (top, *top.child_axes)]
    beyond = {
        id(label)
        for axes in every
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    shown = (text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip())
    return [text for text in shown if id(text) not in beyond]


def too_small(figure: Figure) -> list[tuple[str, float]]:
    """Words in letters that are too small, with their size."""
    return [(text.get_text(), size) for text in words(figure) if (size := text.get_fontsize()) < SMALLEST]


def cut_off(figure: Figure) -> list[str]:
    """Words that do not lie within the figure."""
    whole = Bbox.from_bounds(-1, -1, figure.bbox.width + 2, figure.bbox.height + 2)
    boxes = ((text.get_text(), text.get_window_extent()) for text in words(figure))
    return [word for word, box in boxes if not (whole.contains(*box.min) and whole.contains(*box.max))]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of words of which one lies over the other; words that are turned aslant are left out, since their boxes are not."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in words(figure) if text.get_rotation() % 90 == 0]
    pairs = itertools.combinations(boxes, 2)
    return [(a, b) for (a, one), (b, other) in pairs if one.padded(-0.5).overlaps(other.padded(-0.5))]


def touching(figure: Figure, along: Literal["x", "y"]) -> list[tuple[str, str]]:
    """Neighbours among the labels of an axis's ticks that have no room between them."""
    found = []
    for axes in figure.axes:
        axis = axes.xaxis if along == "x" else axes.yaxis
        low, high = sorted(axis.get_view_interval())
        ticks = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        shown = (text for text in ticks if text.get_visible() and text.get_text())
        side = ("x0", "x1") if along == "x" else ("y0", "y1")
        spans = sorted((*(getattr(text.get_window_extent(), at) for at in side), text.get_text()) for text in shown)
        found += [(a[2], b[2]) for a, b in itertools.pairwise(spans) if a[1] > b[0] + 1]
    return found
