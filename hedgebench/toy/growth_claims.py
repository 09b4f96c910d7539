"""What the hedging degree is hoped to say, held against toy SAEs whose hedging is known. One number per world; intervals over worlds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.stats.intervals import mean_interval
from hedgebench.toy.checks import Check
from hedgebench.toy.growing import MIN_LIVE
from hedgebench.toy.growth_settings import SETTINGS
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from pandas import DataFrame

FOLLOWS = 0.8
"""A measure follows the truth if their rank correlation, in every world over its SAEs, is no less."""
_CROWDS, _ALONE = ("crowd+5", "crowd+15"), ("pair", "child")


class GrowthClaim(NamedTuple):
    """Something to hold against the table."""

    title: str
    text: str
    checks: Callable[[DataFrame], Iterator[Check]]


def usable(frame: DataFrame) -> DataFrame:
    """The SAEs that `grow_delta` would measure: enough of their new latents are alive."""
    return frame[frame["live"] >= MIN_LIVE]


def check_all(frame: DataFrame) -> dict[str, list[Check]]:
    """The checks of every claim, by its title; none where the table lacks what it is about."""
    found: dict[str, list[Check]] = {}
    for claim in CLAIMS:
        found[claim.title] = []
        try:
            found[claim.title] += claim.checks(usable(frame))
        except CannotMeasure:
            continue
    return found


def steady(frame: DataFrame) -> DataFrame:
    """Without the SAEs of one old latent in which that has come to track another feature."""
    return frame[~frame["setting"].isin(_ALONE) | (frame["swapped"] == 0)]


def _rows(frame: DataFrame, setting: str, loss: str = "mse", dial: Callable[[float], bool] | None = None) -> DataFrame:
    """The steady SAEs of a setting."""
    rows = steady(frame[(frame["setting"] == setting) & (frame["loss"] == loss)])
    return rows if dial is None else rows[rows["dial"].map(dial).astype(bool)]


def _check(
    what: str, rows: DataFrame, statistic: Callable[[DataFrame], float], low: float = -math.inf, high: float = math.inf
) -> Check:
    """The mean over worlds of a number of each.

    Raises:
        CannotMeasure: No world has it.
    """
    values = [statistic(world) for _, world in rows.groupby("world")]
    return Check(what, mean_interval([value for value in values if not math.isnan(value)]), low, high)


def _mean(column: str) -> Callable[[DataFrame], float]:
    return lambda rows: float(rows[column].mean())


def _gap(column: str, truth: str) -> Callable[[DataFrame], float]:
    return lambda rows: float((rows[column] - rows[truth]).abs().mean())


def _rank(column: str) -> Callable[[DataFrame], float]:
    """Spearman's correlation with what is hedged."""

    def correlation(rows: DataFrame) -> float:
        from scipy.stats import spearmanr

        if min(rows[column].nunique(), rows["hedged"].nunique()) < 3:
            return math.nan
        return float(spearmanr(rows[column], rows["hedged"]).statistic)

    return correlation


def _top(setting: str) -> Callable[[float], bool]:
    return lambda dial: dial == SETTINGS[setting].points[-1]


def _projected(frame: DataFrame) -> Iterator[Check]:
    for setting, truth in (("pair", "hedged"), ("crowd+15", "hedged"), ("crowd+5", "taken")):
        what = f"{setting}: mean distance of g from what is {truth}"
        yield _check(what, _rows(frame, setting), _gap("projection", truth), high=0.03)


def _all_of_it(frame: DataFrame) -> Iterator[Check]:
    rows = _rows(frame, "crowd+5")
    yield _check("crowd+5: mean distance of g from what is hedged", rows, _gap("projection", "hedged"), high=0.03)
    after = _rows(frame, "crowd+5", dial=_top("crowd+5"))
    yield _check("crowd+5: hedged still by the grown SAE, dial at its end", after, _mean("left"), high=0.03)


def _follows(column: str) -> Callable[[DataFrame], Iterator[Check]]:
    def checks(frame: DataFrame) -> Iterator[Check]:
        for setting in (*_CROWDS, "pair"):
            yield _check(f"{setting}: rank correlation, MSE", _rows(frame, setting), _rank(column), FOLLOWS)

    return checks


