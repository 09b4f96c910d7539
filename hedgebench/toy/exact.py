"""All minima of the exact expected loss over a toy world's inputs, and in which of them a trained SAE sits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from hedgebench.geometry import row_span
from hedgebench.toy.exact_loss import LOWER, ExactLoss, Weights
from hedgebench.toy.exact_search import distance, least_encoder, search
from hedgebench.types import BadInput, CannotMeasure

if TYPE_CHECKING:
    from torch import Tensor

    from hedgebench.toy.worlds import Patterns


@dataclass(frozen=True, eq=False)
class Minimum:
    """A local minimum: no lower loss nearby. All tensors float64, in the world's units.

    Decoder rows have norm 1. Where silent inputs leave the encoder free, it is the one of least norm (a little off the edge of silence where
    the edge leads down). Without L1, a latent that fires on every input has its weakest activation in the bias instead: of that valley
    of equal loss, the end that a small L1 would choose.
    """

    loss: float
    is_global: bool
    """Whether no other is lower; there can be several, such as a latent that fires where its feature is absent and writes minus it."""
    W_enc: Tensor
    """[d_in, width]."""
    b_enc: Tensor
    """[width]."""
    W_dec: Tensor
    """[width, d_in]; unit rows, 0 for a latent that never fires."""
    b_dec: Tensor
    """[d_in]."""
    activations: Tensor
    """[P, width], on each of the world's patterns."""
    encoder_is_free: Tensor
    """[width], bool: whether encoders of other directions do the same."""
    starts: int
    """How many starts ended here."""
    problem: Problem = field(repr=False)

    def decoder_cosines(self, features: Tensor) -> Tensor:
        """[width, n_features], of unit features [n_features, d_in]; 0 for a dead latent."""
        return _unit_rows(self.W_dec) @ _unit_rows(features.double()).T

    def encoder_cosines(self, features: Tensor) -> Tensor:
        """[width, n_features], of unit features [n_features, d_in]; 0 for a dead latent."""
        return _unit_rows(self.W_enc.T) @ _unit_rows(features.double()).T

    @property
    def mean_activation(self) -> float:
        """Mean over inputs of the sum of activations (of unit decoder rows): what an L1 penalty would weigh."""
        return float(self.problem.patterns.probabilities.double() @ self.activations.sum(1))

    def bias_projections(self, features: Tensor) -> Tensor:
        """[n_features], of b_dec on unit features [n_features, d_in], in the world's unit."""
        return _unit_rows(features.double()) @ self.b_dec


@dataclass(frozen=True, eq=False)
class Problem:
    """What is minimised: a loss over a world's patterns, in the few dimensions they span and scaled to norm 1 on average."""

    patterns: Patterns
    basis: Tensor
    """[r, d_in], orthonormal rows."""
    scale: float
    """Root mean square norm of the inputs."""
    exact: ExactLoss

    @property
    def loss_scale(self) -> float:
        """The world's loss over that of the scaled inputs."""
        return self.scale**2 if self.exact.loss == "mse" else self.scale

    def with_room_for(self, rows: Tensor) -> Problem:
        """The same in the dimensions that these rows [n, d_in] span too: an SAE may write where no input is."""
        basis = row_span(torch.cat([self.basis, rows.detach().cpu().double()]), rtol=1e-9)
        inputs = (self.patterns.activations.double() @ basis.T / self.scale).numpy()
        return replace(self, basis=basis, exact=replace(self.exact, inputs=inputs))

    def weights(self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor) -> Weights:
        """An SAE of SAELens's form, a = ReLU((x - b_dec) W_enc + b_enc), in those dimensions and that scale."""
        W_enc, b_enc, W_dec, b_dec = (part.detach().cpu().double() for part in (W_enc, b_enc, W_dec, b_dec))
        offset = (b_enc - b_dec @ W_enc) / self.scale
        parts = self.basis @ W_enc, offset, W_dec @ self.basis.T, b_dec @ self.basis.T / self.scale
        return Weights(*(part.numpy() for part in parts))


class Nearest(NamedTuple):
    """The minimum that an SAE is closest to, and how close."""

    minimum: Minimum
    distance: float
    """Root of the mean over inputs of sum_j |what latent j writes - what it should|^2, plus |b_dec - that of the minimum|^2."""
    decoder_cosine: float
    """The least cosine between a decoder row and that of the minimum, over its live latents; 1 where there is none."""
    bias: float
    """Norm of the difference of the decoder biases."""
    activations: float
    """Largest difference of an activation (times its decoder row's norm) on any input."""
    excess: float
    """By how much the SAE's exact loss is above that of the minimum."""


