"""From runs to jobs: what shares work is carried out together, and each place goes on with what it has loaded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from hedgebench.session import Job
from hedgebench.types import Run

JOB_BYTES = 4 * 2**30
"""SAE weights that are held at once when an eval shares its model passes over several SAEs."""
JOB_RUNS = 32
"""Runs of one job: with more, little more is shared, and a batch that is stopped loses what they have in hand."""


def make_jobs(runs: Sequence[Run], shares: Mapping[str, bool], places: int = 1) -> list[Job]:
    """Put together the runs that share work, and order all so that what is shared is used at once.

    Runs share where their eval says so and they agree in config, seed, model, text and hook point. A job holds at most `JOB_RUNS` runs, `JOB_BYTES`
    of SAEs, and its part of all runs where there are several places.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted(runs, key=_order):
        card = run.checkpoint
        key: tuple[Any, ...] = (
            run.eval,
            str(run.config),
            run.seed,
            run.model,
            run.revision,
            run.data,
            run.labelled,
            run.dtype,
            card.hook,
            card.hook_head_index,
        )
        groups.setdefault(key if shares.get(run.eval) else (run.run_id,), []).append(run)
    at_most = min(JOB_RUNS, math.ceil(len(runs) / places))
    jobs = []
    for group in groups.values():
        even = math.ceil(len(group) / math.ceil(len(group) / at_most))
        batch: list[Run] = []
        held = 0
        for run in group:
            size = _bytes(run)
            if batch and (len(batch) == even or held + size > JOB_BYTES):
                jobs.append(Job(tuple(batch)))
                batch, held = [], 0
            batch.append(run)
            held += size
        jobs.append(Job(tuple(batch)))
    return jobs


class Agenda:
    """The jobs that are still to do, by what they load: model and hook point, or the SAE where no model runs."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._left: dict[Hashable, deque[Job]] = {}
        self._at: dict[int, Hashable] = {}
        for job in jobs:
            self._left.setdefault(_loads(job.first), deque()).append(job)

    def put_back(self, job: Job) -> None:
        """Have a job done soon."""
        self._left.setdefault(_loads(job.first), deque()).appendleft(job)

    def take(self, place: int) -> Job | None:
        """The next job for a place: of what it has loaded; else of what no place has; else of what there is most of."""
        mine = self._at.pop(place, None)
        if mine not in self._left:
            taken = set(self._at.values())
            free = next((key for key in self._left if key not in taken), None)
            mine = free or max(self._left, key=lambda key: len(self._left[key]), default=None)
        if mine is None:
            return None
        self._at[place] = mine
        job = self._left[mine].popleft()
        if not self._left[mine]:
            del self._left[mine]
        return job


def _loads(run: Run) -> tuple[Hashable, ...]:
    card = run.checkpoint
    if run.model is None:
        return ("", card.ref or card.name)
    return (
        run.model,
        card.hook or "",
        run.revision or "",
        run.dtype,
        -1 if card.hook_head_index is None else card.hook_head_index,
    )


def _order(run: Run) -> tuple[Any, ...]:
    seed = run.seed if run.seed is not None else -1
    return (run.model is not None, *_loads(run), run.data or "", seed, run.eval)


def _bytes(run: Run) -> int:
    own = () if run.checkpoint.members else (run.checkpoint,)
    cards = [c for c in (*own, run.control, run.second_control, *run.siblings) if c is not None]
    return sum(2 * card.d_in * card.width * 4 for card in cards)
