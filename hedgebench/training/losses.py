"""Reconstruction losses of an SAE, and how the other loss terms follow when the loss changes.

All three compare a reconstruction with its input, per sample and over the last dimension d:

    mse    sum over d of the squared error            (what SAELens calls `mse_loss`)
    l2     norm of the error
    snap   mse until a fixed step of training, l2 from there on

The auxiliary loss for dead latents and the L1 penalty do not change with the reconstruction loss. Where the error's norm is far from 1 they would
therefore weigh quite differently beside `l2` than beside `mse`, so they are multiplied by the ratio of the two losses (`LossRatio`).
Source: the snap loss of "Feature Hedging" (arXiv 2505.11756) and the post that goes with it; the rescaling is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

LossName = Literal["mse", "l2", "snap"]
LOSSES: tuple[LossName, ...] = get_args(LossName)


def squared_error(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Squared error per coordinate, [..., d]: its sum over d is the `mse` loss of a sample."""
    from torch.nn.functional import mse_loss

    error: Tensor = mse_loss(reconstruction, target, reduction="none")
    return error


def l2_error(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Norm of the error, [..., 1].

    The last dimension is kept so that SAELens's `.sum(-1).mean()` gives the mean norm over samples. The gradient at zero error is zero.
    """
    error: Tensor = (reconstruction - target).norm(dim=-1, keepdim=True)
    return error


@dataclass(frozen=True)
class LossSchedule:
    """Which loss applies at which step, counted from 0."""

    loss: LossName
    snap_at: float
    """Fraction of training after which `snap` becomes `l2`."""
    total_steps: int

    @property
    def switch_step(self) -> int:
        """First step of the second part of training: the smallest step that is at least `snap_at * total_steps`."""
        # Rounding first: 0.1 * 30 is 3.0000000000000004, and step 3 is meant.
        return math.ceil(round(self.snap_at * self.total_steps, 6))

    def is_l2(self, step: int) -> bool:
        """Whether `step` is trained on the norm of the error rather than on its square."""
        return self.loss == "l2" or (self.loss == "snap" and step >= self.switch_step)


class LossRatio:
    """Running mean of the `l2` loss over the running mean of the `mse` loss, of the same samples.

    Exponential means with the bias of the first steps removed, so the value is meaningful from the first update on.
    """

    def __init__(self, decay: float = 0.98) -> None:
        self.decay = decay
        self._l2 = 0.0
        self._mse = 0.0

    def update(self, reconstruction: Tensor, target: Tensor) -> None:
        """Take in one batch, [batch, d]."""
        squared = (reconstruction.detach() - target).pow(2).sum(dim=-1)
        self._mse += (1 - self.decay) * (float(squared.mean()) - self._mse)
        self._l2 += (1 - self.decay) * (float(squared.sqrt().mean()) - self._l2)

    @property
    def measured(self) -> bool:
        """Whether there is anything to divide by: some batch was seen, and it was not reconstructed perfectly."""
        return self._mse > 0

    @property
    def value(self) -> float:
        """The ratio; 1 before the first update. The start-up bias of the two means is the same and cancels."""
        return self._l2 / self._mse if self.measured else 1.0
