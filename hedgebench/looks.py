"""How the SAEs of a scores table look in its figures. No torch, and no knowledge of any eval.

One rule holds for a whole scores table, so that an SAE looks the same in every figure of it:

- A *recipe*, an architecture with a loss, has one colour and one marker of its own, so that recipes are told apart without colours, too. Controls are grey.
- What SAEs of one recipe differ in (width, k, hook point, ...) is the shade of that colour, from dark to light, and the line style, which recipes of one colour start at different ones of.
  Which columns that is depends on what a figure's lines run along; an SAE that is the only one of its recipe has the plain colour.
- How an eval measured, its version, settings and data, is the filling of the marker: full for the newest version, then pale, then white.

Recipes that are common have looks of their own, the same in every table; others get what those of this table leave free, by their order. There are seven colours, fifteen
markers, six line styles and three fillings: what is beyond them shares one of these, and the legend's words tell.
A figure that needs the colour for something else (L0, which number a line is) leaves the marker and the filling as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hedgebench.control_cards import control_kind
from hedgebench.letters import shown
from hedgebench.one_line import natural, one_line

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType, MarkerType
    from pandas import DataFrame

Name = TypeVar("Name")
Value = TypeVar("Value")

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that people of every colour vision tell apart (Okabe and Ito 2008)."""
EDITION = ["eval_version", "data", "config", "made_with"]
"""Columns of the scores table: how an eval measured. Its numbers are compared within one edition only."""
SIZES = ["width", "k", "objective", "train_tokens", "release", "recipe", "model", "hook"]
"""Columns of the scores table: what SAEs of one recipe may differ in, but for their training seed."""
PAGE = 6.75
"""Inches: the width of a paper's page, of every figure."""
LETTERS, SMALL_LETTERS = 9.0, 7.5
"""Points: the size of letters, and of those in figures of several axes side by side. The smallest that are used, `x-small` of the one and `small` of the other, are 6.2."""
_WIDE, _TALL = 60, 3
"""Letters in a line of text from a table, which fit also where two figures stand side by side, and lines of it."""
_SPARSITY = {"l0", "l1", "sparsity", "target_l0"}
"""Parts of an objective that change along a line, as k does."""
_BLUE, _VERMILLION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK = OKABE_ITO
_GREY = "#666666"
_LOSSES = ("mse", "l2", "snap", "")
_RECIPES: Mapping[tuple[str, str], tuple[str, MarkerType]] = {
    ("batchtopk", "mse"): (_BLUE, "o"),
    ("batchtopk", "l2"): (_VERMILLION, "P"),
    ("batchtopk", "snap"): (_GREEN, "X"),
    ("matryoshka_batchtopk", "mse"): (_SKY, "s"),
    ("matryoshka_batchtopk", "l2"): (_ORANGE, "D"),
    ("matryoshka_batchtopk", "snap"): (_PURPLE, "p"),
    ("topk", "mse"): (_BLACK, "^"),
    ("topk", "l2"): (_VERMILLION, "<"),
    ("topk", "snap"): (_GREEN, ">"),
    ("standard", "mse"): (_PURPLE, "v"),
    ("standard", "l2"): (_ORANGE, "h"),
    ("standard", "snap"): (_SKY, "d"),
    ("jumprelu", "mse"): (_VERMILLION, "*"),
    ("gated", "mse"): (_GREEN, "8"),
}
"""Where no loss is known, it is taken as MSE's."""
_MARKERS: tuple[MarkerType, ...] = ("D", "^", "P", "v", "X", "p", "<", ">", "*", "h", "d", "8", "H", "s", "o")
_CONTROLS: Mapping[str, MarkerType] = {
    "random_control": "x",
    "permuted_control": "+",
    "pca_control": "1",
    "oracle_control": (6, 2, 0),
    "dead_control": "2",
    "noise_control": "3",
    "mixed_control": "4",
}
_OTHER_CONTROLS: tuple[MarkerType, ...] = ("|", "_", (8, 2, 0))
_LINES: tuple[LineStyleType, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
)
_FILLINGS = (0.0, 0.6, 1.0)
"""Shares of white."""
_SHADES = (-0.65, 0.4)
"""Of the first and the last of several: shares of black (negative) and of white."""


