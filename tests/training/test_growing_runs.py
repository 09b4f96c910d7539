"""Growing from a checkpoint, growing broken off, and growing asked for wrongly."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from growing_runs import SERIES, STEPS, open_nursery, same, write_config
from sae_lens import SAE

from hedgebench import read_checkpoint
from hedgebench.relatives import find_groups
from hedgebench.training import growing, runner
from hedgebench.training.bank import Bank
from hedgebench.training.config import read_config
from hedgebench.training.growing import Nursery
from hedgebench.training.runner import train
from hedgebench.types import BadInput

pytestmark = pytest.mark.usefixtures("growing_cache")


# --- from a trained SAE ----------------------------------------------------------------------------------------------------------

TRAINED = {
    "standard": "  - {architecture: standard, l1: 0.5, width: 8, name: start}",
    "batchtopk": "  - {architecture: batchtopk, k: 2, width: 8, name: start}",
    "matryoshka_batchtopk": "  - {architecture: matryoshka_batchtopk, k: 2, levels: [4, 8], width: 8, name: start}",
}


def from_trained(architecture: str, place: str = "first/start") -> str:
    own = {"standard": "l1: 0.5", "batchtopk": "k: 2", "matryoshka_batchtopk": "k: 2, levels: [4, 8]"}[architecture]
    return f"  - {{architecture: {architecture}, {own}, name: 'w-{{width}}', grow: {{from: {place}, add: 4, to: 16, every: 256}}}}"


@pytest.mark.parametrize("architecture", TRAINED)
def test_an_sae_grows_on_from_a_checkpoint_and_computes_the_same_at_its_start(growing_world, tmp_path, architecture):
    train(write_config(growing_world, tmp_path / "first.yaml", TRAINED[architecture]), tmp_path / "first")
    _, nursery = open_nursery(growing_world, tmp_path, from_trained(architecture))
    nursery.grow()
    assert list(nursery.members) == ["w-8", "w-8-reordered", "w-12"]  # the first growth is at once
    start, ours = SAE.load_from_disk(tmp_path / "first/start"), nursery.members["w-8"].sae
    x = nursery.main.batch(0)
    if architecture != "standard":
        assert float(ours.topk_threshold) == pytest.approx(float(start.threshold[0]) * nursery.scale, rel=1e-5)
    ours.eval()
    ours.fold_activation_norm_scaling_factor(nursery.scale)
    folded = {name: tensor for name, tensor in ours.state_dict().items()}
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        torch.testing.assert_close(folded[name], start.state_dict()[name], rtol=1e-5, atol=1e-6)
    if architecture == "standard":
        torch.testing.assert_close(ours(x), start(x), rtol=1e-4, atol=1e-4)


def test_a_series_from_a_checkpoint_trains_to_its_end(growing_world, tmp_path):
    train(write_config(growing_world, tmp_path / "first.yaml", TRAINED["batchtopk"]), tmp_path / "first")
    train(write_config(growing_world, tmp_path / "c.yaml", from_trained("batchtopk")), tmp_path / "out")
    growth = read_checkpoint(tmp_path / "out/w-12").growth
    assert (growth.parent, growth.at_tokens, growth.control) == ("w-8", 0, "w-8")


@pytest.mark.parametrize(
    ("saes", "changes", "wanted"),
    [
        (from_trained("standard"), {}, "its architecture is 'batchtopk', not 'standard'"),
        (from_trained("batchtopk"), {"hook": "blocks.1.hook_resid_post"}, "its hook point is"),
        (
            from_trained("matryoshka_batchtopk").replace("[4, 8]", "[2, 8]"),
            {},
            r"its list of levels is \[4, 8\], not \[2, 8\]",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_before_the_model_reads_the_text(
    growing_world, tmp_path, monkeypatch, saes, changes, wanted
):
    kind = "matryoshka_batchtopk" if "matryoshka" in saes else "batchtopk"
    train(write_config(growing_world, tmp_path / "first.yaml", TRAINED[kind]), tmp_path / "first")
    monkeypatch.setattr(Bank, "fill", None)
    with pytest.raises(BadInput, match=wanted):
        train(write_config(growing_world, tmp_path / "c.yaml", saes, **changes), tmp_path / "out")


SEEDS = "  - {architecture: standard, l1: 0.5, width: 8, train_seed: [0, 1], name: 'start-s{train_seed}'}"
GROWN = from_trained("standard", "'first/start-s{train_seed}'").replace("'w-{width}'", "'w-{width}-s{train_seed}'")


def test_each_training_seed_grows_from_its_own_sae_and_the_grown_ones_are_siblings(growing_world, tmp_path):
    train(write_config(growing_world, tmp_path / "first.yaml", SEEDS), tmp_path / "first")
    saes = GROWN.replace("l1: 0.5", "l1: 0.5, train_seed: [0, 1]")
    _, nursery = open_nursery(growing_world, tmp_path, saes)
    nursery.grow()
    for seed in (0, 1):
        start = SAE.load_from_disk(tmp_path / f"first/start-s{seed}")
        ours = nursery.members[f"w-8-s{seed}"].sae
        torch.testing.assert_close(ours.W_dec / nursery.scale, start.W_dec, rtol=1e-5, atol=1e-6)
    train(write_config(growing_world, tmp_path / "c.yaml", saes), tmp_path / "out")
    cards = [read_checkpoint(tmp_path / f"out/{name}") for name in ("w-12-s0", "w-12-s1", "w-16-s1", "w-8-s1")]
    assert find_groups(cards) == [tuple(cards[:2])]


def test_saes_of_several_seeds_that_grow_from_one_sae_are_refused_and_are_no_siblings(growing_world, tmp_path):
    train(write_config(growing_world, tmp_path / "first.yaml", SEEDS), tmp_path / "first")
    one = GROWN.replace("start-s{train_seed}", "start-s0")
    entries = [one.replace("l1: 0.5", f"l1: 0.5, train_seed: {seed}") for seed in (1, 2)]
    for saes in (one.replace("l1: 0.5", "l1: 0.5, train_seed: [1, 2]"), "\n".join(entries)):
        path = write_config(growing_world, tmp_path / "c.yaml", saes)
        with pytest.raises(
            BadInput, match=r"training seeds 1 and 2 grow from one and the same SAE, .*start-s0"
        ) as caught:
            read_config(path)
        assert str(caught.value).startswith(f"{path}:") and "\n" not in str(caught.value)
    for entry in entries:
        train(write_config(growing_world, tmp_path / "c.yaml", entry), tmp_path / "out")
    cards = [read_checkpoint(tmp_path / f"out/w-12-s{seed}") for seed in (1, 2)]
    assert [card.train_seed for card in cards] == [1, 2] and find_groups(cards) == []


# --- interrupted, repeated, refused ----------------------------------------------------------------------------------------------


class Stop(Exception):
    """What the tests stop a run with."""


@pytest.mark.parametrize("last", [5, 10, 23, 39])
def test_a_broken_off_run_goes_on_where_it_was_and_ends_as_the_unbroken_one(
    growing_world, tmp_path, monkeypatch, series, last
):
    monkeypatch.setattr(growing, "SAVE_EVERY", 5)
    original, steps = Nursery.train_step, []

    def step(nursery: Nursery) -> None:
        if len(steps) == last:
            steps.append(None)
            raise Stop
        steps.append(nursery.step)
        original(nursery)

    monkeypatch.setattr(Nursery, "train_step", step)
    config = write_config(growing_world, tmp_path / "c.yaml")
    with pytest.raises(Stop):
        train(config, tmp_path / "out")
    assert all(p.name.startswith(".growing-") and p.suffix == ".pt" for p in (tmp_path / "out").iterdir())
    train(config, tmp_path / "out")
    assert steps[last + 1 :] == list(range(last // 5 * 5, STEPS))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in series.iterdir())
    assert all(same(tmp_path / "out" / p.name, p) for p in series.iterdir())


def test_a_run_killed_while_saving_saves_the_rest_and_trains_nothing_again(
    growing_world, tmp_path, monkeypatch, series
):
    original = runner.save_all

    def save(saes: Any, dtype: str) -> None:
        if any(folder.name == "l1-12" for folder in saes):
            raise Stop
        original(saes, dtype)

    config = write_config(growing_world, tmp_path / "c.yaml")
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(runner, "save_all", save)
        train(config, tmp_path / "out")
    assert (tmp_path / "out/l1-8").is_dir() and not (tmp_path / "out/l1-12").exists()
    monkeypatch.setattr(Nursery, "train_step", None)
    train(config, tmp_path / "out")
    assert all(same(tmp_path / "out" / p.name, p) for p in series.iterdir())
    monkeypatch.setattr(runner, "grow_saes", None)
    train(config, tmp_path / "out")  # all is there: nothing is done


def test_a_run_broken_off_on_another_text_is_not_gone_on_from(growing_world, tmp_path, monkeypatch):
    text = tmp_path / "texts.jsonl"
    lines = (growing_world / "texts/all.jsonl").read_text().splitlines()
    config = write_config(growing_world, tmp_path / "c.yaml", data=text)
    original, steps = Nursery.train_step, []

    def step(nursery: Nursery) -> None:
        steps.append(nursery.step)
        if steps == list(range(12)):
            raise Stop
        original(nursery)

    monkeypatch.setattr(growing, "SAVE_EVERY", 5)
    monkeypatch.setattr(Nursery, "train_step", step)
    text.write_text("\n".join(lines))
    with pytest.raises(Stop):
        train(config, tmp_path / "out")
    text.write_text("\n".join(lines[::-1]))
    train(config, tmp_path / "out")
    assert steps[12:] == list(range(STEPS))


def test_a_damaged_state_is_named_in_one_line(growing_world, tmp_path, monkeypatch):
    monkeypatch.setattr(Nursery, "_finished", lambda self, member: (_ for _ in ()).throw(Stop))
    config = write_config(growing_world, tmp_path / "c.yaml")
    with pytest.raises(Stop):
        train(config, tmp_path / "out")
    (state,) = (tmp_path / "out").glob(".growing-*")
    whole = torch.load(state)
    for damage in (
        lambda: state.write_bytes(state.read_bytes()[:1000]),
        lambda: torch.save({**whole, "members": {}}, state),
        lambda: torch.save({**whole, "members": {"other": whole["members"]["l1-8"]}}, state),
        lambda: torch.save({"step": 1}, state),
    ):
        damage()
        with pytest.raises(
            BadInput, match=r"the state to resume from is damaged .*; delete it to begin anew"
        ) as caught:
            train(config, tmp_path / "out")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < len(str(state)) + 240


def test_text_that_ends_too_early_is_said_before_anything_is_trained(growing_world, tmp_path):
    with pytest.raises(BadInput, match="the train part ends after"):
        train(write_config(growing_world, tmp_path / "c.yaml", tokens=10**6), tmp_path / "out")


def test_growing_leaves_the_global_random_state_as_it_was(growing_world, tmp_path):
    torch.manual_seed(11)
    random.seed(11)
    before = torch.get_rng_state(), random.getstate()
    train(write_config(growing_world, tmp_path / "c.yaml"), tmp_path / "out")
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]


@pytest.mark.parametrize(
    ("grow", "wanted"),
    [
        ("64", "'grow' is a mapping such as"),
        ("{from: 8, ad: 4, to: 16}", "'grow' has no key 'ad'; did you mean 'add'"),
        ("{from: 8, add: 4}", "'grow' needs 'to'"),
        ("{from: 8, add: 0, to: 16, every: 256}", "'add' of 'grow' must be a whole number from 1, not 0"),
        ("{from: 8, add: true, to: 16, every: 256}", "'add' of 'grow' must be a whole number"),
        ("{from: 8, add: 3, to: 16, every: 256}", "'to' must be 8 .from. and some times 3"),
        ("{from: 16, add: 4, to: 16, every: 256}", "'to' must be 16"),
        ("{from: 8, add: 4, to: 16, every: 900}", "width 16 comes at 1800 tokens, and training ends at 1280"),
        ("{from: 8, add: 4, to: 16, every: 100}", "the buffer holds 128: lower 'buffer_sequences'"),
        ("{from: 8, add: 4, to: 16, every: 256, second_controls: 1}", "'second_controls' must be true or false"),
        ("{from: nowhere, add: 4, to: 16, every: 256}", "'from' is neither a width nor an SAE that can be read"),
    ],
)
def test_a_mistake_in_grow_is_one_line_with_its_place(growing_world, tmp_path, grow, wanted):
    saes = f"  - architecture: standard\n    l1: 0.5\n    grow: {grow}"
    path = write_config(growing_world, tmp_path / "c.yaml", saes)
    with pytest.raises(BadInput, match=wanted) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}:") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "wanted"), [("width: 8", "has its widths from 'grow'"), ("reordered: true", "which 'grow' makes")]
)
def test_what_grow_decides_is_not_given_beside_it(growing_world, tmp_path, key, wanted):
    saes = f"  - {{architecture: standard, l1: 0.5, {key}, grow: {SERIES}}}"
    with pytest.raises(BadInput, match=wanted):
        read_config(write_config(growing_world, tmp_path / "c.yaml", saes))
