"""From a reference to an SAE that can be trusted: the only place that loads, checks, folds, casts and freezes.

A reference is a path or `release:sae_id`. Loaders are functions `str -> sae_lens.SAE | None` (None: not mine), found by entry point; ours
are in `hedgebench.formats`. Files are untrusted: nothing but tensors is unpickled, and shapes are compared before memory is taken.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.compat import prepare as prepare_imports
from hedgebench.formats.files import one_line
from hedgebench.paths import is_there
from hedgebench.registry import find_loaders
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE

_HUGE = 1e15
"""A weight whose square, a million times over, is near the largest number of float32."""


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
    return prepare(load_raw(ref), device=device, dtype=dtype, in_place=True, name=str(ref))


def load_raw(ref: str | Path) -> SAE:
    """Load and check the SAE a reference names, as it is stored: not folded, on the CPU. Nobody else holds the object."""
    ref = str(ref)
    if not ref.strip():
        raise BadInput("an empty reference; give a path, or release:sae_id")
    loaders, broken = find_loaders()
    problems = [f"loader {b.name!r} of {b.package!r} is broken: {b.error}" for b in broken]
    for plugin in sorted(
        loaders.values(), key=lambda p: p.package == "hedgebench"
    ):  # others first: ours say no to what they do not know
        try:
            sae: SAE | None = plugin.object(ref)
            if sae is not None and not (hasattr(sae, "W_dec") and hasattr(sae, "cfg")):
                raise TypeError(f"it gave a {type(sae).__name__}, not a sae_lens.SAE")
        except BadInput as error:
            if problems:  # it may have been meant for one of these
                raise BadInput("; ".join([*problems, str(error)])) from error
            raise
        except (Exception, SystemExit) as error:
            # Somebody else's loader, perhaps on a reference that is not even its own.
            problems.append(f"loader {plugin.name!r} of {plugin.package!r} failed: {one_line(error)}")
            continue
        if sae is None:
            continue
        check_weights(sae, ref)
        return sae if plugin.package == "hedgebench" else inference_copy(sae)
    what = "no loader can read it" if is_there(ref) else "no such folder, and not of the form release:sae_id"
    raise BadInput("; ".join([f"{ref}: {what}", *problems]))


def prepare(
    sae: SAE, *, device: str = "cpu", dtype: str = "float32", in_place: bool = False, name: str = "this SAE"
) -> SAE:
    """A folded, cast and frozen copy of an SAE; the one given is left as it is, but for `in_place`: it is the one that comes back.

    Raises:
        BadInput: The object is not an SAE that SAELens can rebuild, or its weights pass the range of `dtype`; the line begins with `name`.
    """
    import torch

    ready = sae if in_place else inference_copy(sae)
    with torch.no_grad():
        wanted = getattr(torch, dtype)
        # the squares of huge weights pass the range of float32, and their norms would come out infinite
        huge = max(abs(float(extreme)) for extreme in ready.W_dec.aminmax()) > _HUGE
        ready.to(device=device, dtype=torch.float64 if huge else wanted)
        # SAELens refuses where folding would change which latents fire (TopK that does not rescale, matching pursuit): left as stored
        with suppress(NotImplementedError):
            ready.fold_W_dec_norm()
        ready.to(dtype=wanted)
    check_weights(ready, name, f"its weights are too large for {dtype}")
    ready.eval()
    ready.requires_grad_(False)
    return ready


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
    prepare_imports()
    from sae_lens import SAE

    sae = SAE.from_dict({**config, "device": "meta"})
    sae.process_state_dict_for_loading(weights)
    sae.load_state_dict(weights, assign=True)
    return sae.to(device="cpu")


def check_weights(sae: SAE, ref: str, why: str = "the checkpoint is damaged") -> None:
    """Refuse weights that are not finite.

    Raises:
        BadInput: Names the tensor and how many values are bad.
    """
    import torch

    for name, tensor in sae.state_dict().items():
        if not tensor.numel() or bool(torch.isfinite(torch.stack(tensor.detach().aminmax())).all()):
            continue  # NaN and infinity would show in the extremes: one pass, no mask
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise BadInput(f"{ref}: {bad} of {tensor.numel()} values of {name} are NaN or infinite; {why}")
