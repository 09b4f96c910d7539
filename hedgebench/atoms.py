"""Directions that residuals cluster about, how large the spikes along them are, and what a decoder's rows give up to them. Pure functions on tensors, on their device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgebench.latent_regression import LatentRegression

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ATOMS = 200
_ROUNDS = 10
"""Of k-means."""
_AT_MOST = 40_000
"""Residuals that atoms are found from, and spikes measured on."""
_SIDE, _POWERS = 4, 6
"""Columns and steps of subspace iteration."""


def find_atoms(r: Tensor, generator: torch.Generator, n_atoms: int = ATOMS) -> Tensor:
    """Unit rows [n_atoms, d] that residuals r [n, d] cluster about: ten rounds of spherical k-means on 40,000 of them at most, drawn at random, of which the first ones are the start.

    There are as many as residuals where those are fewer than `n_atoms`. The generator is on the CPU.
    """
    import torch

    drawn = torch.randperm(len(r), generator=generator)[:_AT_MOST]
    units = torch.nn.functional.normalize(r[drawn.to(r.device)], dim=1)
    atoms = units[:n_atoms].clone()
    for _ in range(_ROUNDS):
        sums = torch.zeros_like(atoms).index_add_(0, (units @ atoms.T).argmax(dim=1), units)
        filled = sums.norm(dim=1) > 0
        atoms[filled] = torch.nn.functional.normalize(sums[filled], dim=1)
    return atoms


def where_latents_fire(r: Tensor, f: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each latent the direction along which residuals vary most on the tokens where it fires, against all tokens.

    It is the leading eigenvector of the second moment on those tokens, in coordinates in which that of all tokens is the identity, by subspace iteration. That of a latent which
    never fires means nothing, and its ratio is 0. Time grows as n L0 d.

    Args:
        r: [n, d], residuals.
        f: [n, m], dense or sparse CSR, activations.
        generator: On the CPU; draws where the iteration begins.

    Returns:
        Unit rows [m, d], and [m], float64, how many times as much they vary along them.
    """
    import torch

    n, d = r.shape
    moment = torch.zeros(d, d, dtype=torch.float64, device=r.device)
    for block in r.split(8192):
        moment += block.double().T @ block.double()
    values, axes = torch.linalg.eigh(moment / n)
    root = values.clamp(min=1e-9 * float(values[-1])).sqrt()
    whitened = r @ (axes / root).to(r)
    fired = f.to_sparse_coo().coalesce().indices() if f.layout != torch.strided else f.nonzero().T
    rows, latents = fired[:, fired[1].argsort(stable=True)]
    ends = torch.bincount(latents, minlength=f.shape[1]).cumsum(0).tolist()
    begin = torch.randn(d, _SIDE, generator=generator).to(r)
    found = torch.zeros(f.shape[1], d, dtype=r.dtype, device=r.device)
    ratio = torch.zeros(f.shape[1], dtype=torch.float64, device=r.device)
    for i, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        own = whitened[rows[start:end]]
        q = begin
        for _ in range(_POWERS):
            q = torch.linalg.qr(own.T @ (own @ q)).Q
        strength, turn = torch.linalg.eigh((own @ q).T @ (own @ q))
        found[i] = q @ turn[:, -1]
        ratio[i] = float(strength[-1]) / max(end - start, 1)
    return torch.nn.functional.normalize(found @ (axes * root).T.to(r), dim=1), ratio


def spike_size(r: Tensor, atoms: Tensor) -> float:
    """The median over atoms of E[p^4] / E[p^3], p = max(0, r . atom), over the first 40,000 residuals: the strength of a feature that fires seldom, were the atom that feature.

    Where most residuals hold no spike, most atoms are directions of noise, and the median is theirs: then it is far below the size of spikes.
    """
    p = (r[:_AT_MOST] @ atoms.T).relu().double()
    return float((p**4).mean(dim=0).div((p**3).mean(dim=0)).nanmedian())


def kmeans_growth(x: Tensor, regression: LatentRegression, generator: torch.Generator, n_atoms: int = ATOMS) -> Tensor:
    """|C_i - C'_i| / |C_i|: how much a row of the best decoder changes when atoms of the residuals join as latents.

    An atom is on, with r . atom, where that is the largest of all atoms and above 0. C are the coefficients of x on f, C' those on f and the atoms together. The two differ
    by B G: B the coefficients of the atoms on f, and G those of the residuals on what of the atoms f leaves over (Frisch and Waugh), so that nothing is solved twice.

    Args:
        x: [n, d].
        regression: On the activations f [n, m].
        generator: On the CPU.
        n_atoms: As in `find_atoms`.

    Returns:
        [m], float64; NaN for a latent whose row is zero.
    """
    rows, r = regression.fitted(x)
    largest, which = (r @ find_atoms(r, generator, n_atoms).T).max(dim=1)
    codes = r.new_zeros(len(r), n_atoms).scatter_(1, which[:, None], largest.relu()[:, None])
    taken = LatentRegression(regression.residual(codes)).coefficients(r)
    changes: Tensor = (regression.coefficients(codes) @ taken).norm(dim=1) / rows.norm(dim=1)
    return changes
