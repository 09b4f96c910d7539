"""The figures of `grow_delta`, from its rows of the scores table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgebench.eval import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_NULLS = {
    "isotropic": ("random span", "#000000", ":"),
    "residual": ("rows drawn like the residual", "#E69F00", "--"),
    "other_seed": ("new rows of other seeds", "#009E73", "-."),
    "reordered": ("no new latents, other data order", "#CC79A7", (0, (5, 1))),
}
"""Name of a null -> what it is in words, its colour (Okabe and Ito's) and its line."""


def draw_share(scores: DataFrame, axes: Axes) -> None:
    """The post's figure: the share of old rows' change in the span of the new rows, against the width, beside every null."""
    rows = _rows(scores)
    measured = rows[(rows["metric"] == "delta_share") & (rows["params"] == "")]
    if measured.empty:
        raise CannotMeasure("no grown SAE here has a delta_share")
    _series(axes, measured, "new rows", "#0072B2", "-")
    for null, (words, colour, line) in _NULLS.items():
        chosen = rows[(rows["metric"] == "null_share") & (rows["params"] == f"null={null}")]
        if len(chosen):
            _series(axes, chosen, words, colour, line)
    axes.set(xlabel="width after growing (latents)", ylabel="share of |δ|² in the span")
    axes.set_title("Change of old decoder rows that lies in the span of", fontsize="medium")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


def draw_degree(scores: DataFrame, axes: Axes) -> None:
    """The paper's hedging degree, not clamped, against the width; of decoder rows and of encoder columns."""
    rows = _rows(scores)
    rows = rows[rows["metric"] == "unclamped_degree"]
    if rows.empty:
        raise CannotMeasure("no grown SAE here has a hedging degree")
    for params, words, colour in (("", "decoder rows", "#0072B2"), ("weights=encoder", "encoder columns", "#D55E00")):
        chosen = rows[rows["params"] == params]
        if len(chosen):
            _series(axes, chosen, words, colour, "-")
    axes.axhline(0, color="0.35", linewidth=1, linestyle=":")
    axes.set(xlabel="width after growing (latents)", ylabel="hedging degree (g - b) / (1 - b)")
    axes.set_title("Hedging degree; 0: a random span holds as much", fontsize="medium")
    axes.legend(fontsize="small")


def _rows(scores: DataFrame) -> DataFrame:
    mine = scores[(scores["eval"] == "grow_delta") & (scores["slice_by"] == "all") & scores["width"].notna()]
    keys = ["architecture", "sae", "width", "train_seed", "metric", "params"]
    return mine.groupby(keys, dropna=False)["value"].mean().reset_index()  # over evaluation seeds


def _series(axes: Axes, rows: DataFrame, label: str, colour: str, line: object) -> None:
    """A point for every SAE, and their mean at each width with its interval over training seeds, for every architecture."""
    from hedgebench.stats import mean_interval

    kinds = list(rows.groupby("architecture", dropna=False))
    for architecture, group in kinds:
        widths = sorted(group["width"].unique())
        means = {int(width): mean_interval(group["value"][group["width"] == width]) for width in widths}
        name = f"{label}, {architecture}" if len(kinds) > 1 else label
        axes.plot(list(means), [m.mean for m in means.values()], color=colour, linestyle=line, label=name)
        axes.scatter(group["width"].astype(float), group["value"], color=colour, s=10, alpha=0.5)
        known = {width: m for width, m in means.items() if m.n > 1}
        if known:
            bounds = [m.low for m in known.values()], [m.high for m in known.values()]
            axes.fill_between(list(known), *bounds, color=colour, alpha=0.12, linewidth=0)
