"""A batch on a Ray cluster: the same table as on this machine, whatever becomes of a node."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_models import save_world

from hedgebench import read_results
from hedgebench.cli import main
from hedgebench.ray_places import RayPlace, ray_places
from hedgebench.results import read_runs
from hedgebench.suite import RayOptions, read_suite
from hedgebench.types import BadInput

ray = pytest.importorskip("ray")
SMALL = {"n_batches": 2, "batch_size": 4, "context_size": 16}
HOOK = "blocks.0.hook_resid_post"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster without any place, to which nodes are added; each test has its own."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # actors import torch here, beside whatever else runs
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and texts for it."""
    return save_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def suite(
    world: Path, tmp_path: Path, save_sae: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Writes a suite of six SAEs."""
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))
    for seed in range(6):
        model = str(world / "model")
        save_sae(tmp_path / "saes" / f"sae{seed}", seed=seed, d_in=32, d_sae=24, hook=HOOK, model_name=model)

    def write(address: str, evals: str = f"[decoder_bias, {{bias_alignment: {SMALL}}}]", more: str = "") -> Path:
        path = tmp_path / "suite.yaml"
        path.write_text(
            f"saes:\n  - path: saes/*\nevals: {evals}\nseeds: [0, 1]\ndata: {world / 'texts'}\n"
            f"ray: {{address: '{address}', num_cpus: 1}}\n{more}".replace("{'", "{")
            .replace("':", ":")
            .replace(", '", ", ")
        )
        return path

    return write


def scores_of(out: Path) -> pd.DataFrame:
    return read_results(out).sort_values(["run_id", "metric", "params", "slice_value"], ignore_index=True)


@pytest.mark.parametrize("n_nodes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_batch_on_a_cluster_gives_the_local_table_to_the_last_digit(
    n_nodes: int, cluster: Any, suite: Any, tmp_path: Path
):
    for _ in range(n_nodes):
        cluster.add_node(num_cpus=1)
    file = suite(cluster.address)
    assert main(["run", str(file), "--out", str(tmp_path / "ray"), "--executor", "ray"]) == 0
    assert main(["run", str(file), "--out", str(tmp_path / "local"), "--workers", "2"]) == 0
    pd.testing.assert_frame_equal(scores_of(tmp_path / "ray"), scores_of(tmp_path / "local"))
    assert set(read_runs(tmp_path / "ray")["status"]) == {"ok"}
    assert not ray.is_initialized()


SLOW = """
    import os, signal, time
    from pathlib import Path
    from hedgebench import Eval, Metric, Score

    class Slow(Eval):
        name = "slow"
        version = 1
        needs = frozenset({"sae"})
        metrics = (Metric("width", "number of latents"),)

        def run(self, ctx, cfg):
            marks = Path(os.environ["HEDGEBENCH_MARKS"])
            (marks / f"{ctx.checkpoint.name}-{ctx.seed}-{time.time_ns()}").touch()
            time.sleep(1.5)
            if (marks / f"{ctx.checkpoint.name}-dies").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            if (marks / f"{ctx.checkpoint.name}-hangs").exists():
                time.sleep(600)
            yield Score("width", float(ctx.sae.cfg.d_sae))
"""


@pytest.fixture
def marks(plugin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which each run of the eval `slow` leaves a mark."""
    plugin(SLOW, slow="Slow")
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv("HEDGEBENCH_MARKS", str(folder))
    return folder


@pytest.mark.slow
def test_what_ran_on_a_node_that_is_lost_runs_elsewhere(cluster: Any, suite: Any, marks: Path, tmp_path: Path):
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    out = tmp_path / "out"

    def remove() -> None:
        while len(list(out.glob("records/*/*.json"))) < 2:
            time.sleep(0.1)
        cluster.remove_node(nodes[0], allow_graceful=False)

    remover = threading.Thread(target=remove)
    remover.start()
    assert main(["run", str(suite(cluster.address, "[slow]")), "--out", str(out), "--executor", "ray"]) == 0
    remover.join()
    runs = read_runs(out)
    assert len(runs) == 12 and set(runs["status"]) == {"ok"}
    assert len(read_results(out)) == 12
    assert 12 <= len(list(marks.iterdir())) <= 13  # one run at most was begun twice, and none of those that were done


@pytest.mark.slow
def test_a_run_that_kills_its_actor_or_hangs_fails_alone(
    cluster: Any, suite: Any, marks: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    cluster.add_node(num_cpus=2)
    (marks / "sae1-dies").touch()
    (marks / "sae4-hangs").touch()
    file = suite(cluster.address, "[slow]", "time_limit: 5\n")
    assert main(["run", str(file), "--out", str(tmp_path / "out"), "--executor", "ray"]) == 1
    runs = read_runs(tmp_path / "out").set_index("sae")
    assert set(runs.loc[["sae0", "sae2", "sae3", "sae5"], "status"]) == {"ok"}
    assert set(runs.loc[["sae1", "sae4"], "status"]) == {"failed"}
    assert runs.loc["sae1", "error"].str.contains("the Ray actor is gone").all()
    assert set(runs.loc["sae4", "error"]) == {"the Ray actor was stopped: the time limit of 5 s for a run is over"}


def test_without_a_node_that_is_large_enough_nothing_begins(
    cluster: Any, suite: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    cluster.add_node(num_cpus=1)
    command = ["run", str(suite(cluster.address)), "--out", str(tmp_path / "out"), "--executor", "ray"]
    assert main([*command, "--device", "cuda"]) == 2
    said = capfd.readouterr().err
    assert "no node of the Ray cluster has 1 CPU and 1 GPU; its nodes have 0 CPU and 0 GPU, 1 CPU and 0 GPU" in said
    assert not ray.is_initialized() and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_where_no_place_can_start_the_batch_ends_with_one_line_and_no_run_has_failed(
    cluster: Any, suite: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    cluster.add_node(num_cpus=2)
    command = ["run", str(suite(cluster.address)), "--out", str(tmp_path / "out"), "--executor", "ray"]
    assert main([*command, "--device", "mps"]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("hedgebench:")]
    assert "a place on the Ray cluster cannot start: device 'mps' cannot be used here" in line
    assert line.count("what is finished is kept, and the same command goes on from there") == 1
    assert len(read_runs(tmp_path / "out")) == 0


@pytest.mark.parametrize(("cause", "outside"), [("SIGKILL", True), ("out of memory", True), ("SIGSEGV", False)])
def test_what_ended_an_actor_is_found_however_late_ray_says_it(cause: str, outside: bool):
    error = ray.exceptions.RayError("The actor died unexpectedly. " * 20 + cause)
    died = RayPlace("cpu", RayOptions())._gone(error, began=True)
    assert died.outside is outside and len(str(died)) < 350


@pytest.mark.parametrize("error", [ConnectionError("no answer"), Exception("timed out during startup")])
def test_a_cluster_that_is_not_there_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch):
    def init(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(BadInput, match=f"no Ray cluster at h:1: {error}; for one that asks for a token, set RAY_AUTH"):
        ray_places(None, "cpu", RayOptions("h:1")).__enter__()


def test_a_gpu_device_without_a_gpu_is_one_line():
    with pytest.raises(BadInput, match="--device cuda needs `num_gpus` above 0 in the suite's `ray:`"):
        ray_places(None, "cuda", RayOptions(num_gpus=0.0)).__enter__()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ray: 3", "'ray' is a mapping"),
        ("ray: {cores: 3}", "'ray' has no key 'cores'"),
        ("ray: {num_cpus: -1}", "'num_cpus' must be a number above 0, not -1"),
        ("ray: {num_gpus: true}", "'num_gpus' must be a number above 0, not True"),
        ("ray: {num_cpus: 0, num_gpus: 0}", "'ray' takes no core and no GPU"),
        ("ray: {num_cpus: 0}", "'ray' takes no core and no GPU"),
        ("ray: {address: 3}", "'address' must be a text"),
    ],
)
def test_a_wrong_mapping_is_one_line(given: str, message: str, tmp_path: Path):
    (tmp_path / "suite.yaml").write_text(f"saes: [{{path: x}}]\nevals: [decoder_bias]\n{given}\n")
    with pytest.raises(BadInput, match=f"suite.yaml:3: {message}"):
        read_suite(tmp_path / "suite.yaml")


def test_what_ray_takes_may_be_shares(tmp_path: Path):
    (tmp_path / "suite.yaml").write_text(
        "saes: [{path: x}]\nevals: [decoder_bias]\nray: {num_gpus: 0.25, num_cpus: 0}\n"
    )
    assert read_suite(tmp_path / "suite.yaml").ray == RayOptions(None, 0.0, 0.25)