class Look(NamedTuple):
    """How one line, or one SAE, looks."""

    color: str
    marker: MarkerType
    linestyle: LineStyleType
    white: float = 0.0
    """The share of white in the filling of its markers."""
    shade: float = 0.0
    """By how much `color` is lighter than its recipe's (negative: darker)."""

    def filled(self, color: Any) -> str:
        """What a marker of a colour is filled with."""
        return shaded(color, self.white)

    def style(self) -> dict[str, Any]:
        """For matplotlib's `plot`."""
        line = {"color": self.color, "marker": self.marker, "linestyle": self.linestyle}
        return line | {"markerfacecolor": self.filled(self.color), "markeredgecolor": self.color}


BY_LOSS: Mapping[str, Look] = {loss: Look(*_RECIPES["batchtopk", loss], "-") for loss in ("mse", "l2", "snap")}
"""Where lines differ in their loss alone, whatever the architecture: BatchTopK's."""


class Looks:
    """The looks of all SAEs of a scores table, as one of its evals measured them."""

    def __init__(self, scores: DataFrame, eval_name: str) -> None:
        """Read which recipes, sizes and editions there are.

        Args:
            scores: The whole scores table, whatever of it is to be drawn.
            eval_name: The eval whose numbers are.
        """
        recipe = ["architecture", "loss"]
        table = scores.reindex(columns=["eval", *recipe, *SIZES, *EDITION])
        saes = table[[*recipe, *SIZES]].drop_duplicates().astype("object").to_dict("records")
        self._saes = [row | {"beside_sparsity": beside_sparsity(row["objective"])} for row in saes]
        editions = table.loc[table["eval"] == eval_name, EDITION].drop_duplicates().astype("object")
        self._editions = _order((_key(row, EDITION) for row in editions.to_dict("records")), newest_first=True)
        recipes = sorted({_recipe(row) for row in self._saes}, key=lambda one: (one[0], _rank(one[1]), one[1]))
        trained = [one for one in recipes if control_kind(one[0]) is None]
        known = {one: _RECIPES[key] for one in trained if (key := _known(one, trained)) in _RECIPES}
        self._colours = _given(trained, {one: colour for one, (colour, _) in known.items()}, OKABE_ITO)
        same = [[one for one in trained if self._colours[one] == colour] for colour in set(self._colours.values())]
        self._starts = {one: i for alike in same for i, one in enumerate(alike)}
        self._markers = _given(trained, {one: marker for one, (_, marker) in known.items()}, _MARKERS)
        controls = [one for one in recipes if control_kind(one[0]) is not None]
        strokes = {one: _CONTROLS[one[0]] for one in controls if one[0] in _CONTROLS}
        self._markers |= _given(controls, strokes, _OTHER_CONTROLS)
        self._sizes: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}

    def of(self, rows: DataFrame, *apart: str) -> Look:
        """The look of what some rows of a table are of, all of the same.

        Args:
            rows: With the columns architecture and loss, and those of `apart` and of `EDITION`; numbers may be text.
            apart: Columns of `SIZES`, or `beside_sparsity`, that tell the lines of one recipe apart in this figure.
        """
        row = rows.iloc[0]
        recipe = _recipe(row)
        if (sizes := self._sizes.get((*recipe, *apart))) is None:
            sizes = _order(_key(sae, apart) for sae in self._saes if _recipe(sae) == recipe)
            self._sizes[(*recipe, *apart)] = sizes
        size, edition = sizes.get(_key(row, apart), 0), self._editions.get(_key(row, EDITION), 0)
        dark, light = _SHADES
        shade = dark + (light - dark) * size / (len(sizes) - 1) if len(sizes) > 1 else 0.0
        return Look(
            color=shaded(self._colours.get(recipe, _GREY), shade),
            marker=self._markers[recipe],
            linestyle=_LINES[(self._starts.get(recipe, 0) + size + edition * len(sizes)) % len(_LINES)],
            white=_FILLINGS[edition % len(_FILLINGS)],
            shade=shade,
        )


