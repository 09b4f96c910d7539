"""Pair the rows of two sets one to one so that the sum of their cosines is largest: exactly, or on a sparse graph with a proven bound on the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hedgebench.cosines import BLOCK, blocks, excess, nearest, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hedgebench.cosines import Nearest

ROUNDING = 1e-6
"""Differences of cosines up to this are what float32 makes of 0."""
_ADDED = 16
"""Pairs of a row that a round adds, at most."""


class Matching(NamedTuple):
    """Which of the other rows each row has, on the CPU."""

    partner: Tensor
    """[n], int64."""
    cosine: Tensor
    """[n], float32: with its partner."""
    gap: float
    """The best matching's mean cosine is above this one's by no more than this; 0 where all pairs were compared at once."""
    exact: bool
    """Whether it comes from all pairs at once; False: from a sparse graph of them."""


def match(
    rows: Tensor,
    others: Tensor,
    *,
    absolute: bool = False,
    exact_up_to: int = 16_384,
    candidates: int = 64,
    tolerance: float = 1e-4,
) -> Matching:
    """Pair rows with others, each with one, so that the sum of cosines is largest (a linear sum assignment).

    Up to `exact_up_to` rows the best matching, by SciPy's `linear_sum_assignment` on all cosines: its memory grows as n^2 (8 bytes an entry: 2.1 GB at
    16,384) and its time faster, the more so where many cosines are alike. Beyond, that of `approximate`.

    Args:
        rows: [n, d].
        others: [n, d], on the same device.
        absolute: By |cosine|, which then is what is reported.
        exact_up_to: The largest n for which all pairs are compared at once.
        candidates: See `approximate`, likewise `tolerance`.
        tolerance: How far the mean cosine may be from the best.

    Raises:
        ValueError: The two have different shapes.
    """
    if rows.shape != others.shape:
        raise ValueError(f"cannot pair rows of shape {tuple(rows.shape)} with {tuple(others.shape)} one to one")
    if len(rows) <= exact_up_to:
        return _exact(rows, others, absolute)
    return approximate(rows, others, absolute=absolute, candidates=candidates, tolerance=tolerance)


def approximate(
    rows: Tensor,
    others: Tensor,
    *,
    absolute: bool = False,
    candidates: int = 64,
    tolerance: float = 1e-4,
    rounds: int = 10,
) -> Matching:
    """Pair rows with others by a sparse graph of the likely pairs, which grows until the result is proven good enough (column generation).

    The graph begins with each row's m largest cosines, and each other's. SciPy's `min_weight_full_bipartite_matching` finds its best matching, and from
    that follow prices of rows and others, which no pair of the graph is worth more than. All pairs are then compared with the prices, block by block. By
    duality no matching of all pairs can beat this one by more than the sum, over rows, of how much a pair of the row is worth above its price, if any is:
    that is the bound. While it is above `tolerance`, those pairs join the graph. With tolerance 0 the result is the best matching, to rounding.

    Memory grows as n (d + m): there is no [n, n] matrix. Time grows, for every round, as n^2 d on the rows' device (one float32 matrix product, and one
    more at the beginning), and on the CPU as the solver needs: below n^2 m, and small beside the products at a d of some hundreds and more.

    Args:
        rows: [n, d].
        others: [n, d].
        absolute: See `match`.
        candidates: m; all pairs where it is n or more.
        tolerance: The bound on the mean cosine's error at which it stops.
        rounds: How often the bound is taken, at most.

    Raises:
        ValueError: The two have different shapes, or there is no round.
    """
    if rows.shape != others.shape or rounds < 1:
        raise ValueError(f"cannot pair rows of shape {tuple(rows.shape)} with {tuple(others.shape)} in {rounds} rounds")
    graph = _first_graph(rows, others, min(candidates, len(rows)), absolute)
    for last in range(rounds):
        partner, worth = _solve(graph)
        theirs = _prices(graph, partner, worth)
        ours = worth - theirs[partner]
        above = excess(rows, others, _tensor(ours), _tensor(theirs), min(_ADDED, len(rows)), absolute=absolute)
        gap = float(above.values[:, 0].clamp(min=0).double().mean())
        if gap <= max(tolerance, ROUNDING) or last == rounds - 1:
            break
        graph = _grown(graph, above, ours, theirs)
    return Matching(_tensor(partner), _tensor(worth).float(), gap, False)


def _exact(rows: Tensor, others: Tensor, absolute: bool) -> Matching:
    """The best of all matchings, from the whole matrix of cosines."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    n = len(rows)
    cost = np.empty((n, n))  # negative and float64, as SciPy would otherwise copy it twice
    for i, j, block in blocks(rows, others):
        cost[i : i + BLOCK, j : j + BLOCK] = -(block.abs() if absolute else block).cpu().numpy()
    _, partner = linear_sum_assignment(cost)
    return Matching(_tensor(partner), _tensor(-cost[np.arange(n), partner]).float(), 0.0, True)


