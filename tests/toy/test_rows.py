"""The post's rows 8 to 15 as inequalities that hold for every training seed, and that fail once the loss is broken.

Rows 1 to 7 are held to closed forms and to the exact loss in test_theory.py and test_exact.py. Numbers are computed from the weights here, without the eval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from hedgebench.toy.equations import Equations
from hedgebench.toy.recipes import Recipe
from hedgebench.toy.scenarios import SCENARIOS, Scenario, scenario_runs
from hedgebench.toy.trainer import Trained, train

SEEDS = range(3)
PARENTS, CHILDREN = (0, 4, 8), ((1, 2, 3), (5, 6, 7), (9, 10, 11))
Losses = dict[str, list[Trained]]


def trained(scenario: Scenario, *losses: str) -> Losses:
    runs = scenario_runs([scenario], losses, SEEDS)
    found = train([run.run for run in runs], progress=False)
    return {loss: [sae for sae in found if sae.run.recipe.loss == loss] for loss in losses}


def decoder(sae: Trained) -> Tensor:
    """[width, n_features], cosines of decoder rows; the features are orthonormal."""
    return sae.W_dec / sae.W_dec.norm(dim=1, keepdim=True) @ sae.run.world.features.T


def encoder(sae: Trained) -> Tensor:
    return (sae.W_enc / sae.W_enc.norm(dim=0)).T @ sae.run.world.features.T


def bias(sae: Trained) -> Tensor:
    return sae.run.world.features @ sae.b_dec


def hedged(sae: Trained, tracked: int) -> float:
    """Mean over latents of the norm of a row's cosines with the features from `tracked` on."""
    return float(decoder(sae)[:, tracked:].norm(dim=1).mean())


# --- what each row says --------------------------------------------------------------------------------------------------------


def row_8(name: str) -> None:
    saes = trained(SCENARIOS[name], "mse", "snap")
    for mse, snap in zip(saes["mse"], saes["snap"], strict=True):
        assert abs(float(decoder(snap)[0, 1])) < 0.005
        assert float(bias(snap).abs().max()) < 0.005
        assert float(decoder(mse)[0, 1].abs() + bias(mse).abs().max()) > 0.05  # there was something to undo


def row_9() -> None:
    saes = trained(SCENARIOS["crowd-0.1"], "mse", "snap")
    for mse, snap in zip(saes["mse"], saes["snap"], strict=True):
        assert hedged(mse, 5) > 0.15
        assert hedged(snap, 5) < 0.65 * hedged(mse, 5)


def row_10() -> None:
    often, seldom = (trained(SCENARIOS[f"crowd-{p}"], "mse", "snap") for p in ("0.15", "0.05"))
    for seed in SEEDS:
        assert hedged(often["mse"][seed], 5) > 0.35
        left = hedged(often["snap"][seed], 5) / hedged(often["mse"][seed], 5)
        assert 0.65 < left < 0.9  # most of it stays
        assert hedged(seldom["snap"][seed], 5) < 0.01  # nothing stays
        assert hedged(seldom["mse"][seed], 5) > 0.05


def row_11() -> None:
    saes = trained(SCENARIOS["never-alone"], "mse", "snap")
    for mse, snap in zip(saes["mse"], saes["snap"], strict=True):
        assert 0.25 < hedged(snap, 1) < hedged(mse, 1) - 0.005 < 0.35
        assert decoder(snap)[0, 1:].min() > 0.05  # every child is in it


def row_12() -> None:
    for sae in trained(SCENARIOS["absorption"], "mse")["mse"]:
        rows, columns = decoder(sae), encoder(sae)
        assert float(rows[1, 0]) == pytest.approx(0.5**0.5, abs=0.02)  # the child's latent writes the parent too
        assert float(columns[0, 1]) < -0.4  # and the parent's is silent where the child fires
        assert float((rows * columns).sum(1).min()) < 0.8
    for sae in trained(SCENARIOS["hierarchical"], "mse")["mse"]:  # hedging: both sides alike
        assert float((decoder(sae) * encoder(sae)).sum(1)) > 0.97


def row_13() -> None:
    for sae in trained(SCENARIOS["matryoshka"], "mse")["mse"]:
        for latent, (parent, children) in enumerate(zip(PARENTS, CHILDREN, strict=True)):
            for side in (decoder(sae), encoder(sae)):
                assert float(side[latent, parent]) > 0.9
                assert float(side[latent, list(children)].min()) > 0.1


def row_14() -> None:
    for sae in trained(SCENARIOS["matryoshka"], "snap")["snap"]:
        rows = decoder(sae)
        for latent, (parent, children) in enumerate(zip(PARENTS, CHILDREN, strict=True)):
            assert float(rows[latent, parent]) > 0.99
            assert float(rows[latent, list(children)].abs().max()) < 0.01
        assert float(rows.max(dim=1).values.min()) > 0.98


def row_15() -> None:
    def matched(balance: float, detach: bool = False) -> list[float]:
        scenario = SCENARIOS["matryoshka"]
        saes = trained(replace(scenario, recipe=replace(scenario.recipe, balance=balance, detach=detach)), "mse")["mse"]
        return [float(decoder(sae).max(dim=1).values.mean()) for sae in saes]

    best, ends = min(matched(0.25)), [matched(0.0), matched(1.0), matched(1.0, detach=True)]
    assert best > 0.99
    assert all(max(end) < best - 0.01 for end in ends)


ROWS: dict[str, Callable[[], None]] = {
    **{
        f"8-{name}": lambda name=name: row_8(name)
        for name in ("independent", "hierarchical", "correlated", "anticorrelated")
    },
    "9": row_9,
    "10": row_10,
    "11": row_11,
    "12": row_12,
    "13": row_13,
    "14": row_14,
    "15": row_15,
}


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str):
    ROWS[row]()


# --- the same with a broken loss -----------------------------------------------------------------------------------------------


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Train on other losses than the recipes say."""

    def by(**instead: str) -> None:
        class Mutant(Equations):
            def __init__(self, recipes: Sequence[Recipe], *rest: Any) -> None:
                super().__init__([replace(r, loss=instead.get(r.loss, r.loss)) for r in recipes], *rest)

        monkeypatch.setattr("hedgebench.toy.trainer.Equations", Mutant)
        monkeypatch.setitem(globals(), "SEEDS", range(1))  # a row that fails for one seed fails

    return by


@pytest.mark.parametrize(
    "row", ["8-independent", "8-hierarchical", "8-correlated", "8-anticorrelated", "9", "10", "14"]
)
def test_a_row_about_snap_fails_where_snap_never_switches(row: str, mutate: Callable[..., None]):
    mutate(snap="mse")
    with pytest.raises(AssertionError):
        ROWS[row]()


@pytest.mark.parametrize("row", ["8-hierarchical", "8-correlated", "9", "10", "11", "12", "13", "15"])
def test_a_row_about_hedging_fails_where_the_error_is_not_squared(row: str, mutate: Callable[..., None]):
    mutate(mse="l2")
    with pytest.raises(AssertionError):
        ROWS[row]()


def test_without_a_sparsity_penalty_nothing_is_absorbed():
    scenario = SCENARIOS["absorption"]
    for sae in trained(replace(scenario, recipe=replace(scenario.recipe, l1=0.0)), "mse")["mse"]:
        assert abs(float(decoder(sae)[1, 0])) < 0.1
