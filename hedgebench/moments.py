"""Mean and covariance of rows that come in batches; and of what an SAE leaves over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.activations import flat_heads
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.eval import ActivationBatch


class Moments:
    """Sums over rows of d numbers, in float64 on the CPU; memory d²."""

    def __init__(self, d: int) -> None:
        import torch

        self.count = 0
        self._total = torch.zeros(d, dtype=torch.float64)
        self._squares = torch.zeros(d, d, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Take in rows [n, d], on any device."""
        wide = rows.double()
        self.count += len(wide)
        self._total += wide.sum(0).cpu()
        self._squares += (wide.T @ wide).cpu()

    @property
    def mean(self) -> Tensor:
        """[d]."""
        return self._total / self.count

    @property
    def covariance(self) -> Tensor:
        """[d, d], about the mean, over all rows (no correction)."""
        return self._squares / self.count - self.mean[:, None] * self.mean


class Components(NamedTuple):
    """Principal components, the one with the most variance first."""

    variances: Tensor
    """[d], falling; where there is none, what rounding leaves of 0, of either sign."""
    directions: Tensor
    """[d, d], orthonormal rows, the largest entry of each positive."""


def principal_components(covariance: Tensor) -> Components:
    """The principal components that belong to a covariance [d, d]. The cost grows with d³."""
    import torch

    variances, vectors = torch.linalg.eigh(covariance)
    directions = vectors.T.flip(0)
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return Components(variances.flip(0), directions * largest.sign())


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

    left = Moments(sae.cfg.d_in)
    with torch.inference_mode(), flat_heads(sae):
        for batch in batches:
            acts = batch.acts.to(sae.W_dec)
            left.add((acts - sae(acts))[batch.mask.to(acts.device)])
    if left.count == 0:
        raise CannotMeasure("the text holds no ordinary token")
    return left.covariance
