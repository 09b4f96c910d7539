"""Carry out a plan: skip what is done, hand jobs to worker processes, write a record for each run as it ends."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from hedgebench.jobs import make_jobs
from hedgebench.plan import Plan
from hedgebench.records import Outcome, build_record, read_record, record_path, write_card, write_record
from hedgebench.session import Job, Session
from hedgebench.types import BadInput, Run
from hedgebench.worker import NoRoom, Worker, WorkerDied, WorkerLost

logger = logging.getLogger(__name__)


MOST_LOST = 3
"""Times that a run may lose its place, by no fault of its own."""


class Place(Protocol):
    """Somewhere a job can be carried out: this process, or a worker."""

    def carry_out(self, job: Job, limit: float, progress: Callable[[float], None]) -> Iterator[tuple[str, Outcome]]:
        """Yield (run_id, outcome) for the job's runs; raise `WorkerDied` where the place gave way under it, `WorkerLost` where it is not to blame."""
        ...

    def close(self) -> None:
        """Let go of everything."""
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


@dataclass
class Summary:
    """What came of a plan."""

    total: int = 0
    done_before: int = 0
    ok: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(run, reason) of runs that cannot be measured."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(run, error), whether it failed now or in an earlier session."""
    incomplete: list[tuple[str, str]] = field(default_factory=list)
    """(run, what it went on without and why), whatever else came of it."""


def pending_runs(plan: Plan, out: Path, *, retry_failed: bool = False, force: bool = False) -> list[Run]:
    """The runs of a plan that have no record yet (or whose record says failed or incomplete, with `retry_failed`; or all, with `force`)."""
    if force:
        return list(plan.runs)
    pending = []
    for run in plan.runs:
        path = record_path(out, run.eval, run.run_id)
        record = read_record(path)
        if record is None and path.exists():
            logger.warning("%s is no whole record: set aside as .damaged, and the run is made again", path)
            path.replace(path.with_suffix(".damaged"))
        ours = record["hedgebench"] if record is not None else {}
        again = ours.get("status") == "failed" or bool(ours.get("incomplete"))
        if record is None or (retry_failed and again):
            pending.append(run)
    return pending


def execute(
    plan: Plan,
    pending: list[Run],
    out: Path,
    places: Iterable[Place],
) -> Summary:
    """Carry out the pending runs of a plan on the given places, and write their records.

    One failing run never stops the others. A job whose worker dies is taken apart, and its runs are tried one by one.

    Raises:
        BadInput: The results folder cannot be written.
    """
    now = {run.run_id for run in pending}
    done_before = sum(record_path(out, r.eval, r.run_id).exists() for r in plan.runs if r.run_id not in now)
    batch = _Batch(plan, out, len(pending))
    for run in plan.runs:
        for card in (run.checkpoint, *(run.siblings if run.checkpoint.members else ())):
            write_card(out, card)
    batch.give_up(pending)
    jobs = deque(make_jobs([r for r in pending if r.run_id not in plan.unreadable], plan.shares))
    threads = [threading.Thread(target=batch.serve, args=(place, jobs), daemon=True) for place in places]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a bare join would not let Ctrl-C in
                thread.join(0.2)
        if jobs and batch.no_room:
            batch.error = batch.error or BadInput(
                f"{batch.no_room}; what is finished is kept, and the same command goes on from there"
            )
    finally:
        jobs.clear()
        batch.bar.close()
    if batch.error is not None:
        raise batch.error
    return summarise(plan, out, done_before)


