"""Llama Scope: a folder of `hyperparams.json` and `checkpoints/final.safetensors` (He et al. 2024, arXiv 2410.20526; OpenMOSS's lm_saes).

The SAE reads x times sqrt(d_model) over the average norm of the data; its threshold is in units of x. SAELens's converter reads it, and
its own folding takes the factor into the weights. One thing the converter leaves out: with `sparsity_include_decoder_norm`, lm_saes
compares the threshold with the activation of the unit decoder row, so here it is divided by the norm of the row as stored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hedgebench.formats.files import check_shapes, number, positive, read_object, safetensors_header
from hedgebench.formats.layouts import find_layout
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from sae_lens import SAE


def load(ref: str) -> SAE | None:
    """Load a Llama Scope folder, or its `final.safetensors`; None where `ref` is neither.

    Raises:
        BadInput: A transcoder, settings that SAELens has no counterpart for, or damaged files.
    """
    if (found := find_layout(ref, "llama_scope")) is None:
        return None
    assert found.config is not None
    said, file = read_object(found.config), found.config
    d_in, d_sae = positive(said, "d_model", file), positive(said, "d_sae", file)
    factor = _factor(said, file, ref)
    shapes, _ = safetensors_header(found.weights)
    wanted = {"encoder.weight": (d_sae, d_in), "encoder.bias": (d_sae,), "decoder.weight": (d_in, d_sae)}
    wanted |= {"decoder.bias": (d_in,)}
    check_shapes(found.weights, shapes, wanted, f"hyperparams.json (d_model {d_in}, d_sae {d_sae})")

    from hedgebench.formats.upstream import LocalRepository, converters
    from hedgebench.loaders import build_sae

    files = {"hyperparams.json": file, "final.safetensors": found.weights}
    before = {"dtype": "float32", "apply_b_dec_to_input": bool(said.get("apply_decoder_bias_to_pre_encoder", False))}
    config, weights, _ = converters().llama_scope_sae_huggingface_loader(
        LocalRepository("llama-scope", files), found.folder.name, "cpu", cfg_overrides=before
    )
    if said.get("sparsity_include_decoder_norm", True):
        weights["threshold"] = weights["threshold"] / weights["W_dec"].norm(dim=-1).clamp(min=1e-8)
    config = converters().handle_config_defaulting(config)
    if not re.match(r"Llama3_1-?8B", found.folder.name):
        config["metadata"].pop("model_name", None)  # the converter names this model whatever the folder
    if isinstance(said.get("seed"), int):
        config["metadata"]["train_seed"] = said["seed"]
    sae = build_sae(config, {name: tensor.contiguous() for name, tensor in weights.items()})
    sae.fold_activation_norm_scaling_factor(factor)
    return sae


def _factor(said: dict[str, Any], file: Path, ref: str) -> float:
    """What activations are multiplied by before the encoder; and a line for what cannot be an SAE of this family."""
    hook, out = said.get("hook_point_in"), said.get("hook_point_out")
    if not isinstance(hook, str):
        raise BadInput(f"{file}: hook_point_in must be a text, found {hook!r}")
    if out not in (None, hook):
        raise BadInput(f"{ref}: it maps {hook} to {out}; HedgeBench evaluates SAEs only")
    threshold = number(said, "jump_relu_threshold", file)
    if said.get("act_fn") != "jumprelu" and not (said.get("act_fn") == "topk" and threshold > 0):
        raise BadInput(f"{file}: act_fn is {said.get('act_fn')!r}; Llama Scope's SAEs are 'jumprelu' at inference")
    if said.get("use_glu_encoder"):
        raise BadInput(f"{ref}: a gated linear encoder (use_glu_encoder) has no counterpart in SAELens")
    if said.get("norm_activation", "dataset-wise") != "dataset-wise":
        raise BadInput(f"{file}: norm_activation is {said['norm_activation']!r}; Llama Scope's is 'dataset-wise'")
    norms = said.get("dataset_average_activation_norm")
    if not isinstance(norms, dict):
        raise BadInput(f"{file}: dataset_average_activation_norm must hold the norm 'in', found {norms!r}")
    norm = number(norms, "in", file, above=0)
    if "out" in norms and number(norms, "out", file, above=0) != norm:
        raise BadInput(f"{ref}: it reads and writes activations of another norm; HedgeBench evaluates SAEs only")
    return float(positive(said, "d_model", file) ** 0.5 / norm)
