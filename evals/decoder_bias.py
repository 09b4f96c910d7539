"""What the decoder bias is, from the weights alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from hedgebench.eval import CannotMeasure, Eval, EvalContext, Figure, Metric, NoConfig, Score
from hedgebench.figures import HOW_WIDTH_SERIES, read_width_series, width_series, width_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame
    from torch import Tensor

PAPER = "Chanin et al. 2025, arXiv 2505.11756"


def _draw_norm_against_width(scores: DataFrame, axes: Axes) -> None:
    """The norm of every SAE against its width; d_model is marked, the colour is L0."""
    label = r"$\Vert b_\mathrm{dec}\Vert_2$ (units of the activations)"
    width_series(scores, axes, "decoder_bias", "b_dec_norm", label, "Decoder bias against width")


class DecoderBias(Eval):
    """Size of the decoder bias, and whether the latents could have written it.

    A narrow SAE can hedge in its bias: frequent features without a latent are added to every reconstruction. The norm has the unit of what
    the SAE reads (for an SAE that normalises its input, that is normalised activations), so compare it at one hook point only. The span
    share tells nothing where the decoder rows span the whole space, as those of almost every SAE wider than its input do: then it is blank.
    """

    name, version = "decoder_bias", 2
    needs: ClassVar = frozenset({"sae"})
    draws = False
    cost = (
        "weights only, no model: one product of the decoder's rows, of as many as it takes to see that they span the whole space "
        "(seconds at d_in 2304); memory is the weights' own (19.3 GB for a width of 1M at d_in 2304)"
    )
    figures = (
        Figure(
            "norm_against_width",
            _draw_norm_against_width,
            partial(width_table, eval_name="decoder_bias", metric="b_dec_norm"),
            partial(read_width_series, eval_name="decoder_bias", metric="b_dec_norm"),
            how=HOW_WIDTH_SERIES,
        ),
    )
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
            "sqrt(d_in) * machine epsilon of the largest (1e-7 at least); chance is rank / d_in, and blank at rank d_in",
            unit="share",
            low=0.0,
            high=1.0,
            paper=PAPER,
        ),
        Metric("d_in", "Dimension of what the SAE reads: d_model at the residual stream", unit="dimensions", low=1.0),
    )

    def run(self, ctx: EvalContext, cfg: NoConfig) -> Iterator[Score]:  # noqa: ARG002
        """Measure one SAE.

        Raises:
            CannotMeasure: The SAE has no decoder bias.
        """
        import torch

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

        d_in = w_dec.shape[1]
        # the rounding of the rows is below this share of their largest singular value, however many rows there are
        rtol = max(d_in**0.5 * torch.finfo(w_dec.dtype).eps, 1e-7)
        basis = None if spans_everything(w_dec, rtol) else row_span(w_dec, rtol)
        rank = d_in if basis is None else len(basis)
        if basis is None or rank == d_in:
            ctx.leave_blank("b_dec_span_share", f"the decoder rows span all {d_in} dimensions, so any bias is inside")
        elif norm == 0:
            ctx.leave_blank("b_dec_span_share", "the decoder bias is zero")
        else:
            yield Score("b_dec_span_share", float(span_share(b_dec, basis)), chance=rank / d_in)
        yield Score("d_in", float(d_in))


def spans_everything(rows: Tensor, rtol: float) -> bool:
    """Whether some of the rows show already that all of them have full rank, at a fraction of the cost.

    More rows only raise the smallest singular value, and the largest is at most the Frobenius norm: where the smallest one of the first
    rows is above `rtol` times that norm, so is that of all. False says nothing.

    Args:
        rows: [n, d].
        rtol: Relative tolerance of the rank, as in `hedgebench.geometry.row_span`.
    """
    import torch

    n, d = rows.shape
    bound = sum(float(part.double().square().sum()) for part in rows.split(8192)) * rtol**2
    gram, done, wanted = torch.zeros(d, d, dtype=torch.float64, device=rows.device), 0, 2 * d
    while wanted < n:
        for part in rows[done:wanted].split(8192):
            wide = part.double()
            gram += wide.T @ wide
        if float(torch.linalg.eigvalsh(gram)[0]) > bound > 0:
            return True
        done, wanted = wanted, 4 * wanted
    return False