def _excess(frame: DataFrame) -> Iterator[Check]:
    yield from _follows("excess")(frame)
    nothing = _rows(frame, "crowd+5", dial=lambda dial: dial == 0)
    yield _check("crowd+5: of features that fire independently", nothing, _mean("excess"), -0.03, 0.03)


def _degree_follows(frame: DataFrame) -> Iterator[Check]:
    yield from _follows("degree")(frame)
    yield _check("child: rank correlation, MSE", _rows(frame, "child"), _rank("degree"), FOLLOWS)
    for setting in _CROWDS:
        yield _check(f"{setting}: rank correlation, snap", _rows(frame, setting, "snap"), _rank("degree"), FOLLOWS)


def _as_large(frame: DataFrame) -> Iterator[Check]:
    for setting in (*_CROWDS, "pair"):
        rows = _rows(frame, setting, dial=_top(setting))
        yield _check(f"{setting}: degree / hedged, dial at its end", rows, _ratio, 0.8, 1.25)


def _ratio(rows: DataFrame) -> float:
    return float(rows["degree"].mean() / rows["hedged"].mean())


def _nothing(settings: Mapping[str, float]) -> Callable[[DataFrame], Iterator[Check]]:
    def checks(frame: DataFrame) -> Iterator[Check]:
        for setting, at in settings.items():
            rows = _rows(frame, setting, dial=lambda dial, at=at: dial == at)  # type: ignore[misc]
            yield _check(f"{setting}: hedged, of features that fire independently", rows, _mean("hedged"), high=0.03)
            yield _check(f"{setting}: degree", rows, _mean("degree"), high=0.03)

    return checks


def _snap(frame: DataFrame) -> Iterator[Check]:
    for setting in _ALONE:
        rows = _rows(frame, setting, "snap")
        yield _check(f"{setting}: hedged, snap", rows, _mean("hedged"), high=0.01)
        yield _check(f"{setting}: degree, snap", rows, _mean("degree"), high=0.01)
    for setting in _CROWDS:
        for column in ("hedged", "degree"):
            both = frame[(frame["setting"] == setting) & frame["dial"].map(_top(setting)).astype(bool)]
            yield _check(f"{setting}: {column}, MSE less snap, dial at its end", both, _less(column), low=0.01)


def _less(column: str) -> Callable[[DataFrame], float]:
    def difference(rows: DataFrame) -> float:
        mse, snap = (rows[rows["loss"] == loss][column].mean() for loss in ("mse", "snap"))
        return float(mse - snap)

    return difference


def _keeps(frame: DataFrame) -> Iterator[Check]:
    for setting in (*_CROWDS, *_ALONE):
        rows = frame[(frame["setting"] == setting) & (frame["loss"] == "mse")]
        yield _check(f"{setting}: old latents that came to track another feature", rows, _mean("swapped"), high=0.05)
    swapped = frame[(frame["setting"] == "pair") & (frame["loss"] == "mse") & (frame["swapped"] > 0)]
    yield _check("pair: g of those, less what was hedged", swapped, _gap("projection", "hedged"), high=0.03)


def _sides(frame: DataFrame) -> Iterator[Check]:
    hedging = _rows(frame, "pair", dial=lambda dial: dial > 0.05)
    yield _check("pair, hedging alone: symmetry", hedging, _mean("symmetry"), low=0.9)
    yield _check("child, hedging and absorption (MSE): symmetry", _rows(frame, "child"), _mean("symmetry"), 0.1, 0.9)
    absorption = _rows(frame, "child", "snap")
    yield _check("child, absorption alone (snap): symmetry", absorption, _mean("symmetry"), -0.1, 0.1)
    yield _check("child, absorption alone (snap): degree of decoder rows", absorption, _mean("degree"), high=0.01)
    yield _check("child, absorption alone (snap): mean |δ| of encoder columns", absorption, _mean("encoder_norm"), 0.01)


