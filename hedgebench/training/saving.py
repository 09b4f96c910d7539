"""Trained SAEs on disk: SAELens inference checkpoints that are whole or not there at all."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens.saes.sae import TrainingSAE

logger = logging.getLogger(__name__)

_MATRICES = ("W_enc", "W_dec")
"""What `save_dtype` is about: biases and thresholds take no room and stay exact."""


def is_done(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether `folder` holds the SAE of these settings.

    Raises:
        BadInput: It holds something else.
    """
    if not folder.exists():
        return False
    (found,) = read_metadata(folder, train_settings=dict)
    if found != settings:
        changed = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
        raise BadInput(f"{folder} was trained with another {changed[0]!r}; remove it or choose another --out")
    logger.info("%s: already trained, skipped", folder)
    return True


def read_metadata(folder: Path, **kinds: type) -> tuple[Any, ...]:
    """What a checkpoint that this program wrote says of its training: the values of these keys, each of its kind.

    Raises:
        BadInput: The folder holds something else.
    """
    try:
        metadata = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))["metadata"]
        found = {key: metadata[key] for key in kinds}
        if all(isinstance(found[key], kind) for key, kind in kinds.items()):
            return tuple(found.values())
        raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{folder} exists and was not made by this program; remove it or choose another --out") from None


def save_all(saes: Mapping[Path, TrainingSAE], save_dtype: str = "float32") -> None:
    """Write every SAE beside its place and then rename it: a folder that exists is whole.

    Raises:
        BadInput: The folder cannot be written, or an SAE's weights cannot; all other SAEs are written before this is raised.
    """
    failed = []
    for folder, sae in saes.items():
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        try:
            save_sae(sae, part, save_dtype)
            part.rename(folder)
        except ValueError as error:
            failed.append(f"{folder.name}: {error}")
        except OSError as error:
            raise BadInput(f"cannot write {folder}: {error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    if failed:
        raise BadInput(f"not saved: {'; '.join(failed)}")


def save_sae(sae: TrainingSAE, folder: Path, save_dtype: str = "float32") -> None:
    """Write a trained SAE as a SAELens inference checkpoint that loads as float32 on the CPU.

    Args:
        sae: The SAE; not changed.
        folder: New folder for `cfg.json` and `sae_weights.safetensors`.
        save_dtype: Precision of the encoder and decoder matrices in the file: `float32` or `float16`.

    Raises:
        ValueError: A weight is NaN, infinite or too large for that precision.
    """
    import torch
    from safetensors.torch import load_file, save_file

    weights_path, config_path = sae.save_inference_model(folder)
    weights = load_file(weights_path)
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"{', '.join(bad)} holds NaN or infinite values: training diverged, lower 'lr'")
    for name in _MATRICES:
        weights[name] = weights[name].to(getattr(torch, save_dtype))
        if not torch.isfinite(weights[name]).all():
            raise ValueError(f"{name} holds values too large for {save_dtype}; use `save_dtype: float32`")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, weights_path)
    config = json.loads(config_path.read_text(encoding="utf-8")) | {"device": "cpu", "dtype": "float32"}
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
