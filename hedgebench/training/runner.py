"""Train the SAEs of a config in one pass of the model over the text, and save each as a SAELens inference checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.activations import check_context
from hedgebench.memory import check_memory
from hedgebench.places import check_device
from hedgebench.spelling import nearest
from hedgebench.training.config import SAERecipe, TrainConfig, read_config
from hedgebench.training.saving import is_done, save_all
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens.saes.sae import TrainingSAE
    from transformer_lens import HookedTransformer

    from hedgebench.data import TextSource

logger = logging.getLogger(__name__)

_NEVER_CHANGES = ("saes", "sequences_per_pass", "saes_at_once", "save_dtype")


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
    check_device(device)
    _check_memory(config.saes[: config.saes_at_once or None], 1, device)  # at the least, before the model is loaded
    folders = {recipe.name: out / recipe.name for recipe in config.saes}
    todo = [recipe for recipe in config.saes if not is_done(folders[recipe.name], _settings(config, recipe))]
    if todo:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot write to {out}: {error.strerror}") from None
    plain = [recipe for recipe in todo if recipe.grow is None]
    while plain:
        together, plain = plain[: config.saes_at_once or None], plain[config.saes_at_once or len(plain) :]
        saes = train_saes(config, together, device=device)
        save_all({folders[name]: sae for name, sae in saes.items()}, config.save_dtype)
    if left := {recipe.name for recipe in todo if recipe.grow is not None}:
        grow_saes(config, left, out, device=device)
    return list(folders.values())


def train_saes(config: TrainConfig, recipes: list[SAERecipe], *, device: str = "cpu") -> dict[str, TrainingSAE]:
    """Train some SAEs of a config in memory. Global random states are left as found.

    Returns:
        The trained SAEs by name, their activation scale folded in.

    Raises:
        BadInput: Unknown model, hook point or data.
    """
    from hedgebench.models import model_revision
    from hedgebench.training.one_pass import run_one_pass
    from hedgebench.training.saes import make_sae
    from hedgebench.training.stream import Stream

    model, text, d_in = _opened(config, device)
    _check_memory(recipes, d_in, device)
    logger.info("training %d SAEs on %d tokens of %s", len(recipes), config.tokens, text.identity)
    saes = {recipe.name: make_sae(config, recipe, d_in) for recipe in recipes}
    for recipe in recipes:
        _tell(saes[recipe.name], config, recipe, text)
    stream = None
    if 0 < config.saes_at_once < len(config.saes):
        stream = Stream(config, model_revision(config.model), text.identity, d_in)
    with _globals_kept(config.data_seed):
        return run_one_pass(config, saes, model, text.dataset(config.data_seed), device, stream)


def grow_saes(config: TrainConfig, names: set[str], out: Path, *, device: str = "cpu") -> None:
    """Train the growing series of a config together, and save those of their SAEs that `names` has. Global random states are left as found.

    A run that was broken off goes on from its state in `out`, which is deleted when all is saved.

    Raises:
        BadInput: Unknown model, hook point or data, an SAE to start from that this config cannot go on with, too little text, or nothing can be written.
    """
    from hedgebench.checkpoint import describe
    from hedgebench.loaders import load_raw
    from hedgebench.models import model_revision
    from hedgebench.training.bank import Bank
    from hedgebench.training.growing import Nursery
    from hedgebench.training.start import read_starts

    recipes = [recipe for recipe in config.saes if recipe.grow is not None]
    model, text, d_in = _opened(config, device)
    _check_memory(recipes, d_in, device)
    # before the model runs for minutes: what cannot be grown is said at once
    starts = read_starts(config, recipes, d_in)
    revision = model_revision(config.model)
    # named by all that decides the weights: with another text or model under the same name, nothing is gone on from
    key = json.dumps([text.identity, revision, *(_settings(config, recipe) for recipe in recipes)], sort_keys=True)
    state = out / f".growing-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt"
    with _globals_kept(config.data_seed):
        bank = Bank(config, model, text, revision, d_in)
        bank.fill()
        saes = Nursery(config, recipes, bank, d_in, device, starts).train(state)
    for recipe in recipes:
        if recipe.name not in names:
            continue
        sae, folder = saes[recipe.name], out / recipe.name
        _tell(sae, config, recipe, text)
        _tell_as_sae_lens(sae, config)
        growth = sae.cfg.metadata.growth
        for role in ("control", "second_control") if growth else ():  # saved before: recipes come in the order of width
            growth[f"{role}_digest"] = describe(load_raw(out / growth[role]), name="").digest if growth[role] else None
        save_all({folder: sae}, config.save_dtype)
    state.unlink(missing_ok=True)


def _opened(config: TrainConfig, device: str) -> tuple[HookedTransformer, TextSource, int]:
    """The model and the text of a config, and the width of the activations at its hook point."""
    from hedgebench.data import open_text
    from hedgebench.models import check_model_name, load_model

    check_model_name(config.model)
    text = open_text(config.data, "train")
    model = load_model(config.model, device=device)
    check_context(model, config.context_size)
    return model, text, _width_of_hook(model, config.hook)


def _check_memory(recipes: Sequence[SAERecipe], d_in: int, device: str) -> None:
    """Refuse SAEs that do not fit: two matrices in float32 each, with their gradients and Adam's two moments.

    Raises:
        BadInput: They do not.
    """
    needed = 4 * 4 * 2 * d_in * sum(recipe.width for recipe in recipes)
    check_memory("training these SAEs at once", needed, "train fewer or narrower ones in one config", device)


def _tell(sae: TrainingSAE, config: TrainConfig, recipe: SAERecipe, text: TextSource) -> None:
    """Write into an SAE's metadata how it was trained."""
    metadata = sae.cfg.metadata
    metadata.train_seed = recipe.train_seed
    metadata.data_seed = config.data_seed
    metadata.train_tokens = config.steps * config.batch_tokens
    metadata.train_text = text.identity
    metadata.train_settings = _settings(config, recipe)


def _tell_as_sae_lens(sae: TrainingSAE, config: TrainConfig) -> None:
    """What SAELens's own runner writes into an SAE's metadata, for SAEs that it did not run."""
    metadata = sae.cfg.metadata
    metadata.model_name, metadata.model_class_name = config.model, "HookedTransformer"
    metadata.model_from_pretrained_kwargs = {}
    metadata.hook_name, metadata.hook_head_index = config.hook, None
    metadata.dataset_path, metadata.context_size, metadata.seqpos_slice = config.data, config.context_size, (None,)
    metadata.prepend_bos, metadata.sequence_separator_token = True, "bos"
    metadata.exclude_special_tokens, metadata.disable_concat_sequences = True, False


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
    own = asdict(recipe)
    if recipe.grow is None:
        del own["grow"], own["reordered"]
    else:
        del own["grow"]["checkpoint"]  # its digest says what it is
        if recipe.grow.recipe is None:
            del own["grow"]["recipe"]
        own["sequences_per_pass"] = config.sequences_per_pass  # second controls take whole passes in another order
    return json.loads(json.dumps({**shared, **own}))  # type: ignore[no-any-return]
