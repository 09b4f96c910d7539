"""SAELens's own trainer on SAELens's own classes, and on our training classes: what the batched trainer must equal."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.registry import get_sae_training_class
from sae_lens.training.sae_trainer import SAETrainer

from hedgebench.toy.batches import start
from hedgebench.toy.recipes import ToyRun
from hedgebench.training.saes import TRAINING_CLASSES, HedgeStandard


class Reference(NamedTuple):
    """What SAELens's trainer left."""

    sae: Any
    most_auxiliary: float
    """Largest auxiliary loss of any step."""
    most_dead: int
    """Largest number of dead latents at any step."""


class MatryoshkaStandard(HedgeStandard):
    """ReLU, L1 and nested reconstructions, which SAELens does not have: its standard class, with a loss for every inner level."""

    def __init__(self, cfg: Any, recipe: Any) -> None:
        super().__init__(cfg)
        self.recipe = recipe

    def training_forward_pass(self, step_input: Any) -> Any:
        output = super().training_forward_pass(step_input)
        acts, x = output.feature_acts, step_input.sae_in
        so_far, first = self.b_dec, 0
        for width, multiplier in zip(self.recipe.levels, self.recipe.multipliers, strict=True):
            nested = so_far + acts[:, first:width] @ self.W_dec[first:width]
            loss = self.mse_loss_fn(nested, x).sum(-1).mean()
            if width < self.recipe.width:
                output.loss = output.loss + multiplier * loss
            elif self.recipe.detach:  # the outermost reconstruction, too, takes the inner levels as a constant
                output.loss = output.loss - output.losses["mse_loss"] + loss
            so_far, first = (nested.detach() if self.recipe.detach else nested), width
        return output


def build(run: ToyRun, dtype: str = "float64") -> Any:
    """The training SAE of a run: SAELens's own class wherever it can do what the recipe says. It starts where ours does."""
    recipe = run.recipe
    plain = recipe.loss == "mse" and recipe.balance == 1 and not recipe.detach
    fields: dict[str, Any] = {"d_in": run.world.d_in, "d_sae": recipe.width, "dtype": dtype}
    architecture = "standard" if recipe.architecture == "matryoshka_standard" else recipe.architecture
    if architecture == "standard":
        fields["l1_coefficient"] = recipe.l1
    else:
        fields["k"] = int(recipe.k) if architecture == "topk" else recipe.k
    if architecture == "matryoshka_batchtopk":
        fields["matryoshka_widths"] = list(recipe.levels)
        fields |= {} if plain else {"balance": recipe.balance, "detach_levels": recipe.detach}
    ours = {
        "reconstruction_loss": recipe.loss,
        "snap_at": recipe.snap_at,
        "total_steps": recipe.steps,
        "rescale_with_loss": recipe.rescale_with_loss,
    }
    if recipe.architecture == "matryoshka_standard":
        sae = MatryoshkaStandard(TRAINING_CLASSES["standard"][1](**fields, **ours), recipe)
    elif plain:
        sae_class, config_class = get_sae_training_class(architecture)
        sae = sae_class(config_class(**fields))
    else:
        sae_class, config_class = TRAINING_CLASSES[architecture]
        sae = sae_class(config_class(**fields, **ours))
    weights = start(run)
    with torch.no_grad():
        sae.W_enc.copy_(weights.enc[0].T)
        sae.W_dec.copy_(weights.dec[0, 1:])
    if not recipe.decoder_bias:
        sae.b_dec.requires_grad_(False)
    return sae


class _Watched(SAETrainer):
    most_auxiliary = 0.0
    most_dead = 0

    def _train_step(self, sae: Any, sae_in: torch.Tensor) -> Any:
        self.most_dead = max(self.most_dead, int(self.dead_neurons.sum()))
        output = super()._train_step(sae, sae_in)
        auxiliary = output.losses.get("auxiliary_reconstruction_loss", torch.zeros(())).item()
        self.most_auxiliary = max(self.most_auxiliary, auxiliary)
        return output


def train_by_saelens(run: ToyRun, batches: list[torch.Tensor], dtype: str = "float64") -> Reference:
    """One run, step by step as `sae_lens.synthetic.train_toy_sae` does it, on these batches."""
    recipe, size = run.recipe, len(batches[0])
    torch.manual_seed(0)
    sae = build(run, dtype)
    cfg = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=recipe.steps * size,
        device="cpu",
        autocast=False,
        lr=recipe.lr,
        lr_end=recipe.lr,
        lr_scheduler_name="constant",
        lr_warm_up_steps=round(recipe.lr_warm_up * recipe.steps),
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=round(recipe.lr_decay * recipe.steps),
        n_restart_cycles=1,
        train_batch_size_samples=size,
        dead_feature_window=recipe.dead_after,
        feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False),
        n_batches_for_norm_estimate=1,
    )
    trainer = _Watched(cfg, sae, data_provider=iter(batches))
    trainer.fit()
    return Reference(sae, trainer.most_auxiliary, trainer.most_dead)
