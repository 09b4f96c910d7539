"""Language models small enough to be made in a test, in the files that Hugging Face saves."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def save_tiny(folder: Path, architecture: str = "Llama", **config: Any) -> Path:
    """A random model of a few thousand weights with a tokenizer of forty words, as transformers saves them."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, 40)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    settings = getattr(transformers, f"{architecture}Config")(**{**SIZES, **config})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(settings)
        for weight in model.parameters():  # far from their start, so that no bias is 0 and no norm is 1
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder


def save_world(folder: Path, n_texts: int = 400) -> Path:
    """A folder with such a model (`model/`) and texts of its words, 60 each (`texts/all.jsonl`)."""
    save_tiny(folder / "model")
    words = random.Random(0)
    texts = [" ".join(f"w{words.randint(3, 39)}" for _ in range(60)) for _ in range(n_texts)]
    (folder / "texts").mkdir()
    (folder / "texts/all.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    return folder
