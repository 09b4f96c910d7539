"""Ctrl-C, SIGTERM and SIGHUP at any moment of a command, also while it imports: one line, exit code 130, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import forked_runs
import pytest

MOMENT = """
    import atexit, os, signal, sys, time

    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started with: `&` and nohup ignore some
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    MODULE, NUMBER = os.environ["MOMENT"], int(os.environ["SIGNAL"])
    IS_WORKER = "hedgebench.worker" in sys.orig_argv

    def send(pid):
        try:
            os.kill(pid, NUMBER)
            for _ in range(1000):
                pass
        except BaseException:
            pass  # as packages do that try whether others are there

    class Finder:
        def find_spec(name, path=None, target=None):
            if name == MODULE and not IS_WORKER:
                send(os.getpid())
            if f"worker's {name}" == MODULE and IS_WORKER:
                with open("pid", "w") as file:
                    file.write(str(os.getpid()))
                send(os.getppid())
                time.sleep(1000)

    sys.meta_path.insert(0, Finder)
    if MODULE == "the end" and not IS_WORKER:
        atexit.register(send, os.getpid())
"""
"""Run as Python starts: a signal comes as a module is looked for, and what it raises gets lost."""
RUN = ["run", "s.yaml", "--out", "out"]
TRAIN = "model: smollm2-135m\nhook: blocks.8.hook_resid_post\ntokens: 4000\nsaes: [{architecture: batchtopk, width: 8, k: 2}]\n"
SCORES = "eval,sae,metric,value\nevals,a,sum,1.0\n"


@pytest.fixture
def command(tmp_path: Path, save_sae: Callable[..., Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Carry out a command in a process of its own, to which a signal comes at a moment."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first/sitecustomize.py").write_text(textwrap.dedent(MOMENT))
    save_sae(tmp_path / "saes/alice")
    (tmp_path / "s.yaml").write_text("saes: [{path: saes/*}]\nevals: [decoder_bias]\n")
    (tmp_path / "train.yaml").write_text(TRAIN)
    (tmp_path / "t.csv").write_text(SCORES)

    def carry_out(words: list[str], moment: str, number: int) -> subprocess.CompletedProcess[str]:
        places = os.pathsep.join([str(tmp_path / "first"), *filter(None, sys.path)])
        env = {**os.environ, "PYTHONPATH": places, "MOMENT": moment, "SIGNAL": str(int(number))}
        return subprocess.run(
            [sys.executable, "-P", "-m", "hedgebench.cli", *words],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return carry_out


@pytest.mark.parametrize(
    ("words", "moment", "number"),
    [
        (RUN, "argparse", signal.SIGINT),
        (RUN, "hedgebench.cli_run", signal.SIGTERM),
        (RUN, "yaml", signal.SIGHUP),
        (RUN, "torch", signal.SIGINT),
        (["check", "t.csv", "--baseline", "t.csv"], "pandas", signal.SIGINT),
        (["leaderboard", "t.csv", "--out", "b.html"], "numpy", signal.SIGINT),
        (["train", "train.yaml", "--out", "out"], "torch", signal.SIGTERM),
    ],
)
def test_a_signal_that_comes_during_an_import_stops_the_command_with_one_line(
    words: list[str], moment: str, number: int, command: Callable[..., subprocess.CompletedProcess[str]]
):
    done = command(words, moment, number)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "hedgebench: stopped; what is finished is kept, and the same command goes on from there\n"


def test_a_signal_that_comes_while_the_worker_imports_leaves_no_worker_behind(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    done = command(RUN, "worker's torch", signal.SIGINT)
    assert done.returncode == 130, done.stderr
    assert done.stderr.count("hedgebench: stopped; 0 of 1 runs are done") == 1 and "Traceback" not in done.stderr
    assert forked_runs.are_gone([int((tmp_path / "pid").read_text())])


def test_a_signal_that_comes_when_all_is_done_changes_nothing(command: Callable[..., subprocess.CompletedProcess[str]]):
    done = command(["inspect", "saes/alice"], "the end", signal.SIGINT)
    assert done.returncode == 0 and "alice" in done.stdout and not done.stderr


def test_what_a_signal_raises_is_not_lost_where_python_goes_on():
    deaf = """
        import os, signal

        signal.signal(signal.SIGINT, signal.default_int_handler)
        from hedgebench.stopping import stoppable

        class Deaf:
            def __del__(self):
                os.kill(os.getpid(), 2)
                for _ in range(1000):
                    pass

        def command():
            Deaf()
            return 0

        raise SystemExit(stoppable(command))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(deaf)], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.count("\n") == 1 and "hedgebench: stopped" in done.stderr


def test_a_command_that_was_started_to_hear_no_hang_up_does_not_hear_it():
    deaf = """
        import os, signal
        from hedgebench.stopping import stoppable

        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        raise SystemExit(stoppable(lambda: os.kill(os.getpid(), signal.SIGHUP) or 7))
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(deaf)]).returncode == 7


def test_the_commands_are_known_before_anything_heavy_is_imported():
    names = "import sys, hedgebench.cli_commands; print([m for m in ('torch', 'pandas', 'numpy', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
