"""The post's figures, drawn again from the scores table of a toy study. Every function draws on a new figure and returns it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hedgebench.canvas import page_wide, say_once
from hedgebench.looks import BY_LOSS, LETTERS, SMALL_LETTERS
from hedgebench.toy import theory
from hedgebench.toy.table import ToyTable
from hedgebench.training.losses import LOSSES
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.figure import Figure

PAIRS = ("independent", "hierarchical", "correlated", "anticorrelated")
_BESIDE = 0.8
"""How much of the way from one value of x to the next the losses there take, side by side."""


def _points(axes: Axes, frame: pd.DataFrame, x: str, order: Sequence[Any]) -> None:
    """Every seed as a point, seeds of a loss from left to right, with the mean of each loss as a line across.

    Args:
        axes: Where.
        frame: With the columns loss, train_seed and value.
        x: The column that tells where along the axis.
        order: Its values.
    """
    losses = [loss for loss in LOSSES if loss in set(frame["loss"])]
    step = _BESIDE / len(losses)
    for i, loss in enumerate(losses):
        rows = frame[frame["loss"] == loss]
        middle = rows[x].map(list(order).index) + (i - (len(losses) - 1) / 2) * step
        seed = rows["train_seed"].rank(method="dense") - 1
        aside = (seed - seed.max() / 2) / (seed.max() + 1) * 0.8 * step
        style = BY_LOSS[loss].style() | {"linestyle": "none", "markeredgewidth": 0}
        axes.plot(middle + aside, rows["value"], **style, markersize=4.5, alpha=0.7, label=loss)
        means = rows.groupby(middle)["value"].mean()
        axes.hlines(means, means.index - 0.45 * step, means.index + 0.45 * step, color=BY_LOSS[loss].color)
    axes.set_xticks(range(len(order)), [f"{value:g}" if isinstance(value, float) else str(value) for value in order])
    axes.set_xlim(-0.5, len(order) - 0.5)
    axes.legend()


# --- cosines -------------------------------------------------------------------------------------------------------------------


def _heat(axes: Axes, values: np.ndarray[Any, Any], title: str, *, annotate: bool, **labels: Any) -> Collection:
    """A map of cosines, with the numbers in its cells where there is room."""
    import seaborn as sns

    colours = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r", "cbar": False}
    sns.heatmap(values, ax=axes, annot=annotate, fmt=".2f", square=not annotate, **colours, **labels)
    axes.set_title(title, fontsize="medium")
    axes.tick_params(rotation=0)
    return axes.collections[0]


def pair_cosines(table: ToyTable) -> Figure:
    """Rows 1, 3, 4, 5 and 8: cosines of the single latent with both features, mean over training seeds."""
    names = [(scenario, loss) for scenario in PAIRS for loss in LOSSES if table.has(scenario, loss)]
    if not names:
        raise CannotMeasure("none of the two-feature scenarios was run")
    with page_wide(0.8 + 0.22 * len(names), SMALL_LETTERS) as figure:
        for ax, encoder in zip(figure.subplots(1, 2), (True, False), strict=True):
            values = np.array(
                [[table.cosine(*name, feature, encoder=encoder).mean() for feature in (0, 1)] for name in names]
            )
            labels = [f"{scenario}, {loss}" for scenario, loss in names] if encoder else []
            title = "encoder" if encoder else "decoder"
            _heat(ax, values, title, annotate=True, xticklabels=["f0", "f1"], yticklabels=labels)
    return figure


def cosine_maps(table: ToyTable, scenario: str) -> Figure:
    """Cosines of every latent's encoder column and decoder row with every feature: one map for each loss, training seed 0."""
    losses = [loss for loss in LOSSES if table.has(scenario, loss)]
    if not losses:
        raise CannotMeasure(f"scenario {scenario} was not run")
    maps = {
        (loss, side): _cosine_matrix(table, scenario, loss, f"{side}_cosine")
        for side in ("encoder", "decoder")
        for loss in losses
    }
    n_latents, n_features = next(iter(maps.values())).shape
    annotate = n_features <= 2
    height = 0.3 * n_latents if annotate else 1.55 * n_latents / n_features
    every = max(1, n_features // 5)
    with page_wide(2 * (0.6 + height), SMALL_LETTERS) as figure:
        grid = figure.subplots(2, len(losses), squeeze=False)
        for ax, ((loss, side), values) in zip(grid.flat, maps.items(), strict=True):
            mesh = _heat(ax, values, f"{side}, {loss}", annotate=annotate, xticklabels=every, yticklabels=every)
            ax.set(xlabel="feature" if side == "decoder" else "", ylabel="latent" if loss == losses[0] else "")
        figure.colorbar(mesh, ax=grid, label="cosine", pad=0.02, aspect=30, panchor=False)
    return figure


def _cosine_matrix(table: ToyTable, scenario: str, loss: str, metric: str) -> np.ndarray[Any, Any]:
    rows = table.rows
    rows = rows[(rows["scenario"] == scenario) & (rows["loss"] == loss) & (rows["metric"] == metric)]
    rows = rows[(rows["slice_by"] == "latent") & rows["params"].str.startswith("feature=")]
    rows = rows[rows["train_seed"] == rows["train_seed"].min()]
    feature, latent = rows["params"].str.removeprefix("feature=").astype(int), rows["slice_value"].astype(int)
    found = np.full((latent.max() + 1, feature.max() + 1), math.nan)
    found[latent, feature] = rows["value"]
    return found


# --- curves --------------------------------------------------------------------------------------------------------------------


def loss_curves(table: ToyTable) -> Figure:
    """Rows 6 to 8: expected loss of a tied unit latent between parent and child, its minima, and where trained SAEs ended."""
    found = table.tied()
    if not found:
        raise CannotMeasure("no tied scenario was run")
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    with page_wide(0.2 + 1.5 * rows, SMALL_LETTERS) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for ax, (ratio, name) in zip(grid.flat, found, strict=False):
            _loss_curve(ax, table, ratio, name)
        for ax in list(grid.flat)[len(found) :]:
            ax.set_axis_off()
        for ax in grid[:, 0]:
            ax.set_ylabel("expected loss")
        say_once(figure)
    return figure


def _loss_curve(axes: Axes, table: ToyTable, ratio: float, name: str) -> None:
    p0, p1 = 1 / (1 + ratio), ratio / (1 + ratio)
    a = np.linspace(0, 1, 401)
    angles = theory.interpolation_angle(a)
    for loss, curve in (("mse", theory.tied_mse), ("l2", theory.tied_l2)):
        axes.plot(a, curve(angles, p0, p1), color=BY_LOSS[loss].color, label=f"{loss}, expected")
    best = theory.mse_angle(p0, p1)
    minima = [("mse", best, float(theory.tied_mse(best, p0, p1)))]
    minima += [("l2", minimum.angle, minimum.loss) for minimum in theory.l2_minima(p0, p1)]
    for loss, angle, value in minima:
        style: dict[str, Any] = {"color": BY_LOSS[loss].color, "markerfacecolor": "none"}
        axes.plot(theory.interpolation(angle), value, "o", markersize=8, label=f"{loss}, minimum", **style)
    for loss in LOSSES:
        if not table.has(name, loss):
            continue
        ends = np.arctan2(table.cosine(name, loss, 1), table.cosine(name, loss, 0)).clip(0, math.pi / 2)
        curve = theory.tied_mse if loss == "mse" else theory.tied_l2
        x = [theory.interpolation(float(angle)) for angle in ends]
        marker = "x" if loss == "l2" else "."
        axes.plot(x, curve(ends, p0, p1), marker, color=BY_LOSS[loss].color, label=f"{loss}, trained")
    axes.set_title(f"p1/p0 = {ratio:g}", fontsize="medium")
    axes.set_xticks([0, 0.5, 1], ["parent", "merged", "child"])
    axes.legend()


# --- bars and points -----------------------------------------------------------------------------------------------------------


def bias_bars(table: ToyTable) -> Figure:
    """Rows 2 and 8: what the decoder bias adds of each feature."""
    import seaborn as sns

    rows = table.rows
    rows = rows[(rows["metric"] == "b_dec_projection") & (rows["slice_by"] == "feature") & rows["scenario"].isin(PAIRS)]
    if rows.empty:
        raise CannotMeasure("none of the two-feature scenarios was run")
    present = [scenario for scenario in PAIRS if scenario in set(rows["scenario"])]
    with page_wide(2.1, SMALL_LETTERS) as figure:
        grid = figure.subplots(1, len(present), squeeze=False, sharey=True)
        for ax, scenario in zip(grid.flat, present, strict=True):
            frame = rows[rows["scenario"] == scenario].assign(feature=lambda f: "f" + f["slice_value"])
            losses = [loss for loss in LOSSES if loss in set(frame["loss"])]
            palette = {loss: BY_LOSS[loss].color for loss in losses}
            common = {"data": frame, "x": "feature", "y": "value", "order": ("f0", "f1"), "hue": "loss"}
            sns.barplot(**common, hue_order=losses, palette=palette, errorbar=None, alpha=0.5, legend=False, ax=ax)
            _points(ax, frame, "feature", ("f0", "f1"))
            ax.set_title(scenario, fontsize="medium")
            ax.set(xlabel="", ylabel="part of the decoder bias" if scenario == present[0] else "")
        say_once(figure)
    return figure


def hedging_by_probability(table: ToyTable) -> Figure:
    """Rows 9 and 10: hedged part of a decoder row against how often the outside features fire."""
    frame = _frame(table, table.crowds(), "hedged", "p")
    with page_wide(3.2, LETTERS) as figure:
        axes = figure.subplots()
        _points(axes, frame, "p", [p for p, _ in table.crowds()])
        axes.set(
            xlabel="firing probability of the 15 outside features",
            ylabel="hedged part of a unit decoder row",
            ylim=(-0.02, None),
        )
        say_once(figure)
    return figure


def snap_against_mse(table: ToyTable) -> Figure:
    """Rows 1 to 14: hedged part by scenario and loss, training seeds as points; of Matryoshka SAEs that of the innermost level."""
    rows = table.rows
    whole = (rows["slice_by"] == "all") & (rows["scenario"] != "matryoshka")
    inner = (rows["slice_by"] == "prefix") & (rows["slice_value"] == "3") & (rows["scenario"] == "matryoshka")
    frame = rows[(rows["metric"] == "hedged") & (rows["params"] == "") & (whole | inner)]
    order = [*PAIRS, *(name for _, name in table.crowds()), "never-alone", "absorption", "matryoshka"]
    order = [scenario for scenario in order if scenario in set(frame["scenario"])]
    if not order:
        raise CannotMeasure("no scenario with a hedged part was run")
    with page_wide(3.6, LETTERS) as figure:
        axes = figure.subplots()
        _points(axes, frame[frame["scenario"].isin(order)], "scenario", order)
        axes.set(xlabel="", ylabel="hedged part of a unit decoder row")
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
        say_once(figure)
    return figure


def balance_curves(table: ToyTable) -> Figure:
    """Row 15: recovery, hedging of the inner level and absorption against the weight of the inner levels."""
    found = [("detach" if math.isinf(balance) else f"{balance:g}", name) for balance, name in table.balanced()]
    panels = (
        ("mcc", "all", "mean matched cosine"),
        ("hedged", "prefix", "hedged part,\nlatents 0-2"),
        ("absorbed", "all", "absorbed part,\nall latents"),
    )
    frames = [_frame(table, found, metric, "balance", slice_by) for metric, slice_by, _ in panels]
    with page_wide(0.2 + 1.5 * len(panels), SMALL_LETTERS) as figure:
        grid = figure.subplots(len(panels), sharex=True)
        for ax, frame, (_, _, label) in zip(grid, frames, panels, strict=True):
            _points(ax, frame, "balance", [balance for balance, _ in found])
            ax.set(ylabel=label)
        grid[-1].set(xlabel="multiplier β of a level against the next")
        say_once(figure)
    return figure


def _frame(
    table: ToyTable, named: Sequence[tuple[Any, str]], metric: str, key: str, slice_by: str = "all"
) -> pd.DataFrame:
    """Values of a metric by loss and seed, with what the scenario's name stands for as column `key`."""
    rows = table.rows
    value = "3" if slice_by == "prefix" else "all"
    rows = rows[
        (rows["metric"] == metric)
        & (rows["params"] == "")
        & (rows["slice_by"] == slice_by)
        & (rows["slice_value"] == value)
    ]
    meaning = {name: what for what, name in named}
    rows = rows[rows["scenario"].isin(meaning)]
    if rows.empty:
        raise CannotMeasure(f"no scenario with {metric} by {key} was run")
    return rows.assign(**{key: rows["scenario"].map(meaning)})


FIGURES: dict[str, Callable[[ToyTable], Figure]] = {
    "cosines-pairs": pair_cosines,
    "cosines-absorption": lambda table: cosine_maps(table, "absorption"),
    "cosines-crowd-0.1": lambda table: cosine_maps(table, "crowd-0.1"),
    "cosines-crowd-0.15": lambda table: cosine_maps(table, "crowd-0.15"),
    "cosines-never-alone": lambda table: cosine_maps(table, "never-alone"),
    "cosines-matryoshka": lambda table: cosine_maps(table, "matryoshka"),
    "loss-curves": loss_curves,
    "b-dec": bias_bars,
    "hedging-by-probability": hedging_by_probability,
    "snap-against-mse": snap_against_mse,
    "balanced": balance_curves,
}
"""Every figure by file name; one whose scenarios were not run raises `CannotMeasure`."""
