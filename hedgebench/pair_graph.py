"""The best pairing on a sparse graph of rows and others, and the prices that prove it. On the CPU; for `hedgebench.matching`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.cosines import BLOCK, nearest, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hedgebench.cosines import Nearest

ROUNDING = 1e-6
"""Differences of cosines up to this are what float32 makes of 0."""
_FIRST_PRICE = 0.125


class Graph(NamedTuple):
    """Pairs of rows and columns, each once, with their cosines."""

    shape: tuple[int, int]
    """Rows and columns, of which there are as many as rows or more."""
    row: NDArray
    column: NDArray
    worth: NDArray

    @classmethod
    def of(cls, shape: tuple[int, int], row: NDArray, column: NDArray, worth: NDArray) -> Graph:
        """Each pair once, in order of row and column."""
        import numpy as np

        pair, first = np.unique(row.astype(np.int64) * shape[1] + column, return_index=True)
        return cls(shape, pair // shape[1], pair % shape[1], worth[first].astype(np.float64))


class Best(NamedTuple):
    """The best pairing of a graph's rows, some of which may stay alone, and prices that no pair of the graph is worth more than together."""

    partner: NDArray
    """[rows]: column; -1: alone."""
    worth: NDArray
    """[rows]: cosine with it; 0 for one that is alone."""
    ours: NDArray
    """[rows], their prices."""
    theirs: NDArray
    """[columns], theirs."""
    short: float
    """By how much the prices exceed what the pairs are worth, in all."""


def first_graph(rows: Tensor, others: Tensor, m: int, absolute: bool) -> Graph:
    """What either side has among its m nearest, and the pairs of equal number, with which every row has a partner.

    Args:
        rows: [n, d].
        others: [k, d], k >= n.
        m: At most n.
        absolute: By |cosine|.
    """
    import numpy as np
    import torch

    n, k = len(rows), len(others)
    ours, theirs = nearest(rows, others, m, absolute=absolute)
    sides = zip(rows.split(BLOCK), others[:n].split(BLOCK), strict=True)
    equal = torch.cat([(unit_rows(a) * unit_rows(b)).sum(1) for a, b in sides])
    each = np.arange(n)
    worth = (ours.values.ravel(), theirs.values.ravel(), equal.abs() if absolute else equal)
    return Graph.of(
        (n, k),
        np.concatenate([each.repeat(m), theirs.indices.ravel().cpu().numpy(), each]),
        np.concatenate([ours.indices.ravel().cpu().numpy(), np.arange(k).repeat(m), each]),
        torch.cat(worth).cpu().numpy(),
    )


def grown(graph: Graph, above: Nearest, best: Best) -> Graph:
    """The graph with the pairs that are worth more than their prices, by as much as `above` says."""
    import numpy as np

    row, place = (above.values.cpu() > ROUNDING).nonzero(as_tuple=True)
    column = above.indices.cpu()[row, place].numpy()
    worth = above.values.cpu()[row, place].numpy() + best.ours[row] + best.theirs[column]
    old_and_new = zip((graph.row, graph.column, graph.worth), (row.numpy(), column, worth), strict=True)
    return Graph.of(graph.shape, *(np.concatenate(parts) for parts in old_and_new))


def best_pairing(graph: Graph, spare: int, enough: float) -> Best:
    """The best pairing in which every row has a column of its own, but for `spare` that may stay alone, at 0.

    Staying alone has a price where more rows would otherwise: the smallest at which no more do, found by halving.

    Args:
        graph: In which every row can have a partner.
        spare: How many rows may stay alone.
        enough: How much the whole may be short of the best.
    """
    import numpy as np

    columns = graph.shape[1]
    low, high, price = 0.0, math.inf, 0.0
    while True:
        wide = _with_staying_alone(graph, price) if spare else graph
        partner, worth = _solve(wide)
        alone = partner >= columns
        if alone.sum() <= spare:
            short = price * spare + float(worth[alone].sum())  # what the prices of `spare` and of those alone differ by
            found, high = (wide, partner, worth, alone), price
        else:
            low = price
        if high < math.inf and (short <= enough or high - low < 1e-12):
            break
        price = (low + high) / 2 if high < math.inf else max(2 * price, _FIRST_PRICE)
    wide, partner, worth, alone = found
    theirs = _prices(wide, partner, worth)
    ours = worth - theirs[partner]
    kept = np.where(alone, 0.0, worth)
    return Best(np.where(alone, -1, partner), kept, ours, theirs[:columns], short)


def _with_staying_alone(graph: Graph, price: float) -> Graph:
    """The graph with a column for each row that nobody else can have, worth less than nothing by the price.

    The rows differ in it by less than rounding: the number of those that stay alone falls by ones as the price rises, even where many rows are alike.
    """
    import numpy as np

    rows, columns = graph.shape
    each = np.arange(rows)
    return Graph(
        (rows, columns + rows),
        np.concatenate([graph.row, each]),
        np.concatenate([graph.column, columns + each]),
        np.concatenate([graph.worth, ROUNDING / 4 * each / rows - price]),
    )


def _solve(graph: Graph) -> tuple[NDArray, NDArray]:
    """The best matching of all rows of a graph: [rows] column and [rows] worth."""
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # as costs, from 1 on: SciPy takes a zero for no pair
    costs = csr_array((2 - graph.worth, (graph.row, graph.column)), shape=graph.shape)
    row, column = min_weight_full_bipartite_matching(costs)
    partner, worth = np.empty(graph.shape[0], dtype=np.int64), np.empty(graph.shape[0])
    partner[row], worth[row] = column, 2 - costs[row, column]
    return partner, worth


def _prices(graph: Graph, partner: NDArray, worth: NDArray) -> NDArray:
    """Prices t of the columns, [columns], at least 0, and 0 for those that no row has.

    With those of the rows, s_i = worth_i - t[partner_i], no pair of the graph is worth more than s_i + t_j. They are the lengths of longest paths, t_j = max(t_j, t[partner_i] + cosine_ij - worth_i), in which no cycle gains as the matching is the graph's best
    (Bellman-Ford, all pairs at a time). A path ends within n steps; in practice within a few hundred.
    """
    import numpy as np

    order = np.argsort(graph.column, kind="stable")
    start = np.searchsorted(graph.column[order], np.arange(graph.shape[1]))
    before = partner[graph.row[order]]
    gain = graph.worth[order] - worth[graph.row[order]]
    prices = np.zeros(graph.shape[1])
    for _ in range(graph.shape[0]):
        longer = np.maximum(prices, np.maximum.reduceat(prices[before] + gain, start))
        if (longer - prices).max() < 1e-9:
            break
        prices = longer
    return prices
