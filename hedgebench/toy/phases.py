"""Where snap stops working: one latent trained by snap in worlds that differ in two things at a time, beside the line that theory draws.

Beyond the post. Four panels: how often parent and child fire; how strongly two features are correlated, either way; how many children a parent has and how
often it is alone; when training switches from MSE to L2. The line is `margins.snap_margin` = 0; what it says of the SAE, the SAE is then asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hedgebench.canvas import page_wide
from hedgebench.looks import OKABE_ITO, SMALL_LETTERS
from hedgebench.toy.firing import outcomes
from hedgebench.toy.margins import parent_margins, principal_direction, snap_margin
from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.world_config import WorldConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from hedgebench.toy.trainer import Trained

RECOVERED = 0.1
"""A latent is recovered if no more than this of its decoder row, a unit vector, lies on other features."""
_LINE = OKABE_ITO[5]
"""The colour of theory's lines, no loss's, which is seen on pale and dark cells."""
_D_IN = 16
_RECIPE = Recipe("standard", 1, "snap", l1=1e-3, init_noise=0.25, lr_decay=0.5)
"""From a noisier start than in `scenarios`, so that seeds go different ways; L1 follows the loss."""


@dataclass(frozen=True)
class Panel:
    """Two quantities, and the SAE that stands for each pair of their values."""

    name: str
    title: str
    x: str
    """What x is."""
    y: str
    """What y is."""
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    world: Callable[[float, float], WorldConfig]
    """Of x and y; feature 0 is the one that the latent is to learn."""
    changes: Callable[[float, float], dict[str, Any]] = lambda x, y: {}  # noqa: ARG005
    """What else differs in the recipe."""

    def law(self, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
        """What can fire at a point, [P, n_features], and its probabilities [P]."""
        found = outcomes(self.world(x, y))
        assert found is not None
        return found


@dataclass(frozen=True)
class PhaseRun:
    """One SAE of a panel."""

    panel: Panel
    x: float
    y: float
    run: ToyRun


def _pair(parent: float, given: float, otherwise: float = 0.0) -> WorldConfig:
    return WorldConfig("pair", _D_IN, (parent, given), parents={1: 0}, otherwise={1: otherwise} if otherwise else {})


def _family(n: float, alone: float) -> WorldConfig:
    children = range(1, int(n) + 1)
    exclusive = (tuple(children),) if n > 1 else ()
    probability = (0.25, *[(1 - alone) / n] * int(n))
    return WorldConfig("family", _D_IN, probability, parents=dict.fromkeys(children, 0), exclusive=exclusive)


def _range(low: float, step: float, n: int) -> tuple[float, ...]:
    return tuple(round(low + step * i, 4) for i in range(n))


_SHARE = "P(child | parent)"
PANELS = {
    panel.name: panel
    for panel in (
        Panel(
            "firing",
            "A parent and its child",
            _SHARE,
            "P(parent)",
            _range(0.12, 0.06, 10),
            (0.05, *_range(0.1, 0.1, 9)),
            lambda x, y: _pair(y, x),
        ),
        Panel(
            "correlation",
            "Two features, the first at .25",
            "P(second | first)",
            "P(second | not first)",
            _range(0.05, 0.07, 11),
            _range(0.05, 0.07, 11),
            lambda x, y: _pair(0.25, x, y),
        ),
        Panel(
            "children",
            "A parent at .25 and exclusive children",
            "number of children",
            "P(no child | parent)",
            (1, 2, 3, 4, 5, 6, 8, 11),
            _range(0.05, 0.07, 11),
            _family,
        ),
        Panel(
            "switch",
            "The switch from MSE to L2",
            "switch, as a share of training",
            _SHARE,
            (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99),
            _range(0.235, 0.03, 11),
            lambda x, y: _pair(0.25, y),  # noqa: ARG005
            lambda x, y: {"snap_at": x},  # noqa: ARG005
        ),
    )
}
"""Every panel by name."""


def phase_runs(seeds: int = 3, panels: Iterable[Panel] = tuple(PANELS.values())) -> list[PhaseRun]:
    """The SAEs to train: at every point of every panel one for each training seed, from 0."""
    from hedgebench.toy.worlds import make_world

    found = []
    for panel in panels:
        for y in panel.ys:
            for x in panel.xs:
                world, recipe = make_world(panel.world(x, y)), replace(_RECIPE, **panel.changes(x, y))
                found += [PhaseRun(panel, x, y, ToyRun(world, recipe, seed)) for seed in range(seeds)]
    return found


def phase_frame(runs: Sequence[PhaseRun], trained: Sequence[Trained]) -> DataFrame:
    """What became of them, one row for each SAE.

    Returns:
        Columns panel, x, y, train_seed; `parent`, the cosine of the decoder row with feature 0; `hedging`, the norm of its cosines with all others;
        `bias`, the norm of b_dec; `recovered`, hedging no more than `RECOVERED` and a positive parent; of theory: `principal`, the hedging that
        MSE leaves without L1 (that of the first principal axis), `margin` (`margins.snap_margin`), and `predicted`, that it is positive.
    """
    import pandas as pd

    laws = {(r.panel.name, r.x, r.y): r.panel.law(r.x, r.y) for r in runs}
    theory = {key: (snap_margin(*law), principal_direction(*law)) for key, law in laws.items()}
    rows = []
    for run, sae in zip(runs, trained, strict=True):
        margin, axis = theory[run.panel.name, run.x, run.y]
        cosines = sae.run.world.features @ (sae.W_dec[0] / sae.W_dec[0].norm())
        parent, hedging = float(cosines[0]), float(cosines[1:].norm())
        rows.append(
            {
                "panel": run.panel.name,
                "x": run.x,
                "y": run.y,
                "train_seed": run.run.train_seed,
                "parent": parent,
                "hedging": hedging,
                "bias": float(sae.b_dec.norm()),
                "recovered": hedging <= RECOVERED and parent > 0,
                "principal": float(np.linalg.norm(axis[1:])),
                "margin": margin,
                "predicted": margin > 0,
            }
        )
    return pd.DataFrame(rows)


def run_phases(seeds: int = 3, device: str = "cpu", progress: bool = True) -> DataFrame:
    """Train all panels' SAEs, about 1,300 in half a minute on two cores, and say what became of them: `phase_frame`."""
    from hedgebench.toy.trainer import train

    runs = phase_runs(seeds)
    return phase_frame(runs, train([run.run for run in runs], device=device, progress=progress))


