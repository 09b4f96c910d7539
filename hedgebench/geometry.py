"""Directions: cosines, spans and spectra. Pure functions on tensors, in float64, on the device the tensors are on.

What is about all pairs of many rows stands in `hedgebench.cosines`.
"""

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
    product: Tensor = (unit_vectors(a) * unit_vectors(b)).sum(-1)
    return product.clamp(-1, 1)  # rounding alone passes 1


def row_span(rows: Tensor, rtol: float | None = None) -> Tensor:
    """An orthonormal basis of the span of rows, in float64: the singular axes whose singular value is above `rtol` times the largest one.

    Args:
        rows: [n, d].
        rtol: Relative tolerance of the rank. Default: max(n, d) times the machine epsilon of the rows' dtype, as in
            `torch.linalg.matrix_rank`, but 1e-7 at least.

    Returns:
        [rank, d]; rank 0 where all rows are zero.
    """
    values, axes = singular_axes(rows)
    return axes[values > (rank_tolerance(rows) if rtol is None else rtol) * values[:1]]


def rank_tolerance(rows: Tensor) -> float:
    """The share of the largest singular value of rows [n, d] below which one counts as zero."""
    import torch

    return max(max(rows.shape) * torch.finfo(rows.dtype).eps, 1e-7)


def singular_axes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The singular values of rows, descending, and the right singular vectors, in float64.

    For few rows (4 n <= d) by SVD. For more, from the eigenvectors of rows^T rows, whose cost grows as n d^2 + d^3 and memory as d^2: singular values
    below about 1e-8 of the largest cannot be told from zero then.

    Args:
        rows: [n, d].

    Returns:
        ([r], [r, d]), r = min(n, d) or d.
    """
    import torch

    n, d = rows.shape
    if 4 * n <= d:
        _, values, axes = torch.linalg.svd(rows.double(), full_matrices=False)
        return values, axes
    gram = torch.zeros(d, d, dtype=torch.float64, device=rows.device)
    for chunk in rows.split(_CHUNK):
        wide = chunk.double()
        gram += wide.T @ wide
    squares, vectors = torch.linalg.eigh(gram)
    return squares.clamp(min=0).sqrt().flip(0), vectors.T.flip(0)  # rounding alone makes a square negative


def effective_rank(values: Tensor) -> float:
    """The exponential of the entropy of singular values divided by their sum: r for r equal ones (Roy & Vetterli 2007).

    Args:
        values: [r] singular values, not all zero.
    """
    import torch

    shares = values.double() / values.double().sum()
    return float(torch.special.entr(shares).sum().exp())


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
    unit, basis = unit_vectors(vectors), basis.double()
    coordinates: Tensor = unit @ basis.T
    inside = coordinates.square().sum(-1)
    outside = (unit - coordinates @ basis).square().sum(-1)
    share: Tensor = inside / (inside + outside)
    return share


def unit_vectors(vectors: Tensor) -> Tensor:
    """The directions of vectors [..., d], of norm 1 and in float64.

    Raises:
        CannotMeasure: One of the vectors is zero.
    """
    wide = vectors.double()
    norms = wide.norm(dim=-1, keepdim=True)
    if bool((norms == 0).any()):
        raise CannotMeasure("a zero vector has no direction")
    unit: Tensor = wide / norms
    return unit
