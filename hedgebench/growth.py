"""What growing an SAE did to the latents it had before: how far each moved, and how much of that lies in the span of the new rows.

    u_i    unit row i of the control: the same SAE, trained on for as long without new latents
    v_i    unit row i of the grown SAE, i an old latent
    δ_i    v_i - u_i
    P      the projector on the span of the new decoder rows, rank r in R^d

A random span of rank r holds r / d of a vector's squared norm, and `spans.expected_norm(r, d)` of its norm, on average. Activations are not isotropic, and
neither are changes nor rows: both prefer the large directions. The random span is therefore a weak comparison, and spans that prefer them, too, a fair one.
Source: the growing SAE of the post on hedging, and the hedging degree of arXiv 2505.11756.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.spans import expected_norm
from hedgebench.stats import bootstrap

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_BLOCK = 4096
"""Rows that are worked on at a time."""


def degree(g: Tensor, b: Tensor) -> Tensor:
    """The hedging degree before it is clamped at 0: (g - b) / (1 - b). The paper's is max(0, this).

    Args:
        g: Mean |P δ_i|, the rows being of norm 1.
        b: The same for random spans.
    """
    return (g - b) / (1 - b)


@dataclass(frozen=True)
class Movement:
    """What became of m latents; on the CPU, in float64."""

    norm: Tensor
    """[m], |δ_i|, from 0 to 2."""
    cosine: Tensor
    """[m], of u_i and v_i."""
    inside: Tensor
    """[m], |P δ_i|."""
    null_shares: Mapping[str, Tensor]
    """Name of a null -> [m], its |P δ_i|² / |δ_i|², the mean over its spans; 0 for a latent that did not move."""
    second_moment: Tensor
    """[d, d], the sum of δ_i δ_iᵀ / |δ_i|² over the latents that moved."""

    @property
    def moved(self) -> Tensor:
        """[m], True for latents that are not exactly where they were."""
        return self.norm > 0

    @property
    def share(self) -> Tensor:
        """[m], |P δ_i| / |δ_i|; 0 for a latent that did not move."""
        return self.inside / self.norm.where(self.moved, 1)


def movement(before: Tensor, after: Tensor, basis: Tensor, nulls: Mapping[str, Tensor] | None = None) -> Movement:
    """How far rows moved, both made unit first, and how much of that lies in a span, and in the spans of nulls.

    Cost: a product of the m rows with the basis, and one with a d × d matrix for every null, however many spans it stands for, and for the second moment.
    Memory beside the rows: a block of them.

    Args:
        before: [m, d], no row zero.
        after: [m, d], likewise.
        basis: [rank, d], orthonormal.
        nulls: Name -> [d, d], the mean projector of its spans.
    """
    import torch

    nulls = {name: projector.to(before) for name, projector in (nulls or {}).items()}
    basis, d = basis.to(before), before.shape[1]
    norms, cosines, insides = [], [], []
    shares: dict[str, list[Tensor]] = {name: [] for name in nulls}
    second_moment = torch.zeros(d, d, dtype=torch.float64, device=before.device)
    for u, v in zip(before.split(_BLOCK), after.split(_BLOCK), strict=True):
        u, v = _unit(u), _unit(v)
        delta = v - u
        size = delta.norm(dim=-1)
        direction = (delta / size.where(size > 0, 1)[:, None]).to(before.dtype)
        norms.append(size)
        cosines.append((u * v).sum(-1).clamp(-1, 1))
        insides.append(size * (direction @ basis.T).double().norm(dim=-1).clamp(max=1))  # rounding alone passes 1
        for name, projector in nulls.items():
            shares[name].append(((direction @ projector) * direction).double().sum(-1).clamp(0, 1))
        second_moment += (direction.T @ direction).double()
    return Movement(
        torch.cat(norms).cpu(),
        torch.cat(cosines).cpu(),
        torch.cat(insides).cpu(),
        {name: torch.cat(parts).cpu() for name, parts in shares.items()},
        second_moment.cpu(),
    )


def mean_inside(before: Tensor, after: Tensor, spans: Sequence[Tensor]) -> Tensor:
    """[m], the mean over spans of |P δ_i|. Cost: one product with every span, as the paper's sampled baseline has it.

    Args:
        before: [m, d], no row zero.
        after: [m, d], likewise.
        spans: Orthonormal bases, each [rank, d].
    """
    import torch

    means = []
    for u, v in zip(before.split(_BLOCK), after.split(_BLOCK), strict=True):
        delta = (_unit(v) - _unit(u)).to(before.dtype)
        inside = sum((delta @ basis.to(delta).T).double().norm(dim=-1) for basis in spans)
        means.append(inside / len(spans))
    return torch.cat(means).cpu()


class Estimate(NamedTuple):
    """A number about the old latents, with its bootstrapped standard error over them."""

    value: float
    stderr: float | None
    n: int


def estimates(
    found: Movement, rank: int, generator: torch.Generator, sampled_norm: Tensor | None = None, resamples: int = 1000
) -> dict[str, Estimate]:
    """All that is averaged over old latents, with errors.

    Args:
        found: What became of them.
        rank: Of the span of the new rows.
        generator: For the bootstrap.
        sampled_norm: [m], the mean of |P δ_i| over sampled random spans, as the paper's b is computed; None: in closed form.
        resamples: Of the bootstrap.

    Returns:
        `delta_share`, `direction_share` and `null_share NAME`, `excess NAME` (unless no latent moved), `excess` (over the largest of the nulls, if there are any);
        `projection` (g), `baseline` (b), `unclamped_degree`, `hedging_degree`, `delta_norm`, `cosine`.
    """
    import torch

    d, names = len(found.second_moment), list(found.null_shares)
    by_chance = found.norm * expected_norm(rank, d) if sampled_norm is None else sampled_norm
    all_latents = (found.inside, by_chance, found.norm, found.cosine)
    moved = (found.share.square(), found.share, *found.null_shares.values())
    labels = ["projection", "baseline", "unclamped_degree", "hedging_degree", "delta_norm", "cosine"]

    def means_over_all(totals: Tensor, count: Tensor) -> Tensor:
        g, b, norm, cosine = (totals / count[..., None]).unbind(-1)
        raw = degree(g, b)
        return torch.stack([g, b, raw, raw.clamp(min=0), norm, cosine], -1)

    def means_over_moved(totals: Tensor, count: Tensor) -> Tensor:
        share, direction, *null = (totals / count[..., None]).unbind(-1)
        over = [share - one for one in null]
        least = [torch.stack(over).amin(0)] if over else []
        return torch.stack([share, direction, *null, *over, *least], -1)

    units = torch.stack(all_latents, -1)
    given = _labelled(labels, bootstrap(means_over_all, units, torch.ones(len(units)), **_drawn(generator, resamples)))
    if not found.moved.any():
        return given
    labels = ["delta_share", "direction_share", *(f"null_share {n}" for n in names), *(f"excess {n}" for n in names)]
    labels += ["excess"] if names else []
    units = torch.stack(moved, -1)[found.moved]
    shares = bootstrap(means_over_moved, units, torch.ones(len(units)), **_drawn(generator, resamples))
    return given | _labelled(labels, shares)


def _drawn(generator: torch.Generator, resamples: int) -> dict[str, Any]:
    return {"generator": generator, "resamples": resamples}


def _labelled(labels: Sequence[str], found: tuple[Tensor, Tensor | None, int]) -> dict[str, Estimate]:
    values, stderrs, n = found
    errors = [None] * len(labels) if stderrs is None else stderrs.tolist()
    return {
        label: Estimate(value, stderr, n) for label, value, stderr in zip(labels, values.tolist(), errors, strict=True)
    }


def agreement(decoder: tuple[Tensor, Tensor], encoder: tuple[Tensor, Tensor], basis: Tensor) -> tuple[Tensor, Tensor]:
    """Whether decoder rows and encoder columns changed alike inside a span.

    With p_i and q_i the changes of the unit decoder row and the unit encoder column, projected on the span, *symmetry* is the ratio of the sums of what
    this returns: 1 where they are equal (hedging leaves both), 0 where only one of them changed or they have nothing to do with each other
    (absorption changes the encoder), -1 where they are opposite.

    Args:
        decoder: Rows before and after, each [m, d].
        encoder: Columns before and after, transposed, each [m, d].
        basis: [rank, d].

    Returns:
        2 p_i · q_i and |p_i|² + |q_i|², each [m] in float64.
    """
    import torch

    basis = basis.to(decoder[0])
    twice, sizes = [], []
    for u, v, s, t in zip(*(side.split(_BLOCK) for side in (*decoder, *encoder)), strict=True):
        p, q = ((_unit(b) - _unit(a)).to(basis.dtype) @ basis.T for a, b in ((u, v), (s, t)))
        twice.append(2 * (p.double() * q.double()).sum(-1))
        sizes.append(p.double().square().sum(-1) + q.double().square().sum(-1))
    return torch.cat(twice).cpu(), torch.cat(sizes).cpu()


def _unit(rows: Tensor) -> Tensor:
    wide = rows.double()  # a small difference of nearly equal rows: the subtraction is done in float64
    unit: Tensor = wide / wide.norm(dim=-1, keepdim=True)
    return unit
