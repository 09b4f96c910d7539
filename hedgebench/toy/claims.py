"""The post's claims about toy worlds, each as a question to the scores table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hedgebench.stats.intervals import mean_interval
from hedgebench.toy.checks import Check
from hedgebench.toy.firing import outcomes
from hedgebench.toy.margins import principal_direction
from hedgebench.toy.rows import (
    PAPERS_BALANCE,
    STEP,
    crowd_checks,
    parent_basin,
    prefix,
    row_1,
    row_2,
    row_3,
    row_4,
    row_5,
    row_6,
    row_7,
    row_8,
    row_11,
    row_12,
    row_13,
    row_14,
    row_15,
    siblings,
)
from hedgebench.toy.scenarios import find_scenario
from hedgebench.toy.world_config import WorldConfig
from hedgebench.training.losses import LOSSES

if TYPE_CHECKING:
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


def _row_14_why(t: ToyTable) -> str:
    found = {loss: mean_interval(siblings(t, loss)) for loss in ("mse", "snap")}
    text = (
        f"MSE writes children with minus their siblings, to take back what the parent's latent has of them: {found['mse']}. What of this stands at the switch (a quarter of the way "
        f"here) L2 mends only in part, {found['snap']}, since it costs no reconstruction. A little absorption is left: {mean_interval(t.values('matryoshka', 'snap', 'absorbed'))}."
    )
    rough = [
        (when, prefix(t, f"rough-{when}", "snap", "hedged"))
        for when in ("early", "late")
        if t.has(f"rough-{when}", "snap")
    ]
    if not rough:
        return text
    told = " and ".join(f"{mean_interval(values)} with the {when} switch" for when, values in rough)
    return f"{text} It takes a good start: from one with noise of 0.1, the hedged part of latents 0-2 is {told} (after a quarter, or half of training)."


def _said(text: str) -> Callable[[ToyTable], str]:
    return lambda _: text


def _axis(name: str, more: str = "") -> Callable[[ToyTable], str]:
    """What MSE should learn of f1 in a two-feature scenario: without L1, a latent's global minimum is the first principal axis."""
    world = find_scenario(name).world
    assert isinstance(world, WorldConfig)
    law = outcomes(world)
    assert law is not None
    cosine = float(principal_direction(*law)[1])
    text = "With a bias and without L1, MSE's global minimum for one latent is the first principal axis of the inputs (`hedgebench.toy.theory`)"
    return _said(f"{text}: cosine {cosine:.3f} with f1. {more}".strip())


def _tied_why(t: ToyTable) -> str:
    narrow = [f"{ratio:g}" for ratio, _ in t.tied() if 0 < parent_basin(ratio) <= STEP]
    return (
        "Closed forms: the parent is a minimum of L2 iff p1/p0 < 1, the merged latent iff p1/p0 > 1/2, the parent the lower one iff p1/p0 < 1/√2; descending L2 from the minimum of MSE "
        "ends at the parent iff p1/p0 < 2/3. The numbers test the first and the last; the two others are properties of the drawn curves. Circles are minima of the expected loss, dots and "
        f"crosses trained SAEs. At {', '.join(narrow) or 'no ratio'} the parent is a minimum whose basin is narrower than {STEP:g} radians: training's own steps may leave it, so L2 from the "
        "parent is not held to it there."
    )


def _balance_why(t: ToyTable) -> str:
    losses = [loss for loss in LOSSES if loss in set(t.rows["loss"])]
    lines = [f"| multiplier | {' | '.join(losses)} |", f"| --- |{' --- |' * len(losses)}"]
    for balance, name in t.balanced():
        cells = [str(mean_interval(t.values(name, loss, "mcc"))) for loss in losses]
        lines.append(f"| {'detached' if math.isinf(balance) else f'{balance:g}'} | {' | '.join(cells)} |")
    return (
        f"The multiplier {PAPERS_BALANCE:g} is the paper's, not chosen on these seeds. At 0 the children absorb their parents, at large multipliers the parents hedge; in between the two cancel. The "
        "claim is about MSE. L2, which starts at the truth here, hardly leaves it at any multiplier but the detached one. Mean matched cosine by loss:\n\n"
        + "\n".join(lines)
    )


CLAIMS: tuple[Claim, ...] = (
    Claim(
        1,
        "Independent features",
        "One latent recovers its feature; the other, independent one does not interfere.",
        row_1,
        ("cosines-pairs",),
    ),
    Claim(
        2,
        "Hedging in the decoder bias",
        "Trained on MSE the bias learns the outside feature times its firing probability, 0.20; on snap loss it stays 0.",
        row_2,
        ("b-dec",),
    ),
    Claim(
        3,
        "Hierarchical features",
        "The child is mixed into encoder and decoder, at about 1/4 of the parent.",
        row_3,
        (),
        _axis("hierarchical"),
    ),
    Claim(
        4,
        "Correlated features",
        "A positive component of the outside feature, a little less than in row 3.",
        row_4,
        (),
        _axis("correlated"),
    ),
    Claim(
        5,
        "Anti-correlated features",
        "A negative component of the outside feature.",
        row_5,
        (),
        _axis(
            "anticorrelated",
            "A poorer minimum lies nearer to f0, and training ends in either (last section): hence the wide interval.",
        ),
    ),
    Claim(
        6,
        "Loss curves of a tied latent",
        "MSE has one minimum, strictly between parent and merged; L2 has the parent as a minimum, and the merged latent as another where children are frequent.",
        row_6,
        ("loss-curves",),
        _tied_why,
    ),
    Claim(7, "The analytic optimum", "The minimum of MSE solves a quadratic equation.", row_7),
    Claim(
        8,
        "Snap loss",
        "MSE first and L2 then recovers the feature and a bias of 0 in all of rows 1, 3, 4 and 5.",
        row_8,
        ("snap-against-mse",),
    ),
    Claim(
        9,
        "Twenty correlated features, five latents",
        "MSE hedges visibly; snap is much cleaner (taken as: hedges at most half as much).",
        lambda t: crowd_checks(t, "crowd-0.1", 0.0, 0.5),
        ("cosines-crowd-0.1",),
    ),
    Claim(
        10,
        "The same, outside features at 0.15",
        "Snap no longer helps (taken as: hedges at least 0.9 times as much).",
        lambda t: crowd_checks(t, "crowd-0.15", 0.9, 1.1),
        ("cosines-crowd-0.15", "hedging-by-probability"),
        _crowd_why,
    ),
    Claim(
        11,
        "A parent that never fires alone",
        "Snap fails: the children stay mixed into the parent's latent.",
        row_11,
        ("cosines-never-alone",),
    ),
    Claim(
        12,
        "Absorption is another thing",
        "With a latent for the child, encoder and decoder come apart; in hedging they do not.",
        row_12,
        ("cosines-absorption",),
    ),
    Claim(
        13,
        "Matryoshka, MSE",
        "The inner latents merge the parents with their children.",
        row_13,
        ("cosines-matryoshka",),
    ),
    Claim(14, "Matryoshka, snap", "Parents and children are clean.", row_14, (), _row_14_why),
    Claim(
        15,
        "Balanced Matryoshka",
        "Some multiplier between 0 and 1 for the inner levels beats both ends.",
        row_15,
        ("balanced",),
        _said(
            "At 0 the children absorb their parents, at large multipliers the parents hedge; in between the two cancel."
        ),
    ),
)
"""Rows 1 to 15."""
