"""Why a cell of a leaderboard is blank. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from hedgebench.board.columns import parts_of

if TYPE_CHECKING:
    from hedgebench.board.columns import Key, Setting
    from hedgebench.board.rows import Row
    from hedgebench.board.sources import Made

_FEW = 3
"""Other settings that are named."""


def why_blank(
    row: Row, key: Key, runs: Mapping[Setting, Sequence[Made]], values: Mapping[str, float], records: bool
) -> str:
    """One line: what came of the SAEs' runs.

    Args:
        row: The variant.
        key: The column.
        runs: Of the row's SAEs, by their setting.
        values: The number of each run in this column (by run_id), where it has one.
        records: Whether records were read, or a table, which says nothing of runs that gave no number.
    """
    mine = {sae["sae"]: [run for run in runs.get(key.setting, ()) if run.sae == sae["sae"]] for sae in row.saes}
    seeds = {sae: _seeds(own, values) for sae, own in mine.items()}
    reasons = {sae: _of_sae(sae, key, own, runs, values, records) for sae, own in mine.items() if not seeds[sae]}
    if not reasons:
        told = "; ".join(f"{sae}: {', '.join(map(str, own))}" for sae, own in seeds.items())
        return f"its SAEs have no evaluation seed in common ({told})"
    if len(set(reasons.values())) == 1 and len(reasons) == len(row.saes):
        return next(iter(reasons.values()))
    told = "; ".join(f"{sae}: {why}" for sae, why in reasons.items())
    return f"{len(reasons)} of {len(row.saes)} SAEs without a number, and no mean is taken over a blank ({told})"


def _seeds(runs: Iterable[Made], values: Mapping[str, float]) -> list[int | None]:
    """The evaluation seeds of one SAE for which there is a number, and no other one beside it."""
    found: dict[int | None, set[float]] = {}
    for run in runs:
        if run.run_id in values:
            found.setdefault(run.seed, set()).add(values[run.run_id])
    return [seed for seed, numbers in found.items() if len(numbers) == 1]


def _of_sae(
    sae: str,
    key: Key,
    mine: Sequence[Made],
    runs: Mapping[Setting, Sequence[Made]],
    values: Mapping[str, float],
    records: bool,
) -> str:
    """Why one SAE has no number that can be used."""
    if counted := [run for run in mine if run.run_id in values]:
        return f"{len(counted)} runs with one seed and the same settings give different numbers, and none is preferred"
    if mine:
        return "; ".join(dict.fromkeys(_of_run(run, key.metric, records) for run in mine))
    elsewhere = {
        setting: own
        for setting, its in runs.items()
        if setting.eval == key.setting.eval and (own := [run for run in its if run.sae == sae])
    }
    none = "not run" if records else "not in the table"
    if not elsewhere:
        return none
    failed = [_of_run(run, key.metric, records) for own in elsewhere.values() for run in own if run.status != "ok"]
    return "; ".join([f"{none} {_unlike(key.setting, list(elsewhere))}", *dict.fromkeys(failed)])


def _unlike(wanted: Setting, others: Sequence[Setting]) -> str:
    """Where one setting differs from others: `with version 1, but with version 2`."""
    parts = [parts_of(setting) for setting in (wanted, *others)]
    names = [
        name
        for name in dict.fromkeys(name for part in parts for name in part)
        if len({part.get(name) for part in parts}) > 1
    ]
    said = [", ".join(part.get(name, f"no {name}") for name in names) for part in parts]
    more = " or others" if len(others) > _FEW else ""
    return (
        f"with these settings ({said[0]}), but with {' or '.join(f'({words})' for words in said[1 : _FEW + 1])}{more}"
    )


def _of_run(run: Made, metric: str, records: bool) -> str:
    if run.status == "failed":
        return f"failed: {run.error or 'no reason given'}"
    if run.status == "skipped":
        return f"cannot be measured: {run.error or 'no reason given'}"
    if metric in run.missing:
        return f"left blank: {run.missing[metric]}"
    return "its run reports no such number" if records else "its run has no such number in the table"
