"""The rows of `seed_overlap`, from the pairings of a group's SAEs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hedgebench.eval import Score

if TYPE_CHECKING:
    from torch import Tensor

    from hedgebench.overlap import Overlap


@dataclass(frozen=True)
class Group:
    """All pairs of a group of SAEs."""

    n_seeds: int
    pairs: Sequence[tuple[int, int]]
    names: Sequence[str]
    """Of the pairs."""
    found: Sequence[Overlap]
    unrelated: Overlap | None
    """The first pair, of which the second SAE was turned."""

    def cosines(self) -> Iterator[Score]:
        """Matched cosines, MCC, and what the approximation can have cost them."""
        yield from self.mean("matched_cosine", {}, lambda one: _mean(one.decoder.cosine))
        if self.found[0].encoder is not None:
            yield from self.mean("matched_cosine", {"side": "encoder"}, lambda one: _mean(one.encoder.cosine))  # type: ignore[union-attr]
        yield from self.mean("mcc", {}, lambda one: _mean(one.mcc.cosine))
        if self.approximate:
            for of in ("decoder", "encoder", "mcc"):
                gaps = [kind.gap for one in self.found if (kind := getattr(one, of)) is not None]
                if gaps:
                    yield Score("matching_gap", max(gaps), {"of": of} | self.approximate, n=len(gaps))

    def shares(self, threshold: float) -> Iterator[Score]:
        """The share of shared latents, and of those that every other seed shares."""
        import torch

        yield from self.mean("shared", {"threshold": threshold}, partial(_share, threshold=threshold))
        shared = torch.ones(self.n_seeds, self.width, dtype=torch.bool)
        for pair, one in zip(self.pairs, self.found, strict=True):
            for seed, level in zip(pair, one.levels, strict=True):
                shared[seed] &= level >= threshold
        params = {"threshold": threshold, "seeds": self.n_seeds} | self.approximate
        yield Score("shared_by_all", _mean(shared), params, n=self.n_seeds)

    def curve(self, threshold: float, thresholds: Sequence[float]) -> Iterator[Score]:
        """The share of shared latents at the other thresholds, for the whole only."""
        for at in sorted({*thresholds} - {threshold}):
            yield from self.mean("shared", {"threshold": at}, partial(_share, threshold=at), slices=False)

    def deciles(self, counts: Sequence[Tensor], n_tokens: int, threshold: float) -> Iterator[Score]:
        """The share of shared latents, and how often they fire, by firing density."""
        from hedgebench.overlap import deciles, mean_over_pairs

        places = [deciles(count) for count in counts]
        for decile in range(11):
            members = [place == decile for place in places]
            if not any(bool(some.any()) for some in members):
                continue
            slice_value = str(decile) if decile else "dead"
            values = []
            for pair, one in zip(self.pairs, self.found, strict=True):
                sides = zip(pair, one.levels, strict=True)
                shares = [_mean(level[members[i]] >= threshold) for i, level in sides if members[i].any()]
                values.append(sum(shares) / len(shares) if shares else math.nan)
            mean, stderr = mean_over_pairs(values, self.pairs)
            params = {"threshold": threshold} | self.approximate
            yield Score("shared", mean, params, "density_decile", slice_value, stderr, self.n_seeds)
            often = [_mean(count[some]) / n_tokens for count, some in zip(counts, members, strict=True) if some.any()]
            yield Score("density", sum(often) / len(often), {}, "density_decile", slice_value)

    def mean(
        self, metric: str, params: dict[str, Any], value: Callable[[Overlap], float], slices: bool = True
    ) -> Iterator[Score]:
        """The mean over pairs of a number of each, and that number of every pair."""
        from hedgebench.overlap import mean_over_pairs

        params = params | self.approximate
        values = [value(one) for one in self.found]
        mean, stderr = mean_over_pairs(values, self.pairs)
        chance = None if self.unrelated is None else value(self.unrelated)
        yield Score(metric, mean, params, stderr=stderr, n=self.n_seeds, chance=chance)
        for name, one in zip(self.names, values, strict=True):
            if slices:
                yield Score(metric, one, params, "pair", name, n=self.width, chance=chance)

    @property
    def width(self) -> int:
        """Latents of each SAE."""
        return len(self.found[0].mcc.partner)

    @property
    def approximate(self) -> dict[str, Any]:
        """The parameter that marks what comes of approximate pairings."""
        return {} if self.found[0].mcc.exact else {"approximate": True}


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _share(one: Overlap, threshold: float) -> float:
    return _mean(one.levels[0] >= threshold)
