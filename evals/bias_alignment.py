"""The decoder bias against the activations it is added back to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from hedgebench.eval import ActivationBatch, CannotMeasure, Eval, EvalContext, Figure, Metric, Score
from hedgebench.figures import HOW_WIDTH_SERIES, read_width_series, width_series, width_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame
    from sae_lens import SAE
    from torch import Tensor

PAPER = "Chanin et al. 2025, arXiv 2505.11756"


def _draw_relative_norm_against_width(scores: DataFrame, axes: Axes) -> None:
    """The norm of the bias over that of the mean activation against the width, so that hook points and models compare."""
    label = r"$\Vert b_\mathrm{dec}\Vert_2\,/\,\Vert$mean activation$\Vert_2$"
    width_series(
        scores, axes, "bias_alignment", "relative_norm_of_mean", label, "Decoder bias over the mean activation"
    )
    axes.axhline(1.0, color="0.35", linestyle=":", linewidth=1, zorder=0)


class BiasAlignment(Eval):
    """How large the decoder bias is beside the activations, and how much of their mean it is.

    Over the ordinary tokens (no beginning-, end-of-text or padding) of the evaluation text. A bias that holds more than the mean, or points
    elsewhere, has taken up features. Errors are jackknifed over sequences, whose tokens are correlated. Where the SAE normalises each
    activation (`layer_norm`, `constant_norm_rescale`) its bias lives in that space, and is measured against the normalised activations.
    """

    name, version = "bias_alignment", 1
    needs: ClassVar = frozenset({"activations"})
    metrics = (
        Metric(
            "relative_norm",
            "L2 norm of the decoder bias over the mean L2 norm of the activations",
            unit="mean activation norm",
            low=0.0,
            paper=PAPER,
        ),
        Metric(
            "relative_norm_of_mean",
            "L2 norm of the decoder bias over the L2 norm of the mean activation",
            unit="norm of the mean activation",
            low=0.0,
            paper=PAPER,
        ),
        Metric(
            "cosine_mean",
            "Cosine of the decoder bias with the mean activation",
            unit="cosine",
            chance=0.0,
            low=-1.0,
            high=1.0,
            paper=PAPER,
        ),
        Metric(
            "mean_explained",
            "Share of the mean activation's squared norm that the bias removes: 1 - |mean - b_dec|^2 / |mean|^2; negative where it adds",
            unit="share",
            chance=0.0,
            high=1.0,
            paper=PAPER,
        ),
    )

    figures = (
        Figure(
            "norm_of_mean_against_width",
            _draw_relative_norm_against_width,
            partial(width_table, eval_name="bias_alignment", metric="relative_norm_of_mean"),
            partial(read_width_series, eval_name="bias_alignment", metric="relative_norm_of_mean"),
            how=HOW_WIDTH_SERIES,
        ),
    )
    cost = "shared: one pass of the model up to the hook point, cached on disk; each SAE: sums over those activations"

    @dataclass(frozen=True)
    class Config:
        """How much text is read."""

        n_batches: int = 8
        """Batches of sequences."""
        batch_size: int = 16
        """Sequences per batch."""
        context_size: int = 128
        """Tokens per sequence."""

    def run(self, ctx: EvalContext, cfg: Config) -> Iterator[Score]:
        """Measure one SAE.

        Raises:
            CannotMeasure: The SAE has no decoder bias, or one in units that the checkpoint does not tell; or no ordinary token was read.
        """
        import torch

        from hedgebench.stats.units import jackknife

        _check_bias(ctx.sae)
        sums = []
        for i, batch in enumerate(ctx.activations(cfg.n_batches, cfg.batch_size, cfg.context_size), start=1):
            sums.append(sequence_sums(batch, ctx.sae))
            ctx.progress(i / cfg.n_batches)
        total, norm, count = (torch.cat(parts) for parts in zip(*sums, strict=True))
        read = count > 0
        b_dec = ctx.sae.b_dec.cpu()
        values, stderrs, n = jackknife(lambda *totals: alignment(b_dec, *totals), total[read], norm[read], count[read])
        for i, metric in enumerate(self.metrics):
            if values[i].isfinite():
                yield Score(metric.name, float(values[i]), stderr=None if stderrs is None else float(stderrs[i]), n=n)
            else:
                zero = "decoder bias" if not b_dec.any() else "mean activation"
                ctx.leave_blank(metric.name, f"the {zero} is zero")


def sequence_sums(batch: ActivationBatch, sae: SAE) -> tuple[Tensor, Tensor, Tensor]:
    """What each sequence adds: the sum of its ordinary tokens' activations [batch, d_in], of their norms [batch], and their number [batch].

    In float64, of activations normalised as the SAE normalises them.
    """
    acts = sae.run_time_activation_norm_fn_in(batch.acts.double())
    mask = batch.mask.double()
    # a masked token is not multiplied by zero: it may hold an infinity
    acts = acts.masked_fill(~batch.mask[..., None], 0.0)
    return acts.sum(1), acts.norm(dim=-1).sum(1), mask.sum(1)


def alignment(b_dec: Tensor, total: Tensor, norm: Tensor, count: Tensor) -> Tensor:
    """The four metrics, in the order in which `BiasAlignment` declares them; NaN or infinite where a zero vector leaves one undefined.

    Args:
        b_dec: [d_in].
        total: [..., d_in], float64, the sum of the activations.
        norm: [...], the sum of their norms.
        count: [...], their number.

    Returns:
        [..., 4].
    """
    import torch

    b_dec, mean = b_dec.double(), total / count[..., None]
    size, size_of_mean = b_dec.norm(), mean.norm(dim=-1)
    return torch.stack(
        [
            size * count / norm,
            size / size_of_mean,
            (mean @ b_dec / (size * size_of_mean)).clamp(-1, 1),  # rounding alone passes 1
            1 - (mean - b_dec).square().sum(-1) / size_of_mean.square(),
        ],
        dim=-1,
    )


def _check_bias(sae: SAE) -> None:
    from hedgebench.activations import check_units

    if getattr(sae, "b_dec", None) is None:
        raise CannotMeasure("the SAE has no decoder bias")
    check_units(sae)
