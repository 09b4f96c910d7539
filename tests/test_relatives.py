"""What a checkpoint says of its origin, and which SAEs differ in training seed only: one run for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from relatives import SETTINGS, bias, carry_out, entries_of, numbers, plan_of, save_seeds, suite_of

from hedgebench.checkpoint import describe
from hedgebench.relatives import find_groups, group_card, group_name
from hedgebench.suite import EvalEntry, SaeEntry
from hedgebench.types import BadInput, Checkpoint, Growth

SAVED = Growth("parent", 12, 4, 1000, "control", "c" * 32, "again", "e" * 32, 0.75)


@pytest.fixture
def seeds(tmp_path: Path, save_sae: Callable[..., Path]) -> list[Path]:
    return save_seeds(tmp_path, save_sae)


# --- what a checkpoint says of its origin ------------------------------------------------------------------------------------------


def test_a_card_with_its_growth_and_its_group_survives_its_file(tmp_path: Path):
    card = Checkpoint("d" * 32, "a", "topk", 8, 12, growth=SAVED, recipe="r", group="g", members=("x", "y"))
    assert Checkpoint.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    lone = Checkpoint("d" * 32, "a", "topk", 8, 12)
    assert Checkpoint.from_dict(json.loads(json.dumps(lone.to_dict()))) == lone


def test_growth_is_read_from_metadata(make_sae: Callable[..., Any]):
    assert describe(make_sae(growth=vars(SAVED)), name="a").growth == SAVED
    lone = {**vars(SAVED), "second_control": None, "second_control_digest": None, "live_added": None}
    assert describe(make_sae(growth={**lone, "more": 1}), name="a").growth == Growth(**lone)


@pytest.mark.parametrize(
    "change",
    [
        {"control": "../control"}, {"control": ".."}, {"control": "/etc"}, {"control": ".hidden"}, {"control": "a\\b"}, {"control": ""},
        {"control": None}, {"parent": ["p"]}, {"second_control": "a/b"}, {"second_control": None}, {"second_control_digest": None},
        {"control_digest": "c" * 31}, {"control_digest": 3}, {"added": 4.0}, {"added": True}, {"parent_width": -1},
        {"at_tokens": "many"}, {"live_added": 1.5}, {"live_added": float("nan")},
    ],
)  # fmt: skip
def test_growth_of_the_wrong_kind_is_as_if_it_were_not_there(make_sae: Callable[..., Any], change: dict[str, Any]):
    assert describe(make_sae(growth={**vars(SAVED), **change}), name="a").growth is None
    assert describe(make_sae(growth=list(change)), name="a").growth is None


def test_the_recipe_is_all_that_decided_the_training_but_the_seed_and_the_name(make_sae: Callable[..., Any]):
    def recipe(**settings: Any) -> str | None:
        return describe(make_sae(train_settings=settings), name="a").recipe

    one = recipe(**SETTINGS, train_seed=0, name="a")
    assert one == recipe(**SETTINGS, train_seed=1, name="b") is not None
    assert len({one, recipe(**{**SETTINGS, "data_seed": 1}), recipe(**{**SETTINGS, "lr": 0.1})}) == 3
    assert describe(make_sae(train_settings="none"), name="a").recipe is None
    toy = [describe(make_sae(toy_recipe={"k": 1}, toy_world=w), name="a").recipe for w in ("pair", "pair", "crowd")]
    assert toy[0] == toy[1] != toy[2]


# --- groups ------------------------------------------------------------------------------------------------------------------------


def card(name: str, seed: int | None = 0, **more: Any) -> Checkpoint:
    return Checkpoint(**{"digest": f"{name:0>32}", "name": name, "architecture": "topk", "d_in": 8, "width": 12, "train_seed": seed, **more})  # fmt: skip


def test_the_objective_names_the_weights_of_the_loss_that_do_not_go_without_saying(make_sae: Callable[..., Any]):
    def objective(details: Any, **more: Any) -> str | None:
        return describe(make_sae(training_architecture_details=details, **more), name="a").objective

    assert objective({"l1_coefficient": 8.0, "balance": 1.0, "detach_levels": False}) == "l1=8"
    assert objective({"k": 20, "balance": 0.25, "detach_levels": True}) == "balance=0.25 detach=true"
    assert objective({"snap_at": 0.7}, snap_at=0.7) == "snap_at=0.7"
    assert objective({"snap_at": 0.7}, snap_at=None) is None  # the loss was not snap
    assert objective({"l0_coefficient": 1, "target_l0": None}) == "l0=1"
    for odd in (None, "l1", {"l1_coefficient": "8"}, {"l1_coefficient": float("nan")}, {"l1_coefficient": [8]}):
        assert objective(odd) is None


def test_siblings_tell_the_same_recipe_or_the_same_of_themselves_and_each_another_seed():
    same = [card("b", 1, recipe="r"), card("a", 0, recipe="r"), card("c", 2, recipe="r")]
    assert find_groups(same) == [(same[1], same[0], same[2])]
    assert find_groups([*same[:2], card("d", 1, recipe="r")]) == [], "two of one seed differ in something untold"
    assert find_groups([card("a", 0), card("b", 1)]) and not find_groups([card("a", 0), card("b", None)])
    for field, value in {
        "loss": "l2",
        "k": 3,
        "width": 9,
        "model": "m",
        "hook": "h",
        "train_tokens": 5,
        "recipe": "q",
    }.items():
        assert not find_groups([card("a", 0), card("b", 1, **{field: value})]), field


def test_a_named_group_takes_what_it_is_given_and_control_rows_are_in_none():
    named = [card("a", None, group="g"), card("b", None, group="g", width=99), card("c", 0), card("d", 1)]
    assert find_groups(named) == [tuple(named[:2]), tuple(named[2:])]
    rows = [
        card("a", None, group="g"),
        card("b", None, group="g", control_of="x"),
        card("c", 0, control_of="x"),
        card("d", 1),
    ]
    assert find_groups(rows) == []


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (["topk-s0", "topk-s1"], "topk-s*"), (["topk-s1", "topk-s10", "topk-s12"], "topk-s*"), (["s0-512", "s1-512"], "s*-512"),
        (["a", "b"], "*"), (["same", "same"], "same*"), (["s20", "s30"], "s*"),
    ],
)  # fmt: skip
def test_a_group_is_called_what_its_names_share(names: list[str], group: str):
    assert group_name(names) == group


def test_a_groups_card_says_what_its_saes_share_and_its_digest_names_them_in_any_order():
    members = [card("s0", 0, l0=10.0, loss="l2", k=5, ref="x"), card("s1", 1, l0=12.0, loss="mse", k=5, ref="y")]
    found = group_card(members)
    assert (found.name, found.l0, found.loss, found.k, found.train_seed, found.ref) == ("s*", 11.0, None, 5, None, None)
    assert found.members == tuple(c.digest for c in members) and found.digest not in found.members
    assert group_card(members[::-1]).digest == found.digest != group_card([*members, card("s2", 2)]).digest
    assert group_card([replace(c, group="mine") for c in members]).name == "mine"


def test_one_run_per_group_gets_all_its_saes_in_order_of_training_seed(seeds: list[Path]):
    plan = plan_of(suite_of(*entries_of(*seeds)))
    (run,) = plan.runs
    assert run.checkpoint.name == "topk-s*" and [c.train_seed for c in run.siblings] == [1, 2, 10]
    (outcome,) = carry_out(plan)
    got = numbers(outcome)
    assert got["first_is_own"] == 1
    assert [got[f"bias i={i}"] for i in range(3)] == [bias(seeds[2]), bias(seeds[0]), bias(seeds[1])]
    (other,) = plan_of(suite_of(*entries_of(*seeds[::-1]))).runs
    assert other.run_id == run.run_id, "the order of a suite decides nothing"
    (fewer,) = plan_of(suite_of(*entries_of(*seeds[:2]))).runs
    assert fewer.run_id != run.run_id


def test_an_sae_without_siblings_is_skipped_with_the_reason(seeds: list[Path]):
    plan = plan_of(suite_of(*entries_of(seeds[0])))
    (outcome,) = carry_out(plan)
    assert outcome.status == "skipped" and "training seed only" in outcome.error and "`group:`" in outcome.error


def test_control_rows_of_a_suite_are_skipped_where_groups_are_asked_for(seeds: list[Path]):
    plan = plan_of(suite_of(*entries_of(*seeds), SaeEntry("s:5", controls=("random",))))
    assert [r.checkpoint.name for r in plan.runs] == ["topk-s*", *(f"{s.name}/random" for s in seeds)]
    assert [(o.status, o.error) for o in carry_out(plan)][1:] == [
        ("skipped", "control rows are in no group of SAEs")
    ] * 3


def test_an_sae_of_a_named_group_that_cannot_be_read_fails_the_group_and_not_the_others_own_runs(
    seeds: list[Path],
):
    (seeds[0] / "cfg.json").write_text("{")
    evals = (EvalEntry("s:9", "group"), EvalEntry("s:9", "free"))
    plan = plan_of(suite_of(*entries_of(*seeds, group="mine"), evals=evals))
    group, *own = plan.runs
    assert group.checkpoint.name == "mine" and "not valid JSON" in plan.unreadable[group.run_id]
    assert [len(r.siblings) for r in own if r.run_id not in plan.unreadable] == [1, 1]
    plan = plan_of(suite_of(*entries_of(*seeds), evals=evals[:1]))
    assert plan.runs[0].checkpoint.name == "topk-s2" and len(plan.runs[1].siblings) == 2, (
        "found groups hold what can be read"
    )


def test_an_sae_is_in_one_group_only(seeds: list[Path]):
    with pytest.raises(BadInput, match="s:0: topk-s2 is in group 'a' already"):
        plan_of(suite_of(*entries_of(seeds[0], group="a"), *entries_of(seeds[0], group="b")))
