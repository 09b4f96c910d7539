"""What a narrow SAE should learn, in closed form: the tied unit latent between two features, and the bias that hedges.

The setting of "Feature Hedging" (arXiv 2505.11756) and of the post that goes with it: orthonormal features f0 (parent) and f1 (child) of
strength 1. An input is f0 with probability `p0` (parent alone), f0 + f1 with `p1` (both), f1 with `p2` (child alone, 0 in the source), else
zero. One latent, encoder = decoder = the unit vector d = cos(t) f0 + sin(t) f1, no bias: it reconstructs x as ReLU(x.d) d, the
projection of x on d where x.d > 0 and nothing elsewhere. Only ratios of the probabilities matter.

Angles are in radians: 0 is the parent, pi/4 the merged latent (f0 + f1) / sqrt(2), pi/2 the child. The formulas in the post were lost; they
are derived again here. Everything is numpy, in float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from hedgebench.types import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, np.dtype[np.float64]]

PARENT_IS_MINIMUM = 1.0
"""The parent is a local minimum of L2 iff p1 / p0 is below this (p2 = 0)."""
MERGED_IS_MINIMUM = 0.5
"""The merged latent is a local minimum of L2 iff p1 / p0 is above this (p2 = 0)."""
PARENT_IS_GLOBAL = math.sqrt(0.5)
"""The parent is the global minimum of L2 iff p1 / p0 is below this (p2 = 0)."""
SNAP_REACHES_PARENT = 2 / 3
"""Descent of L2 from the minimum of MSE ends at the parent iff p1 / p0 is below this (p2 = 0); above it, at the merged latent."""


class TiedMinimum(NamedTuple):
    """A local minimum of the tied latent's expected L2 loss."""

    kind: Literal["parent", "merged", "child"]
    angle: float
    loss: float


def tied_mse(angle: ArrayLike, p0: float, p1: float, p2: float = 0.0) -> Array:
    """Expected squared error at each angle; between 0 and pi/2 it is p0 sin^2 t + p1 (1 - sin 2t) + p2 cos^2 t.

    Args:
        angle: [...], anywhere on the circle, radians.
        p0: Probability of the parent alone.
        p1: Probability of both.
        p2: Probability of the child alone.

    Returns:
        [...]

    Raises:
        BadInput: A probability is negative or not a number, or all are zero.
    """
    parent, both, child = _error_norms(angle)
    weights = _checked(p0, p1, p2)
    expected: Array = weights[0] * parent**2 + weights[1] * both**2 + weights[2] * child**2
    return expected


def tied_l2(angle: ArrayLike, p0: float, p1: float, p2: float = 0.0) -> Array:
    """Expected norm of the error at each angle; between 0 and pi/2 it is p0 sin t + p1 |cos t - sin t| + p2 cos t.

    Arguments, result and errors as for `tied_mse`.
    """
    parent, both, child = _error_norms(angle)
    weights = _checked(p0, p1, p2)
    expected: Array = weights[0] * parent + weights[1] * both + weights[2] * child
    return expected


def mse_angle(p0: float, p1: float, p2: float = 0.0) -> float:
    """Where the expected squared error is least: tan 2t = 2 p1 / (p0 - p2), 0 <= t <= pi/2. There is no other minimum.

    From the derivative of p0 sin^2 t + p1 (1 - sin 2t) + p2 cos^2 t, which is (p0 - p2) sin 2t - 2 p1 cos 2t. It is the first principal
    direction of the inputs, not centred. With p1 > 0 it is never the parent: MSE always hedges. For p1 = 0 it is the more frequent of the two.

    Raises:
        BadInput: As for `tied_mse`.
    """
    p0, p1, p2 = _checked(p0, p1, p2)
    return 0.5 * math.atan2(2 * p1, p0 - p2)


