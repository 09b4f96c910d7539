"""The cosines of all pairs of many rows, block by block, and what random rows have. Pure functions, on the device the tensors are on.

Products are taken in float32 (of rows made unit in float64), so a cosine is wrong by 1e-6 or less for up to some thousand dimensions. No [rows, rows]
matrix is ever held. A row of zeros has cosine 0 with every row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

BLOCK = 4096
"""Rows and columns of a block of cosines: 64 MB in float32, of which a few are held at a time."""
_BELOW = -2.0
"""Less than any cosine."""


class Nearest(NamedTuple):
    """For each row the other rows with the largest cosines."""

    values: Tensor
    """[n, m], float32, descending."""
    indices: Tensor
    """[n, m], int64. Of equal cosines any comes first."""


def nearest(rows: Tensor, others: Tensor, m: int, *, absolute: bool = False) -> tuple[Nearest, Nearest]:
    """The `m` largest cosines of every row with the others, and of each of those with the rows, from one pass over blocks.

    Time grows as n k d (one float32 matrix product) and, for the selection, as n k; memory as (n + k) (d + m), and some blocks.

    Args:
        rows: [n, d].
        others: [k, d].
        m: At most min(n, k).
        absolute: By |cosine|, which then are the values.

    Raises:
        ValueError: `m` is out of range.
    """
    if not 1 <= m <= min(len(rows), len(others)):
        raise ValueError(f"cannot find the {m} nearest of {len(rows)} and {len(others)} rows")
    ours, theirs = _none_yet(rows, m), _none_yet(others, m)
    for i, j, block in blocks(rows, others):
        values = block.abs_() if absolute else block
        _merge(ours, i, values, j)
        _merge(theirs, j, values.T.contiguous(), i)
    return ours, theirs


def nearest_within(rows: Tensor, m: int, *, absolute: bool = False) -> Nearest:
    """The `m` largest cosines of every row with the other rows of the same set, for half the product of `nearest`.

    Args:
        rows: [n, d].
        m: At most n - 1.
        absolute: By |cosine|, which then are the values.

    Raises:
        ValueError: `m` is out of range.
    """
    if not 1 <= m < len(rows):
        raise ValueError(f"cannot find the {m} nearest of {len(rows) - 1} other rows")
    found = _none_yet(rows, m)
    for i, j, block in blocks(rows):
        values = block.abs_() if absolute else block
        if i == j:
            values.fill_diagonal_(_BELOW)
        else:
            _merge(found, j, values.T.contiguous(), i)
        _merge(found, i, values, j)
    return found


def excess(rows: Tensor, others: Tensor, ours: Tensor, theirs: Tensor, m: int, *, absolute: bool = False) -> Nearest:
    """For every row the `m` largest of cosine minus the row's number minus the other's, over all others; one pass over blocks, as `nearest`.

    Args:
        rows: [n, d].
        others: [k, d].
        ours: [n], the rows' numbers, on any device.
        theirs: [k], the others'.
        m: At most k.
        absolute: Of |cosine|.
    """
    ours, theirs = (numbers.float().to(rows.device) for numbers in (ours, theirs))
    found = _none_yet(rows, m, below=-math.inf)
    for i, j, block in blocks(rows, others):
        values = block.abs_() if absolute else block
        values -= ours[i : i + BLOCK, None]
        values -= theirs[j : j + BLOCK]
        _merge(found, i, values, j)
    return found


class Pairs(NamedTuple):
    """What the cosines of all pairs of different rows say."""

    mean_abs: float
    """Mean |cosine| over pairs i < j."""
    largest: Tensor
    """[n], float32: the largest cosine of each row with another."""
    largest_abs: Tensor
    """[n], float32: the largest |cosine|."""


def pairs(rows: Tensor) -> Pairs:
    """Mean and maxima of the cosines of all pairs of rows, from one pass over the blocks of half the matrix.

    Time grows as n^2 d (half a float32 matrix product), memory as n d, and some blocks. The mean is wrong by 1e-6 or less.

    Args:
        rows: [n, d], n >= 2.

    Raises:
        ValueError: There are fewer than two rows.
    """
    import torch

    n = len(rows)
    if n < 2:
        raise ValueError("one row makes no pair")
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    largest, largest_abs = torch.full((2, n), _BELOW, dtype=torch.float32, device=rows.device)
    for i, j, block in blocks(rows):
        size = block.abs()
        sides = [(i, block, size)]
        if i == j:
            size.fill_diagonal_(0.0)
            block.fill_diagonal_(_BELOW)
            total += size.sum(1).double().sum() / 2
        else:
            sides.append((j, block.T, size.T))
            total += size.sum(1).double().sum()
        for start, signed, absolute in sides:
            here = slice(start, start + len(signed))
            largest[here] = torch.maximum(largest[here], signed.amax(1))
            largest_abs[here] = torch.maximum(largest_abs[here], absolute.amax(1))
    return Pairs(float(total) / (n * (n - 1) / 2), largest, largest_abs)


def blocks(rows: Tensor, others: Tensor | None = None) -> Iterator[tuple[int, int, Tensor]]:
    """The cosines of rows [n, d] with others [k, d], as (first row, first column, [at most BLOCK, at most BLOCK] float32, the receiver's own).

    Without `others`: of the rows with themselves, from the diagonal on to the right only.
    """
    a = unit_rows(rows)
    b = a if others is None else unit_rows(others)
    for i in range(0, len(a), BLOCK):
        for j in range(i if others is None else 0, len(b), BLOCK):
            with _full_precision():
                block = a[i : i + BLOCK] @ b[j : j + BLOCK].T
            yield i, j, block.clamp_(-1, 1)  # rounding alone passes 1


def unit_rows(rows: Tensor) -> Tensor:
    """Rows [n, d] of length 1 in float32; a row of zeros stays one. Norms are taken in float64, so that none is lost to the range of float32."""
    import torch

    unit = torch.empty(rows.shape, dtype=torch.float32, device=rows.device)
    for part, out in zip(rows.split(BLOCK), unit.split(BLOCK), strict=True):
        wide = part.double()
        out.copy_(wide / wide.norm(dim=1, keepdim=True).clamp(min=1e-300))
    return unit


# --- random directions -----------------------------------------------------------------------------------------------------------


def random_cosine(d: int) -> float:
    """The mean |cosine| of two random directions in d dimensions: Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)), about sqrt(2 / (pi d))."""
    return math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)


def largest_random_cosine(n: int, d: int, *, absolute: bool = False, points: int = 400) -> float:
    """The mean of the largest of the cosines of one random direction with n others, which are independent: the integral of their quantiles."""
    nodes, weights = _quadrature(points)
    return float(weights @ largest_random_quantile(n, d, (nodes + 1) / 2, absolute=absolute) / 2)


@cache
def _quadrature(points: int) -> tuple[NDArray, NDArray]:
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(points)
    return nodes, weights


def largest_random_quantile(n: int, d: int, q: ArrayLike, *, absolute: bool = False) -> NDArray:
    """The quantiles of the largest of n cosines with random directions in d >= 2 dimensions.

    The square of one cosine has the distribution Beta(1/2, (d-1)/2), and half of one plus a cosine Beta((d-1)/2, (d-1)/2).

    Args:
        n: How many cosines.
        d: Dimensions.
        q: Probabilities, of any shape.
        absolute: Of |cosine|.
    """
    import numpy as np
    from scipy.special import betainccinv

    above = -np.expm1(np.log(np.asarray(q, dtype=np.float64)) / n)  # of one cosine, where q is of the largest of n
    half = (d - 1) / 2
    found: NDArray = np.sqrt(betainccinv(0.5, half, above)) if absolute else 2 * betainccinv(half, half, above) - 1
    return found


# --- the pieces ------------------------------------------------------------------------------------------------------------------


def _none_yet(rows: Tensor, m: int, below: float = _BELOW) -> Nearest:
    import torch

    values = torch.full((len(rows), m), below, dtype=torch.float32, device=rows.device)
    return Nearest(values, torch.full(values.shape, -1, dtype=torch.int64, device=rows.device))


def _merge(found: Nearest, start: int, block: Tensor, offset: int) -> None:
    """Take a block's largest entries in: its rows are the rows of `found` from `start` on, its columns the indices from `offset` on."""
    import torch

    m, here = found.values.shape[1], slice(start, start + len(block))
    values, indices = block.topk(min(m, block.shape[1]), dim=1)
    both = torch.cat([found.values[here], values], dim=1).topk(m, dim=1)
    known = torch.cat([found.indices[here], indices + offset], dim=1)
    found.values[here], found.indices[here] = both.values, known.gather(1, both.indices)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Without the shorter numbers that a user may have allowed in matrix products, such as TF32; their choice is restored."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
