"""Whatever a run does to the process it is in, it costs that run alone, and one clear line says what it was."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import forked_runs
import pandas as pd
import pytest

from hedgebench.cli import main
from hedgebench.results import read_runs

EVALS = """
    import ctypes, os, signal, subprocess, sys, threading, time
    from pathlib import Path
    from hedgebench import CannotMeasure, Eval, Metric, Score

    HERE = Path(__file__).parent

    def once():
        "True the first time only."
        try:
            (HERE / "once").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def answers():
        "The channel of the worker's answers: the first descriptor that was opened after standard error."
        return next(fd for fd in range(3, 50) if os.path.realpath(f"/proc/self/fd/{fd}").startswith("/proc") and
                    "pipe" in os.readlink(f"/proc/self/fd/{fd}") and os.get_inheritable(fd) is False and writable(fd))

    def writable(fd):
        import fcntl
        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY

    def start(how):
        "A process that sleeps; it has told its number."
        subprocess.Popen([*how, "sh", "-c", "echo $$ > part; mv part child; exec sleep 1000"], cwd=HERE)
        while not (HERE / "child").exists():
            time.sleep(0.01)

    def value(ctx):
        with (HERE / "computed.log").open("a") as log:
            log.write(f"{ctx.checkpoint.name}\\n")
        return float(ctx.sae.b_dec.sum())

    class Cursed(Eval):
        "Measures, but for the bad one."
        name, version, draws = "cursed", 1, False
        metrics = (Metric("sum", "a sum"),)
        def run(self, ctx, cfg):
            if ctx.checkpoint.name == "bad":
                CURSE
            yield Score("sum", value(ctx))

    class Together(Cursed):
        "The same, all SAEs in one pass."
        name = "together"
        def run_many(self, ctxs, cfg):
            for i, ctx in enumerate(ctxs):
                for score in self.run(ctx, cfg):
                    yield i, score
                DONE
