"""What every figure is drawn on and written with: a page's width, letters that can be read there, one legend below, files that are whole. No torch, and no knowledge of any eval."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.letters import families
from hedgebench.looks import PAGE
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BESIDE = 3
"""Columns of a legend, at most."""


@contextmanager
def page_wide(height: float, letters: float) -> Iterator[Figure]:
    """A new figure that no window manager knows, as wide as a page.

    Args:
        height: Inches.
        letters: Points: the size of letters of all that is drawn on it within the block.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": letters, "font.family": families()}):
        yield FigureCanvasAgg(Figure(figsize=(PAGE, height), layout="constrained")).figure


def say_once(figure: Figure) -> None:
    """The legends of all axes as one below them, where no point is hidden, and a title that all have above the figure, where it has room.

    Where axes mean different things by the same words, each keeps its own legend.
    """
    handles: dict[tuple[str, str], Any] = {}
    legends = [legend for axes in figure.axes if (legend := axes.get_legend()) is not None]
    for legend in legends:
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
            handles.setdefault((text.get_text(), _looks(handle)), handle)
    words = [word for word, _ in handles]
    if words and len(set(words)) == len(words):
        for legend in legends:
            legend.remove()
        _legend(figure, list(handles.values()), words)
    titles = {axes.get_title() for axes in figure.axes if axes.get_subplotspec() is not None}
    if len(titles) == 1:
        figure.suptitle(titles.pop(), fontsize="medium")
        for axes in figure.axes:
            axes.set_title("")


def _legend(figure: Figure, handles: Sequence[Any], words: Sequence[str]) -> None:
    """A legend below all axes, in as many columns as the figure is wide enough for; the figure becomes as much taller."""
    for columns in range(min(_BESIDE, len(words)), 0, -1):
        legend = figure.legend(handles, words, loc="outside lower center", ncols=columns, fontsize="small")
        box = legend.get_window_extent()
        if columns == 1 or box.width <= 0.97 * figure.bbox.width:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def _looks(handle: Any) -> str:
    """What a line or a patch of a legend looks like, as text."""
    from matplotlib.artist import getp

    parts = ("color", "facecolor", "edgecolor", "linestyle", "marker", "markerfacecolor")
    return " ".join(str(getp(handle, part)) for part in parts if hasattr(handle, f"get_{part}"))


def save_figure(figure: Figure, file: Path) -> Path:
    """Write a matplotlib figure as what its suffix says, whole or not at all; the same figure gives the same bytes. Letters are drawn as outlines (SVG) or their fonts lie in the file (PDF).

    Raises:
        BadInput: The file cannot be written.
    """
    from matplotlib import rc_context

    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    kind = file.suffix.removeprefix(".")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": "hedgebench", "svg.fonttype": "path", "pdf.fonttype": 42}):
            figure.savefig(temporary, format=kind, dpi=150, metadata=undated)
        temporary.replace(file)
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror or error}") from error
    return file
