"""The post's claims about toy worlds, each as a question to the scores table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.stats import mean_interval
from hedgebench.toy.checks import Check
from hedgebench.toy.theory import mse_angle
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hedgebench.toy.table import ToyTable


@dataclass(frozen=True)
class Claim:
    """One row of the post."""

    row: int
    title: str
    text: str
    """What the post says."""
    checks: Callable[[ToyTable], Sequence[Check]]
    figures: tuple[str, ...] = ()
    """Figures that show it (`hedgebench.toy.figures`)."""
    why: Callable[[ToyTable], str] | None = None
    """What else is to be said: where it does not reproduce, and why."""


_PAIRS = ("independent", "hierarchical", "correlated", "anticorrelated")


def _check(what: str, values: NDArray[np.float64], low: float = -math.inf, high: float = math.inf) -> Check:
    return Check(what, mean_interval(values), low, high)


def _row_1(t: ToyTable) -> list[Check]:
    return [
        check
        for side, encoder in (("decoder", False), ("encoder", True))
        for check in (
            _check(f"{side}, cosine with f0 (MSE)", t.cosine("independent", "mse", 0, encoder=encoder), 0.95, 1.01),
            _check(f"{side}, cosine with f1 (MSE)", t.cosine("independent", "mse", 1, encoder=encoder), -0.02, 0.02),
        )
    ]


def _row_2(t: ToyTable) -> list[Check]:
    return [
        _check("b_dec on f1 (MSE)", t.bias("independent", "mse", 1), 0.19, 0.21),
        _check("b_dec on f0 (MSE)", t.bias("independent", "mse", 0), -0.01, 0.01),
        _check("b_dec on f1 (snap)", t.bias("independent", "snap", 1), -0.01, 0.01),
    ]


def _row_3(t: ToyTable) -> list[Check]:
    def ratio(encoder: bool) -> NDArray[np.float64]:
        f0, f1 = (t.cosine("hierarchical", "mse", feature, encoder=encoder) for feature in (0, 1))
        return f1 / f0

    return [
        _check("decoder, f1 over f0 (MSE)", ratio(False), 0.2, 0.3),
        _check("encoder, f1 over f0 (MSE)", ratio(True), 0.2, 0.3),
    ]


def _row_4(t: ToyTable) -> list[Check]:
    here, tree = (t.cosine(scenario, "mse", 1) for scenario in ("correlated", "hierarchical"))
    return [
        _check("decoder, cosine with f1 (MSE)", here, 0.05),
        _check("less than in row 3 by", tree - here, 0.0, 0.1),
    ]


def _row_5(t: ToyTable) -> list[Check]:
    return [
        _check(
            f"{side}, cosine with f1 (MSE)", t.cosine("anticorrelated", "mse", 1, encoder=side == "encoder"), high=-0.05
        )
        for side in ("decoder", "encoder")
    ]


def _row_6(t: ToyTable) -> list[Check]:
    checks = []
    for ratio, name in t.tied():
        low, high = (-0.01, 0.01) if ratio < 2 / 3 else (0.7, 0.714)
        checks.append(_check(f"p1/p0 = {ratio:g}: MSE, cosine with f1", t.cosine(name, "mse", 1), 0.05, 0.69))
        checks.append(_check(f"p1/p0 = {ratio:g}: MSE, then L2", t.cosine(name, "snap", 1), low, high))
    return checks


def _row_7(t: ToyTable) -> list[Check]:
    return [
        _check(
            f"p1/p0 = {ratio:g}: MSE, cosine with f1 less the closed form, {math.sin(mse_angle(1.0, ratio)):.4f}",
            t.cosine(name, "mse", 1) - math.sin(mse_angle(1.0, ratio)),
            -0.01,
            0.01,
        )
        for ratio, name in t.tied()
    ]


def _row_8(t: ToyTable) -> list[Check]:
    checks = []
    for name in _PAIRS:
        checks.append(_check(f"{name}: decoder, cosine with f1 (snap)", t.cosine(name, "snap", 1), -0.01, 0.01))
        checks.append(_check(f"{name}: b_dec on f1 (snap)", t.bias(name, "snap", 1), -0.01, 0.01))
    return checks


def _crowd_checks(t: ToyTable, scenario: str, low: float, high: float) -> list[Check]:
    mse, snap = (t.values(scenario, loss, "hedged") for loss in ("mse", "snap"))
    return [
        _check("hedged part (MSE)", mse, 0.1),
        _check("hedged part (MSE) less that (snap)", mse - snap, 0.0),
        _check("hedged part (snap) over that (MSE)", snap / mse, low, high),
    ]


def _crowd_why(t: ToyTable) -> str:
    rows = []
    for p, name in t.crowds():
        mse, snap = (t.values(name, loss, "hedged") for loss in ("mse", "snap"))
        rows.append(
            f"| {p:g} | {(1 - p) ** 15:.2f} | {mean_interval(mse)} | {mean_interval(snap)} | {mean_interval(snap / mse)} |"
        )
    head = "| outside features fire with | main feature alone | hedged, MSE | hedged, snap | ratio |\n| --- | --- | --- | --- | --- |\n"
    return (
        "Snap's help does not stop at a point: it fades as a main feature fires less and less often without any of the 15 outside features (second column: (1 - p)^15, as if "
        "they were independent). Compare row 11, where it never fires alone. The post's own matrix of correlations is not known; every seed draws another here.\n\n"
        + head
        + "\n".join(rows)
    )


def _row_11(t: ToyTable) -> list[Check]:
    mse, snap = (t.values("never-alone", loss, "hedged") for loss in ("mse", "snap"))
    return [
        _check("hedged part (snap)", snap, 0.1),
        _check("hedged part (snap) over that (MSE)", snap / mse, 0.9, 1.1),
    ]


def _row_12(t: ToyTable) -> list[Check]:
    return [
        _check("two latents: asymmetry (MSE)", t.values("absorption", "mse", "asymmetry"), 0.1),
        _check("two latents: absorbed part (MSE)", t.values("absorption", "mse", "absorbed"), 0.1),
        _check("two latents: hedged part (MSE)", t.values("absorption", "mse", "hedged"), -0.01, 0.01),
        _check("one latent (row 3): asymmetry (MSE)", t.values("hierarchical", "mse", "asymmetry"), -0.01, 0.1),
        _check("one latent (row 3): hedged part (MSE)", t.values("hierarchical", "mse", "hedged"), 0.1),
    ]


def _prefix(t: ToyTable, scenario: str, loss: str, metric: str) -> NDArray[np.float64]:
    return t.values(scenario, loss, metric, slice_by="prefix", slice_value="3")


def _row_13(t: ToyTable) -> list[Check]:
    return [_check("hedged part of latents 0-2 (MSE)", _prefix(t, "matryoshka", "mse", "hedged"), 0.1)]


def _siblings(t: ToyTable, loss: str) -> NDArray[np.float64]:
    """Mean cosine of the children's decoder rows with their siblings, per training seed; latents 3 to 11 start at the children."""
    families = [[parent + i for i in (1, 2, 3)] for parent in (0, 4, 8)]
    latents = {child: 3 + i for i, child in enumerate(child for family in families for child in family)}
    pairs = [(a, b) for family in families for a in family for b in family if a != b]
    return np.mean([t.cosine("matryoshka", loss, b, latent=latents[a]) for a, b in pairs], axis=0)  # type: ignore[no-any-return]


