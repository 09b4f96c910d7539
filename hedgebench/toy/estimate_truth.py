"""What each latent of an SAE truly hedges, where the features are known: in superposition, too, and for any encoder. Pure functions on tensors, in float64.

The decoder that fits an SAE's activations f best is C, the least-squares coefficients of the activations x on f. Since x = a D, with firings a and features D, it is a
mixture of features, C = H D exactly (but for noise and bias), where H are the coefficients of a on f; and which features a latent mixes in is read off H.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hedgebench.toy.recovery import cosines

if TYPE_CHECKING:
    from torch import Tensor

TRACKED = 0.4
"""A latent tracks the feature its row is nearest to where their cosine is above this."""
_RIDGE = 1e-8
"""Of each latent's variance: latents that fire alike share what they do."""


class Truth(NamedTuple):
    """What is known of each latent, [m]."""

    hedge: Tensor
    """Norm of the part of its row C_i on features that no latent tracks, over the norm of the row's part on all."""
    absorb: Tensor
    """The same of features that other latents track and it does not."""
    best_cosine: Tensor
    """Of its row with the nearest feature; a mean below about .7 over latents is an SAE whose latents have merged features."""
    density: Tensor
    """Share of samples on which it fires."""
    own: Tensor
    """int64: the feature it tracks, or -1."""


def least_squares(f: Tensor, y: Tensor) -> Tensor:
    """Coefficients [m, p] of y [n, p] on f [n, m], with an intercept; float64."""
    from hedgebench.latent_regression import LatentRegression

    return LatentRegression(f.double(), _RIDGE).coefficients(y.double())


def measure_truth(f: Tensor, firings: Tensor, features: Tensor) -> Truth:
    """What each latent hedges and absorbs.

    With h_i the part of row i on features that no latent tracks, sum_j H_ij d_j, hedge_i = sqrt(max(0, h_i^A . h_i^B)) / |sum over all j of H_ij d_j|, where A and B are
    the even and the odd samples: noise, which the two do not share, adds nothing. Likewise absorb_i. Both can pass 1 where parts cancel in superposition.

    Args:
        f: [n, m], activations of latents, all of which fire in both halves.
        firings: [n, n_features], how strong each feature fires.
        features: [n_features, d], unit rows.

    Returns:
        Tensors of [m].
    """
    import torch

    features = features.double()
    coefficients = least_squares(f, firings)
    rows = coefficients @ features
    best_cosine, nearest = cosines(rows, features).max(dim=1)
    own = nearest.where(best_cosine > TRACKED, -1)
    tracked = torch.zeros(len(features), dtype=torch.bool)
    tracked[own[own >= 0]] = True
    of_others = tracked.repeat(len(own), 1)
    of_others[torch.arange(len(own)), nearest] = False

    halves = [least_squares(f[start::2], firings[start::2]) for start in (0, 1)]
    whole = rows.norm(dim=1)

    def share(part: Tensor) -> Tensor:
        first, second = ((half * part) @ features for half in halves)
        norms: Tensor = (first * second).sum(dim=1).clamp(min=0).sqrt() / whole
        return norms

    return Truth(share(~tracked), share(of_others), best_cosine, (f > 0).double().mean(dim=0), own)
