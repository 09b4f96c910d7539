"""The post's figures, drawn again from the scores table of a toy study. Every function draws on a new figure and returns it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hedgebench.toy import theory
from hedgebench.toy.table import ToyTable
from hedgebench.training.losses import LOSSES
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"mse": "#0173b2", "l2": "#de8f05", "snap": "#029e73"}
"""One colour for each loss everywhere, from seaborn's colour-blind palette."""
PAIRS = ("independent", "hierarchical", "correlated", "anticorrelated")


def _axes(rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 4.0) -> tuple[Figure, Any]:
    """A figure that no window manager knows, and its axes as an array [rows, columns]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = FigureCanvasAgg(Figure(figsize=(width, height), layout="constrained")).figure
    return figure, figure.subplots(rows, columns, squeeze=False)


def _points(axes: Axes, frame: pd.DataFrame, x: str, y: str, order: Sequence[Any] | None = None) -> None:
    """Every seed as a point, with the mean of each loss as a line across."""
    import seaborn as sns

    losses = [loss for loss in LOSSES if loss in set(frame["loss"])]
    common: dict[str, Any] = {
        "data": frame,
        "x": x,
        "y": y,
        "hue": "loss",
        "hue_order": losses,
        "order": order,
        "ax": axes,
    }
    sns.stripplot(**common, dodge=True, jitter=0.15, size=4, alpha=0.7, palette=COLOURS)
    means = {"errorbar": None, "markers": "_", "linestyle": "none", "markersize": 14, "legend": False}
    sns.pointplot(**common, dodge=0.8 - 0.8 / len(losses), palette=COLOURS, **means)


# --- cosines -------------------------------------------------------------------------------------------------------------------


def _heat(axes: Axes, values: np.ndarray[Any, Any], title: str, *, annotate: bool, **labels: Any) -> None:
    import seaborn as sns

    bar = labels.pop("bar", False)
    sns.heatmap(
        values,
        ax=axes,
        vmin=-1,
        vmax=1,
        cmap="RdBu_r",
        annot=annotate,
        fmt=".2f",
        cbar=bar,
        square=not annotate,
        **labels,
    )
    axes.set_title(title)


def pair_cosines(table: ToyTable) -> Figure:
    """Rows 1, 3, 4, 5 and 8: cosines of the single latent with both features, mean over training seeds."""
    names = [(scenario, loss) for scenario in PAIRS for loss in LOSSES if table.has(scenario, loss)]
    if not names:
        raise CannotMeasure("none of the two-feature scenarios was run")
    figure, axes = _axes(1, 2, 8, 0.8 + 0.35 * len(names))
    for ax, encoder in zip(axes[0], (True, False), strict=True):
        values = np.array(
            [[table.cosine(*name, feature, encoder=encoder).mean() for feature in (0, 1)] for name in names]
        )
        labels = [f"{scenario}, {loss}" for scenario, loss in names] if encoder else []
        _heat(
            ax, values, "encoder" if encoder else "decoder", annotate=True, xticklabels=["f0", "f1"], yticklabels=labels
        )
    return figure


def cosine_maps(table: ToyTable, scenario: str) -> Figure:
    """Cosines of every latent's encoder column and decoder row with every feature: one map for each loss, training seed 0."""
    losses = [loss for loss in LOSSES if table.has(scenario, loss)]
    if not losses:
        raise CannotMeasure(f"scenario {scenario} was not run")
    maps = {
        (loss, side): _cosine_matrix(table, scenario, loss, f"{side}_cosine")
        for loss in losses
        for side in ("encoder", "decoder")
    }
    n_latents, n_features = next(iter(maps.values())).shape
    small = n_features <= 2
    figure, axes = _axes(
        2, len(losses), 1 + 3.2 * len(losses), 2 * max(1.3, 0.6 + 2.8 * n_latents / max(n_features, 6))
    )
    for (loss, side), values in maps.items():
        ax = axes[("encoder", "decoder").index(side), losses.index(loss)]
        ticks = {"xticklabels": max(1, n_features // 10), "yticklabels": max(1, n_latents // 10)}
        _heat(ax, values, f"{side}, {loss}", annotate=small, bar=loss == losses[-1], **ticks)
        ax.set(xlabel="feature" if side == "decoder" else "", ylabel="latent" if loss == losses[0] else "")
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
    figure, axes = _axes(-(-len(found) // columns), columns, 3.2 * columns, 2.9 * -(-len(found) // columns))
    for ax, (ratio, name) in zip(axes.flat, found, strict=False):
        _loss_curve(ax, table, ratio, name)
    for ax in list(axes.flat)[len(found) :]:
        ax.set_axis_off()
    axes[0, 0].legend(fontsize="x-small")
    return figure


def _loss_curve(axes: Axes, table: ToyTable, ratio: float, name: str) -> None:
    p0, p1 = 1 / (1 + ratio), ratio / (1 + ratio)
    a = np.linspace(0, 1, 401)
    angles = theory.interpolation_angle(a)
    for loss, curve in (("mse", theory.tied_mse), ("l2", theory.tied_l2)):
        axes.plot(a, curve(angles, p0, p1), color=COLOURS[loss], label=f"{loss}, expected")
    best = theory.mse_angle(p0, p1)
    minima = [("mse", best, float(theory.tied_mse(best, p0, p1)))]
    minima += [("l2", minimum.angle, minimum.loss) for minimum in theory.l2_minima(p0, p1)]
    for loss, angle, value in minima:
        axes.plot(theory.interpolation(angle), value, "o", color=COLOURS[loss], markersize=9, markerfacecolor="none")
    for loss in LOSSES:
        if not table.has(name, loss):
            continue
        ends = np.arctan2(table.cosine(name, loss, 1), table.cosine(name, loss, 0)).clip(0, math.pi / 2)
        curve = theory.tied_mse if loss == "mse" else theory.tied_l2
        x = [theory.interpolation(float(angle)) for angle in ends]
        marker = "x" if loss == "l2" else "."
        axes.plot(x, curve(ends, p0, p1), marker, color=COLOURS[loss], label=f"{loss}, trained", linestyle="none")
    axes.set(title=f"p1/p0 = {ratio:g}", xlabel="0 parent, ½ merged, 1 child", ylabel="expected loss")


# --- bars and points -----------------------------------------------------------------------------------------------------------


def bias_bars(table: ToyTable) -> Figure:
    """Rows 2 and 8: what the decoder bias adds of each feature."""
    import seaborn as sns

    rows = table.rows
    rows = rows[(rows["metric"] == "b_dec_projection") & (rows["slice_by"] == "feature") & rows["scenario"].isin(PAIRS)]
    if rows.empty:
        raise CannotMeasure("none of the two-feature scenarios was run")
    present = [scenario for scenario in PAIRS if scenario in set(rows["scenario"])]
    figure, axes = _axes(1, len(present), 1 + 2.3 * len(present), 3)
    for ax, scenario in zip(axes[0], present, strict=True):
        frame = rows[rows["scenario"] == scenario].assign(feature=lambda f: "f" + f["slice_value"])
        losses = [loss for loss in LOSSES if loss in set(frame["loss"])]
        common: dict[str, Any] = {
            "data": frame,
            "x": "feature",
            "y": "value",
            "hue": "loss",
            "hue_order": losses,
            "ax": ax,
        }
        sns.barplot(**common, palette=COLOURS, errorbar=None, alpha=0.6, legend=ax is axes[0, -1])
        sns.stripplot(**common, dodge=True, palette=COLOURS, size=3, legend=False)
        ax.set(title=scenario, xlabel="", ylabel="part of the decoder bias" if ax is axes[0, 0] else "")
        ax.set_ylim(rows["value"].min() - 0.02, rows["value"].max() + 0.02)
    return figure


def hedging_by_probability(table: ToyTable) -> Figure:
    """Rows 9 and 10: hedged part of a decoder row against how often the outside features fire."""
    frame = _frame(table, table.crowds(), "hedged", "p")
    figure, axes = _axes(1, 1, 7, 4)
    _points(axes[0, 0], frame, "p", "value", sorted(frame["p"].unique()))
    axes[0, 0].set(
        xlabel="firing probability of the 15 outside features",
        ylabel="hedged part of a unit decoder row",
        ylim=(-0.02, None),
    )
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
    figure, axes = _axes(1, 1, 9, 4.2)
    _points(axes[0, 0], frame[frame["scenario"].isin(order)], "scenario", "value", order)
    axes[0, 0].set(xlabel="", ylabel="hedged part of a unit decoder row")
    axes[0, 0].tick_params(axis="x", rotation=30)
    return figure


def balance_curves(table: ToyTable) -> Figure:
    """Row 15: recovery, hedging of the inner level and absorption against the weight of the inner levels."""
    found = [("detach" if math.isinf(balance) else f"{balance:g}", name) for balance, name in table.balanced()]
    figure, axes = _axes(1, 3, 12, 3.6)
    panels: tuple[tuple[str, str, str], ...] = (
        ("mcc", "all", "mean matched cosine"),
        ("hedged", "prefix", "hedged part, latents 0-2"),
        ("absorbed", "all", "absorbed part, all latents"),
    )
    for ax, (metric, slice_by, label) in zip(axes[0], panels, strict=True):
        frame = _frame(table, found, metric, "balance", slice_by)
        _points(ax, frame, "balance", "value", [balance for balance, _ in found])
        ax.set(xlabel="multiplier β of a level against the next", ylabel=label)
        if ax is not axes[0, 0]:
            ax.get_legend().remove()
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
