"""Which true feature each latent tracks, and what else it writes. Pure functions on tensors, computed in float64.

A row is taken apart into features, row = sum of c_j f_j + what no feature explains, and its features are told apart by who tracks them:
*hedged* is the part on features that no latent tracks, *absorbed* the part on features that other latents track. Both are norms, of a unit row.
Hedging: Chanin et al. 2025, arXiv 2505.11756; absorption: Chanin et al. 2024, arXiv 2409.14507.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_SINGULAR_VALUE = 0.1
"""Features whose matrix of unit rows has a smaller one count as linearly dependent: their coefficients would magnify a row's noise tenfold."""
ROUNDING = 1e-6
"""Cosines, and what is left of a unit row, up to this are what float32 weights leave of 0."""
FAINT = 0.1
"""A latent does not track the feature it is matched with where its cosine is below this share of its largest one."""
_CHUNK = 512
"""Rows that matching pursuit takes at a time."""


class Decomposition(NamedTuple):
    """Unit rows as sums of features."""

    coefficients: Tensor
    """[rows, n_features], float64."""
    unexplained: Tensor
    """[rows], float64: the norm of what is left of each unit row."""


class Recovery(NamedTuple):
    """What is known of each latent, [latents] in float64; NaN where there is nothing to know."""

    own: Tensor
    """[latents], int64: the feature it tracks, or -1."""
    hedged: Tensor
    absorbed: Tensor
    unexplained: Tensor
    asymmetry: Tensor
    """1 - cosine of encoder column and decoder row."""
    decoder_cosine: Tensor
    """With its own feature, and so below."""
    encoder_cosine: Tensor


class Leaks(NamedTuple):
    """What latents write beside their own features."""

    hedged: Tensor
    """[rows], float64: norm of the part on features that no latent tracks."""
    absorbed: Tensor
    """[rows], float64: norm of the part on features that other latents track."""


def recover(rows: Tensor, columns: Tensor | None, features: Tensor, live: Tensor, terms: int = 10) -> Recovery:
    """Everything that an SAE's weights say of its latents and the true features. A latent that is not live has NaN for every value.

    Args:
        rows: [latents, d], decoder rows.
        columns: [latents, d], encoder columns; None for an SAE without an encoder matrix.
        features: [n_features, d].
        live: [latents], bool: the latents that ever fire.
        terms: See `decompose`.
    """
    import torch

    live = live & rows.any(dim=1)
    cosine, parts = cosines(rows, features), decompose(rows, features, terms)
    own = track(cosine, live)
    found = leaks(parts.coefficients, features, own)
    blank = torch.full_like(parts.unexplained, torch.nan)
    has = live & (own >= 0)
    at = own.clamp(min=0)[:, None]
    asymmetry = with_own = blank
    if columns is not None:
        encodes = live & columns.any(dim=1)
        asymmetry = (1 - (unit_rows(columns) * unit_rows(rows)).sum(1)).clamp(min=0).where(encodes, blank)
        with_own = cosines(columns, features).gather(1, at)[:, 0].where(has & encodes, blank)
    return Recovery(
        own=own,
        hedged=found.hedged.where(live, blank),
        absorbed=found.absorbed.where(live, blank),
        unexplained=parts.unexplained.where(live, blank),
        asymmetry=asymmetry,
        decoder_cosine=cosine.gather(1, at)[:, 0].where(has, blank),
        encoder_cosine=with_own,
    )


def unit_rows(rows: Tensor) -> Tensor:
    """Rows of length 1 in float64, [n, d]; a row of zeros stays one."""
    wide = rows.double()
    unit: Tensor = wide / wide.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    return unit


def cosines(rows: Tensor, features: Tensor) -> Tensor:
    """The cosine of every row with every feature, 0 for a row of zeros.

    Args:
        rows: [n, d].
        features: [n_features, d].

    Returns:
        [n, n_features], float64.
    """
    return (unit_rows(rows) @ unit_rows(features).T).clamp(-1, 1)  # rounding alone passes 1


def track(cosine: Tensor, live: Tensor) -> Tensor:
    """The feature that each latent tracks, its own.

    Live latents are matched with features one to one, so that the sum of their cosines is largest (Hungarian algorithm). Signs count, since a latent
    writes positive multiples of its row: a cosine below 0 is worth no more than 0. Two kinds of latents keep no match of their own: those left over
    where there are more latents than features, and those whose match is by chance, with a cosine that is not above 0 or that is less than a tenth
    (`FAINT`) of the latent's largest one, as it is for the second of two equal latents. Their own is the feature they are nearest to, which they
    share with whoever has it; a latent without any positive cosine tracks nothing. What rounding leaves (`ROUNDING`) counts as 0.

    Args:
        cosine: [latents, n_features], of decoder rows with features.
        live: [latents], bool: the latents that ever fire. The others track nothing.

    Returns:
        [latents], int64: the index of a feature, or -1.
    """
    import torch
    from scipy.optimize import linear_sum_assignment

    positive = cosine.where(cosine > ROUNDING, 0.0)
    best, nearest = positive.max(dim=1)
    own = torch.full_like(nearest, -1)
    latents = live.nonzero()[:, 0]
    matched, feature = (torch.from_numpy(i) for i in linear_sum_assignment(positive[latents].numpy(), maximize=True))
    latent = latents[matched]
    good = positive[latent, feature] > FAINT * best[latent]
    own[latent[good]] = feature[good]
    left = live & (own < 0) & (best > 0)
    own[left] = nearest[left]
    return own


