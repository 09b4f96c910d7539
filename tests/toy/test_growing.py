"""Toy SAEs that grow: where they start, who grows beside whom, and what is said of a pair whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from hedgebench.spans import expected_norm, new_span
from hedgebench.toy.firing import outcomes
from hedgebench.toy.growing import Family, grown_start, make_plans, measure, run_growth, train_families
from hedgebench.toy.growth_settings import SETTINGS, Setting
from hedgebench.toy.recipes import ToyRun
from hedgebench.toy.trainer import Trained
from hedgebench.toy.worlds import World, make_world

PAIR = SETTINGS["pair"]


def small(name: str, **changes) -> Setting:
    setting = SETTINGS[name]
    return replace(setting, recipe=replace(setting.recipe, steps=20), **changes)


def sae(world: World, dec: torch.Tensor, enc: torch.Tensor | None = None) -> Trained:
    """The SAE with these rows; the encoder their transpose unless given, no biases."""
    enc = dec if enc is None else enc
    run = ToyRun(world, replace(PAIR.recipe, width=len(dec)), 0)
    zeros = torch.zeros(len(dec)), torch.zeros(world.d_in)
    return Trained(run, enc.T.contiguous(), zeros[0], dec, zeros[1], None, 0.0, 0.0, 1.0)


# --- what is trained ---------------------------------------------------------------------------------------------------------------


def test_a_grown_sae_starts_as_the_narrow_one_with_small_random_latents_beside():
    world = make_world(PAIR.world(0.1, 0))
    narrow = sae(world, world.features[:1], 2 * world.features[:1])
    state = torch.random.get_rng_state()
    grown = grown_start(narrow, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(grown.enc[0, :1], narrow.W_enc.T) and torch.equal(grown.dec[0, 1:2], narrow.W_dec)
    assert torch.equal(grown.enc[0, 1:], grown.dec[0, 2:]) and not grown.b_enc[0, 1:].any()
    torch.testing.assert_close(grown.dec[0, 2:].norm(dim=1), torch.full((3,), 0.1))
    other = replace(narrow, run=narrow.run._replace(train_seed=1))
    assert not torch.equal(grown_start(other, 3).dec, grown.dec)


def test_every_setting_is_trained_at_every_point_of_its_dial_in_every_world_by_seeds_of_its_own():
    settings = list(SETTINGS.values())
    plans = make_plans(2, settings)
    for s in settings:
        mine = [p for p in plans if p.setting is s]
        assert len(mine) == 2 * s.per_world * len(s.points) * len(s.losses)
        assert {p.run.world.identity for p in mine if p.world_seed == 0 and p.value == s.points[0]} == {
            make_world(s.world(s.points[0], 0)).identity
        }
        seeds = {(p.world_seed, p.run.train_seed) for p in mine}
        assert len({train for _, train in seeds}) == len(seeds) == 2 * s.per_world
    crowds = [{p.run for p in plans if p.setting.name == name} for name in ("crowd+5", "crowd+15")]
    assert crowds[0] == crowds[1], "they begin with the same narrow SAEs"


@pytest.mark.parametrize("given", PAIR.points)
def test_the_second_feature_of_a_pair_is_as_frequent_at_every_point_of_the_dial(given: float):
    firings, p = outcomes(PAIR.world(given, 0))
    first, second = firings.T > 0
    assert p[second].sum() == pytest.approx(0.05)
    assert p[first & second].sum() / p[first].sum() == pytest.approx(given)


def test_control_and_grown_sae_train_on_from_one_start_and_the_same_samples_and_the_second_control_on_others():
    plans = make_plans(1, [small("crowd+5", points=(0.3,), per_world=1), small("crowd+15", points=(0.3,), per_world=1)])
    families = train_families(plans, progress=False)
    assert [f.grown.run.recipe.width for f in families] == [10, 10, 20, 20]
    assert [f.grown.run.recipe.loss for f in families] == ["mse", "l2"] * 2, "snap has turned to L2"
    for control, second, grown in families:
        assert control.run.world is grown.run.world
        assert control.run.train_seed == grown.run.train_seed != second.run.train_seed
        apart = (grown.W_dec[:5] - control.W_dec).norm() / control.W_dec.norm()
        assert 0 < apart < 0.5 and not torch.equal(control.W_dec, second.W_dec)
    assert families[0].control is families[2].control


# --- what is said of it ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 0.2, 0.6])
def test_what_a_hedging_latent_gives_up_is_the_projection(angle: float):
    world = make_world(PAIR.world(0.1, 0))
    f0, f1 = world.features
    hedging = (math.cos(angle) * f0 + math.sin(angle) * f1)[None]
    control, grown = sae(world, hedging), sae(world, torch.stack([f0, f1]))
    found = measure(Family(control, control, grown), new_span(f1[None]), [])
    truth, moved = math.sin(angle), 2 * math.sin(angle / 2)
    for column in ("hedged", "taken", "projection"):
        assert found[column] == pytest.approx(truth, abs=1e-5), column
    assert found["left"] == pytest.approx(0, abs=1e-5) and found["absorbed"] == pytest.approx(0, abs=1e-5)
    assert (found["live"], found["swapped"], found["drift"]) == (1, 0, 0)
    b = moved * expected_norm(1, world.d_in)
    assert found["degree"] == pytest.approx((truth - b) / (1 - b), abs=1e-5)
    if angle:
        assert found["delta_norm"] == pytest.approx(moved, abs=1e-5)
        assert found["delta_share"] == pytest.approx(math.cos(angle / 2) ** 2, abs=1e-5)
        assert found["symmetry"] == pytest.approx(1, abs=1e-5)


def test_what_only_the_encoder_changed_is_no_degree_and_no_symmetry():
    world = make_world(SETTINGS["child"].world(0.2, 0))
    f0, f1 = world.features
    rows = torch.stack([f0, f1])
    control, grown = sae(world, rows[:1]), sae(world, rows, torch.stack([f0 - 0.5 * f1, f1]))
    found = measure(Family(control, control, grown), new_span(f1[None]), [])
    assert found["projection"] == found["degree"] == found["symmetry"] == 0
    assert found["encoder_degree"] > 0.3 and found["encoder_norm"] > 0.3


def test_another_seed_that_learnt_the_same_leaves_no_excess():
    world = make_world(PAIR.world(0.1, 0))
    f0, f1 = world.features
    control, grown = sae(world, (f0 + 0.3 * f1)[None]), sae(world, torch.stack([f0, f1]))
    family = Family(control, control, grown)
    elsewhere = torch.eye(world.d_in)[:1] - (torch.eye(world.d_in)[:1] @ world.features.T) @ world.features
    same, other = (measure(family, new_span(f1[None]), [new_span(rows)]) for rows in (f1[None], elsewhere))
    assert same["null_other_seed"] == pytest.approx(same["delta_share"], abs=1e-5)
    assert max(same["share_excess"], same["excess_other_seed"]) <= 1e-5
    assert other["null_other_seed"] == pytest.approx(0, abs=1e-5)
    assert other["excess_other_seed"] == pytest.approx(other["projection"])


def test_a_latent_that_takes_the_other_feature_is_called_swapped_and_a_dead_new_one_not_alive():
    world = make_world(PAIR.world(0.1, 0))
    f0, f1 = world.features
    control = sae(world, f0[None])
    swapped = measure(Family(control, control, sae(world, torch.stack([f1, f0]))), new_span(f0[None]), [])
    assert swapped["swapped"] == 1 and swapped["taken"] == 0
    assert (swapped["hedged"], swapped["projection"]) == pytest.approx((0, 1), abs=1e-5)
    dead = measure(Family(control, control, sae(world, torch.stack([f0, f1]), torch.stack([f0, -f1]))), new_span(f1[None]), [])  # fmt: skip
    assert dead["live"] == 0


def test_the_projection_of_trained_pairs_is_what_they_hedged():
    setting = replace(PAIR, points=(0.05, 0.15), per_world=4, losses=("mse",))
    frame = run_growth(1, progress=False, settings=[setting])
    assert list(frame["dial"]) == [0.05] * 4 + [0.15] * 4 and set(frame["train_seed"]) == set(range(4))
    good = frame[(frame["live"] == 1) & (frame["swapped"] == 0)]
    assert set(good["dial"]) == {0.05, 0.15}, "no SAE is left to test with"
    assert (good["projection"] - good["hedged"]).abs().max() < 0.01
    hedged = good.groupby("dial")["hedged"].mean()
    assert hedged[0.05] < 0.02 and 0.14 < hedged[0.15] < 0.2
    again = run_growth(1, progress=False, settings=[setting])
    pd.testing.assert_frame_equal(frame, again)
