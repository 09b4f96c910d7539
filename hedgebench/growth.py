"""What growing an SAE did to the latents it had before: how far each moved, and how much of that lies in the span of the new rows.

    u_i    unit row i of the control: the same SAE, trained on for as long without new latents
    v_i    unit row i of the grown SAE, i an old latent
    δ_i    v_i - u_i
    P      the projector on the span of the new decoder rows, rank r in R^d

A random span of rank r holds r / d of a vector's squared norm, and `spans.expected_norm(r, d)` of its norm, on average. Activations are not isotropic, and
neither are changes nor rows: both prefer the large directions. The random span is therefore a weak comparison; a fair one are spans that prefer them, too, or what rows change in the very same span when
nothing was added. Such a change may be larger or smaller as a whole, so it is drawn out or back until it turns rows as far outside the span (`against`): to give up what the new rows took over turns none there.
Source: the growing SAE of the post on hedging, and the hedging degree of arXiv 2505.11756.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.geometry import unit_vectors
from hedgebench.spans import expected_norm

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 4096
"""Rows that are worked on at a time."""
STILL = 1e-6
"""Changes of a unit row up to this are what float32 makes of none, when the same row is stored at another length."""


class Null(NamedTuple):
    """What a comparison says of each of m latents; on the CPU, in float64."""

    inside: Tensor
    """[m], |P δ_i| of its spans or its δ; of several spans the mean."""
    by_chance: Tensor
    """[m], what a random span of the rank of its spans would hold of δ_i."""
    squared_share: Tensor
    """[m], |P δ_i|² / |δ_i|² of its spans or its δ; likewise."""
    scale: float = 1.0
    """How many times as far as it did that had turned, on average."""


@dataclass(frozen=True)
class Movement:
    """What became of m latents; on the CPU, in float64."""

    norm: Tensor
    """[m], |δ_i|, from 0 to 2."""
    cosine: Tensor
    """[m], of u_i and v_i."""
    inside: Tensor
    """[m], |P δ_i|."""
    turned: Tensor
    """[m], the part of δ_i orthogonal to the span and to u_i's own part outside the span. 0 where a row only gave up or took up what lies in the span."""
    by_chance: Tensor
    """[m], what a random span of the same rank would hold of δ_i."""
    second_moment: Tensor
    """[d, d], the sum of δ_i δ_iᵀ / |δ_i|² over the latents that moved."""
    nulls: Mapping[str, Null]
    """By name."""

    @property
    def moved(self) -> Tensor:
        """[m], True for latents that moved further than rounding moves them."""
        return self.norm > STILL

    @property
    def share(self) -> Tensor:
        """[m], |P δ_i| / |δ_i|; 0 for a latent that did not move."""
        return self.inside / self.norm.where(self.moved, 1)

    @property
    def angle(self) -> Tensor:
        """[m], between u_i and v_i, from 0 to π."""
        return 2 * (self.norm / 2).clamp(max=1).asin()


def movement(
    before: Tensor, after: Tensor, basis: Tensor, spans: Mapping[str, Sequence[Tensor]] | None = None
) -> Movement:
    """How far rows moved, both made unit first, and how much of that lies in a span, and in the spans of nulls.

    Cost: a product of the m rows with every basis, the nulls' included, and one with themselves (m d²). Memory beside the rows: a block of them.

    Args:
        before: [m, d], no row zero.
        after: [m, d], likewise.
        basis: [rank, d], orthonormal.
        spans: Name of a null -> its spans, one at least, each an orthonormal basis.
    """
    import torch

    basis, d = basis.to(before), before.shape[1]
    given = {name: [one.to(before) for one in bases] for name, bases in (spans or {}).items()}
    columns: list[Tensor] = []
    nulls: dict[str, list[Tensor]] = {name: [] for name in given}
    second_moment = torch.zeros(d, d, dtype=torch.float64, device=before.device)
    for u, v in zip(before.split(_BLOCK), after.split(_BLOCK), strict=True):
        u, v = unit_vectors(u), unit_vectors(v)  # in float64: δ is a small difference of nearly equal rows
        delta = v - u
        size = delta.norm(dim=-1)
        direction = (delta / size.where(size > STILL, 1)[:, None]).to(before.dtype)
        cosine = (u * v).sum(-1).clamp(-1, 1)
        turned = size * _turned(direction, u.to(before.dtype), basis)
        columns.append(torch.stack([size, cosine, size * _share(direction, basis), turned]))
        for name, bases in given.items():
            shares = torch.stack([_share(direction, one) for one in bases])
            nulls[name].append(torch.stack([size * shares.mean(0), shares.square().mean(0)]))
        moving = direction[size > STILL]
        second_moment += (moving.T @ moving).double()
    norm, cosine, inside, turned = torch.cat(columns, dim=1).cpu()
    compared = {}
    for name, parts in nulls.items():
        null_inside, squared_share = torch.cat(parts, dim=1).cpu()
        by_chance = norm * (sum(expected_norm(len(one), d) for one in given[name]) / len(given[name]))
        compared[name] = Null(null_inside, by_chance, squared_share)
    return Movement(norm, cosine, inside, turned, norm * expected_norm(len(basis), d), second_moment.cpu(), compared)


