"""From a reference to an SAE that can be trusted: the only place that loads, checks, folds, casts and freezes.

A reference is a path or `release:sae_id`. Loaders are functions `str -> sae_lens.SAE | None` (None: not mine), found by entry point.
Files are untrusted: safetensors only, nothing is unpickled, and shapes are compared with the config before memory is taken.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.registry import find_loaders, nearest
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE

MAX_CONFIG_BYTES = 16 * 2**20
"""A cfg.json larger than this is refused unread."""
_PICKLED = {".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt"}


def load_sae(ref: str | Path, *, device: str = "cpu", dtype: str = "float32") -> SAE:
    """Load, check and prepare the SAE a reference names.

    Args:
        ref: A path, or `release:sae_id`.
        device: Where the weights go.
        dtype: What they are cast to; the numbers of an eval are computed in it.

    Returns:
        The SAE with unit decoder rows (where its architecture allows folding), frozen, in evaluation mode.

    Raises:
        BadInput: One line that says what is wrong with the reference or the file, and what to do.
    """
    return prepare(load_raw(ref), device=device, dtype=dtype)


def load_raw(ref: str | Path) -> SAE:
    """Load and check the SAE a reference names, as it is stored: not folded, on the CPU."""
    ref = str(ref)
    loaders, broken = find_loaders()
    problems = [f"loader {b.name!r} of {b.package!r} is broken: {b.error}" for b in broken]
    for plugin in sorted(
        loaders.values(), key=lambda p: p.package == "hedgebench"
    ):  # others first: ours say no to what they do not know
        try:
            sae: SAE | None = plugin.object(ref)
        except BadInput:
            raise
        except Exception as error:
            # Somebody else's loader, perhaps on a reference that is not even its own.
            problems.append(f"loader {plugin.name!r} of {plugin.package!r} failed: {_one_line(error)}")
            continue
        if sae is None:
            continue
        if not hasattr(sae, "W_dec") or not hasattr(sae, "cfg"):
            problems.append(
                f"loader {plugin.name!r} of {plugin.package!r} gave a {type(sae).__name__}, not a sae_lens.SAE"
            )
            continue
        check_weights(sae, ref)
        return sae
    raise BadInput("; ".join([f"{ref}: no such folder, and not of the form release:sae_id", *problems]))


def prepare(sae: SAE, *, device: str = "cpu", dtype: str = "float32") -> SAE:
    """A folded, cast and frozen copy of an SAE; the one given is left as it is.

    Raises:
        BadInput: The object is not an SAE that SAELens can rebuild.
    """
    import torch

    copy = inference_copy(sae)
    with torch.no_grad():
        copy.to(device=device, dtype=getattr(torch, dtype))
        # SAELens refuses where folding would change which latents fire (TopK that does not rescale, matching pursuit): left as stored
        with suppress(NotImplementedError):
            copy.fold_W_dec_norm()
    copy.eval()
    copy.requires_grad_(False)
    return copy


def inference_copy(sae: SAE) -> SAE:
    """An independent SAE with the same weights, in its inference form."""
    from sae_lens.saes.sae import SAE, TrainingSAE

    if not isinstance(sae, SAE):
        raise BadInput(f"expected a sae_lens.SAE or a reference, found {type(sae).__name__}")
    state = {name: t.detach().clone() for name, t in sae.state_dict().items()}
    if isinstance(sae, TrainingSAE):
        sae.process_state_dict_for_saving_inference(state)
        config = sae.cfg.get_inference_sae_cfg_dict()
    else:
        config = sae.cfg.to_dict()
    metadata = config["metadata"]
    config["metadata"] = dict(metadata if isinstance(metadata, dict) else metadata.to_dict())
    return build_sae(config, state)


def build_sae(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> SAE:
    """An SAE from its config and weights, on the CPU. No start is drawn first, so the global random state stays as it is."""
    from sae_lens import SAE

    sae = SAE.from_dict({**config, "device": "meta"})
    sae.process_state_dict_for_loading(weights)
    sae.load_state_dict(weights, assign=True)
    return sae.to(device="cpu")


def check_weights(sae: SAE, ref: str) -> None:
    """Refuse weights that are not finite.

    Raises:
        BadInput: Names the tensor and how many values are bad.
    """
    import torch

    for name, tensor in sae.state_dict().items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise BadInput(
                f"{ref}: {bad} of {tensor.numel()} values of {name} are NaN or infinite; the checkpoint is damaged"
            )


# --- SAELens folder -------------------------------------------------------------------------------------------------------------


def load_saelens_folder(ref: str) -> SAE | None:
    """Load a folder that SAELens wrote: cfg.json and sae_weights.safetensors.

    Returns None where `ref` is no existing path.

    Raises:
        BadInput: The folder holds no readable SAE.
    """
    path = Path(ref)
    if not path.exists():
        if (
            ":" not in ref
            or any(sep in ref.split(":", 1)[0] for sep in ("./", "~"))
            or (path.parent.is_dir() and path.parent != Path())
        ):
            raise BadInput(f"{ref}: no such folder")
        return None
    config = _read_config(path)
    architecture = str(config.get("architecture", "standard"))
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
        raise BadInput(f"{path}: SAELens cannot load it: {_one_line(error)}") from error


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        hint = "pickled weights are not opened" if path.suffix in _PICKLED else "give the folder that holds cfg.json"
        raise BadInput(f"{path}: not a folder; {hint}")
    file = path / "cfg.json"
    if not file.exists():
        pickled = sorted(p.name for p in path.iterdir() if p.suffix in _PICKLED)
        more = f"; {pickled[0]} is pickled and is not opened: convert it to safetensors" if pickled else ""
        raise BadInput(f"{path}: no cfg.json; a SAELens folder holds cfg.json and sae_weights.safetensors{more}")
    if file.stat().st_size > MAX_CONFIG_BYTES:
        raise BadInput(f"{file}: larger than {MAX_CONFIG_BYTES // 2**20} MiB; that is no SAE config")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file}: not valid JSON: {_one_line(error)}") from None
    if not isinstance(config, dict):
        raise BadInput(f"{file}: expected a JSON object, found {type(config).__name__}")
    for key in ("d_in", "d_sae"):
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{file}: {key} must be a whole number from 1, found {value!r}")
    k = config.get("k", 1)
    if config.get("architecture") == "topk" and (
        "k" not in config or not isinstance(k, int) or not 0 < k <= config["d_sae"]
    ):
        raise BadInput(f"{file}: k of a topk SAE must be a whole number from 1 to d_sae, found {config.get('k')!r}")
    if not isinstance(config.get("metadata", {}), dict):
        raise BadInput(f"{file}: metadata must be a JSON object, found {type(config['metadata']).__name__}")
    return config


def _check_header(path: Path, config: dict[str, Any]) -> None:
    """Compare the shapes in the weights' header with the config, before any tensor is read."""
    from safetensors import SafetensorError, safe_open

    file = path / "sae_weights.safetensors"
    if not file.exists():
        pickled = sorted(p.name for p in path.iterdir() if p.suffix in _PICKLED)
        more = f"; {pickled[0]} is pickled and is not opened: convert it to safetensors" if pickled else ""
        raise BadInput(f"{path}: no sae_weights.safetensors{more}")
    d_in, d_sae = config["d_in"], config["d_sae"]
    wanted = {"W_enc": [d_in, d_sae], "W_dec": [d_sae, d_in], "b_enc": [d_sae], "b_dec": [d_in], "threshold": [d_sae]}
    try:
        with safe_open(file, framework="numpy") as weights:
            names = set(weights.keys())
            for name in sorted(names & wanted.keys()):
                found, kind = list(weights.get_slice(name).get_shape()), weights.get_slice(name).get_dtype()
                if kind not in ("F16", "BF16", "F32", "F64"):
                    raise BadInput(f"{file}: {name} holds {kind} numbers; weights are floating-point")
                if found != wanted[name]:
                    raise BadInput(
                        f"{file}: {name} has shape {found}, but cfg.json (d_in {d_in}, d_sae {d_sae}) asks for {wanted[name]}"
                    )
    except (SafetensorError, OSError) as error:
        raise BadInput(
            f"{file}: not a whole safetensors file ({_one_line(error)}); download or copy it again"
        ) from None
    if "W_dec" not in names:
        raise BadInput(f"{file}: no W_dec in it; found {', '.join(sorted(names)) or 'nothing'}")


# --- SAELens release -----------------------------------------------------------------------------------------------------------


def load_saelens_release(ref: str) -> SAE | None:
    """Load `release:sae_id` (or `org/repository:folder` on the Hugging Face hub) through SAELens.

    Returns None where `ref` is not of that form.

    Raises:
        BadInput: Unknown release or id (with the nearest right one), or the hub cannot be reached.
    """
    release, colon, sae_id = ref.partition(":")
    if not colon or not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", release) or not sae_id:
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
            raise BadInput(f"{ref}: release {release!r} has no SAE {sae_id!r}{nearest(sae_id, ids)[:300]}")
    try:
        sae = SAE.from_pretrained(release, sae_id, device="cpu")
    except Exception as error:
        raise BadInput(f"{ref}: SAELens cannot load it: {_one_line(error)}") from error
    if "coder" in sae.cfg.architecture():
        raise BadInput(
            f"{ref}: {sae.cfg.architecture()!r} maps one hook point to another; HedgeBench evaluates SAEs only"
        )
    sae.cfg.metadata.release, sae.cfg.metadata.sae_id = release, sae_id
    return sae


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
