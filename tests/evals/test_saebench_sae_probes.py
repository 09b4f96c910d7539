"""sae-probes against a plain run of SAEBench's wrapper of it, on two of its smallest sets."""

from __future__ import annotations

import copy
import json
import math
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from char_model import HOOK, char_model
from contexts import labels, make_context
from hedgebench_evals.saebench.sae_probes import SAEBenchSAEProbes, SAEProbesConfig
from hedgebench_evals.saebench.sae_probes_files import module
from known_probing import CHECKPOINT, make_topic_sae, rows_by_key, run_plain

from hedgebench.eval import EvalContext
from hedgebench.labelled_sets import open_labelled, resolve
from hedgebench.records import Outcome, build_record
from hedgebench.saebench_output import read_scores
from hedgebench.types import BadInput, Run

SETS = ("119_us_state_TX", "132_temp_cat_Event Ordering")
KS = (2, 3)
SMALL = {"ks": (1,)}
Key = tuple[str, str, str, str]


@pytest.fixture(scope="module")
def model() -> Any:
    return char_model()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests of this file share: a warm cache."""
    return tmp_path_factory.mktemp("artifacts")


def context(sae: Any, model: Any, folder: Path | None, seed: int = 0, names: tuple[str, ...] = SETS[:1]) -> EvalContext:
    sets = [open_labelled(f"sae-probes:{name}") for name in names]
    return make_context(sae, model, seed=seed, labelled=sets, folder=folder)


def measure(ctx: EvalContext, **config: Any) -> dict[Key, float]:
    rows = rows_by_key(SAEBenchSAEProbes, ctx, SAEProbesConfig(**{**SMALL, **config}))
    return {key: row["value"] for key, row in rows.items()}


# --- equality with SAEBench ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """SAEBench run on its own, with two seeds."""
    config = {"model_name": "char", "dataset_names": list(SETS), "ks": list(KS)}
    return run_plain("sae_probes", tmp_path_factory.mktemp("plain"), make_topic_sae(), config=config, seeds=[0, 1])


@pytest.mark.parametrize("seed", [0, 1])
def test_every_number_is_that_of_a_plain_run_of_saebench(model: Any, plain: dict[str, Any], cache: Path, seed: int) -> None:  # fmt: skip
    ctx = context(make_topic_sae(), model, cache, seed, SETS)
    measure(ctx, ks=KS)
    theirs = plain[str(seed)]
    for group in ("sae", "llm"):
        found = {name: value for name, value in theirs["eval_result_metrics"][group].items() if value is not None}
        assert found
        assert {name: ctx.details["eval_result_metrics"][group][name] for name in found} == found
    for ours, other in zip(ctx.details["eval_result_details"], theirs["eval_result_details"], strict=True):
        assert ours["sae_metrics_by_k"] == other["sae_metrics_by_k"]
        assert {name: value for name, value in other.items() if value is not None}.items() <= ours.items()


@pytest.mark.slow
def test_on_a_real_model_every_number_is_that_of_a_plain_run_of_saebench(tmp_path: Path) -> None:
    from hedgebench.loaders import load_sae
    from hedgebench.models import load_model

    sae = load_sae(CHECKPOINT)
    ctx = context(sae, load_model("smollm2-135m"), None, 3)
    measure(ctx, ks=(1, 5))
    config = {"model_name": "smollm2-135m", "dataset_names": list(SETS[:1]), "ks": [1, 5]}
    theirs = run_plain("sae_probes", tmp_path, sae, config=config, seeds=[3], model="smollm2-135m")["3"]
    for group in ("sae", "llm"):
        found = {name: value for name, value in theirs["eval_result_metrics"][group].items() if value is not None}
        assert ctx.details["eval_result_metrics"][group] == found


def test_saebench_itself_takes_up_old_results_whatever_their_seed(plain: dict[str, Any]) -> None:
    assert plain["0"]["eval_result_metrics"] != plain["1"]["eval_result_metrics"]
    assert plain["stale"]["eval_config"]["random_seed"] == 1
    assert plain["stale"]["eval_result_metrics"] == plain["0"]["eval_result_metrics"]


def test_the_record_is_one_that_saebench_reads_and_gives_the_same_numbers(model: Any, cache: Path) -> None:
    from pydantic import TypeAdapter
    from sae_bench.evals.sparse_probing_sae_probes.eval_output import SparseProbingSaeProbesEvalOutput

    ctx = context(make_topic_sae(), model, cache, 0, SETS)
    ours = measure(ctx, ks=KS)
    run = Run("x", ctx.checkpoint, "saebench_sae_probes", 1, {}, 0, None, None, None, None, "float32")
    record = build_record(run, Outcome("ok", details=ctx.details))
    output = TypeAdapter(SparseProbingSaeProbesEvalOutput).validate_json(json.dumps(record, allow_nan=False))
    assert output.eval_config.ks == list(KS)
    assert output.eval_result_metrics.sae.sae_top_2_test_auc == ours["sae_top_k_test_auc", "k=2", "all", "all"]
    assert [row.sae_metrics_by_k[3]["test_f1"] for row in output.eval_result_details] == [
        ours["sae_top_k_test_f1", "k=3", "dataset", name] for name in SETS
    ]
    read = {(s.metric, f"k={s.params['k']}" if s.params else "", s.slice_by, s.slice_value): s.value for s in read_scores(record)}  # fmt: skip
    assert len(read) == 3 * (len(KS) + 1) * (1 + len(SETS))
    assert {key: ours[key] for key in read} == read


# --- texts that stand in both parts --------------------------------------------------------------------------------------------


def test_test_texts_that_are_training_texts_are_counted_and_left_out_of_the_unseen_numbers(model: Any, cache: Path) -> None:  # fmt: skip
    rows = rows_by_key(SAEBenchSAEProbes, context(make_topic_sae(), model, cache), SAEProbesConfig(**SMALL))
    data = module("utils_data")
    name, where = SETS[0], ("dataset", SETS[0])
    texts, labels_ = data.read_numbered_dataset_df(name)["prompt"].to_numpy(), data.get_yvals(name)
    train, test = data.get_train_test_indices(labels_, 900, 99, 0.5, 0)
    seen = [text in set(texts[train]) for text in texts[test]]
    assert rows["seen_in_training", "", *where]["value"] == pytest.approx(np.mean(seen))
    new = {text: label for text, label, known in zip(texts[test], labels_[test], seen, strict=True) if not known}
    row = rows["sae_top_k_unseen_accuracy", "k=1", *where]
    assert row["n"] == len(new) < 99
    assert row["chance"] == pytest.approx(max(np.mean(list(new.values())), 1 - np.mean(list(new.values()))))
    assert row["value"] * len(new) == pytest.approx(round(row["value"] * len(new)))


def test_a_probe_that_learns_its_texts_by_heart_shines_on_seen_texts_only() -> None:
    """On activations that are noise per text, sae-probes' accuracy is far above chance, and the unseen one is at chance."""
    from hedgebench_evals.saebench.sae_probes_files import placed, split_rows, train_test
    from hedgebench_evals.saebench.sae_probes_measure import _probe

    name = "154_athlete_sport_football"
    texts = module("utils_data").read_numbered_dataset_df(name)["prompt"]
    codes = torch.from_numpy(texts.factorize()[0])
    noise = torch.randn(int(codes.max()) + 1, 400, generator=torch.Generator().manual_seed(0))[codes]
    with placed(name, HOOK, noise, 0) as folder:
        split = split_rows(name, folder, 0)
        parts = train_test(name, HOOK, folder, 0, split.num_train)
        fitted = module("run_baselines").METHODS["logreg"](*parts, seed=0)
        probe = _probe(fitted, parts[2], parts[3], split)
    assert split.test.seen > 0.3
    assert probe.accuracy > 0.65
    assert abs(probe.unseen_auc - 0.5) < 0.1