def agreement(frame: DataFrame) -> DataFrame:
    """How often theory is right: for each panel the number of SAEs, how many snap recovered, and the share as predicted, there and over all."""
    right = frame.assign(right=frame["recovered"] == frame["predicted"])
    found = right.groupby("panel", sort=False).agg(
        saes=("right", "size"), recovered=("recovered", "sum"), as_predicted=("right", "mean")
    )
    return found.reset_index()


def draw_phases(frame: DataFrame) -> Figure:
    """The phase diagram: how much of other features is left in the latent, mean over seeds, and theory's lines on it.

    Solid: snap is predicted to recover the feature on one side of it. Dashed: beyond it the feature alone is no minimum of L2 at all.
    """
    names = list(dict.fromkeys(frame["panel"]))
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    with page_wide(2.6 * rows, SMALL_LETTERS) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            mesh = _draw_panel(axes, PANELS[name], frame[frame["panel"] == name])
        for axes in list(grid.flat)[len(names) :]:
            axes.set_axis_off()
        figure.colorbar(mesh, ax=grid, label="decoder row on other features", pad=0.02, aspect=40)
    return figure


def _draw_panel(axes: Axes, panel: Panel, rows: DataFrame) -> Collection:
    """One panel's map, with theory's lines on it."""
    import seaborn as sns

    cells = rows.pivot_table(index="y", columns="x", values="hedging").sort_index(ascending=False)
    xs, ys = cells.columns.to_numpy(), cells.index.to_numpy()
    sns.heatmap(cells, ax=axes, vmin=0, vmax=1, cmap="rocket_r", cbar=False, xticklabels=False, yticklabels=False)
    # A page is too narrow for the word of every cell: every second one, from the lowest.
    axes.set_xticks(np.arange(0, len(xs), 2) + 0.5, [f"{x:g}" for x in xs[::2]])
    axes.set_yticks(np.arange(len(ys) - 1, -1, -2) + 0.5, [f"{y:g}" for y in ys[::-2]])
    fine_x = xs if panel.name == "children" else np.linspace(xs.min(), xs.max(), 41)
    fine_y = np.linspace(ys.min(), ys.max(), 41)
    laws = [[panel.law(x, y) for x in fine_x] for y in fine_y]
    # A cell of the map is one unit wide, with its value in the middle; y runs downwards.
    at_x, at_y = np.interp(fine_x, xs, np.arange(len(xs)) + 0.5), np.interp(-fine_y, -ys, np.arange(len(ys)) + 0.5)
    for margin, style in ((snap_margin, "solid"), (lambda *law: min(parent_margins(*law)), "dashed")):
        values = np.array([[margin(*law) for law in row] for row in laws])
        if values.min() < 0 < values.max():
            axes.contour(at_x, at_y, values, levels=[0], colors=_LINE, linestyles=style, linewidths=2)
    axes.set_title(panel.title, fontsize="medium")
    axes.set(xlabel=panel.x, ylabel=panel.y)
    return axes.collections[0]
