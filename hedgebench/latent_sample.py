"""The activations of ordinary tokens, and what latents make of them, gathered once and held: rows dense, latents sparse, split by document.

Tokens of one document share what the document is about. Whatever is fitted on one part of the tokens and looked at on another must therefore be split by document, not
by token. A few tokens have norms many times as large as the others (sinks, mostly at the beginning of a text) and rule every second moment; they are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.activations import flat_heads
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.eval import ActivationBatch

SINK = 3.0
"""A token is a sink whose norm is above so many times the median."""
_ENTRIES = 2**26
"""Latent activations that are held dense at a time: 256 MB in float32."""


class LatentSample(NamedTuple):
    """n ordinary tokens that are no sinks, in the order of the text; on the SAE's device. Memory grows as n (d + L0)."""

    x: Tensor
    """[n, d], float32: the model's activations."""
    f: Tensor
    """[n, m], float32, sparse CSR: the latents' activations."""
    document: Tensor
    """[n], int64, from 0: the document that each token is of."""
    half: Tensor
    """[n], bool: documents are in one half or the other, at random, with about as many tokens in both."""
    sink_share: float
    """Share of ordinary tokens that were left out as sinks."""
    n_tokens: int
    """Ordinary tokens that were read."""


def gather(
    sae: SAE, batches: Iterable[ActivationBatch], generator: torch.Generator, sink: float = SINK
) -> LatentSample:
    """Encode text and keep its ordinary tokens (`mask`) but for sinks.

    Sequences are encoded whole, one after the other where the SAE is wide, since some SAEs read across tokens. The rows of all batches are one text, cut: a special token
    that is not the first of its row begins a new document, and a row's beginning does not. Two documents that meet at a row's end are therefore taken for one.

    Args:
        sae: On any device; left as it was.
        batches: Activations as an eval context hands them out.
        generator: On the CPU; draws the halves.
        sink: A token is left out whose norm is above so many times the median norm of ordinary tokens.

    Raises:
        CannotMeasure: There is no ordinary token, or an activation that is not finite, or a single document, which cannot be split.
    """
    import torch

    xs: list[Tensor] = []
    entries: list[tuple[Tensor, Tensor, Tensor]] = []
    ids: list[Tensor] = []
    last, broken = 0, 0
    with torch.inference_mode(), flat_heads(sae):
        for batch in batches:
            document, last = _documents(batch.mask, last)
            at_once = max(1, _ENTRIES // (sae.cfg.d_sae * batch.acts.shape[1]))
            parts = (whole.split(at_once) for whole in (batch.acts, batch.mask, document))
            for acts, mask, own in zip(*parts, strict=True):
                ordinary = mask.to(sae.W_dec.device)
                x = acts.to(ordinary.device)[ordinary].float()
                f = sae.encode(acts.to(sae.W_dec))[ordinary].float()
                broken += int((~(x.isfinite().all(1) & f.isfinite().all(1))).sum())
                xs.append(x)
                entries.append(((f != 0).sum(1), f.nonzero()[:, 1], f[f != 0]))
                ids.append(own[mask].to(x.device))
    n_tokens = sum(map(len, xs))
    if n_tokens == 0:
        raise CannotMeasure("the text holds no ordinary token")
    if broken:
        raise CannotMeasure(f"{broken} of {n_tokens} ordinary tokens have activations that are not finite")
    norms = [x.norm(dim=1) for x in xs]
    limit = sink * torch.cat(norms).median()
    for i, norm in enumerate(norms):
        keep = norm <= limit
        counts, columns, values = entries[i]
        fired = keep.repeat_interleave(counts)
        xs[i], ids[i], entries[i] = xs[i][keep], ids[i][keep], (counts[keep], columns[fired], values[fired])
    document = _joined(ids).unique(return_inverse=True)[1]
    if int(document[-1]) == 0:
        raise CannotMeasure("the text is a single document, which cannot be split; give more text")
    counts, columns, values = (_joined(list(parts)) for parts in zip(*entries, strict=True))
    f = csr(counts, columns, values, sae.cfg.d_sae)
    half = _halves(document.cpu(), generator).to(document.device)
    return LatentSample(_joined(xs), f, document, half, 1 - len(document) / n_tokens, n_tokens)


def firings(sample: LatentSample) -> Tensor:
    """[2, m], int64: on how many tokens of each half (`half` False, True) each latent fires."""
    import torch

    m = sample.f.shape[1]
    second = sample.half.repeat_interleave(sample.f.crow_indices().diff())
    fired = sample.f.col_indices()
    return torch.stack([torch.bincount(fired[second == half], minlength=m) for half in (False, True)])


def live(sample: LatentSample, least: int) -> Tensor:
    """[l], int64, ascending: the latents that fire on at least so many tokens of each half."""
    found: Tensor = (firings(sample) >= least).all(dim=0).nonzero()[:, 0]
    return found


def restricted(sample: LatentSample, latents: Tensor) -> LatentSample:
    """The sample with some latents only.

    Args:
        sample: Of m latents.
        latents: [l], int64, ascending.

    Raises:
        ValueError: They are not ascending.
    """
    import torch

    if bool((latents.diff() <= 0).any()):
        raise ValueError("latents must be in ascending order, each once")
    f = sample.f
    place = torch.full((f.shape[1],), -1, device=f.device)
    place[latents] = torch.arange(len(latents), device=f.device)
    columns = place[f.col_indices()]
    kept = columns >= 0
    before = torch.nn.functional.pad(kept.cumsum(0), (1, 0))  # entries kept before each
    counts = before[f.crow_indices()].diff()
    return sample._replace(f=csr(counts, columns[kept], f.values()[kept], len(latents)))


def part(sample: LatentSample, half: bool) -> LatentSample:
    """The tokens of one half."""
    return subset(sample, (sample.half == half).nonzero()[:, 0])


def halved(sample: LatentSample, generator: torch.Generator) -> tuple[LatentSample, LatentSample]:
    """The tokens of each half as a sample of its own, whose documents are split once more.

    Raises:
        CannotMeasure: A half is a single document.
    """
    first, second = (_split(part(sample, half), generator) for half in (False, True))
    return first, second


def _split(sample: LatentSample, generator: torch.Generator) -> LatentSample:
    document = sample.document.unique(return_inverse=True)[1]
    if int(document[-1]) == 0:
        raise CannotMeasure("half of the text is a single document, which cannot be split; give more text")
    return sample._replace(document=document, half=_halves(document.cpu(), generator).to(document.device))


def subset(sample: LatentSample, rows: Tensor) -> LatentSample:
    """Some tokens; `sink_share` and `n_tokens` stay those of the whole.

    Args:
        sample: Of n tokens.
        rows: [r], int64, ascending.
    """
    document, half = sample.document[rows], sample.half[rows]
    return sample._replace(x=sample.x[rows], f=rows_of(sample.f, rows), document=document, half=half)


def rows_of(f: Tensor, rows: Tensor) -> Tensor:
    """Some rows of f [n, m], dense or sparse CSR.

    Args:
        f: The whole.
        rows: [r], int64, ascending.
    """
    import torch

    if f.layout == torch.strided:
        return f[rows]
    counts = f.crow_indices().diff()
    wanted = torch.zeros(len(counts), dtype=torch.bool, device=counts.device)
    wanted[rows] = True
    kept = wanted.repeat_interleave(counts)
    return csr(counts[rows], f.col_indices()[kept], f.values()[kept], f.shape[1])


def csr(counts: Tensor, columns: Tensor, values: Tensor, width: int) -> Tensor:
    """A sparse CSR matrix [n, width].

    Args:
        counts: [n], int64: the entries of each row.
        columns: [entries], int64, ascending in each row.
        values: [entries].
        width: Number of columns.
    """
    import torch

    start = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(start, columns, values, (len(counts), width), check_invariants=False)


def _documents(mask: Tensor, last: int) -> tuple[Tensor, int]:
    """The document of each token [batch, context], where that of the token before the first is `last`; and that of the last token."""
    begins = ~mask
    begins[:, 0] = False
    ids = last + begins.flatten().cumsum(0)
    return ids.view(mask.shape), int(ids[-1])


def _halves(document: Tensor, generator: torch.Generator) -> Tensor:
    """[n], bool: documents in random order, each to the half that has fewer tokens so far."""
    import torch

    tokens = torch.bincount(document).tolist()
    second, filled = torch.zeros(len(tokens), dtype=torch.bool), [0, 0]
    for i in torch.randperm(len(tokens), generator=generator).tolist():
        lighter = filled[1] < filled[0]
        second[i] = lighter
        filled[lighter] += tokens[i]
    return second[document]


def _joined(blocks: list[Tensor]) -> Tensor:
    """The rows of all blocks, each of which is let go as soon as it is copied: never twice the memory."""
    import torch

    end = sum(map(len, blocks))
    whole = torch.empty(end, *blocks[0].shape[1:], dtype=blocks[0].dtype, device=blocks[0].device)
    while blocks:
        block = blocks.pop()
        whole[end - len(block) : end] = block
        end -= len(block)
    return whole
