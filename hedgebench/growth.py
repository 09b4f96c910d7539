"""What growing an SAE did to the latents it had before: how far each moved, and how much of that lies in the span of the new rows.

    u_i    unit row i of the control: the same SAE, trained on for as long without new latents
    v_i    unit row i of the grown SAE, i an old latent
    δ_i    v_i - u_i
    P      the projector on the span of the new decoder rows, rank r in R^d

A random span of rank r holds r / d of a vector's squared norm, and `expected_norm(r, d)` of its norm, on average. Activations are not isotropic, and
neither are changes nor rows: both prefer the large directions. The random span is therefore a weak comparison, and spans that prefer them, too, a fair one.
Source: the growing SAE of the post on hedging, and the hedging degree of arXiv 2505.11756.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hedgebench.geometry import row_span

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_BLOCK = 4096
"""Rows that are worked on at a time."""


def expected_norm(rank: int, d: int) -> float:
    """E|P v| of a unit vector v and a random span of that rank in R^d: Γ((r+1)/2) Γ(d/2) / (Γ(r/2) Γ((d+1)/2)); 0 for rank 0."""
    if rank == 0:
        return 0.0
    return math.exp(math.lgamma((rank + 1) / 2) + math.lgamma(d / 2) - math.lgamma(rank / 2) - math.lgamma((d + 1) / 2))


def degree(g: float, b: float) -> float:
    """The hedging degree before it is clamped at 0: (g - b) / (1 - b). The paper's is max(0, this).

    Args:
        g: Mean |P δ_i|, the rows being of norm 1.
        b: The same for random spans.
    """
    return (g - b) / (1 - b)


def new_span(rows: Tensor) -> Tensor:
    """An orthonormal basis [rank, d] of the span of rows [n, d], whatever their norms; rows of zeros add nothing."""
    norms = rows.norm(dim=-1, keepdim=True)
    return row_span(rows[norms[:, 0] > 0] / norms[norms[:, 0] > 0]).to(rows.dtype)


def random_span(n: int, d: int, generator: torch.Generator, factor: Tensor | None = None) -> Tensor:
    """An orthonormal basis [n, d] of the span of n random rows.

    Args:
        n: Rows, at most d.
        d: Their dimension.
        generator: On the CPU.
        factor: [d, d], F: the rows are drawn with covariance F Fᵀ instead of isotropic.
    """
    import torch

    rows = torch.randn(n, d, generator=generator)
    if factor is not None:
        rows = rows.to(factor) @ factor.T
    basis: Tensor = torch.linalg.qr(rows.T).Q.T.contiguous()
    return basis


def covariance_factor(covariance: Tensor) -> Tensor:
    """F with F Fᵀ = covariance [d, d], which may be singular: its symmetric square root."""
    import torch

    values, vectors = torch.linalg.eigh(covariance.double())
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


@dataclass(frozen=True)
class Movement:
    """What became of m latents; float64."""

    norm: Tensor
    """[m], |δ_i|, from 0 to 2."""
    cosine: Tensor
    """[m], of u_i and v_i."""
    inside: Tensor
    """[spans, m], |P δ_i| for every span."""

    @property
    def squared_share(self) -> Tensor:
        """[spans, m], |P δ_i|² / |δ_i|²; 0 for a latent that did not move."""
        return (self.inside / self.norm.clamp(min=1e-300)).square()

    @property
    def share(self) -> Tensor:
        """[spans, m], |P δ_i| / |δ_i|; 0 for a latent that did not move."""
        return self.inside / self.norm.clamp(min=1e-300)


def movement(before: Tensor, after: Tensor, spans: Sequence[Tensor]) -> Movement:
    """How far rows moved, both made unit first, and how much of that lies in each span.

    Cost: one product of the m rows with all basis vectors; memory grows with m * spans, not with d * m.

    Args:
        before: [m, d].
        after: [m, d].
        spans: Orthonormal bases, each [rank, d].
    """
    import torch

    bases = torch.cat([basis.to(before) for basis in spans])
    owner = torch.repeat_interleave(
        torch.arange(len(spans), device=before.device),
        torch.tensor([len(basis) for basis in spans], device=before.device),
    )
    norms, cosines, insides = [], [], []
    for u, v in zip(before.split(_BLOCK), after.split(_BLOCK), strict=True):
        u, v = _unit(u), _unit(v)
        delta = v - u
        coordinates = (delta.to(before.dtype) @ bases.T).double()
        inside = coordinates.new_zeros(len(u), len(spans)).index_add_(1, owner, coordinates.square())
        size = delta.norm(dim=-1)
        norms.append(size)
        cosines.append((u * v).sum(-1).clamp(-1, 1))
        insides.append(torch.minimum(inside.sqrt().T, size))  # rounding alone passes the whole
    return Movement(torch.cat(norms).cpu(), torch.cat(cosines).cpu(), torch.cat(insides, dim=1).cpu())


def agreement(decoder: tuple[Tensor, Tensor], encoder: tuple[Tensor, Tensor], basis: Tensor) -> tuple[Tensor, Tensor]:
    """Whether decoder rows and encoder columns changed alike inside a span.

    With p_i and q_i the changes of the unit decoder row and the unit encoder column, projected on the span, *symmetry* is the ratio of the sums of what
    this returns: 1 where they are equal (hedging leaves both), 0 where only one of them changed or they have nothing to do with each other
    (absorption changes the encoder), -1 where they are opposite.

    Args:
        decoder: Rows before and after, each [m, d].
        encoder: Columns before and after, transposed, each [m, d].
        basis: [rank, d].

    Returns:
        2 p_i · q_i and |p_i|² + |q_i|², each [m] in float64.
    """
    import torch

    basis = basis.to(decoder[0])
    twice, sizes = [], []
    for u, v, s, t in zip(*(side.split(_BLOCK) for side in (*decoder, *encoder)), strict=True):
        p, q = ((_unit(b) - _unit(a)).to(basis.dtype) @ basis.T for a, b in ((u, v), (s, t)))
        twice.append(2 * (p.double() * q.double()).sum(-1))
        sizes.append(p.double().square().sum(-1) + q.double().square().sum(-1))
    return torch.cat(twice).cpu(), torch.cat(sizes).cpu()


def _unit(rows: Tensor) -> Tensor:
    wide = rows.double()  # a small difference of nearly equal rows: the subtraction is done in float64
    unit: Tensor = wide / wide.norm(dim=-1, keepdim=True)
    return unit
