"""The card of an SAE: what it says of itself, and a digest of what it computes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.loaders import load_raw
from hedgebench.types import Checkpoint

if TYPE_CHECKING:
    from sae_lens import SAE

_NOT_BEHAVIOUR = {"metadata", "device", "dtype"}
_METADATA_BEHAVIOUR = ("model_name", "hook_name", "hook_head_index")
_TAGS = ("architecture", "loss", "k", "l0", "train_seed", "train_tokens", "model", "hook")


def read_checkpoint(ref: str | Path, *, name: str | None = None, tags: Mapping[str, Any] | None = None) -> Checkpoint:
    """Load the SAE that `ref` names and describe it.

    Raises:
        BadInput: The reference cannot be loaded.
    """
    sae = load_raw(ref)
    return describe(sae, name=name or _name_of(str(ref)), ref=str(ref), tags=tags)


def digest_of(sae: SAE) -> str:
    """Hash (SHA-256, 32 hex digits) of the weights and of every setting that changes the output.

    Weights count in float32 (or wider, if stored so), so that a half-precision file and the SAE loaded from it have one digest.
    Names, paths, training metadata and device do not count; the hook point and the model do.
    """
    import torch

    h = hashlib.sha256()
    config = {k: v for k, v in sae.cfg.to_dict().items() if k not in _NOT_BEHAVIOUR}
    config["metadata"] = {k: sae.cfg.metadata.get(k) for k in _METADATA_BEHAVIOUR}
    h.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(sae.state_dict().items()):
        wide = tensor.detach().to("cpu", torch.promote_types(tensor.dtype, torch.float32)).contiguous()
        h.update(f"{name}{tuple(wide.shape)}".encode())
        h.update(wide.numpy().data)
    return h.hexdigest()[:32]


def describe(sae: SAE, *, name: str, ref: str | None = None, tags: Mapping[str, Any] | None = None) -> Checkpoint:
    """The card of an SAE as it was loaded: not folded, not cast.

    `tags` that name a field of the card (loss, k, train_seed, ...) override what the checkpoint itself says.
    """
    meta = sae.cfg.metadata.to_dict()
    details = meta.get("training_architecture_details") or {}
    hook = meta.get("hook_name")
    known: dict[str, Any] = {
        "architecture": str(meta.get("training_architecture") or sae.cfg.architecture()),
        "hook": hook,
        "model": meta.get("model_name"),
        "loss": meta.get("reconstruction_loss"),
        "k": details.get("k", getattr(sae.cfg, "k", None)),
        "l0": meta.get("l0"),
        "train_seed": meta.get("train_seed"),
        "train_tokens": meta.get("train_tokens"),
    }
    known |= {k: v for k, v in (tags or {}).items() if k in _TAGS}
    return Checkpoint(
        digest=digest_of(sae),
        name=name,
        d_in=sae.cfg.d_in,
        width=sae.cfg.d_sae,
        layer=_layer_of(known["hook"]),
        prefixes=tuple(details.get("matryoshka_widths") or ()),
        decoder_row_norm=float(sae.W_dec.detach().float().norm(dim=-1).mean()),
        dtype=sae.cfg.dtype,
        hook_head_index=meta.get("hook_head_index"),
        release=meta.get("release"),
        sae_id=meta.get("sae_id"),
        ref=ref,
        tags=dict(tags or {}),
        **known,
    )


def _layer_of(hook: str | None) -> int | None:
    match = re.search(r"(?:^|\.)blocks\.(\d+)(?:\.|$)", hook or "")
    return int(match[1]) if match else None


def _name_of(ref: str) -> str:
    path = Path(ref)
    return path.resolve().name if path.exists() else ref
