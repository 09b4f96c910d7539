"""What core reports: every metric's formula, unit, direction and bounds, and why it can be undefined."""

from hedgebench.types import Metric

_PAPER = "SAEBench (arXiv 2503.09532)"
_GATED = "Rajamanoharan et al. 2024, eq. 10 (arXiv 2404.16014)"

METRICS = (
    # reconstruction
    Metric(
        "explained_variance",
        "1 - sum |x - x'|^2 / sum |x - mean|^2 over the whole sample",
        higher_is_better=True,
        chance=0.0,
        high=1.0,
    ),
    Metric(
        "mse",
        "mean over tokens of |x - x'|^2, summed over the d_in dimensions",
        unit="activation norm squared",
        higher_is_better=False,
        low=0.0,
    ),
    Metric("cossim", "mean cosine of x and x'", higher_is_better=True, low=-1.0, high=1.0, paper=_PAPER),
    Metric("l2_norm_in", "mean norm of x", unit="activation norm", low=0.0, paper=_PAPER),
    Metric("l2_norm_out", "mean norm of x'", unit="activation norm", low=0.0, paper=_PAPER),
    Metric("l2_ratio", "mean of |x'| / |x|; below 1 the SAE shrinks", low=0.0, paper=_PAPER),
    Metric(
        "relative_reconstruction_bias",
        "mean over batches of E|x'|^2 / E[x.x']; 1 is unbiased, below 1 shrinks",
        paper=_GATED,
    ),
    Metric(
        "upstream_explained_variance",
        "SAEBench's: 1 - E|x - x'|^2 / (E|x|^2 - (E|x|^2 / d_in)^2)",
        higher_is_better=True,
    ),
    Metric(
        "upstream_explained_variance_legacy",
        "SAEBench's: mean over tokens of 1 - |x - x'|^2 / |x - batch mean|^2",
        higher_is_better=True,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "upstream_mse",
        "SAEBench's: mean of |x - x'|^2 / tokens in the batch",
        higher_is_better=False,
        low=0.0,
        paper=_PAPER,
    ),
    # behaviour of the model
    Metric(
        "kl_div_score",
        "1 - kl_div_with_sae / kl_div_with_ablation; 0 is zero ablation",
        higher_is_better=True,
        chance=0.0,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "kl_div_with_sae",
        "mean KL(original || with x' in place of x)",
        unit="nat",
        higher_is_better=False,
        low=0.0,
        paper=_PAPER,
    ),
    Metric("kl_div_with_ablation", "mean KL(original || with 0 in place of x)", unit="nat", low=0.0, paper=_PAPER),
    Metric(
        "ce_loss_score",
        "(ablated - with SAE) / (ablated - original) cross-entropy; 0 is zero ablation, 1 the original model",
        higher_is_better=True,
        chance=0.0,
        paper=_PAPER,
    ),
    Metric(
        "ce_loss_with_sae",
        "mean next-token cross-entropy with x' in place of x",
        unit="nat",
        higher_is_better=False,
        low=0.0,
        paper=_PAPER,
    ),
    Metric(
        "ce_loss_without_sae", "mean next-token cross-entropy of the model itself", unit="nat", low=0.0, paper=_PAPER
    ),
    Metric(
        "ce_loss_with_ablation", "mean next-token cross-entropy with 0 in place of x", unit="nat", low=0.0, paper=_PAPER
    ),
    # sparsity
    Metric("l0", "mean number of latents that are not 0", unit="latents", low=0.0, paper=_PAPER),
    Metric("l1", "mean sum of the latents", unit="activation norm", paper=_PAPER),
    Metric("dead_latents", "share of latents that are 0 on every token", higher_is_better=False, low=0.0, high=1.0),
    Metric(
        "firing_density",
        "quantile, over latents, of the share of tokens on which a latent is not 0",
        low=0.0,
        high=1.0,
    ),
    Metric(
        "frac_alive", "share of latents above 0 on some token", higher_is_better=True, low=0.0, high=1.0, paper=_PAPER
    ),
    Metric("freq_over_1_percent", "share of latents above 0 on over 1 % of tokens", low=0.0, high=1.0, paper=_PAPER),
    Metric("freq_over_10_percent", "share of latents above 0 on over 10 % of tokens", low=0.0, high=1.0, paper=_PAPER),
    Metric(
        "normalized_freq_over_1_percent",
        "share of all firings that belong to latents above 0 on over 1 % of tokens",
        low=0.0,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "normalized_freq_over_10_percent",
        "share of all firings that belong to latents above 0 on over 10 % of tokens",
        low=0.0,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "average_max_encoder_cosine_sim",
        "mean over latents of the largest cosine of its encoder column with another's",
        low=-1.0,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "average_max_decoder_cosine_sim",
        "mean over latents of the largest cosine of its decoder row with another's",
        low=-1.0,
        high=1.0,
        paper=_PAPER,
    ),
)

_STILL = "the activations do not vary over the sample"
_SILENT = "no latent is above 0 on any token"
_ABLATION = "zero ablation at this hook point leaves the model's predictions as they are, or not finite"
WHY_BLANK = {
    "explained_variance": _STILL,
    "upstream_explained_variance": "SAEBench's formula divides by 0 here",
    "upstream_explained_variance_legacy": "some token's activation equals its batch's mean",
    "upstream_mse": "some batch has no ordinary token",
    "cossim": "the cosine is undefined where the SAE's input or output is the zero vector, as it is at some tokens",
    "relative_reconstruction_bias": "in some batch the SAE's output is orthogonal to its input, or zero",
    "kl_div_score": _ABLATION,
    "kl_div_with_ablation": _ABLATION,
    "ce_loss_score": _ABLATION,
    "ce_loss_with_ablation": _ABLATION,
    "normalized_freq_over_1_percent": _SILENT,
    "normalized_freq_over_10_percent": _SILENT,
    "average_max_encoder_cosine_sim": "an SAE of one latent has no other to compare with",
    "average_max_decoder_cosine_sim": "an SAE of one latent has no other to compare with",
}
"""Why a metric can have no number."""
