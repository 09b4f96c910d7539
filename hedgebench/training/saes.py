"""SAELens training classes with a choice of reconstruction loss: BatchTopK, Matryoshka BatchTopK, TopK and standard L1.

Each is SAELens's own class with `reconstruction_loss`, registered with SAELens as `hedgebench_<its name>`; with `mse` every step is the same as upstream's.
They are saved as the inference architecture SAELens knows, so plain `SAE.load_from_disk` reads them. Their metadata keep SAELens's own architecture name.

What is rescaled: beside `l2`, the auxiliary loss (or the L1 penalty) is multiplied by mean l2 / mean mse of the outermost reconstruction, which keeps its
weight relative to the reconstruction term. `snap` follows the running means while it trains on mse, and freezes the ratio at the switch. `l2` has no mse
part: it applies the running ratio from the first step and freezes it at the same step as `snap` would. The frozen ratio is `metadata.loss_rescale`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sae_lens.registry import register_sae_training_class
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.matryoshka_batchtopk_sae import MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig
from sae_lens.saes.sae import TrainingSAE, TrainingSAEConfig, TrainStepInput, TrainStepOutput
from sae_lens.saes.standard_sae import StandardSAEConfig, StandardTrainingSAE, StandardTrainingSAEConfig
from sae_lens.saes.topk_sae import TopKSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
from torch import Tensor

from hedgebench.training.config import SAERecipe, TrainConfig
from hedgebench.training.losses import LOSSES, LossName, LossRatio, LossSchedule, l2_error, squared_error


@dataclass(kw_only=True)
class _WithLoss(TrainingSAEConfig):
    """Fields that choose the reconstruction loss; mixed into SAELens's configs."""

    reconstruction_loss: LossName = "mse"
    snap_at: float = 0.5
    """Fraction of training at which `snap` switches, and at which the rescaling of the other terms is frozen."""
    total_steps: int = 0
    """Length of training, needed by `snap` and `l2`."""
    rescale_with_loss: bool = True
    """Keep the weight of the auxiliary loss or L1 penalty relative to the reconstruction term when that is `l2`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reconstruction_loss not in LOSSES:
            raise ValueError(
                f"reconstruction_loss must be one of {', '.join(LOSSES)}, found {self.reconstruction_loss!r}"
            )
        if not 0 < self.snap_at < 1:
            raise ValueError(f"snap_at is a fraction of training between 0 and 1, found {self.snap_at}")
        if self.reconstruction_loss != "mse" and self.total_steps < 1:
            raise ValueError(f"{self.reconstruction_loss} needs total_steps, the number of training steps")

    @classmethod
    def architecture(cls) -> str:
        return "hedgebench_" + cls.plain_architecture()

    @classmethod
    def plain_architecture(cls) -> str:
        """SAELens's own name for this architecture."""
        return str(super().architecture())

    @property
    def schedule(self) -> LossSchedule:
        """When which loss applies."""
        return LossSchedule(self.reconstruction_loss, self.snap_at, self.total_steps)

    def add_training_info_to_metadata(self) -> None:
        super().add_training_info_to_metadata()
        for key, value in self._training_info().items():
            self.metadata[key] = value

    def _metadata_with_training_info(self) -> dict[str, Any]:
        return {**super()._metadata_with_training_info(), **self._training_info()}

    def _training_info(self) -> dict[str, Any]:
        return {
            "training_architecture": self.plain_architecture(),
            "reconstruction_loss": self.reconstruction_loss,
            "snap_at": self.snap_at if self.reconstruction_loss == "snap" else None,
        }


