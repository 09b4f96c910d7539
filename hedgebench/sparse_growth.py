"""What latents hedge, from their residual alone: the SAE grows by features that are found in what it leaves over, and nothing is trained.

A latent that hedges bears a share of features it does not stand for: its row C_i, fitted by least squares, is d_i + Σ_j h_ij d_j, where h_ij is the coefficient of a missing feature's
strength a_j on the latent's activation. What is left over then holds h_ij d_j too little wherever feature j fires, and h_ij d_j too much wherever the latent fires without it. Were a_j known,
least squares of x on f and a together would give d_i back. Here a is looked for instead, as few and nonnegative activations of unknown directions (sparse coding), in turns:

    a   the sparse nonnegative codes of y on G
    â   what f says of a, linearly (coefficients H, intercept)
    G   the directions that fit best beside f: least squares of r on a - â
    y   r + â G: the residual, with what the latents bore given back

beginning with y = r and G the residual's clusters. By the Frisch-Waugh-Lovell theorem C - H G are f's rows in the joint fit, so H G is what rows owe to missing features: the hedged part.
A variance that follows a latent without a mean that does, such as spikes of either sign, gives two opposite directions whose parts of H G cancel.

Limits: a feature that is there more often than not when the latent fires is taken for the latent's own, and its absence for what is missing: fewer codes say so. A latent that fires for
either of two features looks like spikes of either sign, too (`Missing.opposite`). Features are not found that are no larger than what else is left over.
Source: this project; sparse coding with nonnegative codes by FISTA (Beck & Teboulle 2009), dictionary update by least squares (MOD, Engan et al. 1999).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hedgebench.atoms import find_atoms, spike_size
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hedgebench.latent_regression import LatentRegression

THRESHOLD = 0.4
"""What a code must pass, as a share of the typical spike."""
LEAST = 0.5
"""A feature's codes lie on average above the threshold by this share of it; noise that passes it now and then does not."""
ALIKE = 0.85
"""Directions whose cosine is above this are one feature."""
OWN = 0.6
"""A direction whose cosine with a latent's row is above this is not missing: that latent stands for it and does not always fire."""
OPPOSITE = -0.7
"""Directions whose cosine is below this are two sides of one."""
_ROUNDS = 8
_STEPS = 8
"""Of FISTA in every round, from the codes of the round before."""
_LAST_STEPS = 24
_MERGE_AT = (2, 5)
_PRUNE_FROM = 4
_FIRINGS = 10
_ROWS = 8192
"""Rows that are coded at a time."""


class Missing(NamedTuple):
    """Features that an SAE lacks, K of them, as far as its residual shows them."""

    atoms: Tensor
    """[K, d], unit rows: their directions."""
    codes: Tensor
    """[n, K], how strongly each is there; 0 mostly."""
    spike: float
    """Typical strength of what is missed (`atoms.spike_size`), in activation units."""

    @property
    def opposite(self) -> Tensor:
        """[K], True for directions whose opposite is there, too: a variance without a sign, or a latent that fires for either of two features."""
        found: Tensor = (self.atoms @ self.atoms.T < OPPOSITE).any(dim=1)
        return found


class Owed(NamedTuple):
    """What the rows of m latents owe to missing features."""

    coefficients: Tensor
    """[m, K], float64: H, of the features' strengths on activations."""
    directions: Tensor
    """[K, d], float64: G, the features' rows in the joint fit, in the units of their codes."""


def find_missing(r: Tensor, regression: LatentRegression, generator: torch.Generator, n_atoms: int = 384) -> Missing:
    """Sparse features in what latents leave over.

    Time grows as n K (K + d) in each of 8 rounds, and with the regression of K columns; memory as n (K + d).

    Args:
        r: [n, d], what is left of the activations x (`regression.residual(x)`).
        regression: On the latents' activations.
        generator: Draws where k-means begins.
        n_atoms: How many features are looked for; those that merge or turn out to be noise are dropped.

    Raises:
        CannotMeasure: Nothing is left over, or nothing sparse.
    """
    seeds = find_atoms(r, generator, n_atoms)
    spike = spike_size(r, seeds)
    if not spike > 0:
        raise CannotMeasure("the SAE leaves nothing over: there is no missing feature to find")
    threshold = THRESHOLD * spike
    atoms, y, codes = seeds, r, None
    for step in range(_ROUNDS):
        codes = sparse_codes(y, atoms, threshold, _STEPS, codes)
        kept = _are_features(codes, threshold if step >= _PRUNE_FROM else 0.0)
        if not bool(kept.any()):
            raise CannotMeasure("what the SAE leaves over holds no sparse feature")
        codes = codes[:, kept]
        left = regression.residual(codes)
        told, atoms = codes - left, _directions(left, r)
        length = atoms.norm(dim=1)
        atoms, codes, told = atoms / length[:, None], codes * length, told * length
        if step in _MERGE_AT:
            kept = _are_distinct(atoms, codes)
            atoms, codes, told = atoms[kept], codes[:, kept], told[:, kept]
        y = r + told @ atoms
    # From 0: codes of opposite directions that grew large together in earlier rounds would cancel, and shrink slowly.
    return Missing(atoms, sparse_codes(y, atoms, threshold, _LAST_STEPS), spike)


