"""What latents truly hedge, in worlds where it has a closed form."""

from __future__ import annotations

import math

import pytest
import torch

from hedgebench.toy.estimate_truth import Truth, least_squares, measure_truth
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import World, make_world

N = 200_000


def truth_of(world: World, tracked: list[int], n: int = N) -> Truth:
    """Of the SAE whose latents fire exactly as these features do."""
    firings = world.sample(n, torch.Generator().manual_seed(0)).firings
    return measure_truth(firings[:, tracked], firings, world.features)


@pytest.mark.parametrize(("given", "alone"), [(0.5, 0.1), (0.1, 0.4)])
def test_a_latent_of_one_binary_feature_hedges_another_by_how_much_more_often_it_fires_there(
    given: float, alone: float
):
    """C = d0 + h d1 with h = q1 - q0."""
    world = make_world(WorldConfig("pair", 8, (0.3, given), parents={1: 0}, otherwise={1: alone}))
    truth = truth_of(world, [0])
    h = given - alone
    assert float(truth.hedge) == pytest.approx(abs(h) / math.hypot(1, h), abs=0.005)
    assert float(truth.best_cosine) == pytest.approx(1 / math.hypot(1, h), abs=0.003)
    assert float(truth.density) == pytest.approx(0.3, abs=0.005)
    assert truth.own.tolist() == [0] and float(truth.absorb) == 0


def test_the_rows_of_the_best_decoder_are_the_coefficients_of_firings_times_the_features():
    world = make_world(WorldConfig("crowd", 6, (0.3,) * 9, directions="spread", bias=2.0, magnitude_std=0.3))
    firings, x = world.sample(2000, torch.Generator().manual_seed(0))
    f = (x @ torch.randn(6, 4, generator=torch.Generator().manual_seed(1))).relu()
    torch.testing.assert_close(
        least_squares(f, x), least_squares(f, firings) @ world.features.double(), atol=1e-5, rtol=0
    )


def test_least_squares_has_an_intercept_and_finds_what_was_put_in():
    f = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    true = torch.arange(6.0).view(3, 2).double()
    torch.testing.assert_close(least_squares(f, f.double() @ true + 7), true, atol=1e-6, rtol=0)


def test_where_no_feature_follows_another_nothing_is_hedged_nor_absorbed():
    truth = truth_of(make_world(WorldConfig("apart", 16, (0.2,) * 12, magnitude_std=0.2)), [0, 1, 2, 3])
    assert float(truth.hedge.mean()) < 0.01 and float(truth.absorb.max()) < 1e-6
    assert float(truth.best_cosine.min()) > 0.999


def test_a_feature_of_random_sign_is_not_hedged_however_often_it_fires_with_a_tracked_one():
    config = WorldConfig("signs", 8, (0.3, 0.9), parents={1: 0}, random_sign=(1,))
    assert float(truth_of(make_world(config), [0]).hedge) < 0.01


def test_what_follows_a_latent_but_is_tracked_by_another_is_absorbed_where_the_other_latent_does_not_fire_for_it():
    """The second latent fires for its feature only without the first feature: the first latent has to write both."""
    world = make_world(WorldConfig("child", 8, (0.5, 0.5), parents={1: 0}, otherwise={1: 0.3}))
    firings = world.sample(N, torch.Generator().manual_seed(0)).firings
    f = torch.stack([firings[:, 0], firings[:, 1] * (firings[:, 0] == 0)], dim=1)
    truth = measure_truth(f, firings, world.features)
    assert truth.own.tolist() == [0, 1]
    assert float(truth.absorb[0]) == pytest.approx(
        0.5 / math.hypot(1, 0.5), abs=0.005
    )  # given one, the other fires half the time
    assert float(truth.absorb[1]) == pytest.approx(0, abs=1e-3) and truth.hedge.tolist() == [0, 0]


def test_latents_that_are_the_features_track_them_exactly_in_superposition_too():
    world = make_world(WorldConfig("crowd", 6, (0.2,) * 9, directions="spread"))
    truth = truth_of(world, list(range(9)), 5000)
    assert truth.own.tolist() == list(range(9))
    torch.testing.assert_close(truth.best_cosine, torch.ones(9).double())
    assert float(truth.hedge.max()) == 0 and float(truth.absorb.max()) < 1e-6


def test_the_scale_of_a_latent_makes_no_difference():
    world = make_world(WorldConfig("crowd", 16, (0.2,) * 12, correlation=None, magnitude_std=0.2))
    firings = world.sample(5000, torch.Generator().manual_seed(0)).firings
    f = firings[:, :4]
    one, other = (measure_truth(f * scale, firings, world.features) for scale in (1, torch.tensor([1.0, 0.1, 10, 3])))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
