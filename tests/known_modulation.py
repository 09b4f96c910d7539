"""Residuals whose moments follow latents in a known way, and the regressions they are of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from known_saes import orthonormal_features

from hedgebench.latent_regression import LatentRegression
from hedgebench.modulation import moment_norms

D = 64
Halves = tuple[LatentRegression, LatentRegression]


class Fitted(NamedTuple):
    """The rows and residuals of a regression on all tokens, and regressions on the even and on the odd ones."""

    outside: torch.Tensor
    rows: torch.Tensor
    halves: Halves
    residuals: tuple[torch.Tensor, torch.Tensor]

    def weights(self, latents: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = (half.weights(torch.tensor(latents)) for half in self.halves)
        return first, second

    def exactly(self, power: int, latents: list[int], residuals: tuple | None = None) -> torch.Tensor:
        return moment_norms(*(residuals or self.residuals), *self.weights(latents), power)


def fitted(x: torch.Tensor, f: torch.Tensor, outside: torch.Tensor | None = None, **how) -> Fitted:
    whole = LatentRegression(f, **how)
    r = whole.residual(x)
    halves = LatentRegression(f[::2], **how), LatentRegression(f[1::2], **how)
    return Fitted(outside if outside is not None else x[:0], whole.coefficients(x), halves, (r[::2], r[1::2]))


def pairs(*rates: tuple[float, float], n: int = 30_000, random_sign: bool = False, seed: int = 0) -> Fitted:
    """Binary latents that fire with probability .4, each beside a binary outside feature that is there with probability q0 without it and q1 with it."""
    generator = torch.Generator().manual_seed(seed)
    features = orthonormal_features(2 * len(rates), D, generator).float()
    q0, q1 = torch.tensor(rates).T
    f = (torch.rand(n, len(rates), generator=generator) < 0.4).float()
    there = (torch.rand(n, len(rates), generator=generator) < torch.where(f > 0, q1, q0)).float()
    if random_sign:
        there = there * (torch.randint(2, there.shape, generator=generator) * 2 - 1)
    return fitted(torch.cat([f, there], dim=1) @ features, f, features[len(rates) :])


def crowd(n: int = 600, d: int = 9, m: int = 5, **how) -> Fitted:
    """Latents that overlap, and residuals of unequal size, skewed, that follow them; few enough for tensors."""
    generator = torch.Generator().manual_seed(3)
    f = torch.rand(n, m, generator=generator) * (torch.rand(n, m, generator=generator) < 0.5)
    f[:, 1] += 0.5 * f[:, 0]
    noise = torch.rand(n, d, generator=generator).square() * torch.linspace(0.2, 2, d)
    x = f @ torch.randn(m, d, generator=generator) + noise * (1 + 2 * f[:, :1])
    return fitted(x.double(), f.double(), **how)
