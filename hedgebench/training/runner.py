"""Train the SAEs of a config in one pass of the model over the text, and save each as a SAELens inference checkpoint."""

from __future__ import annotations

import contextlib
import json
import logging
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.activations import check_context
from hedgebench.registry import nearest
from hedgebench.training.config import SAERecipe, TrainConfig, read_config
from hedgebench.training.saving import is_done, save_all
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens.saes.sae import TrainingSAE
    from transformer_lens import HookedTransformer

logger = logging.getLogger(__name__)

_NEVER_CHANGES = ("saes", "sequences_per_pass", "save_dtype")


def train(config_path: str | Path, out: str | Path, *, device: str = "cpu") -> list[Path]:
    """Train every SAE of a config that is not in `out` yet.

    Args:
        config_path: The YAML file, see `hedgebench.training.config`.
        out: Folder that gets one SAELens folder per SAE.
        device: Where the model and the SAEs run.

    Returns:
        The folder of every SAE of the config, in its order.

    Raises:
        BadInput: A mistake in the config, a folder of that name holds something else, or weights that cannot be saved.
    """
    config, out = read_config(config_path), Path(out)
    folders = {recipe.name: out / recipe.name for recipe in config.saes}
    todo = [recipe for recipe in config.saes if not is_done(folders[recipe.name], _settings(config, recipe))]
    if todo:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot write to {out}: {error.strerror}") from None
        saes = train_saes(config, todo, device=device)
        save_all({folders[name]: sae for name, sae in saes.items()}, config.save_dtype)
    return list(folders.values())


def train_saes(config: TrainConfig, recipes: list[SAERecipe], *, device: str = "cpu") -> dict[str, TrainingSAE]:
    """Train some SAEs of a config in memory. Global random states are left as found.

    Returns:
        The trained SAEs by name, their activation scale folded in.

    Raises:
        BadInput: Unknown model, hook point or data.
    """
    from hedgebench.data import open_text
    from hedgebench.models import load_model
    from hedgebench.training.one_pass import run_one_pass

    model = load_model(config.model, device=device)
    check_context(model, config.context_size)
    d_in = _width_of_hook(model, config.hook)
    text = open_text(config.data, "train")
    logger.info("training %d SAEs on %d tokens of %s", len(recipes), config.tokens, text.identity)
    saes = {recipe.name: make_sae(config, recipe, d_in) for recipe in recipes}
    for recipe in recipes:
        metadata = saes[recipe.name].cfg.metadata
        metadata.train_seed = recipe.train_seed
        metadata.data_seed = config.data_seed
        metadata.train_tokens = config.steps * config.batch_tokens
        metadata.train_text = text.identity
        metadata.train_settings = _settings(config, recipe)
    with _globals_kept(config.data_seed):
        return run_one_pass(config, saes, model, text.dataset(config.data_seed), device)


def make_sae(config: TrainConfig, recipe: SAERecipe, d_in: int) -> TrainingSAE:
    """The untrained SAE of a recipe, on the CPU. Its weights depend on `train_seed`, the shape and nothing else."""
    import torch

    from hedgebench.training.saes import TRAINING_CLASSES

    special: dict[str, dict[str, Any]] = {
        "batchtopk": {"k": recipe.k, "topk_threshold_lr": config.threshold_lr},
        "matryoshka_batchtopk": {
            "k": recipe.k,
            "topk_threshold_lr": config.threshold_lr,
            "matryoshka_widths": list(recipe.levels),
            "balance": recipe.balance,
            "detach_levels": recipe.detach,
        },
        "topk": {"k": int(recipe.k)},
        "standard": {"l1_coefficient": recipe.l1, "l1_warm_up_steps": int(recipe.l1_warm_up * config.steps)},
    }
    sae_class, config_class = TRAINING_CLASSES[recipe.architecture]
    sae_config = config_class(
        d_in=d_in,
        d_sae=recipe.width,
        normalize_activations="expected_average_only_in" if config.normalize else "none",
        reshape_activations="hook_z" if config.hook.endswith("hook_z") else "none",
        reconstruction_loss=recipe.loss,
        snap_at=recipe.snap_at,
        total_steps=config.steps,
        **special[recipe.architecture],
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(recipe.train_seed)
        sae: TrainingSAE = sae_class(sae_config)
    return sae


def _width_of_hook(model: HookedTransformer, hook: str) -> int:
    """Size of the activations at a hook point, heads flattened.

    Raises:
        BadInput: The model has no such hook point, or no vector per token there.
    """
    import torch

    if hook not in model.hook_dict:
        raise BadInput(f"{model.cfg.model_name} has no hook point {hook!r}{nearest(hook, model.hook_dict)}")
    tokens = torch.zeros(1, min(7, model.cfg.n_ctx), dtype=torch.long)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=[hook])
    if cache[hook].shape[:2] != tokens.shape:
        raise BadInput(f"{hook!r} holds no vector per token; an SAE needs one, such as blocks.0.hook_resid_post")
    return int(cache[hook][0, 0].numel())


@contextlib.contextmanager
def _globals_kept(seed: int) -> Iterator[None]:
    """Seed the generator that SAELens draws the data order from, and put all global ones back afterwards."""
    import numpy as np
    import torch

    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is the point
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad():
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _settings(config: TrainConfig, recipe: SAERecipe) -> dict[str, Any]:
    """All that decides the weights of one SAE, as plain JSON data."""
    shared = {key: value for key, value in asdict(config).items() if key not in _NEVER_CHANGES}
    return json.loads(json.dumps({**shared, **asdict(recipe)}))  # type: ignore[no-any-return]