def test_a_set_whose_test_texts_are_nearly_all_known_has_no_unseen_numbers(model: Any, cache: Path) -> None:
    ctx = context(make_topic_sae(), model, cache, 0, SETS[1:])
    found = measure(ctx)
    assert not any("unseen" in metric for metric, *_ in found)
    assert "not among the training texts" in ctx.missing[f"unseen {SETS[1]}"]


def test_every_test_part_is_balanced_so_that_chance_is_a_half() -> None:
    data = module("utils_data")
    for name in module("run_sae_evals").DATASETS:
        size = data.get_dataset_sizes()[name]
        train = min(size - 100, 1024)
        labels_ = data.get_yvals(name)[:5000]
        _, test = data.get_train_test_indices(labels_, train, min(size, 5000) - train - 1, 0.5, 0)
        assert abs(int(labels_[test].sum()) - len(test) / 2) <= 0.5, name


# --- caches and seeds ----------------------------------------------------------------------------------------------------------


def test_numbers_do_not_depend_on_what_ran_before(model: Any, tmp_path: Path, cache: Path) -> None:
    cold = measure(context(make_topic_sae(), model, tmp_path))
    measure(context(make_topic_sae(1), model, cache))
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert measure(context(make_topic_sae(), model, cache)) == cold


def test_a_retrained_sae_of_the_same_name_and_another_seed_get_their_own_numbers(model: Any, cache: Path) -> None:
    first = measure(context(make_topic_sae(0), model, cache))
    retrained = measure(context(make_topic_sae(1), model, cache))
    reseeded = measure(context(make_topic_sae(0), model, cache, seed=1))
    key, llm = ("sae_top_k_test_auc", "k=1", "all", "all"), ("llm_test_auc", "", "all", "all")
    assert len({first[key], retrained[key], reseeded[key]}) == 3
    assert first[llm] == retrained[llm] != reseeded[llm]


