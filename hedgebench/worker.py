"""The worker process: takes jobs as JSON lines, hands outcomes back. `python -m hedgebench.worker DEVICE`.

What upstream code prints, leaks or crashes on stays in here. The process ends by itself, with all that it started, when its parent is gone.
"""

from __future__ import annotations

import faulthandler
import fcntl
import itertools
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hedgebench.compat import prepare
from hedgebench.places import Listener, WorkerDied, answer, check_device, forward_notices
from hedgebench.records import Outcome
from hedgebench.session import Job, Session
from hedgebench.types import BadInput

OUTPUT_LIMIT = 256 * 2**20
"""Bytes that one job may print."""
_ANSWER_LIMIT = 2**30
"""Characters of one answer."""
_MARK = "HEDGEBENCH_WORKER"
"""The environment variable by which is known what a worker started, in whatever session it is by now."""


class Worker:
    """The parent's side: starts a worker process when the first job comes, and again after it died.

    Args:
        device: Torch device for the worker.
        logs: Folder for what the worker and the code in it print: `worker-N.log`, N the first that no other worker writes to.
        threads: Threads of its tensor operations; None leaves them to torch. Workers that share the cores of a machine
            must share them out: with all cores to each they wait for one another most of the time.
    """

    def __init__(self, device: str, logs: Path, threads: int | None = None) -> None:
        self.device, self.logs, self.threads = device, logs, threads
        self._process: subprocess.Popen[str] | None = None
        self._mark = ""
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._log: IO[bytes] | None = None
        self._log_start = 0
        self._came_up = False
        self._ending = threading.Lock()

    def carry_out(self, job: Job, limit: float, progress: Callable[[float], None]) -> Iterator[tuple[str, Outcome]]:
        """Have a job done; yield (run_id, outcome) as they come.

        Raises:
            WorkerDied: The process ended, gave no sign of life for `limit` seconds, took `limit` seconds for each run of the job, printed
                more than `OUTPUT_LIMIT`, or answered with what is no answer.
            BadInput: No process can be started.
        """
        process = self._running()
        self._begin_log()
        threading.Thread(target=_send, args=(process.stdin, job), daemon=True).start()
        listener = Listener(job, limit, progress)
        while not listener.done:
            try:
                line = self._lines.get(timeout=0.5)
            except queue.Empty:
                if process.poll() is not None and self._lines.empty():  # what it forked may hold the channel open
                    raise self._epitaph(process, listener.began) from None
            else:
                if line is None:
                    raise self._epitaph(process, listener.began)
                began = listener.began
                try:
                    heard = listener.hear(json.loads(line))
                except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
                    raise self._stopped(f"it answered with what is no answer: {line[:60]!r}") from None
                if listener.began and not began:
                    self._came_up = True
                    self._log_start += self._printed()  # what importing prints is no run's
                if heard is not None:
                    yield heard
            if listener.patience <= 0:
                raise self._stopped(listener.complaint)
            if self._printed() > OUTPUT_LIMIT:
                raise self._stopped(f"it printed more than {OUTPUT_LIMIT // 2**20} MiB")

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            try:
                self._log = self._log or _open_log(self.logs)
                threads = {"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}
                self._mark = uuid.uuid4().hex
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "hedgebench.worker", self.device],  # no file of the user's folder
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._log,
                    encoding="utf-8",
                    errors="replace",
                    env={**threads, **os.environ, _MARK: self._mark},
                    start_new_session=True,  # Ctrl-C is the parent's to handle
                )
            except OSError as error:
                raise BadInput(f"cannot start a worker process that logs to {self.logs}: {error.strerror}") from error
            self._lines, self._came_up = queue.Queue(), False
            threading.Thread(target=_pump, args=(self._process.stdout, self._lines), daemon=True).start()
        return self._process

    def _epitaph(self, process: subprocess.Popen[str], began: bool) -> Exception:
        """What there is to say of a process that ended by itself."""
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return self._stopped("it closed the channel of its answers")
        why, came_up = f"the worker process ended with exit code {code}", self._came_up
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            why = f"the worker process was ended by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
        why += self._last_lines()
        self._end()
        if code > 0 and not came_up:
            return BadInput(f"no worker process can be had: {why}")
        return WorkerDied(why, outside=not began or -code in (signal.SIGKILL, signal.SIGTERM))

    def _stopped(self, why: str) -> WorkerDied:
        """End the process; the exception that says why."""
        self._end()
        return WorkerDied(f"the worker process was stopped: {why}{self._last_lines()}")

    def close(self) -> None:
        """End the process and whatever it started."""
        self._end()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _end(self) -> None:
        with self._ending:
            process = self._process
            if process is None:
                return
            for kill in (os.killpg, os.kill):
                with suppress(OSError):
                    kill(process.pid, signal.SIGKILL)
            _end_marked(self._mark)
            with suppress(subprocess.TimeoutExpired):  # a process that a driver holds on to is left to the system
                process.wait(timeout=10)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            self._process = None  # not before: Ctrl-C may have come in between, and then all is done again

    # --- the log ---

    def _begin_log(self) -> None:
        assert self._log is not None
        self._log_start = 0
        if self._printed() > OUTPUT_LIMIT:
            self._log.truncate(0)
        self._log_start = self._printed()

    def _printed(self) -> int:
        """Bytes that the present job has printed."""
        assert self._log is not None
        return os.fstat(self._log.fileno()).st_size - self._log_start

    def _last_lines(self) -> str:
        assert self._log is not None
        size = min(self._printed(), 2**16)
        text = os.pread(self._log.fileno(), size, self._log_start + self._printed() - size).decode(errors="replace")
        before, crash, after = text.partition("Fatal Python error: ")
        lines = [
            "".join(c if c.isprintable() else " " for c in line).strip()
            for line in (crash + after or before).splitlines()
        ]
        lines = [line[:200] for line in lines if line]
        return f"; its last lines: {' | '.join(lines[:3] if crash else lines[-3:])}" if lines else ""


