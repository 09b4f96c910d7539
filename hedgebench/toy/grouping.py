"""Which toy SAEs are trained together, what that takes in memory, and how the work of one part compares with that of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hedgebench.toy.batches import CHUNK, patterns_of
from hedgebench.toy.memory import available_memory
from hedgebench.toy.recipes import ToyRun
from hedgebench.types import BadInput

_SHARE_OF_FREE = 0.6
"""Of the memory that is free, how much a part may take: the rest is for what is not counted, and for other programs."""
_STEP_WORK, _BYTE_WORK = 400, 4e-4
"""What a step costs whatever its size, and per byte that it works on: microseconds on one core, as measured. Only their ratio matters."""


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

    Weights, gradients and both of Adam's moments, with one temporary copy; samples, and errors of every level with what is made from them;
    pre-activations, activations, their gradients and masks; for the TopK classes what sorting them takes.
    """
    weights = 2 * shape.d_in * shape.width + shape.d_in + shape.width
    errors = shape.rows * shape.d_in * (len(shape.levels) + 4)
    latents = shape.rows * shape.width * (20 if "topk" in shape.family else 6)
    drawn = 4 * CHUNK * shape.d_in if not shape.weighted else 0
    return itemsize * (5 * weights + errors + latents) + 4 * drawn


def make_parts(runs: Sequence[ToyRun], budget: int | None, device: str, itemsize: int = 4, given_rows: int | None = None) -> list[Part]:  # fmt: skip
    """Split runs into parts of one shape each that fit into memory, in the order of their first members.

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
    groups: dict[Shape, list[int]] = defaultdict(list)
    for i, run in enumerate(runs):
        groups[shape_of(run, given_rows)].append(i)
    parts = []
    for shape, members in groups.items():
        each = bytes_of(shape, itemsize)
        if each > budget:
            raise BadInput(
                f"a toy SAE of {shape.width} latents on {shape.d_in} dimensions takes about {each / 1e9:.1f} GB to train in batches of {shape.rows}, "
                f"and {budget / 1e9:.1f} GB may be taken: lower 'width' or 'batch_size'"
            )
        most = budget // each
        for first in range(0, len(members), most):
            chosen = members[first : first + most]
            parts.append(Part(chosen, shape.steps, _STEP_WORK + int(_BYTE_WORK * each * len(chosen))))
    return parts