def owed(codes: Tensor, r: Tensor, regression: LatentRegression) -> Owed:
    """H and G of given codes: H G is what the rows owe.

    Args:
        codes: [n, K].
        r: [n, d], what the latents leave over on the same tokens.
        regression: On the latents' activations on these tokens.
    """
    return Owed(regression.coefficients(codes), _directions(regression.residual(codes), r).double())


def hedged_share(first: Owed, second: Owed, rows: Tensor, counted: Tensor) -> Tensor:
    """[m], signed squares' roots: |part of each row that is owed| / |row|, cross-fitted on two halves, so that noise adds nothing on average.

    The square is the dot product of the halves' parts over |row|²; where that is negative, so is the root.

    Args:
        first: From one half of the tokens.
        second: From the other, of the same codes.
        rows: [m, d], the rows fitted on all (C).
        counted: [K], bool: the features that count as missing.
    """
    parts = [one.coefficients[:, counted] @ one.directions[counted] for one in (first, second)]
    squared = (parts[0] * parts[1]).sum(dim=1) / rows.double().square().sum(dim=1)
    found: Tensor = squared.sign() * squared.abs().sqrt()
    return found


def nearest_row(atoms: Tensor, rows: Tensor) -> Tensor:
    """[K], the largest cosine of each direction with a row [m, d] (rows of zeros count as 0)."""
    import torch

    units = torch.nn.functional.normalize(rows.to(atoms), dim=1)
    return torch.cat([(some @ units.T).amax(dim=1) for some in atoms.split(256)])


def sparse_codes(y: Tensor, atoms: Tensor, threshold: float, steps: int, start: Tensor | None = None) -> Tensor:
    """[n, K], the a ≥ 0 that makes |y - a G|² / 2 + threshold Σ a small, by so many steps of FISTA.

    Args:
        y: [n, d].
        atoms: [K, d], unit rows G.
        threshold: In units of y.
        steps: Of FISTA.
        start: [n, K], codes to begin with; default: a gradient step from 0.
    """
    import torch

    gram = atoms @ atoms.T
    pace = float(torch.linalg.eigvalsh(gram.double())[-1]) * 1.001
    found = torch.empty(len(y), len(atoms), dtype=y.dtype, device=y.device)
    for rows in torch.arange(len(y), device=y.device).split(_ROWS):
        wanted = y[rows] @ atoms.T - threshold
        a = (wanted / pace).clamp(min=0) if start is None else start[rows]
        ahead, t = a, 1.0
        for _ in range(steps):
            after = (ahead - (ahead @ gram - wanted) / pace).clamp(min=0)
            faster = (1 + (1 + 4 * t * t) ** 0.5) / 2
            ahead, a, t = after + (t - 1) / faster * (after - a), after, faster
        found[rows] = a
    return found


def _are_features(codes: Tensor, threshold: float) -> Tensor:
    """[K], True for those that are there on a few tokens at least, and stand out over the threshold where they are."""
    on = codes > 0
    count = on.sum(dim=0)
    excess = codes.sum(dim=0) / count.clamp(min=1)
    found: Tensor = (count >= _FIRINGS) & (excess > LEAST * threshold)
    return found


def _are_distinct(atoms: Tensor, codes: Tensor) -> Tensor:
    """[K], False for directions that lie with one of more energy that is kept."""
    import torch

    near = (atoms @ atoms.T > ALIKE).fill_diagonal_(False).cpu()
    kept = torch.ones(len(atoms), dtype=torch.bool)
    for i in codes.square().sum(dim=0).argsort().tolist():
        kept[i] = not bool((near[i] & kept).any())
    return kept.to(atoms.device)


def _directions(left: Tensor, r: Tensor) -> Tensor:
    """[K, d]: least squares of r [n, d] on what latents leave of codes [n, K], in r's type."""
    import torch

    gram = (left.T @ left).double()
    gram.diagonal().mul_(1 + 1e-5).add_(1e-9 * float(gram.diagonal().mean()))
    found: Tensor = torch.linalg.solve(gram, (left.T @ r).double()).to(r.dtype)
    return found
