"""The figures of the toy study can be read on a page, keep the colours of all figures, and are the same each time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from legible import cut_off, overlapping, too_small, touching
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from hedgebench.canvas import save_figure
from hedgebench.looks import PAGE
from hedgebench.toy.figures import FIGURES, balance_curves
from hedgebench.toy.growth_page import draw_growth
from hedgebench.toy.phases import draw_phases
from hedgebench.toy.table import ToyTable

RESULTS = Path(__file__).parents[2] / "results" / "toy"


@pytest.fixture(scope="module")
def table() -> ToyTable:
    return ToyTable(pd.read_parquet(RESULTS / "scores.parquet"))


@pytest.fixture(scope="module")
def drawn(table: ToyTable) -> dict[str, Figure]:
    """Every figure of `hedgebench toy` but the estimates', from the committed tables."""
    found = {name: draw(table) for name, draw in FIGURES.items()}
    found["growth"] = draw_growth(pd.read_csv(RESULTS / "growth.csv"))
    found["phases"] = draw_phases(pd.read_csv(RESULTS / "phases.csv"))
    for figure in found.values():
        figure.draw_without_rendering()
    return found


def test_every_figure_is_a_page_wide_with_letters_that_can_be_read_there(drawn: dict[str, Figure]):
    assert {figure.get_figwidth() for figure in drawn.values()} == {PAGE}
    assert max(figure.get_figheight() for figure in drawn.values()) < 9
    assert {name: found for name, figure in drawn.items() if (found := too_small(figure))} == {}


def test_no_word_is_cut_off_or_lies_over_another(drawn: dict[str, Figure]):
    assert {name: found for name, figure in drawn.items() if (found := cut_off(figure))} == {}
    assert {name: found for name, figure in drawn.items() if (found := overlapping(figure))} == {}
    found = {(name, along): touching(figure, along) for name, figure in drawn.items() for along in ("x", "y")}
    assert {key: pairs for key, pairs in found.items() if pairs and key != ("snap-against-mse", "x")} == {}  # aslant


def legends(figure: Figure) -> list[Legend]:
    return [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()) is not None)]


def test_no_legend_lies_over_what_is_drawn(drawn: dict[str, Figure]):
    for name, figure in drawn.items():
        insides = [axes.get_window_extent() for axes in figure.axes]
        boxes = [legend.get_window_extent() for legend in legends(figure)]
        assert not any(box.overlaps(inside) for box in boxes for inside in insides), name


def test_a_loss_has_the_colour_that_it_has_in_every_figure(drawn: dict[str, Figure]):
    colours = {"mse": "#0072b2", "l2": "#d55e00", "snap": "#009e73"}
    for name in ("loss-curves", "b-dec", "hedging-by-probability", "snap-against-mse", "balanced", "growth"):
        said = {
            text.get_text(): to_hex(handle.get_color())
            for legend in legends(drawn[name])
            for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
        }
        losses = {word: colour for word, colour in said.items() if word.split(",")[0] in colours}
        assert len(losses) >= 2 and losses == {word: colours[word.split(",")[0]] for word in losses}, name
        lines = {to_hex(line.get_color()) for axes in drawn[name].axes for line in axes.lines}
        assert lines - {to_hex("0.6")} == set(losses.values()), name


def test_the_same_table_gives_the_same_bytes(table: ToyTable, tmp_path: Path):
    one, other = (save_figure(balance_curves(table), tmp_path / f"{name}.png") for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
