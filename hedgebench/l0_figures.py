"""A number against L0, a line for each variant with its band over training seeds: the drawing that several evals' figures share. No torch, and no knowledge of any eval."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.control_cards import control_kind
from hedgebench.eval import Figure
from hedgebench.looks import EDITION, Looks, beside_sparsity, drawable
from hedgebench.reading import compared
from hedgebench.series import FAMILY, WIDEST, editions, labels, points, shared, split_l0, with_family
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame, Series

_APART = ["model", "hook", "beside_sparsity", "width"]
"""What tells lines of one recipe apart, but for how the eval measured them."""
_LINE = ["architecture", "loss", *_APART, *EDITION]
"""What is equal along a line: all of a family but its k and what else weighs sparsity, and the width."""
_ALIKE = WIDEST**0.5
"""A control is of like L0 where its L0 is within this factor of the SAEs'."""
_FAR = 4.0
"""Spans of the SAEs' values: a control that is farther out is named, not drawn."""
_HOW = (
    "Points are means over training seeds; where there are several, a band (a bar, at an L0 by itself) is one standard deviation over them. "
    "Where an SAE of a recipe has no number, its others are small points beside the line. An arrow at the axis says which way is better."
)


class Shown(NamedTuple):
    """What is drawn against L0."""

    eval: str
    metric: str
    params: str = ""
    label: str = ""
    """Of the axis; the metric's name where empty."""


def l0_table(scores: DataFrame, shown: Shown) -> DataFrame:
    """The numbers that `draw_against_l0` draws. The L0 of an SAE is what was measured beside it (a metric `l0`, see `_measured`), or else what its checkpoint says.

    Returns:
        A row for each line and L0: the columns of `FAMILY`, width (0 where it is not known), l0 (mean over SAEs), mean and sd (over training seeds, of means over evaluation seeds; NaN for one SAE),
        train_seeds, saes, and series (as `points` has it; where it is False, the row is of one SAE for itself).

    Raises:
        CannotMeasure: No SAE has both the number and an L0.
    """
    known = _known(scores, shown)
    alone = known["sae"].where(~known["series"], "")
    of = {"l0": ("l0", "mean"), "mean": ("value", "mean"), "sd": ("value", "std")}
    found = known.groupby([*FAMILY, "width", alone], sort=True).agg(
        **of, train_seeds=("sae", "nunique"), saes=("sae", " ".join), series=("series", "first")
    )
    return found.droplevel(-1).reset_index()


def _known(scores: DataFrame, shown: Shown) -> DataFrame:
    """The `points` of a number, with the L0 that `l0_table` speaks of.

    Raises:
        CannotMeasure: No SAE has both.
    """
    of_any_width = scores.assign(width=scores["width"].fillna(0))
    known = points(of_any_width, shown.eval, (shown.metric, shown.params))
    known["l0"] = _measured(scores, known, shown.eval).fillna(known["l0"])
    known = known[known["l0"].notna()]
    if not len(known):
        raise CannotMeasure(f"no SAE here has both a {shown.metric} and an l0")
    return known


def read_against_l0(scores: DataFrame, shown: Shown) -> str:
    """What the numbers say, in words: at each L0 by itself which variants can be told apart, and which controls none of them is known to be better than. Of each version, setting, text and hook point by itself.

    Raises:
        CannotMeasure: No SAE has both the number and an L0.
    """
    from hedgebench.stats.grid import variants

    l0 = _known(scores, shown).groupby("sae")["l0"].mean()
    rows = scores[(scores["eval"] == shown.eval) & (scores["metric"] == shown.metric)]
    rows = rows[(rows["params"] == shown.params) & (rows["slice_by"] == "all") & rows["sae"].isin(l0.index)]
    variant, said, name = variants(scores), [], f"{shown.metric} {shown.params}".strip()
    for words, part in editions(rows):
        said.append(_at_each_l0(part, f"{name} ({words})" if words else name, l0, variant))
    return " ".join(said)


