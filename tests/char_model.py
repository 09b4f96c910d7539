"""A language model that reads letters: small enough for a test, and its activations still depend on what a text says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 .,'"
HOOK = "blocks.1.hook_resid_post"
D_MODEL, CONTEXT = 24, 128
TOPICS = {
    "sea": ["ship", "wave", "harbour", "sail", "salt", "fish", "storm", "anchor"],
    "law": ["court", "judge", "appeal", "clause", "treaty", "verdict", "bench", "oath"],
    "sky": ["star", "comet", "orbit", "cloud", "moon", "eclipse", "zenith", "dawn"],
}
"""Words of three classes of made-up texts."""


def char_model() -> Any:
    """A random HookedTransformer of two layers over lower-case letters, the same in every process."""
    import transformers
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    words = {"<s>": 0, "</s>": 1, "<unk>": 2, **{letter: 3 + i for i, letter in enumerate(LETTERS)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    with torch.random.fork_rng():
        config = HookedTransformerConfig(
            n_layers=2, d_model=D_MODEL, n_ctx=CONTEXT, d_head=12, n_heads=2, d_vocab=len(words), act_fn="gelu", normalization_type="RMS", positional_embedding_type="rotary", seed=3, initializer_range=0.4,
        )  # fmt: skip
        model = HookedTransformer(config)
    model.tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="right", **special)
    return model.eval().requires_grad_(False)


def topic_rows(
    per_class: int = 150, seed: int = 0, mix: float = 0.5, topics: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Texts of several words with their topic; a share `mix` of the words comes from any topic, so that nobody is right always."""
    generator = torch.Generator().manual_seed(seed)

    def pick(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    names = list(topics or TOPICS)
    rows = []
    for i in range(per_class * len(names)):
        own = names[i % len(names)]
        mixed = (torch.rand(3 + pick(6), generator=generator) < mix).tolist()
        words = [TOPICS[names[pick(len(names))] if other else own] for other in mixed]
        rows.append((" ".join(w[pick(len(w))] for w in words) + f" {i}", own))
    return rows
