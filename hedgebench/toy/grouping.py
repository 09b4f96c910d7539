"""Which toy SAEs are trained together, what that takes in memory, and how the work of one part compares with that of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from hedgebench.memory import available_memory
from hedgebench.toy.batches import CHUNK, CHUNK_STEPS, patterns_of, stream_of
from hedgebench.toy.recipes import ToyRun
from hedgebench.types import BadInput

_SHARE_OF_FREE = 0.6
"""Of the memory that is free, how much a part may take: the rest is for what is not counted, and for other programs."""
_CACHE = 8 * 2**20
"""Bytes of errors that a part on the CPU holds at most: what does not stay in the processor's cache takes twice as long."""
_STEP_WORK = 400
"""What a step costs whatever its size: microseconds on one core, as measured. Only its ratio to `work_of` matters."""


class Shape(NamedTuple):
    """What runs must have in common to be trained in one set of matrix products."""

    family: str
    d_in: int
    width: int
    levels: tuple[int, ...]
    rows: int
    """Rows of a batch: samples, or patterns rounded up to a power of two."""
    weighted: bool
    """Whether rows are patterns with counts."""
    batch_size: int
    steps: int
    lr: tuple[float, float, float]
    """Rate, warm-up, decay."""


@dataclass(frozen=True)
class Part:
    """Runs that are trained at once."""

    members: list[int]
    steps: int
    step_work: int
    """Estimate of the time one step takes, in a unit of its own."""


def shape_of(run: ToyRun, given_rows: int | None = None) -> Shape:
    """The shape of a run; `given_rows`: of a batch that is not drawn from its world."""
    r = run.recipe
    family = {"matryoshka_standard": "standard", "matryoshka_batchtopk": "batchtopk"}.get(
        r.architecture, r.architecture
    )
    patterns = patterns_of(run) if given_rows is None else None
    rows = given_rows or (r.batch_size if patterns is None else 1 << (len(patterns.probabilities) - 1).bit_length())
    rate = (r.lr, r.lr_warm_up, r.lr_decay)
    return Shape(family, run.world.d_in, r.width, r.all_levels, rows, patterns is not None, r.batch_size, r.steps, rate)


def bytes_of(shape: Shape, itemsize: int = 4) -> int:
    """What training one SAE takes at its largest: an upper estimate.

    Weights, gradients and both of Adam's moments, with one temporary copy; errors of every level with what is made from them; pre-activations,
    activations, their gradients and masks, for the TopK classes with what sorting them takes; and samples, or counts of patterns, for some steps ahead.
    """
    weights = 2 * shape.d_in * shape.width + shape.d_in + shape.width
    errors = shape.rows * shape.d_in * (len(shape.levels) + 4)
    latents = shape.rows * shape.width * (20 if "topk" in shape.family else 6)
    drawn = 3 * CHUNK_STEPS * shape.rows if shape.weighted else 2 * max(CHUNK, shape.rows) * shape.d_in
    return itemsize * (5 * weights + errors + latents + drawn)


def work_of(shape: Shape) -> float:
    """What a step of one SAE adds to a part's, roughly: microseconds on one core, as measured."""
    latent = 0.035 if "batchtopk" in shape.family else 0.02 if "topk" in shape.family else 0.009
    drawn = 0 if shape.weighted else 0.07
    return 6 + shape.rows * (drawn + 0.003 * shape.d_in * len(shape.levels) + latent * shape.width)


def bytes_once(run: ToyRun) -> int:
    """What drawing samples for one run, and testing its SAE on some, takes: it is done for one after another."""
    if patterns_of(run) is not None:
        return 0
    return (
        4 * max(CHUNK, run.recipe.batch_size) * (3 * run.world.n_features + 3 * run.world.d_in + 4 * run.recipe.width)
    )


def make_parts(runs: Sequence[ToyRun], budget: int | None, device: str, itemsize: int = 4, given_rows: int | None = None) -> list[Part]:  # fmt: skip
    """Split runs into parts of one shape each that fit into memory, in the order of their first members.

    Runs on the same samples stand together, as many of them for each stream of samples in a part: `Batch` needs it so.

    Args:
        runs: What to train.
        budget: Bytes a part may take; None: most of what is free on the device.
        device: Torch device.
        itemsize: Bytes of a number.
        given_rows: Rows of a batch that is not drawn from the runs' worlds.

    Raises:
        BadInput: One run does not fit by itself.
    """
    if budget is None:
        budget = int(_SHARE_OF_FREE * available_memory(device))
    once = max(bytes_once(run) for run in runs) if runs else 0
    streams: dict[tuple[Shape, object], list[int]] = defaultdict(list)
    for i, run in enumerate(runs):
        shape = shape_of(run, given_rows)
        streams[shape, None if given_rows else i if shape.weighted else stream_of(run)].append(i)
    groups: dict[tuple[Shape, int], list[list[int]]] = defaultdict(list)
    for (shape, _), members in streams.items():
        groups[shape, len(members)].append(members)
    parts = []
    for (shape, size), blocks in groups.items():
        most = _most_at_once(shape, budget, once, device, itemsize)
        step = max(1, most // size)
        for chosen in (list(chain(*blocks[i : i + step])) for i in range(0, len(blocks), step)):
            for first in range(0, len(chosen), most):  # once, but where the runs of a single stream are too many
                members = chosen[first : first + most]
                parts.append(Part(members, shape.steps, _STEP_WORK + int(work_of(shape) * len(members))))
    return parts


def _most_at_once(shape: Shape, budget: int, once: int, device: str, itemsize: int) -> int:
    """How many runs of a shape are trained at once."""
    each = bytes_of(shape, itemsize)
    if each + once > budget:
        raise BadInput(
            f"a toy SAE of {shape.width} latents on {shape.d_in} dimensions takes about {(each + once) / 1e9:.1f} GB to train in batches of "
            f"{shape.batch_size}, and {budget / 1e9:.1f} GB may be taken: lower 'width' or 'batch_size', or make the world smaller"
        )
    most = (budget - once) // each
    if device == "cpu":
        most = min(most, max(1, _CACHE // (shape.rows * shape.d_in * len(shape.levels) * itemsize)))
    return most
