"""Trained toy SAEs as ordinary SAELens checkpoints, with the world they were trained on beside them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hedgebench.toy.trainer import Trained
from hedgebench.types import BadInput
from hedgebench.world_files import WORLD_FOLDER

if TYPE_CHECKING:
    from sae_lens import SAE

_SAVED_AS = {"topk": "topk", "batchtopk": "jumprelu", "matryoshka_batchtopk": "jumprelu"}
"""Inference architecture; of all others `standard`."""


def to_sae(trained: Trained) -> SAE:
    """The SAE as SAELens holds it for inference, float32 on the CPU.

    As SAELens saves them, TopK SAEs have their decoder norms folded into the encoder, and BatchTopK becomes JumpReLU at its running threshold.

    Raises:
        BadInput: A weight is NaN or infinite.
    """
    from sae_lens import SAE

    recipe = trained.run.recipe
    weights = {
        name: getattr(trained, name).float().clone(memory_format=torch.contiguous_format)
        for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    }
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise BadInput(
            f"toy SAE on {trained.run.world.name!r}: {', '.join(bad)} holds NaN or infinite values: training diverged, lower 'lr'"
        )
    config: dict[str, Any] = {
        "architecture": _SAVED_AS.get(recipe.architecture, "standard"),
        "d_in": trained.run.world.d_in,
        "d_sae": recipe.width,
        "metadata": _metadata(trained),
    }
    if "topk" in recipe.architecture:
        norms = weights["W_dec"].norm(dim=1).clamp(min=1e-8)
        weights["W_dec"] /= norms[:, None]
        weights["W_enc"] *= norms
        weights["b_enc"] *= norms
    if trained.threshold is not None:
        weights["threshold"] = torch.ones(recipe.width) * float(trained.threshold)
    if recipe.architecture == "topk":
        config["k"] = int(recipe.k)
    sae = SAE.from_dict({**config, "device": "meta"})  # no start is drawn: the global random state stays as it is
    sae.load_state_dict(weights, assign=True)
    return sae.to(device="cpu").eval().requires_grad_(False)


def save(trained: Trained, folder: Path) -> None:
    """Write a SAELens folder with `world/` in it; a folder that exists is whole.

    Raises:
        BadInput: The SAE's weights are not finite, the folder exists, or it cannot be written.
    """
    if folder.exists():
        raise BadInput(f"{folder} exists: remove it or choose another place")
    sae = to_sae(trained)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    try:
        sae.save_model(part)
        trained.run.world.save(part / WORLD_FOLDER)
        part.rename(folder)
    except OSError as error:
        raise BadInput(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _metadata(trained: Trained) -> dict[str, Any]:
    """What the SAE says of itself, under the names that `hedgebench.training` and SAELens use."""
    world, recipe, train_seed = trained.run
    details: dict[str, Any] = {}
    if recipe.k:
        details["k"] = recipe.k
    if recipe.levels:
        details |= {
            "matryoshka_widths": list(recipe.levels),
            "balance": recipe.balance,
            "detach_levels": recipe.detach,
        }
    if "standard" in recipe.architecture:
        details["l1_coefficient"] = recipe.l1
    return {
        "training_architecture": recipe.architecture,
        "training_architecture_details": details,
        "reconstruction_loss": recipe.loss,
        "snap_at": recipe.snap_at if recipe.loss == "snap" else None,
        "loss_rescale": trained.loss_rescale,
        "train_seed": train_seed,
        "train_tokens": recipe.samples,
        "l0": trained.l0,
        "toy_world": world.name,
        "toy_recipe": recipe.to_dict(),
    }