def _row_14(t: ToyTable) -> list[Check]:
    return [
        _check("hedged part of latents 0-2 (snap)", _prefix(t, "matryoshka", "snap", "hedged"), -0.02, 0.02),
        _check("children's decoder rows on their siblings (snap)", _siblings(t, "snap"), -0.05, 0.05),
        _check("mean matched cosine (snap)", t.values("matryoshka", "snap", "mcc"), 0.99, 1.01),
    ]


def _row_14_why(t: ToyTable) -> str:
    found = {loss: mean_interval(_siblings(t, loss)) for loss in ("mse", "snap")}
    return (
        f"MSE writes children with minus their siblings, to take back what the parent's latent has of them: {found['mse']}. What of this stands at the switch (a quarter of the way "
        f"here) L2 mends only in part, {found['snap']}, since it costs no reconstruction; a later switch leaves more of it."
    )


def _row_15(t: ToyTable) -> list[Check]:
    mcc = {balance: t.values(name, "mse", "mcc") for balance, name in t.balanced()}
    between = [balance for balance in mcc if 0 < balance < 1]
    if not between or not {0.0, 1.0, math.inf} <= mcc.keys():
        raise CannotMeasure("the table lacks the ends")
    best = max(between, key=lambda balance: mcc[balance].mean())
    ends = {"0, a plain SAE": 0.0, "1, the plain Matryoshka SAE": 1.0, "detached": math.inf}
    return [_check(f"mean matched cosine at {best:g}", mcc[best], 0.99, 1.01)] + [
        _check(f"above that at {name}, by", mcc[best] - mcc[end], 0.001) for name, end in ends.items()
    ]


