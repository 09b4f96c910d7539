"""Training samples of a toy world, drawn directly: the law of `World.sample`, several times as fast.

`World.sample` goes through SAELens's ActivationGenerator, which finds, indexes and scatters every single firing, and for correlated features multiplies
one matrix per sample. Beside a batched trainer that would be most of the time. A test holds both to one law.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hedgebench.toy.noise import add_noise, draw_signs
from hedgebench.toy.world_config import WorldConfig, ancestors

if TYPE_CHECKING:
    from torch import Tensor

    from hedgebench.toy.worlds import World


def draw_activations(world: World, n: int, generator: torch.Generator) -> Tensor:
    """[n, d_in] activations of a world; torch's global random state is left as it was.

    Where the world is SAELens's SyntheticModel, they are `World.sample`'s.
    """
    config = world.config
    if not isinstance(config, WorldConfig):
        return world.sample(n, generator).activations
    strengths = _strengths(config, n, generator)
    fires = _fires(world, config, strengths > 0, n, generator)
    firings = fires.to(strengths.dtype).mul_(strengths).T
    draw_signs(config, firings, generator)
    x = torch.addmm(world.bias, firings, world.features) if config.bias else firings @ world.features
    add_noise(config, world.noise_spans, firings, x, generator)
    return x


def _strengths(config: WorldConfig, n: int, generator: torch.Generator) -> Tensor:
    """How strong each feature would be, [n_features, n], or [n_features, 1] where that is constant; at 0 it does not fire."""
    mean = torch.tensor(config.magnitudes)[:, None]
    if config.magnitude_std == 0:
        return mean
    drawn = torch.randn(config.n_features, n, generator=generator)
    return drawn.mul_(config.magnitude_std).add_(mean).relu_()


def _fires(world: World, config: WorldConfig, able: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """[n_features, n] bool: which features fire. Features come first, so that what concerns one of them is in one piece."""
    made = world.activation_generator
    if made.correlation_matrix is not None:
        root = torch.linalg.cholesky(made.correlation_matrix)
        normal = root @ torch.randn(config.n_features, n, generator=generator)
        correlated: Tensor = (normal > made.correlation_thresholds[:, None]) & able
        return correlated
    probability = torch.tensor(config.probability)[:, None]
    fires = (torch.rand(config.n_features, n, generator=generator) < probability) & able
    for group in config.exclusive:
        number, reached, edge = torch.rand(n, generator=generator), fires.new_zeros(n), 0.0
        for feature in group:
            edge += config.probability[feature]
            below = number < edge
            fires[feature] = (below ^ reached) & able[feature]
            reached = below
    for feature, causes in config.any_of.items():
        fires[feature] = fires[list(causes)].any(dim=0) & able[feature]
    for child in sorted(config.parents, key=lambda child: len(ancestors(config.parents, child))):
        parent, otherwise = fires[config.parents[child]], config.otherwise.get(child, 0.0)
        instead = torch.rand(n, generator=generator) < otherwise if otherwise else fires.new_zeros(())
        fires[child] = torch.where(parent, fires[child], instead & able[child])
    return fires
