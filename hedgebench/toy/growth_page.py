"""The page and the figure of the growth study: markdown and axes, from its table alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hedgebench.toy.checks import Check, verdict
from hedgebench.toy.figures import COLOURS
from hedgebench.toy.growing import MIN_LIVE
from hedgebench.toy.growth_claims import CLAIMS, check_all, steady, usable
from hedgebench.toy.growth_settings import SETTINGS, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
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
    """For every setting: truth and degree along the dial, shares and nulls along it, and g against the truth."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(frame["setting"]))
    figure = FigureCanvasAgg(Figure(figsize=(16, 3.9 * len(names)), layout="constrained")).figure
    grid = figure.subplots(len(names), 3, squeeze=False)
    for axes, name in zip(grid, names, strict=True):
        rows = usable(frame[frame["setting"] == name])
        _draw_dial(axes[0], SETTINGS[name], steady(rows))
        _draw_shares(axes[1], SETTINGS[name], steady(rows))
        _draw_truth(axes[2], rows)
    return figure


_LINES = {
    "hedged": ("hedged (truth)", "-", "o"),
    "projection": ("projection g", "--", "s"),
    "degree": ("degree", ":", "^"),
}
_SHARES = {
    "delta_share": ("share", "-"),
    "null_other_seed": ("null: other seed", "--"),
    "null_residual": ("null: residual", "-."),
    "isotropic": ("null: r / d", ":"),
}


def _draw_dial(axes: Axes, setting: Setting, rows: DataFrame) -> None:
    for loss in setting.losses:
        for column, (label, style, marker) in _LINES.items():
            _line(
                axes,
                rows[rows["loss"] == loss],
                column,
                label=f"{label}, {loss}",
                linestyle=style,
                marker=marker,
                color=COLOURS[loss],
            )
    axes.set(title=setting.title, xlabel=setting.dial, ylabel="norm, of unit rows")
    axes.legend(fontsize=7, ncols=len(setting.losses))


def _draw_shares(axes: Axes, setting: Setting, rows: DataFrame) -> None:
    for loss in setting.losses:
        for column, (label, style) in _SHARES.items():
            _line(
                axes, rows[rows["loss"] == loss], column, label=f"{label}, {loss}", linestyle=style, color=COLOURS[loss]
            )
    axes.set(title="Share of the change in the new span", xlabel=setting.dial, ylabel="share", ylim=(0, 1.02))
    axes.legend(fontsize=7, ncols=len(setting.losses))


def _line(axes: Axes, rows: DataFrame, column: str, **style: Any) -> None:
    """Medians, and the middle half."""
    quarters = rows.groupby("dial")[column].quantile(np.array([0.25, 0.5, 0.75])).unstack()  # noqa: PD010 - nothing is aggregated
    axes.plot(quarters.index, quarters[0.5], markersize=3, **style)
    axes.fill_between(quarters.index, quarters[0.25], quarters[0.75], color=style["color"], alpha=0.12, linewidth=0)


def _draw_truth(axes: Axes, rows: DataFrame) -> None:
    import seaborn as sns

    sns.scatterplot(
        rows,
        x="hedged",
        y="projection",
        hue="loss",
        style=rows["swapped"] > 0,
        palette=COLOURS,
        s=18,
        alpha=0.7,
        ax=axes,
    )
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
    axes.set(title="g against the truth; crosses: another feature now", xlabel="hedged (truth)", ylabel="projection g")
    axes.legend(fontsize=7)
