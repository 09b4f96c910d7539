"""SAEs as their own projects write them to disk: file names, keys, shapes and settings of the public formats, with random numbers in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

D_IN, D_SAE, K = 8, 20, 5


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 100 * sum(shape)))


def inputs(d_in: int = D_IN) -> Tensor:
    return random(60, d_in, seed=7)


def gemma_arrays(d_in: int = D_IN, d_sae: int = D_SAE, seed: int = 0) -> dict[str, np.ndarray]:
    made = {
        "W_enc": random(d_in, d_sae, seed=seed),
        "W_dec": random(d_sae, d_in, seed=seed),
        "b_enc": random(d_sae, seed=seed),
        "b_dec": random(d_in, seed=seed),
        "threshold": random(d_sae, seed=seed + 1).abs(),
    }
    return {name: tensor.numpy() for name, tensor in made.items()}


def write_gemma_scope(folder: Path, arrays: dict[str, np.ndarray] | None = None) -> Path:
    """`.../layer_12/width_16k/average_l0_22/params.npz`, as `np.savez` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **(gemma_arrays() if arrays is None else arrays))
    return folder


def sparsify_weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    made = {
        "encoder.weight": random(D_SAE, D_IN),
        "encoder.bias": random(D_SAE),
        "W_dec": random(D_SAE, D_IN, seed=1),
        "b_dec": random(D_IN),
    }
    return {name: tensor.to(dtype) for name, tensor in made.items()}


SPARSIFY = {
    "activation": "topk",
    "expansion_factor": 32,
    "normalize_decoder": True,
    "num_latents": D_SAE,
    "k": K,
    "multi_topk": False,
    "skip_connection": False,
    "transcode": False,
    "d_in": D_IN,
}


def write_sparsify(folder: Path, weights: dict[str, Tensor] | None = None, **changes: Any) -> Path:
    """`RUN/layers.3/{cfg.json, sae.safetensors}` beside `RUN/config.json`, as `SparseCoder.save_to_disk` and the trainer write them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(sparsify_weights() if weights is None else weights, folder / "sae.safetensors", {"format": "pt"})
    (folder / "cfg.json").write_text(json.dumps({**SPARSIFY, **changes}))
    run = {"sae": SPARSIFY, "batch_size": 32, "init_seeds": [4], "model": "HuggingFaceTB/SmolLM2-135M"}
    (folder.parent / "config.json").write_text(json.dumps(run))
    return folder


def dictionary_weights(kind: str) -> dict[str, Tensor]:
    """The state dict of one of dictionary_learning's classes."""
    linear = {
        "encoder.weight": random(D_SAE, D_IN),
        "encoder.bias": random(D_SAE),
        "decoder.weight": random(D_IN, D_SAE, seed=1),
    }
    plain = {
        "W_enc": random(D_IN, D_SAE),
        "b_enc": random(D_SAE),
        "W_dec": random(D_SAE, D_IN, seed=1),
        "b_dec": random(D_IN),
    }
    gated = {
        "decoder_bias": random(D_IN),
        "r_mag": random(D_SAE, seed=2, scale=0.3),
        "gate_bias": random(D_SAE, seed=3),
        "mag_bias": random(D_SAE, seed=4),
        "encoder.weight": linear["encoder.weight"],
        "decoder.weight": linear["decoder.weight"],
    }
    top = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.8)}
    return {
        "AutoEncoder": {"bias": random(D_IN), **linear},
        "AutoEncoderNew": {**linear, "decoder.bias": random(D_IN)},
        "GatedAutoEncoder": gated,
        "JumpReluAutoEncoder": {**plain, "threshold": random(D_SAE, seed=5).abs()},
        "AutoEncoderTopK": {"b_dec": random(D_IN), **top, **linear},
        "BatchTopKSAE": {"b_dec": random(D_IN), **top, **linear},
        "MatryoshkaBatchTopKSAE": {**plain, **top, "group_sizes": torch.tensor([4, 6, 10])},
    }[kind]


def dictionary_config(kind: str) -> dict[str, Any]:
    trainer = {
        "trainer_class": "Trainer",
        "dict_class": kind,
        "lr": 0.0001,
        "steps": 1000,
        "seed": 3,
        "activation_dim": D_IN,
        "dict_size": D_SAE,
        "device": "cuda:0",
        "layer": 12,
        "lm_name": "google/gemma-2-2b",
        "wandb_name": "run",
        "submodule_name": "resid_post_layer_12",
    }
    if "TopK" in kind:
        trainer["k"] = K
    return {"trainer": trainer, "buffer": {"d_submodule": D_IN, "io": "out", "ctx_len": 128, "out_batch_size": 2048}}


def write_dictionary(folder: Path, kind: str = "BatchTopKSAE", *, weights: Any = None, **trainer: Any) -> Path:
    """`resid_post_layer_12/trainer_0/{ae.pt, config.json}`, as `trainSAE` writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dictionary_weights(kind) if weights is None else weights, folder / "ae.pt")
    config = dictionary_config(kind)
    config["trainer"].update(trainer)
    (folder / "config.json").write_text(json.dumps(config, indent=4))
    return folder


LLAMA = {
    "device": "cuda:0",
    "seed": 42,
    "dtype": "torch.bfloat16",
    "hook_point_in": "blocks.15.hook_resid_post",
    "hook_point_out": "blocks.15.hook_resid_post",
    "use_decoder_bias": True,
    "apply_decoder_bias_to_pre_encoder": False,
    "expansion_factor": 8,
    "d_model": D_IN,
    "d_sae": D_SAE,
    "act_fn": "jumprelu",
    "jump_relu_threshold": 0.35546875,
    "norm_activation": "dataset-wise",
    "dataset_average_activation_norm": {"in": 10.8125, "out": 10.8125},
    "sparsity_include_decoder_norm": True,
    "use_glu_encoder": False,
    "top_k": 50,
}


def llama_weights(dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    made = {
        "encoder.weight": random(D_SAE, D_IN, scale=3.0),
        "encoder.bias": random(D_SAE),
        "decoder.weight": random(D_IN, D_SAE, seed=1),
        "decoder.bias": random(D_IN),
    }
    return {name: tensor.to(dtype) for name, tensor in made.items()}


def write_llama_scope(folder: Path, weights: dict[str, Tensor] | None = None, **changes: Any) -> Path:
    """`Llama3_1-8B-Base-L15R-8x/{hyperparams.json, checkpoints/final.safetensors}`, as lm_saes wrote them."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    save_file(
        llama_weights() if weights is None else weights, folder / "checkpoints/final.safetensors", {"version": "0.1"}
    )
    (folder / "hyperparams.json").write_text(json.dumps({**LLAMA, **changes}, indent=4))
    return folder


def plain_weights() -> dict[str, Tensor]:
    return {
        "W_enc": random(D_IN, D_SAE),
        "W_dec": random(D_SAE, D_IN, seed=1),
        "b_enc": random(D_SAE),
        "b_dec": random(D_IN),
    }


def write_plain(file: Path, weights: dict[str, Tensor] | None = None, **notes: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(plain_weights() if weights is None else weights, file, notes)
    return file