def drawable(text: str, lines: int | None = _TALL) -> str:
    """Text from a table, such as a name, as a figure can show it: what it is, in as many lines as it needs and not more than `lines`.

    Matplotlib would read what stands between two `$` as a formula, and leaves out of a legend what begins with `_`: a space goes before that. A letter that no font here has is shown as its code point (`hedgebench.letters`).
    """
    wrapped = fill(shown(one_line(text)), _WIDE, max_lines=lines, placeholder="\N{HORIZONTAL ELLIPSIS}").replace(
        "$", r"\$"
    )
    return f"\N{NO-BREAK SPACE}{wrapped}" if wrapped.startswith("_") else wrapped


def beside_sparsity(objective: Any) -> str:
    """An objective (`l1=8 snap_at=0.2`) without what weighs sparsity: what is equal for SAEs of one recipe that differ in their L0 alone."""
    parts = str(objective).split() if isinstance(objective, str) else []
    return " ".join(part for part in parts if part.split("=")[0] not in _SPARSITY)


def unfilled(marker: MarkerType) -> bool:
    """Whether a marker is of strokes alone, which have no filling and no edge."""
    from matplotlib.markers import MarkerStyle

    return not MarkerStyle(marker).is_filled()


def shaded(colour: Any, share: float) -> str:
    """A colour mixed with a share of white, or of black where that is negative."""
    from matplotlib.colors import to_hex, to_rgb

    towards = float(share > 0)
    red, green, blue = (part + (towards - part) * abs(share) for part in to_rgb(colour))
    return str(to_hex((red, green, blue)))


def _recipe(row: Any) -> tuple[str, str]:
    return _plain(row["architecture"]), _plain(row["loss"])


def _known(recipe: tuple[str, str], recipes: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The recipe whose look one has: its own, or without a loss MSE's, where no other has that."""
    mse = recipe[0], "mse"
    return mse if recipe[1] == "" and mse not in recipes else recipe


def _key(row: Any, columns: Iterable[str]) -> tuple[str, ...]:
    return tuple(_plain(row[name]) for name in columns)


def _plain(value: Any) -> str:
    """A cell as text, the same for a number and for its text; "" for none."""
    from pandas import isna

    if isna(value):
        return ""
    try:
        return f"{float(value):.17g}"
    except ValueError:
        return str(value)


def _rank(loss: str) -> int:
    """Losses that are known go before others."""
    return _LOSSES.index(loss) if loss in _LOSSES else len(_LOSSES)


def _order(keys: Iterable[tuple[str, ...]], *, newest_first: bool = False) -> dict[tuple[str, ...], int]:
    """The place of each key, numbers by size and before text, also within a text; with `newest_first` from the largest first part."""

    def place(key: tuple[str, ...]) -> list[tuple[float, list[tuple[float, str]]]]:
        parts = [(float(part), []) if _is_number(part) else (float("inf"), natural(part)) for part in key]
        if newest_first:
            parts[0] = (-parts[0][0], parts[0][1])
        return parts

    return {key: i for i, key in enumerate(sorted(set(keys), key=place))}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _given(names: Sequence[Name], own: Mapping[Name, Value], pool: Sequence[Value]) -> dict[Name, Value]:
    """Each name's own value, and for the others, in their order, those of the pool that no name here has; first the ones that none owns at all. Where all are taken, they are shared."""
    found = {name: own[name] for name in names if name in own}
    taken = set(found.values())
    free = [value for value in pool if value not in taken] or list(pool)
    free.sort(key=lambda value: value in set(own.values()))
    others = [name for name in names if name not in own]
    return found | {name: free[i % len(free)] for i, name in enumerate(others)}
