"""What each row of the post asks of the scores table: numbers, and the ranges that the claim is taken to mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.stats.intervals import mean_interval
from hedgebench.toy.checks import Check
from hedgebench.toy.theory import mse_angle, parent_is_minimum, snap_reaches_parent
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hedgebench.toy.table import ToyTable

_PAIRS = ("independent", "hierarchical", "correlated", "anticorrelated")


def _check(what: str, values: NDArray[np.float64], low: float = -math.inf, high: float = math.inf) -> Check:
    return Check(what, mean_interval(values), low, high)


def row_1(t: ToyTable) -> list[Check]:
    """Row 1."""
    return [
        check
        for side, encoder in (("decoder", False), ("encoder", True))
        for check in (
            _check(f"{side}, cosine with f0 (MSE)", t.cosine("independent", "mse", 0, encoder=encoder), 0.95, 1.01),
            _check(f"{side}, cosine with f1 (MSE)", t.cosine("independent", "mse", 1, encoder=encoder), -0.02, 0.02),
        )
    ]


def row_2(t: ToyTable) -> list[Check]:
    """Row 2."""
    return [
        _check("b_dec on f1 (MSE)", t.bias("independent", "mse", 1), 0.19, 0.21),
        _check("b_dec on f0 (MSE)", t.bias("independent", "mse", 0), -0.01, 0.01),
        _check("b_dec on f1 (snap)", t.bias("independent", "snap", 1), -0.01, 0.01),
    ]


def row_3(t: ToyTable) -> list[Check]:
    """Row 3."""

    def ratio(encoder: bool) -> NDArray[np.float64]:
        f0, f1 = (t.cosine("hierarchical", "mse", feature, encoder=encoder) for feature in (0, 1))
        return f1 / f0

    return [
        _check("decoder, f1 over f0 (MSE)", ratio(False), 0.2, 0.3),
        _check("encoder, f1 over f0 (MSE)", ratio(True), 0.2, 0.3),
    ]


def row_4(t: ToyTable) -> list[Check]:
    """Row 4."""
    here, tree = (t.cosine(scenario, "mse", 1) for scenario in ("correlated", "hierarchical"))
    return [
        _check("decoder, cosine with f1 (MSE)", here, 0.05),
        _check("less than in row 3 by", tree - here, 0.0, 0.1),
    ]


def row_5(t: ToyTable) -> list[Check]:
    """Row 5."""
    return [
        _check(
            f"{side}, cosine with f1 (MSE)", t.cosine("anticorrelated", "mse", 1, encoder=side == "encoder"), high=-0.05
        )
        for side in ("decoder", "encoder")
    ]


def row_6(t: ToyTable) -> list[Check]:
    """Row 6."""
    parent, merged = (-0.01, 0.01), (0.7, 0.714)
    checks = []
    for ratio, name in t.tied():
        checks.append(_check(f"p1/p0 = {ratio:g}: MSE, cosine with f1", t.cosine(name, "mse", 1), 0.05, 0.69))
        from_mse = parent if snap_reaches_parent(1.0, ratio) else merged
        checks.append(_check(f"p1/p0 = {ratio:g}: MSE, then L2", t.cosine(name, "snap", 1), *from_mse))
        if parent_basin(ratio) > STEP or not parent_is_minimum(1.0, ratio):
            from_parent = parent if parent_is_minimum(1.0, ratio) else merged
            checks.append(_check(f"p1/p0 = {ratio:g}: L2 from the parent", t.cosine(name, "l2", 1), *from_parent))
    return checks


STEP = 0.1
"""Radians: a basin of L2 narrower than this is left by the steps of training themselves, which are of about lr = 0.003, hundreds of times."""


def parent_basin(ratio: float) -> float:
    """How far from the parent L2 still falls towards it, in radians: up to the top of (p0 - p1) sin t + p1 cos t; 0 where the parent is no minimum."""
    return math.atan2(max(1 - ratio, 0.0), ratio)


def row_7(t: ToyTable) -> list[Check]:
    """Row 7."""
    return [
        _check(
            f"p1/p0 = {ratio:g}: MSE, cosine with f1 less the closed form, {math.sin(mse_angle(1.0, ratio)):.4f}",
            t.cosine(name, "mse", 1) - math.sin(mse_angle(1.0, ratio)),
            -0.01,
            0.01,
        )
        for ratio, name in t.tied()
    ]


def row_8(t: ToyTable) -> list[Check]:
    """Row 8."""
    checks = []
    for name in _PAIRS:
        checks.append(_check(f"{name}: decoder, cosine with f1 (snap)", t.cosine(name, "snap", 1), -0.01, 0.01))
        checks.append(_check(f"{name}: b_dec on f1 (snap)", t.bias(name, "snap", 1), -0.01, 0.01))
    return checks


def crowd_checks(t: ToyTable, scenario: str, low: float, high: float) -> list[Check]:
    """Rows 9 and 10: hedging under snap over hedging under MSE, from `low` to `high`."""
    mse, snap = (t.values(scenario, loss, "hedged") for loss in ("mse", "snap"))
    return [
        _check("hedged part (MSE)", mse, 0.1),
        _check("hedged part (MSE) less that (snap)", mse - snap, 0.0),
        _check("hedged part (snap) over that (MSE)", snap / mse, low, high),
    ]


def row_11(t: ToyTable) -> list[Check]:
    """Row 11."""
    mse, snap = (t.values("never-alone", loss, "hedged") for loss in ("mse", "snap"))
    return [
        _check("hedged part (snap)", snap, 0.1),
        _check("hedged part (snap) over that (MSE)", snap / mse, 0.9, 1.1),
    ]


def row_12(t: ToyTable) -> list[Check]:
    """Row 12."""
    return [
        _check("two latents: asymmetry (MSE)", t.values("absorption", "mse", "asymmetry"), 0.1),
        _check("two latents: absorbed part (MSE)", t.values("absorption", "mse", "absorbed"), 0.1),
        _check("two latents: hedged part (MSE)", t.values("absorption", "mse", "hedged"), -0.01, 0.01),
        _check("one latent (row 3): asymmetry (MSE)", t.values("hierarchical", "mse", "asymmetry"), -0.01, 0.1),
        _check("one latent (row 3): hedged part (MSE)", t.values("hierarchical", "mse", "hedged"), 0.1),
    ]


def prefix(t: ToyTable, scenario: str, loss: str, metric: str) -> NDArray[np.float64]:
    """A metric of the innermost level, per training seed."""
    return t.values(scenario, loss, metric, slice_by="prefix", slice_value="3")


def row_13(t: ToyTable) -> list[Check]:
    """Row 13."""
    return [_check("hedged part of latents 0-2 (MSE)", prefix(t, "matryoshka", "mse", "hedged"), 0.1)]


def siblings(t: ToyTable, loss: str) -> NDArray[np.float64]:
    """Mean cosine of the children's decoder rows with their siblings, per training seed; latents 3 to 11 start at the children."""
    families = [[parent + i for i in (1, 2, 3)] for parent in (0, 4, 8)]
    latents = {child: 3 + i for i, child in enumerate(child for family in families for child in family)}
    pairs = [(a, b) for family in families for a in family for b in family if a != b]
    return np.mean([t.cosine("matryoshka", loss, b, latent=latents[a]) for a, b in pairs], axis=0)  # type: ignore[no-any-return]


