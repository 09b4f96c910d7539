"""The settings of autointerp: the judge's, and SAEBench's own under its names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hedgebench.types import BadInput

from .judge_config import JudgeConfig

MOST_TOKENS = 2**24
"""torch draws from no more categories than this, and the importance-weighted examples are drawn from all positions."""


@dataclass(frozen=True)
class AutoInterpConfig(JudgeConfig):
    """Which latents, on how much text, with how many examples; who judges. The defaults are SAEBench's, the batch size apart."""

    n_latents: int = 1000
    """Latents drawn out of those alive; all of them where there are fewer."""
    override_latents: tuple[int, ...] | None = None
    """These latents instead."""
    dead_latent_threshold: float = 15
    """A latent that fires at no more tokens than this counts as dead."""
    total_tokens: int = 2_000_000
    """Tokens of text that examples are taken from, rounded up to whole batches."""
    batch_size: int = 16
    """Sequences per pass of the model. No number depends on it, but for rounding and the last batch."""
    context_size: int = 128
    """Tokens per sequence."""
    buffer: int = 10
    """Tokens of an example on either side of its middle."""
    no_overlap: bool = True
    """Whether the strongest examples keep `buffer` tokens apart."""
    act_threshold_frac: float = 0.01
    """A token is active where the latent is above this fraction of its largest value."""
    max_tokens_in_explanation: int = 30
    """Tokens of an explanation at most."""
    use_demos_in_explanation: bool = True
    """Whether the question for an explanation shows some."""
    n_top_ex_for_generation: int = 10
    """Strongest examples that an explanation is made from."""
    n_iw_sampled_ex_for_generation: int = 5
    """Weaker ones, drawn with probability in proportion to the square of the activation."""
    n_top_ex_for_scoring: int = 2
    """Strongest examples among those to be told apart."""
    n_random_ex_for_scoring: int = 10
    """Examples from anywhere in the text among them."""
    n_iw_sampled_ex_for_scoring: int = 2
    """Weaker ones among them."""
    logs: bool = False
    """Keep SAEBench's `logs` of each latent, questions and examples in full, in the record: about 25 kB per latent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.override_latents, Sequence):
            object.__setattr__(self, "override_latents", _latents(self.override_latents))
        elif self.override_latents is not None:
            raise BadInput(f"override_latents must be a list of latents, not {self.override_latents!r}")
        least = {
            "n_latents": 1,
            "total_tokens": 1,
            "batch_size": 1,
            "buffer": 1,
            "max_tokens_in_explanation": 1,
            "n_top_ex_for_generation": 1,
            "n_iw_sampled_ex_for_generation": 0,
            "n_top_ex_for_scoring": 1,
            "n_random_ex_for_scoring": 1,
            "n_iw_sampled_ex_for_scoring": 0,
            "context_size": 2 * self.buffer + 1,
            "dead_latent_threshold": 0,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise BadInput(f"{name} must be at least {low}, not {getattr(self, name)}")
        if not 0 <= self.act_threshold_frac < 1:
            raise BadInput(f"act_threshold_frac must be from 0 to below 1, not {self.act_threshold_frac}")
        if self.n_batches * self.batch_size * self.context_size > MOST_TOKENS:
            raise BadInput(f"total_tokens must be at most {MOST_TOKENS}, not {self.total_tokens}")

    @property
    def n_batches(self) -> int:
        """Batches of text."""
        return math.ceil(self.total_tokens / (self.batch_size * self.context_size))


def _latents(given: Sequence[object]) -> tuple[int, ...]:
    found = tuple(
        latent for latent in given if isinstance(latent, int) and not isinstance(latent, bool) and latent >= 0
    )
    if len(found) < len(given) or len(set(found)) < len(found) or not found:
        raise BadInput(f"override_latents must be a list of different latents, numbered from 0, not {list(given)!r}")
    return found
