"""Pair the rows of two sets one to one so that the sum of their cosines is largest: exactly, or on a sparse graph of the likely pairs, with a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hedgebench.cosines import BLOCK, blocks, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hedgebench.cosines import Nearest


class Matching(NamedTuple):
    """Which of the other rows each row has, on the CPU."""

    partner: Tensor
    """[n], int64."""
    cosine: Tensor
    """[n], float32: with its partner."""
    gap: float
    """The best matching's mean cosine is above this one's by no more than this: 0 where it is the best one."""
    candidates: int | None
    """How many pairs of each row were looked at; None for all."""

    @property
    def exact(self) -> bool:
        """Whether all pairs were looked at."""
        return self.candidates is None


def match(
    rows: Tensor, others: Tensor, *, absolute: bool = False, exact_up_to: int = 16_384, candidates: int = 64
) -> Matching:
    """Pair rows with others, each with one, so that the sum of cosines is largest (a linear sum assignment).

    Up to `exact_up_to` rows the best matching, by SciPy's `linear_sum_assignment` on all cosines. Its memory grows as n^2 (8 bytes an entry: 2.1 GB at
    16,384) and its time somewhat faster. Beyond, that of `approximate`.

    Args:
        rows: [n, d].
        others: [n, d], on the same device.
        absolute: By |cosine|, which then is what is reported.
        exact_up_to: The largest n that is solved exactly; also how many rows the approximation's last step takes at a time.
        candidates: How many pairs of each row the approximation looks at.

    Raises:
        ValueError: The two have different shapes.
    """
    if rows.shape != others.shape:
        raise ValueError(f"cannot pair rows of shape {tuple(rows.shape)} with {tuple(others.shape)} one to one")
    if len(rows) <= exact_up_to:
        return _exact(rows, others, absolute)
    return approximate(rows, others, absolute=absolute, candidates=candidates, chunk=exact_up_to)


def approximate(
    rows: Tensor, others: Tensor, *, absolute: bool = False, candidates: int = 64, chunk: int = 16_384
) -> Matching:
    """Pair rows with others by a sparse graph: each row's m largest cosines, and each other's.

    SciPy's `min_weight_full_bipartite_matching` finds the best of that graph's matchings with the fewest rows alone; those are then paired exactly with the
    others that are alone, `chunk` at a time. With m = n the graph holds all pairs, and the result is the best matching.

    The bound is from a second solution, in which any row may stay alone for the m-th largest of its cosines. As a pair that is not in the graph is worth no more
    than that, no matching of all pairs is worth more than this solution, and the exact one need not be known. It is loose: measured on made-up decoders of
    4,096 latents with m = 64 the mean cosine was 1e-4 short of the best, and bounded by 1e-2 (`benchmarks/hedging_geometry.py`).

    Memory grows as n (d + m): no [n, n] matrix. Time grows as n^2 d for the candidates (on the rows' device), and for the solver (on the CPU) about as
    n^2 m at worst.

    Args:
        rows: [n, d].
        others: [n, d].
        absolute: See `match`.
        candidates: m; all pairs where it is n or more.
        chunk: How many rows the last step takes at a time; its memory grows as chunk^2.

    Raises:
        ValueError: The two have different shapes.
    """
    import torch

    if rows.shape != others.shape:
        raise ValueError(f"cannot pair rows of shape {tuple(rows.shape)} with {tuple(others.shape)} one to one")
    m = min(candidates, len(rows))
    graph, nth = _graph(*nearest(rows, others, m, absolute=absolute))
    partner, cosine, _ = _solve(
        graph, torch.full_like(nth, -2.0 * len(rows))
    )  # staying alone is worth less than anything
    *_, bound = _solve(graph, nth)
    alone = (partner < 0).nonzero()[:, 0]
    free = torch.ones(len(partner), dtype=torch.bool)
    free[partner[partner >= 0]] = False
    for some, left in zip(alone.split(chunk), free.nonzero()[:, 0].split(chunk), strict=True):
        rest = _exact(rows[some.to(rows.device)], others[left.to(others.device)], absolute)
        partner[some], cosine[some] = left[rest.partner], rest.cosine
    return Matching(partner, cosine, float(bound - cosine.double().sum()) / max(len(partner), 1), m)


def _exact(rows: Tensor, others: Tensor, absolute: bool) -> Matching:
    """The best of all matchings, from the whole matrix of cosines."""
    import numpy as np
    import torch
    from scipy.optimize import linear_sum_assignment

    n = len(rows)
    cost = np.empty((n, n))  # negative and float64, as SciPy would otherwise copy it twice
    for i, j, block in blocks(rows, others):
        cost[i : i + BLOCK, j : j + BLOCK] = -(block.abs() if absolute else block).cpu().numpy()
    _, partner = linear_sum_assignment(cost)
    cosine = -cost[np.arange(n), partner]
    return Matching(torch.from_numpy(partner), torch.from_numpy(cosine).float(), 0.0, None)


class _Graph(NamedTuple):
    """Pairs with their cosines."""

    row: NDArray
    column: NDArray
    worth: NDArray


def _graph(ours: Nearest, theirs: Nearest) -> tuple[_Graph, Tensor]:
    """The pairs that either side has among its nearest, and the last of each row's own [n]: no other pair of the row is worth more."""
    import numpy as np

    n, m = ours.values.shape
    each = np.arange(n)
    row = np.concatenate([each.repeat(m), theirs.indices.flatten().cpu().numpy()])
    column = np.concatenate([ours.indices.flatten().cpu().numpy(), each.repeat(m)])
    worth = np.concatenate([side.values.flatten().cpu().numpy() for side in (ours, theirs)])
    pair, first = np.unique(row * n + column, return_index=True)
    return _Graph(pair // n, pair % n, worth[first].astype(np.float64)), ours.values[:, -1].double().cpu()


def _solve(graph: _Graph, alone: Tensor) -> tuple[Tensor, Tensor, float]:
    """The best matching of a graph in which a row may also stay alone.

    Args:
        graph: The pairs.
        alone: [n], float64: what each row gets then.

    Returns:
        ([n] partner or -1, [n] its cosine, the sum of what all rows get).
    """
    import numpy as np
    import torch
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n, each = len(alone), np.arange(len(alone))
    row = np.concatenate([graph.row, each])
    column = np.concatenate([graph.column, n + each])  # a column of its own for staying alone
    worth = np.concatenate([graph.worth, alone.numpy()])
    # as costs, from 1 on: SciPy takes a zero for no pair
    costs = csr_array((2 - worth, (row, column)), shape=(n, 2 * n))
    found, chosen = min_weight_full_bipartite_matching(costs)
    gets = 2 - costs[found, chosen]
    partner, cosine = torch.empty(n, dtype=torch.int64), torch.empty(n)
    partner[found] = torch.from_numpy(np.where(chosen < n, chosen, -1).astype(np.int64))
    cosine[found] = torch.from_numpy(gets).float()
    return partner, cosine, float(gets.sum())