def row_14(t: ToyTable) -> list[Check]:
    """Row 14."""
    return [
        _check("hedged part of latents 0-2 (snap)", prefix(t, "matryoshka", "snap", "hedged"), -0.02, 0.02),
        _check("children's decoder rows on their siblings (snap)", siblings(t, "snap"), -0.05, 0.05),
        _check("mean matched cosine (snap)", t.values("matryoshka", "snap", "mcc"), 0.99, 1.01),
    ]


PAPERS_BALANCE = 0.25
"""The multiplier that the paper found best on its toy: taken from there, not from these seeds."""


def row_15(t: ToyTable) -> list[Check]:
    """Row 15."""
    mcc = {balance: t.values(name, "mse", "mcc") for balance, name in t.balanced()}
    ends = {"0, a plain SAE": 0.0, "1, the plain Matryoshka SAE": 1.0, "detached": math.inf}
    if not {PAPERS_BALANCE, *ends.values()} <= mcc.keys():
        raise CannotMeasure("the table lacks an end, or the paper's multiplier")
    best = mcc[PAPERS_BALANCE]
    return [_check(f"mean matched cosine at {PAPERS_BALANCE:g} (MSE)", best, 0.99, 1.01)] + [
        _check(f"above that at {name}, by", best - mcc[end], 0.001) for name, end in ends.items()
    ]
