"""What an SAE leaves over: moments of its reconstruction error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hedgebench.activations import flat_heads
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.eval import ActivationBatch


def residual_covariance(sae: SAE, batches: Iterable[ActivationBatch]) -> Tensor:
    """Covariance of the reconstruction error over ordinary tokens (`mask`).

    Args:
        sae: On any device; left as it was.
        batches: Activations as an eval context hands them out.

    Returns:
        [d_in, d_in], float64, on the CPU.

    Raises:
        CannotMeasure: There is no ordinary token.
    """
    import torch

    d, n = sae.cfg.d_in, 0
    total, squares = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    with torch.inference_mode(), flat_heads(sae):
        for batch in batches:
            acts = batch.acts.to(sae.W_dec)
            left = (acts - sae(acts))[batch.mask.to(acts.device)].double()
            n += len(left)
            total += left.sum(0).cpu()
            squares += (left.T @ left).cpu()
    if n == 0:
        raise CannotMeasure("the text holds no ordinary token")
    mean = total / n
    return squares / n - mean[:, None] * mean
