"""A number against L0, a line for each variant with its band over training seeds: the drawing that several evals' figures share. No torch, and no knowledge of any eval."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.eval import Figure
from hedgebench.looks import look
from hedgebench.reading import reading
from hedgebench.series import FAMILY, labels, points, shared
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_LINE = ["model", "hook", "architecture", "loss", "data", "config", "width"]
"""What is equal along a line: all of a family but its k, and the width."""


_FAR = 4.0
"""Spans of the SAEs' values: a control that is farther out is named, not drawn."""


class Shown(NamedTuple):
    """What is drawn against L0."""

    eval: str
    metric: str
    params: str = ""
    label: str = ""
    """Of the axis; the metric's name where empty."""


def l0_table(scores: DataFrame, shown: Shown) -> DataFrame:
    """The numbers that `draw_against_l0` draws. The L0 of an SAE is what was measured beside it (a metric `l0`), or else what its checkpoint says.

    Returns:
        A row for each line and L0: the columns of `FAMILY`, width (0 where it is not known), l0 (mean over SAEs), mean and sd (over training seeds, of means over evaluation seeds; NaN for one SAE), train_seeds and saes.

    Raises:
        CannotMeasure: No SAE has both the number and an L0.
    """
    of_any_width = scores.assign(width=scores["width"].fillna(0))
    known = points(of_any_width, shown.eval, (shown.metric, shown.params))
    measured = scores[(scores["metric"] == "l0") & (scores["slice_by"] == "all")].groupby("sae")["value"].mean()
    known["l0"] = known["sae"].map(measured).fillna(known["l0"])
    known = known[known["l0"].notna()]
    if not len(known):
        raise CannotMeasure(f"no SAE here has both a {shown.metric} and an l0")
    alone = known["sae"].where(~known["series"], "")
    of = {"l0": ("l0", "mean"), "mean": ("value", "mean"), "sd": ("value", "std")}
    found = known.groupby([*FAMILY, "width", alone], sort=True).agg(
        **of, train_seeds=("sae", "nunique"), saes=("sae", " ".join)
    )
    return found.droplevel(-1).reset_index()


def l0_figure(name: str, shown: Shown, title: str = "", panel: str = "") -> Figure:
    """The figure of one metric against L0, for an eval to declare."""
    return Figure(
        name,
        partial(draw_against_l0, shown=shown, title=title),
        partial(l0_table, shown=shown),
        partial(reading, eval_name=shown.eval, metric=shown.metric, params=shown.params),
        panel,
    )


def draw_against_l0(scores: DataFrame, axes: Axes, shown: Shown, title: str = "") -> None:
    """Draw one metric against L0: a line for each variant, and a band of one standard deviation over training seeds where there are several.

    Controls far outside what the SAEs have are named, not drawn, so that they do not press the SAEs together.

    Raises:
        CannotMeasure: No SAE has both the number and an L0.
    """
    table, far = _near(l0_table(scores, shown))
    words = _words(table)
    for key, line in table.groupby(_LINE, sort=True):
        ordered = line.sort_values("l0")
        style = look(*ordered.iloc[0][["architecture", "loss"]])
        if len(ordered) == 1 or ordered["k"].duplicated().any():
            style["linestyle"] = "none"  # SAEs of one setting are no series
        axes.plot(ordered["l0"], ordered["mean"], label=words[key], markersize=6, linewidth=1.4, **style)
        low, high = ordered["mean"] - ordered["sd"], ordered["mean"] + ordered["sd"]
        axes.fill_between(ordered["l0"], low, high, color=style["color"], alpha=0.15, linewidth=0)
        if len(ordered) == 1 and ordered["sd"].notna().all():  # a band has no width at a single L0
            axes.errorbar(ordered["l0"], ordered["mean"], ordered["sd"], color=style["color"], capsize=3, linewidth=1)
    if far:
        axes.annotate(f"outside: {far}", (0.02, 0.02), xycoords="axes fraction", fontsize="small", color="0.25")
    axes.set(xlabel="L0 (latents per token)", ylabel=shown.label or shown.metric)
    axes.set_title("\n".join(filter(None, [title, shared(table.assign(family=_family(table)))])), fontsize="medium")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(fontsize="small", framealpha=0.9)


def _near(table: DataFrame) -> tuple[DataFrame, str]:
    """The rows but for controls far outside what the SAEs have, and those in words."""
    control = table["architecture"].str.endswith("_control")
    others = table[~control]
    if not len(others):
        return table, ""
    low, high = others["mean"].min(), others["mean"].max()
    reach = _FAR * max(high - low, 0.02 * abs(high), 1e-9)
    far = control & ~table["mean"].between(low - reach, high + reach)
    named = table[far].groupby("architecture")["mean"].mean()
    said = ", ".join(f"{name} {value:.3g}" for name, value in named.items())
    return table[~far], said


def _family(table: DataFrame) -> list[str]:
    return ["\x1f".join(map(str, row)) for row in table[FAMILY].itertuples(index=False)]


def _words(table: DataFrame) -> dict[Any, str]:
    """A name for each line: what tells it from the others."""
    rows = table.assign(k="")
    rows = rows.assign(family=_family(rows))
    named = labels(rows)
    several = len(set(rows["width"])) > 1
    found: dict[Any, str] = {}
    for row in rows.drop_duplicates(_LINE).itertuples(index=False):
        name = named.get(str(row.family), f"{row.architecture} {row.loss}".strip())
        key = tuple(getattr(row, column) for column in _LINE)
        width: Any = row.width
        found[key] = f"{name}, width {width}" if several and width else name
    return found
