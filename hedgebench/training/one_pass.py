"""SAELens's multi-SAE runner as HedgeBench calls it: many SAEs learn from one pass of the model over the text."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sae_lens import LoggingConfig, MultiSAETrainingRunner, MultiSAETrainingRunnerConfig
from sae_lens import logger as sae_lens_logger
from sae_lens.saes.sae import TrainingSAE
from sae_lens.training.multi_sae_trainer import MultiSAETrainer

from hedgebench.training.config import TrainConfig

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

    from hedgebench.training.stream import Stream


def run_one_pass(
    config: TrainConfig,
    saes: Mapping[str, TrainingSAE],
    model: HookedTransformer,
    dataset: Any,
    device: str,
    stream: Stream | None = None,
) -> dict[str, TrainingSAE]:
    """Train `saes` in place and return them by name, their activation scale folded in.

    The order of the data is drawn from torch's global generator.

    Args:
        config: What is trained.
        saes: The SAEs.
        model: The language model; it does not run where the stream is kept.
        dataset: The text.
        device: Where they run.
        stream: Where the batches are kept, or will be; None: nowhere.
    """
    half_a_buffer = max(1, config.buffer_sequences * config.context_size // (2 * config.batch_tokens))
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
        # The model runs in a thread of its own, half a buffer ahead: that much is refilled at once. That thread alone draws random
        # numbers, so the order stays that of the seed.
        prefetch_llm_batches=0 if stream is not None and stream.is_kept else half_a_buffer,
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
    with _without_needless_warnings():
        runner = _Runner(runner_config, override_dataset=dataset, override_model=model, override_saes=dict(saes))
        runner.stream = stream
    trained: dict[str, TrainingSAE] = runner.run()
    return trained


class _Runner(MultiSAETrainingRunner):
    """Without upstream's signal handlers, which only a main thread may set, and with one progress bar, which moves at every step."""

    stream: Stream | None = None
    """Where the batches are kept, or will be."""

    def _run_with_interruption_handling(self, trainer: Any) -> Any:
        trainer._update_pbar = lambda _outputs, bar: bar.update(self.cfg.train_batch_size_tokens)
        if self.stream is not None:
            (hook,) = set(trainer.hook_names.values())
            made = (batch[hook] for batch in trainer.data_provider)
            batches = self.stream.kept() if self.stream.is_kept else self.stream.keep(made)
            trainer.data_provider = ({hook: batch.to(self.cfg.device)} for batch in batches)
        _share_scale(trainer)
        return trainer.fit()


def _share_scale(trainer: MultiSAETrainer) -> None:
    """Estimate the activation scale as upstream does, but once: every SAE here reads the same hook point."""
    first, *others = [one.activation_scaler for one in trainer.trainers.values()]
    sae, hook = next(iter(trainer.saes.values())), next(iter(trainer.hook_names.values()))
    if sae.cfg.normalize_activations == "expected_average_only_in":
        batches = (batch[hook] for batch in trainer.data_provider)
        first.estimate_scaling_factor(sae.cfg.d_in, batches, trainer.cfg.n_batches_for_norm_estimate)
        for scaler in others:
            scaler.scaling_factor = first.scaling_factor


@contextlib.contextmanager
def _without_needless_warnings() -> Iterator[None]:
    """Keep back what SAELens warns of and is meant: our own model and data, and texts, which are not counted in tokens."""

    def is_needed(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(("override_dataset overrides", "override_model overrides"))

    sae_lens_logger.addFilter(is_needed)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The training dataset contains fewer samples")
            warnings.filterwarnings("ignore", message="Dataset is not tokenized")
            yield
    finally:
        sae_lens_logger.removeFilter(is_needed)