def principal_angle(p0: float, p1: float, p2: float = 0.0) -> float:
    """Where MSE is least for an SAE with one latent, free encoder and a decoder bias: tan 2t = 2 cov / (var0 - var1), -pi/2 < t <= pi/2.

    Whatever one latent and a bias reconstruct lies on a line, and no line does better than the first principal axis of the inputs, here of f0
    and f1 with cov = p1 - a b, var0 = a (1 - a), var1 = b (1 - b), a = p0 + p1, b = p1 + p2. A latent that fires on every input gets all of it.
    So hedging is principal component analysis: none iff the two are uncorrelated, negative where they are anti-correlated; the post's
    worlds give sin t = 0, .243, .222 and -.350. Without L1; a small one moves it little. Rare inputs: as `mse_angle`.

    Args:
        p0: Probability of the parent alone.
        p1: Probability of both.
        p2: Probability of the child alone.

    Raises:
        BadInput: As for `tied_mse`, or the three sum to more than 1.
    """
    p0, p1, p2 = _checked(p0, p1, p2)
    if p0 + p1 + p2 > 1 + 1e-9:
        raise BadInput(f"probabilities of parent, both, child are {p0}, {p1}, {p2}; give three that sum to at most 1")
    a, b = p0 + p1, p1 + p2
    return 0.5 * math.atan2(2 * (p1 - a * b), a * (1 - a) - b * (1 - b))


def mse_ratio(p0: float, p1: float) -> float:
    """How much child the best latent under MSE holds, relative to the parent: r = tan t, the positive root of p1 r^2 + p0 r - p1 = 0.

    r = (-p0 + sqrt(p0^2 + 4 p1^2)) / (2 p1), written so that nothing cancels. The post's "about 1/4" is .236, at p0 = .20, p1 = .05.

    Raises:
        BadInput: As for `tied_mse`.
    """
    p0, p1, _ = _checked(p0, p1, 0.0)
    return 2 * p1 / (p0 + math.hypot(p0, 2 * p1))


def interpolation(angle: float) -> float:
    """The post's parameter a of a latent along (1 - a) f0 + a f1, for an angle from 0 to pi/2: a = r / (1 + r), r = tan t."""
    return math.sin(angle) / (math.sin(angle) + math.cos(angle))


def interpolation_angle(a: ArrayLike) -> Array:
    """The angle of the unit latent along (1 - a) f0 + a f1: the inverse of `interpolation`, for arrays."""
    a = np.asarray(a, dtype=np.float64)
    return np.arctan2(a, 1 - a)


def l2_minima(p0: float, p1: float, p2: float = 0.0) -> list[TiedMinimum]:
    """All local minima of the expected L2 loss, lowest first.

    Between 0 and pi/4 the loss is (p0 - p1) sin t + (p1 + p2) cos t, between pi/4 and pi/2 (p0 + p1) sin t + (p2 - p1) cos t. Its second
    derivative is minus itself, so it is concave between its kinks and only a kink can be a minimum: the parent if the slope beyond
    it is positive, p0 > p1; the child if p2 > p1; the merged latent if the slopes on its sides point down to it, 2 p1 > |p0 - p2|. Outside
    of 0..pi/2 the loss only rises. Their values are p1 + p2, p0 + p1 and (p0 + p2) / sqrt(2).

    Raises:
        BadInput: As for `tied_mse`.
    """
    p0, p1, p2 = _checked(p0, p1, p2)
    found = []
    if p0 > p1:
        found.append(TiedMinimum("parent", 0.0, p1 + p2))
    if 2 * p1 > abs(p0 - p2):
        found.append(TiedMinimum("merged", math.pi / 4, (p0 + p2) / math.sqrt(2)))
    if p2 > p1:
        found.append(TiedMinimum("child", math.pi / 2, p0 + p1))
    return sorted(found, key=lambda minimum: minimum.loss)


def parent_is_minimum(p0: float, p1: float, p2: float = 0.0) -> bool:
    """Whether the parent is a local minimum of L2: p1 / p0 < 1, whatever p2."""
    return any(minimum.kind == "parent" for minimum in l2_minima(p0, p1, p2))


def merged_is_minimum(p0: float, p1: float, p2: float = 0.0) -> bool:
    """Whether the merged latent is a local minimum of L2: p1 / p0 > 1/2 where the child is never alone."""
    return any(minimum.kind == "merged" for minimum in l2_minima(p0, p1, p2))


