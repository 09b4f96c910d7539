"""Spans of rows, random spans like them, and how much of vectors lies inside on average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hedgebench.geometry import row_span

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def expected_norm(rank: int, d: int) -> float:
    """E|P v| of a unit vector v and a random span of that rank in R^d: Γ((r+1)/2) Γ(d/2) / (Γ(r/2) Γ((d+1)/2)); 0 for rank 0."""
    if rank == 0:
        return 0.0
    return math.exp(math.lgamma((rank + 1) / 2) + math.lgamma(d / 2) - math.lgamma(rank / 2) - math.lgamma((d + 1) / 2))


def new_span(rows: Tensor) -> Tensor:
    """An orthonormal basis [rank, d] of the span of rows [n, d], whatever their norms; rows of zeros add nothing."""
    norms = rows.norm(dim=-1, keepdim=True)
    return row_span(rows[norms[:, 0] > 0] / norms[norms[:, 0] > 0]).to(rows.dtype)


def random_span(n: int, d: int, generator: torch.Generator, factor: Tensor | None = None) -> Tensor:
    """An orthonormal basis [rank, d] of the span of n random rows.

    Args:
        n: Rows, at most d.
        d: Their dimension.
        generator: On the CPU.
        factor: [d, d], F: the rows are drawn with covariance F Fᵀ instead of isotropic. Where that has a rank below n, so has the span.
    """
    import torch

    rows = torch.randn(n, d, generator=generator)
    if factor is not None:
        return new_span(rows.to(factor) @ factor.T)
    basis: Tensor = torch.linalg.qr(rows.T).Q.T.contiguous()
    return basis


def covariance_factor(covariance: Tensor) -> Tensor:
    """F with F Fᵀ = covariance [d, d], which may be singular: its symmetric square root."""
    import torch

    values, vectors = torch.linalg.eigh(covariance.double())
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def span_shares(second_moment: Tensor, spans: Sequence[Tensor]) -> Tensor:
    """[spans], the mean share |P v|² of unit vectors v in each span. Cost: no more with more vectors.

    Args:
        second_moment: [d, d], the sum of v vᵀ over the vectors.
        spans: Orthonormal bases, each [rank, d].
    """
    import torch

    n = second_moment.trace()
    wide = (basis.to(second_moment) for basis in spans)
    return torch.stack([((basis @ second_moment) * basis).sum() / n for basis in wide])
