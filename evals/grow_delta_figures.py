"""The figures of `grow_delta`, and the numbers they show, from its rows of the scores table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hedgebench.eval import CannotMeasure
from hedgebench.figures import draw_points, handle, width_axis
from hedgebench.looks import Look, Looks, shaded
from hedgebench.reading import from_to, level, signs
from hedgebench.series import APART, FAMILY, labels, means, points

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.typing import LineStyleType
    from pandas import DataFrame


class _Line(NamedTuple):
    """What one line of a figure is."""

    metric: str
    params: str
    words: str
    colour: str
    """Okabe and Ito's."""
    style: LineStyleType = "-"


_GREY = "#404040"
_SHARES = (
    _Line("delta_share", "", "new rows", "#0072B2"),
    _Line("null_share", "null=isotropic", "random span", "#000000", ":"),
    _Line("null_share", "null=residual", "rows drawn like the residual", "#E69F00", "--"),
    _Line("null_share", "null=other_seed", "new rows of other seeds", "#009E73", "-."),
    _Line("null_share", "null=reordered", "no new latents, other data order", "#CC79A7", (0, (5, 1))),
)
_DEGREES = (
    _Line("unclamped_degree", "", "decoder rows", "#0072B2"),
    _Line("unclamped_degree", "weights=encoder", "encoder columns", "#D55E00"),
)

_TOGETHER = "Above and below: by 95 % intervals over training seeds that hold for all widths together."
HOW = (
    "Points are SAEs, lines their means over training seeds, bands 95 % intervals of these at each width by itself. Colours say what is measured. Where there are several kinds of SAE, lines, shades and markers say which it is. "
    "Above it: how many of the new latents fire at all."
)


def draw_share(scores: DataFrame, axes: Axes) -> None:
    """The post's figure: the share of old rows' change in the span of the new rows, against the width, beside every null."""
    axes.set(ylabel="share of |δ|² in the span")
    _draw(scores, axes, _SHARES, "Share of the change of old decoder rows that lies in a span")
    axes.set_ylim(bottom=0)


def draw_degree(scores: DataFrame, axes: Axes) -> None:
    """The paper's hedging degree, not clamped, against the width; of decoder rows and of encoder columns."""
    axes.set(ylabel="hedging degree (g - b) / (1 - b)")
    _draw(scores, axes, _DEGREES, "Hedging degree; 0: a random span holds as much")
    axes.axhline(0, color="0.35", linewidth=1, linestyle=":")


def share_table(scores: DataFrame) -> DataFrame:
    """The numbers of `draw_share`."""
    return _table(scores, _SHARES)


def degree_table(scores: DataFrame) -> DataFrame:
    """The numbers of `draw_degree`."""
    return _table(scores, _DEGREES)


def read_share(scores: DataFrame) -> str:
    """What the new rows hold at the narrowest and the widest, and at how many widths that is above each null: of differences within SAEs, by intervals over training seeds that hold for all widths together."""
    said = []
    for family, rows in _families(_known(scores, _SHARES)):
        new, *nulls = (_of(rows, line) for line in _SHARES)
        against = [
            f"against {line.words}: {_signs(_less(new, null))}"
            for line, null in zip(_SHARES[1:], nulls, strict=True)
            if len(null)
        ]
        shown = means(new)
        said.append(f"{family}new rows hold {'; '.join([from_to(shown) + level(shown), *against])}.")
    return " ".join([*said, _TOGETHER])


def read_degree(scores: DataFrame) -> str:
    """The degree at the narrowest and the widest, and at how many widths it is above 0, by intervals over training seeds that hold for all widths together."""
    said = []
    for family, rows in _families(_known(scores, _DEGREES)):
        lines = [(line.words, _of(rows, line)) for line in _DEGREES]
        words = "; ".join(
            f"{name}: {from_to(means(of))}{level(means(of))}, against 0: {_signs(of)}" for name, of in lines if len(of)
        )
        said.append(f"{family}{words}.")
    return " ".join([*said, _TOGETHER])