def _said(text: str) -> Callable[[ToyTable], str]:
    return lambda _: text


CLAIMS: tuple[Claim, ...] = (
    Claim(
        1,
        "Independent features",
        "One latent recovers its feature; the other, independent one does not interfere.",
        _row_1,
        ("cosines-pairs",),
    ),
    Claim(
        2,
        "Hedging in the decoder bias",
        "Trained on MSE the bias learns the outside feature times its firing probability, 0.20; on snap loss it stays 0.",
        _row_2,
        ("b-dec",),
    ),
    Claim(
        3, "Hierarchical features", "The child is mixed into encoder and decoder, at about 1/4 of the parent.", _row_3
    ),
    Claim(
        4, "Correlated features", "A positive component of the outside feature, a little less than in row 3.", _row_4
    ),
    Claim(
        5,
        "Anti-correlated features",
        "A negative component of the outside feature.",
        _row_5,
        (),
        _said(
            "The exact loss has two minima here, and training ends in either: hence the wide interval (`theory.json`)."
        ),
    ),
    Claim(
        6,
        "Loss curves of a tied latent",
        "MSE has one minimum, strictly between parent and merged; L2 has the parent as a minimum, and the merged latent as another where children are frequent.",
        _row_6,
        ("loss-curves",),
        _said(
            "Closed forms: the parent is a minimum of L2 iff p1/p0 < 1, the merged latent iff p1/p0 > 1/2, the parent the lower one iff p1/p0 < 1/√2; descending L2 from the minimum "
            "of MSE ends at the parent iff p1/p0 < 2/3. Circles are minima of the expected loss, dots and crosses trained SAEs."
        ),
    ),
    Claim(7, "The analytic optimum", "The minimum of MSE solves a quadratic equation.", _row_7),
    Claim(
        8,
        "Snap loss",
        "MSE first and L2 then recovers the feature and a bias of 0 in all of rows 1, 3, 4 and 5.",
        _row_8,
        ("snap-against-mse",),
    ),
    Claim(
        9,
        "Twenty correlated features, five latents",
        "MSE hedges visibly; snap is much cleaner (taken as: hedges at most half as much).",
        lambda t: _crowd_checks(t, "crowd-0.1", 0.0, 0.5),
        ("cosines-crowd-0.1",),
    ),
    Claim(
        10,
        "The same, outside features at 0.15",
        "Snap no longer helps (taken as: hedges at least 0.9 times as much).",
        lambda t: _crowd_checks(t, "crowd-0.15", 0.9, 1.1),
        ("cosines-crowd-0.15", "hedging-by-probability"),
        _crowd_why,
    ),
    Claim(
        11,
        "A parent that never fires alone",
        "Snap fails: the children stay mixed into the parent's latent.",
        _row_11,
        ("cosines-never-alone",),
    ),
    Claim(
        12,
        "Absorption is another thing",
        "With a latent for the child, encoder and decoder come apart; in hedging they do not.",
        _row_12,
        ("cosines-absorption",),
    ),
    Claim(
        13,
        "Matryoshka, MSE",
        "The inner latents merge the parents with their children.",
        _row_13,
        ("cosines-matryoshka",),
    ),
    Claim(14, "Matryoshka, snap", "Parents and children are clean.", _row_14, (), _row_14_why),
    Claim(
        15,
        "Balanced Matryoshka",
        "Some multiplier between 0 and 1 for the inner levels beats both ends.",
        _row_15,
        ("balanced",),
        _said(
            "At 0 the children absorb their parents, at large multipliers the parents hedge; in between the two cancel."
        ),
    ),
)
"""Rows 1 to 15."""
