"""A tiny model, texts for it, and configs of series that grow on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hedgebench.data import open_text
from hedgebench.models import load_model
from hedgebench.training.bank import Bank
from hedgebench.training.config import TrainConfig, read_config
from hedgebench.training.growing import Nursery
from hedgebench.training.start import read_starts

D_IN, BATCH, STEPS = 32, 32, 40
SERIES = "{from: 8, add: 4, to: 16, every: 256}"
L1 = f"  - {{architecture: standard, l1: 0.5, train_seed: 3, name: 'l1-{{width}}', grow: {SERIES}}}"


def write_config(world: Path, path: Path, saes: str = L1, **changes: Any) -> Path:
    values = {
        "model": world / "model",
        "data": world / "texts",
        "hook": "blocks.0.hook_resid_post",
        "tokens": STEPS * BATCH,
        "batch_tokens": BATCH,
        "context_size": 16,
        "sequences_per_pass": 4,
        "buffer_sequences": 8,
        "norm_batches": 2,
        "lr": 0.01,
        "dead_after_tokens": 128,
        **changes,
    }
    path.write_text("\n".join([*(f"{key}: {value}" for key, value in values.items()), "saes:", saes, ""]))
    return path


def open_nursery(world: Path, tmp_path: Path, saes: str = L1, **changes: Any) -> tuple[TrainConfig, Nursery]:
    config = read_config(write_config(world, tmp_path / "nursery.yaml", saes, **changes))
    bank = Bank(config, load_model(config.model), open_text(config.data, "train"), "tiny", D_IN)
    return config, Nursery(config, list(config.saes), bank, D_IN, starts=read_starts(config, config.saes, D_IN))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "sae_weights.safetensors")


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return all(torch.equal(ours[key], theirs[key]) for key in ours | theirs)
