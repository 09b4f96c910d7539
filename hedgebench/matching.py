"""Pair the rows of two sets one to one so that the sum of their cosines is largest: exactly, or on a sparse graph with a proven bound on the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hedgebench.cosines import BLOCK, blocks, excess
from hedgebench.pair_graph import ROUNDING, best_pairing, first_graph, grown

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hedgebench.pair_graph import Best

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
        tolerance: How far from the best the mean cosine is to be at most; `Matching.gap` says how far it can be.

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
    that is the bound. While it is above `tolerance`, those pairs join the graph, as long as there are rounds; then it can end above. `gap` is where it ended.

    Rows of zeros have cosine 0 with all and are left out of the graph. For each of the others of zeros, one row may stay alone, at 0, and goes with it in the end.

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
    import torch

    if rows.shape != others.shape or rounds < 1:
        raise ValueError(f"cannot pair rows of shape {tuple(rows.shape)} with {tuple(others.shape)} in {rounds} rounds")
    ours, theirs = _live(rows), _live(others)
    if len(ours) > len(theirs):
        return _turned(
            approximate(others, rows, absolute=absolute, candidates=candidates, tolerance=tolerance, rounds=rounds)
        )
    n, spare = len(rows), len(rows) - len(theirs)
    if not len(ours):
        return Matching(torch.arange(n), torch.zeros(n), 0.0, False)
    some, any_of = (
        a if len(a) == len(i) else a[i] for a, i in ((rows, ours), (others, theirs))
    )  # no copy without need
    enough = n * max(tolerance, ROUNDING)
    graph = first_graph(some, any_of, min(candidates, len(some)), absolute)
    for last in range(rounds):
        best = best_pairing(graph, spare, enough / 2)
        prices = _tensor(best.ours), _tensor(best.theirs)
        above = excess(some, any_of, *prices, min(_ADDED, len(any_of)), absolute=absolute)
        short = best.short + float(above.values[:, 0].clamp(min=0).double().sum())
        if short <= enough or last == rounds - 1:
            break
        graph = grown(graph, above, best)
    return _whole(n, ours.cpu(), theirs.cpu(), best, short / n)


def _live(rows: Tensor) -> Tensor:
    """The numbers of the rows that are not zero."""
    return (rows != 0).any(1).nonzero().ravel()


def _whole(n: int, ours: Tensor, theirs: Tensor, best: Best, gap: float) -> Matching:
    """The matching of all rows, of which `ours` are paired with `theirs`: who stayed alone goes with zeros, and zeros with who is left."""
    import torch

    partner, worth, cosine = _tensor(best.partner), _tensor(best.worth), torch.zeros(n)
    paired, free, left = partner >= 0, torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
    whole = torch.empty(n, dtype=torch.int64)
    whole[ours[paired]], cosine[ours[paired]] = theirs[partner[paired]], worth[paired].float()
    free[ours], left[theirs] = False, False
    rows_left = torch.cat([ours[~paired], free.nonzero().ravel()])
    taken = torch.zeros(len(theirs), dtype=torch.bool)
    taken[partner[paired]] = True
    # zeros first: they are for those that are alone
    whole[rows_left] = torch.cat([left.nonzero().ravel(), theirs[~taken]])
    return Matching(whole, cosine, gap, False)


def _turned(matching: Matching) -> Matching:
    """A matching of others with rows, as one of rows with others."""
    import torch

    back = torch.argsort(matching.partner)
    return matching._replace(partner=back, cosine=matching.cosine[back])


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


def _tensor(numbers: NDArray) -> Tensor:
    import torch

    return torch.from_numpy(numbers)
