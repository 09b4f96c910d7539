"""Batches that are killed, at any moment and however often, come to the tables of an unbroken one: no row lost, none twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import forked_runs
import pandas as pd
import pytest

from hedgebench.cli import main
from hedgebench.jobs import JOB_RUNS
from hedgebench.results import read_results, read_runs

EVALS = """
    import time
    from pathlib import Path
    from hedgebench import Eval, Metric, Score

    LOG = Path(__file__).parent / "computed.log"

    def value(ctx, name):
        import torch
        time.sleep(0.01)
        with LOG.open("a") as log:
            log.write(f"{name} {ctx.checkpoint.name} {ctx.seed}\\n")
        if (LOG.parent / f"hang {ctx.checkpoint.name}").exists():
            (LOG.parent / f"hang {ctx.checkpoint.name}").rename(LOG.parent / f"hangs {ctx.checkpoint.name}")
            while (LOG.parent / f"hangs {ctx.checkpoint.name}").exists():
                time.sleep(0.01)
        return float(ctx.sae.b_dec.sum()) + float(torch.rand(1, generator=ctx.generator))

    class Fair(Eval):
        "Draws a number."
        name, version = "fair", 1
        metrics = (Metric("drawn", "a drawn number"),)
        def run(self, ctx, cfg):
            yield Score("drawn", value(ctx, "fair"))

    class Together(Fair):
        name = "together"
        def run_many(self, ctxs, cfg):
            for i, ctx in enumerate(ctxs):
                yield i, Score("drawn", value(ctx, "together"))
                yield i, None