def _signs(differences: DataFrame) -> str:
    """At how many widths they are above or below 0, by intervals that hold for all widths together (Bonferroni)."""
    return signs(means(differences, 1 - 0.05 / max(differences["width"].nunique(), 1)))


def _families(known: DataFrame) -> Iterator[tuple[str, DataFrame]]:
    """The families, each with what tells it from the others, in words."""
    words = labels(known)
    for family, rows in known.groupby("family", sort=True):
        yield f"{words[str(family)]}: " if words else "", rows


def _of(rows: DataFrame, line: _Line) -> DataFrame:
    return rows[(rows["metric"] == line.metric) & (rows["params"] == line.params)]


def _less(new: DataFrame, null: DataFrame) -> DataFrame:
    """The differences within SAEs, as `points` has values."""
    lower = new["sae"].map(null.set_index("sae")["value"])
    return new.assign(value=new["value"] - lower)[lower.notna()]


def _known(scores: DataFrame, lines: tuple[_Line, ...]) -> DataFrame:
    known = points(scores, "grow_delta", *((line.metric, line.params) for line in lines))
    if not (known["metric"] == lines[0].metric).any():
        raise CannotMeasure(f"no grown SAE here has a {lines[0].metric}")
    return known


def _table(scores: DataFrame, lines: tuple[_Line, ...]) -> DataFrame:
    """The means of the lines over training seeds with their intervals, and beside each the mean share of live new latents."""
    live = means(points(scores, "grow_delta", ("live_added", "")))
    same = [*FAMILY, "width", "saes"]
    live = live[[*same, "mean"]].rename(columns={"mean": "live_added"})
    return means(_known(scores, lines)).merge(live, on=same, how="left")


def _draw(scores: DataFrame, axes: Axes, lines: tuple[_Line, ...], title: str) -> None:
    """A point for every SAE, and the means at each width with their interval over training seeds, for every family; the live new latents above. Of several families, lines say which, and colours alone what is measured."""
    from matplotlib.lines import Line2D

    known, live = _known(scores, lines), points(scores, "grow_delta", ("live_added", ""))
    every, words = Looks(scores, "grow_delta"), labels(known)
    looks = {family: every.of(group, *APART) for family, group in known.groupby("family")}
    handles = []
    for line in lines:
        chosen = _of(known, line)
        for family, group in chosen.groupby("family"):
            _series(axes, group, line.colour, looks[family].linestyle if words else line.style, looks[family])
        if len(chosen):
            handles.append(Line2D([], [], color=line.colour, linestyle="-" if words else line.style, label=line.words))
    for family, name in words.items():
        handles.append(handle(looks[family]._replace(color=shaded(_GREY, looks[family].shade)), name))
    axes.legend(handles=handles, fontsize="small")
    width_axis(axes, known["width"])
    axes.set(xlabel="width after growing (latents)")
    above = axes
    if len(live):
        above = axes.inset_axes((0, 1.03, 1, 0.13), sharex=axes)
        for family, group in live[live["family"].isin(looks)].groupby("family"):
            _series(above, group, _GREY, looks[family].linestyle if words else "-", looks[family])
        above.set_ylim(0, 1.1)
        above.set_yticks([0, 0.5, 1])
        above.tick_params(labelbottom=False, labelsize="small")
        above.grid(axis="y", alpha=0.4)
        above.set_ylabel("live share of\nnew latents", fontsize="small")
    above.set_title(title, fontsize="medium")


def _series(axes: Axes, rows: DataFrame, colour: str, style: LineStyleType, look: Look) -> None:
    """A point for every SAE; a line through the means of a series, and a band where an interval is known. In the colour and line that say what it is, shaded, and with the marker, of whose it is."""
    colour = shaded(colour, look.shade)
    draw_points(axes, rows["width"], rows["value"], look, [colour] * len(rows), 14, alpha=0.6)
    if not rows["series"].all():
        return  # what would be joined is not known
    shown = means(rows)
    axes.plot(shown["width"], shown["mean"], color=colour, linestyle=style)
    axes.fill_between(shown["width"], shown["low"], shown["high"], color=colour, alpha=0.12, linewidth=0)
