"""Draw what a scores table shows: the figures that its evals declare, and those of any table. This module knows no eval by name. No torch.

Each figure is a PNG and an SVG, its numbers a CSV, and `figures.md` shows all with what they say.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench import overview_figures as overview
from hedgebench.eval import Figure
from hedgebench.records import write_text
from hedgebench.registry import find_evals
from hedgebench.results import write_table
from hedgebench.types import BadInput, CannotMeasure

if TYPE_CHECKING:
    from matplotlib import figure as mpl
    from pandas import DataFrame

logger = logging.getLogger(__name__)

_SIZE = 6.75, 4.6
"""Inches: the width of a paper's page, so that letters come out as large as its text."""


class Drawn(NamedTuple):
    """One figure on disk."""

    files: list[Path]
    caption: str


def draw_figures(scores: DataFrame, out: str | Path) -> list[Path]:
    """Draw every figure whose eval has rows in the scores table, every panel of several, and those of any table.

    Returns:
        The files: `<eval>-<figure>.png`, `.svg` and, where the figure has numbers, `.csv`; `<panel>.png` and `.svg`; and `figures.md`, where there is a figure.

    Raises:
        BadInput: The folder cannot be written.
    """
    out, drawn, blank = Path(out), list[Drawn](), dict[str, str]()
    panels: dict[str, dict[str, Figure]] = {}
    for name, figure in _figures(scores):
        try:
            one = _draw(scores, {name: figure}, out / name)
        except CannotMeasure as error:
            blank[name] = str(error)
            continue
        if one is not None:
            drawn.append(one)
            if figure.panel:
                panels.setdefault(figure.panel, {})[name] = figure
    if blank:
        logger.warning(
            "not drawn, for want of numbers: %s", "; ".join(f"{name} ({why})" for name, why in blank.items())
        )
    for panel, figures in panels.items():
        together = _draw(scores, figures, out / panel) if len(figures) > 1 else None
        drawn += [] if together is None else [together]
    files = [file for one in drawn for file in one.files]
    if drawn:
        parts = (f"![{one.files[0].stem}]({one.files[0].name})\n\n{one.caption}\n" for one in drawn)
        write_text(out / "figures.md", "# Figures\n\n" + "\n".join(parts))
        files.append(out / "figures.md")
    return files


def _figures(scores: DataFrame) -> Iterator[tuple[str, Figure]]:
    """All figures that may be drawn, each with the name of its files."""
    present = set(scores["eval"])
    for plugin in find_evals()[0].values():
        if plugin.name in present:
            for figure in plugin.object.figures:
                yield f"{plugin.name}-{figure.name}", figure
    for eval_name, metric, params in overview.latent_metrics(scores):
        name = "-".join(filter(None, [eval_name, "latents", metric, params.replace("=", "").replace(",", "-")]))
        draw = partial(overview.draw_latents, eval_name=eval_name, metric=metric, params=params)
        table = partial(overview.latent_table, eval_name=eval_name, metric=metric, params=params)
        caption = partial(overview.read_latents, eval_name=eval_name, metric=metric, params=params)
        yield name, Figure(name, draw, table, caption)
    yield "noise", Figure("noise", overview.draw_noise, overview.noise_table, overview.read_noise)


def _draw(scores: DataFrame, figures: dict[str, Figure], file: Path) -> Drawn | None:
    """Draw one figure, or several side by side, with their numbers where it is one; None where one fails.

    Raises:
        CannotMeasure: There is nothing to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    columns = min(2, len(figures))
    rows = -(-len(figures) // columns)
    tall = _SIZE[1] if len(figures) == 1 else 3.4 * rows
    canvas = FigureCanvasAgg(Canvas(figsize=(_SIZE[0] * (1 if columns == 1 else 1.5), tall), layout="constrained"))
    captions, numbers = [], None
    for i, (name, figure) in enumerate(figures.items()):
        try:
            figure.draw(scores, canvas.figure.add_subplot(rows, columns, i + 1))
            if len(figures) == 1 and figure.table is not None:
                numbers = figure.table(scores)
            captions.append(figure.caption(scores) if figure.caption is not None else "")
        except CannotMeasure:
            raise
        except Exception as error:
            # One eval's faulty figure must not cost the others theirs.
            logger.warning("figure %s cannot be drawn: %s: %s", name, type(error).__name__, error)
            return None
    if len(figures) > 1:
        _say_once(canvas.figure)
    files = [save_figure(canvas.figure, file.with_name(f"{file.name}.{kind}")) for kind in ("png", "svg")]
    if numbers is not None:
        files.append(write_table(numbers, file.with_name(f"{file.name}.csv")))
    return Drawn(files, " ".join(filter(None, captions)))


def _say_once(figure: mpl.Figure) -> None:
    """One legend for axes that mean the same by the same words, below them, and a title that all have above them."""
    words: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        words |= dict(zip(labels, handles, strict=True))
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    if words:
        figure.legend(words.values(), words.keys(), loc="outside lower center", ncols=3, fontsize="small")
    titles = {axes.get_title() for axes in figure.axes}
    if len(titles) == 1:
        figure.suptitle(titles.pop(), fontsize="medium")
        for axes in figure.axes:
            axes.set_title("")


def save_figure(figure: mpl.Figure, file: Path) -> Path:
    """Write a matplotlib figure as what its suffix says, whole or not at all; the same figure gives the same bytes.

    Raises:
        BadInput: The file cannot be written.
    """
    from matplotlib import rc_context

    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    kind = file.suffix.removeprefix(".")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": "hedgebench"}):
            figure.savefig(temporary, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        temporary.replace(file)
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror or error}") from error
    return file
