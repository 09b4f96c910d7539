"""The exact expected loss of a ReLU SAE over the few inputs of a toy world, and how to walk down it to the bottom.

The SAE reads z = x E + c, fires a = ReLU(z) and writes a D + b; `c` holds what an SAE's two biases do to its encoder (b_enc - b_dec E). Its loss
over inputs x_p of probability q_p is sum_p q_p (|error_p|^2 or |error_p|, + l1 sum_j a_pj |D_j|), the penalty scaled by decoder norms as in SAELens.

That is smooth as long as no latent starts or stops to fire on an input: the pattern of who fires on what cuts the space of weights into regions
with linear borders. So a descent solves one region at a time, borders as constraints (SLSQP), and at a border tries the regions beyond.
It stops where none holds a lower point: gradient methods stall on such kinks, which is where minima lie under L1. The norm of the L2
loss is smoothed by `sqrt(|error|^2 + smooth^2)`, in steps down to 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[np.float64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

LOWER = 1e-7
"""What counts as a lower loss, for inputs of norm about 1."""
KINK = 1e-5
"""A latent that reads no more than this is at the border between silent and firing."""
_SMOOTH = {"mse": (0.0,), "l2": (1e-2, 1e-4, 1e-6)}
_MANY_KINKS = 5
"""Up to here all regions that meet at a point are tried; beyond, those across one border and across all."""
_TINY = 1e-300


class Weights(NamedTuple):
    """An SAE, for inputs of r dimensions."""

    encoder: Array
    """[r, width]."""
    offset: Array
    """[width]: the encoder's bias, for inputs from which nothing was subtracted."""
    decoder: Array
    """[width, r]."""
    bias: Array
    """[r]: the decoder's bias."""


