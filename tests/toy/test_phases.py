"""The phase diagram: the worlds of its points, what is said of each SAE, and snap on both sides of theory's line."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from hedgebench.toy.phases import PANELS, RECOVERED, Panel, agreement, draw_phases, phase_frame, phase_runs, run_phases
from hedgebench.toy.trainer import Trained, train


def cut(name: str, xs: tuple[float, ...], ys: tuple[float, ...]) -> Panel:
    return replace(PANELS[name], xs=xs, ys=ys)


def frame_of(*panels: Panel, seeds: int = 2) -> pd.DataFrame:
    runs = phase_runs(seeds, panels)
    return phase_frame(runs, train([run.run for run in runs], progress=False))


def chance(panel: str, x: float, y: float, **fires: bool) -> float:
    """Probability of what f0, f1, ... do at a point: `chance("firing", .1, .2, f0=True, f1=False)`."""
    firings, probabilities = PANELS[panel].law(x, y)
    held = np.all([firings[:, int(f[1:])] == does for f, does in fires.items()], axis=0)
    return float(probabilities[held].sum())


def test_a_point_has_the_probabilities_that_its_axes_say():
    assert chance("firing", 0.3, 0.6, f0=True) == pytest.approx(0.6)
    assert chance("firing", 0.3, 0.6, f0=True, f1=True) == pytest.approx(0.6 * 0.3)
    assert chance("firing", 0.3, 0.6, f0=False, f1=True) == 0
    assert chance("correlation", 0.3, 0.1, f0=True, f1=True) == pytest.approx(0.25 * 0.3)
    assert chance("correlation", 0.3, 0.1, f0=False, f1=True) == pytest.approx(0.75 * 0.1)
    assert chance("children", 3, 0.4, f0=True, f1=False, f2=False, f3=False) == pytest.approx(0.25 * 0.4)
    assert chance("children", 3, 0.4, f0=True, f2=True) == pytest.approx(0.25 * 0.2)
    assert chance("children", 3, 0.4, f1=True, f2=True) == chance("children", 3, 0.4, f0=False, f2=True) == 0
    assert chance("switch", 0.9, 0.3, f0=True, f1=True) == pytest.approx(0.25 * 0.3)


def test_every_point_of_every_panel_is_trained_by_snap_once_for_each_seed():
    runs = phase_runs(2)
    points = {(r.panel.name, r.x, r.y, r.run.train_seed) for r in runs}
    assert len(points) == len(runs) == 2 * sum(len(p.xs) * len(p.ys) for p in PANELS.values())
    assert {r.run.recipe.loss for r in runs} == {"snap"}
    assert all(r.run.recipe.snap_at == (r.x if r.panel.name == "switch" else 0.5) for r in runs)
    for r in runs[::97]:
        firings, probabilities = r.panel.law(r.x, r.y)
        patterns = r.run.world.patterns()
        np.testing.assert_array_equal(patterns.firings, firings)
        np.testing.assert_allclose(patterns.probabilities, probabilities)


def test_an_sae_is_described_by_its_decoder_row_and_bias():
    (run,) = phase_runs(1, [cut("children", (2,), (0.5,))])
    features = run.run.world.features
    sae = Trained(
        run.run,
        torch.zeros(16, 1),
        torch.zeros(1),
        2 * (0.8 * features[:1] - 0.6 * features[2:3]),
        0.3 * features[1],
        None,
        0,
        0,
        1,
    )
    (row,) = phase_frame([run], [sae]).to_dict("records")
    assert (row["parent"], row["hedging"], row["bias"]) == pytest.approx((0.8, 0.6, 0.3), abs=1e-6)
    assert row["recovered"] is False and row["predicted"] is True
    assert row["principal"] > RECOVERED


SIDES = [
    ("firing", (0.36, 0.05), (0.44, 0.05)),
    ("firing", (0.36, 0.4), (0.44, 0.4)),
    ("firing", (0.24, 0.6), (0.24, 0.9)),  # a parent that is nearly always on is left to the bias
    ("correlation", (0.19, 0.12), (0.4, 0.12)),
    ("correlation", (0.26, 0.19), (0.61, 0.33)),
    ("children", (2, 0.47), (2, 0.33)),
    ("children", (11, 0.3), (11, 0.12)),
    ("switch", (0.5, 0.36), (0.5, 0.44)),
]
"""A point on either side of theory's line."""
SWITCHES = cut("switch", (0.02, 0.5, 0.99), (0.295, 0.415))


