"""Directions: cosines, and how much of a vector lies in the span of others. Pure functions on tensors, computed in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 8192
"""Rows that are widened to float64 at a time."""


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine between vectors along the last dimension, in float64.

    Args:
        a: [..., d].
        b: [..., d], broadcast against `a`.

    Returns:
        [...], from -1 to 1.

    Raises:
        CannotMeasure: One of the vectors is zero.
    """
    product: Tensor = (_unit(a) * _unit(b)).sum(-1)
    return product.clamp(-1, 1)  # rounding alone passes 1


def row_span(rows: Tensor, rtol: float | None = None) -> Tensor:
    """An orthonormal basis of the span of rows, in float64.

    The right singular vectors whose singular value is above `rtol` times the largest one, from the eigenvectors of rows^T rows: the cost
    grows with d, not with the number of rows, and singular values below about 1e-8 of the largest cannot be told from zero.

    Args:
        rows: [n, d].
        rtol: Relative tolerance of the rank. Default: max(n, d) times the machine epsilon of the rows' dtype, as in
            `torch.linalg.matrix_rank`, but 1e-7 at least.

    Returns:
        [rank, d]; rank 0 where all rows are zero.
    """
    import torch

    n, d = rows.shape
    if rtol is None:
        rtol = max(max(n, d) * torch.finfo(rows.dtype).eps, 1e-7)
    gram = torch.zeros(d, d, dtype=torch.float64, device=rows.device)
    for chunk in rows.split(_CHUNK):
        wide = chunk.double()
        gram += wide.T @ wide
    values, vectors = torch.linalg.eigh(gram)
    basis: Tensor = vectors[:, values > rtol**2 * values[-1].clamp(min=0)].T
    return basis


def span_share(vectors: Tensor, basis: Tensor) -> Tensor:
    """The share of each vector's squared norm inside a span: |Bv|^2 / |v|^2. A random direction has rank / d on average.

    Args:
        vectors: [..., d].
        basis: [rank, d], orthonormal rows, as from `row_span`.

    Returns:
        [...], from 0 to 1, in float64.

    Raises:
        CannotMeasure: One of the vectors is zero.
    """
    unit, basis = _unit(vectors), basis.double()
    coordinates: Tensor = unit @ basis.T
    inside = coordinates.square().sum(-1)
    outside = (unit - coordinates @ basis).square().sum(-1)
    share: Tensor = inside / (inside + outside)
    return share


def _unit(vectors: Tensor) -> Tensor:
    wide = vectors.double()
    norms = wide.norm(dim=-1, keepdim=True)
    if bool((norms == 0).any()):
        raise CannotMeasure("a zero vector has no direction")
    unit: Tensor = wide / norms
    return unit
