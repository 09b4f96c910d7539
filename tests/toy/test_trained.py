"""Trained SAEs sit where theory says: rows 1 to 5 in a minimum of the exact loss, tied latents at the closed forms, on both sides of each threshold."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

from hedgebench.toy import theory
from hedgebench.toy.exact import Minimum, Nearest, minima, nearest
from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.scenarios import SCENARIOS, scenario_runs
from hedgebench.toy.trainer import Trained, train
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import make_world

PAIRS = ("independent", "hierarchical", "correlated", "anticorrelated")
SEEDS = range(3)


# --- rows 1 to 5, 8 and 12 -----------------------------------------------------------------------------------------------------


@cache
def trained(name: str) -> tuple[Trained, ...]:
    runs = scenario_runs([SCENARIOS[name]], None, SEEDS)
    return tuple(train([run.run for run in runs], progress=False))


@cache
def minima_for(name: str, loss: str, l1: float, width: int) -> tuple[Minimum, ...]:
    world = next(iter(trained(name))).run.world
    return tuple(minima(world.patterns(), loss, l1, width=width))


def minimum_of(sae: Trained, world: str) -> Nearest:
    """The minimum of a scenario's exact loss that an SAE is closest to."""
    recipe = sae.run.recipe
    loss = "mse" if recipe.loss == "mse" else "l2"
    found = list(minima_for(world, loss, round(recipe.l1 * sae.loss_rescale, 5), recipe.width))
    return nearest(found, sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec)


@pytest.mark.parametrize("name", PAIRS)
def test_a_trained_sae_sits_in_a_minimum_of_the_exact_loss(name):
    for sae in trained(name):
        near = minimum_of(sae, name)
        assert near.distance < 0.01
        assert near.decoder_cosine > 0.9995
        assert near.bias < 0.01 and near.activations < 0.02
        assert 0 <= near.excess + 1e-6 < 1e-4
        if sae.run.recipe.loss == "mse":
            assert near.minimum.encoder_cosines(sae.run.world.features)[0, 1].item() == pytest.approx(
                (sae.W_enc[:, 0] / sae.W_enc.norm() @ sae.run.world.features[1]).item(), abs=0.03
            )
        else:
            assert near.minimum.is_global
            assert near.minimum.b_dec.norm() < 1e-4


@pytest.mark.parametrize("name", PAIRS)
def test_minima_are_much_further_from_each_other_than_trained_saes_from_theirs(name):
    sae = trained(name)[0]
    found = list(minima_for(name, "mse", round(sae.run.recipe.l1, 5), 1))
    for minimum in found:
        others = [other for other in found if other is not minimum]
        weights = minimum.W_enc, minimum.b_enc, minimum.W_dec, minimum.b_dec
        assert nearest(others, *weights).distance > 0.05


@pytest.mark.parametrize(("name", "world"), list(zip(PAIRS, (*PAIRS[1:], PAIRS[0]), strict=True)))
def test_an_sae_trained_on_one_world_sits_in_no_minimum_of_another(name, world):
    (mse, *_) = (sae for sae in trained(name) if sae.run.recipe.loss == "mse")
    away = minimum_of(mse, world)
    assert away.distance > 0.05 and away.excess > 1e-3


def test_two_latents_end_in_absorption_which_is_the_global_minimum_under_l1():
    for sae in trained("absorption"):
        if sae.run.recipe.loss == "mse":  # under L2 the errors are gone early, and L1 alone moves latents slowly
            near = minimum_of(sae, "absorption")
            assert near.minimum.is_global
            assert near.distance < 0.01 and near.decoder_cosine > 0.999


# --- rows 6 and 7: the tied latent ---------------------------------------------------------------------------------------------

TIED = Recipe("tied", 1, init_noise=0.1, lr_decay=0.5, steps=1500)
PARENT, MERGED = 0.0, math.pi / 4


def tied_run(p0: float, p1: float, p2: float, recipe: Recipe, seed: int, d_in: int = 50) -> ToyRun:
    """Parent alone, both, child alone with these probabilities, which sum to less than 1."""
    parent = p0 + p1
    world = WorldConfig("tied", d_in, (parent, p1 / parent), parents={1: 0}, otherwise={1: p2 / (1 - parent)})
    return ToyRun(make_world(world), recipe, seed)


def tied_runs(ratios: list[float], changes: dict, seeds: range, p2: float = 0.0, d_in: int = 50) -> list[ToyRun]:
    """At p1 / p0 of these ratios and p2 / p0 as given, the parent alone .3 of the time."""
    recipe = Recipe(**{**TIED.to_dict(), "levels": (), "init_features": (), **changes})
    return [tied_run(0.3, 0.3 * ratio, 0.3 * p2, recipe, seed, d_in) for ratio in ratios for seed in seeds]