def parent_is_global(p0: float, p1: float, p2: float = 0.0) -> bool:
    """Whether the parent alone is the global minimum of L2: p1 / p0 < 1 / sqrt(2) where the child is never alone."""
    first, *others = l2_minima(p0, p1, p2)
    return first.kind == "parent" and all(other.loss > first.loss for other in others)


def snap_reaches_parent(p0: float, p1: float, p2: float = 0.0) -> bool:
    """Whether descent of L2 from the minimum of MSE ends at the parent: p1 / p0 < 2/3 where the child is never alone.

    L2 is concave between parent and merged latent, with its top where tan t = (p0 - p1) / (p1 + p2). Descent goes to the parent iff the start,
    tan 2t = 2 p1 / (p0 - p2), lies below. For p2 = 0 the two meet where (1 - r) = (2 r - 1), r = p1 / p0: at 2/3, with tan t = 1/2.

    Raises:
        BadInput: As for `tied_mse`.
    """
    p0, p1, p2 = _checked(p0, p1, p2)
    start, top = mse_angle(p0, p1, p2), math.atan2(p0 - p1, p1 + p2)
    return start < top


def snap_threshold(p2_over_p0: float = 0.0) -> float:
    """The p1 / p0 below which snap reaches the parent, for a child that is also alone: c = p2 / p0, from 0 (then 2/3) to 1 (then 0).

    Eliminating t from the two equations of `snap_reaches_parent`, (3 + c) r^2 - 2 (1 - c) r - c (1 - c) = 0 for r = p1 / p0, positive root.

    Raises:
        BadInput: The ratio is not between 0 and 1.
    """
    c = p2_over_p0
    if not 0 <= c <= 1:
        raise BadInput(f"snap_threshold: p2 / p0 is {c}; give a ratio from 0 to 1, the parent being the more frequent")
    return (1 - c + math.sqrt((1 - c) ** 2 + c * (1 - c) * (3 + c))) / (3 + c)


def bias_loss(bias: ArrayLike, p: float, loss: Literal["mse", "l2"]) -> Array:
    """Expected loss of a decoder bias b f1 where f1 fires with probability p and no latent tracks it.

    The latent has the independent feature f0 right, so an input leaves f1 or nothing to the bias: (1 - p) b^2 + p (1 - b)^2, or the same
    with norms.

    Args:
        bias: [...], the bias along f1.
        p: Probability that f1 fires.
        loss: `mse` or `l2`.

    Returns:
        [...]
    """
    away = np.abs(np.asarray(bias, dtype=np.float64))
    missing = np.abs(1 - np.asarray(bias, dtype=np.float64))
    power = 2 if loss == "mse" else 1
    expected: Array = (1 - p) * away**power + p * missing**power
    return expected


def hedged_bias(p: float, loss: Literal["mse", "l2"]) -> float:
    """The decoder bias along an untracked, independent feature of probability p where `bias_loss` is least.

    MSE: the mean, p. L2: the median, 0 for p < 1/2 and 1 for p > 1/2 (at 1/2 all between are as good; 0 is given).
    """
    return p if loss == "mse" else float(p > 0.5)


def _error_norms(angle: ArrayLike) -> tuple[Array, Array, Array]:
    """Error norms of f0, f0 + f1 and f1: the part across the latent where it fires, all of it where it is silent."""
    angle = np.asarray(angle, dtype=np.float64)
    cos, sin = np.cos(angle), np.sin(angle)
    parent = np.where(cos > 0, np.abs(sin), 1.0)
    both = np.where(cos + sin > 0, np.abs(cos - sin), math.sqrt(2))
    child = np.where(sin > 0, np.abs(cos), 1.0)
    return parent, both, child


def _checked(p0: float, p1: float, p2: float) -> tuple[float, float, float]:
    probabilities = p0, p1, p2
    if not all(p >= 0 and math.isfinite(p) for p in probabilities) or sum(probabilities) == 0:
        raise BadInput(
            f"probabilities of parent, both, child are {p0}, {p1}, {p2}; give three that are not negative, one above 0"
        )
    return probabilities