def minima(
    patterns: Patterns,
    loss: Literal["mse", "l2"] = "mse",
    l1: float = 0.0,
    bias: bool = True,
    width: int = 1,
    starts: int = 64,
    seed: int = 0,
) -> list[Minimum]:
    """The local minima of the expected loss of a ReLU SAE with free encoder, lowest first, the sparser first among equals.

    From many random starts, spread over which inputs a latent fires on, down to a bottom (see `exact_loss`); equal ones are one. Each
    is nudged and must not lead lower. A minimum with a small basin may need more starts. Exact: no sampling, to about 1e-6.

    Args:
        patterns: The world's inputs and their probabilities.
        loss: `mse` (squared norm of the error) or `l2` (norm).
        l1: Coefficient of the mean over inputs of sum_j a_j |decoder row j|. For `l2` it is the one that applies then: SAEs
            trained with `rescale_with_loss` have their coefficient times `loss_rescale`.
        bias: Whether there is a decoder bias. The encoder always has one.
        width: Number of latents.
        starts: How many starts.
        seed: Of the starts.

    Raises:
        BadInput: An argument is out of range.
        CannotMeasure: The world is always silent.
    """
    _check(loss, l1, width, starts)
    problem = _problem(patterns, loss, l1, bias)
    found = search(problem.exact, width, starts, seed)
    bottom = min(problem.exact(weights) for weights, _ in found)
    reports = [_report(problem, weights, bottom, count) for weights, count in found]
    return sorted(reports, key=lambda m: (round(m.loss / problem.loss_scale, 6), m.mean_activation))


def nearest(found: list[Minimum], W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor) -> Nearest:
    """In which minimum an SAE sits, and how far from it, as a function of the world's inputs.

    Latents are matched one to one. Without L1 the SAE is brought to the same form as the minima first.

    Args:
        found: From `minima`, for the SAE's world, loss, L1 and width.
        W_enc: [d_in, width].
        b_enc: [width].
        W_dec: [width, d_in].
        b_dec: [d_in].

    Raises:
        BadInput: The SAE has another shape.
        CannotMeasure: Its weights hold NaN or infinite values.
    """
    first = found[0]
    if W_enc.shape != first.W_enc.shape or W_dec.shape != first.W_dec.shape:
        raise BadInput(
            f"nearest: the SAE has W_enc {list(W_enc.shape)}, the minima {list(first.W_enc.shape)}; give those of one width and world"
        )
    if not all(torch.isfinite(part).all() for part in (W_enc, b_enc, W_dec, b_dec)):
        raise CannotMeasure("the SAE's weights hold NaN or infinite values, so it sits in no minimum")
    problem = first.problem.with_room_for(torch.cat([W_dec, b_dec[None]]))
    given = problem.exact.normal(problem.weights(W_enc, b_enc, W_dec, b_dec))
    ends = [problem.weights(m.W_enc, m.b_enc, m.W_dec, m.b_dec) for m in found]
    distances = [distance(problem.exact, given, end) for end in ends]
    best = int(np.argmin([away for away, _ in distances]))
    away, order = distances[best]
    end = ends[best]
    writes = problem.exact.activations(given)[:, order] - problem.exact.activations(end)
    live = np.linalg.norm(end.decoder, axis=1) > 0
    cosines = (given.decoder[order] * end.decoder).sum(1)[live]
    return Nearest(
        minimum=found[best],
        distance=away * problem.scale,
        decoder_cosine=float(cosines.min(initial=1.0)),
        bias=float(np.linalg.norm(given.bias - end.bias)) * problem.scale,
        activations=float(abs(writes).max()) * problem.scale,
        excess=problem.exact(given) * problem.loss_scale - found[best].loss,
    )


def _problem(patterns: Patterns, loss: str, l1: float, bias: bool) -> Problem:
    inputs = patterns.activations.double()
    probabilities = patterns.probabilities.double()
    scale = float((probabilities @ inputs.square().sum(1)).sqrt())
    if scale == 0:
        raise CannotMeasure("the world is always silent, so there is nothing to reconstruct")
    basis = row_span(inputs, rtol=1e-5)  # float32 rounding is no dimension
    coordinates = (inputs @ basis.T / scale).numpy()
    scaled_l1 = l1 / scale if loss == "mse" else l1
    return Problem(patterns, basis, scale, ExactLoss(coordinates, probabilities.numpy(), loss, scaled_l1, bias))


def _report(problem: Problem, weights: Weights, bottom: float, starts: int) -> Minimum:
    exact, scale = problem.exact, problem.scale
    loss = exact(weights)
    activations = exact.activations(weights)
    weights, free = least_encoder(exact, weights)
    encoder, offset, decoder, bias = (torch.from_numpy(part) for part in weights)
    w_enc, b_dec = problem.basis.T @ encoder, bias @ problem.basis * scale
    return Minimum(
        loss=loss * problem.loss_scale,
        is_global=loss < bottom + 10 * LOWER,
        W_enc=w_enc,
        b_enc=offset * scale + b_dec @ w_enc,
        W_dec=decoder @ problem.basis,
        b_dec=b_dec,
        activations=torch.from_numpy(activations) * scale,
        encoder_is_free=torch.from_numpy(free),
        starts=starts,
        problem=problem,
    )


def _unit_rows(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def _check(loss: str, l1: float, width: int, starts: int) -> None:
    if loss not in ("mse", "l2"):
        raise BadInput(f"minima: the loss is {loss!r}; give mse or l2 (snap ends in a minimum of l2)")
    if not (l1 >= 0 and np.isfinite(l1)):
        raise BadInput(f"minima: l1 is {l1}; give a number that is not negative")
    if width < 1 or starts < 1:
        raise BadInput(f"minima: width {width} and starts {starts}; give at least one of each")