class _TrainsOnLoss(TrainingSAE):
    """What the loss fields do in a training step; mixed into SAELens's training classes."""

    def __init__(self, cfg: Any, use_error_term: bool = False) -> None:
        super().__init__(cfg, use_error_term)
        self.loss_ratio = LossRatio()
        self.cfg.metadata.loss_rescale = 1.0

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        self._choose_loss(step_input.n_training_steps)
        return super().training_forward_pass(step_input)

    def calculate_aux_loss(
        self, step_input: TrainStepInput, feature_acts: Tensor, hidden_pre: Tensor, sae_out: Tensor
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = super().calculate_aux_loss(step_input, feature_acts, hidden_pre, sae_out)
        schedule, step = self.cfg.schedule, step_input.n_training_steps
        if schedule.loss == "mse" or not self.cfg.rescale_with_loss:
            return losses
        if step < schedule.switch_step or not self.loss_ratio.measured:
            self.loss_ratio.update(sae_out, step_input.sae_in)
        if not schedule.is_l2(step):
            return losses
        rescale = self.loss_ratio.value
        self.cfg.metadata.loss_rescale = rescale
        return {name: loss * rescale for name, loss in losses.items()}

    def _choose_loss(self, step: int) -> None:
        # SAELens sends every reconstruction term, inner Matryoshka levels included, through this one function.
        self.mse_loss_fn = l2_error if self.cfg.schedule.is_l2(step) else squared_error


@dataclass
class HedgeBatchTopKConfig(_WithLoss, BatchTopKTrainingSAEConfig):
    """BatchTopK: on average k latents per sample."""


class HedgeBatchTopK(_TrainsOnLoss, BatchTopKTrainingSAE):
    """BatchTopK on a chosen reconstruction loss."""


@dataclass
class HedgeMatryoshkaConfig(_WithLoss, MatryoshkaBatchTopKTrainingSAEConfig):
    """Matryoshka BatchTopK whose levels can be balanced (arXiv 2505.11756, section on balanced Matryoshka SAEs)."""

    balance: float = 1.0
    """β: level m of n counts β^(n-m) times, the outermost once. 0 is a plain BatchTopK SAE, 1 the plain Matryoshka SAE."""
    detach_levels: bool = False
    """A latent learns from the smallest level that contains it alone, the limit of large β: what the smaller levels reconstruct enters a larger
    level as a constant. The decoder bias, as a term of the reconstruction, belongs to the innermost level."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balance < 0:
            raise ValueError(f"balance is a factor from 0 up, found {self.balance}")

    def level_multipliers(self) -> list[float]:
        """Multiplier of every level's reconstruction loss, innermost first."""
        n = len(self.matryoshka_widths)
        return [1.0 if self.detach_levels else float(self.balance ** (n - m)) for m in range(1, n + 1)]


class HedgeMatryoshka(_TrainsOnLoss, MatryoshkaBatchTopKTrainingSAE):
    """Matryoshka BatchTopK on a chosen reconstruction loss, in every level, with a multiplier per level."""

    def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """One step's losses: the outermost level's, and every inner level's times its multiplier."""
        self._choose_loss(step_input.n_training_steps)
        output = BatchTopKTrainingSAE.training_forward_pass(self, step_input)  # the outermost level, once
        inner = zip(self.cfg.level_multipliers(), self._iterable_decode(output.feature_acts), strict=False)
        for multiplier, (width, reconstruction) in inner:
            if multiplier == 0:
                continue
            loss = self.mse_loss_fn(reconstruction, step_input.sae_in).sum(dim=-1).mean()
            output.losses[f"inner_mse_loss_{width}"] = loss
            output.loss = output.loss + multiplier * loss
        return output

    def decode(self, feature_acts: Tensor) -> Any:
        """The reconstruction, [batch, d_in]; while levels are detached in training, of the gradient that leaves the outermost."""
        if not (self.training and self.cfg.detach_levels):
            return super().decode(feature_acts)
        *_, (_, reconstruction) = self._iterable_decode(feature_acts, include_outer_loss=True)
        return reconstruction

    def _iterable_decode(self, feature_acts: Tensor, include_outer_loss: bool = False) -> Any:
        if not self.cfg.detach_levels:
            yield from super()._iterable_decode(feature_acts, include_outer_loss)
            return
        if self.cfg.rescale_acts_by_decoder_norm:
            feature_acts = feature_acts / self.W_dec.norm(dim=-1)
        widths = self.cfg.matryoshka_widths if include_outer_loss else self.cfg.matryoshka_widths[:-1]
        decoded, start = self.b_dec, 0
        for width in widths:
            decoded = feature_acts[:, start:width] @ self.W_dec[start:width] + decoded
            yield width, self.run_time_activation_norm_fn_out(decoded)
            decoded, start = decoded.detach(), width


@dataclass
class HedgeTopKConfig(_WithLoss, TopKTrainingSAEConfig):
    """TopK: exactly k latents per sample."""

    def get_inference_config_class(self) -> Any:
        """What the checkpoint is saved as."""
        return TopKSAEConfig


class HedgeTopK(_TrainsOnLoss, TopKTrainingSAE):
    """TopK on a chosen reconstruction loss."""


@dataclass
class HedgeStandardConfig(_WithLoss, StandardTrainingSAEConfig):
    """ReLU with an L1 penalty."""

    def get_inference_config_class(self) -> Any:
        """What the checkpoint is saved as."""
        return StandardSAEConfig


class HedgeStandard(_TrainsOnLoss, StandardTrainingSAE):
    """ReLU and L1 on a chosen reconstruction loss."""


TRAINING_CLASSES: dict[str, tuple[Any, Any]] = {
    config_class.plain_architecture(): (sae_class, config_class)
    for sae_class, config_class in (
        (HedgeBatchTopK, HedgeBatchTopKConfig),
        (HedgeMatryoshka, HedgeMatryoshkaConfig),
        (HedgeTopK, HedgeTopKConfig),
        (HedgeStandard, HedgeStandardConfig),
    )
}
"""SAELens's architecture name -> our training class and its config class."""

for _sae_class, _config_class in TRAINING_CLASSES.values():
    register_sae_training_class(_config_class.architecture(), _sae_class, _config_class)


def make_sae(config: TrainConfig, recipe: SAERecipe, d_in: int) -> TrainingSAE:
    """The untrained SAE of a recipe, on the CPU. Its weights depend on `train_seed`, the shape and nothing else."""
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
