"""What `decoder_similarity` makes of the activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.eval import ActivationBatch, CannotMeasure

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

_ENTRIES = 2**27
"""Projections that are held at a time, 512 MB: a wide SAE's batches are of fewer sequences."""
_NOISE = 1e-10
"""Variances up to this share of the largest are what rounding leaves of 0."""


class Reading(NamedTuple):
    """What is known of the activations, in float64 on the CPU."""

    projections: Tensor
    """[batches, ns]: see `nth_projection`."""
    components: Tensor
    """[rank, d_in]: principal components, orthonormal, the one with the most variance first."""


def read_text(
    sae: SAE, batches: Iterable[ActivationBatch], ns: Sequence[int], progress: Callable[[int], None]
) -> Reading:
    """One pass over the activations.

    Args:
        sae: Whose decoder rows and bias are used, and how it normalises what it reads.
        batches: The activations.
        ns: The n of `nth_projection`.
        progress: Told the number of batches done.

    Raises:
        CannotMeasure: There are fewer than two ordinary tokens.
    """
    import torch

    from hedgebench.cosines import unit_rows
    from hedgebench.moments import Moments, principal_components

    w_dec, projections = unit_rows(sae.W_dec), []
    d_in = w_dec.shape[1]
    b_dec = getattr(sae, "b_dec", None)
    moments = Moments(d_in)
    for i, batch in enumerate(batches, start=1):
        rows = max(1, _ENTRIES // (len(w_dec) * batch.acts.shape[1]))
        for acts, mask in zip(batch.acts.split(rows), batch.mask.split(rows), strict=True):
            x = sae.run_time_activation_norm_fn_in(acts[mask].float())
            if not len(x):
                continue
            moments.add(x)
            centred = x.to(w_dec.device) if b_dec is None else x.to(w_dec.device) - b_dec.float()
            projections.append(nth_projection(centred, w_dec, ns))
        progress(i)
    if moments.count < 2:
        raise CannotMeasure("fewer than two ordinary tokens were read")
    variances, directions = principal_components(moments.covariance)
    return Reading(torch.stack(projections), directions[variances > _NOISE * variances[0]])


def nth_projection(x: Tensor, rows: Tensor, ns: Sequence[int]) -> Tensor:
    """Of all values of x rows^T in descending order those at the indices n * B, from 0 (arXiv 2508.16560).

    Args:
        x: [B, d], float32.
        rows: [d_sae, d], float32.
        ns: Below d_sae.

    Returns:
        [ns], float64, on the CPU.
    """
    import torch

    values = (x @ rows.T).flatten().cpu().numpy()
    at = [len(values) - 1 - n * len(x) for n in ns]
    if at:
        values.partition(at)
    return torch.tensor([values[i] for i in at], dtype=torch.float64)