"""
CLOCKS = ["seconds", "peak_mb", "started_at"]


class Batch:
    """A batch of quick runs, and what an unbroken run of it comes to."""

    def __init__(self, folder: Path, site: Path, n_saes: int) -> None:
        self.out, self.log, self.messages = folder / "out", site / "computed.log", folder / "messages"
        self.suite = folder / "suite.yaml"
        self.suite.write_text("saes: [{path: saes/*}]\nevals: [fair, together, decoder_bias]\nseeds: [0, 1]\n")
        assert main(["run", str(self.suite), "--out", str(folder / "whole")]) == 0
        self.whole = folder / "whole"
        self.n_runs = len(read_runs(self.whole))
        assert self.n_runs == 5 * n_saes
        self.begin_anew()

    def begin_anew(self) -> None:
        """As if nothing had been computed."""
        self.log.unlink(missing_ok=True)
        if self.out.exists():
            self.out.rename(self.out.with_name(f"done-{time.monotonic_ns()}"))

    def start(self) -> forked_runs.warm_worker.Process:
        return forked_runs.start("run", str(self.suite), "--out", str(self.out), "--retry-failed", log=self.messages)

    def computed(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def done(self) -> set[str]:
        """What has a good record, as `computed` tells it."""
        runs = read_runs(self.out) if self.out.exists() else pd.DataFrame(columns=["eval", "sae", "seed", "status"])
        runs = runs[runs["status"] == "ok"]
        return {f"{e} {sae} {seed}" for e, sae, seed in zip(runs["eval"], runs["sae"], runs["seed"], strict=True)}

    def check(self) -> None:
        """The tables, as files, are those of the unbroken run; nothing else lies about."""
        for name in ("scores.csv", "scores.parquet"):
            assert (self.out / name).read_bytes() == (self.whole / name).read_bytes(), name
        pd.testing.assert_frame_equal(read_results(self.out), read_results(self.whole))
        mine, whole = (pd.read_csv(folder / "runs.csv").drop(columns=CLOCKS) for folder in (self.out, self.whole))
        pd.testing.assert_frame_equal(mine, whole)
        left = [p for p in self.out.rglob("*") if p.suffix in (".part", ".damaged")]
        assert not left and len(list((self.out / "records").rglob("*.json"))) == self.n_runs


@pytest.fixture
def batch(tmp_path: Path, save_sae: Callable[..., Path], plugin: Callable[..., Path]) -> Callable[[int], Batch]:
    def make(n_saes: int) -> Batch:
        for seed in range(n_saes):
            save_sae(tmp_path / "saes" / f"sae-{seed}", seed=seed)
        return Batch(tmp_path, plugin(EVALS, fair="Fair", together="Together"), n_saes)

    return make


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def finish(*processes: forked_runs.warm_worker.Process) -> None:
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_two_processes_on_one_folder_share_the_work_and_both_end_with_whole_tables(batch: Callable[[int], Batch]):
    shared = batch(6)
    finish(*[shared.start() for _ in range(2)])
    assert set(Counter(shared.computed()).values()) == {1}
    shared.check()
    messages = shared.messages.read_text()
    assert messages.count(f"{shared.n_runs} of {shared.n_runs} runs ok") == 2
    logs = list((shared.out / "logs").glob("worker-*.log"))
    assert len(logs) == 2, "one of the two did nothing"


def one_hangs_and_the_other_waits(shared: Batch) -> tuple[forked_runs.warm_worker.Process, ...]:
    """Two processes on one folder; what the first has in hand ends when `hangs sae-1` is gone."""
    (shared.log.parent / "hang sae-1").touch()
    first = shared.start()
    wait_for((shared.log.parent / "hangs sae-1").exists)
    second = shared.start()
    wait_for(lambda: "waiting for" in shared.messages.read_text())
    return first, second


def test_what_another_process_has_in_hand_is_waited_for_and_not_computed_again(batch: Callable[[int], Batch]):
    shared = batch(3)
    first, second = one_hangs_and_the_other_waits(shared)
    assert len(shared.done()) < shared.n_runs
    (shared.log.parent / "hangs sae-1").unlink()
    finish(first, second)
    assert set(Counter(shared.computed()).values()) == {1}
    shared.check()


def test_what_a_killed_process_had_in_hand_is_taken_over_by_one_that_waits_for_it(batch: Callable[[int], Batch]):
    shared = batch(3)
    first, second = one_hangs_and_the_other_waits(shared)
    (shared.log.parent / "hang sae-1").touch()  # as a sign that the other has come to it
    first.kill()
    wait_for(lambda: not (shared.log.parent / "hang sae-1").exists())
    (shared.log.parent / "hangs sae-1").unlink()
    finish(second)
    shared.check()


def kill_and_resume(batch: Batch, seed: int, n_kills: int, n_processes: int) -> Counter[str]:
    """Start a batch again and again, and kill it, its worker or both after a random time; what was killed how often."""
    chance, killed, longest = random.Random(seed), Counter[str](), 2.0
    while killed.total() < n_kills:
        done, before, started = batch.done(), len(batch.computed()), time.monotonic()
        processes = [batch.start() for _ in range(n_processes)]
        what = chance.choice(["parent", "worker", "both"])
        victim = chance.choice(processes)
        time.sleep(chance.uniform(0, longest))
        struck = False
        workers = forked_runs.workers(victim.pid) if what != "parent" else []
        for pid in [*workers, *([victim.pid] if what != "worker" else [])]:
            if forked_runs.alive(pid):
                os.kill(pid, signal.SIGKILL)
                struck = True
        if what != "worker":
            for process in processes:
                if process is victim or n_processes == 1:
                    process.join(60)
        for process in processes:
            process.join(120)
            assert process.exitcode in (0, 1, -signal.SIGKILL), batch.messages.read_text()[-2000:]
        killed[what] += struck
        now = Counter(batch.computed()[before:])
        assert not done & now.keys(), "a finished run was computed again"
        # whoever takes over cannot know what the dead had in hand: one run, or those that share a pass
        twice = Counter(line.split()[0] for line, n in now.items() if n > 1)
        assert max(now.values(), default=0) <= 1 + struck, "runs were computed by both"
        assert twice["fair"] <= 1 and twice["together"] <= JOB_RUNS
        if all(process.exitcode == 0 for process in processes) or len(batch.done()) == batch.n_runs:
            longest = min(longest, 1.2 * (time.monotonic() - started))
            process = batch.start()
            process.join(120)
            assert process.exitcode == 0
            batch.check()
            batch.begin_anew()
    process = batch.start()
    process.join(120)
    assert process.exitcode == 0, batch.messages.read_text()[-2000:]
    batch.check()
    return killed


@pytest.mark.parametrize("n_processes", [1, 2])
def test_a_batch_that_is_killed_again_and_again_comes_to_the_tables_of_an_unbroken_one(
    batch: Callable[[int], Batch], n_processes: int
):
    assert kill_and_resume(batch(4), seed=n_processes, n_kills=4, n_processes=n_processes).total() >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("n_processes", [1, 2])
def test_after_a_hundred_kills_at_random_moments_the_tables_are_those_of_an_unbroken_batch(
    batch: Callable[[int], Batch], seed: int, n_processes: int
):
    killed = kill_and_resume(batch(20), seed, n_kills=100, n_processes=n_processes)
    assert killed.total() >= 100 and min(killed.values()) >= 5, killed
