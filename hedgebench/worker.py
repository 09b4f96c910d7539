"""The worker process: takes jobs as JSON lines, hands outcomes back. `python -m hedgebench.worker DEVICE`.

What upstream code prints, leaks or crashes on stays in here. The process ends by itself when its parent is gone.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hedgebench.eval import notice
from hedgebench.records import Outcome
from hedgebench.session import Job, Session


class WorkerDied(Exception):
    """The worker process is gone, or took too long; the message says which, with its last lines."""


class WorkerLost(WorkerDied):
    """The place is gone, and the job had no part in it: it is to be done elsewhere."""


class NoRoom(WorkerLost):
    """There is nowhere to start the place again."""


class Worker:
    """The parent's side: starts a worker process when the first job comes, and again after it died.

    Args:
        device: Torch device for the worker.
        log: File that takes what the worker and the code in it print.
        threads: Threads of its tensor operations; None leaves them to torch. Workers that share the cores of a machine
            must share them out: with all cores to each they wait for one another most of the time.
    """

    def __init__(self, device: str, log: Path, threads: int | None = None) -> None:
        self.device, self.log, self.threads = device, log, threads
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def carry_out(self, job: Job, limit: float, progress: Callable[[float], None]) -> Iterator[tuple[str, Outcome]]:
        """Have a job done; yield (run_id, outcome) as they come.

        Raises:
            WorkerDied: The process ended, or the job took more than `limit` seconds.
        """
        process = self._running()
        deadline = time.monotonic() + limit
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(job.to_dict()) + "\n")
            process.stdin.flush()
        except OSError:
            raise WorkerDied(self._epitaph(process)) from None
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.close()
                raise WorkerDied(f"stopped after the time limit of {limit:.0f} s{self._last_lines()}") from None
            if line is None:
                raise WorkerDied(self._epitaph(process))
            message = json.loads(line)
            if "progress" in message:
                progress(message["progress"])
            elif "notice" in message:
                notice.warning("%s", message["notice"])
            elif "run_id" in message:
                yield message["run_id"], Outcome.from_dict(message["outcome"])
            else:
                return

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self._lines = queue.Queue()
            threads = {"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "hedgebench.worker", self.device],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env={**threads, **os.environ},
                    start_new_session=True,  # Ctrl-C is the parent's to handle
                )
            threading.Thread(target=_pump, args=(self._process.stdout, self._lines), daemon=True).start()
        return self._process

    def _epitaph(self, process: subprocess.Popen[str]) -> str:
        code = process.wait()
        self.close()
        if code < 0:
            why = f"the worker process was ended by {signal.Signals(-code).name}"
            why += " (out of memory?)" if -code == signal.SIGKILL else ""
        else:
            why = f"the worker process ended with exit code {code}"
        return why + self._last_lines()

    def _last_lines(self) -> str:
        try:
            lines = [line.strip() for line in self.log.read_text(errors="replace")[-4000:].splitlines() if line.strip()]
        except OSError:
            return ""
        return f"; its last lines: {' | '.join(lines[-3:])}" if lines else ""

    def close(self) -> None:
        """End the process and whatever it started."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()


def _pump(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    assert stream is not None
    for line in stream:
        lines.put(line)
    lines.put(None)


# --- the process itself --------------------------------------------------------------------------------------------------------


def main() -> None:
    """Serve jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints to standard output, in Python or below it, goes to the log
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    jobs: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    session = Session(device=sys.argv[1])

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message, allow_nan=False) + "\n")

    notice.addHandler(Forward(answer))
    notice.propagate = False
    while True:
        job = Job.from_dict(json.loads(jobs.get()))
        for run_id, outcome in session.carry_out(job, lambda fraction: answer({"progress": fraction})):
            answer({"run_id": run_id, "outcome": outcome.to_dict()})
        answer({"done": True})


class Forward(logging.Handler):
    """Hands notices on to the parent, for the user's eyes."""

    def __init__(self, answer: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.answer = answer

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.answer({"notice": record.getMessage()})


def _read_jobs(jobs: queue.Queue[str]) -> None:
    """Pass jobs on; when the parent is gone, end at once, in the middle of a computation too."""
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
