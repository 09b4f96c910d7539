"""Where a toy SAE starts, and the samples it is trained on: both depend on the world, the training seed and the shape, never on what is trained beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hedgebench.toy.drawing import draw_activations
from hedgebench.toy.recipes import ToyRun
from hedgebench.toy.weights import Batch, Weights
from hedgebench.toy.worlds import Patterns
from hedgebench.types import BadInput

CHUNK = 4096
"""Samples drawn by one call. Another number would give other samples from the same seed."""
CHUNK_STEPS = 256
"""Steps whose counts of patterns are drawn at once."""
_START, _TRAIN, _TEST = range(3)
"""What a random stream is for."""


class Stream(NamedTuple):
    """What a run's samples depend on, besides the batch size."""

    world: str
    """The world's identity."""
    seed: int


def stream_of(run: ToyRun) -> Stream:
    """Runs of equal streams and batch sizes see the same samples."""
    return Stream(run.world.identity, run.train_seed)


def seed_for(train_seed: int, purpose: int) -> int:
    """Seeds of one training seed's random streams, which have nothing in common."""
    return int(np.random.SeedSequence([train_seed, purpose]).generate_state(1, np.uint64)[0]) >> 1


def start(run: ToyRun) -> Weights:
    """The weights before the first step, [1, ...] each, float32 on the CPU.

    As SAELens does it: decoder rows of norm 0.1 in random directions, encoder the transpose, biases 0; then, for a start at the truth, as many columns as there are
    features are replaced (`sae_lens.synthetic.init_sae_to_match_feature_dict`).
    """
    recipe, d_in = run.recipe, run.world.d_in
    generator = torch.Generator().manual_seed(seed_for(run.train_seed, _START))
    rows = torch.empty(recipe.width, d_in)
    torch.nn.init.kaiming_uniform_(rows, generator=generator)
    rows *= 0.1 / rows.norm(dim=1, keepdim=True)
    if recipe.init == "truth":
        features = _first_features(run)
        noise = torch.randn(features.shape, generator=generator)
        rows[: len(features)] = features + recipe.init_noise * noise
    if recipe.architecture == "tied":
        rows /= rows.norm(dim=1, keepdim=True)
    dec = torch.cat([torch.zeros(1, d_in), rows])
    return Weights(rows[None], dec[None], torch.zeros(1, recipe.width, 1))


def _first_features(run: ToyRun) -> Tensor:
    """[at most width, d_in]: the feature that each latent starts at.

    Raises:
        BadInput: The recipe names a feature that the world does not have.
    """
    order, n = run.recipe.init_features, run.world.n_features
    if not order:
        return run.world.features[: run.recipe.width]
    if max(order) >= n:
        raise BadInput(
            f"toy recipe: 'init_features' names feature {max(order)} of {run.world.name!r}, which has {n}, counted from 0"
        )
    return run.world.features[list(order)]


def patterns_of(run: ToyRun) -> Patterns | None:
    """The world's whole distribution where it has few points and the architecture treats every sample by itself."""
    return None if "batchtopk" in run.recipe.architecture else run.world.patterns()


def batches(runs: Sequence[ToyRun], device: str, dtype: torch.dtype) -> Iterator[Batch]:
    """The batches of runs of one batch size, all of worlds with few patterns or all of others; one per step, without end."""
    if patterns_of(runs[0]) is not None:
        return _weighted_patterns(runs, device, dtype)
    return _samples(runs, device, dtype)


def _weighted_patterns(runs: Sequence[ToyRun], device: str, dtype: torch.dtype) -> Iterator[Batch]:
    """Every pattern once, weighted by how often it occurs in a batch: the loss and the gradient are those of the batch."""
    found = [patterns for run in runs if (patterns := patterns_of(run)) is not None]
    rows = max(len(p.probabilities) for p in found)
    x = torch.zeros(len(runs), rows, runs[0].world.d_in, dtype=dtype)  # a world of fewer has rows that never occur
    for i, patterns in enumerate(found):
        x[i, : len(patterns.activations)] = patterns.activations
    x = x.to(device)
    size = runs[0].recipe.batch_size
    drawn: dict[Stream, Iterator[Tensor]] = {}
    for run, patterns in zip(runs, found, strict=True):
        drawn.setdefault(stream_of(run), _counts(patterns.probabilities, size, run.train_seed))
    while True:
        chunk = {stream: next(counts) for stream, counts in drawn.items()}
        shares = torch.zeros(CHUNK_STEPS, len(runs), 1, rows, dtype=dtype)
        for i, run in enumerate(runs):
            counts = chunk[stream_of(run)]
            shares[:, i, 0, : counts.shape[1]] = counts / size
        for share in shares.to(device):
            yield Batch(x, share)


def _counts(probabilities: Tensor, batch_size: int, train_seed: int) -> Iterator[Tensor]:
    generator = np.random.default_rng(seed_for(train_seed, _TRAIN))
    p = probabilities.double().numpy()
    while True:
        yield torch.from_numpy(generator.multinomial(batch_size, p / p.sum(), size=CHUNK_STEPS))


def _samples(runs: Sequence[ToyRun], device: str, dtype: torch.dtype) -> Iterator[Batch]:
    """Samples of each stream, for the runs of that stream: as many for each, side by side."""
    order = [stream_of(run) for run in runs]
    first = {stream: run for stream, run in reversed(list(zip(order, runs, strict=True)))}
    streams = list(dict.fromkeys(order))
    assert order == [stream for stream in streams for _ in range(len(runs) // len(streams))]
    drawn = [_chunks(first[stream]) for stream in streams]
    size, d_in = runs[0].recipe.batch_size, runs[0].world.d_in
    steps = max(1, CHUNK // size)
    chunk = torch.empty(len(streams), steps * size, d_in, device=device, dtype=dtype)
    while True:
        for place, samples in zip(chunk, drawn, strict=True):
            place.copy_(next(samples))
        for x in chunk.split(size, dim=1):
            yield Batch(x, 1 / size)


def _chunks(run: ToyRun) -> Iterator[Tensor]:
    """Whole batches of samples, [n, d_in]."""
    generator = torch.Generator().manual_seed(seed_for(run.train_seed, _TRAIN))
    size = run.recipe.batch_size
    n = size * max(1, CHUNK // size)
    while True:
        yield draw_activations(run.world, n, generator)


def test_samples(run: ToyRun, n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Samples that training does not see, [n, d_in], and their weights, [n], sum 1; all patterns and their probabilities where the world has few."""
    if (patterns := run.world.patterns()) is not None:
        return patterns.activations.to(dtype), patterns.probabilities.to(dtype)
    generator = torch.Generator().manual_seed(seed_for(run.train_seed, _TEST))
    return draw_activations(run.world, n, generator).to(dtype), torch.full((n,), 1 / n, dtype=dtype)
