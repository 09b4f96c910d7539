"""From runs to jobs: what shares work is carried out together, in an order that uses what is shared at once."""

from __future__ import annotations

from typing import Any

from hedgebench.session import Job
from hedgebench.types import Run

JOB_BYTES = 4 * 2**30
"""SAE weights that are held at once when an eval shares its model passes over several SAEs."""


def make_jobs(runs: list[Run], shares: dict[str, bool]) -> list[Job]:
    """Put together the runs that share work, and order all so that what is shared is used at once.

    Runs share where their eval says so and they agree in config, seed, model, text and hook point; a job holds at most `JOB_BYTES` of SAEs.
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
    jobs = []
    for group in groups.values():
        batch: list[Run] = []
        for run in group:
            if batch and sum(_bytes(r) for r in [*batch, run]) > JOB_BYTES:
                jobs.append(Job(tuple(batch)))
                batch = []
            batch.append(run)
        jobs.append(Job(tuple(batch)))
    return jobs


def _order(run: Run) -> tuple[Any, ...]:
    card = run.checkpoint
    return (run.model is not None, run.model or "", card.hook or "", run.seed if run.seed is not None else -1, run.eval)


def _bytes(run: Run) -> int:
    own = () if run.checkpoint.members else (run.checkpoint,)
    cards = [c for c in (*own, run.control, run.second_control, *run.siblings) if c is not None]
    return sum(2 * card.d_in * card.width * 4 for card in cards)
