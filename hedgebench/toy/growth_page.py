"""The page and the figure of the growth study: markdown and axes, from its table alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hedgebench.canvas import page_wide
from hedgebench.looks import BY_LOSS, SMALL_LETTERS
from hedgebench.toy.checks import Check, verdict
from hedgebench.toy.growing import MIN_LIVE
from hedgebench.toy.growth_claims import CLAIMS, check_all, steady, usable
from hedgebench.toy.growth_settings import SETTINGS, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from pandas import DataFrame

_HEAD = """# Does the hedging degree follow hedging?

Toy SAEs that grow, in worlds whose features are known: the control's rows say how much it hedges, and the measures of `grow_delta` are held against that, while a dial
makes features fire together ever more often. Beyond the papers, which never tried their measure where the answer is known.

    {command}

makes this page, its figure and `growth.csv`, a row for each of {n} grown SAEs ({worlds} worlds of every setting). {refused} of them are left out because fewer than {least:.0%} of their new
latents are alive, as `grow_delta` refuses them. A number is the mean over worlds with its 95 % interval (Student's t); a claim *holds* where every interval lies in the range it is taken to
mean, *does not hold* where one lies outside, and otherwise these worlds *cannot tell*.

New latents start as in the paper's growing SAEs: random unit rows times 0.1, encoder their transpose, bias 0. Grown SAE and control train on with the same samples. SAEs trained by snap go on with L2.

![truth and measures](growth.png)

| claim | verdict |
| --- | --- |
"""
_SHOWN = ("hedged", "taken", "projection", "degree", "delta_share", "excess", "symmetry", "drift")
_TABLE = """
## The numbers

Means over SAEs, at the lowest and the highest value of each dial; for one old latent, over those in which it has kept its feature. `hedged`: the truth. `taken`: what of it lay on features that new latents track. `projection`: g. `drift`: mean |δ| between the two controls, to hold against g.

"""


def growth_page(frame: DataFrame, command: str) -> str:
    """The whole page.

    Args:
        frame: From `hedgebench.toy.growing.run_growth`.
        command: What made it.
    """
    checks = check_all(frame)
    text = _HEAD.format(
        command=command,
        n=len(frame),
        worlds=frame["world"].nunique(),
        refused=len(frame) - len(usable(frame)),
        least=MIN_LIVE,
    )
    text += "".join(f"| {claim.title} | {verdict(checks[claim.title])} |\n" for claim in CLAIMS)
    for claim in CLAIMS:
        if found := checks[claim.title]:
            text += f"\n## {claim.title}: {verdict(found)}\n\n{claim.text}\n\n{_checked(found)}"
    return text + _TABLE + _numbers(steady(usable(frame)))


def _checked(checks: list[Check]) -> str:
    lines = ["| number | mean [95 %] | the claim means | verdict |\n| --- | --- | --- | --- |\n"]
    return "".join(lines + [f"| {c.what} | {c.found} | {c.meant} | {c.verdict} |\n" for c in checks])


def _numbers(frame: DataFrame) -> str:
    lines = [f"| setting | loss | dial | SAEs | {' | '.join(_SHOWN)} |\n", f"| {'--- | ' * (4 + len(_SHOWN))}\n"]
    for (setting, loss), rows in frame.groupby(["setting", "loss"], sort=False):
        for dial in (rows["dial"].min(), rows["dial"].max()):
            here = rows[rows["dial"] == dial]
            means = " | ".join(f"{here[column].mean():.3f}" for column in _SHOWN)
            lines.append(f"| {setting} | {loss} | {dial:g} | {len(here)} | {means} |\n")
    return "".join(lines)


def draw_growth(frame: DataFrame) -> Figure:
    """For every setting a row of three: truth and degree along the dial, shares and nulls along it, and g against the truth."""
    from matplotlib.transforms import offset_copy

    names = list(dict.fromkeys(frame["setting"]))
    with page_wide(1.1 + 1.55 * len(names), SMALL_LETTERS) as figure:
        grid = figure.subplots(len(names), 3, squeeze=False)
        for (left, middle, right), name in zip(grid, names, strict=True):
            rows, setting = usable(frame[frame["setting"] == name]), SETTINGS[name]
            left.set_title(setting.title, fontsize="medium", loc="left")
            _draw_lines(left, setting, steady(rows), _LINES, "norm, of unit rows")
            _draw_lines(middle, setting, steady(rows), _SHARES, "share of change\nin the new span")
            middle.set_ylim(0, 1.02)
            _draw_truth(right, setting, rows)
        losses = dict.fromkeys(loss for name in names for loss in SETTINGS[name].losses)
        for axes, handles in zip(grid[-1], _legends(losses), strict=True):
            below = offset_copy(axes.transAxes, figure, y=-0.4)  # what the axis's own words take, in inches
            where = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": below}
            axes.legend(handles=handles, fontsize="small", **where)
    return figure


_LINES: Mapping[str, Mapping[str, Any]] = {
    "hedged": {"label": "hedged (truth)", "linestyle": "-", "marker": "o"},
    "projection": {"label": "projection g", "linestyle": "--", "marker": "s"},
    "degree": {"label": "degree", "linestyle": ":", "marker": "^"},
}
_SHARES: Mapping[str, Mapping[str, Any]] = {
    "delta_share": {"label": "share", "linestyle": "-"},
    "null_other_seed": {"label": "null: other seed", "linestyle": "--"},
    "null_residual": {"label": "null: residual", "linestyle": "-."},
    "isotropic": {"label": "null: r / d", "linestyle": ":"},
}
"""Of columns: how their lines look; the colour is the loss's."""
_SWAPPED = {False: "o", True: "x"}
"""The markers of SAEs, by whether an old latent has another feature now."""


def _draw_lines(
    axes: Axes, setting: Setting, rows: DataFrame, columns: Mapping[str, Mapping[str, Any]], what: str
) -> None:
    """Columns along the dial, for each loss: medians, and the middle half."""
    for loss in setting.losses:
        colour = BY_LOSS[loss].color
        for column, style in columns.items():
            dials = rows[rows["loss"] == loss].groupby("dial")[column]
            quarters = dials.quantile(np.array([0.25, 0.5, 0.75])).unstack()  # noqa: PD010 - nothing is aggregated
            axes.plot(quarters.index, quarters[0.5], color=colour, markersize=3, linewidth=1.2, **style)
            axes.fill_between(quarters.index, quarters[0.25], quarters[0.75], color=colour, alpha=0.12, linewidth=0)
    axes.set(xlabel=setting.dial, ylabel=what)


def _draw_truth(axes: Axes, setting: Setting, rows: DataFrame) -> None:
    """An SAE's projection against its hedging, beside the line on which they are equal."""
    for loss in setting.losses:
        for swapped, marker in _SWAPPED.items():
            some = rows[(rows["loss"] == loss) & ((rows["swapped"] > 0) == swapped)]
            axes.plot(some["hedged"], some["projection"], marker, color=BY_LOSS[loss].color, markersize=3, alpha=0.6)
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
    axes.set(xlabel="hedged (truth)", ylabel="projection g")


def _legends(losses: Iterable[str]) -> Iterator[list[Line2D]]:
    """What lines and markers of each column of panels mean; at the last, which has no lines, the colours of all three."""
    from matplotlib.lines import Line2D

    for columns in (_LINES, _SHARES):
        yield [Line2D([], [], color="0.3", markersize=3, **style) for style in columns.values()]
    points = [(loss, BY_LOSS[loss].color, _SWAPPED[False]) for loss in losses]
    points.append(("another feature now", "0.3", _SWAPPED[True]))
    yield [
        Line2D([], [], color=colour, linestyle="", marker=marker, markersize=4, label=label)
        for label, colour, marker in points
    ]
