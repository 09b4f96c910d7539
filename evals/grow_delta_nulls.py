"""What `grow_delta` holds a change against, and which new latents are alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgebench.eval import CannotMeasure, EvalContext

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.family import Family
    from hedgebench.types import Checkpoint

    from .grow_delta import GrowDelta

NO_TEXT = "no text is read, since n_batches is 0"


def text_is_read(ctx: EvalContext, cfg: GrowDelta.Config) -> bool:
    """Whether there is text, and the SAEs read it in known units; if not, the context says why."""
    from hedgebench.activations import check_units

    why = NO_TEXT if ctx.activation_source is None or cfg.n_batches == 0 else None
    try:
        for sae in (ctx.sae, ctx.control):
            check_units(sae)
    except CannotMeasure as error:
        why = why or str(error)
    if why is not None:
        ctx.leave_blank("excess null=residual", ctx.absent.get("activations", why))
    return why is None


def live_share(
    ctx: EvalContext, cfg: GrowDelta.Config, old: int, sae: SAE, card: Checkpoint, read: bool
) -> float | None:
    """The share of an SAE's new latents that fire: on the text read, else as the checkpoint itself says; None where nobody knows."""
    from hedgebench.firing import firing_counts

    if read:
        firing, _ = firing_counts(sae, ctx.activations(*cfg.text))
        return float((firing[old:] > 0).double().mean())
    return card.growth.live_added if card.growth else None


def random_spans(ctx: EvalContext, cfg: GrowDelta.Config, basis: Tensor, covariance: Tensor | None) -> list[Tensor]:
    """Random spans as large as that of the new rows: isotropic, or of rows drawn with a covariance."""
    from hedgebench.spans import covariance_factor, random_span

    factor = covariance_factor(covariance).to(basis) if covariance is not None else None
    rank, d = basis.shape
    return [random_span(rank, d, ctx.generator, factor).to(basis) for _ in range(cfg.n_null)]


def other_seeds(ctx: EvalContext, cfg: GrowDelta.Config, family: Family, read: bool) -> list[Tensor]:
    """The spans of the new rows of other training seeds, of those whose new latents are alive as far as that is known."""
    from hedgebench.spans import new_span

    spans = []
    for other, card in zip(ctx.siblings, ctx.sibling_cards, strict=True):
        if other.W_dec.shape != ctx.sae.W_dec.shape:
            continue
        share, span = live_share(ctx, cfg, family.old, other, card, read), new_span(other.W_dec[family.old :])
        if len(span) and (share is None or share >= cfg.min_live):
            spans.append(span)
    if not spans:
        why = "there is no SAE of this recipe with another training seed, or its new latents are dead"
        ctx.leave_blank("excess null=other_seed", why)
    return spans
