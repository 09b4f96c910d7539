"""SCR against SAEBench run for real in a process of its own, its own texts, and SAEs whose right answer is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import plain_scr_tpp as world
import pytest
import torch
from contexts import labels, make_context
from hedgebench_evals.saebench import scr
from hedgebench_evals.saebench.ablation import Correct
from hedgebench_evals.saebench.ablation_measure import Measured
from hedgebench_evals.saebench.concept_probes import Task, concepts
from hedgebench_evals.saebench.concept_probes_config import ProbeConfig
from hedgebench_evals.saebench.scr import SAEBenchSCR
from hedgebench_evals.saebench.scr_texts import BOTH, LABEL, SECOND, quadrant_size, scr_tasks

from hedgebench.eval import EvalContext
from hedgebench.records import Outcome, build_record
from hedgebench.saebench_output import our_name, read_scores
from hedgebench.types import BadInput, CannotMeasure, Run, Score

SMALL = {**world.SETTINGS, "probe_epochs": 2, "n_values": (2, 10)}
PAIR = "made_up/amazon_reviews_scr_a_b"


def context(sae: Any = None, seed: int = world.SEED, sets: Any = None, folder: Path | None = None) -> EvalContext:
    return make_context(
        world.sae() if sae is None else sae, world.model(), seed=seed, labelled=sets or [world.reviews()], folder=folder
    )


def run(ctx: EvalContext, **settings: Any) -> dict[str, float]:
    return world.rows(SAEBenchSCR().run(ctx, ProbeConfig(**{**SMALL, **settings})))


# --- equality with SAEBench ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "loud"])
def test_every_upstream_number_equals_a_plain_run_of_saebench(kind: str) -> None:
    ours = run(context(world.sae(kind)), **world.SETTINGS)
    results, _ = world.plain().scr[kind]
    theirs = {}
    for name, value in results.items():
        where = name.removesuffix("_results")
        theirs |= {f"{k} {where}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    assert len(theirs) == 3 * 4 * (1 + 2)
    for key, value in theirs.items():
        name, _, where = key.partition(" ")
        metric, params = our_name("scr", name) or ("", {})
        assert ours[" ".join(filter(None, (metric, f"n={params['n']}", where)))] == pytest.approx(value, abs=1e-6), key


def test_the_texts_are_those_that_saebench_puts_together_from_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from sae_bench.evals.scr_and_tpp import dataset_creation
    from sae_bench.sae_bench_utils.dataset_info import dataset_metadata

    data, cfg = world.reviews(), ProbeConfig(**world.SETTINGS)
    known = dict(dataset_metadata)
    (task, _) = scr_tasks(context(), cfg)
    assert dataset_metadata == known  # nothing of ours stays there
    train, test = data.frames(world.SEED)
    columns = {"text_column_name": "text", "column1_name": "label", "column2_name": "second"}
    labels_ = {"column1_mapping": {"a": "a", "b": "b"}, "column2_mapping": {"up": "up", "down": "down"}}
    monkeypatch.setitem(dataset_metadata, data.name, {**columns, **labels_})
    monkeypatch.setattr(dataset_creation, "load_dataset", lambda name: {"train": train, "test": test})
    theirs = dataset_creation.get_train_test_data(
        data.name, True, cfg.train_size, cfg.test_size, world.SEED, ("a", "b"), ("up", "down")
    )
    assert (task.train, task.test) == theirs
    assert {len(texts) for texts in task.test.values()} == {cfg.test_size // 2}


def test_every_distinct_text_goes_through_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, cfg = context(), ProbeConfig(**SMALL)
    (task, _) = scr_tasks(ctx, cfg)
    found = concepts(ctx, cfg, task)
    for part, groups in ((found.train, task.train), (found.test, task.test)):
        distinct = {text for texts in groups.values() for text in texts}
        assert len(part.texts) == len(distinct) == sum(map(len, groups.values())) // 2
        for group, texts in groups.items():
            assert [part.texts[i] for i in part.rows[group]] == texts
    alone = make_context(world.sae(), world.model(), labelled=[world.reviews()])
    from hedgebench_evals.saebench.class_acts import class_acts

    for group, texts in task.test.items():
        direct = class_acts(alone, {group: texts}, cfg.context_size, cfg.llm_batch_size)[group]
        torch.testing.assert_close(found.test.means[found.test.rows[group]], direct.mean, rtol=1e-4, atol=1e-5)


# --- the numbers ---------------------------------------------------------------------------------------------------------------


def told(wrong: dict[tuple[str, str], int], n: int = 40) -> torch.Tensor:
    """[data, text, probe]: all right, but for so many texts of the `data` that the `probe` gets wrong."""
    names = [SECOND, LABEL, BOTH]
    right = torch.ones(3, n, 3, dtype=torch.bool)
    for (data, probe), count in wrong.items():
        right[names.index(data), :count, names.index(probe)] = False
    return right


def measured(clean: dict[tuple[str, str], int], after: dict[str, dict[tuple[str, str], int]]) -> Measured:
    """One task whose probes are wrong on so many of 40 texts, before and after ablation of 5 latents of a concept."""
    names = {SECOND: "up / down", LABEL: "a / b", BOTH: "up a / down b"}
    ablated = {(concept, 5): told({**clean, **after.get(concept, {})}) for concept in names}
    rows = np.tile(np.arange(40), (3, 1))
    return Measured(Task("t", names, {}, {}, {}, scr=True), [f"t{i}" for i in range(40)], rows, Correct(told(clean), ablated), {}, {})  # fmt: skip


def scores(m: Measured) -> tuple[dict[str, float], dict[str, str]]:
    ctx: Any = SimpleNamespace(missing={})
    ctx.leave_blank = ctx.missing.__setitem__
    return world.rows(scr._scores(ctx, [m], (5,))), ctx.missing


def test_scores_are_shares_of_the_gap_and_the_metric_is_the_worse_direction() -> None:
    # of 40: the biased probe misses 20 by label and 10 by second label, the unbiased probes 4 and 2
    clean = {(LABEL, BOTH): 20, (SECOND, BOTH): 10, (LABEL, LABEL): 4, (SECOND, SECOND): 2}
    after = {SECOND: {(LABEL, BOTH): 12}, LABEL: {(SECOND, BOTH): 14}}
    got, missing = scores(measured(clean, after))
    assert got["scr_gap direction=1 t"] == pytest.approx(16 / 40)
    assert got["scr_dir1 n=5"] == pytest.approx(8 / 16)
    assert got["scr_dir2 n=5"] == pytest.approx(-4 / 8)
    assert got["scr_metric n=5"] == got["scr_dir1 n=5"]
    assert not missing


def test_they_equal_saebench_s_formula_on_the_same_accuracies() -> None:
    from sae_bench.evals.scr_and_tpp.main import get_scr_plotting_dict

    clean = {(LABEL, BOTH): 9, (SECOND, BOTH): 16, (LABEL, LABEL): 3, (SECOND, SECOND): 5}
    m = measured(clean, {SECOND: {(LABEL, BOTH): 5}, LABEL: {(SECOND, BOTH): 12}})

    def accuracies(right: torch.Tensor) -> dict[str, float]:
        share = right.double().mean(1)
        own = {name: float(share[i, i]) for i, name in enumerate((SECOND, LABEL, BOTH))}
        return own | {f"{BOTH} probe on {data} data": float(share[i, 2]) for i, data in enumerate((SECOND, LABEL))}

    after = {c: {5: accuracies(m.correct.ablated[c, 5])} for c in (SECOND, LABEL)}
    theirs = get_scr_plotting_dict(after, accuracies(m.correct.clean))
    got, _ = scores(m)
    assert {k: pytest.approx(v) for k, v in theirs.items()} == {f"scr_{k}_threshold_5": got[f"scr_{k} n=5"] for k in ("dir1", "dir2", "metric")}  # fmt: skip


def test_without_a_gap_there_is_no_score_where_saebench_says_zero() -> None:
    clean = {(LABEL, BOTH): 4, (SECOND, BOTH): 10, (LABEL, LABEL): 4, (SECOND, SECOND): 2}
    got, missing = scores(measured(clean, {SECOND: {(LABEL, BOTH): 0}}))
    assert "scr_dir1 n=5" not in got and "no bias to remove" in missing["scr_dir1 dataset=t"]
    assert got["scr_metric n=5"] == got["scr_dir2 n=5"] == 0.0  # nothing changed there
    got, missing = scores(measured({}, {}))
    assert set(got) == {"scr_gap direction=1 t", "scr_gap direction=2 t"}
    assert {"scr_dir1", "scr_dir2", "scr_metric"} <= set(missing)


def test_a_tie_of_the_directions_gives_their_mean_where_saebench_gives_nothing() -> None:
    clean = {(LABEL, BOTH): 10, (SECOND, BOTH): 10, (LABEL, LABEL): 2, (SECOND, SECOND): 5}
    got, _ = scores(measured(clean, {SECOND: {(LABEL, BOTH): 6}, LABEL: {(SECOND, BOTH): 9}}))
    assert got["scr_metric n=5"] == pytest.approx((4 / 8 + 1 / 5) / 2)


def test_a_tie_in_saebench_s_run_is_told_and_the_record_has_no_such_key() -> None:
    tie = {name: 0.75 for name in (f"{BOTH} probe on {LABEL} data", f"{BOTH} probe on {SECOND} data")} | {
        SECOND: 0.9,
        LABEL: 0.9,
    }
    after = {c: {5: tie} for c in (SECOND, LABEL)}
    m = replace(measured({}, {}), upstream_clean=tie, upstream=after)
    assert set(scr._upstream([m])["t"]) == {"scr_dir1_threshold_5", "scr_dir2_threshold_5"}


def test_the_standard_error_is_that_of_other_test_texts() -> None:
    clean = {(LABEL, BOTH): 24, (SECOND, BOTH): 10, (LABEL, LABEL): 4, (SECOND, SECOND): 2}
    m = measured(clean, {SECOND: {(LABEL, BOTH): 12}})
    estimate = scr._Direction(m, SECOND, LABEL).score(5)
    assert estimate is not None and estimate.n == 40
    before, after, best = ((np.arange(40) >= count).astype(float) for count in (24, 12, 4))
    draws = np.random.default_rng(0).integers(0, 40, (4000, 40))
    values = (after - before)[draws].sum(1) / (best - before)[draws].sum(1)
    assert estimate.stderr == pytest.approx(values.std(), rel=0.1)


def test_two_pairs_with_the_same_texts_are_not_counted_as_twice_as_many() -> None:
    clean = {(LABEL, BOTH): 24, (SECOND, BOTH): 10, (LABEL, LABEL): 4, (SECOND, SECOND): 2}
    m = measured(clean, {SECOND: {(LABEL, BOTH): 12}})
    ctx: Any = SimpleNamespace(leave_blank=lambda *_: None)

    def total(*results: Measured) -> Score:
        return next(s for s in scr._scores(ctx, results, (5,)) if s.metric == "scr_dir1" and s.slice_by == "all")

    twice = total(m, replace(m, task=replace(m.task, name="again")))
    other = total(m, replace(m, task=replace(m.task, name="others"), texts=[f"o{i}" for i in range(40)]))
    one = total(m)
    assert (twice.value, twice.n) == (one.value, 40)
    assert twice.stderr == pytest.approx(one.stderr)
    assert other.n == 80 and other.stderr == pytest.approx(one.stderr / 2**0.5)


def test_an_sae_that_never_fires_frees_nothing() -> None:
    got = run(context(world.sae("silent")), probe_epochs=6)
    assert {v for k, v in got.items() if k.startswith(("scr_dir", "scr_metric"))} == {0.0}


# --- traps ---------------------------------------------------------------------------------------------------------------------


def test_the_seed_decides_texts_and_probes_and_one_seed_gives_the_same_numbers_to_the_last_digit(
    tmp_path: Path,
) -> None:
    first = run(context(folder=tmp_path))
    assert first == run(context(folder=tmp_path)) == run(context())
    other = run(context(seed=4, folder=tmp_path))
    assert sum(first[k] != other[k] for k in first.keys() & other.keys() if k.startswith("upstream_probe")) >= 3
    cfg = ProbeConfig(**SMALL)
    (one, _), (two, _) = scr_tasks(context(), cfg), scr_tasks(context(seed=4), cfg)
    assert set(one.test[LABEL]) != set(two.test[LABEL])  # a plain run takes the first rows whatever the seed


def test_a_retrained_sae_of_the_same_name_gets_its_own_score(tmp_path: Path) -> None:
    one, two = (run(context(world.sae(seed=seed), folder=tmp_path)) for seed in (0, 1))
    assert one != two
    assert two == run(context(world.sae(seed=1)))


def test_an_n_beyond_the_width_is_left_blank_and_the_others_go_on() -> None:
    ctx = context()
    got = run(ctx, n_values=(2, 500))
    assert "scr_dir1 n=2" in got and not any("n=500" in key for key in got)
    assert ctx.missing["upstream_scr_metric n=500"] == "the SAE has 48 latents"
    with pytest.raises(CannotMeasure, match="48 latents"):
        run(context(), n_values=(500,))


def frame(counts: dict[str, int]) -> pd.DataFrame:
    """So many texts of each label and second label, such as `a up`."""
    rows = [(f"{kind} {i}", *kind.split()) for kind, count in counts.items() for i in range(count)]
    return pd.DataFrame(rows, columns=["text", "label", "second"])


@pytest.mark.parametrize(
    ("counts", "size", "quadrant"),
    [
        ({"a up": 100, "a down": 100, "b up": 100, "b down": 100}, 40, 10),
        ({"a up": 100, "a down": 100, "b up": 100, "b down": 100}, 1000, 49),
        ({"a up": 21, "a down": 100, "b up": 100, "b down": 100}, 1000, 10),
        ({"a up": 22, "a down": 100, "b up": 100, "b down": 100}, 1000, 10),
        ({"a up": 23, "a down": 100, "b up": 7, "b down": 100}, 1000, 7),
        ({"a up": 23, "a down": 100, "b down": 100}, 1000, 0),
    ],
)
def test_texts_are_as_many_as_saebench_s_function_takes_and_not_one_more(counts: dict[str, int], size: int, quadrant: int) -> None:  # fmt: skip
    from hedgebench_evals.saebench.scr_texts import _known_to_saebench
    from sae_bench.evals.scr_and_tpp.dataset_creation import get_spurious_corr_data

    table = frame(counts)
    assert quadrant_size(table, ("a", "b"), ("up", "down"), size) == quadrant
    with _known_to_saebench("x", ("a", "b"), ("up", "down")):
        if quadrant:
            made = get_spurious_corr_data(table, ("a", "b"), ("up", "down"), "x", quadrant, 0)
            assert {len(texts) for texts in made.values()} == {2 * quadrant}
        if quadrant < size // 4:
            with pytest.raises(AssertionError):
                get_spurious_corr_data(table, ("a", "b"), ("up", "down"), "x", quadrant + 1, 0)


def test_a_set_without_a_second_label_or_with_too_few_texts_is_refused_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(BadInput, match="'topics' has no second label"):
        run(context(sets=[world.topics()]))
    rows = [(f"w3 w{i}", "a", "up") for i in range(40)] + [(f"w4 w{i}", "b", "down") for i in range(40)]
    few = labels(rows, name="few", pairs=(("a", "b"),), second_values=("up", "down"))
    with pytest.raises(BadInput, match="0 training texts per pair of labels"):
        run(context(sets=[few]))
    run(context(), test_size=400)
    assert "test texts per pair of labels, not 100" in caplog.text


def test_the_record_is_one_that_saebench_reads_with_the_numbers_of_the_rows() -> None:
    from pydantic import TypeAdapter
    from sae_bench.evals.scr_and_tpp.eval_output import ScrEvalOutput

    ctx = context()
    got = run(ctx, **world.SETTINGS)
    about = Run("r", ctx.checkpoint, "saebench_scr", 1, {}, 0, "tiny", None, None, None, "float32")
    record = json.loads(json.dumps(build_record(about, Outcome("ok", details=ctx.details)), allow_nan=False))
    output = TypeAdapter(ScrEvalOutput).validate_json(json.dumps(record))
    assert output.eval_config.perform_scr
    assert output.eval_config.column1_vals_lookup == {"made_up/amazon_reviews": [("a", "b"), ("c", "b")]}
    assert output.eval_result_metrics.scr_metrics.scr_dir2_threshold_10 == got["upstream_scr_dir2 n=10"]
    assert [d.dataset_name for d in output.eval_result_details] == [f"{PAIR}_results", f"{PAIR[:-3]}c_b_results"]
    read = world.rows(Score(r.metric, r.value, r.params, r.slice_by, r.slice_value) for r in read_scores(record))
    assert read == {k: v for k, v in got.items() if k.startswith("upstream_scr")}
    assert -1.0 in read.values()  # which elsewhere means that there is no number
    assert len(read) == sum(len(row) - 1 for row in record["eval_result_details"]) + len(record["eval_result_metrics"]["scr_metrics"])  # fmt: skip
