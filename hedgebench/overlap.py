"""What the latents of two SAEs have in common, and means over pairs of seeds. Pure functions on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.matching import match

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hedgebench.matching import Matching


class Overlap(NamedTuple):
    """How the latents of one SAE are paired with those of another."""

    decoder: Matching
    encoder: Matching | None
    """None where there is no encoder matrix."""
    mcc: Matching
    """By |cosine| of decoder rows."""

    @property
    def levels(self) -> tuple[Tensor, Tensor]:
        """The largest threshold at which each latent is shared, [n], of the one SAE and of the other: -inf where encoder and decoder disagree.

        A latent is shared at a threshold where the pairings by encoder and by decoder give it the same counterpart and both cosines are at least the
        threshold (arXiv 2501.16615).
        """
        import torch

        assert self.encoder is not None
        same = self.decoder.partner == self.encoder.partner
        level = torch.minimum(self.decoder.cosine, self.encoder.cosine).where(same, -torch.inf)
        other = torch.empty_like(level)
        other[self.decoder.partner] = level
        return level, other


def overlap(
    rows: Tensor, others: Tensor, columns: Tensor | None = None, other_columns: Tensor | None = None, **how: Any
) -> Overlap:
    """Pair the latents of two SAEs by signed cosine, once by decoder and once by encoder, and by |cosine| of decoder rows.

    Args:
        rows: [n, d], decoder rows of the one.
        others: [n, d], of the other.
        columns: [n, d], encoder columns of the one; None where it has none.
        other_columns: Likewise of the other.
        how: Passed on to `hedgebench.matching.match`.
    """
    encoder = None if columns is None or other_columns is None else match(columns, other_columns, **how)
    return Overlap(match(rows, others, **how), encoder, match(rows, others, absolute=True, **how))


def deciles(counts: Tensor) -> Tensor:
    """The decile of each latent among those that fire, from 1 (the rarest) to 10 by rank; equal counts are in the same one. 0 for one that never fires.

    Args:
        counts: [n], on how many tokens each fires.
    """
    import torch
    from scipy.stats import rankdata

    live = counts > 0
    ranks = torch.from_numpy(rankdata(counts[live].numpy())) - 0.5  # equal counts have their mean rank
    found = torch.zeros(len(counts), dtype=torch.int64)
    found[live] = 1 + (10 * ranks / max(len(ranks), 1)).long()
    return found


def mean_over_pairs(values: Sequence[float] | NDArray, pairs: Sequence[tuple[int, int]]) -> tuple[float, float | None]:
    """The mean over pairs of seeds and its standard error, by leaving out one seed with all of its pairs at a time.

    Pairs with a seed in common are not independent; seeds are. The jackknife of such a mean (a U-statistic) is a little too large on average for few seeds.

    Args:
        values: One for each pair; NaN where there is none.
        pairs: The two seeds of each.

    Returns:
        (mean, stderr). The stderr is None for fewer than three seeds, or where a seed's absence leaves no pair with a value.
    """
    import numpy as np

    known = [(value, pair) for value, pair in zip(values, pairs, strict=True) if not np.isnan(value)]
    seeds = sorted({seed for _, pair in known for seed in pair})
    mean = float(np.mean([value for value, _ in known]))
    rest = [[value for value, pair in known if seed not in pair] for seed in seeds]
    if len(seeds) < 3 or not all(rest):
        return mean, None
    n, left_out = len(seeds), np.array([np.mean(some) for some in rest])
    return mean, float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
