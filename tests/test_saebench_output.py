"""SAEBench's outputs of every type, made by its own types, as rows under our names."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hedgebench.results import read_results
from hedgebench.saebench_output import EVAL_NAMES, read_scores

COMMON: dict[str, Any] = {
    "eval_id": "e1",
    "datetime_epoch_millis": 0,
    "sae_bench_commit_hash": "c",
    "sae_lens_id": "layer_8",
    "sae_lens_release_id": "somebody",
    "sae_lens_version": "6",
    "sae_cfg_dict": {"d_sae": 512, "architecture": "jumprelu", "metadata": {"hook_name": "blocks.8.hook_resid_post"}},
}


def tpp() -> Any:
    from sae_bench.evals.scr_and_tpp import eval_output as o
    from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig

    values = {"tpp_threshold_2_total_metric": 0.25, "tpp_threshold_10_intended_diff_only": 0.5}
    return o.TppEvalOutput(
        eval_config=ScrAndTppEvalConfig(model_name="m", perform_scr=False, llm_batch_size=1, dataset_names=["a/b"]),
        eval_result_metrics=o.TppMetricCategories(tpp_metrics=o.TppMetrics(**values)),
        eval_result_details=[o.TppResultDetail(dataset_name="a/b_tpp_results", **values)],
        eval_result_unstructured={"a/b": {"0": {"tpp_threshold_2_total_metric": 0.125}}},
        eval_type_id="tpp",
        **COMMON,
    )


def scr() -> Any:
    from sae_bench.evals.scr_and_tpp import eval_output as o
    from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig

    values = {"scr_dir1_threshold_2": 0.25, "scr_metric_threshold_2": 0.25, "scr_dir2_threshold_2": -0.5}
    return o.ScrEvalOutput(
        eval_config=ScrAndTppEvalConfig(model_name="m", llm_batch_size=1),
        eval_result_metrics=o.ScrMetricCategories(scr_metrics=o.ScrMetrics(**values)),
        eval_result_details=[o.ScrResultDetail(dataset_name="a/b_scr_x_y_results", **values)],
        eval_type_id="scr",
        **COMMON,
    )


def sparse_probing() -> Any:
    from sae_bench.evals.sparse_probing import eval_output as o
    from sae_bench.evals.sparse_probing.eval_config import SparseProbingEvalConfig

    llm, sae = {"llm_test_accuracy": 0.875, "llm_top_1_test_accuracy": 0.5}, {"sae_test_accuracy": -1, "sae_top_5_test_accuracy": 0.75}  # fmt: skip
    return o.SparseProbingEvalOutput(
        eval_config=SparseProbingEvalConfig(model_name="m"),
        eval_result_metrics=o.SparseProbingMetricCategories(
            llm=o.SparseProbingLlmMetrics(**llm), sae=o.SparseProbingSaeMetrics(**sae)
        ),
        eval_result_details=[o.SparseProbingResultDetail(dataset_name="a/b_results", **llm, **sae)],
        eval_result_unstructured={"a/b_results": {"sae_top_5_test_accuracy": {"0": 0.625}}},
        **COMMON,
    )


def sae_probes() -> Any:
    from sae_bench.evals.sparse_probing_sae_probes import eval_output as o
    from sae_bench.evals.sparse_probing_sae_probes.eval_config import SparseProbingSaeProbesEvalConfig

    by_k = {1: {"test_accuracy": 0.75, "test_auc": 0.8}, 16: {"test_accuracy": 0.9}}
    sae = {"sae_top_1_test_accuracy": 0.75, "sae_top_1_test_auc": 0.8}
    return o.SparseProbingSaeProbesEvalOutput(
        eval_config=SparseProbingSaeProbesEvalConfig(model_name="m", dataset_names=["5_x"]),
        eval_result_metrics=o.SaeProbesMetricCategories(
            llm=o.SaeProbesLlmMetrics(llm_test_auc=0.95), sae=o.SaeProbesSaeMetrics(**sae)
        ),
        eval_result_details=[o.SaeProbesResultDetail(dataset_name="5_x", sae_metrics_by_k=by_k, **sae)],
        sae_metrics_by_k=by_k,
        **COMMON,
    )


def absorption() -> Any:
    from sae_bench.evals.absorption import eval_output as o
    from sae_bench.evals.absorption.eval_config import AbsorptionEvalConfig

    names = [f"mean_{n}" for n in ("absorption_fraction_score", "full_absorption_score", "num_split_features")]
    names += [f"std_dev_{n}" for n in ("absorption_fraction_score", "full_absorption_score", "num_split_features")]
    detail = {"mean_absorption_fraction": 0.5, "full_absorption_rate": 0.25, "num_full_absorption": 1, "num_probe_true_positives": 4, "num_split_features": 2}  # fmt: skip
    return o.AbsorptionEvalOutput(
        eval_config=AbsorptionEvalConfig(model_name="m"),
        eval_result_metrics=o.AbsorptionMetricCategories(mean=o.AbsorptionMeanMetrics(**dict.fromkeys(names, 0.5))),
        eval_result_details=[o.AbsorptionResultDetail(first_letter="q", **detail)],
        **COMMON,
    )


def autointerp() -> Any:
    from sae_bench.evals.autointerp import eval_output as o
    from sae_bench.evals.autointerp.eval_config import AutoInterpEvalConfig

    return o.AutoInterpEvalOutput(
        eval_config=AutoInterpEvalConfig(model_name="m", llm_batch_size=1),
        eval_result_metrics=o.AutoInterpMetricCategories(
            autointerp=o.AutoInterpMetrics(autointerp_score=0.8, autointerp_std_dev=0.1)
        ),
        eval_result_unstructured={"7": {"explanation": "verbs", "score": 0.9}, "8": {"explanation": "?"}},
        **COMMON,
    )


ROWS = {
    tpp: [
        ("upstream_tpp_total_metric", 0.25, {"n": 2}, "all", "all"),
        ("upstream_tpp_intended_diff_only", 0.5, {"n": 10}, "all", "all"),
        ("upstream_tpp_total_metric", 0.25, {"n": 2}, "dataset", "a/b"),
        ("upstream_tpp_intended_diff_only", 0.5, {"n": 10}, "dataset", "a/b"),
        ("upstream_tpp_total_metric", 0.125, {"n": 2}, "class", "a/b/0"),
    ],
    scr: [
        ("upstream_scr_dir1", 0.25, {"n": 2}, "all", "all"),
        ("upstream_scr_metric", 0.25, {"n": 2}, "all", "all"),
        ("upstream_scr_dir2", -0.5, {"n": 2}, "all", "all"),
        ("upstream_scr_dir1", 0.25, {"n": 2}, "dataset", "a/b_scr_x_y"),
        ("upstream_scr_metric", 0.25, {"n": 2}, "dataset", "a/b_scr_x_y"),
        ("upstream_scr_dir2", -0.5, {"n": 2}, "dataset", "a/b_scr_x_y"),
    ],
    sparse_probing: [
        ("upstream_llm_test_accuracy", 0.875, {}, "all", "all"),
        ("llm_top_k_test_accuracy", 0.5, {"k": 1}, "all", "all"),
        ("sae_top_k_test_accuracy", 0.75, {"k": 5}, "all", "all"),
        ("upstream_llm_test_accuracy", 0.875, {}, "dataset", "a/b"),
        ("llm_top_k_test_accuracy", 0.5, {"k": 1}, "dataset", "a/b"),
        ("sae_top_k_test_accuracy", 0.75, {"k": 5}, "dataset", "a/b"),
        ("sae_top_k_test_accuracy", 0.625, {"k": 5}, "class", "a/b/0"),
    ],
    sae_probes: [
        ("llm_test_auc", 0.95, {}, "all", "all"),
        ("sae_top_k_test_accuracy", 0.75, {"k": 1}, "all", "all"),
        ("sae_top_k_test_auc", 0.8, {"k": 1}, "all", "all"),
        ("sae_top_k_test_accuracy", 0.9, {"k": 16}, "all", "all"),
        ("sae_top_k_test_accuracy", 0.75, {"k": 1}, "dataset", "5_x"),
        ("sae_top_k_test_auc", 0.8, {"k": 1}, "dataset", "5_x"),
        ("sae_top_k_test_accuracy", 0.9, {"k": 16}, "dataset", "5_x"),
    ],
    autointerp: [
        ("upstream_autointerp_score", 0.8, {}, "all", "all"),
        ("upstream_autointerp_std_dev", 0.1, {}, "all", "all"),
        ("upstream_autointerp_score", 0.9, {}, "latent", "7"),
    ],
}


@pytest.mark.parametrize("make", ROWS, ids=lambda make: make.__name__)
def test_every_number_of_an_output_becomes_one_row(make: Any):
    found = [(s.metric, s.value, dict(s.params), s.slice_by, s.slice_value) for s in read_scores(written(make()))]
    assert sorted(found, key=str) == sorted(ROWS[make], key=str)


def test_absorption_has_its_letters_as_slices():
    found = {(s.metric, s.slice_by, s.slice_value): s.value for s in read_scores(written(absorption()))}
    assert found["mean_absorption_fraction_score", "all", "all"] == 0.5
    assert found["full_absorption_rate", "letter", "q"] == 0.25 and found["num_split_features", "letter", "q"] == 2
    assert len(found) == 11


def test_a_table_is_read_out_of_a_folder_of_saebenchs_own_files(tmp_path: Path):
    for make in (*ROWS, absorption):
        (tmp_path / f"{make.__name__}.json").write_text(json.dumps(asdict(make()), default=str))
    table = read_results(tmp_path)
    assert set(table["eval"]) == set(EVAL_NAMES.values()) - {"saebench_core"}
    assert set(table.loc[table["metric"] == "upstream_tpp_total_metric", "params"]) == {"n=2"}
    assert set(table["sae"]) == {"somebody:layer_8"} and set(table["source"]) == {"saebench"}
    key = ["run_id", "eval", "metric", "params", "slice_by", "slice_value"]
    assert not table.duplicated(key).any() and table["value"].notna().all()
    assert set(table.loc[table["eval"] == "saebench_tpp", "data"]) == {"a/b"}


def test_files_of_several_seeds_are_one_column_whose_spread_is_the_evaluation_seeds(tmp_path: Path):
    from hedgebench.stats.grid import grids

    for seed, value in ((42, 0.5), (43, 0.7)):
        data = written(absorption())
        data["eval_config"]["random_seed"] = seed
        data["eval_result_metrics"]["mean"]["mean_full_absorption_score"] = value
        (tmp_path / f"seed-{seed}.json").write_text(json.dumps(data | {"eval_id": f"e{seed}"}))
    (grid,) = (g for g in grids(read_results(tmp_path)) if g.column["metric"] == "mean_full_absorption_score")
    assert grid.table.to_dict("list") == {42: [0.5], 43: [0.7]} and grid.draws


def written(output: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(asdict(output), default=str))
    return data
