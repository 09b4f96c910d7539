"""The weights of many toy SAEs, and the samples of one step, as the trainer holds them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Weights(NamedTuple):
    """Weights, or their gradients, of R SAEs."""

    enc: Tensor
    """[R, width, d_in]: the encoder's columns."""
    dec: Tensor
    """[R, 1 + width, d_in]: the decoder bias, then the decoder's rows."""
    b_enc: Tensor
    """[R, width, 1]."""

    @classmethod
    def of(cls, flat: Tensor, d_in: int, width: int) -> Weights:
        """Views of a flat [R, size]: one step of Adam and one norm are then for all weights at once."""
        R = len(flat)
        enc, dec, b_enc = flat.split([width * d_in, (1 + width) * d_in, width], dim=1)
        return cls(enc.view(R, width, d_in), dec.view(R, 1 + width, d_in), b_enc.view(R, width, 1))

    def flat(self) -> Tensor:
        """[R, size]."""
        return torch.cat([tensor.flatten(1) for tensor in self], dim=1)


class Batch(NamedTuple):
    """Samples of one step."""

    x: Tensor
    """[S, B, d_in]: SAEs 0 to R / S - 1 see x[0], the next x[1], and so on."""
    share: Tensor | float
    """[R, 1, B], each sample's share of the mean over the batch, sum 1; or 1 / B."""
