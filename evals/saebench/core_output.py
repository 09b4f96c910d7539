"""Core's results the way SAEBench writes them: its own values, under its own names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hedgebench.compat import prepare
from hedgebench.saebench_output import CORE_RENAMED

if TYPE_CHECKING:
    from sae_lens import SAE

    from hedgebench.eval import EvalContext

    from .core_config import CoreConfig

_GROUPS = {
    "model_behavior_preservation": ("kl_div_score", "kl_div_with_ablation", "kl_div_with_sae"),
    "model_performance_preservation": (
        "ce_loss_score",
        "ce_loss_with_ablation",
        "ce_loss_with_sae",
        "ce_loss_without_sae",
    ),
    "reconstruction_quality": ("explained_variance", "explained_variance_legacy", "mse", "cossim"),
    "shrinkage": ("l2_norm_in", "l2_norm_out", "l2_ratio", "relative_reconstruction_bias"),
    "sparsity": ("l0", "l1"),
}
"""SAEBench's groups of metrics, under its names."""


def misc_numbers(sae: SAE, densities: Mapping[str, list[float]]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """SAEBench's `misc_metrics` and its list of numbers per latent, computed by its own functions.

    Args:
        sae: The SAE; SAEBench sees its weights, not the object.
        densities: `feature_density` and `consistent_activation_heuristic`, one value per latent.
    """
    prepare()
    from sae_bench.evals.core.main import (
        calculate_misc_metrics,
        convert_feature_metrics,
        get_featurewise_weight_based_metrics,
    )

    weights = {
        n: getattr(sae, n).detach() for n in ("W_enc", "W_dec", "b_enc", "b_mag") if getattr(sae, n, None) is not None
    }
    cfg = SimpleNamespace(d_sae=sae.cfg.d_sae, architecture_str=sae.cfg.architecture())
    per_latent = {**densities, **get_featurewise_weight_based_metrics(SimpleNamespace(**weights, cfg=cfg))}
    details = [asdict(row) for row in convert_feature_metrics(_finite(per_latent))]
    return calculate_misc_metrics(per_latent), details


def saebench_fields(
    ctx: EvalContext,
    cfg: CoreConfig,
    values: Mapping[str, float],
    misc: Mapping[str, float],
    details: list[dict[str, Any]],
) -> dict[str, Any]:
    """The fields of SAEBench's core output that this eval decides; what is undefined is -1, as SAEBench writes it."""
    per_batch = cfg.batch_size * cfg.context_size
    metrics: dict[str, Any] = {
        group: {name: values[CORE_RENAMED.get(name, name)] for name in names} for group, names in _GROUPS.items()
    }
    metrics["misc_metrics"] = dict(misc)
    metrics["token_stats"] = {
        "total_tokens_eval_reconstruction": per_batch * cfg.n_batches,
        "total_tokens_eval_sparsity_variance": per_batch * cfg.sparsity_batches,
    }
    return {
        "eval_type_id": "core",
        "eval_config": _eval_config(ctx, cfg),
        "eval_result_metrics": _finite(metrics),
        "eval_result_details": details,
    }


def _eval_config(ctx: EvalContext, cfg: CoreConfig) -> dict[str, Any]:
    from sae_bench.evals.core.eval_config import CoreEvalConfig

    switches = {name: True for name in vars(CoreEvalConfig()) if name.startswith("compute_")}
    return asdict(
        CoreEvalConfig(
            model_name=str(ctx.checkpoint.model or ""),
            llm_dtype=str(ctx.model.cfg.dtype).removeprefix("torch."),
            batch_size_prompts=cfg.batch_size,
            n_eval_reconstruction_batches=cfg.n_batches,
            n_eval_sparsity_variance_batches=cfg.sparsity_batches,
            dataset=ctx.data.text.name,
            context_size=cfg.context_size,
            exclude_special_tokens_from_reconstruction=cfg.exclude_special_tokens_from_reconstruction,
            **switches,
        )
    )


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_finite(value) for value in tree]
    return -1.0 if isinstance(tree, float) and not math.isfinite(tree) else tree
