"""SCR's texts: two labels, unmixed for the biased probe and mixed for the others, put together by SAEBench's own function."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hedgebench.isolation import isolated
from hedgebench.types import BadInput

from .concept_probes import Task

if TYPE_CHECKING:
    from pandas import DataFrame

    from hedgebench.eval import EvalContext
    from hedgebench.labelled import LabelledData

    from .concept_probes_config import ProbeConfig

logger = logging.getLogger(__name__)

Pair = tuple[str, str]
MIN_QUADRANT = 4
"""Texts of one label and second label below which nothing is measured."""
SECOND, LABEL, BOTH = "male / female", "professor / nurse", "male_professor / female_nurse"
"""SAEBench's names for the three concepts, whatever the set: the second label, the label, and the biased one, of both together."""


def scr_tasks(ctx: EvalContext, cfg: ProbeConfig) -> Iterator[Task]:
    """One task per pair of classes of every set.

    Raises:
        BadInput: A set has no second label or no pairs, or too few texts.
    """
    for data in ctx.labelled:
        if data.second_values is None or not data.pairs:
            raise BadInput(
                f"data {data.name!r} has no second label with pairs of classes, which SCR needs: take stand-in:reviews, or a YAML file "
                "with `second`, `second_values` and `pairs`"
            )
        with isolated():
            frames = data.frames(ctx.seed or 0)
        for pair in data.pairs:
            yield _task(data, pair, data.second_values, frames, cfg, ctx.seed or 0)


def _task(
    data: LabelledData, pair: Pair, second: Pair, frames: tuple[DataFrame, DataFrame], cfg: ProbeConfig, seed: int
) -> Task:
    from sae_bench.evals.scr_and_tpp.dataset_creation import get_spurious_corr_data

    name = f"{data.name}_scr_{pair[0]}_{pair[1]}"
    parts, sizes = [], []
    for frame, size, what in zip(frames, (cfg.train_size, cfg.test_size), ("training", "test"), strict=True):
        quadrant = quadrant_size(frame, pair, second, size)
        if quadrant < MIN_QUADRANT:
            raise BadInput(
                f"data {name!r}: {quadrant} {what} texts per pair of labels, at least {MIN_QUADRANT} are needed"
            )
        if quadrant < size // 4:
            logger.warning("data %r: %d %s texts per pair of labels, not %d", name, quadrant, what, size // 4)
        with _known_to_saebench(name, pair, second), isolated():
            parts.append(get_spurious_corr_data(frame, pair, second, name, quadrant, seed))
        sizes.append(quadrant)
    (a, b), (p, q) = pair, second
    concepts = {SECOND: f"{p} / {q}", LABEL: f"{a} / {b}", BOTH: f"{p} {a} / {q} {b}"}
    source = {"data": data.identity, "pair": list(pair), "second": list(second), "quadrants": sizes}
    return Task(name, concepts, parts[0], parts[1], source, scr=True)


def quadrant_size(frame: DataFrame, pair: Pair, second: Pair, size: int) -> int:
    """The most texts per pair of labels that SAEBench's function takes, and at most a quarter of `size`.

    The biased probe's texts are of one pair each, and twice as many, with one to spare.
    """
    counts = frame.groupby(["label", "second"]).size().to_dict()
    (a, b), (p, q) = pair, second
    mixed = counts.get((b, p), 0), counts.get((a, q), 0)
    unmixed = counts.get((a, p), 0), counts.get((b, q), 0)
    return int(min(size // 4, *mixed, *((count - 1) // 2 for count in unmixed)))


@contextmanager
def _known_to_saebench(name: str, pair: Pair, second: Pair) -> Iterator[None]:
    """SAEBench looks up columns and labels by the set's name: while this lasts it finds ours, as they are."""
    from sae_bench.sae_bench_utils.dataset_info import dataset_metadata

    columns = {"text_column_name": "text", "column1_name": "label", "column2_name": "second"}
    labels = {"column1_mapping": {v: v for v in pair}, "column2_mapping": {v: v for v in second}}
    dataset_metadata[name] = {**columns, **labels}
    try:
        yield
    finally:
        del dataset_metadata[name]
