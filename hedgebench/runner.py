"""Carry out a plan: skip what is done, hand jobs to worker processes, write a record for each run as it ends."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hedgebench.claims import Claims
from hedgebench.finished import file_stamp, read_finished, set_aside
from hedgebench.jobs import Agenda, make_jobs
from hedgebench.pace import Bar, Pace
from hedgebench.places import NoRoom, Place, WorkerDied
from hedgebench.plan import Plan
from hedgebench.records import Outcome, build_record, record_path, write_card, write_record
from hedgebench.session import Job, error_line
from hedgebench.types import BadInput, Run

logger = logging.getLogger(__name__)


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
    """The runs of a plan that have no whole record yet (or whose record says failed or incomplete, with `retry_failed`; or all, with `force`).

    The plan remembers what lay in their places: a record that comes later is another process's work.
    """
    pending = []
    for run in plan.runs:
        path = record_path(out, run.eval, run.run_id)
        plan.seen[run.run_id] = file_stamp(path)
        record = None if force else read_finished(path)
        ours = record["hedgebench"] if record is not None else {}
        again = ours.get("status") == "failed" or bool(ours.get("incomplete"))
        if record is None or (retry_failed and again):
            pending.append(run)
    return pending


def execute(plan: Plan, pending: list[Run], out: Path, places: Sequence[Place]) -> Summary:
    """Carry out the pending runs of a plan on the given places, and write their records.

    One failing run never stops the others. A job whose place gives way is taken apart, and its runs are tried one by one. Runs that another
    process on the same folder has in hand are waited for, and taken over where it ends without a record.

    Raises:
        BadInput: The results folder cannot be written, or no worker can be started.
    """
    now = {run.run_id for run in pending}
    done_before = sum(record_path(out, r.eval, r.run_id).exists() for r in plan.runs if r.run_id not in now)
    cards = [card for run in plan.runs for card in (run.checkpoint, *(run.siblings if run.checkpoint.members else ()))]
    with Claims(out) as claims:
        for card in {card.digest: card for card in cards}.values():
            write_card(out, card)
        _Batch(plan, pending, out, places, claims).carry_out()
    return summarise(plan, out, done_before)


class _Batch:
    """The state that the threads of one `execute` share."""

    def __init__(self, plan: Plan, pending: list[Run], out: Path, places: Sequence[Place], claims: Claims) -> None:
        self.plan, self.pending, self.out, self.places, self.claims = plan, pending, out, places, claims
        readable = [run for run in pending if run.run_id not in plan.unreadable]
        self.agenda = Agenda(make_jobs(readable, plan.shares, len(places)))
        self.changed = threading.Condition()
        """Guards what is below."""
        self.busy = 0
        """Places at work."""
        self.elsewhere: list[Run] = []
        """Runs that another process has claimed."""
        self.tried: set[str] = set()
        """Runs whose place gave way, perhaps by no fault of theirs."""
        self.n_failed = 0
        self.n_serving = len(places)
        self.stopped = False
        self.error: BaseException | None = None
        pace = Pace.of_folder(out, {run.eval for run in readable})
        self.bar = Bar(plan.name, pending, pace, len(places))

    def carry_out(self) -> None:
        """Do all there is to do. The first place is served by this thread, so that Ctrl-C ends what it is at."""
        threads = [threading.Thread(target=self.serve, args=(place,), daemon=True) for place in self.places[1:]]
        try:
            for run in self.pending:
                if run.run_id in self.plan.unreadable:
                    self.write(run, Outcome("failed", self.plan.unreadable[run.run_id], started_at=time.time()))
            for thread in threads:
                thread.start()
            self.serve(self.places[0])
            for thread in threads:
                while thread.is_alive():  # a bare join would not let Ctrl-C in
                    thread.join(0.2)
        except BaseException as error:
            self.stop(error)
        for thread in threads:
            if thread.ident is not None:
                thread.join(5)  # a record that it writes is to be whole
        for place in self.places:
            place.close()  # one that was about to start a process when the others ended has one now
        self.bar.close()
        if self.error is not None:
            raise self.error

    def stop(self, error: BaseException) -> None:
        """End everything: nothing more is written, and no process is left."""
        with _undisturbed():
            with self.changed:
                self.stopped, self.error = True, self.error or error
                self.changed.notify_all()
            for place in self.places:
                place.close()

    def serve(self, place: Place) -> None:
        """Take jobs until there are none. Whatever the harness itself raises ends the batch and is raised in the caller."""
        try:
            while (job := self.next_job(place)) is not None:
                try:
                    self.work(place, job)
                finally:
                    with self.changed:
                        self.busy -= 1
                        self.bar.under_way(id(place), job.first, 0.0)
                        self.changed.notify_all()
            place.close()
        except NoRoom as error:
            self.retire(place, error)
        except BaseException as error:
            self.stop(error)

    def retire(self, place: Place, error: NoRoom) -> None:
        """Go on without a place."""
        place.close()
        with self.changed:
            self.n_serving -= 1
            last = not self.n_serving
        if last:
            self.stop(BadInput(str(error)))
        else:
            logger.warning("%s; the others go on", error)

    def next_job(self, place: Place) -> Job | None:
        """A job whose runs are this process's to do; None where nothing is left and nothing can come back."""
        with self.changed:
            while not self.stopped:
                job = self.agenda.take(id(place))
                if job is not None:
                    runs = tuple(run for run in job.runs if self.claim(run))
                    if runs:
                        self.busy += 1
                        failed = f", {self.n_failed} failed" if self.n_failed else ""
                        self.bar.set_postfix_str(job.first.eval + failed, refresh=False)
                        return Job(runs)
                elif self.busy or self.elsewhere:
                    if not self.busy:
                        self.bar.set_postfix_str(f"waiting for {len(self.elsewhere)} runs of another process")
                    self.changed.wait(1.0)
                    waiting, self.elsewhere = self.elsewhere, []
                    for job in reversed(make_jobs(waiting, self.plan.shares, len(self.places))):
                        self.agenda.put_back(job)
                else:
                    break
        return None

    def claim(self, run: Run) -> bool:
        """Whether a run is this process's to do: nobody else has it in hand, or has done it meanwhile."""
        path = record_path(self.out, run.eval, run.run_id)
        if not self.claims.take(run.run_id):
            self.elsewhere.append(run)
            return False
        stamp = file_stamp(path)
        record = read_finished(path) if stamp is not None else None
        if record is not None and stamp != self.plan.seen.get(run.run_id, stamp):
            self.claims.let_go(run.run_id)
            self.bar.count(run, None)
            return False
        if stamp is not None and record is None:
            set_aside(path)
        return True

    def work(self, place: Place, job: Job) -> None:
        """Have a job done, and write the records of its runs."""
        left = {run.run_id: run for run in job.runs}
        why = WorkerDied("it got no answer")
        try:
            for run_id, outcome in place.carry_out(
                job, self.plan.time_limit, lambda share: self.show(place, job, share)
            ):
                if run_id in left:
                    self.write(left.pop(run_id), outcome)
        except NoRoom:
            with self.changed:
                self.agenda.put_back(Job(tuple(left.values())))
            raise
        except WorkerDied as died:
            why = died
        with self.changed:
            if self.stopped or not left:
                return
            if len(job.runs) > 1:
                # Which of the runs brought the place down is not known: each gets a chance of its own.
                again = list(left.values())
            else:
                again = [run for run in left.values() if why.outside and run.run_id not in self.tried]
                self.tried.update(left)
            for run in reversed(again):
                self.agenda.put_back(Job((left.pop(run.run_id),)))
        for run in left.values():
            self.write(run, Outcome("failed", str(why), started_at=time.time()))

    def show(self, place: Place, job: Job, share: float) -> None:
        """Tell the bar what share of a job is done."""
        with self.changed:
            self.bar.under_way(id(place), job.first, share * len(job.runs))

    def write(self, run: Run, outcome: Outcome) -> None:
        """Write the record of a run, and let go of the claim on it."""
        if self.stopped:
            return
        try:
            write_record(self.out, build_record(run, outcome))
        except BadInput:
            raise
        except (TypeError, ValueError) as error:
            outcome = Outcome(
                "failed", f"its outcome cannot be written: {error_line(error)}", started_at=outcome.started_at
            )
            write_record(self.out, build_record(run, outcome))
        self.claims.let_go(run.run_id)
        with self.changed:
            self.n_failed += outcome.status == "failed"
            self.bar.count(run, outcome.seconds if outcome.status == "ok" else None)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not stop halfway what the first began, nor do a batch system's signals. Only the main thread hears them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_name(run: Run) -> str:
    """A run, as messages name it."""
    return f"{run.eval} on {run.checkpoint.name}" + (f", seed {run.seed}" if run.seed is not None else "")


def summarise(plan: Plan, out: Path, done_before: int) -> Summary:
    """Read back what the plan's runs came to."""
    summary = Summary(total=len(plan.runs), done_before=done_before)
    for run in plan.runs:
        record = read_finished(record_path(out, run.eval, run.run_id))
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
