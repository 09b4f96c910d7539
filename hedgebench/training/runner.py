"""Train the SAEs of a config in one pass of the model over the text, and save each as a SAELens inference checkpoint."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import random
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.registry import nearest
from hedgebench.training.config import SAERecipe, TrainConfig, read_config
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens.saes.sae import TrainingSAE
    from transformer_lens import HookedTransformer

logger = logging.getLogger(__name__)

_MATRICES = ("W_enc", "W_dec")
"""What `save_dtype` is about: biases and thresholds take no room and stay exact."""
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
        BadInput: A mistake in the config, or a folder of that name holds something else.
    """
    config, out = read_config(config_path), Path(out)
    folders = {recipe.name: out / recipe.name for recipe in config.saes}
    todo = [recipe for recipe in config.saes if not _is_done(folders[recipe.name], _settings(config, recipe))]
    if todo:
        saes = train_saes(config, todo, device=device)
        _save_all({folders[name]: sae for name, sae in saes.items()}, config.save_dtype)
    return list(folders.values())


def train_saes(config: TrainConfig, recipes: list[SAERecipe], *, device: str = "cpu") -> dict[str, TrainingSAE]:
    """Train some SAEs of a config in memory. Global random states and signal handlers are left as found.

    Returns:
        The trained SAEs by name, their activation scale folded in.

    Raises:
        BadInput: Unknown model, hook point or data.
    """
    from hedgebench.data import open_text
    from hedgebench.models import load_model

    model = load_model(config.model, device=device)
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
        return _run(config, saes, model, text.dataset(config.data_seed), device)


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


def _run(
    config: TrainConfig, saes: dict[str, TrainingSAE], model: HookedTransformer, dataset: Any, device: str
) -> dict[str, TrainingSAE]:
    from sae_lens import LoggingConfig, MultiSAETrainingRunner, MultiSAETrainingRunnerConfig
    from sae_lens.training._interruption import InterruptedException

    runner_config = MultiSAETrainingRunnerConfig(
        saes={name: sae.cfg for name, sae in saes.items()},
        hook_names=config.hook,
        model_name=config.model,
        dataset_path=config.data,
        context_size=config.context_size,
        n_batches_in_buffer=config.buffer_sequences,
        training_tokens=config.steps * config.batch_tokens,
        store_batch_size_prompts=config.sequences_per_pass,
        train_batch_size_tokens=config.batch_tokens,
        # The model runs in a thread of its own, half a buffer ahead: that much is refilled at once. This thread alone draws random
        # numbers, so the order stays that of the seed.
        prefetch_llm_batches=max(1, config.buffer_sequences * config.context_size // (2 * config.batch_tokens)),
        lr=config.lr,
        lr_warm_up_steps=int(config.lr_warm_up * config.steps),
        lr_decay_steps=int(config.lr_decay * config.steps),
        dead_feature_window=math.ceil(config.dead_after_tokens / config.batch_tokens),
        feature_sampling_window=max(1, config.steps // 10),
        n_batches_for_norm_estimate=config.norm_batches,
        # The first token of a sequence has a norm several times that of any other: it would be most of the loss.
        exclude_special_tokens=True,
        model_from_pretrained_kwargs={},
        device=device,
        logger=LoggingConfig(log_to_wandb=False),
        checkpoint_path=None,
        output_path=None,
    )
    with warnings.catch_warnings():
        # Texts are not counted in tokens, and are tokenised on the way: neither is a fault.
        warnings.filterwarnings("ignore", message="The training dataset contains fewer samples")
        warnings.filterwarnings("ignore", message="Dataset is not tokenized")
        runner = MultiSAETrainingRunner(
            runner_config, override_dataset=dataset, override_model=model, override_saes=saes
        )
    try:
        trained: dict[str, TrainingSAE] = runner.run()
        return trained
    except InterruptedException:
        raise KeyboardInterrupt from None


def _width_of_hook(model: HookedTransformer, hook: str) -> int:
    """Size of the activations at a hook point, heads flattened.

    Raises:
        BadInput: The model has no such hook point.
    """
    import torch

    if hook not in model.hook_dict:
        raise BadInput(f"{model.cfg.model_name} has no hook point {hook!r}{nearest(hook, model.hook_dict)}")
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.zeros(1, 2, dtype=torch.long), names_filter=[hook])
    return int(cache[hook][0, 0].numel())


@contextlib.contextmanager
def _globals_kept(seed: int) -> Iterator[None]:
    """Seed the generators that SAELens draws the data order from; put them, and the signal handlers it replaces, back afterwards."""
    import numpy as np
    import torch

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is the point
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad():
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _settings(config: TrainConfig, recipe: SAERecipe) -> dict[str, Any]:
    """All that decides the weights of one SAE, as plain JSON data."""
    shared = {key: value for key, value in asdict(config).items() if key not in _NEVER_CHANGES}
    return json.loads(json.dumps({**shared, **asdict(recipe)}))  # type: ignore[no-any-return]


def _is_done(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether `folder` holds the SAE of these settings.

    Raises:
        BadInput: It holds something else.
    """
    if not folder.exists():
        return False
    try:
        metadata = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))["metadata"]
        found = metadata["train_settings"]
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(f"{folder} exists and was not made by this program; remove it or choose another --out") from None
    if found != settings:
        changed = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
        raise BadInput(f"{folder} was trained with another {changed[0]!r}; remove it or choose another --out")
    logger.info("%s: already trained, skipped", folder)
    return True


def _save_all(saes: dict[Path, TrainingSAE], save_dtype: str) -> None:
    """Write every SAE beside its place and then rename it: a folder that exists is whole."""
    with contextlib.ExitStack() as stack:
        written = {}
        for folder, sae in saes.items():
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)
            written[folder] = temporary / folder.name
            save_sae(sae, written[folder], save_dtype)
        for folder, temporary in written.items():
            temporary.replace(folder)


def save_sae(sae: TrainingSAE, folder: Path, save_dtype: str = "float32") -> None:
    """Write a trained SAE as a SAELens inference checkpoint that loads as float32 on the CPU.

    Args:
        sae: The SAE; not changed.
        folder: New folder for `cfg.json` and `sae_weights.safetensors`.
        save_dtype: Precision of the encoder and decoder matrices in the file: `float32` or `float16`.

    Raises:
        ValueError: A weight is NaN, infinite or too large for that precision.
    """
    import torch
    from safetensors.torch import load_file, save_file

    weights_path, config_path = sae.save_inference_model(folder)
    weights = load_file(weights_path)
    for name in _MATRICES:
        weights[name] = weights[name].to(getattr(torch, save_dtype))
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(
            f"{folder.name}: {', '.join(bad)} holds values that are NaN, infinite or too large for {save_dtype}"
        )
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, weights_path)
    config = json.loads(config_path.read_text(encoding="utf-8")) | {"device": "cpu", "dtype": "float32"}
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
