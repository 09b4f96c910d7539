"""Means over the latents that an SAE had before it grew, with errors: the numbers of `hedgebench.growth.Movement`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.stats.units import bootstrap

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hedgebench.growth import Movement


def degree(g: Tensor, b: Tensor) -> Tensor:
    """The hedging degree before it is clamped at 0: (g - b) / (1 - b). The paper's is max(0, this).

    Args:
        g: Mean |P δ_i|, the rows being of norm 1.
        b: The same for random spans.
    """
    return (g - b) / (1 - b)


class Estimate(NamedTuple):
    """A number about the old latents, with its bootstrapped standard error over them."""

    value: float
    stderr: float | None
    n: int


def estimates(
    found: Movement, generator: torch.Generator, baseline: Tensor | None = None, resamples: int = 1000
) -> dict[str, Estimate]:
    """All that is averaged over old latents, with errors.

    Args:
        found: What became of them.
        generator: For the bootstrap.
        baseline: [m], what random spans hold of |δ_i|, sampled; None: in closed form.
        resamples: Of the bootstrap.

    Returns:
        `projection` (g), `baseline` (b), `excess isotropic` (g - b), `unclamped_degree`, `hedging_degree`, `delta_norm`, `cosine`; of every null NAME `null_projection NAME` (its g), and
        `excess NAME`: g - b less the same of the null, so that it is 0 for rows that are nothing to the activations.
        Unless no latent moved, `delta_share`, `direction_share`, `null_share NAME` and `share_excess NAME`, too.
    """
    import torch

    names, nulls = list(found.nulls), list(found.nulls.values())
    sampled = found.by_chance if baseline is None else baseline
    units = [found.inside, sampled, found.by_chance, found.norm, found.cosine]
    units += [unit for null in nulls for unit in (null.inside, null.by_chance)]
    labels = ["projection", "baseline", "excess isotropic", "unclamped_degree", "hedging_degree"]
    labels += ["delta_norm", "cosine", *(f"{of} {name}" for name in names for of in ("null_projection", "excess"))]

    def over_all(totals: Tensor, count: Tensor) -> Tensor:
        g, b, chance, norm, cosine, *rest = (totals / count[..., None]).unbind(-1)
        raw = degree(g, b)
        told = [g, b, g - b, raw, raw.clamp(min=0), norm, cosine]
        for inside, expected in zip(rest[::2], rest[1::2], strict=True):
            told += [inside, (g - chance) - (inside - expected)]
        return torch.stack(told, -1)

    numbers = _bootstrapped(labels, over_all, units, generator, resamples)
    if not found.moved.any():
        return numbers
    units = [found.share.square(), found.share, *(null.squared_share for null in nulls)]
    labels = ["delta_share", "direction_share"]
    labels += [f"null_share {name}" for name in names] + [f"share_excess {name}" for name in names]

    def over_moved(totals: Tensor, count: Tensor) -> Tensor:
        share, direction, *nulls = (totals / count[..., None]).unbind(-1)
        return torch.stack([share, direction, *nulls, *(share - null for null in nulls)], -1)

    return numbers | _bootstrapped(labels, over_moved, [unit[found.moved] for unit in units], generator, resamples)


def _bootstrapped(
    labels: Sequence[str],
    means: Callable[[Tensor, Tensor], Tensor],
    units: Sequence[Tensor],
    generator: torch.Generator,
    resamples: int,
) -> dict[str, Estimate]:
    import torch

    stacked = torch.stack(list(units), -1)
    values, stderrs, n = bootstrap(means, stacked, torch.ones(len(stacked)), generator=generator, resamples=resamples)
    errors = [None] * len(labels) if stderrs is None else stderrs.tolist()
    return {
        label: Estimate(value, stderr, n) for label, value, stderr in zip(labels, values.tolist(), errors, strict=True)
    }
