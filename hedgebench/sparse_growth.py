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

import warnings
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.atoms import find_atoms, spike_size, where_latents_fire
from hedgebench.latent_regression import LatentRegression, transposed_times
from hedgebench.latent_sample import rows_of
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    import torch
    from torch import Tensor

THRESHOLD = 0.4
"""What a code must pass, as a share of the typical spike."""
LEAST = 0.5
"""A feature's codes lie on average above the threshold by this share of it; noise that passes it now and then does not."""
ALIKE = 0.85
"""Directions whose cosine is above this are one feature."""
OWN = 0.6
"""A direction whose cosine with a latent's row is above this is not missing: that latent stands for it and does not always fire."""
UNTOLD = 0.5
"""A feature of whose codes latents tell so much (linearly) that no more than this share of the variance is left is not missing; and what is left divides H G, which so little of it makes unsteady."""
OPPOSITE = -0.7
"""Directions whose cosine is below this are two sides of one."""
_ROUNDS = 8
_STEPS = 12
"""Of FISTA in every round; twice as many at the end."""
_ACTIVE = 32
_AT_MOST = 30_000
_DIRECTED = 1024
_MERGE_AT = (2, 5)
_PRUNE_FROM = 4
_FIRINGS = 10
_ROWS, _ALIKE = 8192, 1024
"""Rows that are compared with all directions at a time, and rows of one number of candidates that are coded at a time."""


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

    They are looked for where residuals cluster, and along both ways of the direction in which they vary most where each latent fires: of these 2048 at most, of the latents that have most of it.
    Directions are fitted on 30,000 tokens at most, drawn at random; then all are coded. Time grows as n K d, in each of 8 rounds on those tokens; memory as n (K + d).

    Args:
        r: [n, d], what is left of the activations x (`regression.residual(x)`).
        regression: On the latents' activations.
        generator: On the CPU; draws tokens, and where k-means and the search for directions begin.
        n_atoms: How many clusters there are; directions that merge or turn out to be noise are dropped.

    Raises:
        CannotMeasure: Nothing is left over, or nothing sparse.
    """
    import torch

    clusters = find_atoms(r, generator, n_atoms)
    spike = spike_size(r, clusters)
    if not spike > 0:
        raise CannotMeasure("the SAE leaves nothing over: there is no missing feature to find")
    threshold = THRESHOLD * spike
    some, own = r, regression
    if len(r) > _AT_MOST:
        drawn = torch.randperm(len(r), generator=generator)[:_AT_MOST].sort().values.to(r.device)
        own = LatentRegression(rows_of(regression.f, drawn))
        some = own.residual(r[drawn])  # orthogonal to the latents on these tokens, too, as `owed` takes it
    directions, strength = where_latents_fire(some, own.f, generator)
    directions = directions[strength.topk(min(_DIRECTED, len(strength))).indices]
    atoms, offset, share = _fit(some, own, torch.cat([clusters, directions, -directions]), threshold)
    y = r + offset + regression.explained(share, r.dtype)
    return Missing(atoms, sparse_codes(y, atoms, threshold, 2 * _STEPS), spike)


def _fit(r: Tensor, regression: LatentRegression, atoms: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """After all rounds from `atoms`: unit directions [K, d], and what is to be given back to r of â G, its mean [d] and its coefficients on activations [m, d].

    Raises:
        CannotMeasure: No direction is left.
    """
    y = r
    for step in range(_ROUNDS):
        codes = sparse_codes(y, atoms, threshold, _STEPS)
        kept = _are_features(codes, threshold if step >= _PRUNE_FROM else 0.0)
        if not bool(kept.any()):
            raise CannotMeasure("what the SAE leaves over holds no sparse feature")
        codes = codes[:, kept]
        given, directions = owed(codes, r, regression)
        if step in _MERGE_AT:
            length = directions.norm(dim=1, keepdim=True)
            kept = _are_distinct(directions / length, codes.square().sum(dim=0) * length[:, 0].square())
            codes, given, directions = codes[:, kept], given[:, kept], directions[kept]
        offset, share = (codes.mean(dim=0).double() @ directions).to(r.dtype), given @ directions
        y = r + offset + regression.explained(share, r.dtype)
        atoms = (directions / directions.norm(dim=1, keepdim=True)).to(r.dtype)
    return atoms, offset, share


def owed(codes: Tensor, r: Tensor, regression: LatentRegression) -> Owed:
    """H and G of given codes: H G is what the rows owe.

    G are the coefficients of r on what latents leave of the codes, a - â; since r is orthogonal to the latents, and what they say of the codes to what they leave, sums over the
    few codes that are not 0 are enough.

    Args:
        codes: [n, K], mostly 0.
        r: [n, d], what the latents leave over on the same tokens.
        regression: On the latents' activations on these tokens.
    """
    import torch

    sparse = _sparse(codes)
    products = regression.products(sparse)
    coefficients = regression.solve(products)
    mean = codes.mean(dim=0, dtype=torch.float64)
    left = transposed_times(sparse, sparse) - len(codes) * mean[:, None] * mean - products.T @ coefficients
    left = (left + left.T) / 2
    left.diagonal().mul_(1 + 1e-5).add_(1e-9 * float(left.diagonal().mean()))
    return Owed(coefficients, torch.linalg.solve(left, (sparse.t() @ r).double()))


def hedged_share(first: Tensor, second: Tensor, rows: tuple[Tensor, Tensor]) -> Tensor:
    """[m], from -1 to 1: by how much a row C is turned by what it owes, the sine of its angle with C - P: |P less its part along C - P| / |C|; signed roots, cross-fitted on two halves.

    Squares are dot products of the halves' vectors, so that noise adds nothing on average; where one comes out negative, so does the share. What is owed along the row's own
    direction makes it longer and not impure. Where P and C - P are orthogonal, it is |P| / |C|.

    Args:
        first: [m, d], P from one half of the tokens.
        second: [m, d], from the other, of the same codes.
        rows: [m, d] each, the rows fitted on the halves (C).
    """
    across, along = [], []
    for part, row in zip((first, second), rows, strict=True):
        own = row - part
        own = own / own.norm(dim=1, keepdim=True).clamp(min=1e-300)
        along.append((row * own).sum(dim=1, keepdim=True) * own)
        across.append(row - along[-1])
    turned, kept = ((one * other).sum(dim=1) for one, other in (across, along))
    squared = turned / (turned.abs() + kept.abs()).clamp(min=1e-300)
    found: Tensor = squared.sign() * squared.abs().sqrt()
    return found


def untold(codes: Tensor, regression: LatentRegression) -> Tensor:
    """[K], float64: the share of each code's variance that latents do not tell linearly; 0 for one that does not vary."""
    products = regression.products(_sparse(codes))
    told = (products * regression.solve(products)).sum(dim=0)
    whole = codes.double().var(dim=0, correction=0) * len(codes)
    found: Tensor = ((whole - told) / whole.clamp(min=1e-300)).clamp(min=0)
    return found


