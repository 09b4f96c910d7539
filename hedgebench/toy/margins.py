"""When the L2 loss leaves a latent exactly at its feature, and when snap gets it there: for any world of orthonormal features.

Everything is numpy, in float64; a world is given by its patterns: firings [P, n_features] and their probabilities [P].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Array = np.ndarray[Any, np.dtype[np.float64]]


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


def principal_direction(firings: ArrayLike, probabilities: ArrayLike) -> Array:
    """The first principal axis of a world's firings, [n_features], its largest component positive.

    It is the decoder row of the best single latent under MSE, where there is a decoder bias and no L1: see `theory.principal_angle`.
    """
    firings, probabilities = np.asarray(firings, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    centred = firings - probabilities @ firings
    axis: Array = np.linalg.eigh((centred * probabilities[:, None]).T @ centred)[1][:, -1]
    axis *= np.sign(axis[abs(axis).argmax()])
    return axis


def snap_margin(firings: ArrayLike, probabilities: ArrayLike, parent: int = 0) -> float:
    """Whether snap takes a single latent to its feature: positive where theory says that it does.

    Theory: training by MSE ends at the first principal axis; then L2 empties the bias, and the latent descends. With no bias and every input
    projected on the latent where that helps, the loss is sum_p q_p sqrt(|x_p|^2 - max(x_p . d, 0)^2). The margin is its least slope on the way
    up from the feature to the axis; or one of `parent_margins`, or the lead of the feature over any other in the axis, if that is less: a
    latent that is more another feature's has gone to it. Between two features, or with children that are all alike, descent keeps to that arc:
    there a single child that never fires alone turns it at p1 / p0 = 2/3 (rare inputs), n > 1 exclusive children at P(alone | parent) =
    1 / (1 + sqrt n). The bias moves at the same time as the latent, and MSE has poorer minima too, so near zero an SAE may do either.

    Args:
        firings: [P, n_features].
        probabilities: [P].
        parent: The feature.

    """
    firings, probabilities = np.asarray(firings, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    axis = principal_direction(firings, probabilities)
    lead = abs(axis[parent]) - np.delete(abs(axis), parent).max(initial=0.0)
    if lead <= 0:
        return float(lead)
    feature = np.eye(len(axis))[parent]
    away = axis - axis[parent] * feature
    tilt = float(np.linalg.norm(away))
    margin = min(lead, *parent_margins(firings, probabilities, parent))
    if tilt < 1e-9:  # nothing to undo
        return float(margin)
    angles = np.linspace(0, math.asin(min(tilt, 1.0)), 101)[1:, None]
    rows = np.cos(angles) * feature + np.sin(angles) * away / tilt
    ahead = np.cos(angles) * away / tilt - np.sin(angles) * feature
    reads = np.maximum(rows @ firings.T, 0)
    errors = np.sqrt(np.maximum((firings**2).sum(1) - reads**2, 1e-18))
    slopes = -(reads * (ahead @ firings.T) / errors) @ probabilities
    return float(min(margin, slopes.min()))
