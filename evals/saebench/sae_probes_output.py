"""The results of sae-probes the way SAEBench writes them: its own values, under its own names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hedgebench.compat import prepare

from .k_values import fitting

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext

    from .sae_probes import SAEProbesConfig
    from .sae_probes_measure import Measured, Probe


def saebench_fields(ctx: EvalContext, cfg: SAEProbesConfig, found: Sequence[Measured]) -> dict[str, Any]:
    """The fields of SAEBench's output for sae-probes that this eval decides."""
    sae = [_by_k(one.sae) for one in found]
    llm = [{f"llm_{name}": value for name, value in _numbers(one.llm).items()} for one in found]
    details = [
        {
            "dataset_name": one.dataset,
            **theirs,
            **flat,
            "sae_metrics_by_k": {str(k): _numbers(probe) for k, probe in one.sae.items()},
        }
        for one, theirs, flat in zip(found, llm, sae, strict=True)
    ]
    return {
        "eval_type_id": "sparse_probing_sae_probes",
        "eval_config": _eval_config(ctx, cfg, [one.dataset for one in found]),
        "eval_result_metrics": {"llm": _mean(llm), "sae": _mean(sae)},
        "eval_result_details": details,
        "eval_result_unstructured": None,
    }


def _numbers(probe: Probe | None) -> dict[str, float]:
    return {} if probe is None else {"test_accuracy": probe.accuracy, "test_auc": probe.auc, "test_f1": probe.f1}


def _by_k(probes: Mapping[int, Probe]) -> dict[str, float]:
    return {f"sae_top_{k}_{name}": value for k, probe in probes.items() for name, value in _numbers(probe).items()}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _eval_config(ctx: EvalContext, cfg: SAEProbesConfig, names: list[str]) -> dict[str, Any]:
    prepare()
    from sae_bench.evals.sparse_probing_sae_probes.eval_config import SparseProbingSaeProbesEvalConfig

    return asdict(
        SparseProbingSaeProbesEvalConfig(
            model_name=str(ctx.checkpoint.model or ""),
            random_seed=ctx.seed or 0,
            dataset_names=names,
            reg_type=cfg.reg_type,
            ks=list(fitting(cfg.ks, ctx.sae.cfg.d_sae)),
            binarize=cfg.binarize,
            results_path="",
            model_cache_path=None,
            include_llm_baseline=cfg.llm_baseline,
        )
    )