CLAIMS = (
    GrowthClaim(
        "The projection g is the hedging that growing takes away",
        "g, the mean |Pδ| of unit rows, beside the truth: the norm of what the control's rows hold on features that no latent tracks (*hedged*), and of what they hold on those "
        "features that the new latents have come to track (*taken*). Under MSE they agree; for one latent to three digits.",
        _projected,
    ),
    GrowthClaim(
        "... and all the hedging there is",
        "It is only what lay on the features that the new latents learnt. With 5 new latents for 15 features the rest stays, hidden in the measure and in the SAE.",
        _all_of_it,
    ),
    GrowthClaim(
        "The hedging degree follows hedging",
        "Rank correlation of the unclamped degree and the truth over a world's SAEs, along the dial. For one latent, those SAEs are left out whose old latent has come to track another feature (below).",
        _degree_follows,
    ),
    GrowthClaim(
        "The degree is as large as the hedging",
        "It is not, by construction: where all of the change lies in a span of rank r, h = g (1 - E) / (1 - g E) with E the expected norm of a random unit vector's projection, .68 for 15 of 32 dimensions. "
        "Degrees at another r / d do not compare; g does.",
        _as_large,
    ),
    GrowthClaim(
        "Without correlation the degree is zero",
        "Features that fire independently hedge in the bias alone.",
        _nothing({"crowd+5": 0.0, "crowd+15": 0.0, "pair": 0.05}),
    ),
    GrowthClaim(
        "... whatever the sparsity penalty",
        "With a tenth of the L1 the grown SAE is free to mix features: its old rows take up features that the new latents track, the change lies in the new span, and g counts it. What was *gained* and what was *given up* look the same to |Pδ|.",
        _nothing({"faint L1": 0.0}),
    ),
    GrowthClaim(
        "Snap hedges less, and the degree says so",
        "One latent trained by snap does not hedge, and its degree is zero. In a crowd snap hedges about half as much as MSE, and its degree is lower; the new latents are trained by L2 there.",
        _snap,
    ),
    GrowthClaim(
        "The share of the change that lies in the new span follows hedging",
        "The post's measure, mean |Pδ|² / |δ|². It does not: with equal samples and equal starts nearly all of the change lies in the span of the new rows, however small the change is. It says which way rows moved, not how far.",
        _follows("delta_share"),
    ),
    GrowthClaim(
        "... or its excess over the matched nulls does",
        "Over the largest of: other training seeds' new rows in the same world, random rows with the covariance of the control's residual, the second control's change. It falls as hedging rises in a crowd, because the more features correlate the more "
        "do other seeds' new latents span the same directions; with all 15 features learnt by every seed it is zero by construction.",
        _follows("share_excess"),
    ),
    GrowthClaim(
        "... or over random rows with the residual's covariance alone",
        "The same excess, of the residual null only: it does not fall as far, and is as blind to how far rows moved.",
        _follows("share_excess_residual"),
    ),
    GrowthClaim(
        "The excess over the second control follows hedging",
        "g less that of the difference between the two controls, which hedge alike and saw other samples: what rows move in these directions anyway, drawn out or back until rows turn as far outside the span. How far and which way at once, and no null that knows the answer: the headline of `grow_delta`. "
        "These worlds have little such drift (last columns below), so that they show that the excess keeps the hedging, and not that it takes drift away: hand-made rows do (`tests/evals/test_grow_delta.py`). It is less than g where growing turns rows outside the span, too.",
        _excess,
    ),
    GrowthClaim(
        "... and so does the excess over random rows with the residual's covariance",
        "g less what such spans hold of the same change (b is the same). What is left over is made of the missing features, so this null knows part of the answer.",
        _follows("excess_residual"),
    ),
    GrowthClaim(
        "... and that over the new rows of other training seeds",
        "g less what their span holds of the same change. Other seeds add some of the same features: what was hedged on those counts as chance.",
        _follows("excess_other_seed"),
    ),
    GrowthClaim(
        "Old latents keep their features",
        "A single latent beside a new one may lose its feature to it and take the other: |δ| is then about 1.4 and g about 1, whatever was hedged. In a mean over many latents a few of these outweigh the rest: mean |δ| and mean cosine tell.",
        _keeps,
    ),
    GrowthClaim(
        "The encoder tells hedging from absorption",
        "*Symmetry* compares what decoder rows and encoder columns changed inside the span. Two merely correlated features (hedging alone): both change alike. A child that fires only with its parent, trained by snap (no hedging): only the parent's encoder changes, to stay silent "
        "for the child. Trained by MSE, both happen.",
        _sides,
    ),
)
"""In the order of the page."""
