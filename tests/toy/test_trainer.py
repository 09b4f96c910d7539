"""The batched trainer: the weights SAELens's trainer gives, for every architecture and loss, whatever is trained beside them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from plain_toy_training import train_by_saelens

from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.trainer import Trained, train
from hedgebench.toy.world_config import RandomCorrelation, WorldConfig
from hedgebench.toy.worlds import make_world

STEPS, BATCH = 250, 64
WORLD = make_world(
    WorldConfig("ten", 12, (0.3, 0.25, 0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.05, 0.05), correlation=RandomCorrelation(0.6), magnitude_std=0.3, bias=0.5)
)  # fmt: skip
LOSSES = ("mse", "l2", "snap")
LEVELS = (4, 9, 16)
COMMON = {"width": 16, "steps": STEPS, "batch_size": BATCH, "lr": 2e-3, "init": "random", "dead_after": 10}
SPECIAL = {
    "standard": {"l1": 0.1},
    "topk": {"k": 2},
    "batchtopk": {"k": 1.7},
    "matryoshka_standard": {"l1": 0.1, "levels": LEVELS},
    "matryoshka_batchtopk": {"k": 1.7, "levels": LEVELS},
}
BALANCES = ({"balance": 0.0}, {"balance": 0.5}, {"balance": 1.0}, {"detach": True})


def runs_of(architecture: str) -> list[ToyRun]:
    """All that may differ inside one set of matrix products, mixed."""
    balances = BALANCES if "matryoshka" in architecture else ({},)
    pairs = list(itertools.product(balances, LOSSES))
    if architecture == "matryoshka_standard":  # the others differ from batchtopk in their activation alone
        pairs = pairs[::2]
    recipes = [Recipe(architecture, loss=loss, **COMMON, **SPECIAL[architecture], **balance) for balance, loss in pairs]
    plain = recipes[-1]
    recipes += [
        replace(plain, loss="snap", rescale_with_loss=False, snap_at=0.25),
        replace(plain, loss="l2", decoder_bias=False, dead_after=30),
        replace(plain, k=3) if plain.k else replace(plain, l1=0.02),
    ]
    return [ToyRun(WORLD, recipe, seed) for seed, recipe in enumerate(recipes)]


@pytest.fixture(scope="module")
def batches() -> list[torch.Tensor]:
    samples = WORLD.sample(STEPS * BATCH, torch.Generator().manual_seed(5)).activations
    return list(samples.double().split(BATCH))


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return {name: getattr(trained, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}


@pytest.mark.parametrize("architecture", SPECIAL)
def test_weights_equal_those_of_saelens_after_hundreds_of_steps_on_the_same_batches(architecture, batches):
    runs = runs_of(architecture)
    for ours in train(runs, batches=batches, progress=False, dtype=torch.float64):
        theirs = train_by_saelens(ours.run, batches)
        what = f"{ours.run.recipe}"
        for name, weight in weights(ours).items():
            torch.testing.assert_close(weight, getattr(theirs.sae, name).data, rtol=1e-5, atol=1e-6, msg=lambda m, name=name, what=what: f"{name} of {what}: {m}")  # fmt: skip
        if ours.threshold is not None:
            assert float(ours.threshold) == pytest.approx(float(theirs.sae.topk_threshold), rel=1e-6)
            assert float(ours.threshold) > 0
        if "topk" in architecture:
            assert theirs.most_auxiliary > 0.01, "no latent died: the auxiliary loss was not tested"
        if ours.run.recipe.loss != "mse":
            assert ours.loss_rescale == pytest.approx(theirs.sae.cfg.metadata.loss_rescale, rel=1e-6)
            assert (ours.loss_rescale != 1) == ours.run.recipe.rescale_with_loss