@cache
def trained_points() -> pd.DataFrame:
    """All points that the tests ask about, trained together."""
    points = dict.fromkeys((name, *point) for name, *both in SIDES for point in both)
    return frame_of(*(cut(name, (x,), (y,)) for name, x, y in points), SWITCHES, seeds=3)


def at(panel: str, x: float, y: float) -> pd.DataFrame:
    frame = trained_points()
    found = frame[(frame["panel"] == panel) & (frame["x"] == x) & (frame["y"] == y)]
    assert len(found) == 3
    return found


@pytest.mark.parametrize(("panel", "clean", "spoilt"), SIDES)
def test_snap_recovers_the_feature_on_one_side_of_the_line_and_not_on_the_other(panel, clean, spoilt):
    here, beyond = at(panel, *clean), at(panel, *spoilt)
    assert here["predicted"].all() and here["recovered"].all()
    assert (here["hedging"] < 1e-3).all()
    assert (here["principal"] > 0.05).all()  # there was something to undo
    assert not beyond["predicted"].any() and not beyond["recovered"].any()


def test_a_switch_too_late_leaves_the_hedging_and_an_early_one_can_do_better_than_theory():
    left = {(x, y): at("switch", x, y)["hedging"].mean() for x in SWITCHES.xs for y in SWITCHES.ys}
    assert left[0.5, 0.295] < 0.001 < 0.2 < left[0.99, 0.295]
    assert left[0.02, 0.415] < 0.3 < 0.7 < left[0.5, 0.415]


def test_agreement_counts_saes_and_the_share_that_is_as_predicted():
    frame = pd.DataFrame(
        {
            "panel": ["a", "a", "a", "b"],
            "recovered": [True, True, False, False],
            "predicted": [True, False, False, False],
        }
    )
    assert agreement(frame).to_dict("records") == [
        {"panel": "a", "saes": 3, "recovered": 2, "as_predicted": pytest.approx(2 / 3)},
        {"panel": "b", "saes": 1, "recovered": 0, "as_predicted": 1.0},
    ]


def untrained_frame() -> pd.DataFrame:
    """Every panel's points, with theory's prediction in place of a trained SAE."""
    from hedgebench.toy.margins import snap_margin

    points = [(p, x, y) for p in PANELS.values() for x in p.xs for y in p.ys]
    return pd.DataFrame(
        [{"panel": p.name, "x": x, "y": y, "hedging": float(snap_margin(*p.law(x, y)) <= 0)} for p, x, y in points]
    )


def test_the_figure_has_a_panel_for_each_question_and_theorys_line_runs_between_the_cells_it_parts():
    figure = draw_phases(untrained_frame())
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [panel.title for panel in PANELS.values()]
    for axes, panel in zip(panels, PANELS.values(), strict=True):
        mesh, solid = axes.collections[0], axes.collections[1]
        values = mesh.get_array().reshape(len(panel.ys), len(panel.xs))  # first row: the largest y
        assert 0 < values.mean() < 1
        line = np.vstack([path.vertices for path in solid.get_paths()])
        # Cells far from the line keep to one side: walk down each column and note where it turns.
        for column in range(len(panel.xs)):
            (turns,) = np.nonzero(np.diff(values[:, column]))
            near = line[abs(line[:, 0] - column - 0.5) < 0.5]
            for turn in turns:
                assert len(near) and abs(near[:, 1] - (turn + 1)).min() < 1


def test_the_figure_draws_only_what_the_table_has():
    frame = untrained_frame()
    figure = draw_phases(frame[frame["panel"] == "switch"])
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [PANELS["switch"].title]


@pytest.mark.slow
def test_theory_is_right_about_nearly_every_sae_where_both_parts_of_training_have_time():
    frame = run_phases(seeds=3, progress=False)
    in_time = frame[(frame["panel"] != "switch") | frame["x"].between(0.2, 0.6)]
    shares = agreement(in_time).set_index("panel")["as_predicted"]
    assert (shares[["firing", "children", "switch"]] > 0.94).all()
    assert shares["correlation"] > 0.75
    # Where theory promises a recovery, it comes.
    assert in_time[in_time["margin"] > 0.02]["recovered"].mean() > 0.98
