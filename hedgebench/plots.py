"""Draw what a scores table shows: the figures that its evals declare, and those of any table. This module knows no eval by name. No torch.

Each figure is a file of each format, its numbers a CSV, and `figures.md` shows all with how they are read and what they say. All have the width of a paper's page.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args
from urllib.parse import quote

from hedgebench import overview_figures as overview
from hedgebench.canvas import page_wide, save_figure, say_once
from hedgebench.eval import Figure
from hedgebench.looks import LETTERS, SMALL_LETTERS
from hedgebench.made_with import told_apart
from hedgebench.one_line import markdown_text, one_line
from hedgebench.records import write_text
from hedgebench.registry import find_evals
from hedgebench.results import write_table
from hedgebench.types import BadInput, CannotMeasure

if TYPE_CHECKING:
    from pandas import DataFrame

logger = logging.getLogger(__name__)

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)
_HEIGHT, _PANEL_HEIGHT = 4.0, 2.1
"""Inches, of one figure and of a row of panels, without a legend."""


class Drawn(NamedTuple):
    """One figure on disk."""

    files: list[Path]
    captions: list[str]
    """What it says: of several figures side by side, one for each."""
    how: str
    """How it is read."""


def draw_figures(scores: DataFrame, out: str | Path, formats: Collection[str] = ("png", "svg")) -> list[Path]:
    """Draw every figure whose eval has rows in the scores table, every panel of several, and those of any table.

    Args:
        scores: The scores table.
        out: Folder.
        formats: Of `FORMATS`.

    Returns:
        The files: `<eval>-<figure>.<format>` and, where the figure has numbers, `.csv`; `<panel>.<format>`; and `figures.md`, where there is a figure.

    Raises:
        BadInput: An unknown format, or the folder cannot be written.
    """
    kinds = [kind for kind in FORMATS if kind in formats]
    if unknown := [name for name in formats if name not in FORMATS]:
        raise BadInput(f"unknown format {unknown[0]!r}: a figure is written as {', '.join(FORMATS)}")
    if not kinds:
        raise BadInput(f"no format is named: a figure is written as {', '.join(FORMATS)}")
    scores = told_apart(scores)
    out, drawn, blank = Path(out), list[Drawn](), dict[str, str]()
    panels: dict[str, dict[str, Figure]] = {}
    for name, figure in _figures(scores):
        try:
            one = _draw(scores, {name: figure}, out / name, kinds)
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
        together = _draw(scores, figures, out / panel, kinds) if len(figures) > 1 else None
        drawn += [] if together is None else [together]
    files = [file for one in drawn for file in one.files]
    if drawn:
        write_text(out / "figures.md", "# Figures\n\n" + "\n".join(map(_told, drawn)))
        files.append(out / "figures.md")
    return files


def _told(one: Drawn) -> str:
    """A figure with its caption, in markdown: the picture, or a link to what no page can show. Captions hold names from the table; how it is read is the eval's own words."""
    name, shown = one.files[0].name, one.files[0].suffix != ".pdf"
    picture = f"{'!' if shown else ''}[{one.files[0].stem}]({quote(name)})"
    item = "- " if len(one.captions) > 1 else ""
    said = "\n".join(f"{item}{markdown_text(caption)}" for caption in one.captions)
    return "\n\n".join(filter(None, [picture, said, one.how and f"*How to read it*: {one.how}"])) + "\n"


def _figures(scores: DataFrame) -> Iterator[tuple[str, Figure]]:
    """All figures that may be drawn, each with the name of its files."""
    for plugin in find_evals(set(scores["eval"]))[0].values():
        for figure in plugin.object.figures:
            yield f"{plugin.name}-{figure.name}", figure
    for eval_name, metric, params in overview.latent_metrics(scores):
        name = "-".join(filter(None, [eval_name, "latents", metric, params.replace("=", "").replace(",", "-")]))
        draw = partial(overview.draw_latents, eval_name=eval_name, metric=metric, params=params)
        table = partial(overview.latent_table, eval_name=eval_name, metric=metric, params=params)
        caption = partial(overview.read_latents, eval_name=eval_name, metric=metric, params=params)
        yield quote(one_line(name), safe=""), Figure(name, draw, table, caption, "", overview.HOW_LATENTS)
    yield (
        "noise",
        Figure("noise", overview.draw_noise, overview.noise_table, overview.read_noise, "", overview.HOW_NOISE),
    )


def _draw(scores: DataFrame, figures: dict[str, Figure], file: Path, kinds: Sequence[Format]) -> Drawn | None:
    """Draw one figure, or several side by side, with their numbers where it is one; None where one fails.

    Raises:
        CannotMeasure: There is nothing to draw.
        BadInput: The files cannot be written.
    """
    columns = min(2, len(figures))
    rows = -(-len(figures) // columns)
    alone = len(figures) == 1
    captions, numbers = [], None
    height, letters = (_HEIGHT, LETTERS) if alone else (_PANEL_HEIGHT * rows, SMALL_LETTERS)
    try:
        with page_wide(height, letters) as canvas:
            for i, (_, figure) in enumerate(figures.items()):
                figure.draw(scores, canvas.add_subplot(rows, columns, i + 1))
                if alone and figure.table is not None:
                    numbers = figure.table(scores)
                captions += [figure.caption(scores)] if figure.caption is not None else []
            say_once(canvas)
            files = [save_figure(canvas, file.with_name(f"{file.name}.{kind}")) for kind in kinds]
    except (CannotMeasure, BadInput):
        raise
    except Exception as error:
        # One eval's faulty figure must not cost the others theirs.
        logger.warning("figure %s cannot be drawn: %s: %s", file.name, type(error).__name__, one_line(str(error)))
        return None
    if numbers is not None:
        files.append(write_table(numbers, file.with_name(f"{file.name}.csv"), for_people=True))
    how = dict.fromkeys(filter(None, (figure.how for figure in figures.values())))
    return Drawn(files, captions, " ".join(how))
