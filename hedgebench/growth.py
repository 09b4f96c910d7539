"""What growing an SAE did to the latents it had before: how far each moved, and how much of that lies in the span of the new rows.

    u_i    unit row i of the control: the same SAE, trained on for as long without new latents
    v_i    unit row i of the grown SAE, i an old latent
    δ_i    v_i - u_i
    P      the projector on the span of the new decoder rows, rank r in R^d

A random span of rank r holds r / d of a vector's squared norm, and `spans.expected_norm(r, d)` of its norm, on average. Activations are not isotropic, and
neither are changes nor rows: both prefer the large directions. The random span is therefore a weak comparison; a fair one are spans that prefer them, too, or what rows change in the very same span when
nothing was added.
Source: the growing SAE of the post on hedging, and the hedging degree of arXiv 2505.11756.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.geometry import unit_vectors
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


class Null(NamedTuple):
    """What a comparison says of each of m latents; on the CPU, in float64."""

    inside: Tensor
    """[m], |P δ_i| of its spans or its δ; of several spans the mean."""
    by_chance: Tensor
    """[m], what a random span of the same rank would hold of that δ_i."""
    squared_share: Tensor
    """[m], |P δ_i|² / |δ_i|²; likewise."""


@dataclass(frozen=True)
class Movement:
    """What became of m latents; on the CPU, in float64."""

    norm: Tensor
    """[m], |δ_i|, from 0 to 2."""
    cosine: Tensor
    """[m], of u_i and v_i."""
    inside: Tensor
    """[m], |P δ_i|."""
    second_moment: Tensor
    """[d, d], the sum of δ_i δ_iᵀ / |δ_i|² over the latents that moved."""
    nulls: Mapping[str, Null]
    """By name."""

    @property
    def moved(self) -> Tensor:
        """[m], True for latents that are not exactly where they were."""
        return self.norm > 0

    @property
    def share(self) -> Tensor:
        """[m], |P δ_i| / |δ_i|; 0 for a latent that did not move."""
        return self.inside / self.norm.where(self.moved, 1)

    def as_null(self, rank: int) -> Null:
        """This movement, in a span of that rank, as what another is compared with."""
        by_chance = self.norm * expected_norm(rank, len(self.second_moment))
        return Null(self.inside, by_chance, self.share.square())


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
    norms, cosines, insides = [], [], []
    nulls: dict[str, list[Tensor]] = {name: [] for name in given}
    second_moment = torch.zeros(d, d, dtype=torch.float64, device=before.device)
    for u, v in zip(before.split(_BLOCK), after.split(_BLOCK), strict=True):
        u, v = unit_vectors(u), unit_vectors(v)  # in float64: δ is a small difference of nearly equal rows
        delta = v - u
        size = delta.norm(dim=-1)
        direction = (delta / size.where(size > 0, 1)[:, None]).to(before.dtype)
        norms.append(size)
        cosines.append((u * v).sum(-1).clamp(-1, 1))
        insides.append(size * _share(direction, basis))
        for name, bases in given.items():
            shares = torch.stack([_share(direction, one) for one in bases])
            nulls[name].append(torch.stack([size * shares.mean(0), shares.square().mean(0)]))
        second_moment += (direction.T @ direction).double()
    norm = torch.cat(norms).cpu()
    compared = {}
    for name, parts in nulls.items():
        inside, squared_share = torch.cat(parts, dim=1).cpu()
        by_chance = norm * (sum(expected_norm(len(one), d) for one in given[name]) / len(given[name]))
        compared[name] = Null(inside, by_chance, squared_share)
    return Movement(norm, torch.cat(cosines).cpu(), torch.cat(insides).cpu(), second_moment.cpu(), compared)


def _share(directions: Tensor, basis: Tensor) -> Tensor:
    share: Tensor = (directions @ basis.T).double().norm(dim=-1)
    return share.clamp(max=1)  # rounding alone passes 1


class Estimate(NamedTuple):
    """A number about the old latents, with its bootstrapped standard error over them."""

    value: float
    stderr: float | None
    n: int


def estimates(
    found: Movement, rank: int, generator: torch.Generator, baseline: Tensor | None = None, resamples: int = 1000
) -> dict[str, Estimate]:
    """All that is averaged over old latents, with errors.

    Args:
        found: What became of them.
        rank: Of the span of the new rows.
        generator: For the bootstrap.
        baseline: [m], what the random span holds of |δ_i|, sampled; None: in closed form.
        resamples: Of the bootstrap.

    Returns:
        `projection` (g), `baseline` (b), `excess isotropic` (g - b), `unclamped_degree`, `hedging_degree`, `delta_norm`, `cosine`; of every null NAME `null_projection NAME`, and
        `excess NAME`: g - b less the same of the null, so that it is 0 for rows that are nothing to the activations, however far what is compared moved.
        Unless no latent moved, `delta_share`, `direction_share`, `null_share NAME` and `share_excess NAME`, too.
    """
    import torch

    d, names = len(found.second_moment), list(found.nulls)
    by_chance = found.norm * expected_norm(rank, d) if baseline is None else baseline
    units = [found.inside, by_chance, found.norm, found.cosine]
    units += [null.inside for null in found.nulls.values()] + [null.by_chance for null in found.nulls.values()]
    labels = [
        "projection",
        "baseline",
        "excess isotropic",
        "unclamped_degree",
        "hedging_degree",
        "delta_norm",
        "cosine",
    ]
    labels += [f"null_projection {name}" for name in names] + [f"excess {name}" for name in names]

    def over_all(totals: Tensor, count: Tensor) -> Tensor:
        g, b, norm, cosine, *rest = (totals / count[..., None]).unbind(-1)
        nulls, chances = rest[: len(names)], rest[len(names) :]
        raw = degree(g, b)
        excess = [g - b - (null - chance) for null, chance in zip(nulls, chances, strict=True)]
        return torch.stack([g, b, g - b, raw, raw.clamp(min=0), norm, cosine, *nulls, *excess], -1)

    numbers = _bootstrapped(labels, over_all, units, generator, resamples)
    if not found.moved.any():
        return numbers
    units = [found.share.square(), found.share, *(null.squared_share for null in found.nulls.values())]
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
