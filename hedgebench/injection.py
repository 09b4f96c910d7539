"""Hedging of a known size, added to real activations: what an estimate makes of it on this SAE and this text.

Some latents get a feature each, in a direction of its own. It is there on a share of the tokens where its latent fires and on fewer of the others, or none, so that the best row for
that latent takes a part of it on: it hedges. The control is the same with a random sign on each token: the variance follows the latent as before, and the row takes nothing on.
Encoders are left as they are: latents fire as they did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hedgebench.hedging import Fit

RATE = 0.4
"""Share of a latent's tokens on which its feature is there."""
_FIRINGS = 200
"""Of a latent that may get a feature."""
_AT_MOST = 1024
"""Latents that may; more are not looked at."""
_LARGE = 3.0
"""A latent gets none whose feature would be above so many times the median feature's size: a few would rule all residuals."""


class Injection(NamedTuple):
    """Activations with known features, and without."""

    x: Tensor
    """[n, d], with features that are hedged."""
    control: Tensor
    """[n, d], with the same of random sign."""
    latents: Tensor
    """[l], int64: those that got one."""
    others: Tensor
    """[o], int64: those that might have got one and did not."""
    directions: Tensor
    """[l, d], unit rows."""
    sizes: Tensor
    """[l], of the features."""


def inject(
    fitted: Fit, share: float, of: int, generator: torch.Generator, alone: float = 0.0, spread: float = 0.0
) -> Injection:
    """Give features to a share 1 / `of` of the latents.

    Args:
        fitted: The latents and the activations.
        share: |part of the new best row that is owed to the feature| / |the row|, between 0 and 1.
        of: One of so many latents.
        generator: On the CPU.
        alone: Share of the other tokens on which a feature is there, too.
        spread: Standard deviation of a feature's strength, over its mean (nearly: strengths below 0 are 0).

    Raises:
        CannotMeasure: Too few latents fire often enough.
    """
    import torch

    f, d = fitted.whole.f, fitted.x.shape[1]
    entries = f.col_indices() if f.layout != torch.strided else f.nonzero()[:, 1]
    often = (torch.bincount(entries, minlength=f.shape[1]) >= _FIRINGS).nonzero()[:, 0].cpu()
    mixed = often[torch.randperm(len(often), generator=generator)][:_AT_MOST]
    fires = _columns(f, mixed.to(f.device)) > 0
    chance = torch.where(fires, RATE, alone).cpu()
    there = (torch.rand(fires.shape, generator=generator) < chance).to(fitted.x)
    if spread:
        there *= (1 + spread * torch.randn(fires.shape, generator=generator)).clamp(min=0).to(there)
    own = torch.arange(len(mixed), device=f.device)
    slope = fitted.whole.coefficients(there)[mixed.to(f.device), own]
    wanted = share / (1 - share**2) ** 0.5 * fitted.rows[mixed.to(f.device)].norm(dim=1)
    sizes = (wanted / slope).where(slope > 0, float("inf"))
    usable = ((sizes > 0) & (sizes < _LARGE * sizes.median())).nonzero()[:, 0]
    count = min(len(usable) // of, d)
    if count < 3:
        raise CannotMeasure(f"{len(usable)} latents fire often enough to hedge a known feature; {3 * of} are needed")
    chosen, rest = usable[:count], usable[count:]
    directions = torch.linalg.qr(torch.randn(d, count, generator=generator)).Q.T.to(fitted.x)
    added = there[:, chosen] * sizes[chosen].to(there)
    signs = (torch.randint(2, added.shape, generator=generator) * 2 - 1).to(added)
    mixed = mixed.to(f.device)
    return Injection(
        fitted.x + added @ directions,
        fitted.x + (added * signs) @ directions,
        mixed[chosen],
        mixed[rest],
        directions,
        sizes[chosen],
    )


def auc(above: Tensor, below: Tensor) -> float:
    """How often a value of the one is above a value of the other, ties counting half."""
    order = above[:, None] - below[None]
    return float((order > 0).double().mean() + 0.5 * (order == 0).double().mean())


def _columns(f: Tensor, latents: Tensor) -> Tensor:
    """[n, l], dense: some columns of f, dense or sparse CSR."""
    import torch

    if f.layout == torch.strided:
        return f[:, latents]
    place = torch.full((f.shape[1],), -1, device=f.device)
    place[latents] = torch.arange(len(latents), device=f.device)
    columns = place[f.col_indices()]
    rows = torch.arange(len(f), device=f.device).repeat_interleave(f.crow_indices().diff())
    found = torch.zeros(len(f), len(latents), dtype=f.dtype, device=f.device)
    kept = columns >= 0
    found[rows[kept], columns[kept]] = f.values()[kept]
    return found
