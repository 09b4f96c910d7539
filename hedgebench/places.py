"""Where jobs are carried out: what the runner asks of a place, this process as one, and the talk with those in other processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from hedgebench.eval import notice
from hedgebench.records import Outcome
from hedgebench.session import Job, Session
from hedgebench.types import BadInput

START_LIMIT = 600.0
"""Seconds until a new process takes up its job: imports from a busy network drive take minutes."""
_TOLD_EVERY = 0.1
"""Seconds between two messages about progress."""


class WorkerDied(Exception):
    """The place where a job was carried out gave way; the message says how.

    Args:
        why: One line.
        outside: Whether the job need not be to blame (something else took the memory, a node went down), so that it is worth another try.
    """

    def __init__(self, why: str, *, outside: bool = False) -> None:
        super().__init__(why)
        self.outside = outside


class NoRoom(WorkerDied):
    """There is nowhere to start the place again: it is given up, and its job is another's."""


class Place(Protocol):
    """Somewhere a job can be carried out: this process, a worker process, another machine. It does one job at a time."""

    def carry_out(self, job: Job, limit: float, progress: Callable[[float], None]) -> Iterator[tuple[str, Outcome]]:
        """Do a job, and yield (run_id, outcome) for each of its runs, as they finish.

        A run of several that gets no outcome is tried alone, as all are that are left when the place gives way. The place stays usable after that.

        Args:
            job: The runs.
            limit: Seconds that one run may take. A job of several may take as many times that, with a sign of life within every `limit` seconds.
            progress: Is told the share of the job that is done, now and then.

        Raises:
            WorkerDied: The place gave way; `outside` where the job need not be to blame.
            NoRoom: It gave way for good.
            BadInput: No job can be done here at all: it ends the batch.
        """
        ...

    def close(self) -> None:
        """Let go of everything, at once, also of a job that another thread has carried out here. It may be called again."""
        ...


class Here:
    """This process: for SAE objects in memory. A crash of an eval's native code takes the process along, and no time limit holds."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def carry_out(self, job: Job, limit: float, progress: Callable[[float], None]) -> Iterator[tuple[str, Outcome]]:  # noqa: ARG002
        """See `Place`."""
        yield from self.session.carry_out(job, progress)

    def close(self) -> None:
        """See `Place`."""


def check_device(device: str) -> None:
    """Refuse a device that torch cannot use here.

    Raises:
        BadInput: It is unknown, or not there.
    """
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"device {device!r} cannot be used here: {' '.join(str(error).split())[:120]}") from None


# --- what is said of a job that another process carries out ----------------------------------------------------------------------


def answer(session: Session, job: Job, say: Callable[[dict[str, Any]], None]) -> None:
    """The other process's side: carry out a job, and say how it goes, in messages of plain JSON data that `Listener` understands."""
    told = 0.0

    def progress(share: float) -> None:
        nonlocal told
        if time.monotonic() - told > _TOLD_EVERY:
            told = time.monotonic()
            say({"progress": max(0.0, min(1.0, float(share)))})

    say({"began": True})
    for run_id, outcome in session.carry_out(job, progress):
        say({"run_id": run_id, "outcome": outcome.to_dict()})
    say({"done": True})


def forward_notices(say: Callable[[dict[str, Any]], None]) -> None:
    """The other process's side: notices for the user's eyes are said as well."""
    notice.addHandler(_Forward(say))
    notice.propagate = False


class _Forward(logging.Handler):
    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.say({"notice": record.getMessage()})


class Listener:
    """This side: takes in what is said of one job, and knows how long to wait for more.

    Args:
        job: The runs.
        limit: Seconds that one run may take.
        progress: Is told the share of the job that is done.
    """

    def __init__(self, job: Job, limit: float, progress: Callable[[float], None]) -> None:
        self.limit, self._at_most, self._progress = limit, limit * len(job.runs), progress
        self._since = self._heard = time.monotonic()
        self.began = self.done = False

    def hear(self, message: Mapping[str, Any]) -> tuple[str, Outcome] | None:
        """Take in a message; of an outcome, (run_id, outcome).

        Raises:
            ValueError, TypeError, KeyError, AttributeError: It is no message.
        """
        self._heard = time.monotonic()
        if message.keys() == {"run_id", "outcome"}:
            return str(message["run_id"]), Outcome.from_dict(message["outcome"])
        ((kind, content),) = message.items()
        if kind == "began":
            self.began, self._since = True, self._heard
        elif kind == "progress":
            self._progress(float(content))
        elif kind == "notice":
            notice.warning("%s", content)
        elif kind == "done":
            self.done = True
        else:
            raise ValueError(f"no message: {kind}")
        return None

    @property
    def patience(self) -> float:
        """Seconds that are left for the next message; none are, where it is 0 or less."""
        now = time.monotonic()
        if not self.began:
            return self._since + START_LIMIT - now
        return min(self._heard + self.limit, self._since + self._at_most) - now

    @property
    def complaint(self) -> str:
        """What there is to say when no patience is left."""
        if not self.began:
            return f"it did not begin within {START_LIMIT:.0f} s"
        return f"the time limit of {self.limit:.0f} s for a run is over"
