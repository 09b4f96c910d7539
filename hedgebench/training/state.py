"""All that decides how the training of one SAE goes on: to copy, to widen, and to keep on disk."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from sae_lens.training.sae_trainer import SAETrainer

NEW_ROW_NORM = 0.1
"""Norm of a new decoder row, in the scale that is trained in."""
_LATENT_DIMENSION = {"W_enc": 1, "W_dec": 0, "b_enc": 0}


def trainer_state(trainer: SAETrainer[Any, Any]) -> dict[str, Any]:
    """All that decides how training goes on, as tensors and plain values that share no memory with the trainer."""
    ratio = trainer.sae.loss_ratio
    return copy.deepcopy(
        {
            "parameters": [name for name, _ in trainer.sae.named_parameters()],
            "weights": {name: tensor.detach() for name, tensor in trainer.sae.state_dict().items()},
            "optimizer": trainer.optimizer.state_dict(),
            "lr_scheduler": trainer.lr_scheduler.state_dict(),
            "coefficients": {name: one.state_dict() for name, one in trainer.coefficient_schedulers.items()},
            "steps": trainer.n_training_steps,
            "samples": trainer.n_training_samples,
            "fired": trainer.act_freq_scores,
            "since_fired": trainer.n_forward_passes_since_fired,
            "window": trainer.n_frac_active_samples,
            "loss_ratio": {"l2": ratio._l2, "mse": ratio._mse, "rescale": trainer.sae.cfg.metadata.loss_rescale},
        }
    )


def load_trainer_state(trainer: SAETrainer[Any, Any], state: Mapping[str, Any]) -> None:
    """The inverse of `trainer_state`."""
    state = copy.deepcopy(dict(state))
    trainer.sae.load_state_dict(state["weights"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.lr_scheduler.load_state_dict(state["lr_scheduler"])
    for name, one in state["coefficients"].items():
        trainer.coefficient_schedulers[name].load_state_dict(one)
    trainer.n_training_steps, trainer.n_training_samples = state["steps"], state["samples"]
    trainer.act_freq_scores, trainer.n_forward_passes_since_fired = state["fired"], state["since_fired"]
    trainer.n_frac_active_samples = state["window"]
    ratio = state["loss_ratio"]
    trainer.sae.loss_ratio._l2, trainer.sae.loss_ratio._mse = ratio["l2"], ratio["mse"]
    trainer.sae.cfg.metadata.loss_rescale = ratio["rescale"]


def grown(state: Mapping[str, Any], add: int, seed: int) -> dict[str, Any]:
    """The state of a trainer whose SAE has got `add` more latents: new rows as the module says, all else as it was.

    Args:
        state: From `trainer_state`.
        add: Latents to add.
        seed: Training seed of the series; with the new width it decides the new rows.
    """
    import numpy as np

    wide = copy.deepcopy(dict(state))
    weights = wide["weights"]
    d_sae, d_in = weights["W_dec"].shape
    rng = np.random.default_rng((seed, d_sae + add))
    rows = torch.from_numpy(rng.standard_normal((add, d_in))).to(weights["W_dec"])
    rows *= NEW_ROW_NORM / rows.norm(dim=-1, keepdim=True)
    weights["W_dec"] = torch.cat([weights["W_dec"], rows])
    weights["W_enc"] = torch.cat([weights["W_enc"], rows.T], dim=1)
    weights["b_enc"] = torch.cat([weights["b_enc"], rows.new_zeros(add)])
    for i, moments in wide["optimizer"]["state"].items():  # empty before the first step
        name = wide["parameters"][i]
        for key in ("exp_avg", "exp_avg_sq"):
            if name in _LATENT_DIMENSION:
                moments[key] = _widened(moments[key], _LATENT_DIMENSION[name], add)
    for key in ("fired", "since_fired"):
        wide[key] = _widened(wide[key], 0, add)
    return wide


def _widened(tensor: torch.Tensor, dimension: int, add: int) -> torch.Tensor:
    shape = list(tensor.shape)
    shape[dimension] = add
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dimension)
