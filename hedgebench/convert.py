"""From a Hugging Face model to a TransformerLens one that computes the same."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens import loading_from_pretrained as loading
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from hedgebench.digest import folder_digest
from hedgebench.paths import cache_dir
from hedgebench.types import BadInput

MAX_CONTEXT = 2048
"""Longest sequence of the result: TransformerLens keeps rotary tables of this length for every layer."""
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.1}
"""Largest relative distance of the two models' logits; a wrong architecture is off by about 1."""


def hooked_from_hugging_face(source: str, name: str, device: str, dtype: str) -> HookedTransformer:
    """Read a folder, or a hub name, with transformers and copy it into a `HookedTransformer`.

    Any architecture that transformers loads without code of its own and TransformerLens has a weight converter for: Llama
    and its kin, and others. The first time, the result is compared with the original on one sequence.

    Args:
        source: A folder or a hub name.
        name: What the result calls itself.
        device: Torch device of the result.
        dtype: Name of a torch dtype.

    Raises:
        BadInput: Weights are missing, of another shape or not finite, or the two models disagree.
        Exception: Whatever transformers or TransformerLens raise for files they cannot read.
    """
    precision: torch.dtype = getattr(torch, dtype)
    with _no_progress_bars():
        hf_model, report = AutoModelForCausalLM.from_pretrained(
            source, dtype=precision, trust_remote_code=False, output_loading_info=True
        )
    hf_model.eval()
    if absent := sorted(report["missing_keys"]):
        raise BadInput(f"model {source}: {len(absent)} weights are missing, such as {absent[0]}")
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    cfg, state = _convert(hf_model, device, precision)
    cfg.model_name, cfg.tokenizer_name = name, source
    model = HookedTransformer(cfg, tokenizer, move_to_device=False)
    model.load_state_dict(model.fill_missing_keys(state), strict=False)
    model.move_model_modules_to_device()
    _require_same_once(model, hf_model, source)
    return model


def _convert(hf_model: Any, device: str, dtype: torch.dtype) -> tuple[HookedTransformerConfig, dict[str, torch.Tensor]]:
    """TransformerLens's configuration and weights for a Hugging Face model.

    TransformerLens guesses the architecture from words in the model's *path* ("llama", "gemma") before it looks at the
    configuration, so it is shown the configuration in a folder whose name says nothing.
    """
    config = hf_model.config
    config.architectures = [type(hf_model).__name__]
    if hasattr(config, "n_positions"):
        config.n_ctx = config.n_positions  # GPT-2's older name for it, which TransformerLens reads
    with tempfile.TemporaryDirectory(prefix="config-") as neutral:
        config.save_pretrained(neutral)
        fields = loading.convert_hf_model_config(neutral)
        fields |= {"device": device, "dtype": dtype, "init_weights": False}
        fields["n_ctx"] = min(getattr(config, "max_position_embeddings", MAX_CONTEXT), MAX_CONTEXT)
        head = getattr(config, "head_dim", None) or fields["d_head"]
        if fields.get("rotary_dim") == fields["d_head"]:
            fields["rotary_dim"] = head
        fields["d_head"] = head
        fields.setdefault("default_prepend_bos", True)
        cfg = HookedTransformerConfig.from_dict(fields)
        return cfg, loading.get_pretrained_state_dict(neutral, cfg, hf_model, dtype=dtype)


def _require_same_once(model: HookedTransformer, hf_model: Any, source: str) -> None:
    """Compare the two models, unless this content has passed in this dtype with these versions of both libraries."""
    content = getattr(hf_model.config, "_commit_hash", None) or folder_digest(Path(source))
    versions = f"transformers {version('transformers')} transformer-lens {version('transformer-lens')} torch {torch.__version__}"
    key = hashlib.sha256(f"{content} {model.cfg.dtype} {versions}".encode()).hexdigest()[:24]
    passed = cache_dir() / "models" / "same-as-hugging-face" / key
    if passed.exists():
        return
    _require_same(model, hf_model, source)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a second comparison, nothing else
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()


@torch.no_grad()
def _require_same(model: HookedTransformer, hf_model: Any, source: str) -> None:
    """Compare the logits on one sequence, long enough to reach past a sliding window."""
    window = getattr(hf_model.config, "sliding_window", None) or 0
    length = min(window + 8 if window < model.cfg.n_ctx else 16, model.cfg.n_ctx)
    tokens = (torch.arange(length) * 7919 % model.cfg.d_vocab)[None]
    theirs = hf_model(tokens).logits.float()
    ours = model(tokens.to(model.cfg.device), prepend_bos=False).float().cpu()
    if not torch.isfinite(theirs).all():
        raise BadInput(f"model {source}: its logits are not finite; are its weights damaged?")
    distance = float((ours - theirs).norm() / theirs.norm())
    if not distance <= TOLERANCE[model.cfg.dtype]:
        raise BadInput(
            f"model {source}: TransformerLens cannot express this {type(hf_model).__name__}: its logits are off by "
            f"{distance:.2g} of their norm; is there an unusual setting in config.json?"
        )


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Reading a local file is over before a bar is worth its line."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