@dataclass(frozen=True)
class ExactLoss:
    """The expected loss over some inputs, as a function of an SAE's weights."""

    inputs: Array
    """[P, r], of norm about 1."""
    probabilities: Array
    """[P]."""
    loss: str
    """`mse` or `l2`."""
    l1: float
    bias: bool
    """Whether there is a decoder bias."""

    def __call__(self, weights: Weights) -> float:
        """The loss itself, nothing smoothed."""
        return self._value(weights, self.reads(weights) > 0, 0.0)[0]

    def reads(self, weights: Weights) -> Array:
        """What each latent reads before its ReLU, [P, width]."""
        return self.inputs @ weights.encoder + weights.offset

    def activations(self, weights: Weights) -> Array:
        """[P, width]."""
        return np.maximum(self.reads(weights), 0)

    def normal(self, weights: Weights) -> Weights:
        """Another form of the same function: decoder rows of norm 1, and 0 for a latent that writes nothing.

        Without L1 a latent that fires on every input can shift its weakest activation into the bias; it does.
        """
        encoder, offset, decoder, bias = (part.copy() for part in weights)
        norms = np.linalg.norm(decoder, axis=1)
        writes = (self.activations(weights) * norms).max(0) > KINK
        size = np.where(writes, norms, 1.0)
        encoder, offset, decoder = encoder * size, offset * size, decoder / size[:, None]
        encoder[:, ~writes], offset[~writes], decoder[~writes] = 0.0, -1.0, 0.0
        if self.bias and self.l1 == 0:
            always = np.maximum((self.inputs @ encoder + offset).min(0), 0)
            offset, bias = offset - always, bias + always @ decoder
        return Weights(encoder, offset, decoder, bias)

    def settle(self, weights: Weights) -> Weights:
        """Downhill to the lowest point near, with the same latents firing on the same inputs; in normal form."""
        return self._within(weights, self.reads(weights) > 0, _SMOOTH[self.loss])

    def descend(self, settled: Weights) -> Weights:
        """From there on downhill, through any region that meets at the point, until none leads lower."""
        here, lowest, lower = settled, self(settled), True
        while lower:
            lower = False
            for on in self._regions(here):
                there = self._within(here, on, _SMOOTH[self.loss][-2:])
                loss = self(there)
                if loss < lowest - LOWER:
                    here, lowest, lower = there, loss, True
                    break
        return here

    def _regions(self, weights: Weights) -> list[Mask]:
        """Who fires on what, [P, width], in every region that meets at these weights."""
        reads = self.reads(weights)
        kinks = np.argwhere((abs(reads) < KINK) & (np.linalg.norm(weights.decoder, axis=1) > 0))
        n = len(kinks)
        if n <= _MANY_KINKS:
            sides = np.array(list(product([False, True], repeat=n)), dtype=bool)
        else:
            sides = np.vstack([np.eye(n), 1 - np.eye(n), np.ones((1, n)), np.zeros((1, n))]) > 0
        regions = []
        for side in sides:
            on = reads > 0
            on[tuple(kinks.T)] = side
            regions.append(on)
        return regions

    def _within(self, weights: Weights, on: Mask, smoothing: tuple[float, ...]) -> Weights:
        """The lowest point near these weights in the region where the latents fire as in `on` [P, width], in normal form."""
        from scipy.optimize import minimize

        (r, width), n = weights.encoder.shape, sum(part.size for part in weights)
        borders = np.zeros((*on.shape, n))
        for j in range(width):
            borders[:, j, j : r * width : width] = self.inputs
            borders[:, j, r * width + j] = 1.0
        borders = (np.where(on, 1.0, -1.0)[..., None] * borders).reshape(-1, n)
        same_side = {"type": "ineq", "fun": lambda flat: borders @ flat, "jac": lambda _: borders}
        flat = np.concatenate([part.ravel() for part in weights])

        def objective(flat: Array, smooth: float) -> tuple[float, Array]:
            return self._value(_unflatten(flat, r, width), on, smooth)

        for smooth in smoothing:
            options = {"ftol": 1e-14, "maxiter": 500}
            found = minimize(objective, flat, (smooth,), "SLSQP", jac=True, constraints=[same_side], options=options).x
            if np.isfinite(found).all():
                flat = found
        return self.normal(_unflatten(flat, r, width))

    def pull(self, weights: Weights) -> Array:
        """The slope of the loss by each activation, [P, width]: where it is negative, a silent latent would do better to fire."""
        # At an error of zero, which only L2 makes much of, any activation costs: there the smoothed slope is next to nothing.
        by_error = self._errors(weights, self.reads(weights) > 0, 1e-2)[1]
        penalty = self.l1 * self.probabilities[:, None] * np.linalg.norm(weights.decoder, axis=1)
        slope: Array = by_error @ weights.decoder.T + penalty
        return slope

    def _value(self, weights: Weights, on: Mask, smooth: float) -> tuple[float, Array]:
        """The loss and its gradient, where exactly the latents in `on` [P, width] fire."""
        value, by_error, activations = self._errors(weights, on, smooth)
        norms = np.sqrt((weights.decoder**2).sum(1) + _TINY)
        mean = self.probabilities @ activations
        by_read = on * (by_error @ weights.decoder.T + self.l1 * self.probabilities[:, None] * norms)
        by_decoder = activations.T @ by_error + self.l1 * (mean / norms)[:, None] * weights.decoder
        by_bias = by_error.sum(0) * self.bias
        parts = [(self.inputs.T @ by_read).ravel(), by_read.sum(0), by_decoder.ravel(), by_bias]
        return value + self.l1 * float(mean @ norms), np.concatenate(parts)

    def _errors(self, weights: Weights, on: Mask, smooth: float) -> tuple[float, Array, Array]:
        """The reconstruction loss, its slope by each reconstruction [P, r], and the activations [P, width]."""
        activations = on * self.reads(weights)
        errors = activations @ weights.decoder + weights.bias - self.inputs
        squared, q = (errors**2).sum(1), self.probabilities
        if self.loss == "mse":
            return float(q @ squared), 2 * q[:, None] * errors, activations
        lengths = np.sqrt(squared + smooth**2)
        return float(q @ lengths), (q / np.maximum(lengths, _TINY))[:, None] * errors, activations


def _unflatten(flat: Array, r: int, width: int) -> Weights:
    n = r * width
    return Weights(
        encoder=flat[:n].reshape(r, width),
        offset=flat[n : n + width],
        decoder=flat[n + width : 2 * n + width].reshape(width, r),
        bias=flat[2 * n + width :],
    )