# --- the sparse graph ------------------------------------------------------------------------------------------------------------


class _Graph(NamedTuple):
    """Pairs in order of row and column, with their cosines, of n rows and n others."""

    n: int
    row: NDArray
    column: NDArray
    worth: NDArray


def _graph(n: int, row: NDArray, column: NDArray, worth: NDArray) -> _Graph:
    """Each pair once, in order."""
    import numpy as np

    pair, first = np.unique(row.astype(np.int64) * n + column, return_index=True)
    return _Graph(n, pair // n, pair % n, worth[first].astype(np.float64))


def _first_graph(rows: Tensor, others: Tensor, m: int, absolute: bool) -> _Graph:
    """What either side has among its nearest, and the pairs of equal number, with which every row has a partner."""
    import numpy as np
    import torch

    ours, theirs = nearest(rows, others, m, absolute=absolute)
    sides = zip(rows.split(BLOCK), others.split(BLOCK), strict=True)
    equal = torch.cat([(unit_rows(a) * unit_rows(b)).sum(1) for a, b in sides])
    each = np.arange(len(rows))
    worth = (ours.values.ravel(), theirs.values.ravel(), equal.abs() if absolute else equal)
    return _graph(
        len(rows),
        np.concatenate([each.repeat(m), theirs.indices.ravel().cpu().numpy(), each]),
        np.concatenate([ours.indices.ravel().cpu().numpy(), each.repeat(m), each]),
        torch.cat(worth).cpu().numpy(),
    )


def _grown(graph: _Graph, above: Nearest, ours: NDArray, theirs: NDArray) -> _Graph:
    """The graph with the pairs that are worth more than their prices."""
    import numpy as np

    row, place = (above.values.cpu() > ROUNDING).nonzero(as_tuple=True)
    column = above.indices.cpu()[row, place].numpy()
    worth = above.values.cpu()[row, place].numpy() + ours[row] + theirs[column]
    old_and_new = zip((graph.row, graph.column, graph.worth), (row.numpy(), column, worth), strict=True)
    return _graph(graph.n, *(np.concatenate(parts) for parts in old_and_new))


def _solve(graph: _Graph) -> tuple[NDArray, NDArray]:
    """The best matching of a graph: [n] partner and [n] cosine with it."""
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # as costs, from 1 to 3: SciPy takes a zero for no pair
    costs = csr_array((2 - graph.worth, (graph.row, graph.column)), shape=(graph.n, graph.n))
    row, column = min_weight_full_bipartite_matching(costs)
    partner, worth = np.empty(graph.n, dtype=np.int64), np.empty(graph.n)
    partner[row], worth[row] = column, 2 - costs[row, column]
    return partner, worth


def _prices(graph: _Graph, partner: NDArray, worth: NDArray) -> NDArray:
    """Prices t of the others, [n]: with those of the rows, s_i = worth_i - t[partner_i], no pair of the graph is worth more than s_i + t_j.

    They are the lengths of longest paths, t_j = max(t_j, t[partner_i] + cosine_ij - worth_i), in which no cycle gains as the matching is the graph's best
    (Bellman-Ford, all pairs at a time). A path ends within n steps; in practice within a few hundred.
    """
    import numpy as np

    order = np.argsort(graph.column, kind="stable")
    start = np.searchsorted(graph.column[order], np.arange(graph.n))
    before = partner[graph.row[order]]
    gain = graph.worth[order] - worth[graph.row[order]]
    prices = np.zeros(graph.n)
    for _ in range(graph.n):
        longer = np.maximum(prices, np.maximum.reduceat(prices[before] + gain, start))
        if (longer - prices).max() < 1e-9:
            break
        prices = longer
    return prices


def _tensor(numbers: NDArray) -> Tensor:
    import torch

    return torch.from_numpy(numbers)
