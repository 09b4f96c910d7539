"""Training samples drawn directly follow the law of `World.sample`, which is SAELens's generator's."""

from __future__ import annotations

import pytest
import torch

from hedgebench.toy.drawing import draw_activations
from hedgebench.toy.world_config import RandomCorrelation, WorldConfig
from hedgebench.toy.worlds import World, make_world

N = 60_000
WORLDS = [
    WorldConfig("independent", 6, (0.3, 0.5, 0.1), magnitude=2.0),
    WorldConfig("tree", 6, (0.6, 0.5, 0.5, 0.3), parents={2: 1, 1: 0, 3: 0}, bias=0.7),
    WorldConfig("otherwise", 6, (0.4, 0.7, 0.5), parents={1: 0, 2: 0}, otherwise={1: 0.2}),
    WorldConfig("exclusive", 8, (0.5, 0.3, 0.3, 0.4, 0.2, 0.25), parents={1: 0, 2: 0, 3: 0}, exclusive=((1, 2, 3), (4, 5))),
    WorldConfig("any", 6, (0.0, 0.2, 0.3, 0.1), any_of={0: (1, 3)}, exclusive=((1, 2),)),
]  # fmt: skip


def firings(world: World, activations: torch.Tensor) -> torch.Tensor:
    """The only strengths that orthonormal features allow, [n, n_features]."""
    strengths = (activations - world.bias) @ world.features.T
    torch.testing.assert_close(strengths @ world.features + world.bias, activations, rtol=1e-4, atol=1e-5)
    return strengths


@pytest.mark.parametrize("config", WORLDS, ids=lambda config: config.name)
def test_every_pattern_is_as_frequent_as_the_world_says(config):
    world = make_world(config)
    drawn = draw_activations(world, N, torch.Generator().manual_seed(3))
    patterns = world.patterns()
    distance = torch.cdist(drawn, patterns.activations)
    assert distance.min(dim=1).values.max() < 1e-3, "a pattern that the world does not have"
    found = distance.argmin(dim=1).bincount(minlength=len(patterns.probabilities)) / N
    error = (patterns.probabilities * (1 - patterns.probabilities) / N).sqrt()
    assert ((found - patterns.probabilities).abs() < 4.5 * error).all()


def moments(strengths: torch.Tensor) -> torch.Tensor:
    """How often features fire, alone and in pairs, and their mean strength and its square."""
    fires = (strengths > 1e-4).double()
    single = [strengths.double().mean(0), strengths.double().square().mean(0)]
    return torch.cat([(fires.T @ fires / len(fires)).flatten(), *single])


@pytest.mark.parametrize(
    "config",
    [
        WorldConfig("gauss", 8, (0.25, 0.25, 0.1, 0.4, 0.15), correlation=RandomCorrelation(0.8, 2)),
        WorldConfig("given", 4, (0.3, 0.2), correlation=((1.0, -0.7), (-0.7, 1.0)), magnitude_std=0.4),
        WorldConfig("weak", 6, (0.5, 0.5, 0.3, 0.3, 0.4), parents={1: 0, 2: 0}, otherwise={2: 0.3}, any_of={3: (0,)}, magnitude_std=1.0, bias=0.2),
    ],
    ids=lambda config: config.name,
)  # fmt: skip
def test_correlations_and_random_strengths_are_those_of_saelens_generator(config):
    world = make_world(config)
    ours = firings(world, draw_activations(world, N, torch.Generator().manual_seed(3)))
    theirs = world.sample(N, torch.Generator().manual_seed(4)).firings
    assert (moments(ours) - moments(theirs)).abs().max() < 5 * (2 * 3 / N) ** 0.5  # the squares' variance is below 3
    assert (moments(ours)[: config.n_features**2] - moments(theirs)[: config.n_features**2]).abs().max() < 5 * (2 * 0.25 / N) ** 0.5  # fmt: skip


def test_a_generator_decides_and_the_global_random_state_is_left():
    world = make_world(WORLDS[3])
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (draw_activations(world, 50, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())
