"""How often each latent fires: on how many ordinary tokens its activation is not zero."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hedgebench.activations import flat_heads

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.eval import ActivationBatch

_ENTRIES = 2**26
"""Latent activations that are held at a time: 256 MB in float32."""


def firing_counts(sae: SAE, batches: Iterable[ActivationBatch]) -> tuple[Tensor, int]:
    """On how many ordinary tokens (`mask`) each latent fires; counts over their number are firing densities.

    Sequences are encoded whole, one after the other where the SAE is wide, since some SAEs read across tokens. What is held at a time does not grow
    with the text: about 256 MB of latent activations, or those of a single sequence.

    Args:
        sae: On any device; left as it was.
        batches: Activations as an eval context hands them out.

    Returns:
        ([d_sae] counts, int64, on the CPU; the number of ordinary tokens).
    """
    import torch

    counts = torch.zeros(sae.cfg.d_sae, dtype=torch.int64)
    total = 0
    with torch.inference_mode(), flat_heads(sae):
        for batch in batches:
            rows = max(1, _ENTRIES // (sae.cfg.d_sae * batch.acts.shape[1]))
            for acts, mask in zip(batch.acts.split(rows), batch.mask.split(rows), strict=True):
                fires = sae.encode(acts.to(sae.W_dec.device)) != 0
                counts += fires[mask.to(fires.device)].sum(0).cpu()
                total += int(mask.sum())
    return counts, total