def test_the_model_runs_once_for_all_saes_and_seeds_and_its_probe_once_per_seed(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    passes: list[int] = []
    probes: list[int] = []
    methods = module("run_baselines").METHODS
    plain_probe = methods["logreg"]
    monkeypatch.setitem(methods, "logreg", lambda *a, seed: probes.append(seed) or plain_probe(*a, seed=seed))
    model.add_hook(HOOK, lambda act, hook: passes.append(len(act)), is_permanent=True)
    try:
        for sae, seed in ((0, 0), (1, 0), (0, 1), (1, 1)):
            measure(context(make_topic_sae(sae), model, tmp_path, seed), llm_batch_size=100)
    finally:
        model.reset_hooks(including_permanent=True)
    assert passes == [100] * 10
    assert probes == [0, 1]


# --- what is refused, and what is left alone -----------------------------------------------------------------------------------


def test_the_tokenizer_the_random_state_and_the_sae_stay_as_they_were(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    sae, tokenizer = make_topic_sae(), model.tokenizer
    sides = (tokenizer.truncation_side, tokenizer.padding_side)
    before, filters = copy.deepcopy(sae.state_dict()), list(warnings.filters)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    measure(context(sae, model, None))
    assert (tokenizer.truncation_side, tokenizer.padding_side) == sides == ("right", "right")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert all(torch.equal(value, before[name]) for name, value in sae.state_dict().items())
    assert warnings.filters == filters
    assert not list(tmp_path.iterdir())


def test_the_end_of_a_long_text_decides_when_texts_are_cut(model: Any) -> None:
    whole, cut = (measure(context(make_topic_sae(), model, None), max_seq_len=n) for n in (1024, 6))
    key = ("llm_test_auc", "", "all", "all")
    assert whole[key] != cut[key]
    assert measure(context(make_topic_sae(), model, None), max_seq_len=model.cfg.n_ctx) == whole


def test_a_k_beyond_the_width_is_left_blank_with_the_reason(model: Any, cache: Path) -> None:
    ctx = context(make_topic_sae(d_sae=4), model, cache)
    found = measure(ctx, ks=(1, 5))
    assert {params for metric, params, *_ in found if metric.startswith("sae")} == {"k=1"}
    assert "only 4" in ctx.missing["sae_top_k k=5"]


def test_other_data_and_other_hook_points_are_refused(model: Any) -> None:
    ctx = make_context(make_topic_sae(), model, labelled=[labels([("a", "x"), ("b", "y")])])
    with pytest.raises(BadInput, match="reads the sets of sae-probes only"):
        measure(ctx)
    with pytest.raises(BadInput, match="one vector per token"):
        measure(context(make_topic_sae(hook="blocks.1.attn.hook_z"), model, None))


def test_an_sae_with_a_broken_weight_fails(model: Any, cache: Path) -> None:
    sae = make_topic_sae()
    sae.W_enc.data[0, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="NaN"):
        measure(context(sae, model, cache))


def test_the_star_stands_for_all_113_sets_and_the_default_for_eight_of_them() -> None:
    sets = SAEBenchSAEProbes.labelled_sets
    every = resolve(["all"], sets, Path())
    assert len(every) == 113
    eight = resolve(["default"], sets, Path())
    assert len(eight) == 8
    assert set(eight) < set(every)


@pytest.mark.parametrize(("setting", "why"), [({"ks": []}, "ks"), ({"ks": (0,)}, "from 1 on"), ({"reg_type": "l3"}, "l1 or l2"), ({"max_seq_len": 1}, "at least 2")])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        SAEProbesConfig(**setting)


def test_the_error_of_an_auc_is_that_of_resampled_texts() -> None:
    from hedgebench_evals.saebench.sae_probes import _auc_error
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    labels_ = np.repeat([0, 1], 60)
    areas = [roc_auc_score(labels_, generator.normal(labels_ * 1.2)) for _ in range(400)]
    assert _auc_error(float(np.mean(areas)), 60, 60) == pytest.approx(np.std(areas), rel=0.2)
    assert math.isclose(_auc_error(1.0, 10, 10), 0.0)
