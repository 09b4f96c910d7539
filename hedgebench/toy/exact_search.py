"""Many starts, all bottoms: the search for the minima of an exact loss, on weights in the few dimensions that the inputs span."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hedgebench.toy.exact_loss import KINK, LOWER, ExactLoss, Weights

if TYPE_CHECKING:
    from hedgebench.toy.exact_loss import Array, Mask

SAME = 1e-3
"""Solutions no further apart than this, for inputs of norm about 1, are one minimum."""
_DEAD = 0.1
"""Share of latents that start dead."""
_NUDGES, _NUDGE = 8, 1e-3
_MARGIN = 0.05
"""How far below 0 an encoder stays where firing would pay: further than a nudge moves it."""


class Found(list[tuple[Weights, int]]):
    """Distinct solutions, and how many starts led to each."""

    def __init__(self, exact: ExactLoss) -> None:
        super().__init__()
        self.exact = exact

    def join(self, weights: Weights, starts: int = 1) -> None:
        """Take one in; of equal ones the lower is kept."""
        i = self.find(weights)
        if i is None:
            self.append((weights, starts))
        else:
            known, count = self[i]
            self[i] = min(known, weights, key=self.exact), count + starts

    def find(self, weights: Weights) -> int | None:
        """Where it stands, if it is known."""
        same = (i for i, (known, _) in enumerate(self) if _same(self.exact, weights, known))
        return next(same, None)


def search(exact: ExactLoss, width: int, starts: int, seed: int) -> Found:
    """The local minima that random starts lead to; each was nudged, and nothing lower was found nearby."""
    rng = np.random.default_rng(seed)
    waiting, minima = Found(exact), Found(exact)
    for _ in range(starts):
        settled = exact.settle(_start(exact, width, rng))
        waiting.join(settled if waiting.find(settled) is not None else exact.descend(settled))
    while waiting:
        weights, count = waiting.pop()
        lower = _lower_nearby(exact, weights, rng)
        if lower is None:
            minima.join(weights, count)
        else:
            waiting.join(lower, count)
    return minima


def distance(exact: ExactLoss, one: Weights, other: Weights) -> tuple[float, Array]:
    """How far two solutions in normal form are from each other on the inputs.

    Returns:
        The root of the mean over inputs of sum_j |what latent j writes in one - in the other|^2, plus |difference of biases|^2, under the best
        matching of latents; and that matching [width]: which latent of `one` stands for each latent of `other`.
    """
    from scipy.optimize import linear_sum_assignment

    mine, theirs = ((exact.activations(w)[..., None] * w.decoder) for w in (one, other))
    apart = np.einsum("p,pijd->ij", exact.probabilities, (mine[:, None] - theirs[:, :, None]) ** 2)
    rows, order = linear_sum_assignment(apart)
    bias = ((one.bias - other.bias) ** 2).sum()
    return float(np.sqrt(apart[rows, order].sum() + bias)), order


def least_encoder(exact: ExactLoss, weights: Weights) -> tuple[Weights, Mask]:
    """The encoder of least norm that makes every latent fire just as it does, and where there are encoders of other directions.

    An encoder must give each latent's activation where it fires and stay at or below 0 where it is silent: a quadratic program in the
    directions that the firing inputs leave free. Where the latent would do better to fire, the edge of silence leads down, so the encoder
    keeps its distance.

    Returns:
        The weights, and for each latent [width] whether another direction would do. A dead latent's encoder is 0.
    """
    encoder, offset = weights.encoder.copy(), weights.offset.copy()
    rows = np.hstack([exact.inputs, np.ones((len(exact.inputs), 1))])
    pays, free = exact.pull(weights) < -KINK, np.zeros(len(offset), dtype=bool)
    for j in np.flatnonzero(np.linalg.norm(weights.decoder, axis=1) > 0):
        now = np.append(encoder[:, j], offset[j])
        on = rows @ now > KINK
        _, values, directions = np.linalg.svd(rows[on])
        open_ = directions[(values > 1e-6).sum() :]
        if len(open_) == 0:
            continue
        clear = np.where(pays[~on, j], -_MARGIN, 0.0)
        least = _least(now, open_, rows[~on], clear)
        if (rows[~on] @ least > clear + KINK).any():  # not that far; as far as now
            least = _least(now, open_, rows[~on], np.clip(rows[~on] @ now, clear, 0))
        encoder[:, j], offset[j] = least[:-1], least[-1]
        free[j] = np.linalg.matrix_rank(np.vstack([least[:-1], open_[:, :-1]]), tol=1e-5) > 1
    return Weights(encoder, offset, weights.decoder, weights.bias), free


def _least(now: Array, directions: Array, silent: Array, most: Array) -> Array:
    """An encoder and its offset [r + 1], of least norm among `now` plus any `directions` [k, r + 1] that read at most `most` where silent."""
    from scipy.optimize import minimize

    def size(y: Array) -> tuple[float, Array]:
        e = (now + y @ directions)[:-1]
        return float(e @ e), 2 * directions[:, :-1] @ e

    slopes = silent @ directions.T
    below = {"type": "ineq", "fun": lambda y: most - silent @ now - slopes @ y, "jac": lambda _: -slopes}
    found = minimize(
        size, np.zeros(len(directions)), method="SLSQP", jac=True, constraints=[below], options={"ftol": 1e-14}
    )
    least: Array = now + found.x @ directions
    return least


def _start(exact: ExactLoss, width: int, rng: np.random.Generator) -> Weights:
    """A random encoder, each latent firing on any number of inputs, and near the decoder and bias that are best for it under MSE."""
    p, r = exact.inputs.shape
    encoder = rng.normal(size=(r, width))
    reads = np.sort(exact.inputs @ encoder, axis=0)
    between = np.vstack([reads[:1] - 0.5, (reads[1:] + reads[:-1]) / 2, reads[-1:] + 0.5])
    cut = np.where(rng.random(width) < _DEAD, p, rng.integers(0, p, size=width))
    offset = -between[cut, range(width)]
    writes = np.maximum(exact.inputs @ encoder + offset, 0)
    columns = np.hstack([writes, np.full((p, 1), float(exact.bias))])
    weight = np.sqrt(exact.probabilities)[:, None]
    best = np.linalg.lstsq(columns * weight, exact.inputs * weight, rcond=None)[0]
    noise = rng.normal(size=(width, r)) * 0.1
    return Weights(encoder, offset, best[:-1] + noise, best[-1])


def _lower_nearby(exact: ExactLoss, weights: Weights, rng: np.random.Generator) -> Weights | None:
    """A lower point that a small nudge leads down to: then the weights were a saddle, or the flat edge of a slope."""
    loss = exact(weights)
    for _ in range(_NUDGES):
        parts = [part + _NUDGE * rng.normal(size=part.shape) for part in weights]
        if not exact.bias:
            parts[-1] = weights.bias
        there = exact.settle(Weights(*parts))
        if not _same(exact, there, weights):
            there = exact.descend(there)
        if exact(there) < loss - LOWER:
            return there
    return None


def _same(exact: ExactLoss, one: Weights, other: Weights) -> bool:
    return abs(exact(one) - exact(other)) < SAME and distance(exact, one, other)[0] < SAME
