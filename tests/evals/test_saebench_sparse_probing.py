"""Sparse probing against a plain run of SAEBench, and against texts whose right answer is known."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from char_model import HOOK, char_model, topic_rows
from contexts import labels, make_context
from hedgebench_evals.saebench.sparse_probing import SAEBenchSparseProbing, SparseProbingConfig
from hedgebench_evals.saebench.sparse_probing_probes import held_out_probe
from known_probing import CHECKPOINT, make_topic_sae, rows_by_key, run_plain

from hedgebench.eval import EvalContext
from hedgebench.isolation import upstream
from hedgebench.records import Outcome, build_record
from hedgebench.saebench_output import read_scores
from hedgebench.types import BadInput, Run

SIZES = {"train_size": 120, "test_size": 40, "context_size": 48}
Key = tuple[str, str, str, str]


@pytest.fixture(scope="module")
def model() -> Any:
    return char_model()


def sets() -> list[Any]:
    return [labels(topic_rows(), "topics"), labels(topic_rows(120, seed=1, topics=("sky", "sea")), "two")]


def context(sae: Any, model: Any, seed: int = 7, folder: Path | None = None, data: Any = None, name: str = "sae") -> EvalContext:  # fmt: skip
    return make_context(sae, model, seed=seed, labelled=sets() if data is None else data, folder=folder, name=name)


def measure(ctx: EvalContext, **config: Any) -> dict[Key, float]:
    rows = rows_by_key(SAEBenchSparseProbing, ctx, SparseProbingConfig(**{**SIZES, **config}))
    return {key: row["value"] for key, row in rows.items()}


# --- equality with SAEBench ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """SAEBench run on its own: seed 7, both sets, the SAE of seed 0."""
    return plain_run(tmp_path_factory.mktemp("plain"), make_topic_sae(), sets())


def plain_run(folder: Path, sae: Any, data: Sequence[Any], **job: Any) -> dict[str, Any]:
    texts = {one.name: one.train_test(SIZES["train_size"], SIZES["test_size"], 7) for one in data}
    sizes = {"context_length": SIZES["context_size"], "probe_train_set_size": SIZES["train_size"], "probe_test_set_size": SIZES["test_size"]}  # fmt: skip
    config = {"random_seed": 7, "dataset_names": list(texts), "model_name": "char", "llm_batch_size": 32, **sizes}
    return run_plain("sparse_probing", folder, sae, config=config, texts=texts, **job)


def test_numbers_are_those_of_saebench_when_its_cache_is_warm(model: Any, plain: dict[str, Any]) -> None:
    ctx = context(make_topic_sae(), model)
    measure(ctx)
    ours = ctx.details["eval_result_unstructured"]
    theirs = plain["warm"]["classes"]
    assert ours.keys() == theirs.keys()
    for dataset, metrics in theirs.items():
        for name, by_class in metrics.items():
            if (
                name.startswith("sae_") or dataset == "topics_results"
            ):  # later sets' LLM probes follow those of other SAE parts
                assert ours[dataset][name] == by_class, (dataset, name)
    assert ctx.details["eval_result_metrics"]["sae"] == {
        name: value for name, value in plain["warm"]["means"].items() if name.startswith("sae_")
    }


@pytest.mark.slow
def test_on_a_real_model_numbers_are_those_of_saebench_when_its_cache_is_warm(tmp_path: Path) -> None:
    from hedgebench.labelled_sets import open_labelled
    from hedgebench.loaders import load_sae
    from hedgebench.models import load_model

    sae, data = load_sae(CHECKPOINT), [open_labelled("stand-in:ag_news")]
    ctx = context(sae, load_model("smollm2-135m"), data=data)
    measure(ctx)
    theirs = plain_run(tmp_path, sae, data, model="smollm2-135m")
    assert ctx.details["eval_result_unstructured"] == theirs["warm"]["classes"]


def test_saebench_itself_gives_other_numbers_when_its_cache_is_cold(plain: dict[str, Any]) -> None:
    cold, warm = (plain[state]["classes"]["topics_results"] for state in ("cold", "warm"))
    assert {n: v for n, v in cold.items() if n.startswith("llm_")} == {
        n: v for n, v in warm.items() if n.startswith("llm_")
    }
    assert cold["sae_top_1_test_accuracy"] != warm["sae_top_1_test_accuracy"]


def test_the_record_is_one_that_saebench_reads_and_gives_the_same_numbers(model: Any) -> None:
    from pydantic import TypeAdapter
    from sae_bench.evals.sparse_probing.eval_output import SparseProbingEvalOutput

    ctx = context(make_topic_sae(), model)
    ours = measure(ctx, k_values=(1, 2, 3))
    run = Run("x", ctx.checkpoint, "saebench_sparse_probing", 1, {}, 7, None, None, None, None, "float32")
    record = build_record(run, Outcome("ok", details=ctx.details))
    output = TypeAdapter(SparseProbingEvalOutput).validate_json(json.dumps(record, allow_nan=False))
    assert output.eval_config.dataset_names == ["topics", "two"]
    assert output.eval_config.k_values == [1, 2, 3]
    assert output.eval_result_metrics.sae.sae_top_2_test_accuracy == ours["sae_top_k_test_accuracy", "k=2", "all", "all"]  # fmt: skip
    assert [row.dataset_name for row in output.eval_result_details] == ["topics_results", "two_results"]

    read = {(s.metric, f"k={s.params['k']}" if s.params else "", s.slice_by, s.slice_value): s.value for s in read_scores(record)}  # fmt: skip
    assert len(read) == 2 * 4 * (1 + 2 + 5)
    for key, value in read.items():
        assert ours[key] == pytest.approx(value, abs=1e-12), key
    held_out = {key for key in ours if key not in read}
    assert {metric for metric, *_ in held_out} == {"sae_test_accuracy", "llm_test_accuracy"}


# --- caches, order, seeds ------------------------------------------------------------------------------------------------------


def test_numbers_do_not_depend_on_what_ran_before(model: Any, tmp_path: Path) -> None:
    cold = measure(context(make_topic_sae(0), model, folder=tmp_path))
    warm = measure(context(make_topic_sae(0), model, folder=tmp_path))
    ctx = context(make_topic_sae(1), model)
    measure(ctx)
    ctx.sae = make_topic_sae(0)
    torch.manual_seed(99)
    random.seed(99)
    second = measure(ctx)
    assert cold == warm == second


def test_a_retrained_sae_of_the_same_name_gets_its_own_score(model: Any, tmp_path: Path) -> None:
    old = measure(context(make_topic_sae(0), model, folder=tmp_path))
    new = measure(context(make_topic_sae(1), model, folder=tmp_path))
    key = ("sae_top_k_test_accuracy", "k=1", "all", "all")
    assert new[key] != old[key]
    assert {k: v for k, v in new.items() if "llm_" in k[0]} == {k: v for k, v in old.items() if "llm_" in k[0]}


def test_two_seeds_give_two_numbers(model: Any, tmp_path: Path) -> None:
    one, other = (measure(context(make_topic_sae(), model, seed=seed, folder=tmp_path)) for seed in (0, 1))
    for metric, params in (("sae_top_k_test_accuracy", "k=2"), ("sae_test_accuracy", ""), ("llm_test_accuracy", "")):
        assert one[metric, params, "all", "all"] != other[metric, params, "all", "all"], metric


def test_other_settings_never_take_up_the_models_probes_of_these(model: Any, tmp_path: Path) -> None:
    narrow = measure(context(make_topic_sae(), model, folder=tmp_path), k_values=(1,))
    wide = measure(context(make_topic_sae(), model, folder=tmp_path), k_values=(1, 3), context_size=20)
    assert ("llm_top_k_test_accuracy", "k=3", "all", "all") in wide
    key = ("llm_test_accuracy", "", "all", "all")
    assert narrow[key] != wide[key]


def test_the_model_and_its_probes_run_once_for_all_saes(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from sae_bench.evals.sparse_probing import probe_training

    measure(context(make_topic_sae(0), model, folder=tmp_path))
    passes: list[int] = []
    probed: list[int] = []
    train = probe_training.train_probe_on_activations

    def counted(acts: Any, *args: Any, **kwargs: Any) -> Any:
        probed.append(next(iter(acts.values())).shape[1])
        return train(acts, *args, **kwargs)

    monkeypatch.setattr(probe_training, "train_probe_on_activations", counted)
    model.add_hook(HOOK, lambda act, hook: passes.append(1), is_permanent=True)
    try:
        measure(context(make_topic_sae(1), model, folder=tmp_path))
    finally:
        model.reset_hooks(including_permanent=True)
    assert not passes
    assert set(probed) == {make_topic_sae().cfg.d_sae}
    assert len(probed) == 2 * (1 + 1 + 3)


# --- the full probe ------------------------------------------------------------------------------------------------------------


def test_stopping_on_the_test_texts_finds_signal_in_noise_and_holding_out_training_texts_does_not() -> None:
    from sae_bench.evals.sparse_probing.probe_training import train_probe_on_activations

    theirs, ours = [], []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        train, test = ({c: torch.randn(n, 12, generator=generator) for c in "ab"} for n in (60, 25))
        with upstream(seed):
            _, best = train_probe_on_activations(train, test, use_sklearn=False, batch_size=250, epochs=100, lr=1e-2)
        theirs += best.values()
        ours += held_out_probe(train, test, seed).values()
    error = 0.5 / (len(ours) * 50) ** 0.5
    assert abs(np.mean(ours) - 0.5) < 4 * error
    assert np.mean(theirs) - 0.5 > 6 * error


def test_a_full_probe_finds_a_direction_that_is_there() -> None:
    generator = torch.Generator().manual_seed(0)
    shift = {"a": 3.0, "b": -3.0}
    train, test = ({c: torch.randn(n, 5, generator=generator) + s for c, s in shift.items()} for n in (200, 50))
    assert min(held_out_probe(train, test, 0).values()) > 0.95


def test_without_the_full_probe_its_numbers_are_absent_and_no_sentinel(model: Any) -> None:
    ctx = context(make_topic_sae(), model)
    scores = measure(ctx, full_probe=False)
    assert not any(metric in ("sae_test_accuracy", "upstream_sae_test_accuracy") for metric, *_ in scores)
    assert "-1" not in json.dumps(ctx.details)
    assert "sae_test_accuracy" not in ctx.details["eval_result_metrics"]["sae"]


# --- known answers and slices --------------------------------------------------------------------------------------------------


def test_one_latent_that_is_the_class_gives_all_of_it_and_noise_gives_none(model: Any) -> None:
    """Texts of one letter repeated: each class has an embedding of its own, so that some latent tells it from the others."""
    rows = [(letter * (1 + i % 20) + " " + letter * (1 + i // 20), letter) for letter in "xyz" for i in range(100)]
    clear = measure(context(make_topic_sae(), model, data=[labels(rows, "clear")]), test_size=16)
    assert clear["sae_top_k_test_accuracy", "k=5", "all", "all"] > 0.95
    noise = [(text, str(i % 2)) for i, (text, _) in enumerate(topic_rows(200, mix=1.0))]
    none = rows_by_key(SAEBenchSparseProbing, context(make_topic_sae(), model, data=[labels(noise, "noise")]), SparseProbingConfig(**SIZES))  # fmt: skip
    row = none["sae_top_k_test_accuracy", "k=1", "all", "all"]
    assert abs(row["value"] - 0.5) < 4 * row["stderr"]
    assert row["chance"] == 0.5


def test_a_data_set_is_the_mean_of_its_classes_and_the_aggregate_the_mean_of_data_sets(model: Any) -> None:
    rows = rows_by_key(SAEBenchSparseProbing, context(make_topic_sae(), model), SparseProbingConfig(**SIZES))
    sets_ = []
    for name, classes in {"topics": ("law", "sea", "sky"), "two": ("sea", "sky")}.items():
        parts = [rows["sae_top_k_test_accuracy", "k=2", "class", f"{name}/{c}"] for c in classes]
        whole = rows["sae_top_k_test_accuracy", "k=2", "dataset", name]
        assert whole["value"] == pytest.approx(np.mean([p["value"] for p in parts]))
        assert whole["stderr"] == pytest.approx(np.mean([p["stderr"] for p in parts]))
        assert [p["n"] for p in parts] == [40] * len(classes)
        assert whole["n"] == 20 * len(classes)
        sets_.append(whole)
    every = rows["sae_top_k_test_accuracy", "k=2", "all", "all"]
    assert every["value"] == pytest.approx(np.mean([s["value"] for s in sets_]))
    assert every["stderr"] == pytest.approx(np.linalg.norm([s["stderr"] for s in sets_]) / 2)


# --- what cannot be measured, and what is left alone ---------------------------------------------------------------------------


def test_a_k_that_is_larger_than_the_sae_is_left_blank_with_the_reason(model: Any) -> None:
    ctx = context(make_topic_sae(), model)
    scores = measure(ctx, k_values=(1, 1000))
    assert ("sae_top_k_test_accuracy", "k=1000", "all", "all") not in scores
    assert "only 48" in ctx.missing["sae_top_k_test_accuracy k=1000"]
    assert "only 24" in ctx.missing["llm_top_k_test_accuracy k=1000"]
    alone = measure(context(make_topic_sae(), model), k_values=(1,))
    assert {k: v for k, v in scores.items() if k[1] != "k=1000"} == alone


def test_a_class_with_too_few_texts_is_named_with_their_number(model: Any) -> None:
    rows = [*topic_rows(), *((f"a lone text {i}", "rare") for i in range(9))]
    with pytest.raises(BadInput, match=r"class rare has \d \w+ texts"):
        measure(context(make_topic_sae(), model, data=[labels(rows)]))


def test_a_hook_point_without_a_vector_per_token_and_texts_beyond_the_model_are_refused(model: Any) -> None:
    with pytest.raises(BadInput, match="one vector per token"):
        measure(context(make_topic_sae(hook="blocks.1.attn.hook_z"), model))
    with pytest.raises(BadInput, match="the model reads 128 tokens"):
        measure(context(make_topic_sae(), model), context_size=129)


def test_an_sae_with_a_broken_weight_fails(model: Any) -> None:
    sae = make_topic_sae()
    sae.W_enc.data[0, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="NaN"):
        measure(context(sae, model))


def test_random_state_grad_mode_folder_and_the_sae_stay_as_they_were(model: Any) -> None:
    sae = make_topic_sae()
    before, config = copy.deepcopy(sae.state_dict()), copy.deepcopy(sae.cfg.to_dict())
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    folder, torch_grad = Path.cwd(), torch.is_grad_enabled()
    scores = SAEBenchSparseProbing().run(context(sae, model), SparseProbingConfig(**SIZES))
    next(scores)
    assert (Path.cwd(), torch.is_grad_enabled()) == (folder, torch_grad)
    list(scores)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert sae.cfg.to_dict() == config
    assert all(torch.equal(value, before[name]) for name, value in sae.state_dict().items())
    assert not any(parameter.requires_grad for parameter in sae.parameters())
    assert not model.hook_dict[HOOK].fwd_hooks
    assert os.getcwd() == str(folder)  # noqa: PTH109 - the process's own word


@pytest.mark.parametrize(
    ("setting", "why"),
    [({"k_values": ()}, "k_values"), ({"k_values": (2, 2)}, "different"), ({"k_values": [0]}, "from 1 on"), ({"train_size": 4}, "train_size must be at least 16")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        SparseProbingConfig(**setting)


def test_lists_from_yaml_are_taken() -> None:
    assert SparseProbingConfig(k_values=[1, 4]).k_values == (1, 4)  # type: ignore[arg-type]
