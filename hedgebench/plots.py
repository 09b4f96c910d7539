"""Draw the figures that evals declare. A figure is a function from rows to axes; this module knows none by name. No torch."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from hedgebench.registry import find_evals
from hedgebench.results import write_table
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

logger = logging.getLogger(__name__)


def draw_figures(scores: DataFrame, out: str | Path) -> list[Path]:
    """Draw every figure whose eval has rows in the scores table, as PNG files, each with its numbers as CSV where the figure has them.

    Returns:
        The files, `<eval>-<figure>.png` and `<eval>-<figure>.csv`.

    Raises:
        BadInput: The folder cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    out, files = Path(out), []
    present = set(scores["eval"])
    for plugin in find_evals()[0].values():
        if plugin.name not in present:
            continue
        for figure in plugin.object.figures:
            canvas = FigureCanvasAgg(Figure(figsize=(7, 5), layout="constrained"))
            axes = canvas.figure.add_subplot()
            try:
                figure.draw(scores, axes)
                numbers = None if figure.table is None else figure.table(scores)
            except Exception as error:
                # One eval's faulty figure must not cost the others theirs.
                logger.warning(
                    "figure %s of %s cannot be drawn: %s: %s", figure.name, plugin.name, type(error).__name__, error
                )
                continue
            files.append(save_figure(canvas.figure, out / f"{plugin.name}-{figure.name}.png"))
            if numbers is not None:
                files.append(write_table(numbers, out / f"{plugin.name}-{figure.name}.csv"))
    return files


def save_figure(figure: Figure, file: Path) -> Path:
    """Write a matplotlib figure as PNG, whole or not at all.

    Raises:
        BadInput: The file cannot be written.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(temporary, format="png", dpi=150)
        temporary.replace(file)
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror or error}") from error
    return file
