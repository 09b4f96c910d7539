"""The card of an SAE: what it says of itself, and a digest of what it computes."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.formats.layouts import display_name, find_layout
from hedgebench.one_line import one_line
from hedgebench.paths import cache_dir
from hedgebench.pedigree import read_growth, read_objective, read_recipe
from hedgebench.records import package_version, read_json, write_json
from hedgebench.types import BadInput, Checkpoint

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

_NOT_BEHAVIOUR = {"metadata", "device", "dtype"}
_METADATA_BEHAVIOUR = ("model_name", "hook_name", "hook_head_index")
_FROM_TAGS = ("architecture", "loss", "k", "l0", "train_seed", "train_tokens", "objective", "model", "hook")
_CARD_VERSION = 5
"""Rises whenever a card read from the same files could change."""


def read_checkpoint(ref: str | Path, *, name: str | None = None, tags: Mapping[str, Any] | None = None) -> Checkpoint:
    """The card of the SAE that `ref` names, loaded and checked.

    The card of an SAE on disk is remembered until one of its files changes, so that planning a batch again is quick.

    Raises:
        BadInput: The reference cannot be loaded.
    """
    if one_line(str(ref)) != str(ref):
        raise BadInput(f"{str(ref)!r}: a name with control characters, or that is not UTF-8; rename it")
    memo = _memo_file(ref)
    remembered = read_json(memo) if memo is not None else None
    if remembered is not None:
        card = Checkpoint.from_dict(remembered)
    else:
        from hedgebench.loaders import load_raw

        card = describe(load_raw(ref), name="")
        if memo is not None:
            _remember(memo, card)
    return label(replace(card, ref=str(ref)), name or display_name(ref), tags)


def _memo_file(ref: str | Path) -> Path | None:
    """Where the card of an SAE on disk is remembered: named by its place, and its files' places, sizes and times."""
    found = find_layout(ref)
    if found is None:
        return None
    stats = [(str(f.resolve()), s.st_size, s.st_mtime_ns, s.st_ino) for f in found.files for s in [f.stat()]]
    # the folder as it is written, too: a card tells what its names say
    key = json.dumps([found.format, str(found.folder), stats, _CARD_VERSION, package_version("sae-lens")])
    return cache_dir() / "cards" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _remember(memo: Path, card: Checkpoint) -> None:
    try:
        write_json(memo, json.loads(json.dumps(card.to_dict(), default=str)), sync=False)
    except BadInput:
        return  # a cache that cannot be written costs time, nothing else


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


def describe(sae: SAE, *, name: str, tags: Mapping[str, Any] | None = None) -> Checkpoint:
    """The card of an SAE as it was loaded: not folded, not cast."""
    meta = sae.cfg.metadata.to_dict()
    details = meta.get("training_architecture_details")
    details = details if isinstance(details, Mapping) else {}
    widths = details.get("matryoshka_widths")
    card = Checkpoint(
        digest=digest_of(sae),
        name=name,
        architecture=str(meta.get("training_architecture") or sae.cfg.architecture()),
        d_in=sae.cfg.d_in,
        width=sae.cfg.d_sae,
        hook=_text(meta.get("hook_name")),
        layer=_whole(meta.get("layer")),
        model=_text(meta.get("model_name")),
        loss=_text(meta.get("reconstruction_loss")),
        k=_number(details.get("k", getattr(sae.cfg, "k", None))),
        l0=_number(meta.get("l0")),
        train_seed=_whole(meta.get("train_seed")),
        train_tokens=_whole(meta.get("train_tokens")),
        prefixes=tuple(w for w in widths if _whole(w)) if isinstance(widths, list) else (),
        decoder_row_norm=_number(_mean_row_norm(sae.W_dec.detach())),
        b_dec_norm=_number(float(sae.b_dec.detach().double().norm())) if hasattr(sae, "b_dec") else None,
        dtype=sae.cfg.dtype,
        hook_head_index=_whole(meta.get("hook_head_index")),
        release=_text(meta.get("release")),
        sae_id=_text(meta.get("sae_id")),
        objective=read_objective(meta),
        growth=read_growth(meta),
        recipe=read_recipe(meta),
    )
    return label(card, name, tags)


def _mean_row_norm(rows: Tensor) -> float:
    """In float64, which holds the norms of huge weights too, and in pieces, so that no wide copy of the whole is made."""
    import torch

    return float(torch.cat([part.double().norm(dim=-1) for part in rows.split(8192)]).mean())


def _text(value: Any) -> str | None:
    """A checkpoint's metadata may hold anything: what is of the wrong kind is as if it were not there."""
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return value if good else None


def _whole(value: Any) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63  # as tables hold them
    return value if good else None


def label(card: Checkpoint, name: str, tags: Mapping[str, Any] | None) -> Checkpoint:
    """A card under a name and with a suite's tags; tags that name a field of the card (loss, k, hook, ...) fill it."""
    tags = dict(tags or {})
    card = replace(card, name=name, tags=tags, **{k: v for k, v in tags.items() if k in _FROM_TAGS})
    if card.hook is None:
        return card  # its metadata may tell a layer and no more
    match = re.search(r"(?:^|\.)blocks\.(\d{1,9})(?:\.|$)", card.hook)
    return replace(card, layer=int(match[1]) if match else None)