def _at_each_l0(rows: DataFrame, name: str, l0: Series, variant: Series) -> str:
    """The same of rows that may be compared."""
    from hedgebench.stats.tables import summary

    control = rows["architecture"].fillna("").map(control_kind).notna()
    trained = rows[~control]
    if not len(trained):
        return f"{name}: there are only controls."
    of_each = l0[trained["sae"].unique()].groupby(variant).mean()
    found, alone = [], True
    for band in split_l0(of_each[of_each > 0]):
        inside = of_each.index[of_each.between(*band)]
        here = trained[trained["sae"].map(variant).isin(inside)]
        alike = l0[rows.loc[control, "sae"].unique()]
        beside = rows[rows["sae"].isin(alike.index[alike.between(band.low / _ALIKE, band.high * _ALIKE)])]
        where = f"at L0 {' to '.join(dict.fromkeys(f'{end:.3g}' for end in band))}"
        own = variant[variant.isin(inside)]
        summed = summary(here, own)
        over, count, more = compared(here, summed, own)
        said = f"{count}{more}{_against_controls(summed, beside)}"
        found.append((where, over, said))
        alone &= len(inside) == 1 and said == f"{count}."
    if not found:
        return f"{name}: no SAE has an L0 above 0."
    seeds = " or ".join(sorted({over for _, over, _ in found if over}))
    if not seeds and len({said for _, _, said in found}) == 1:
        return f"{name}: {found[0][2]}"
    if not seeds and alone:
        return f"{name}: no two variants have a like L0."
    how = f"SAEs of like L0 compared (95 %, all pairs at an L0 together, over {seeds} seeds): " if seeds else ""
    first, *rest = (f"{where}: {said}" for where, _, said in found)
    return " ".join([f"{name}, {how}{first}", *(line[0].upper() + line[1:] for line in rest)])


def _against_controls(found: DataFrame, controls: DataFrame) -> str:
    """The controls that no variant is known to be better than, by the intervals of the variants' means over both seeds, or over whichever is known.

    Args:
        found: The `stats.tables.summary` of the variants.
        controls: Rows of controls of like L0.
    """
    way = controls["higher_is_better"].dropna().unique()
    low, high = (
        found[f"both_{end}"].fillna(found[f"training_{end}"]).fillna(found[f"evaluation_{end}"]).astype(float).dropna()
        for end in ("low", "high")
    )
    if len(way) != 1 or not len(low):
        return ""
    sign, sure, possible = (1, low.max(), high.max()) if way[0] else (-1, -high.min(), -low.min())
    beside = controls.groupby("sae")["value"].mean()
    unbeaten, unsure = beside[sign * beside > possible], beside[(sign * beside).between(sure, possible)]
    said = [
        f"{words} the control{'s' * (len(of) > 1)} {', '.join(f'{sae} ({value:.3g})' for sae, value in of.items())}"
        for words, of in (("none is better than", unbeaten), ("the best is not told apart from", unsure))
        if len(of)
    ]
    return f" By 95 % intervals of means, {'; '.join(said)}." if said else ""


def _measured(scores: DataFrame, known: DataFrame, eval_name: str) -> Series:
    """The L0 that was measured of the SAE of each row, a mean over evaluation seeds; NaN where none was.

    It is the eval's own, of the row's version, settings and data. For an eval that measures none it is another's: of all that was measured in one way, the one that most of
    these SAEs have (of two, the one of the newer version). Numbers that were measured in different ways are not averaged, nor stand on one line.
    """
    rows = with_family(scores[(scores["metric"] == "l0") & (scores["slice_by"] == "all") & scores["value"].notna()])
    means = rows.groupby(["eval", "params", *EDITION, "sae"], as_index=False)["value"].mean()
    own = means[means["eval"] == eval_name].drop_duplicates(["sae", *EDITION])
    if len(own):
        return known[["sae", *EDITION]].merge(own, "left", ["sae", *EDITION])["value"].set_axis(known.index)
    of_these = means[means["sae"].isin(known["sae"])]
    ways = [
        (len(way), key, way.set_index("sae")["value"]) for key, way in of_these.groupby(["eval", "params", *EDITION])
    ]
    ways.sort(key=lambda way: (way[0], way[1][2].zfill(9), way[1]))
    return known["sae"].map(ways[-1][2] if ways else {}).astype(float)


def l0_figure(name: str, shown: Shown, title: str = "", panel: str = "") -> Figure:
    """The figure of one metric against L0, for an eval to declare."""
    return Figure(
        name,
        partial(draw_against_l0, shown=shown, title=title),
        partial(l0_table, shown=shown),
        partial(read_against_l0, shown=shown),
        panel,
        _HOW,
    )


