"""How the truth reaches an eval: the world beside a checkpoint, in a suite, or in memory; and what becomes of a run where it cannot be had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from known_saes import build, oracle

from hedgebench import Eval, Metric, Score, evaluate
from hedgebench.cli import main
from hedgebench.plan import make_plan
from hedgebench.records import read_records
from hedgebench.results import read_results, read_runs
from hedgebench.session import Job, Session
from hedgebench.suite import EvalEntry, SaeEntry, Suite, read_suite
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import World, make_world
from hedgebench.types import BadInput

NONE = "it needs the true features, and this checkpoint comes with none"


class Truth(Eval):
    """What it is given."""

    name, version, needs = "truth", 1, frozenset({"sae", "features"})
    metrics = (Metric("n_features", "number of true features"), Metric("mean", "mean of some samples"))

    def run(self, ctx, cfg):
        assert isinstance(ctx.features, World) and ctx.features.features.device.type == "cpu"
        yield Score("n_features", ctx.features.n_features)
        yield Score("mean", float(ctx.features.sample(50, ctx.generator).activations.mean()))


class Weights(Eval):
    """It needs no features."""

    name, version, draws = "weights", 1, False
    metrics = (Metric("norm", "a norm"),)

    def run(self, ctx, cfg):
        assert ctx.features is None
        yield Score("norm", float(ctx.sae.W_dec.norm()))


CLASSES = {"truth": Truth, "weights": Weights}


def small_world(name: str = "pair", n: int = 2, d_in: int = 6, **more: Any) -> World:
    return make_world(WorldConfig(name, d_in, (0.25,) * n, **more))


@pytest.fixture
def world() -> World:
    return small_world()


@pytest.fixture
def trained(tmp_path: Path, world: World) -> Path:
    """An SAE with its world beside it."""
    folder = tmp_path / "trained"
    save(folder, world)
    world.save(folder / "world")
    return folder


def save(folder: Path, world: World) -> None:
    oracle(world.features).save_model(folder)


def suite_of(tmp_path: Path, *entries: str, evals: str = "truth") -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text("saes:\n" + "".join(f"  - {{{e}}}\n" for e in entries) + f"evals: [{evals}]\n")
    return path


def plan_of(suite: Suite | Path) -> Any:
    return make_plan(read_suite(suite) if isinstance(suite, Path) else suite, evals=CLASSES)


def single(folder: Path, **entry: Any) -> Suite:
    return Suite("s", (SaeEntry("s:1", (str(folder),), **entry),), (EvalEntry("s:2", "truth"),))


def carry_out(plan: Any) -> list[Any]:
    session = Session(evals=CLASSES)
    runs = [run for run in plan.runs if run.run_id not in plan.unreadable]
    return [outcome for run in runs for _, outcome in session.carry_out(Job((run,)), lambda _: None)]


# --- from the command line ------------------------------------------------------------------------------------------------------


def test_an_sae_with_a_world_beside_it_is_scored_from_the_command_line(
    tmp_path: Path, trained: Path, world: World, capfd: pytest.CaptureFixture[str]
):
    save(tmp_path / "alone", small_world("other", 3))
    saes = ["--sae", str(trained), "--sae", str(tmp_path / "alone")]
    out = tmp_path / "out"
    assert main(["run", *saes, "--eval", "toy_recovery:n_samples=2000", "--out", str(out)]) == 0
    assert "1 of 2 runs ok (0 were done before), 1 cannot be measured, 0 failed" in capfd.readouterr().err
    table = read_results(out)
    assert set(table["data"]) == {world.identity} and world.identity.startswith("toy:pair@")
    assert table[table["metric"] == "hedged"]["value"].abs().max() < 1e-6
    runs = read_runs(out).set_index("sae")
    assert (runs.loc["trained", "status"], runs.loc["alone", "status"]) == ("ok", "skipped")
    assert runs.loc["alone", "error"] == NONE
    assert str(tmp_path) not in json.dumps(list(read_records(out)))


def test_a_suite_names_the_world_of_saes_that_have_none_beside_them(
    tmp_path: Path, trained: Path, world: World, capfd: pytest.CaptureFixture[str]
):
    other = small_world("other", 20, 24, magnitude_std=0.3)  # with a few equal strengths, not every L0 could be met
    build(other.features.T, other.features, b_enc=-0.1 * torch.ones(20)).save_model(tmp_path / "alone")
    other.save(tmp_path / "truth")
    path = suite_of(tmp_path, "path: alone, world: truth", "path: trained", "controls: [random]", evals="toy_recovery")
    out = tmp_path / "out"
    assert main(["run", str(path), "--out", str(out)]) == 0
    table = read_results(out)
    named = dict(zip(table["sae"], table["data"], strict=True))
    assert named["alone"] == named["alone/random"] == other.identity
    assert named["trained"] == named["trained/random"] == world.identity
    # a random control fires as much as its SAE: its threshold is set on samples of the world
    l0 = table[(table["metric"] == "l0") & (table["slice_by"] == "all")].set_index("sae")["value"]
    assert l0["alone/random"] == pytest.approx(l0["alone"], rel=0.05)


# --- where the world comes from ------------------------------------------------------------------------------------------------


def test_a_world_in_the_suite_goes_before_the_one_beside_the_checkpoint(tmp_path: Path, trained: Path):
    other = small_world("other", 3)
    other.save(tmp_path / "truth")
    (run,) = plan_of(suite_of(tmp_path, "path: trained, world: truth")).runs
    assert run.data == other.identity and Path(run.world) == tmp_path / "truth"
    (run,) = plan_of(suite_of(tmp_path, "path: trained")).runs
    assert run.data == small_world().identity and Path(run.world) == trained / "world"


def test_the_folder_of_a_checkpoint_stands_for_the_world_in_it(tmp_path: Path, trained: Path, world: World):
    save(tmp_path / "alone", small_world("other", 3))
    (run,) = plan_of(suite_of(tmp_path, "path: alone, world: trained")).runs
    assert run.data == world.identity


def test_an_sae_that_is_named_twice_keeps_the_world_of_either_line(tmp_path: Path, trained: Path, world: World):
    save(tmp_path / "alone", world)
    for lines in (("path: alone", "path: alone, world: trained"), ("path: alone, world: trained", "path: alone")):
        (run,) = plan_of(suite_of(tmp_path, *lines)).runs
        assert run.data == world.identity


def test_what_saelens_saves_beside_its_sae_is_a_world(tmp_path: Path):
    from sae_lens.synthetic import SyntheticModelConfig

    synthetic = make_world(SyntheticModelConfig.from_dict({
        "num_features": 4, "hidden_dim": 6, "seed": 0,
        "firing_probability": {"generator_name": "zipfian"},
    }))  # fmt: skip
    save(tmp_path / "sae", synthetic)
    synthetic.save(tmp_path / "sae" / "synthetic_model")
    plan = plan_of(single(tmp_path / "sae"))
    assert plan.runs[0].data == synthetic.identity
    (outcome,) = carry_out(plan)
    assert outcome.status == "ok" and outcome.scores[0]["value"] == 4


def test_worlds_in_memory_and_in_a_folder_give_the_same_numbers_and_the_same_run(tmp_path: Path, world: World):
    world.save(tmp_path / "truth")
    sae = oracle(world.features)
    tables = [evaluate(sae, Truth, world=w) for w in (world, tmp_path / "truth", str(tmp_path / "truth"))]
    assert set(tables[0]["data"]) == {world.identity}
    for table in tables[1:]:
        assert (table["value"] == tables[0]["value"]).all() and (table["run_id"] == tables[0]["run_id"]).all()


def test_a_world_in_memory_goes_before_the_one_beside_the_checkpoint(trained: Path):
    other = small_world("other", 3)
    table = evaluate(trained, Truth, world=other)
    assert set(table["data"]) == {other.identity} and 3 in set(table["value"])


def test_each_sae_is_given_its_own_world(tmp_path: Path):
    for n in (2, 3, 4):
        world = small_world(f"w{n}", n)
        save(tmp_path / f"sae{n}", world)
        world.save(tmp_path / f"sae{n}" / "world")
    table = evaluate([tmp_path / f"sae{n}" for n in (2, 3, 4)], Truth)
    counts = table[table["metric"] == "n_features"].set_index("sae")["value"].to_dict()
    assert counts == {"sae2": 2, "sae3": 3, "sae4": 4}


# --- identity ------------------------------------------------------------------------------------------------------------------


def test_a_run_is_named_by_what_the_world_is_and_not_by_where_it_lies(tmp_path: Path, trained: Path, world: World):
    (here,) = plan_of(single(trained)).runs
    shutil.copytree(trained, tmp_path / "moved")
    (there,) = plan_of(single(tmp_path / "moved")).runs
    assert here.run_id == there.run_id and here.world != there.world
    small_world(seed=1).save(trained / "world")
    (changed,) = plan_of(single(trained)).runs
    (damaged,) = plan_of(single(trained, world=str(tmp_path))).runs
    shutil.rmtree(trained / "world")
    (bare,) = plan_of(single(trained)).runs
    assert len({run.run_id for run in (here, changed, damaged, bare)}) == 4
    assert (bare.data, bare.world) == (None, None)


def test_runs_that_need_no_features_are_the_same_with_a_world_and_without(tmp_path: Path, trained: Path):
    suite = Suite("s", (SaeEntry("s:1", (str(trained),)),), (EvalEntry("s:2", "weights"),))
    (with_world,) = plan_of(suite).runs
    shutil.rmtree(trained / "world")
    (without,) = plan_of(suite).runs
    assert with_world == without and without.world is None
    assert list(evaluate(trained, Weights, world=small_world())["run_id"]) == [without.run_id]


def test_a_job_keeps_its_world_on_the_way_to_a_worker(trained: Path):
    (run,) = plan_of(single(trained)).runs
    assert Job.from_dict(json.loads(json.dumps(Job((run,)).to_dict()))).first == run


# --- what goes wrong -----------------------------------------------------------------------------------------------------------


def test_without_a_world_a_run_is_skipped_and_says_why(tmp_path: Path, world: World):
    save(tmp_path / "alone", world)
    (outcome,) = carry_out(plan_of(single(tmp_path / "alone")))
    assert (outcome.status, outcome.error) == ("skipped", NONE)
    with pytest.raises(BadInput, match=NONE):
        evaluate(oracle(world.features), Truth)


def test_a_world_beside_it_that_comes_later_makes_it_another_run(tmp_path: Path, world: World):
    save(tmp_path / "late", world)
    out = tmp_path / "out"
    with pytest.raises(BadInput, match=NONE):
        evaluate(tmp_path / "late", Truth, out=out)
    world.save(tmp_path / "late" / "world")
    assert len(evaluate(tmp_path / "late", Truth, out=out)) == 2


@pytest.mark.parametrize(
    ("file", "content"), [("world.json", b"{"), ("world.safetensors", b"torn"), ("world.safetensors", None)]
)
def test_a_world_that_cannot_be_read_fails_its_own_run_in_one_line(
    tmp_path: Path, trained: Path, world: World, file: str, content: bytes | None, caplog: pytest.LogCaptureFixture
):
    damaged = trained / "world" / file
    good = damaged.read_bytes()
    damaged.unlink() if content is None else damaged.write_bytes(content)
    out = tmp_path / "out"
    assert set(evaluate(trained, [Truth, Weights], out=out)["eval"]) == {"weights"}
    error = read_runs(out).set_index("eval").loc["truth", "error"]
    assert "toy world" in error and "trained" in error and "\n" not in error
    assert "Traceback" not in caplog.text
    damaged.write_bytes(good)
    assert len(evaluate(trained, Truth, out=out)) == 2, "mended, it is another run"


def test_a_folder_without_a_world_is_told(tmp_path: Path, trained: Path):
    (tmp_path / "empty").mkdir()
    plan = plan_of(single(trained, world=str(tmp_path / "empty")))
    (line,) = plan.unreadable.values()
    assert "empty holds no toy world" in line
    with pytest.raises(BadInput, match="holds no toy world"):
        evaluate(trained, Truth, world=tmp_path / "empty")


def test_a_world_folder_that_is_not_there_is_told_with_its_line(tmp_path: Path, trained: Path):
    with pytest.raises(BadInput, match=r"suite.yaml:3: 'world' is 'thruth', and there is no such folder"):
        read_suite(suite_of(tmp_path, "path: trained", "path: trained, world: thruth"))
    with pytest.raises(BadInput, match=r"suite.yaml:2: .* no key 'wrld'; did you mean 'world'\?"):
        read_suite(suite_of(tmp_path, "path: trained, wrld: x"))


def test_a_world_that_changed_since_the_run_was_planned_is_not_used(trained: Path):
    plan = plan_of(single(trained))
    small_world(seed=1).save(trained / "world")
    (outcome,) = carry_out(plan)
    assert outcome.status == "failed" and "the toy world changed since the run was planned" in outcome.error


def test_a_world_of_another_dimension_fails_in_one_line(trained: Path, caplog: pytest.LogCaptureFixture):
    wide = small_world("wide", d_in=7)
    with pytest.raises(BadInput, match="trained reads 6 dimensions, and the toy world 'wide' has 7"):
        evaluate(trained, Truth, world=wide)
    assert "Traceback" not in caplog.text


def test_what_is_no_world_is_refused(trained: Path):
    with pytest.raises(BadInput, match=r"a world is a hedgebench\.toy\.worlds\.World or its folder, not 3"):
        evaluate(trained, Truth, world=3)  # type: ignore[arg-type]


def test_the_global_random_state_is_left_as_it_was(trained: Path):
    state = torch.get_rng_state()
    evaluate(trained, Truth)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_sae_of_a_single_latent_can_be_evaluated(world: World):
    # its encoder is one column, contiguous with whatever stride
    row = world.features[:1]
    assert len(evaluate(build(row.T, row), Weights)) == 1


def test_one_sae_beside_two_worlds_is_scored_on_both(tmp_path: Path, world: World):
    other = small_world("other", n=3)
    for name, truth in (("one", world), ("two", other)):
        save(tmp_path / name, world)
        truth.save(tmp_path / name / "world")
    suite = Suite(
        "s",
        tuple(SaeEntry(n, (str(tmp_path / n),), n) for n in ("one", "two")),
        (EvalEntry("e", "truth"), EvalEntry("e", "weights")),
    )
    runs = make_plan(suite, evals=CLASSES).runs
    assert {run.data for run in runs if run.eval == "truth"} == {world.identity, other.identity}
    assert [run.eval for run in runs].count("weights") == 1  # to whoever asks for no truth they are one SAE
