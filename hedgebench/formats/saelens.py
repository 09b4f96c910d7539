"""SAELens's own files, and what it loads by `release:sae_id`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.formats.files import one_line, positive, read_object, safetensors_header
from hedgebench.formats.layouts import PICKLED, find_layout, plain_files
from hedgebench.paths import is_folder, is_there
from hedgebench.spelling import nearest
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens import SAE


_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "apply_b_dec_to_input": (True, False),
    "reshape_activations": ("none", "hook_z"),
}
"""Settings of cfg.json that SAELens takes as they come."""


def load_folder(ref: str) -> SAE | None:
    """Load a folder that SAELens wrote: cfg.json and sae_weights.safetensors. The file of the weights names its folder.

    Returns None where `ref` is no existing path, or an SAE in another format.

    Raises:
        BadInput: The folder holds no readable SAE.
    """
    path, found = Path(ref), find_layout(ref)
    if not is_there(path):
        here, colon, _ = ref.partition(":")
        if colon and (any(sep in here for sep in ("./", "~")) or (is_folder(path.parent) and path.parent != Path())):
            raise BadInput(f"{ref}: no such folder")  # and no release to ask the hub for
        return None
    if found is not None and found.format != "saelens":
        return None
    path = path if found is None or path.is_dir() else found.folder
    config = _read_config(path)
    architecture = config.get("architecture", "standard")
    if not isinstance(architecture, str):
        raise BadInput(f"{path / 'cfg.json'}: architecture must be a text, found {architecture!r:.60}")
    if "coder" in architecture:
        raise BadInput(f"{path}: {architecture!r} maps one hook point to another; HedgeBench evaluates SAEs only")
    _check_header(path, config)
    from hedgebench.compat import prepare as prepare_imports

    prepare_imports()
    from sae_lens import SAE
    from sae_lens.registry import SAE_CLASS_REGISTRY

    if architecture not in SAE_CLASS_REGISTRY:
        raise BadInput(f"{path}: unknown architecture {architecture!r}{nearest(architecture, SAE_CLASS_REGISTRY)}")
    try:
        return SAE.load_from_disk(path, device="cpu")
    except Exception as error:
        # SAELens raises whatever its parsers raise; the user needs the line, not the trace.
        raise BadInput(f"{path}: SAELens cannot load it: {one_line(error)}") from error


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        hint = "give the folder that holds cfg.json, or the file of the weights"
        if path.suffix in PICKLED:
            hint = "pickled weights are not opened, but for dictionary_learning's ae.pt with its config.json"
        raise BadInput(f"{path}: not a folder; {hint}")
    file = path / "cfg.json"
    if not file.exists():
        if len(several := plain_files(path)) > 1:
            shown = ", ".join(f.name for f in several[:3]) + (", ..." if len(several) > 3 else "")
            raise BadInput(
                f"{path}: {len(several)} safetensors files ({shown}) and no cfg.json to tell which is the SAE; "
                f"give one of them by its path, such as {several[0]}"
            )
        raise BadInput(
            f"{path}: no cfg.json; a SAELens folder holds cfg.json and sae_weights.safetensors{_pickled(path)}"
        )
    config = read_object(file)
    positive(config, "d_in", file)
    d_sae, k = positive(config, "d_sae", file), config.get("k", 1)
    if config.get("architecture") == "topk" and ("k" not in config or not isinstance(k, int) or not 0 < k <= d_sae):
        raise BadInput(f"{file}: k of a topk SAE must be a whole number from 1 to d_sae, found {config.get('k')!r}")
    for key, known in _CHOICES.items():
        if key in config and config[key] not in known:
            raise BadInput(f"{file}: {key} must be {' or '.join(map(json.dumps, known))}, found {config[key]!r:.60}")
    if not isinstance(config.get("metadata", {}), dict):
        raise BadInput(f"{file}: metadata must be a JSON object, found {type(config['metadata']).__name__}")
    return config


def _check_header(path: Path, config: dict[str, Any]) -> None:
    """Compare the shapes in the weights' header with the config, before any tensor is read."""
    file = path / "sae_weights.safetensors"
    if not file.exists():
        raise BadInput(f"{path}: no sae_weights.safetensors{_pickled(path)}")
    d_in, d_sae = config["d_in"], config["d_sae"]
    wanted = {"W_enc": [d_in, d_sae], "W_dec": [d_sae, d_in], "b_enc": [d_sae], "b_dec": [d_in], "threshold": [d_sae]}
    shapes, _ = safetensors_header(file)
    for name in sorted(shapes.keys() & wanted.keys()):
        if (found := list(shapes[name])) != wanted[name]:
            raise BadInput(
                f"{file}: {name} has shape {found}, but cfg.json (d_in {d_in}, d_sae {d_sae}) asks for {wanted[name]}"
            )
    if "W_dec" not in shapes:
        raise BadInput(f"{file}: no W_dec in it; found {', '.join(sorted(shapes)) or 'nothing'}")


def _pickled(path: Path) -> str:
    found = sorted(p.name for p in path.iterdir() if p.suffix in PICKLED)
    return f"; {found[0]} is pickled and is not opened: convert it to safetensors" if found else ""


def load_release(ref: str) -> SAE | None:
    """Load `release:sae_id` (or `org/repository:folder` on the Hugging Face hub) through SAELens.

    Returns None where `ref` is not of that form.

    Raises:
        BadInput: Unknown release or id (with the nearest right one), or the hub cannot be reached.
    """
    release, colon, sae_id = ref.partition(":")
    if (
        not colon
        or not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", release)
        or not sae_id
        or sae_id.startswith("//")
        or is_there(ref)
    ):
        return None
    from hedgebench.compat import prepare as prepare_imports

    prepare_imports()
    from sae_lens import SAE
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    directory = get_pretrained_saes_directory()
    if "/" not in release:
        if release not in directory:
            raise BadInput(f"{ref}: SAELens knows no release {release!r}{nearest(release, directory)[:300]}")
        ids = directory[release].saes_map
        if sae_id not in ids:
            raise BadInput(f"release {release!r} has no SAE {sae_id!r}{nearest(sae_id, ids)[:300]}")
    try:
        sae = SAE.from_pretrained(release, sae_id, device="cpu")
    except Exception as error:
        raise BadInput(f"{ref}: SAELens cannot load it: {one_line(error)}") from error
    if "coder" in sae.cfg.architecture():
        raise BadInput(
            f"{ref}: {sae.cfg.architecture()!r} maps one hook point to another; HedgeBench evaluates SAEs only"
        )
    meta = sae.cfg.metadata
    meta.release, meta.sae_id = release, sae_id
    l0 = directory[release].expected_l0.get(sae_id) if release in directory else None
    if l0 and meta.get("l0") is None:  # SAELens's list says 0 where it does not know
        meta.l0 = l0
    return sae
