"""Which SAEs belong together: groups of training seeds, the controls of grown ones; and what an eval gets that needs them, or may use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hedgebench import Eval, Metric, Score, evaluate
from hedgebench.checkpoint import describe, digest_of, read_checkpoint
from hedgebench.cli import main
from hedgebench.identities import Identities
from hedgebench.jobs import JOB_BYTES, make_jobs
from hedgebench.plan import Plan, make_plan
from hedgebench.records import read_cards, read_records
from hedgebench.relatives import Family, find_groups, group_card, group_name
from hedgebench.results import read_results, read_runs
from hedgebench.session import Job, Session
from hedgebench.suite import EvalEntry, SaeEntry, Suite, read_suite
from hedgebench.types import BadInput, Checkpoint, Growth

SAVED = Growth("parent", 12, 4, 1000, "control", "c" * 32, "again", "e" * 32, 0.75)
SETTINGS = {"lr": 0.003, "data_seed": 0, "width": 12}


@dataclass(frozen=True)
class Batches:
    """One setting."""

    n_batches: int = 0


class Group(Eval):
    """What the SAEs of a group have as biases."""

    name, version, draws, needs = "group", 1, False, frozenset({"sae", "siblings"})
    metrics = (Metric("first_is_own", "1 where the SAE is the first of the group"), Metric("bias", "first bias entry"))

    def run(self, ctx, cfg):
        assert len(ctx.siblings) == len(ctx.sibling_cards) == len(ctx.checkpoint.members) >= 2
        assert [c.digest for c in ctx.sibling_cards] == list(ctx.checkpoint.members)
        yield Score("first_is_own", float(ctx.sae is ctx.siblings[0]))
        for i, sae in enumerate(ctx.siblings):
            yield Score("bias", float(sae.b_dec[0]), {"i": i})


class Free(Eval):
    """Goes on with what there is."""

    name, version, draws = "free", 1, False
    may_use = frozenset({"control", "second_control", "siblings", "activations", "features"})
    metrics = (Metric("n", "how many of each there are"), Metric("tells", "1 where a reason is told"))
    Config = Batches

    @classmethod
    def uses(cls, cfg):
        return frozenset(cls.needs) | (cls.may_use if cfg.n_batches else cls.may_use - {"activations"})

    def run(self, ctx, cfg):
        found = {"control": ctx.control, "second_control": ctx.second_control, "activations": ctx.activation_source}
        for what, thing in found.items():
            yield Score("n", float(thing is not None), {"what": what})
        yield Score("n", len(ctx.siblings), {"what": "siblings"})
        for what in sorted(self.may_use):
            yield Score("tells", float(what in ctx.absent), {"what": what})


class Pair(Eval):
    """Compares an SAE with its control."""

    name, version, draws, needs = "pair", 1, False, frozenset({"sae", "control"})
    metrics = (Metric("bias", "first bias entry of the control"),)

    def run(self, ctx, cfg):
        yield Score("bias", float(ctx.control.b_dec[0]))


CLASSES: dict[str, type[Eval]] = {"group": Group, "free": Free, "pair": Pair}


def plan_of(suite: Suite | Path) -> Plan:
    return make_plan(read_suite(suite) if isinstance(suite, Path) else suite, evals=CLASSES)


def suite_of(*entries: SaeEntry, evals: tuple[EvalEntry, ...] = (EvalEntry("s:9", "group"),)) -> Suite:
    return Suite("s", entries, evals)


def entries_of(*folders: Path, **more: Any) -> tuple[SaeEntry, ...]:
    return tuple(SaeEntry(f"s:{i}", (str(folder),), **more) for i, folder in enumerate(folders))


def carry_out(plan: Plan) -> list[Any]:
    session = Session(evals=CLASSES)
    return [
        o for r in plan.runs if r.run_id not in plan.unreadable for _, o in session.carry_out(Job((r,)), lambda _: None)
    ]


def numbers(outcome: Any) -> dict[str, float]:
    assert outcome.status == "ok", outcome.error
    return {f"{s['metric']} {s['params']}".strip(): s["value"] for s in outcome.scores}


@pytest.fixture
def seeds(tmp_path: Path, save_sae: Callable[..., Path]) -> list[Path]:
    """Three training seeds of one recipe, saved in another order than theirs."""
    settings = {**SETTINGS, "architecture": "batchtopk"}
    return [
        save_sae(
            tmp_path / f"topk-s{seed}",
            seed=seed,
            train_seed=seed,
            train_settings={**settings, "train_seed": seed, "name": f"topk-s{seed}"},
        )
        for seed in (2, 10, 1)
    ]


@pytest.fixture
def family(tmp_path: Path, save_sae: Callable[..., Path]) -> dict[str, Path]:
    """A grown SAE with both its controls beside it."""
    found = {name: save_sae(tmp_path / name, seed=i) for i, name in enumerate(("control", "again"))}
    growth = {
        **{"parent": "parent", "parent_width": 12, "added": 4, "at_tokens": 1000, "live_added": 1.0},
        **{"control": "control", "control_digest": read_checkpoint(found["control"]).digest},
        **{"second_control": "again", "second_control_digest": read_checkpoint(found["again"]).digest},
    }
    return {**found, "grown": save_sae(tmp_path / "grown", seed=5, d_sae=16, growth=growth)}


def bias(folder: Path) -> float:
    from hedgebench.loaders import load_sae

    return float(load_sae(folder).b_dec[0])


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


# --- what an eval may use ----------------------------------------------------------------------------------------------------------


def test_an_eval_goes_on_without_what_is_not_there_and_is_told_why(tmp_path: Path, save_sae: Callable[..., Path]):
    lone = save_sae(tmp_path / "lone", hook=None)
    (run,) = (plan := plan_of(suite_of(*entries_of(lone), evals=(EvalEntry("s:9", "free", {"n_batches": 2}),)))).runs
    assert run.model is None and run.data is None and run.absent["activations"] == "the checkpoint names no hook point"
    got = numbers(carry_out(plan)[0])
    assert {k: v for k, v in got.items() if k.startswith("n ")} == dict.fromkeys(
        ("n what=control", "n what=second_control", "n what=activations", "n what=siblings"), 0.0
    )
    assert all(got[f"tells what={what}"] == 1 for what in Free.may_use)


def test_an_unknown_model_is_told_and_what_a_setting_makes_pointless_is_not_asked_for(
    tmp_path: Path, save_sae: Callable[..., Path]
):
    folder = save_sae(tmp_path / "a")  # its model is called "tiny", and there is none
    evals = tuple(EvalEntry("s:9", "free", {"n_batches": n}) for n in (1, 0))
    asked, not_asked = plan_of(suite_of(*entries_of(folder), evals=evals)).runs
    assert "unknown model 'tiny'" in asked.absent["activations"] and asked.model is None
    assert "activations" not in not_asked.absent


def test_a_known_model_is_part_of_the_run_only_where_it_is_used(tmp_path: Path, save_sae: Callable[..., Path]):
    folder = save_sae(tmp_path / "a", model_name="gpt2")
    evals = tuple(EvalEntry("s:9", "free", {"n_batches": n}) for n in (1, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Identities, "revision", lambda self, model: "r1")
        used, not_used = plan_of(suite_of(*entries_of(folder), evals=evals)).runs
    assert (used.model, used.revision) == ("gpt2", "r1") and used.data is not None and "activations" not in used.absent
    assert not_used.model is None and not_used.data is None


def test_an_eval_that_may_use_siblings_runs_for_each_sae_with_the_others_and_a_new_seed_is_a_new_run(seeds: list[Path]):
    evals = (EvalEntry("s:9", "free"),)
    three = plan_of(suite_of(*entries_of(*seeds), evals=evals))
    assert [(r.checkpoint.train_seed, [c.train_seed for c in r.siblings]) for r in three.runs] == [
        (2, [1, 10]), (10, [1, 2]), (1, [2, 10])
    ]  # fmt: skip
    assert [numbers(o)["n what=siblings"] for o in carry_out(three)] == [2, 2, 2]
    two = plan_of(suite_of(*entries_of(*seeds[:2]), evals=evals))
    assert not {r.run_id for r in two.runs} & {r.run_id for r in three.runs}


# --- controls ----------------------------------------------------------------------------------------------------------------------

BOTH = (EvalEntry("s:9", "pair"), EvalEntry("s:9", "free"))


def test_a_grown_sae_is_compared_with_the_controls_beside_it(family: dict[str, Path]):
    pair, free = carry_out(plan_of(suite_of(*entries_of(family["grown"]), evals=BOTH)))
    assert numbers(pair) == {"bias": bias(family["control"])}
    assert numbers(free)["n what=control"] == numbers(free)["n what=second_control"] == 1


def test_a_suites_own_control_goes_before(family: dict[str, Path], tmp_path: Path, save_sae: Callable[..., Path]):
    own = str(save_sae(tmp_path / "elsewhere" / "own", seed=9))
    pair, free = plan_of(suite_of(*entries_of(family["grown"], control=own), evals=BOTH)).runs
    assert pair.control.name == "own" and free.second_control is None, (
        "the metadata's second control belongs to another control"
    )
    beside, _ = plan_of(suite_of(*entries_of(family["grown"]), evals=BOTH)).runs
    assert beside.run_id != pair.run_id
    (both,) = plan_of(suite_of(*entries_of(family["grown"], second_control=own), evals=BOTH[1:])).runs
    assert (both.control.name, both.second_control.name) == ("control", "own")
    (again,) = plan_of(suite_of(*entries_of(family["grown"]), evals=BOTH[1:])).runs
    assert again.run_id != both.run_id, "another second control is another run"


def test_a_control_with_other_weights_is_refused_and_one_that_is_gone_is_told(
    family: dict[str, Path], save_sae: Callable[..., Path]
):
    save_sae(family["control"], seed=77)
    plan = plan_of(suite_of(*entries_of(family["grown"]), evals=BOTH))
    pair, free = plan.runs
    assert "the control of grown: control beside it is not the SAE it was grown with" in plan.unreadable[pair.run_id]
    assert free.run_id not in plan.unreadable and "weights are others" in free.absent["control"]
    assert free.second_control is not None
    (outcome,) = carry_out(plan)
    assert numbers(outcome)["tells what=control"] == 1
    for file in family["control"].iterdir():
        file.unlink()
    family["control"].rmdir()
    gone, _ = carry_out(plan_of(suite_of(*entries_of(family["grown"]), evals=BOTH)))
    assert (gone.status, gone.error) == ("skipped", "its control 'control' is not beside it")


def test_a_control_that_cannot_be_read_fails_only_what_needs_it(family: dict[str, Path]):
    plan = plan_of(suite_of(*entries_of(family["again"], control="nowhere"), evals=BOTH))
    pair, _ = plan.runs
    assert (
        plan.unreadable.keys() == {pair.run_id}
        and "the control of again: nowhere: no such folder" in plan.unreadable[pair.run_id]
    )
    assert carry_out(plan)[0].status == "ok"


def test_an_eval_that_changes_a_relative_fails_and_the_next_run_gets_a_fresh_one(family: dict[str, Path]):
    class Rude(Pair):
        name = "rude"

        def run(self, ctx, cfg):
            yield from super().run(ctx, cfg)
            ctx.control.b_dec.data.add_(1)

    suite = suite_of(*entries_of(family["grown"]), evals=(EvalEntry("s:8", "rude"), EvalEntry("s:9", "pair")))
    session = Session(evals={**CLASSES, "rude": Rude})
    runs = make_plan(suite, evals={**CLASSES, "rude": Rude}).runs
    rude, pair = [o for r in runs for _, o in session.carry_out(Job((r,)), lambda _: None)]
    assert rude.status == "failed" and "must work on a copy" in rude.error
    assert numbers(pair) == {"bias": bias(family["control"])}


# --- identity, jobs ----------------------------------------------------------------------------------------------------------------


def test_runs_that_use_none_of_this_have_the_names_they_had():
    class Acts(Eval):
        name, version, needs = "acts", 3, frozenset({"sae", "activations"})

    class Weights(Eval):
        name, version, may_use = "weights", 1, frozenset({"siblings", "second_control", "activations"})

    class Two(Eval):
        name, version, needs = "pair", 2, frozenset({"sae", "control"})

    identities = Identities(Suite("s", (), ()))
    identities._text, identities._revisions = "texts@1", {"tiny": "rev1"}
    one = Checkpoint("d" * 32, "sae", "batchtopk", d_in=8, width=12, model="tiny", hook="blocks.1.hook_resid_post")
    family = Family(one, control=Checkpoint("c" * 32, "c", "batchtopk", d_in=8, width=12))
    names = [identities.run(e, {"n": 1}, 0, family)[0].run_id for e in (Weights, Two, Acts)]
    # as they were before there were groups and optional needs
    assert names == ["41a91c18e2cca771c9286bbb", "d51de20e4ff912fec4a8b353", "933def0dfcd879fce55f3af9"]


def test_a_run_with_relatives_survives_the_way_to_a_worker(family: dict[str, Path], seeds: list[Path]):
    for suite in (suite_of(*entries_of(family["grown"]), evals=BOTH), suite_of(*entries_of(*seeds))):
        job = Job(tuple(plan_of(suite).runs))
        assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_a_job_holds_the_weights_of_the_relatives_too(seeds: list[Path]):
    big = JOB_BYTES // (2 * 8 * 4 * 3)
    base = plan_of(suite_of(*entries_of(*seeds), evals=(EvalEntry("s:9", "free"),))).runs
    runs = [replace(r, checkpoint=replace(r.checkpoint, width=big), siblings=()) for r in base]
    assert [len(job.runs) for job in make_jobs(runs, {"free": True})] == [3]
    runs = [replace(r, siblings=(r.checkpoint,)) for r in runs]
    assert [len(job.runs) for job in make_jobs(runs, {"free": True})] == [1, 1, 1]


# --- from the command line and from Python -------------------------------------------------------------------------------------------

SOURCE = """
    from hedgebench import Eval, Metric, Score

    class Near(Eval):
        "The group."
        name, version, draws, needs = "near", 1, False, frozenset({"sae", "siblings"})
        metrics = (Metric("n", "how many"),)
        def run(self, ctx, cfg):
            yield Score("n", len(ctx.siblings))

    class Against(Eval):
        "The control, and the second where there is one."
        name, version, draws, needs = "against", 1, False, frozenset({"sae", "control"})
        may_use = frozenset({"second_control"})
        metrics = (Metric("n", "how many"),)
        def run(self, ctx, cfg):
            yield Score("n", 1 + (ctx.second_control is not None))