class _Batch:
    """The state that the threads of one `execute` share."""

    def __init__(self, plan: Plan, out: Path, n_pending: int) -> None:
        self.plan, self.out = plan, out
        self.lock = threading.Lock()
        self.error: BaseException | None = None
        self.bar = tqdm(total=n_pending, unit="run", desc=plan.name, smoothing=0, disable=n_pending == 0)
        self.finished, self.n_failed = 0, 0
        self.lost: Counter[str] = Counter()
        self.no_room = ""
        self.partial: dict[int, float] = {}

    def write(self, run: Run, outcome: Outcome) -> None:
        record = build_record(run, outcome)
        with self.lock:
            write_record(self.out, record)
            self.finished += 1
            self.n_failed += outcome.status == "failed"

    def show(self, place: Place, amount: float) -> None:
        """Runs finished, and the share of those under way."""
        with self.lock:
            self.partial[id(place)] = amount
            self.bar.update(round(self.finished + sum(self.partial.values()), 1) - self.bar.n)

    def give_up(self, pending: list[Run]) -> None:
        """Record the runs on SAEs that cannot be loaded."""
        for run in pending:
            if run.run_id in self.plan.unreadable:
                self.write(run, Outcome("failed", self.plan.unreadable[run.run_id], started_at=time.time()))

    def serve(self, place: Place, jobs: deque[Job]) -> None:
        """Take jobs until there are none. Whatever the harness itself raises ends the batch and is raised in the caller."""
        try:
            while True:
                try:
                    job = jobs.popleft()
                except IndexError:
                    return
                failed = f", {self.n_failed} failed" if self.n_failed else ""
                self.bar.set_postfix_str(job.first.eval + failed, refresh=False)
                self.carry_out(place, job, jobs)
        except NoRoom as error:
            logger.warning("%s; the other places go on", error)
            self.no_room = str(error)
        except BaseException as error:
            self.error = self.error or error
            jobs.clear()
        finally:
            place.close()

    def carry_out(self, place: Place, job: Job, jobs: deque[Job]) -> None:
        open_runs = {run.run_id: run for run in job.runs}
        size = len(job.runs)
        self.show(place, 0.0)
        try:
            limit = self.plan.time_limit * size
            for run_id, outcome in place.carry_out(job, limit, lambda fraction: self.show(place, fraction * size)):
                self.write(open_runs.pop(run_id), outcome)
        except NoRoom:
            jobs.appendleft(job)
            raise
        except WorkerLost as lost:
            self.again(open_runs, str(lost), jobs)
        except WorkerDied as died:
            if size > 1:
                # Which of the runs brought the worker down is not known: each gets a chance of its own.
                jobs.extendleft(Job((run,)) for run in reversed(open_runs.values()))
            else:
                for run in open_runs.values():
                    self.write(run, Outcome("failed", str(died), started_at=time.time()))
        self.show(place, 0.0)

    def again(self, open_runs: dict[str, Run], why: str, jobs: deque[Job]) -> None:
        """Put back a job whose place was lost; a run that has lost too many fails."""
        for run_id in open_runs:
            self.lost[run_id] += 1
        for run in [run for run in open_runs.values() if self.lost[run.run_id] > MOST_LOST]:
            self.write(
                open_runs.pop(run.run_id),
                Outcome("failed", f"{why}, {self.lost[run.run_id]} times", started_at=time.time()),
            )
        if open_runs:
            jobs.appendleft(Job(tuple(open_runs.values())))


def run_name(run: Run) -> str:
    """A run, as messages name it."""
    return f"{run.eval} on {run.checkpoint.name}" + (f", seed {run.seed}" if run.seed is not None else "")


def summarise(plan: Plan, out: Path, done_before: int) -> Summary:
    """Read back what the plan's runs came to."""
    summary = Summary(total=len(plan.runs), done_before=done_before)
    for run in plan.runs:
        record = read_record(record_path(out, run.eval, run.run_id))
        if record is None:
            continue
        ours = record["hedgebench"]
        for word, why in (ours.get("incomplete") or {}).items():
            summary.incomplete.append((run_name(run), f"without {word}: {why}"))
        if ours["status"] == "ok":
            summary.ok += 1
        else:
            getattr(summary, ours["status"]).append((run_name(run), ours["error"]))
    return summary


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


def worker_places(n: int, device: str, out: Path) -> list[Place]:
    """`n` worker processes that log into the results folder and share the cores.

    Raises:
        BadInput: There is no such device.
    """
    check_device(device)
    threads = max(1, (os.cpu_count() or 1) // n) if n > 1 else None
    return [Worker(device, out / "logs" / f"worker-{i}.log", threads) for i in range(n)]
