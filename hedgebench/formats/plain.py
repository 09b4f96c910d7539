"""Plain safetensors: one file with W_enc [d_in, d_sae], W_dec [d_sae, d_in], b_enc, b_dec, and threshold or not.

Latents are x W_enc + b_enc, through a ReLU, or set to zero up to `threshold`; the reconstruction is latents W_dec + b_dec. The file's notes
(safetensors metadata, texts) may say more: `apply_b_dec_to_input` ("true": b_dec is subtracted from the input first), `k` (TopK),
`model_name`, `hook_name`, `l0`, `train_seed`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from hedgebench.formats.files import check_shapes, read_safetensors, safetensors_header
from hedgebench.formats.layouts import find_layout
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from sae_lens import SAE


def load(ref: str) -> SAE | None:
    """Load one safetensors file, or the folder that holds but one; None where `ref` is neither.

    Raises:
        BadInput: Tensors are missing, of other shapes, or the file is damaged.
    """
    if (found := find_layout(ref, "plain")) is None:
        return None
    file = found.weights
    shapes, notes = safetensors_header(file)
    shape = shapes.get("W_enc", ())
    if "W_enc" in shapes and (len(shape) != 2 or not shape[0] * shape[1]):
        raise BadInput(f"{file}: W_enc has shape {list(shape)}, not [d_in, d_sae]")
    d_in, d_sae = shape if shape else (0, 0)
    wanted = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_enc": (d_sae,), "b_dec": (d_in,)}
    if "threshold" in shapes:
        wanted["threshold"] = (d_sae,)
    check_shapes(file, shapes, wanted, f"W_enc [d_in {d_in}, d_sae {d_sae}]")
    if extra := sorted(shapes.keys() - wanted.keys()):
        raise BadInput(
            f"{file}: {extra[0]} is in it, and what it does is not said; a plain SAE has {', '.join(wanted)}"
        )

    from hedgebench.loaders import build_sae

    config = {"d_in": d_in, "d_sae": d_sae, **_settings(notes, "threshold" in shapes, d_sae, file)}
    return build_sae(config, read_safetensors(file, wanted))


def _settings(notes: dict[str, str], jumps: bool, d_sae: int, file: Path) -> dict[str, Any]:
    """Architecture and metadata from a file's notes."""
    before = notes.get("apply_b_dec_to_input", "false").lower()
    if before not in ("true", "false"):
        raise BadInput(f"{file}: apply_b_dec_to_input is true or false, not {before!r}")
    config: dict[str, Any] = {
        "architecture": "jumprelu" if jumps else "standard",
        "apply_b_dec_to_input": before == "true",
    }
    if "k" in notes:
        k = _number(notes, "k", file)
        if jumps or k != int(k) or not 0 < k <= d_sae:
            raise BadInput(
                f"{file}: k of an SAE without thresholds is a whole number from 1 to {d_sae}, not {notes['k']!r}"
            )
        config |= {"architecture": "topk", "k": int(k)}
    said: dict[str, Any] = {key: notes[key] for key in ("model_name", "hook_name") if notes.get(key)}
    if "l0" in notes:
        said["l0"] = _number(notes, "l0", file)
    if "train_seed" in notes:
        if not re.fullmatch(r"-?\d{1,18}", notes["train_seed"]):
            raise BadInput(f"{file}: train_seed is a whole number, not {notes['train_seed']!r:.60}")
        said["train_seed"] = int(notes["train_seed"])
    return {**config, "metadata": said}


def _number(notes: dict[str, str], key: str, file: Path) -> float:
    try:
        value = float(notes[key])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{file}: {key} is a number, not {notes[key]!r:.60}")
    return value
