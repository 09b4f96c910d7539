"""`hedgebench run` in processes of its own that can be killed at any moment, and need not import all again: forks of one process that has.

Each starts its workers by forking itself. All else is as it is on the command line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import warm_worker


def start(*argv: str, log: Path, dies: str = "never") -> warm_worker.Process:
    """Start a command.

    Args:
        argv: Its words.
        log: Takes what it prints.
        dies: When it is killed: `before N`, `after N` the Nth record gets its name; `at FILE` after that file got its.
    """
    warm_worker.start_nursery()
    process = warm_worker.CONTEXT.Process(target=_command, args=(argv, dict(os.environ), str(log), dies))
    process.start()
    return process


def hold(out: Path) -> warm_worker.Process:
    """A process that is at work in a results folder."""
    warm_worker.start_nursery()
    there, here = warm_worker.CONTEXT.Pipe()
    process = warm_worker.CONTEXT.Process(target=_hold, args=(str(out), here))
    process.start()
    there.recv()
    return process


def _hold(out: str, here: Connection) -> None:
    from hedgebench.claims import Claims

    with Claims(Path(out)):
        here.send("there")
        time.sleep(1000)


def workers(pid: int) -> list[int]:
    """The worker processes of a command that are alive."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, file.read_text().split())
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def are_gone(pids: list[int]) -> bool:
    """Whether none of these processes is alive, ten seconds from now at the latest."""
    end = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


def _command(argv: tuple[str, ...], env: dict[str, str], log: str, dies: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(out, standard)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # whatever the tests were started with: `&` and nohup ignore some
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    from hedgebench.cli import main

    fork_workers()
    _die(dies)
    sys.exit(main(argv))


def _die(moment: str) -> None:
    replace, count = Path.replace, 0

    def deadly(self: Path, target: Path) -> Path:
        nonlocal count
        count += (is_record := "records" in Path(target).parts)
        if is_record and moment == f"before {count}":
            os.kill(os.getpid(), signal.SIGKILL)
        done = replace(self, target)
        if (is_record and moment == f"after {count}") or moment == f"at {Path(target).name}":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = deadly  # type: ignore[method-assign]


def fork_workers() -> None:
    """From now on this process starts its workers by forking itself."""
    from hedgebench import worker

    worker.subprocess = SimpleNamespace(  # type: ignore[assignment]
        PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired, Popen=ForkedProcess
    )


class ForkedProcess:
    """What `hedgebench.worker` needs of `subprocess.Popen`."""

    def __init__(self, command: list[str], stderr: IO[bytes], env: dict[str, str], **_: object) -> None:
        (read_in, write_in), (read_out, write_out) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            for end, standard in ((read_in, 0), (write_out, 1), (stderr.fileno(), 2)):
                os.dup2(end, standard)
            nothing = os.open(os.devnull, os.O_RDWR)
            for name in [path.name for path in Path("/proc/self/fd").iterdir()]:
                if int(name) not in (
                    0,
                    1,
                    2,
                    nothing,
                ):  # above all the pipes of its brothers, which must end with the parent
                    with suppress(OSError):
                        os.fstat(int(name))
                        os.dup2(nothing, int(name), inheritable=False)
            os.environ.clear()
            os.environ.update(env)
            sys.stdin, sys.stderr, sys.argv = os.fdopen(0), os.fdopen(2, "w", buffering=1), command[-2:]
            from hedgebench import worker

            try:
                worker.main()
            finally:
                os._exit(1)
        for end in (read_in, write_out):
            os.close(end)
        self.stdin, self.stdout = os.fdopen(write_in, "w"), os.fdopen(read_out, errors="replace")
        self._code: int | None = None
        self._asking = threading.Lock()

    def poll(self) -> int | None:
        """The exit code; None where it runs."""
        with self._asking:  # the system tells it once, and several threads ask
            if self._code is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float) -> int:
        """The exit code; of a process that a signal ended, less than 0."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.005)
        return code