def nearest_row(atoms: Tensor, rows: Tensor) -> Tensor:
    """[K], the largest cosine of each direction with a row [m, d] (rows of zeros count as 0)."""
    import torch

    units = torch.nn.functional.normalize(rows.to(atoms), dim=1)
    return torch.cat([(some @ units.T).amax(dim=1) for some in atoms.split(256)])


def sparse_codes(y: Tensor, atoms: Tensor, threshold: float, steps: int) -> Tensor:
    """[n, K], the a ≥ 0 that makes |y - a G|² / 2 + threshold Σ a small, by so many steps of FISTA on the 32 directions of each row that it has most of, of those it has enough of alone.

    Args:
        y: [n, d].
        atoms: [K, d], unit rows G.
        threshold: In units of y.
        steps: Of FISTA.
    """
    import torch

    gram = atoms @ atoms.T
    found = torch.zeros(len(y), len(atoms), dtype=y.dtype, device=y.device)
    for rows in torch.arange(len(y), device=y.device).split(_ROWS):
        above, which = (y[rows] @ atoms.T - threshold).topk(min(_ACTIVE, len(atoms)), dim=1)
        number = (above > 0).sum(dim=1)
        for k in number.unique().tolist():
            for some in (number == k).nonzero()[:, 0].split(_ALIKE) if k else ():
                wanted, own = above[some, :k], which[some, :k]
                codes = _fista(wanted, gram[own[:, :, None], own[:, None, :]], steps)
                found[rows[some, None], own] = codes
    return found


def _fista(wanted: Tensor, gram: Tensor, steps: int) -> Tensor:
    """[b, k], the a ≥ 0 that makes a · gram a / 2 - wanted · a small; wanted [b, k], gram [b, k, k]."""
    pace = gram.abs().sum(dim=2).amax(dim=1, keepdim=True)  # no eigenvalue is larger
    a = ahead = wanted.new_zeros(wanted.shape)
    t = 1.0
    for _ in range(steps):
        after = (ahead - ((gram @ ahead[:, :, None])[:, :, 0] - wanted) / pace).clamp(min=0)
        faster = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead, a, t = after + (t - 1) / faster * (after - a), after, faster
    return a


def _are_features(codes: Tensor, threshold: float) -> Tensor:
    """[K], True for those that are there on a few tokens at least, and stand out over the threshold where they are."""
    on = codes > 0
    count = on.sum(dim=0)
    excess = codes.sum(dim=0) / count.clamp(min=1)
    found: Tensor = (count >= _FIRINGS) & (excess > LEAST * threshold)
    return found


def _are_distinct(atoms: Tensor, energy: Tensor) -> Tensor:
    """[K], False for directions that lie with one of more energy [K] that is kept."""
    import torch

    near = (atoms @ atoms.T > ALIKE).fill_diagonal_(False).cpu()
    kept = torch.ones(len(atoms), dtype=torch.bool)
    for i in energy.argsort().tolist():
        kept[i] = not bool((near[i] & kept).any())
    return kept.to(atoms.device)


def _sparse(codes: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return codes.to_sparse_csr()
