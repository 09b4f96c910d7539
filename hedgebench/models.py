"""Language models with hooks: offline names, local Hugging Face folders, TransformerLens names and hub names, one loader."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.compat import prepare
from hedgebench.offline import OFFLINE_MODELS, offline_folder
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import torch
    from transformer_lens import HookedTransformer

MAX_CONTEXT = 4096
"""Longest sequence a model read from a folder takes: TransformerLens keeps rotary tables of this length for every layer."""


def load_model(name: str, *, device: str = "cpu", dtype: str = "float32") -> HookedTransformer:
    """A frozen model in eval mode whose logits are Hugging Face's: no weight is folded, centred or rescaled."""
    prepare()
    if name in OFFLINE_MODELS:
        return _freeze(_from_folder(offline_folder(name), name, device, dtype))
    if Path(name).is_dir():
        return _freeze(_from_folder(Path(name), Path(name).resolve().name, device, dtype))
    raise BadInput(f"unknown model {name!r}")


def _from_folder(folder: Path, name: str, device: str, dtype: str) -> HookedTransformer:
    import torch
    from transformer_lens import HookedTransformer
    from transformer_lens import loading_from_pretrained as loading
    from transformers import AutoModelForCausalLM, AutoTokenizer

    precision: torch.dtype = getattr(torch, dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder, add_bos_token=True, local_files_only=True)
    hf_model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=precision, local_files_only=True, use_safetensors=True
    )
    cfg = _config(folder, hf_model, device, precision)
    cfg.model_name, cfg.tokenizer_name = name, str(folder)
    model = HookedTransformer(cfg, tokenizer, move_to_device=False)
    state = loading.get_pretrained_state_dict(str(folder), cfg, hf_model, dtype=precision)
    model.load_and_process_state_dict(
        state,
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
        refactor_factored_attn_matrices=False,
    )
    model.move_model_modules_to_device()
    return model


def _config(folder: Path, hf_model: Any, device: str, dtype: torch.dtype) -> Any:
    """TransformerLens's configuration for a folder.

    TransformerLens guesses the architecture from words in the *path* ("llama", "gemma") before it reads the
    configuration, so it is shown a copy of the configuration in a folder whose name says nothing.
    """
    from transformer_lens import loading_from_pretrained as loading

    n_ctx = min(getattr(hf_model.config, "max_position_embeddings", MAX_CONTEXT), MAX_CONTEXT)
    with tempfile.TemporaryDirectory(prefix="config-") as neutral:
        shutil.copy(folder / "config.json", neutral)
        return loading.get_pretrained_model_config(
            neutral, hf_cfg=hf_model.config.to_dict(), device=device, dtype=dtype, n_ctx=n_ctx
        )


def _freeze(model: HookedTransformer) -> HookedTransformer:
    return model.eval().requires_grad_(False)
