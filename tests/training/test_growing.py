"""Growing on a tiny model: what is left behind, what grows on, and what both see."""

from __future__ import annotations

import pytest
import torch
from growing_runs import BATCH, D_IN, L1, SERIES, STEPS, open_nursery, same, write_config
from sae_lens import SAE
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer

from hedgebench import read_checkpoint
from hedgebench.training.runner import train
from hedgebench.training.saes import make_sae
from hedgebench.training.state import grown, trainer_state

pytestmark = pytest.mark.usefixtures("growing_cache")


# --- the family ------------------------------------------------------------------------------------------------------------------


def test_every_width_stays_behind_with_a_second_control_and_only_whole_folders_are_left(series):
    assert sorted(p.name for p in series.iterdir()) == ["l1-12", "l1-12-reordered", "l1-16", "l1-8", "l1-8-reordered"]
    for folder in series.iterdir():
        width = int(folder.name.split("-")[1])
        assert SAE.load_from_disk(folder).W_dec.shape == (width, D_IN)


def test_a_grown_checkpoint_knows_its_family(series):
    growth = read_checkpoint(series / "l1-12").growth
    assert (growth.parent, growth.parent_width, growth.added, growth.control) == ("l1-8", 8, 4, "l1-8")
    assert growth.second_control == "l1-8-reordered"
    assert growth.control_digest == read_checkpoint(series / "l1-8").digest
    assert growth.second_control_digest == read_checkpoint(series / "l1-8-reordered").digest
    assert 256 <= growth.at_tokens <= 256 + 8 * 16
    assert 0 <= growth.live_added <= 1
    assert read_checkpoint(series / "l1-8").growth is None
    assert read_checkpoint(series / "l1-12-reordered").growth is None


def test_all_widths_have_seen_the_same_tokens_and_say_what_other_checkpoints_say(series, growing_world):
    for folder in series.iterdir():
        card = read_checkpoint(folder)
        assert (card.train_tokens, card.train_seed, card.hook) == (STEPS * BATCH, 3, "blocks.0.hook_resid_post")
        assert (card.architecture, card.model) == ("standard", str(growing_world / "model"))


def test_seeds_of_one_width_are_siblings_and_a_second_control_is_not_one_of_them(series, growing_world, tmp_path):
    train(
        write_config(growing_world, tmp_path / "c.yaml", L1.replace("train_seed: 3", "train_seed: 4")),
        tmp_path / "other",
    )
    recipe = {name: read_checkpoint(series / name).recipe for name in ("l1-8", "l1-12", "l1-8-reordered")}
    assert read_checkpoint(tmp_path / "other/l1-12").recipe == recipe["l1-12"]
    assert len(set(recipe.values())) == 3


# --- a growth --------------------------------------------------------------------------------------------------------------------


def test_at_a_growth_old_latents_are_as_they_were_and_new_ones_are_small_tied_and_without_bias(growing_world, tmp_path):
    config, nursery = open_nursery(growing_world, tmp_path)
    birth = nursery.birth(config.saes[2])
    while nursery.step < birth:
        nursery.grow()
        nursery.train_step()
    nursery.grow()
    parent, second, child = (nursery.members[name].sae for name in ("l1-8", "l1-8-reordered", "l1-12"))
    for name, theirs in parent.state_dict().items():
        assert torch.equal(second.state_dict()[name], theirs)
    assert torch.equal(child.W_dec[:8], parent.W_dec) and torch.equal(child.W_enc[:, :8], parent.W_enc)
    assert torch.equal(child.b_enc[:8], parent.b_enc) and torch.equal(child.b_dec, parent.b_dec)
    torch.testing.assert_close(child.W_dec[8:].norm(dim=-1), torch.full((4,), 0.1))
    assert torch.equal(child.W_enc[:, 8:], child.W_dec[8:].T) and not child.b_enc[8:].any()
    assert child.W_dec[0].data_ptr() != parent.W_dec[0].data_ptr()