def angles(runs: list[ToyRun]) -> np.ndarray:
    """Where tied latents end, [runs]; nan for one that is silent, or off the plane of the two features."""
    ends = []
    for sae in train(runs, progress=False):
        f0, f1 = (sae.run.world.features @ sae.W_dec[0]).tolist()
        assert torch.equal(sae.W_enc[:, 0], sae.W_dec[0]) and sae.b_dec.abs().max() == 0
        ends.append(math.atan2(f1, f0) if math.hypot(f0, f1) > 0.99 else math.nan)
    return np.array(ends)


def test_mse_ends_at_the_closed_form():
    ratios = [0.05, 0.25, 0.5, 1.0, 2.0]
    ends = angles(tied_runs(ratios, {}, SEEDS)).reshape(len(ratios), -1)
    expected = np.array([theory.mse_angle(1, ratio) for ratio in ratios])
    np.testing.assert_allclose(ends, np.broadcast_to(expected[:, None], ends.shape), atol=0.01)
    assert (np.diff(expected) > 0.05).all()


def test_mse_ends_at_the_closed_form_where_the_child_is_also_alone():
    ends = angles(tied_runs([0.25], {}, SEEDS, p2=0.375))  # row 4 without a bias
    assert ends == pytest.approx(np.full(3, theory.mse_angle(1, 0.25, 0.375)), abs=0.01)


@pytest.mark.parametrize("p2", [0.0, 0.3])
def test_snap_ends_at_the_parent_below_its_threshold_and_merged_above(p2):
    threshold = theory.snap_threshold(p2)
    below, above = threshold * 0.94, threshold * 1.06
    ends = angles(tied_runs([below, above], {"loss": "snap"}, range(5), p2)).reshape(2, -1)
    assert ends[0] == pytest.approx(np.full(5, PARENT), abs=0.01)
    assert ends[1] == pytest.approx(np.full(5, MERGED), abs=0.01)


def test_l2_that_starts_at_the_parent_stays_below_a_ratio_of_one_and_leaves_above():
    ends = angles(tied_runs([0.9, 1.1], {"loss": "l2", "init_noise": 0.005}, range(5))).reshape(2, -1)
    assert ends[0] == pytest.approx(np.full(5, PARENT), abs=0.01)
    assert ends[1] == pytest.approx(np.full(5, MERGED), abs=0.01)


IN_THE_PLANE = {"loss": "l2", "init": "random"}
"""With d_in = 2, where a random start is at any angle."""


def test_from_anywhere_l2_can_end_merged_above_a_ratio_of_one_half_only():
    ends = angles(tied_runs([0.45, 0.58], IN_THE_PLANE, range(24), d_in=2)).reshape(2, -1)
    below, above = (
        row[(row > -math.pi / 2) & (row < 3 * math.pi / 4)] for row in ends
    )  # the others were never to fire
    assert len(below) > 12 and below == pytest.approx(np.zeros(len(below)), abs=0.01)
    merged = np.isclose(above, MERGED, atol=0.01)
    assert merged.any() and not merged.all()
    assert np.isclose(above, PARENT, atol=0.01)[~merged].all()


@pytest.mark.parametrize(("ratio", "best"), [(0.69, PARENT), (0.73, MERGED)])
def test_the_best_of_many_starts_is_the_parent_below_one_over_root_two_and_merged_above(ratio, best):
    assert (ratio < theory.PARENT_IS_GLOBAL) is (best == PARENT)
    saes = train(tied_runs([ratio], IN_THE_PLANE, range(24), d_in=2), progress=False)
    first = min(saes, key=lambda sae: sae.loss)
    f0, f1 = (first.run.world.features @ first.W_dec[0]).tolist()
    assert math.atan2(f1, f0) == pytest.approx(best, abs=0.01)
    assert first.loss == pytest.approx(theory.l2_minima(0.3, 0.3 * ratio)[0].loss, abs=2e-3)


def test_the_loss_a_trained_latent_reports_is_the_curve_at_its_angle():
    for loss, curve in (("mse", theory.tied_mse), ("snap", theory.tied_l2)):
        for sae in train(tied_runs([0.4], {"loss": loss}, SEEDS), progress=False):
            f0, f1 = (sae.run.world.features @ sae.W_dec[0]).tolist()
            assert sae.loss == pytest.approx(float(curve(math.atan2(f1, f0), 0.3, 0.12)), abs=1e-3)
