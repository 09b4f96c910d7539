"""When the L2 loss leaves a latent, or a bias, exactly where it should be: conditions for any world of orthonormal features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def zero_margin(rest: ArrayLike, weights: ArrayLike) -> float:
    """By how much zero is the weighted geometric median of points: weight at zero - |weighted sum of the other points' unit vectors|.

    The slope of sum_i w_i |rest_i - s u| at s = 0 along a unit vector u is w(zero) - u . sum_i w_i rest_i / |rest_i|, so zero is the strict
    minimum iff the margin is positive. This one condition decides where L2 leaves a direction or a bias alone.

    Args:
        rest: [n, d].
        weights: [n], not negative.
    """
    rest, weights = np.asarray(rest, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    norms = np.linalg.norm(rest, axis=1)
    zero = norms == 0
    pull = (weights[~zero] / norms[~zero]) @ rest[~zero]
    return float(weights[zero].sum() - np.linalg.norm(pull))


def parent_margins(firings: ArrayLike, probabilities: ArrayLike, parent: int = 0) -> tuple[float, float]:
    """Whether L2 leaves a latent at one feature, for any world of orthonormal features: both margins must be positive.

    At decoder = encoder = the feature, bias 0, what is not reconstructed is the other features, which are orthogonal to it. To first order a
    change of the decoder and one of the bias act as two free directions: one on the inputs that hold the feature, weighted by its
    strength, and one on the others. So a perfect latent is a local minimum iff zero is the geometric median of the rest in both. The first
    margin alone decides for the tied latent without bias: p0 - p1 for two features, negative whenever the parent is never alone (row 11).

    Args:
        firings: [P, n_features], strengths of the features in every pattern.
        probabilities: [P].
        parent: Which feature the latent tracks.

    Returns:
        The margin of the decoder row, over inputs that hold the feature, and that of the bias, over those that do not.
    """
    firings, probabilities = np.asarray(firings, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    rest, strength = np.delete(firings, parent, axis=1), firings[:, parent]
    with_it = strength > 0
    return zero_margin(rest[with_it], (probabilities * strength)[with_it]), zero_margin(
        rest[~with_it], probabilities[~with_it]
    )
