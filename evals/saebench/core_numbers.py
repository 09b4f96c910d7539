"""From sums per sequence to core's numbers: ours over the whole sample, SAEBench's the way it computes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from hedgebench.stats.units import ratio_of_sums

if TYPE_CHECKING:
    from torch import Tensor

    from .core_tally import Baseline, Tally

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the latents' firing densities."""


class Number(NamedTuple):
    """One result; `value` is not finite where it is undefined."""

    value: float
    stderr: float | None = None
    n: int | None = None


def numbers(base: Baseline, tally: Tally, batch_size: int) -> dict[str, Number]:
    """Every number of core that the activations and the losses decide, by metric name.

    Args:
        base: What does not depend on the SAE.
        tally: The SAE's own sums.
        batch_size: Sequences per batch: SAEBench averages some of its numbers over batches.
    """
    return _losses(base, tally) | _activations(base, tally) | _upstream(base, tally, batch_size)


def density_numbers(tally: Tally, n_tokens: int) -> tuple[Number, dict[float, Number]]:
    """Share of dead latents, and quantiles of the latents' firing densities."""
    density = tally.fired.cpu().double() / n_tokens
    values = torch.quantile(density, torch.tensor(QUANTILES, dtype=torch.float64)).tolist()
    quantiles = {q: Number(value, None, len(density)) for q, value in zip(QUANTILES, values, strict=True)}
    return Number(float((density == 0).double().mean()), None, len(density)), quantiles


def upstream_densities(tally: Tally, n_tokens: int) -> dict[str, list[float]]:
    """SAEBench's per-latent lists: share of tokens on which a latent is positive, and mean such tokens per sequence with any."""
    positive = tally.positive.float()
    return {
        "feature_density": (positive / n_tokens).tolist(),
        "consistent_activation_heuristic": (positive / tally.prompts).tolist(),
    }


def _losses(base: Baseline, tally: Tally) -> dict[str, Number]:
    tokens, predictions = base.losses["tokens"], base.losses["predictions"]
    kl_ablated, ce_ablated, ce_clean = base.losses["kl_ablated"], base.losses["ce_ablated"], base.losses["ce_clean"]
    kl, ce = tally.losses["kl"], tally.losses["ce"]
    return {
        "kl_div_score": _ratio(kl_ablated - kl, kl_ablated),
        "kl_div_with_sae": _ratio(kl, tokens),
        "kl_div_with_ablation": _ratio(kl_ablated, tokens),
        "ce_loss_score": _ratio(ce_ablated - ce, ce_ablated - ce_clean),
        "ce_loss_with_sae": _ratio(ce, predictions),
        "ce_loss_without_sae": _ratio(ce_clean, predictions),
        "ce_loss_with_ablation": _ratio(ce_ablated, predictions),
    }


def _activations(base: Baseline, tally: Tally) -> dict[str, Number]:
    acts, tokens = tally.acts, base.acts["tokens"]
    variance = base.variance()
    return {
        "explained_variance": _ratio(variance - acts["residual"], variance),
        "mse": _ratio(acts["residual"], tokens),
        "cossim": _ratio(acts["cosine"], tokens),
        "l2_norm_in": _ratio(base.acts["norm"], tokens),
        "l2_norm_out": _ratio(acts["norm"], tokens),
        "l2_ratio": _ratio(acts["norm_ratio"], tokens),
        "l0": _ratio(acts["l0"], tokens),
        "l1": _ratio(acts["l1"], tokens),
    }


def _upstream(base: Baseline, tally: Tally, batch_size: int) -> dict[str, Number]:
    """SAEBench's own numbers where a batch, or a formula that is not the textbook's, enters."""

    def by_batch(per_sequence: Tensor) -> Tensor:
        return per_sequence.reshape(-1, batch_size).sum(dim=1)

    tokens, residual = base.acts["tokens"], tally.acts["residual"]
    n = by_batch(tokens)
    bias = by_batch(tally.acts["norm_squared"]) / by_batch(tally.acts["dot"])
    mean_square = (by_batch(base.acts["square"]) / n).mean()
    # SAEBench squares the mean of squares here, where the textbook squares the mean.
    total = mean_square - (mean_square / base.d_in) ** 2
    explained = 1 - (by_batch(residual) / n).mean() / total
    return {
        "relative_reconstruction_bias": _ratio(bias, torch.ones_like(bias)),
        "upstream_explained_variance": Number(float(explained)),
        "upstream_explained_variance_legacy": _ratio(tally.acts["legacy"], tokens),
        "upstream_mse": _ratio(residual / n.repeat_interleave(batch_size), tokens),
    }


def _ratio(num: Tensor, den: Tensor) -> Number:
    """`ratio_of_sums`, not finite where it is undefined."""
    if not bool(torch.isfinite(num).all()) or float(den.sum()) == 0:
        return Number(math.nan)
    return Number(*ratio_of_sums(num, den))
