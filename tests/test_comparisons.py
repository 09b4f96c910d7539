"""What an eval gets of other SAEs, needed or where it can be had: controls, siblings, and what a run without them is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from relatives import (
    CLASSES,
    Free,
    Pair,
    bias,
    carry_out,
    entries_of,
    numbers,
    plan_of,
    suite_of,
)

from hedgebench import Eval
from hedgebench.identities import Identities
from hedgebench.jobs import JOB_BYTES, make_jobs
from hedgebench.plan import make_plan
from hedgebench.relatives import Family
from hedgebench.session import Job, Session
from hedgebench.suite import EvalEntry, SaeEntry, Suite
from hedgebench.types import Checkpoint

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


def test_control_rows_of_a_grown_sae_have_neither_its_growth_nor_its_controls(family: dict[str, Path]):
    rows = SaeEntry("s:5", controls=("permuted",))
    plan = plan_of(suite_of(*entries_of(family["grown"]), rows, evals=BOTH[:1]))
    grown, permuted = plan.runs
    assert (grown.control.name, permuted.control) == ("control", None)
    assert grown.checkpoint.growth is not None and permuted.checkpoint.growth is None
    assert [outcome.status for outcome in carry_out(plan)] == ["ok", "skipped"]


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