def test_momentum_stays_with_old_latents_and_new_ones_have_none(growing_world, tmp_path):
    _, nursery = open_nursery(growing_world, tmp_path)
    for _ in range(5):
        nursery.grow()
        nursery.train_step()
    state = trainer_state(nursery.members["l1-8"].trainer)
    wide = grown(state, 3, seed=0)
    before, after = (
        {n: m["exp_avg"] for n, m in zip(s["parameters"], s["optimizer"]["state"].values(), strict=True)}
        for s in (state, wide)
    )
    assert before["W_dec"].abs().sum() > 0
    assert torch.equal(after["W_dec"][:8], before["W_dec"]) and not after["W_dec"][8:].any()
    assert torch.equal(after["W_enc"][:, :8], before["W_enc"]) and not after["W_enc"][:, 8:].any()
    assert torch.equal(after["b_dec"], before["b_dec"])
    assert state["weights"]["W_dec"].shape == (8, D_IN)  # the state given is not changed


def test_new_rows_depend_on_the_training_seed_and_the_width(growing_world, tmp_path):
    _, nursery = open_nursery(growing_world, tmp_path)
    nursery.grow()
    state = trainer_state(nursery.members["l1-8"].trainer)
    one, again, other = (grown(state, 4, seed)["weights"]["W_dec"][8:] for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.allclose(one, other)
    assert not torch.allclose(grown(grown(state, 4, 0), 4, 0)["weights"]["W_dec"][12:], one)


def test_a_control_is_what_it_would_be_had_nothing_grown_out_of_it(series, growing_world, tmp_path):
    shorter = L1.replace("to: 16", "to: 12").replace("every: 256", "every: 256, second_controls: false")
    train(write_config(growing_world, tmp_path / "c.yaml", shorter), tmp_path / "out")
    assert same(tmp_path / "out/l1-8", series / "l1-8") and same(tmp_path / "out/l1-12", series / "l1-12")
    assert not same(series / "l1-8", series / "l1-8-reordered")


def test_an_sae_that_does_not_grow_is_trained_as_saelens_trains_it(growing_world, tmp_path):
    config, nursery = open_nursery(growing_world, tmp_path, normalize="false")
    batches = [nursery.main.batch(step) for step in range(STEPS)]
    theirs = make_sae(config, config.saes[0], D_IN)
    settings = SAETrainerConfig(
        total_training_samples=STEPS * BATCH,
        train_batch_size_samples=BATCH,
        lr=0.01,
        lr_end=0.01,
        lr_warm_up_steps=2,
        lr_decay_steps=8,
        dead_feature_window=4,
        feature_sampling_window=4,
    )
    SAETrainer(cfg=settings, sae=theirs, data_provider=iter(batches)).fit()
    ours = nursery.train(tmp_path / "state.pt")["l1-8"]
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())


# --- what they see ---------------------------------------------------------------------------------------------------------------


def test_a_stream_gives_every_row_once_and_any_step_at_any_time(growing_world, tmp_path):
    _, nursery = open_nursery(growing_world, tmp_path)
    rows = torch.cat([nursery.main.batch(step) for step in range(STEPS)])
    bank = torch.cat([nursery.bank.rows(i) for i in range(len(nursery.bank.counts))])
    assert len({tuple(row) for row in rows.tolist()} - {tuple(row) for row in bank.tolist()}) == 0
    for step in (STEPS - 1, 3, 0, 17):
        assert torch.equal(nursery.main.batch(step), rows[step * BATCH : (step + 1) * BATCH])
    assert not torch.equal(rows[:200], bank[:200])  # mixed


def test_a_second_control_sees_what_its_control_sees_from_the_growth_on_in_another_order(growing_world, tmp_path):
    config, nursery = open_nursery(growing_world, tmp_path)
    second = config.saes[1]
    birth, stream = nursery.birth(second), nursery._stream_of(second)
    assert birth == nursery.birth(config.saes[2])
    theirs = torch.cat([nursery.main.batch(step) for step in range(birth, STEPS)])
    ours = torch.cat([stream.batch(step) for step in range(birth, STEPS)])
    assert ours.shape == theirs.shape and not torch.equal(ours, theirs)
    left = {i for group in nursery.main.groups[-len(stream.groups) :] for i in group}
    assert {i for group in stream.groups for i in group} == left


