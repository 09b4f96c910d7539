"""Trained toy SAEs as checkpoints: any SAELens reads them, the world is beside them, and their card says how they were made."""

from __future__ import annotations

import json

import pytest
import torch
from plain_toy_training import build
from sae_lens import SAE

from hedgebench.checkpoint import read_checkpoint
from hedgebench.loaders import load_sae
from hedgebench.toy.checkpoints import save, to_sae
from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.trainer import train
from hedgebench.toy.world_config import RandomCorrelation, WorldConfig
from hedgebench.toy.worlds import load_world, make_world
from hedgebench.types import BadInput
from hedgebench.world_files import find_world, world_identity

WORLD = make_world(WorldConfig("eight", 10, (0.3, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1), correlation=RandomCorrelation(0.4), bias=0.3))  # fmt: skip
SHORT = {"width": 9, "steps": 80, "batch_size": 32, "init_noise": 0.1}
SPECIAL = {
    "tied": {},
    "standard": {"l1": 0.01},
    "topk": {"k": 2},
    "batchtopk": {"k": 1.5},
    "matryoshka_standard": {"l1": 0.01, "levels": (3, 9), "balance": 0.5},
    "matryoshka_batchtopk": {"k": 1.5, "levels": (3, 9), "detach": True},
}


@pytest.fixture(scope="module")
def trained():
    runs = [ToyRun(WORLD, Recipe(a, loss="snap", snap_at=0.4, **SHORT, **special), 5) for a, special in SPECIAL.items()]
    return {sae.run.recipe.architecture: sae for sae in train(runs, progress=False)}


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return WORLD.sample(400, torch.Generator().manual_seed(8)).activations


@pytest.mark.parametrize("architecture", SPECIAL)
def test_saved_and_in_memory_it_computes_what_was_trained(architecture, trained, x, tmp_path):
    sae = trained[architecture]
    save(sae, tmp_path / "sae")
    for loaded in (to_sae(sae), SAE.load_from_disk(tmp_path / "sae"), load_sae(tmp_path / "sae")):
        torch.testing.assert_close(loaded(x), sae.decode(sae.encode(x)), rtol=1e-4, atol=1e-5)
        fires = loaded.encode(x) > 0
        assert torch.equal(fires, sae.encode(x) > 0)
        assert 0 < fires.float().mean() < 1
    stored = SAE.load_from_disk(tmp_path / "sae")
    assert stored.cfg.architecture() == ("jumprelu" if "batchtopk" in architecture else "topk" if architecture == "topk" else "standard")  # fmt: skip


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka_batchtopk", "standard"])
def test_saelens_own_class_would_save_the_same_weights(architecture, trained):
    ours, theirs = trained[architecture], build(trained[architecture].run, "float32")
    with torch.no_grad():
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            getattr(theirs, name).copy_(getattr(ours, name))
    if ours.threshold is not None:
        theirs.topk_threshold = ours.threshold.clone()
    state = theirs.state_dict()
    theirs.process_state_dict_for_saving_inference(state)
    found = to_sae(ours).state_dict()
    assert found.keys() == state.keys()
    for name, weight in state.items():
        torch.testing.assert_close(found[name], weight)


@pytest.mark.parametrize("architecture", SPECIAL)
def test_the_card_says_how_it_was_made_and_the_world_lies_beside_it(architecture, trained, tmp_path):
    sae = trained[architecture]
    save(sae, tmp_path / "sae")
    card = read_checkpoint(tmp_path / "sae")
    assert (card.architecture, card.loss, card.width, card.d_in) == (architecture, "snap", 9, 10)
    assert (card.k or 0.0, card.prefixes) == (sae.run.recipe.k, sae.run.recipe.levels)
    assert (card.train_seed, card.train_tokens, card.l0) == (5, 80 * 32, sae.l0)
    metadata = json.loads((tmp_path / "sae" / "cfg.json").read_text())["metadata"]
    assert (metadata["snap_at"], metadata["loss_rescale"]) == (0.4, sae.loss_rescale)
    assert metadata["toy_recipe"] == json.loads(json.dumps(sae.run.recipe.to_dict()))
    world = find_world(tmp_path / "sae")
    assert world is not None
    assert world_identity(world) == WORLD.identity
    torch.testing.assert_close(load_world(world).features, WORLD.features)


def test_l0_is_that_of_the_checkpoint(trained):
    fresh = WORLD.sample(20_000, torch.Generator().manual_seed(1)).activations
    for sae in trained.values():
        counts = (to_sae(sae).encode(fresh) != 0).float().sum(dim=1)
        assert sae.l0 == pytest.approx(float(counts.mean()), abs=5 * float(counts.std()) / 4096**0.5)


def test_a_diverged_sae_and_a_folder_that_exists_are_refused_and_nothing_is_left(trained, tmp_path):
    sae = trained["standard"]
    broken = type(sae)(**{**vars(sae), "W_dec": sae.W_dec * torch.nan})
    with pytest.raises(BadInput, match="W_dec holds NaN or infinite values: training diverged, lower 'lr'"):
        save(broken, tmp_path / "broken")
    save(sae, tmp_path / "sae")
    with pytest.raises(BadInput, match="exists"):
        save(sae, tmp_path / "sae")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sae"]


def test_making_an_sae_leaves_the_random_state(trained):
    before = torch.random.get_rng_state()
    to_sae(trained["topk"])
    assert torch.equal(before, torch.random.get_rng_state())