"""
SAES = ("alice", "bad", "carol")


@pytest.fixture
def cursed(tmp_path: Path, save_sae: Callable[..., Path], plugin: Callable[..., Path]) -> Callable[..., pd.DataFrame]:
    """The runs of three SAEs, one of which is bad in the given way, after `hedgebench run`."""
    for seed, name in enumerate(SAES):
        save_sae(tmp_path / "saes" / name, seed=seed)

    def run(
        curse: str, eval_name: str = "cursed", done: str = "pass", code: int = 1, time_limit: float = 600
    ) -> pd.DataFrame:
        source = EVALS.replace("CURSE", curse).replace("DONE", done)
        plugin(source, cursed="Cursed", together="Together")
        (tmp_path / "s.yaml").write_text(f"saes: [{{path: saes/*}}]\nevals: [{eval_name}]\ntime_limit: {time_limit}\n")
        assert main(["run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out")]) == code
        return read_runs(tmp_path / "out").set_index("sae").loc[list(SAES)]

    return run


def computed(folder: Path) -> list[str]:
    return sorted((folder / "site1/computed.log").read_text().split())


DEATHS = {
    "ctypes.string_at(0)": "was ended by SIGSEGV; its last lines: Fatal Python error: Segmentation fault",
    "os._exit(0)": "ended with exit code 0",
    "os.kill(os.getpid(), 40)": "was ended by signal 40",
    "raise KeyboardInterrupt": "ended with exit code",
    "os.write(answers(), b'hello\\n'); time.sleep(1000)": "answered with what is no answer: 'hello",
    "os.write(answers(), b'[1, 2]\\n'); time.sleep(1000)": "answered with what is no answer: '[1, 2]",
    'os.write(answers(), b\'{"run_id": 1, "outcome": {"x": 2}}\\n\'); time.sleep(1000)': "answered with what is no answer",
    "os.write(answers(), bytes(range(128, 256)) + b'\\n'); time.sleep(1000)": "answered with what is no answer",
    "os.close(answers()); time.sleep(1000)": "was stopped: it closed the channel of its answers",
}


@pytest.mark.parametrize("curse", DEATHS)
def test_a_worker_that_breaks_costs_one_run(curse: str, cursed: Callable[..., pd.DataFrame]):
    runs = cursed(curse)
    assert list(runs["status"]) == ["ok", "failed", "ok"]
    assert DEATHS[curse] in runs.loc["bad", "error"] and len(runs.loc["bad", "error"].splitlines()) == 1


def test_a_process_that_a_run_forks_answers_for_nobody(cursed: Callable[..., pd.DataFrame]):
    runs = cursed("os.fork()", code=0)
    assert list(runs["status"]) == ["ok", "ok", "ok"]


def test_a_crash_is_noticed_though_a_forked_process_lives_on(cursed: Callable[..., pd.DataFrame]):
    started = time.monotonic()
    runs = cursed("time.sleep(1000) if os.fork() == 0 else os.kill(os.getpid(), signal.SIGSEGV)")
    assert list(runs["status"]) == ["ok", "failed", "ok"] and "was ended by SIGSEGV" in runs.loc["bad", "error"]
    assert time.monotonic() - started < 120


def test_what_reads_standard_input_finds_its_end_and_no_jobs(cursed: Callable[..., pd.DataFrame]):
    runs = cursed("assert not sys.stdin.read() and not subprocess.run(['cat'], capture_output=True).stdout", code=0)
    assert list(runs["status"]) == ["ok", "ok", "ok"]


@pytest.mark.parametrize(
    "curse", ["raise MemoryError", "raise SystemExit(3)", "raise RecursionError('deep')", "bytearray(2**60)"]
)
def test_an_exception_costs_one_run(curse: str, cursed: Callable[..., pd.DataFrame]):
    runs = cursed(curse)
    assert list(runs["status"]) == ["ok", "failed", "ok"]
    assert runs.loc["bad", "error"].startswith(("MemoryError", "SystemExit: 3", "RecursionError: deep"))


@pytest.mark.parametrize("flood", ["print('x' * 1000)", "sys.stdout.write('x' * 1000)", "os.write(2, b'x' * 1000)"])
def test_output_without_end_costs_one_run_and_little_of_the_disk(
    flood: str, cursed: Callable[..., pd.DataFrame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("hedgebench.worker.OUTPUT_LIMIT", 2**20)
    runs = cursed(f"while True: {flood}")
    assert list(runs["status"]) == ["ok", "failed", "ok"]
    assert "it printed more than 1 MiB; its last lines: xxx" in runs.loc["bad", "error"]
    assert len(runs.loc["bad", "error"]) < 1000
    assert (tmp_path / "out/logs/worker-0.log").stat().st_size < 2**20  # it was begun anew


def test_an_answer_without_end_costs_one_run(cursed: Callable[..., pd.DataFrame], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hedgebench.worker._ANSWER_LIMIT", 2**20)
    runs = cursed("while True: os.write(answers(), b'x' * 1000)")
    assert list(runs["status"]) == ["ok", "failed", "ok"] and "no answer: 'xxx" in runs.loc["bad", "error"]


@pytest.mark.parametrize(
    "hang",
    [
        "time.sleep(1000)",
        "while True: pass",
        "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
        "while True: ctx.progress(0.5)",
    ],
)
def test_a_run_that_hangs_is_stopped_after_its_time(hang: str, cursed: Callable[..., pd.DataFrame]):
    started = time.monotonic()
    runs = cursed(hang, time_limit=8)
    assert list(runs["status"]) == ["ok", "failed", "ok"] and "the time limit of 8 s" in runs.loc["bad", "error"]
    assert time.monotonic() - started < 600


@pytest.mark.parametrize("curse", ["time.sleep(1000)", "os._exit(1)", "raise ValueError('this one is bad')"])
def test_one_bad_run_of_several_that_share_a_pass_costs_itself_alone(
    curse: str, cursed: Callable[..., pd.DataFrame], tmp_path: Path
):
    runs = cursed(curse, "together", time_limit=8)
    assert list(runs["status"]) == ["ok", "failed", "ok"]
    assert computed(tmp_path) == ["alice", "alice", "carol"]  # it is tried again alone: nobody knew that she was done


@pytest.mark.parametrize("curse", ["time.sleep(1000)", "os._exit(1)", "raise ValueError('this one is bad')"])
def test_what_an_eval_says_is_done_is_kept_whatever_comes_later(
    curse: str, cursed: Callable[..., pd.DataFrame], tmp_path: Path
):
    runs = cursed(curse, "together", done="yield i, None", time_limit=8)
    assert list(runs["status"]) == ["ok", "failed", "ok"]
    assert computed(tmp_path) == ["alice", "carol"]
    assert runs["seconds"].sum() < 60


def test_a_shared_pass_that_hangs_eats_the_time_of_one_run_not_of_all(
    cursed: Callable[..., pd.DataFrame], tmp_path: Path, save_sae: Callable[..., Path]
):
    for seed in range(3, 12):
        save_sae(tmp_path / "saes" / f"other-{seed}", seed=seed)
    started = time.monotonic()
    runs = cursed("time.sleep(1000)", "together", time_limit=3)
    assert list(runs["status"]) == ["ok", "failed", "ok"]
    assert time.monotonic() - started < 25  # of twelve: 36 seconds, and those of the run itself


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_a_run_whose_worker_is_killed_from_outside_is_tried_once_more(
    number: str, cursed: Callable[..., pd.DataFrame], tmp_path: Path
):
    runs = cursed(f"if once(): os.kill(os.getpid(), signal.{number}); time.sleep(1000)", code=0)
    assert list(runs["status"]) == ["ok"] * 3 and computed(tmp_path) == ["alice", "bad", "carol"]


@pytest.mark.parametrize(
    ("curse", "why"),
    [
        ("ctx.details['eval_result_details'] = [float('nan')]", "its details are not plain JSON"),
        ("x = []; x.append(x); ctx.details['eval_result_details'] = x", "its details are not plain JSON"),
        ("yield Score('sum', 1.0, slice_by='odd', slice_value='\\ud800')", "its outcome cannot be written: UnicodeEncodeError"),
        ("ctx.progress(float('nan')); ctx.progress(1e9); raise ValueError('after')", "ValueError: after"),
        ("raise ValueError('the name \\ud800 is odd')", r"ValueError: the name \ud800 is odd"),
        ("yield 3", "expected a Score, found 3"),
        ("ctx.sae.b_dec.data += 1", "the eval changed the SAE it was given"),
        ("ctx.leave_blank(3, {1})", ""),
    ],
)  # fmt: skip
def test_odd_answers_cost_one_run(curse: str, why: str, cursed: Callable[..., pd.DataFrame]):
    runs = cursed(curse)
    assert list(runs["status"]) == ["ok", "failed", "ok"] and why in runs.loc["bad", "error"]


@pytest.mark.parametrize("how", [[], ["setsid", "-f"]], ids=["child", "daemon"])
@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("os._exit(1)", 1)], ids=["ok", "crash"])
def test_what_a_run_started_ends_with_its_worker(
    how: list[str], end: str, code: int, cursed: Callable[..., pd.DataFrame], tmp_path: Path
):
    cursed(f"start({how}); {end}", code=code)
    assert forked_runs.are_gone([int((tmp_path / "site1/child").read_text())])


def test_where_memory_runs_out_the_system_ends_the_worker_and_not_the_one_that_keeps_the_books(
    cursed: Callable[..., pd.DataFrame],
):
    runs = cursed("raise ValueError(Path('/proc/self/oom_score_adj').read_text())")
    assert runs.loc["bad", "error"] == "ValueError: 1000"
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 1000


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("/bin/false", "no worker process can be had: the worker process ended with exit code 1"),
        ("/no/such/python", "cannot start a worker process that logs to"),
    ],
)
def test_where_no_worker_starts_the_batch_ends_with_one_line_and_no_run_has_failed(
    program: str,
    why: str,
    cursed: Callable[..., pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    monkeypatch.setattr("hedgebench.worker.subprocess", subprocess)
    monkeypatch.setattr("sys.executable", program)
    with pytest.raises(KeyError):
        cursed("pass", code=2)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("hedgebench:")]
    assert why in line
    assert len(read_runs(tmp_path / "out")) == 0
