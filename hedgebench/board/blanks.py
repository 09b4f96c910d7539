"""Why a cell of a leaderboard is blank. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hedgebench.board.columns import Key
    from hedgebench.board.rows import Row
    from hedgebench.board.sources import Made


def why_blank(row: Row, key: Key, runs: Sequence[Made], others: Sequence[Made], numbers: Mapping[str, int]) -> str:
    """One line: what came of the SAEs' runs.

    Args:
        row: The variant.
        key: The column.
        runs: Of the row's SAEs with the column's setting.
        others: Of the row's SAEs with the column's eval and another setting.
        numbers: How many numbers each run has in this column (by run_id).
    """
    reasons = {sae["sae"]: _of_sae(sae["sae"], key, runs, others, numbers) for sae in row.saes}
    missing = {sae: why for sae, why in reasons.items() if why}
    if not missing:
        return "its SAEs have no evaluation seed in common"
    if len(set(missing.values())) == 1 and len(missing) == len(row.saes):
        return next(iter(missing.values()))
    told = "; ".join(f"{sae}: {why}" for sae, why in missing.items())
    return f"{len(missing)} of {len(row.saes)} SAEs without a number, and no mean is taken over a blank ({told})"


def _of_sae(sae: str, key: Key, runs: Sequence[Made], others: Sequence[Made], numbers: Mapping[str, int]) -> str:
    """Why one SAE has no number that can be used; empty where it has one."""
    mine = [run for run in runs if run.sae == sae]
    counted = [run for run in mine if numbers.get(run.run_id)]
    seeds = [run.seed for run in counted]
    if any(seeds.count(seed) == 1 for seed in seeds):
        return ""
    if counted:
        return f"{len(counted)} records give it different runs of one seed, and none is preferred"
    found = [_of_run(run, key.metric) for run in mine]
    if found:
        return "; ".join(dict.fromkeys(found))
    elsewhere = [run for run in others if run.sae == sae]
    if not elsewhere:
        return "not run"
    failed = [_of_run(run, key.metric) for run in elsewhere if run.status != "ok"]
    return "; ".join(["not run with this version, data and these settings", *dict.fromkeys(failed)])


def _of_run(run: Made, metric: str) -> str:
    if run.status == "failed":
        return f"failed: {run.error or 'no reason given'}"
    if run.status == "skipped":
        return f"cannot be measured: {run.error or 'no reason given'}"
    if metric in run.missing:
        return f"left blank: {run.missing[metric]}"
    return "its run reports no such number"