def draw_against_l0(scores: DataFrame, axes: Axes, shown: Shown, title: str = "") -> None:
    """Draw one metric against L0: a line for each variant, and a band of one standard deviation over training seeds where there are several.

    Controls far outside what the SAEs have are named, not drawn, so that they do not press the SAEs together.

    Raises:
        CannotMeasure: No SAE has both the number and an L0.
    """
    table = l0_table(scores, shown)
    table = table.assign(beside_sparsity=table["objective"].map(beside_sparsity), width=table["width"].replace(0, ""))
    words, looks = _words(table), Looks(scores, shown.eval)
    table, far = _near(table, words)
    for key, line in table.groupby(_LINE, sort=True):
        line = line.sort_values("l0")
        whole, single = line[line["series"]], line[~line["series"]]
        look, name = looks.of(line, *_APART), drawable(words[key])
        points = look.style() | {"linestyle": "none"}
        if len(whole):
            style = look.style() if len(whole) > 1 else points
            axes.plot(whole["l0"], whole["mean"], label=name, markersize=5, linewidth=1.3, **style)
        if len(single):
            beside = {"markersize": 3, "alpha": 0.6} if len(whole) else {"markersize": 5, "label": name}
            axes.plot(single["l0"], single["mean"], **points, **beside)
        low, high, known = whole["mean"] - whole["sd"], whole["mean"] + whole["sd"], whole["sd"].notna()
        axes.fill_between(whole["l0"], low, high, color=look.color, alpha=0.15, linewidth=0)
        barred = whole[known & ~known.shift(fill_value=False) & ~known.shift(-1, fill_value=False)]
        if len(barred):  # a band has no width at an L0 by itself
            bar: dict[str, Any] = {"color": look.color, "linestyle": "none", "capsize": 3, "elinewidth": 1}
            axes.errorbar(barred["l0"], barred["mean"], barred["sd"], **bar)
    outside = drawable(f"outside: {far}", lines=None) if far else ""
    axes.set_xlabel("\n".join(filter(None, ["L0 (latents per token)", outside])))
    axes.set_ylabel((shown.label or shown.metric) + _better(scores, shown))
    place = drawable(shared(table.assign(family=_family(table))))
    axes.set_title("\n".join(filter(None, [title, place])), fontsize="medium")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(fontsize="small", framealpha=0.9)


def _better(scores: DataFrame, shown: Shown) -> str:
    """An arrow the way that is better, where the metric has one."""
    here = (scores["eval"] == shown.eval) & (scores["metric"] == shown.metric)
    ways = scores.loc[here, "higher_is_better"].dropna().unique()
    return (" ↑" if ways[0] else " ↓") if len(ways) == 1 else ""


def _near(table: DataFrame, words: Mapping[Any, str]) -> tuple[DataFrame, str]:
    """The rows but for controls far outside what the SAEs have, and those in words."""
    control = table["architecture"].map(control_kind).notna()
    others = table[~control]
    if not len(others):
        return table, ""
    low, high = others["mean"].min(), others["mean"].max()
    reach = _FAR * max(high - low, 0.02 * abs(high), 1e-9)
    far = control & ~table["mean"].between(low - reach, high + reach)
    ends = table[far].groupby(_LINE)["mean"].agg(["min", "max"])
    said = [
        f"{words[key]} {' to '.join(dict.fromkeys(f'{end:.3g}' for end in row))}"
        for key, row in zip(ends.index, ends.to_numpy(), strict=True)
    ]
    return table[~far], ", ".join(words.replace(" ", "\N{NO-BREAK SPACE}") for words in said)


def _family(table: DataFrame) -> list[str]:
    return ["\x1f".join(map(str, row)) for row in table[FAMILY].itertuples(index=False)]


def _words(table: DataFrame) -> dict[Any, str]:
    """A name for each line: what tells it from the others."""
    rows = table.assign(k="", objective=table["beside_sparsity"])
    rows = rows.assign(family=_family(rows))
    named, several = labels(rows), len(set(table["width"])) > 1
    found: dict[Any, str] = {}
    for key, line in rows.groupby(_LINE, sort=False):
        first = line.iloc[0]
        name = named.get(str(first["family"]), f"{first['architecture']} {first['loss']}".strip())
        found[key] = f"{name}, width {first['width']}" if several and first["width"] else name
    return found