def worker_places(n: int, device: str, out: Path) -> list[Worker]:
    """`n` worker processes that log into the results folder and share the cores.

    Raises:
        BadInput: There is no such device.
    """
    check_device(device)
    threads = max(1, (os.cpu_count() or 1) // n) if n > 1 else None
    return [Worker(device, out / "logs", threads) for _ in range(n)]


def _open_log(folder: Path) -> IO[bytes]:
    """The first log that is free. It is so again when the worker, too, is gone, which has it as its standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in itertools.count():
        log = (folder / f"worker-{i}.log").open("a+b")
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.close()
            continue
        except OSError:
            pass  # a file system without locks: lines of two workers may mix
        break
    return log


def _send(stream: IO[str], job: Job) -> None:
    """In a thread of its own: a worker that hangs as it starts reads nothing."""
    with suppress(OSError, ValueError):  # whoever waits for the answers learns that it is gone
        stream.write(json.dumps(job.to_dict()) + "\n")
        stream.flush()


def _pump(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with suppress(OSError, ValueError):
        while line := stream.readline(_ANSWER_LIMIT):
            lines.put(line)
    lines.put(None)


def _end_marked(mark: str) -> None:
    """End every other process that was started with this mark. Only Linux shows what a process was started with."""
    variable, ended = f"{_MARK}={mark}".encode(), {os.getpid()}
    while found := set(_started_with(variable)) - ended:  # until none was started meanwhile
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        ended |= found


def _started_with(variable: bytes) -> Iterator[int]:
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it is gone, or another user's
            if variable in file.read_bytes().split(b"\0"):
                yield int(file.parent.name)


# --- the process itself --------------------------------------------------------------------------------------------------------


def main() -> None:
    """Serve jobs until standard input ends."""
    answers, asked = os.fdopen(os.dup(1), "w", buffering=1), os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)  # whatever prints to standard output, in Python or below it, goes to the log
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)  # and whatever reads standard input finds its end, not the jobs
    own = os.getpid()
    faulthandler.enable()
    with suppress(OSError):  # out of memory, the system is to end this process, not the one that keeps the books
        Path("/proc/self/oom_score_adj").write_text("1000")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_jobs, args=(asked, jobs, os.environ[_MARK]), daemon=True).start()
    prepare()
    import sae_lens  # noqa: F401 - the seconds that it takes are no run's

    session = Session(device=sys.argv[1])
    writing = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        if os.getpid() != own:
            os._exit(0)  # a process that an eval forked: the answers are not its own
        text = json.dumps(message, allow_nan=False) + "\n"
        with writing:
            answers.write(text)

    forward_notices(say)
    while True:
        answer(session, Job.from_dict(json.loads(jobs.get())), say)


def _read_jobs(asked: IO[str], jobs: queue.Queue[str], mark: str) -> None:
    """Pass jobs on; when the parent is gone, end at once, in the middle of a computation too, and all that evals started with it."""
    for line in asked:
        jobs.put(line)
    _end_marked(mark)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
