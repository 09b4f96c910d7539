"""The settings of core."""

from __future__ import annotations

from dataclasses import dataclass

from hedgebench.types import BadInput


@dataclass(frozen=True)
class CoreConfig:
    """How much text, in which pieces."""

    n_batches: int = 10
    """Batches on which the model is rerun with the SAE's output in place."""
    n_sparsity_batches: int | None = None
    """Batches for sparsity and reconstruction; they begin with those of `n_batches`. None: the same."""
    batch_size: int = 16
    """Sequences per batch."""
    context_size: int = 128
    """Tokens per sequence."""
    exclude_special_tokens_from_reconstruction: bool = True
    """Leave the activations at beginning-of-text, end-of-text and padding as they are when the SAE's output is put in place."""

    def __post_init__(self) -> None:
        least = {"n_batches": 1, "n_sparsity_batches": 1, "batch_size": 1, "context_size": 2}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise BadInput(f"{name} must be at least {low}, not {value}")

    @property
    def sparsity_batches(self) -> int:
        """Batches of the sparsity part."""
        return self.n_batches if self.n_sparsity_batches is None else self.n_sparsity_batches
