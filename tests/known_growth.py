"""Grown pairs whose answer is known: what share of every old row's change lies in the span of the new rows is a dial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from known_saes import build, orthonormal_features

if TYPE_CHECKING:
    from torch import Tensor


class Pair(NamedTuple):
    """A control and what grew."""

    control: Any
    grown: Any
    delta: Tensor
    """[old, d], what the unit rows changed."""
    new: Tensor
    """[added, d], the new rows."""


def exact_pair(share: float, *, size: float = 0.4, old: int = 30, added: int = 4, d: int = 48, seed: int = 0) -> Pair:
    """Every old row changes by `size`, exactly this share of the square inside the span of the new rows; encoders are the decoders' transposes.

    The rows before and after are m - δ/2 and m + δ/2 with m orthogonal to δ, so both are of norm 1.
    """
    generator = torch.Generator().manual_seed(seed)
    axes = orthonormal_features(d, d, generator)
    inside, outside, middle = axes[:added], axes[added : d // 2], axes[d // 2 :]
    delta = size * (share**0.5 * _units(old, inside, generator) + (1 - share) ** 0.5 * _units(old, outside, generator))
    centre = (1 - size**2 / 4) ** 0.5 * _units(old, middle, generator)
    new = torch.randn(added, added, generator=generator, dtype=torch.float64) @ inside
    return pair(centre - delta / 2, centre + delta / 2, new)


def mixed_pair(dial: float, *, old: int = 200, added: int = 6, d: int = 40, size: float = 0.3, seed: int = 0) -> Pair:
    """Old rows change by an isotropic vector, turned by the dial, from 0 to 1, towards the span of the new rows."""
    generator = torch.Generator().manual_seed(seed)
    everywhere = torch.eye(d, dtype=torch.float64)
    new = torch.randn(added, d, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(new.T).Q.T
    change = (1 - dial) ** 0.5 * _units(old, everywhere, generator) + dial**0.5 * _units(old, basis, generator)
    before = _units(old, everywhere, generator)
    after = before + size * change
    return pair(before, after / after.norm(dim=-1, keepdim=True), new)


def pair(before: Tensor, after: Tensor, new: Tensor, encoder: tuple[Tensor, Tensor] | None = None) -> Pair:
    """A pair with these decoder rows; encoder columns likewise, or as given before and after."""
    first, second = encoder or (before, after)
    rows = torch.cat([after, new])
    control = build(first.T, before)
    grown = build(torch.cat([second, new]).T, rows)
    return Pair(control, grown, after - before, new)


def _units(n: int, basis: Tensor, generator: torch.Generator) -> Tensor:
    coordinates = torch.randn(n, len(basis), generator=generator, dtype=torch.float64)
    return coordinates / coordinates.norm(dim=-1, keepdim=True) @ basis
