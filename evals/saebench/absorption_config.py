"""The settings of absorption."""

from __future__ import annotations

from dataclasses import dataclass

from hedgebench.types import BadInput


@dataclass(frozen=True)
class AbsorptionConfig:
    """SAEBench's settings under its names and with its defaults, and how many words are asked about."""

    words_per_letter: int | None = None
    """Words of each first letter, drawn with the seed, a fifth of them for the test. None: every word of letters in the tokenizer's
    vocabulary, split at random, as SAEBench does; the model then reads about 80 tokens per word, some 45,000 words for GPT-2."""
    prompt_template: str = "{word} has the first letter:"
    """What the model is asked, after ten answered examples."""
    prompt_token_pos: int | None = None
    """Token of the prompt that is read, from the end: -6 in SAEBench. None: the word's last token, found from the tokenizer."""
    max_k_value: int = 10
    """Most latents a probe may use."""
    f1_jump_threshold: float = 0.03
    """One latent more counts as a split when it raises the probe's F1 by more than this."""
    k_sparse_probe_l1_decay: float = 0.01
    """L1 penalty of the probe that ranks the latents."""
    k_sparse_probe_batch_size: int = 4096
    """Words per step of its training."""
    k_sparse_probe_num_epochs: int = 50
    """Epochs of its training."""
    precalc_k_sparse_probe_sae_acts: bool | None = None
    """Encode the training words once, not once per epoch and probe. The probes are the same up to rounding. None: where the latents take
    at most 4 GiB."""
    llm_batch_size: int = 10
    """Prompts per pass of the model in the second part."""
    min_GT_probe_f1: float = 0.6
    """A letter counts when the model's own probe for it has a higher F1 than this."""
    min_feats_for_eval: int = 20
    """Fewest letters that must count; with fewer the run is skipped."""

    def __post_init__(self) -> None:
        try:
            marked = self.prompt_template.format(word="\0")
        except (LookupError, ValueError):
            marked = ""
        if "\0" not in marked:
            raise BadInput(f"prompt_template must hold {{word}} and no other braces, not {self.prompt_template!r}")
        if self.prompt_token_pos is not None and self.prompt_token_pos > -1:
            raise BadInput(
                f"prompt_token_pos counts from the prompt's end: at most -1, not {self.prompt_token_pos}; null finds it"
            )
        least = {
            "words_per_letter": 2,
            "max_k_value": 1,
            "k_sparse_probe_batch_size": 1,
            "k_sparse_probe_num_epochs": 1,
            "llm_batch_size": 1,
            "min_feats_for_eval": 2,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise BadInput(f"{name} must be at least {low}, not {value}")
        for name in ("k_sparse_probe_l1_decay", "f1_jump_threshold"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} must be at least 0, not {getattr(self, name)}")
        if not 0 <= self.min_GT_probe_f1 < 1:
            raise BadInput(f"min_GT_probe_f1 must be from 0 to below 1, not {self.min_GT_probe_f1}")
        if self.min_feats_for_eval > 26:
            raise BadInput(f"min_feats_for_eval is at most the 26 letters, not {self.min_feats_for_eval}")
