"""Activations that an eval may use: where they cannot be had the run goes on without, says so, and can be run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_world

from hedgebench import models
from hedgebench.cli import main
from hedgebench.eval import Eval
from hedgebench.places import Here
from hedgebench.plan import Plan, make_plan
from hedgebench.records import read_records
from hedgebench.runner import Summary, execute, pending_runs
from hedgebench.session import Session
from hedgebench.suite import EvalEntry, SaeEntry, Suite
from hedgebench.types import BadInput, Metric, Score

SMALL = {"n_batches": 2, "batch_size": 4, "context_size": 16}
HOOK = "blocks.0.hook_resid_post"
WEIGHTS = {"c_dec", "max_cosine", "effective_rank", "stable_rank", "spectrum_share"}
TEXT = {"s_n", "pc_share", "pc_alignment"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, which takes 64 tokens, and texts of some 24,000, a fifth of them for evaluation."""
    return save_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def save(tmp_path: Path, world: Path, save_sae: Callable[..., Path]) -> Callable[..., Path]:
    """An SAE that reads that model, but for what is changed."""

    def make(name: str = "one", **changes: Any) -> Path:
        return save_sae(
            tmp_path / name, **{"d_in": 32, "d_sae": 24, "hook": HOOK, "model_name": str(world / "model")} | changes
        )

    return make


def plan_of(world: Path, *saes: Path, evals: dict[str, dict[str, Any]], data: str = "", **more: Any) -> Plan:
    entries = [SaeEntry("s", tuple(map(str, saes)), **more)]
    wanted = tuple(EvalEntry("e", name, config) for name, config in evals.items())
    return make_plan(Suite("s", tuple(entries), wanted, data=data or str(world / "texts")), evals=EVALS)


def carry_out(plan: Plan, out: Path, *, retry: bool = False) -> tuple[int, Summary]:
    """How many runs were done, and what the plan came to."""
    pending = pending_runs(plan, out, retry_failed=retry)
    return len(pending), execute(plan, pending, out, [Here(Session(evals=EVALS))])


def told(out: Path) -> dict[str, dict[str, Any]]:
    """HedgeBench's part of each record, by eval."""
    return {record["hedgebench"]["eval"]: record["hedgebench"] for record in read_records(out)}


def metrics(record: dict[str, Any]) -> set[str]:
    return {score["metric"] for score in record["scores"]}


class Needy(Eval):
    """Cannot do without activations."""

    name, version, needs = "needy", 1, frozenset({"sae", "activations"})
    metrics = (Metric("tokens", "how many"),)

    def run(self, ctx, cfg):
        yield Score("tokens", sum(batch.mask.sum() for batch in ctx.activations(1000, 4, 16)))


class Curious(Eval):
    """Tells which fields it was given."""

    name, version = "curious", 1
    may_use = frozenset({"activations", "model", "data"})
    metrics = (Metric("given", "1 where it is there"),)

    def run(self, ctx, cfg):
        for field in ("model", "data", "activation_source", "artifacts"):
            yield Score("given", float(getattr(ctx, field) is not None), {"field": field})


EVALS: dict[str, type[Eval]] = {"needy": Needy, "curious": Curious}


def test_offline_a_run_on_weights_goes_on_without_the_model_and_says_so(
    tmp_path: Path, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(models, "_hub_commit", lambda repo: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # of the worker
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))
    command = ["run", "--sae", str(save(model_name="gemma-2-2b")), "--eval", "decoder_similarity"]
    command += ["--out", str(tmp_path / "out")]
    assert main(command) == 0
    err = capfd.readouterr().err
    line = "incomplete: decoder_similarity on one, seed 0: without activations: model 'gemma-2-2b' cannot be loaded: "
    assert line in err and "--retry-failed runs them again" in err and "1 of 1 runs ok" in err
    record = told(tmp_path / "out")["decoder_similarity"]
    assert record["status"] == "ok" and metrics(record) == WEIGHTS
    assert record["incomplete"].keys() == {"activations"} and set(record["missing"]) == TEXT
    assert set(record["missing"].values()) == set(record["incomplete"].values())
    assert main(command) == 0
    err = capfd.readouterr().err
    assert "nothing to do" in err and line in err


LACKING: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "hook": ({"hook": "blocks.9.hook_resid_post"}, {}, "the model has no hook point 'blocks.9.hook_resid_post'"),
    "context": ({}, {"context_size": 128}, "context_size 128 is more than the model takes: 64"),
    "text": ({}, {"n_batches": 1000}, "of 1000 batches of 4 x 16 tokens"),
    "width": ({"d_in": 16}, {}, "the SAE expects vectors of width 16"),
}


