"""Dials: an SAE made worse by a known amount, so that what a metric should say of it is known.

`dead=p`: a share p of the latents never fires. `permuted=p`: a share p of the decoder rows is handed round, each to another latent; `permuted=1` is
as good as the control `permuted`. `mixed=h`: every decoder row holds h of another latent's row, as a latent does that hedges. `noise=s`: every latent reads and
writes s of a direction of its own at random. One seed draws one order of the latents and one direction for each, whatever the amount: more is always more of the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgebench.control_cards import split_kind
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE
    from torch import Tensor


def turn(kind: str, sae: SAE, seed: int) -> SAE:
    """A worse copy of a folded SAE, from `seed` alone; its decoder rows are of norm 1.

    Args:
        kind: The dial and its amount, such as `dead=0.25`.
        sae: Folded; it is left as it is.
        seed: Of what is drawn.

    Raises:
        BadInput: There is no such dial, or it does not go so far.
        CannotMeasure: The SAE has no encoder that the dial could turn.
    """
    import torch

    from hedgebench.loaders import inference_copy

    name, amount = split_kind(kind)
    turned = inference_copy(sae).to(device=sae.W_dec.device)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(sae.cfg.d_sae, generator=generator).to(sae.W_dec.device)
    share = order[: round(amount * len(order))]
    if name == "dead":
        _silence(turned, share)
    elif name == "permuted":
        turned.W_dec.data[share] = sae.W_dec.data[share.roll(1)]
    elif name == "mixed":
        turned.W_dec.data[order] = _unit(sae.W_dec.data[order] + amount * sae.W_dec.data[order.roll(1)])
    else:
        _blur(turned, amount, generator)
    return turned.eval().requires_grad_(False)


def _silence(sae: SAE, latents: Tensor) -> None:
    _encoder(sae).data[:, latents] = 0.0
    biases: Tensor | None = getattr(sae, "b_enc", None)
    if biases is None:
        raise CannotMeasure(f"a latent of architecture {sae.cfg.architecture()!r} cannot be silenced: it has no b_enc")
    biases.data[latents] = -1.0


def _blur(sae: SAE, amount: float, generator: torch.Generator) -> None:
    import torch

    columns = _encoder(sae).data
    directions = _unit(torch.randn(sae.W_dec.shape, generator=generator)).to(sae.W_dec)
    sae.W_dec.data = _unit(sae.W_dec.data + amount * directions)
    sizes = columns.norm(dim=0)
    sae.W_enc.data = sizes * _unit(columns.T + amount * sizes[:, None] * directions).T


def _encoder(sae: SAE) -> Tensor:
    columns: Tensor | None = getattr(sae, "W_enc", None)
    if columns is None:
        raise CannotMeasure(f"an SAE of architecture {sae.cfg.architecture()!r} has no encoder of its own to be turned")
    return columns


def _unit(rows: Tensor) -> Tensor:
    unit: Tensor = rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return unit
