"""The study of hedging estimates: a world of every family and seed, its SAEs trained and judged, and each such part kept as soon as it is there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from hedgebench.records import make_run_id
from hedgebench.results import write_table
from hedgebench.toy.estimate_families import DEVELOPMENT, HELD_OUT, Family
from hedgebench.toy.estimating import Case, Estimator, Given, judge, train_families
from hedgebench.toy.worlds import make_world

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

N_SAMPLES = 50_000
"""Of each world, to judge its SAEs on."""


def run_estimate_study(seeds: int, folder: Path, device: str = "cpu", progress: bool = True) -> DataFrame:
    """Train and judge the families of DEVELOPMENT, then those of HELD_OUT, but for parts that an earlier run has finished.

    Args:
        seeds: How many worlds of each family, from 0.
        folder: For the finished parts, a family in the world of one seed each. A part is taken for finished only where all that decides it is the same.
        device: Torch device to train on; SAEs are judged on the CPU.
        progress: Show a bar on stderr.

    Returns:
        As from `estimating.judge`, with all of `rivals.ESTIMATORS`. Its `attrs` hold `samples`, how many of each world SAEs are judged on, and `seconds`, those of each
        estimator on all SAEs and prefixes together.

    Raises:
        BadInput: The folder cannot be written.
    """
    import pandas as pd

    from hedgebench.toy.rivals import ESTIMATORS, METHOD

    parts, families = [], (*DEVELOPMENT, *HELD_OUT)
    with tqdm(total=len(families) * seeds, disable=not progress, desc="worlds judged") as bar:
        for family in families:
            files = {seed: folder / f"{_name(family, seed, list(ESTIMATORS), METHOD)}.parquet" for seed in range(seeds)}
            missing = [seed for seed, file in files.items() if not file.exists()]
            bar.update(seeds - len(missing))
            cases = train_families([family], missing, device, progress=False) if missing else []
            for seed in missing:
                own = [case for case in cases if case.world_seed == seed]
                write_table(_judged(own, ESTIMATORS, seed), files[seed])
                bar.update()
            parts += [pd.read_parquet(file) for file in files.values()]
    frame = pd.concat(parts, ignore_index=True)
    seconds = {name: sum(part.attrs["seconds"][name] for part in parts) for name in ESTIMATORS}
    frame.attrs = {"samples": N_SAMPLES, "seconds": seconds}
    return frame


def _name(family: Family, seed: int, estimators: Sequence[str], method: str) -> str:
    """What a part is called by content."""
    about = {
        "family": (family.name, family.kind, family.held_out),
        "world": make_world(family.world(seed)).identity,
        "recipes": [recipe.to_dict() for recipe in family.recipes],
        "seed": seed,
        "samples": N_SAMPLES,
        "estimators": estimators,
        "method": method,
    }
    return make_run_id(about)


def _judged(cases: Sequence[Case], estimators: Mapping[str, Estimator], seed: int) -> DataFrame:
    """One part, with the seconds that each estimator took as `attrs`, which a parquet file keeps."""
    seconds = dict.fromkeys(estimators, 0.0)
    timed = {name: _timed(name, estimator, seconds) for name, estimator in estimators.items()}
    frame = judge(cases, timed, N_SAMPLES, seed, progress=False)
    frame.attrs["seconds"] = seconds
    return frame


def _timed(name: str, estimator: Estimator, seconds: dict[str, float]) -> Estimator:
    """The same estimator, which adds the time it takes to `seconds`."""

    def run(given: Given, seed: int) -> Tensor | dict[str, Tensor]:
        began = time.perf_counter()
        told = estimator(given, seed)
        seconds[name] += time.perf_counter() - began
        return told

    return run
