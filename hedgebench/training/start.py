"""The trained SAEs that growing series begin with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens import SAE
    from sae_lens.saes.sae import TrainingSAE

    from hedgebench.training.config import SAERecipe, TrainConfig


def read_starts(config: TrainConfig, recipes: Sequence[SAERecipe], d_in: int) -> dict[str, SAE[Any]]:
    """The trained SAEs that series begin with, by the name of the first member.

    Raises:
        BadInput: As `read_start` says.
    """
    return {
        recipe.name: read_start(recipe.grow.checkpoint, recipe, config, d_in)
        for recipe in recipes
        if recipe.grow and recipe.grow.checkpoint and recipe.width == recipe.grow.start and not recipe.reordered
    }


def read_start(folder: Path, recipe: SAERecipe, config: TrainConfig, d_in: int) -> SAE[Any]:
    """Read the SAE of a folder as one that a config can go on training.

    Args:
        folder: The SAE.
        recipe: The first member of the series.
        config: What all members have in common.
        d_in: Width of the activations.

    Raises:
        BadInput: It is of another architecture, shape, hook point or other levels, or normalises its input.
    """
    from hedgebench.checkpoint import describe
    from hedgebench.loaders import load_raw
    from hedgebench.training.saes import make_sae

    trained, ours = load_raw(folder), make_sae(config, recipe, d_in)
    card = describe(trained, name=folder.name)
    facts = {
        "architecture": (card.architecture, recipe.architecture),
        "hook point": (card.hook or config.hook, config.hook),
        "width": (card.width, recipe.width),
        "list of levels": (list(card.prefixes or recipe.levels), list(recipe.levels)),  # not every file tells them
        "size of its input": (card.d_in, d_in),
        "normalize_activations": (trained.cfg.normalize_activations, "none"),
        "apply_b_dec_to_input": (trained.cfg.apply_b_dec_to_input, ours.cfg.apply_b_dec_to_input),
    }
    for what, (found, wanted) in facts.items():
        if found != wanted:
            raise BadInput(f"{folder}: cannot be grown by this config: its {what} is {found!r}, not {wanted!r}")
    return trained


def start_from(sae: TrainingSAE[Any], trained: SAE[Any], scale: float) -> None:
    """Give an untrained SAE the weights of a trained one, in the scale that is trained in.

    Args:
        sae: Gets them.
        trained: From `read_start`.
        scale: What activations are multiplied with; on them it computes the scaled reconstruction.
    """
    weights, given = sae.state_dict(), trained.state_dict()
    factors = {"W_enc": 1 / scale, "W_dec": scale, "b_enc": 1.0, "b_dec": scale}
    for name, factor in factors.items():
        weights[name].copy_(given[name] * factor)
    if "topk_threshold" in weights:
        # in units of the pre-activation times the norm of the decoder row
        weights["topk_threshold"].copy_(given["threshold"].mean() * scale)
