"""Sparse probing's results the way SAEBench writes them: its own values, under its own names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hedgebench.compat import prepare

from .k_values import fitting

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext

    from .sparse_probing import SparseProbingConfig
    from .sparse_probing_probes import Measured


def saebench_fields(ctx: EvalContext, cfg: SparseProbingConfig, found: Sequence[Measured]) -> dict[str, Any]:
    """The fields of SAEBench's sparse probing output that this eval decides."""
    prepare()
    from sae_bench.sae_bench_utils.general_utils import average_results_dictionaries

    names = [one.dataset for one in found]
    by_class = {f"{one.dataset}_results": one.upstream for one in found}
    by_dataset = {
        name: {metric: sum(values.values()) / len(values) for metric, values in metrics.items()}
        for name, metrics in by_class.items()
    }
    means = average_results_dictionaries(by_dataset, names)
    return {
        "eval_type_id": "sparse_probing",
        "eval_config": _eval_config(ctx, cfg, names),
        "eval_result_metrics": {
            who: {name: value for name, value in means.items() if name.startswith(f"{who}_")} for who in ("llm", "sae")
        },
        "eval_result_details": [{"dataset_name": name, **metrics} for name, metrics in by_dataset.items()],
        "eval_result_unstructured": by_class,
    }


def _eval_config(ctx: EvalContext, cfg: SparseProbingConfig, names: list[str]) -> dict[str, Any]:
    from sae_bench.evals.sparse_probing.eval_config import SparseProbingEvalConfig

    return asdict(
        SparseProbingEvalConfig(
            random_seed=ctx.seed or 0,
            dataset_names=names,
            probe_train_set_size=cfg.train_size,
            probe_test_set_size=cfg.test_size,
            context_length=cfg.context_size,
            llm_batch_size=cfg.llm_batch_size,
            llm_dtype=str(ctx.model.cfg.dtype).removeprefix("torch."),
            model_name=str(ctx.checkpoint.model or ""),
            k_values=list(fitting(cfg.k_values, ctx.sae.cfg.d_sae)),
            lower_vram_usage=not cfg.full_probe,
        )
    )