"""


def test_a_suite_of_groups_and_controls_is_run_from_the_command_line(
    tmp_path: Path,
    family: dict[str, Path],
    seeds: list[Path],
    plugin: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
):
    plugin(SOURCE, near="Near", against="Against")
    (tmp_path / "suite.yaml").write_text(
        "saes:\n"
        "  - {path: topk-s*, group: mine, control: control}\n"
        "  - {path: grown}\n"
        "  - {path: control, group: mine, control: again, second_control: grown}\n"
        "evals: [near, against]\n"
    )  # fmt: skip
    out = tmp_path / "out"
    assert main(["run", str(tmp_path / "suite.yaml"), "--out", str(out)]) == 0
    table = read_results(out).set_index(["eval", "sae"])["value"].to_dict()
    assert table == {
        ("near", "mine"): 4, ("against", "topk-s1"): 1, ("against", "topk-s2"): 1, ("against", "topk-s10"): 1,
        ("against", "grown"): 2, ("against", "control"): 2,
    }  # fmt: skip
    runs = read_runs(out).set_index(["eval", "sae"])["status"]
    assert runs["near", "grown"] == "skipped"
    cards = read_cards(out)
    (group,) = [c for c in cards.values() if c.members]
    assert {cards[digest].name for digest in group.members} == {"topk-s1", "topk-s2", "topk-s10", "control"}
    told = {
        r["hedgebench"]["digest"]: r["hedgebench"] for r in read_records(out) if r["hedgebench"]["eval"] == "against"
    }
    grown = told[read_checkpoint(family["grown"]).digest]
    assert grown["second_control_digest"] == read_checkpoint(family["again"]).digest and grown["absent"] == {}
    assert "second_control" in told[read_checkpoint(seeds[0]).digest]["absent"]
    assert main(["run", str(tmp_path / "suite.yaml"), "--out", str(out)]) == 0
    assert "nothing to do: all 7 runs are done" in capfd.readouterr().err


def test_without_a_suite_options_name_the_group_and_the_controls(
    tmp_path: Path, family: dict[str, Path], plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    plugin(SOURCE, near="Near", against="Against")
    saes = ["--sae", str(family["control"]), "--sae", str(family["again"]), "--group", "both"]
    relatives = ["--control", str(family["again"]), "--second-control", str(family["grown"])]
    out = tmp_path / "out"
    assert main(["run", *saes, *relatives, "--eval", "near", "--eval", "against", "--out", str(out)]) == 0
    table = read_results(out).set_index(["eval", "sae"])["value"].to_dict()
    assert table == {("near", "both"): 2, ("against", "control"): 2, ("against", "again"): 2}
    for option in ("--control", "--second-control", "--group"):
        assert main(["run", "suite.yaml", option, "x"]) == 2
        assert f"{option} goes without a suite" in capfd.readouterr().err


def test_python_takes_controls_in_memory_or_by_reference(family: dict[str, Path], make_sae: Callable[..., Any]):
    from hedgebench.loaders import load_raw

    raw = load_raw(family["control"])
    for control in (raw, family["control"], str(family["control"])):
        assert list(evaluate(make_sae(seed=3), Pair, control=control)["value"]) == [bias(family["control"])]
    both = evaluate(make_sae(seed=3), Free, control=raw, second_control=make_sae(seed=4)).set_index(
        ["metric", "params"]
    )["value"]
    assert both["n", "what=control"] == both["n", "what=second_control"] == 1
    with pytest.raises(BadInput, match="the control of sae-0: nowhere"):
        evaluate(make_sae(seed=3), Pair, control="nowhere")
    grown = load_raw(family["grown"])
    with pytest.raises(
        BadInput, match="its control 'control' lies beside the file it was loaded from, and the SAE is in memory"
    ):
        evaluate(grown, Pair)


def test_python_names_a_group(make_sae: Callable[..., Any]):
    table = evaluate({"a": make_sae(seed=1), "b": make_sae(seed=2)}, Group, group="mine")
    assert set(table["sae"]) == {"mine"} and len(table) == 3
    one, two = (make_sae(seed=s, train_seed=s) for s in (1, 2))
    assert digest_of(one) != digest_of(two)
    assert set(evaluate([one, two], Group)["sae"]) == {"sae-*"}
