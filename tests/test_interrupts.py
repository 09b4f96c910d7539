"""Ctrl-C, and what a batch system sends: a batch stops at once, leaves no process behind, and says how to go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import forked_runs
import pytest

from hedgebench.cli import main
from hedgebench.plan import make_plan
from hedgebench.records import Outcome, read_records
from hedgebench.runner import execute
from hedgebench.suite import read_suite

EVALS = """
    import os, re, subprocess, time
    from pathlib import Path
    from hedgebench import Eval, Metric, Score

    HERE = Path(__file__).parent

    class Slow(Eval):
        "Is quick on alice, and takes for ever on the others."
        name, version, draws = "slow", 1, False
        metrics = (Metric("sum", "a sum"),)
        def run(self, ctx, cfg):
            name = ctx.checkpoint.name
            if name != "alice":
                child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
                (HERE / f"pids-{name}").write_text(f"{os.getpid()} {child.pid}\\n")
                FOREVER
            yield Score("sum", float(ctx.sae.b_dec.sum()))
"""


class Stuck:
    """A batch of which one run is done, and two take for ever."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder, self.site, self.out, self.log = folder, site, folder / "out", folder / "messages"
        self.suite = folder / "s.yaml"
        self.suite.write_text("saes: [{path: saes/*}]\nevals: [slow]\n")

    def start(self, n_workers: int, *options: str) -> forked_runs.warm_worker.Process:
        """A command that has come to where it is stuck."""
        words = ["run", str(self.suite), "--out", str(self.out), "--workers", str(n_workers), *options]
        process = forked_runs.start(*words, log=self.log)
        end = time.monotonic() + 120
        while len(self.pids()) < 2 * n_workers or not list(read_records(self.out)):
            assert time.monotonic() < end and process.is_alive(), self.log.read_text()
            time.sleep(0.02)
        return process

    def pids(self) -> list[int]:
        """The workers that are stuck, and what they started."""
        texts = [file.read_text() for file in self.site.glob("pids-*")]
        return [int(pid) for text in texts if text.endswith("\n") for pid in text.split()]

    def nobody_is_left(self) -> bool:
        return forked_runs.are_gone(self.pids())


@pytest.fixture
def stuck(tmp_path: Path, save_sae: Callable[..., Path], plugin: Callable[..., Path]) -> Callable[[str], Stuck]:
    def make(forever: str = "time.sleep(1000)") -> Stuck:
        for seed, name in enumerate(("alice", "bob", "carol")):
            save_sae(tmp_path / "saes" / name, seed=seed)
        return Stuck(tmp_path, plugin(EVALS.replace("FOREVER", forever), slow="Slow"))

    return make


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_batch_stops_at_once_leaves_nobody_behind_and_says_how_to_go_on(
    number: int, n_workers: int, stuck: Callable[..., Stuck]
):
    batch = stuck()
    process = batch.start(n_workers)
    started = time.monotonic()
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 130 and time.monotonic() - started < 20
    messages = batch.log.read_text()
    assert "hedgebench: stopped; 1 of 3 runs are done, and the same command goes on from there" in messages
    assert "Traceback" not in messages and messages.count("hedgebench:") == 1
    assert batch.nobody_is_left()
    statuses = [record["hedgebench"]["status"] for record in read_records(batch.out)]
    assert statuses == ["ok"], "what was stopped has not failed"


def test_a_worker_that_is_deep_in_foreign_code_is_stopped_too(stuck: Callable[..., Stuck]):
    batch = stuck("re.match('(a+)+$', 'a' * 60 + 'b')")
    process = batch.start(1)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130 and batch.nobody_is_left()


def test_a_second_ctrl_c_while_it_stops_makes_no_noise(stuck: Callable[..., Stuck]):
    batch = stuck()
    process = batch.start(2)
    for _ in range(3):
        if process.is_alive():
            os.kill(process.pid, signal.SIGINT)
        time.sleep(0.01)
    process.join(60)
    assert process.exitcode == 130 and batch.nobody_is_left()
    assert "Traceback" not in batch.log.read_text()


class Impatient:
    """A place at which Ctrl-C comes, and again as often as it is about to be closed."""

    closed = 0

    def carry_out(self, *_: object) -> Iterator[tuple[str, Outcome]]:
        raise KeyboardInterrupt
        yield

    def close(self) -> None:
        if not self.closed:
            os.kill(os.getpid(), signal.SIGINT)
        self.closed += 1


def test_a_second_ctrl_c_does_not_stop_halfway_what_the_first_began(tmp_path: Path, save_sae: Callable[..., Path]):
    save_sae(tmp_path / "saes/alice")
    (tmp_path / "s.yaml").write_text("saes: [{path: saes/*}]\nevals: [decoder_bias]\n")
    plan, place = make_plan(read_suite(tmp_path / "s.yaml")), Impatient()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            execute(plan, plan.runs, tmp_path / "out", [place])
        assert place.closed and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_forced_batch_that_is_stopped_says_that_it_begins_anew(stuck: Callable[..., Stuck]):
    batch = stuck()
    process = batch.start(1, "--force")
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert "the same command with --force begins anew" in batch.log.read_text()


def test_what_a_killed_command_started_ends_with_it(stuck: Callable[..., Stuck]):
    batch = stuck()
    process = batch.start(2)
    process.kill()
    process.join(60)
    assert batch.nobody_is_left()


def test_ctrl_c_stops_an_evaluation_in_this_process(stuck: Callable[..., Stuck], tmp_path: Path):
    from hedgebench import evaluate

    batch = stuck("os.kill(os.getpid(), 2); time.sleep(1000)")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            evaluate(tmp_path / "saes/bob", "slow")
    finally:
        signal.signal(signal.SIGINT, before)
        os.kill(batch.pids()[1], signal.SIGKILL)


def test_the_commands_own_signals_are_those_of_before_when_it_is_over(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["cache"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