@pytest.mark.parametrize("lacking", LACKING)
def test_what_a_model_or_a_text_lacks_costs_the_text_metrics_only_where_they_are_optional(
    tmp_path: Path, world: Path, save: Callable[..., Path], lacking: str
):
    changes, setting, why = LACKING[lacking]
    saes = [save(f"s{seed}", seed=seed, train_seed=seed, **changes) for seed in (0, 1)]
    evals = {"decoder_similarity": SMALL | setting, "seed_overlap": SMALL | setting}
    _, summary = carry_out(plan_of(world, *saes, evals=evals, group="g"), tmp_path / "out")
    assert summary.ok == 3 and not summary.failed and not summary.skipped
    assert len(summary.incomplete) == 3
    assert all(line.startswith("without activations: ") and why in line for _, line in summary.incomplete)
    records = told(tmp_path / "out")
    assert metrics(records["decoder_similarity"]) == WEIGHTS
    assert {"shared", "mcc"} <= metrics(records["seed_overlap"]) and "density" not in metrics(records["seed_overlap"])
    assert why in records["seed_overlap"]["missing"]["density"]


def test_a_grown_sae_is_measured_on_weights_where_the_text_cannot_be_had(
    tmp_path: Path, world: Path, save: Callable[..., Path]
):
    evals = {"grow_delta": SMALL | {"context_size": 128, "min_live": 0.0}}
    plan = plan_of(world, save("grown", d_sae=28), evals=evals, control=str(save("control")))
    _, summary = carry_out(plan, tmp_path / "out")
    assert summary.ok == 1 and "without activations: context_size 128" in summary.incomplete[0][1], summary
    record = told(tmp_path / "out")["grow_delta"]
    assert "delta_share" in metrics(record) and "context_size 128" in record["missing"]["live_added"]
    plan = plan_of(world, tmp_path / "grown", evals={"grow_delta": {}}, control=str(tmp_path / "control"))
    _, summary = carry_out(plan, tmp_path / "out")
    assert summary.skipped and summary.incomplete, "whether it can be measured may be another answer another time"
    assert carry_out(plan, tmp_path / "out", retry=True)[0] == 1


@pytest.mark.parametrize("lacking", ["hook", "text", "width"])
def test_an_eval_that_needs_them_fails_as_ever(tmp_path: Path, world: Path, save: Callable[..., Path], lacking: str):
    changes, _, why = LACKING[lacking]
    _, summary = carry_out(plan_of(world, save(**changes), evals={"needy": {}}), tmp_path / "out")
    ((_, error),) = summary.failed
    assert why in error and not summary.incomplete


def test_a_random_control_is_measured_without_text_too(tmp_path: Path, world: Path, save: Callable[..., Path]):
    plan = plan_of(
        world,
        save(hook="blocks.9.hook_resid_post"),
        evals={"decoder_similarity": SMALL, "curious": {}},
        controls=("random",),
    )
    _, summary = carry_out(plan, tmp_path / "out")
    assert summary.ok == 4, summary.failed


def test_what_can_be_had_is_handed_out_and_the_rest_is_not(tmp_path: Path, world: Path, save: Callable[..., Path]):
    given = {}
    for name, changes in {"all": {}, "hook": {"hook": "blocks.9.hook_resid_post"}}.items():
        carry_out(plan_of(world, save(name, **changes), evals={"curious": {}}), tmp_path / f"out-{name}")
        record = told(tmp_path / f"out-{name}")["curious"]
        given[name] = {s["params"].removeprefix("field=") for s in record["scores"] if s["value"]}, record["incomplete"]
    assert given["all"] == ({"model", "data", "activation_source", "artifacts"}, {})
    fields, incomplete = given["hook"]
    assert fields == {"model", "data", "artifacts"} and set(incomplete) == {"activations"}


def test_an_incomplete_run_is_done_again_when_asked_and_is_then_whole(
    tmp_path: Path, world: Path, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    def gone(name: str, **_: Any) -> None:
        raise BadInput(f"model {name!r} cannot be loaded: OSError: gone")

    out, plan = tmp_path / "out", plan_of(world, save(), evals={"decoder_similarity": SMALL})
    with monkeypatch.context() as patch:
        patch.setattr(models, "load_model", gone)
        done, summary = carry_out(plan, out)
    assert done == 1 and summary.ok == 1 and "OSError: gone" in summary.incomplete[0][1]
    assert carry_out(plan, out)[0] == 0, "nobody asked for it"
    done, summary = carry_out(plan, out, retry=True)
    assert done == 1 and summary.ok == 1 and not summary.incomplete
    record = told(out)["decoder_similarity"]
    assert record["incomplete"] == {} and metrics(record) > WEIGHTS and not set(record["missing"]) - {"pc_share"}
    assert carry_out(plan, out, retry=True)[0] == 0


def test_a_text_that_the_hub_does_not_give_now_is_done_without_and_a_wrong_name_is_refused(
    tmp_path: Path, world: Path, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    class Hub:
        error: Exception = OSError("no network")

        def dataset_info(self, *_: Any, **__: Any) -> None:
            raise self.error

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    sae, evals = save(), {"decoder_similarity": SMALL}
    plan = plan_of(world, sae, evals=evals, data="org/name")
    assert "no network" in plan.runs[0].absent["activations"] and plan.runs[0].data is None
    assert carry_out(plan, tmp_path / "out")[1].ok == 1
    with pytest.raises(BadInput, match="no network"):
        plan_of(world, sae, evals={"needy": {}}, data="org/name")
    Hub.error = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    for wrong in ("org/name", "ofline"):
        with pytest.raises(BadInput, match=wrong):
            plan_of(world, sae, evals=evals, data=wrong)
