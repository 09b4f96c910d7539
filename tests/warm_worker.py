"""Worker processes that need not import torch and SAELens again (six seconds each): forks of one process that has.

They are processes of their own all the same, with their own session, environment and standard streams, and serve `hedgebench.worker.main`.
`python -m hedgebench.worker` itself is started by the tests that run the command line in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from multiprocessing import forkserver, reduction
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

CONTEXT = multiprocessing.get_context("forkserver")
Process = CONTEXT.Process


class WarmProcess:
    """What `hedgebench.worker` needs of `subprocess.Popen`."""

    def __init__(self, command: list[str], stderr: IO[bytes], env: dict[str, str], **_: object) -> None:
        start_nursery()
        (read_in, write_in), (read_out, write_out), (read_up, write_up) = os.pipe(), os.pipe(), os.pipe()
        theirs = [read_in, write_out, stderr.fileno(), write_up]
        self._process = CONTEXT.Process(target=_serve, args=(_Ends(theirs), command, env, str(Path.cwd())), daemon=True)
        self._process.start()
        for end in (read_in, write_out, write_up):
            os.close(end)
        os.read(read_up, 1)  # it has a session of its own now, by which it can be ended
        os.close(read_up)
        self.pid = self._process.pid
        self.stdin, self.stdout = os.fdopen(write_in, "w"), os.fdopen(read_out, errors="replace")

    def poll(self) -> int | None:
        """The exit code; None where it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """The exit code; of a process that a signal ended, less than 0."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return self._process.exitcode


class _Ends:
    """File descriptors, handed on with the process."""

    def __init__(self, ends: list[int]) -> None:
        self.ends = ends

    def __reduce__(self) -> Any:
        return _received, ([reduction.DupFd(end) for end in self.ends],)


def _received(ends: list[Any]) -> list[int]:
    return [end.detach() for end in ends]


def _serve(ends: list[int], command: list[str], env: dict[str, str], cwd: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for end, standard in zip(ends, (0, 1, 2), strict=False):
        os.dup2(end, standard)
    sys.stdin = os.fdopen(0)
    os.write(ends[3], b"!")
    for end in ends:
        os.close(end)
    multiprocessing.current_process()._config["daemon"] = False  # it may start processes, as any other
    sys.argv = command[-2:]
    from hedgebench import worker

    worker.main()


def start_nursery() -> None:
    """Start the process that the others are forks of, unless there is one."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), *sys.path]))
    try:
        CONTEXT.set_forkserver_preload(["warm_imports"])
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def popen(real: Any) -> SimpleNamespace:
    """Stands for the module `subprocess` in `hedgebench.worker`."""
    return SimpleNamespace(PIPE=real.PIPE, TimeoutExpired=real.TimeoutExpired, Popen=WarmProcess)
