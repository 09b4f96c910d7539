"""What is random beside firings: signs, and Gaussian noise that may follow what fires. Nothing is drawn for a world that has neither."""

from __future__ import annotations

import torch
from torch import Tensor

from hedgebench.toy.world_config import WorldConfig


def noise_spans(config: WorldConfig) -> Tensor | None:
    """Where the noise lies that each feature of `noise_follows` adds; None where that is everywhere.

    Returns:
        [len(noise_follows), max(1, d_in // 8), d_in], orthonormal bases of random subspaces, drawn from the world's seed.
    """
    if config.noise_shape == "isotropic" or not config.noise_follows:
        return None
    generator = torch.Generator().manual_seed(config.seed + 2)
    shape = len(config.noise_follows), config.d_in, max(1, config.d_in // 8)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    bases: Tensor = torch.linalg.qr(drawn).Q.mT.float()
    return bases


def draw_signs(config: WorldConfig, firings: Tensor, generator: torch.Generator) -> None:
    """Turn half of the firings [n, n_features] of the features of random sign below 0, in place."""
    if features := list(config.random_sign):
        negative = torch.rand(len(firings), len(features), generator=generator) < 0.5
        firings[:, features] *= 1 - 2 * negative.to(firings.dtype)


def add_noise(
    config: WorldConfig, spans: Tensor | None, firings: Tensor, x: Tensor, generator: torch.Generator
) -> None:
    """Add the world's noise to activations x [n, d_in], in place.

    Its variance on a coordinate is noise^2 (1 + sum of (factor^2 - 1) over the features of `noise_follows` that fire); what such a feature adds is noise of
    all coordinates, or of its subspace, where it has so many times the variance as there are fewer dimensions.

    Args:
        config: Of the world.
        spans: As from `noise_spans`.
        firings: [n, n_features].
        x: [n, d_in].
        generator: On the CPU.
    """
    if not config.noise:
        return
    added = torch.tensor([factor**2 - 1 for factor in config.noise_follows.values()])
    fires = firings[:, list(config.noise_follows)] != 0
    everywhere = torch.ones(len(x), 1) if spans is not None else 1 + (fires * added).sum(dim=1, keepdim=True)
    x += config.noise * everywhere.sqrt() * torch.randn(x.shape, generator=generator)
    for feature, basis in enumerate(() if spans is None else spans):
        (rows,) = fires[:, feature].nonzero(as_tuple=True)
        std = config.noise * (added[feature] * x.shape[1] / len(basis)).sqrt()
        x[rows] += std * torch.randn(len(rows), len(basis), generator=generator) @ basis