def test_activations_that_find_no_room_are_computed_again_and_the_same(growing_world, tmp_path, monkeypatch, caplog):
    _, kept = open_nursery(growing_world, tmp_path)
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("hedgebench.activations.DISK_BUDGET", 20_000)
    _, nursery = open_nursery(growing_world, tmp_path)
    nursery.bank.fill()
    assert "find no room in the cache" in caplog.text
    assert all(torch.equal(nursery.main.batch(step), kept.main.batch(step)) for step in (0, 7, STEPS - 1))


def test_special_tokens_are_not_trained_on(growing_world, tmp_path):
    _, nursery = open_nursery(growing_world, tmp_path)
    model = nursery.bank._source.model
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([[model.tokenizer.bos_token_id]]))
    bos = cache["blocks.0.hook_resid_post"][0, 0]
    seen = torch.cat([nursery.main.batch(step) for step in range(STEPS)])
    assert (seen - bos).norm(dim=-1).min() > 1e-2


# --- architectures ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "snap"])
def test_batchtopk_and_matryoshka_saes_grow_too(growing_world, tmp_path, loss):
    saes = (
        f"  - {{architecture: batchtopk, loss: {loss}, k: 3, name: 'b-{{width}}', grow: {SERIES}}}\n"
        f"  - {{architecture: matryoshka_batchtopk, loss: {loss}, k: 3, levels: [2, 4, 8], name: 'm-{{width}}', grow: {SERIES}}}"
    )
    train(write_config(growing_world, tmp_path / "c.yaml", saes, tokens=STEPS * BATCH * 2), tmp_path / "out")
    for kind in "bm":
        sae = SAE.load_from_disk(tmp_path / f"out/{kind}-16")
        assert sae.cfg.architecture() == "jumprelu" and sae.W_dec.shape == (16, D_IN)
        assert read_checkpoint(tmp_path / f"out/{kind}-16").loss == loss
    assert read_checkpoint(tmp_path / "out/m-8").prefixes == (2, 4, 8)
    assert read_checkpoint(tmp_path / "out/m-16").prefixes == (2, 4, 16)  # the outermost level grows


def test_series_that_differ_in_their_inner_levels_each_grow_out_of_their_own(growing_world, tmp_path):
    def entry(name: str, inner: int) -> str:
        return f"  - {{architecture: matryoshka_batchtopk, k: 3, levels: [{inner}, 8], name: '{name}-{{width}}', grow: {SERIES}}}"

    both = train(
        write_config(growing_world, tmp_path / "c.yaml", f"{entry('a', 6)}\n{entry('b', 2)}"), tmp_path / "both"
    )
    train(write_config(growing_world, tmp_path / "c.yaml", entry("b", 2)), tmp_path / "alone")
    for folder in both:
        growth, card = read_checkpoint(folder).growth, read_checkpoint(folder)
        assert card.prefixes[0] == {"a": 6, "b": 2}[folder.name[0]]
        if card.width > 8 and not folder.name.endswith("reordered"):
            assert {growth.control[0], (growth.second_control or folder.name)[0]} == {folder.name[0]}
    for folder in (tmp_path / "alone").iterdir():
        assert same(folder, tmp_path / "both" / folder.name)


def test_new_latents_of_batchtopk_are_revived_by_the_auxiliary_loss(growing_world, tmp_path):
    saes = f"  - {{architecture: batchtopk, k: 2, name: 'b-{{width}}', grow: {SERIES}}}"
    _, nursery = open_nursery(growing_world, tmp_path, saes)
    seen = []
    while nursery.step < STEPS:
        nursery.grow()
        for member in nursery.members.values():
            seen.append(int(member.trainer.dead_neurons.sum()))
        nursery.train_step()
    assert max(seen) > 0
    assert nursery.members["b-16"].sae.cfg.aux_loss_coefficient > 0