def against(found: Movement, before: Tensor, after: Tensor, basis: Tensor, name: str) -> Movement:
    """The movement with another change of the same rows in the same span among its nulls, drawn out or back to its own size.

    The row that turned k-th farthest outside the span is turned on, the way it went, or back, until it has turned there as far as the k-th of `found` (to a right angle at most), and is what that one is
    compared with: rows that all but stay are held to such rows, and rows that became another to such.

    Args:
        found: What is compared.
        before: [m, d], the rows that `found` began with.
        after: [m, d], what they became otherwise.
        basis: [rank, d], the span of `found`.
        name: Of the null. There is none where the rows turned nothing outside the span.
    """
    other = movement(before, after, basis)
    if float(other.turned.mean()) <= STILL:
        return found
    mine, its = found.turned.argsort(stable=True), other.turned.argsort(stable=True)
    wanted, partner = found.turned.clone(), mine.clone()
    wanted[its], partner[mine] = found.turned[mine], its
    there = movement(before, turned_to(wanted, other, before, after), basis)
    scale = float(found.turned.sum() / other.turned.sum())
    null = Null(there.inside[partner], found.by_chance, there.share.square()[partner], scale)
    return replace(found, nulls={**found.nulls, name: null})


def turned_to(wanted: Tensor, change: Movement, before: Tensor, after: Tensor) -> Tensor:
    """Rows [m, d] turned from where they were, the way they went, until each has turned so far outside the span; to a right angle at most, and not at all where it had turned nothing there.

    Args:
        wanted: [m], `Movement.turned` that they are to have.
        change: From before to after.
        before: [m, d].
        after: [m, d].
    """
    import torch

    reach = change.turned / change.angle.sin().where(change.turned > 0, 1)  # of a right angle
    angles = (wanted / reach.where(reach > 0, math.inf)).clamp(max=1).asin().to(before.device)
    rows = []
    for u, v, angle in zip(before.split(_BLOCK), after.split(_BLOCK), angles.split(_BLOCK), strict=True):
        u, v = unit_vectors(u), unit_vectors(v)
        way = v - (u * v).sum(-1, keepdim=True) * u
        way = way / way.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        rows.append((angle.cos()[:, None] * u + angle.sin()[:, None] * way).to(before.dtype))
    return torch.cat(rows)


def _share(directions: Tensor, basis: Tensor) -> Tensor:
    share: Tensor = (directions @ basis.T).double().norm(dim=-1)
    return share.clamp(max=1)  # rounding alone passes 1


def _turned(directions: Tensor, rows: Tensor, basis: Tensor) -> Tensor:
    """The norm of what directions have outside a span and orthogonal to the rows' own parts there, to which a unit row only goes back when it gives up what lies in the span."""
    outside, own = (vectors - (vectors @ basis.T) @ basis for vectors in (directions, rows))
    own = own / own.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    turned: Tensor = (outside - (outside * own).sum(-1, keepdim=True) * own).double().norm(dim=-1)
    return turned


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
        p, q = ((unit_vectors(b) - unit_vectors(a)).to(basis.dtype) @ basis.T for a, b in ((u, v), (s, t)))
        twice.append(2 * (p.double() * q.double()).sum(-1))
        sizes.append(p.double().square().sum(-1) + q.double().square().sum(-1))
    return torch.cat(twice).cpu(), torch.cat(sizes).cpu()