def decompose(rows: Tensor, features: Tensor, terms: int = 10) -> Decomposition:
    """Take rows apart into features.

    Where the features are linearly independent (see `SMALLEST_SINGULAR_VALUE`) there is one answer: c = row F^+, the coefficients of the row's projection
    on their span. For orthonormal features these are the cosines; for others they are not, and a row that *is* a feature has one coefficient, 1, though its
    cosines with the others are not 0. Otherwise (superposition) there are many, and the answer is that of orthogonal matching pursuit with `terms` features.

    Args:
        rows: [n, d]; scaled to unit length.
        features: [n_features, d]; scaled to unit length.
        terms: Features in one row, at most, where they are linearly dependent.
    """
    import torch

    unit, features = unit_rows(rows), unit_rows(features)
    if independent(features):
        coefficients = unit @ dual_basis(features)
    else:
        parts = [_pursue(chunk, features, terms) for chunk in unit.split(_CHUNK)]
        coefficients = torch.cat(parts) if parts else unit.new_zeros(0, len(features))
    return Decomposition(coefficients, (unit - coefficients @ features).norm(dim=-1))


def leaks(coefficients: Tensor, features: Tensor, own: Tensor) -> Leaks:
    """How much of each unit row lies on features that no latent tracks, and on features that only other latents track.

    hedged_i = |sum of c_ij f_j over the features j that are nobody's own|; absorbed_i = |the same over those that are somebody's own, but not latent i's|.
    For orthonormal features hedged^2 + absorbed^2 + (cosine with the own feature)^2 + unexplained^2 = 1. For others the parts are not orthogonal, and one
    may exceed 1 where two cancel.

    Args:
        coefficients: [latents, n_features], as from `decompose`.
        features: [n_features, d]; scaled to unit length.
        own: [latents], as from `track`.
    """
    import torch

    features = unit_rows(features)
    tracked = tracked_features(own, len(features))
    others = tracked.repeat(len(own), 1)
    has = own >= 0
    others[has.nonzero()[:, 0], own[has]] = False
    hedged, absorbed = ((coefficients * part) @ features for part in (~tracked, others))
    return Leaks(torch.linalg.vector_norm(hedged, dim=-1), torch.linalg.vector_norm(absorbed, dim=-1))


def tracked_features(own: Tensor, n_features: int) -> Tensor:
    """[n_features], bool: the features that are some latent's own."""
    import torch

    tracked = torch.zeros(n_features, dtype=torch.bool)
    tracked[own[own >= 0]] = True
    return tracked


def independent(features: Tensor) -> bool:
    """Whether unit features [n_features, d] can be told apart in a sum: their smallest singular value is `SMALLEST_SINGULAR_VALUE` or more."""
    import torch

    n, d = features.shape
    if n > d:
        return False
    return float(torch.linalg.eigvalsh(features @ features.T)[0]) >= SMALLEST_SINGULAR_VALUE**2


def dual_basis(features: Tensor) -> Tensor:
    """The pseudoinverse F^+, [d, n_features]: v F^+ are the smallest coefficients that make up the projection of v on the span of the features.

    They are the only ones for linearly independent features. From the smaller of the two Gram matrices: the cost grows with min(n_features, d)^3.
    """
    import torch

    wide = features.double()
    n, d = wide.shape
    if n > d:
        return dual_basis(wide.T).T
    dual: Tensor = wide.T @ torch.linalg.pinv(wide @ wide.T, hermitian=True)
    return dual


def _pursue(rows: Tensor, features: Tensor, terms: int) -> Tensor:
    """Orthogonal matching pursuit for many rows at once; scikit-learn's, which tests compare with, copies the Gram matrix for every row.

    Each round takes the feature that has most in common with what is left of the row, and fits all that were taken again, until nothing is left.

    Returns:
        [rows, n_features].
    """
    import torch

    left, weights = rows, rows[:, :0]
    chosen, taken = torch.zeros(len(rows), 0, dtype=torch.int64), torch.zeros(len(rows), 0, dtype=torch.bool)
    for _ in range(min(terms, *features.shape)):
        common = (left @ features.T).abs().scatter(1, chosen, -1.0)
        chosen = torch.cat([chosen, common.argmax(dim=1, keepdim=True)], dim=1)
        # where only rounding is left a further feature would be any, even one in the span of those before
        taken = torch.cat([taken, left.norm(dim=1, keepdim=True) > ROUNDING], dim=1)
        atoms = features[chosen] * taken[:, :, None]
        weights = torch.linalg.pinv(atoms @ atoms.mT, hermitian=True) @ (atoms @ rows[:, :, None])
        left = rows - (weights * atoms).sum(dim=1)
        weights = weights[:, :, 0]
    return rows.new_zeros(len(rows), len(features)).scatter(1, chosen, weights)
