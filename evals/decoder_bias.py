"""What the decoder bias is, from the weights alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from hedgebench.eval import CannotMeasure, Eval, EvalContext, Metric, NoConfig, Score

PAPER = "Chanin et al. 2025, arXiv 2505.11756"


class DecoderBias(Eval):
    """Size of the decoder bias, and whether the latents could have written it.

    A narrow SAE can hedge in its bias: frequent features without a latent are added to every reconstruction. The norm has the unit of what
    the SAE reads (for an SAE that normalises its input, that is normalised activations), so compare it at one hook point only. The span
    share tells nothing where the decoder rows span the whole space, as those of almost every SAE wider than its input do: then it is blank.
    """

    name, version = "decoder_bias", 1
    needs: ClassVar = frozenset({"sae"})
    draws = False
    cost = "weights only: one singular value decomposition of the decoder, no model"
    metrics = (
        Metric("b_dec_norm", "L2 norm of the decoder bias", unit="activation norm", low=0.0, paper=PAPER),
        Metric(
            "b_dec_relative_norm",
            "L2 norm of the decoder bias over the mean L2 norm of the decoder rows as stored in the checkpoint",
            unit="decoder row norm",
            low=0.0,
            paper=PAPER,
        ),
        Metric(
            "b_dec_span_share",
            "Share of the decoder bias's squared norm inside the span of the decoder rows; rank by singular values above "
            "max(d_sae, d_in) * machine epsilon of the largest; chance is rank / d_in, and blank at rank d_in",
            unit="share",
            low=0.0,
            high=1.0,
            paper=PAPER,
        ),
    )

    def run(self, ctx: EvalContext, cfg: NoConfig) -> Iterator[Score]:  # noqa: ARG002
        """Measure one SAE.

        Raises:
            CannotMeasure: The SAE has no decoder bias.
        """
        from hedgebench.geometry import row_span, span_share

        b_dec, w_dec = getattr(ctx.sae, "b_dec", None), ctx.sae.W_dec
        if b_dec is None:
            raise CannotMeasure("the SAE has no decoder bias")
        norm = float(b_dec.double().norm())
        yield Score("b_dec_norm", norm)

        row_norm = ctx.checkpoint.decoder_row_norm
        if row_norm is None:
            row_norm = float(w_dec.double().norm(dim=-1).mean())
        if row_norm > 0:
            yield Score("b_dec_relative_norm", norm / row_norm)
        else:
            ctx.leave_blank("b_dec_relative_norm", "all decoder rows are zero")

        basis = row_span(w_dec)
        rank, d_in = basis.shape
        if rank == d_in:
            ctx.leave_blank("b_dec_span_share", f"the decoder rows span all {d_in} dimensions, so any bias is inside")
        elif norm == 0:
            ctx.leave_blank("b_dec_span_share", "the decoder bias is zero")
        else:
            yield Score("b_dec_span_share", float(span_share(b_dec, basis)), chance=rank / d_in)
