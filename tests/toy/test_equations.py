"""The batched equations: the weights that SAELens's trainer gives, for every architecture and loss, all of an architecture trained at once."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from plain_toy_training import train_by_saelens

from hedgebench.toy.batches import start
from hedgebench.toy.equations import largest
from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.trainer import Trained, train
from hedgebench.toy.world_config import RandomCorrelation, WorldConfig
from hedgebench.toy.worlds import make_world

STEPS, BATCH = 200, 64
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
        replace(plain, lr_warm_up=0.1, lr_decay=0.3, **({"k": 12} if plain.k else {"l1": 0.02})),
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
        if 0 < ours.run.recipe.k < 3:
            assert theirs.most_auxiliary > 0.01, "no latent died: the auxiliary loss was not tested"
        if ours.run.recipe.loss != "mse":
            assert ours.loss_rescale == pytest.approx(theirs.sae.cfg.metadata.loss_rescale, rel=1e-6)
            assert (ours.loss_rescale != 1) == ours.run.recipe.rescale_with_loss


def test_the_auxiliary_loss_takes_the_strongest_half_of_many_dead_latents(batches):
    recipe = Recipe("topk", 30, k=1, steps=60, batch_size=BATCH, lr=2e-3, init="random", dead_after=5)
    ours = train([ToyRun(WORLD, recipe, 1)], batches=batches, progress=False, dtype=torch.float64)[0]
    theirs = train_by_saelens(ours.run, batches)
    assert theirs.most_dead > WORLD.d_in // 2, "all dead latents were chosen"
    torch.testing.assert_close(ours.W_dec, theirs.sae.W_dec.data, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_tied_latent_follows_the_tangent_of_its_loss(loss, batches):
    recipe = Recipe("tied", 2, loss=loss, steps=100, batch_size=BATCH, init_noise=0.2)
    ours = train([ToyRun(WORLD, recipe, 3)], batches=batches, progress=False, dtype=torch.float64)[0]
    rows = start(ours.run).enc[0].double().requires_grad_()
    adam = torch.optim.Adam([rows], lr=recipe.lr)
    for step, x in enumerate(batches[: recipe.steps]):
        error = (x @ rows.T).relu() @ rows - x
        (error.norm(dim=1) if recipe.schedule.is_l2(step) else error.square().sum(dim=1)).mean().backward()
        with torch.no_grad():
            rows.grad -= rows * (rows.grad * rows).sum(dim=1, keepdim=True)
            torch.nn.utils.clip_grad_norm_([rows], 1.0)
            adam.step()
            adam.zero_grad()
            rows /= rows.norm(dim=1, keepdim=True)
    torch.testing.assert_close(ours.W_dec, rows.detach(), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(ours.W_enc, rows.detach().T, rtol=1e-7, atol=1e-8)
    assert not ours.b_enc.any()
    assert not ours.b_dec.any()


def test_float32_is_as_good_as_float64_for_mse(batches):
    run = ToyRun(WORLD, Recipe("standard", l1=0.1, **COMMON), 0)
    single, double = (train([run], batches=batches, progress=False, dtype=d)[0] for d in (torch.float32, torch.float64))
    torch.testing.assert_close(single.W_dec.double(), double.W_dec, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("architecture", ["tied", *SPECIAL])
def test_cuda_gives_the_weights_of_the_cpu(architecture, batches):
    runs = [ToyRun(WORLD, Recipe("tied", 2, loss=loss, steps=STEPS, batch_size=BATCH), 0) for loss in LOSSES]
    runs = runs if architecture == "tied" else runs_of(architecture)
    there = train(runs, batches=batches, progress=False, dtype=torch.float64, device="cuda")
    here = train(runs, batches=batches, progress=False, dtype=torch.float64)
    for one, other in zip(there, here, strict=True):
        torch.testing.assert_close(one.W_dec, other.W_dec, rtol=1e-5, atol=1e-6)


def test_largest_settles_how_many_of_each_row():
    values = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, -1.0, 4.0]])
    assert largest(values, [2, 2]).tolist() == [[True, False, True, False], [False, True, False, True]]
    assert largest(values, [1, 3]).tolist() == [[True, False, False, False], [True, True, False, True]]
    assert largest(values, [0, 1]).sum(dim=1).tolist() == [0, 1]
