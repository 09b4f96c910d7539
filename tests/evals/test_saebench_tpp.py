"""TPP against SAEBench run for real in a process of its own, against brute force, and on SAEs whose right answer is known."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plain_scr_tpp as world
import pytest
import torch
from contexts import labels, make_context
from hedgebench_evals.saebench.ablation import correct, encode, upstream_accuracies
from hedgebench_evals.saebench.class_acts import ClassActs
from hedgebench_evals.saebench.concept_probes import Concepts, Part, Task, concepts
from hedgebench_evals.saebench.concept_probes_config import ProbeConfig
from hedgebench_evals.saebench.tpp import SAEBenchTPP, tpp_tasks
from known_saes import oracle, orthonormal_features, permuted_decoder

from hedgebench.records import build_record
from hedgebench.saebench_output import our_name, read_scores
from hedgebench.types import BadInput, CannotMeasure, Run, Score

SMALL = {**world.SETTINGS, "probe_epochs": 2, "n_values": (2, 10)}


def run(
    sae: Any, seed: int = world.SEED, sets: Any = None, folder: Path | None = None, **settings: Any
) -> tuple[dict[str, float], Any]:
    ctx = make_context(sae, world.model(), seed=seed, labelled=sets or [world.topics()], folder=folder)
    return world.rows(SAEBenchTPP().run(ctx, ProbeConfig(**{**SMALL, **settings}))), ctx


def prepared(kind: str = "plain", **settings: Any) -> tuple[Any, Concepts]:
    """An SAE and the first task, with its probes."""
    sae = world.sae(kind)
    ctx, cfg = make_context(sae, world.model(), seed=0, labelled=[world.topics()]), ProbeConfig(**{**SMALL, **settings})
    return sae, concepts(ctx, cfg, next(tpp_tasks(ctx, cfg)))


# --- equality with SAEBench ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "loud"])
def test_every_upstream_number_equals_a_plain_run_of_saebench(kind: str) -> None:
    ours, _ = run(world.sae(kind), sets=[world.topics(), world.reviews()], **world.SETTINGS)
    results, per_class = world.plain().tpp[kind]
    theirs = {}
    for name, value in results.items():
        where = name.removesuffix("_results").removesuffix("_tpp")
        theirs |= {f"{k} {where}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    theirs |= {
        f"{k} {s}/{c}": v for s, classes in per_class.items() for c, row in classes.items() for k, v in row.items()
    }
    assert len(theirs) == 3 * 4 * (1 + 2 + 2 * 3)
    for key, value in theirs.items():
        name, _, where = key.partition(" ")
        metric, params = our_name("tpp", name) or ("", {})
        assert ours[" ".join(filter(None, (metric, f"n={params['n']}", where)))] == pytest.approx(value, abs=1e-7), key


def test_a_plain_run_with_a_cold_cache_trains_the_same_first_probes_and_then_gives_other_numbers() -> None:
    """Why ours are those of a warm cache: training the probes uses up the random numbers that the SAE's part draws in a warm run."""
    cold, warm = world.plain().cold_tpp[0], world.plain().tpp["plain"][0]
    first = world._concepts("tpp")[0]
    for concept, probe in first.upstream_probes.items():
        torch.testing.assert_close(
            probe.net.weight[0], torch.tensor(world.plain().cold_probes[concept]), rtol=0, atol=1e-6
        )
    assert cold["topics_tpp_results"] != warm["topics_tpp_results"]
    assert max(abs(cold[k] - warm[k]) for k in warm if not k.endswith("_results")) > 0.005


def test_plain_numbers_are_saebench_s_formula_on_accuracies_over_the_same_texts() -> None:
    from sae_bench.evals.scr_and_tpp.main import create_tpp_plotting_dict

    sae, found = prepared()
    latents = encode(sae, found)
    told = correct(sae, found, latents, (2, 10), seed=0)
    names = list(found.task.concepts)

    def accuracies(right: torch.Tensor) -> dict[str, float]:
        return {name: float(right[i, :, i].double().mean()) for i, name in enumerate(names)}

    after = {a: {n: accuracies(told.ablated[a, n]) for n in (2, 10)} for a in names}
    totals, classes = create_tpp_plotting_dict(after, accuracies(told.clean))
    got, _ = run(sae, seed=0)
    for n in (2, 10):
        for kind in ("total_metric", "intended_diff_only", "unintended_diff_only"):
            key = f"tpp_threshold_{n}_{kind}"
            assert got[f"tpp_{kind} n={n} topics"] == pytest.approx(totals[key], abs=1e-12)
            for name in names:
                assert got[f"tpp_{kind} n={n} topics/{name}"] == pytest.approx(classes[name][key], abs=1e-12)


# --- the SAE's part against brute force ----------------------------------------------------------------------------------------


def test_what_saebench_ablates_is_what_its_own_function_gives_padding_included() -> None:
    from sae_bench.evals.scr_and_tpp.main import ablated_precomputed_activations

    sae, found = prepared("loud")
    latents, chosen = encode(sae, found), torch.zeros(48, dtype=torch.bool)
    chosen[[0, 3, 40]] = True
    padded = world.cached(found)
    ours = found.test.means - latents.test_padded[:, chosen] @ sae.W_dec[chosen]
    for group, rows in found.test.rows.items():
        theirs = ablated_precomputed_activations(padded[f"test:{group}"], sae, chosen, 7)
        torch.testing.assert_close(ours[rows], theirs, rtol=1e-4, atol=1e-5)


def test_padding_is_not_ablated_in_ours() -> None:
    from sae_bench.evals.scr_and_tpp.main import ablated_precomputed_activations

    sae, found = prepared("loud")
    latents, chosen = encode(sae, found), torch.ones(48, dtype=torch.bool)
    ours = found.test.means - latents.test[:, chosen] @ sae.W_dec[chosen]
    texts = [text for acts in found.test.acts for text in acts.acts.split(acts.counts.tolist())]
    assert len({len(text) for text in texts}) > 3
    alone = torch.cat([ablated_precomputed_activations(text[None], sae, chosen, 1) for text in texts])
    torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-5)
    assert (latents.test_padded - latents.test).abs().max() > 0.1  # the trap is there


def test_what_our_probes_tell_after_ablation_is_that_of_every_text_alone_without_padding() -> None:
    from hedgebench_evals.saebench.ablation import _effects
    from sae_bench.evals.scr_and_tpp.main import ablated_precomputed_activations, select_top_n_features

    sae, found = prepared("loud", probe_epochs=6)
    latents = encode(sae, found)
    got = correct(sae, found, latents, (10,), seed=7)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        effects = _effects(sae, latents, found.probes, scr=False)
    texts = [text for acts in found.test.acts for text in acts.acts.split(acts.counts.tolist())]
    for concept in found.probes:
        chosen = select_top_n_features(effects[concept], 10, concept)
        acts = torch.cat([ablated_precomputed_activations(text[None], sae, chosen, 1) for text in texts])
        for i, (rows, labels_) in enumerate(found.samples.values()):
            for j, probe in enumerate(found.probes.values()):
                assert torch.equal(got.ablated[concept, 10][i, :, j], (probe(acts[rows]) > 0) == (labels_ == 1))
    padded = correct(sae, found, latents._replace(test=latents.test_padded), (10,), seed=7)
    assert any(not torch.equal(padded.ablated[key], got.ablated[key]) for key in got.ablated)  # it makes a difference


def test_effects_equal_saebench_s_on_every_token_and_a_text_without_a_firing_latent_does_no_harm() -> None:
    from hedgebench_evals.saebench.ablation import _effects
    from sae_bench.evals.scr_and_tpp.main import get_all_node_effects_for_one_sae

    sae, found = prepared()
    loudest = torch.stack([sae.encode(text).max() for acts in found.train.acts for text in acts.acts.split(acts.counts.tolist())])  # fmt: skip
    sae.threshold.data.fill_(loudest.median())  # no latent fires in half of the texts
    latents = encode(sae, found)
    sums = torch.cat([rows[..., :-1].sum(-1).flatten() for rows in latents.train.values()])
    assert 0 < int((sums == 0).sum()) < len(sums)
    padded = world.cached(found)
    train = {group: padded[f"train:{group}"] for group in found.train.rows}
    torch.manual_seed(5)
    theirs = get_all_node_effects_for_one_sae(sae, dict(found.probes), list(found.probes), False, train, 9)
    torch.manual_seed(5)
    ours = _effects(sae, latents, found.probes, scr=False)
    for concept, effects in theirs.items():
        torch.testing.assert_close(ours[concept], effects, rtol=1e-4, atol=1e-6)


# --- known answers -------------------------------------------------------------------------------------------------------------


def test_an_sae_that_never_fires_changes_nothing_where_saebench_gives_it_a_score() -> None:
    got, _ = run(world.sae("silent"))
    plain = {k: v for k, v in got.items() if k.startswith("tpp_")}
    assert len(plain) == 3 * 2 * (1 + 1 + 3)
    assert set(plain.values()) == {0.0}
    assert any(v != 0 for k, v in got.items() if k.startswith("upstream_tpp_total_metric"))


def made_up(sae: Any, features: torch.Tensor) -> Concepts:
    """Three classes, each with one feature of its own in every text, and a fourth feature in all; probes that read just these."""
    from sae_bench.evals.sparse_probing.probe_training import Probe

    n, concepts_ = 20, ("a", "b", "c")
    strength = 1 + torch.rand(3, n, 4, generator=torch.Generator().manual_seed(1))

    def part() -> Part:
        acts = [strength[i].unsqueeze(-1) * features[i].float() + features[3].float() for i in range(3)]
        ready = [ClassActs(a.flatten(0, 1), a.mean(1), torch.full((n,), 4), torch.zeros(n).long()) for a in acts]
        rows = {c: torch.arange(n) + n * i for i, c in enumerate(concepts_)}
        return Part(tuple(ready), tuple(f"{c}{i}" for c in concepts_ for i in range(n)), rows)

    probes = {}
    for i, c in enumerate(concepts_):
        probes[c] = Probe(features.shape[1], torch.float32).requires_grad_(False)
        probes[c].net.weight[0], probes[c].net.bias[0] = features[i].float(), -0.5
    whole, samples = part(), {}
    for c in concepts_:
        others = torch.cat([whole.rows[o][: n // 2] for o in concepts_ if o != c])
        samples[c] = torch.cat([whole.rows[c], others]), torch.cat([torch.ones(n), torch.zeros(n)]).int()
    task = Task("made-up", {c: c for c in concepts_}, {}, {}, {}, scr=False)
    return Concepts(task, whole, whole, probes, samples, probes, dict.fromkeys(concepts_, 1.0))


def totals(sae: Any, found: Concepts, n: int) -> list[tuple[float, ...]]:
    """By class: total, intended, unintended."""
    from hedgebench_evals.saebench.ablation_measure import _measured
    from hedgebench_evals.saebench.tpp import _class_estimates

    measured = _measured(found, correct(sae, found, encode(sae, found), (n,), seed=0), {})
    return [tuple(estimate.value for estimate in estimates) for estimates in _class_estimates(measured, n)]


def test_one_latent_per_class_is_ablated_exactly_and_a_permuted_decoder_is_told_apart() -> None:
    features = orthonormal_features(8, 8, torch.Generator().manual_seed(0))
    perfect = oracle(features)
    found = made_up(perfect, features)
    assert totals(perfect, found, 1) == [(0.5, 0.5, 0.0)] * 3  # its probe misses all of its texts, the others nothing
    permuted = permuted_decoder(perfect, torch.Generator().manual_seed(0))
    assert totals(permuted, found, 1) != [(0.5, 0.5, 0.0)] * 3


def test_the_standard_error_is_that_of_other_test_texts() -> None:
    sae, found = prepared(probe_epochs=6)
    told = correct(sae, found, encode(sae, found), (10,), seed=0)
    ctx = make_context(sae, world.model(), seed=0, labelled=[world.topics()])
    scores = list(SAEBenchTPP().run(ctx, ProbeConfig(**{**SMALL, "probe_epochs": 6, "n_values": (10,)})))
    (total,) = (s for s in scores if s.metric == "tpp_total_metric" and s.slice_by == "all")
    rows, names = [r.numpy() for r, _ in found.samples.values()], list(found.task.concepts)
    assert total.n == len(set(np.concatenate(rows)))
    draw, values = np.random.default_rng(0), []
    for _ in range(1500):
        weight = draw.multinomial(len(found.test.texts), np.full(len(found.test.texts), 1 / len(found.test.texts)))
        by_class = []
        for i, name in enumerate(names):
            fell = told.clean.double().numpy() - told.ablated[name, 10].double().numpy()
            falls = [np.average(fell[c, :, c], weights=weight[rows[c]]) for c in range(3)]
            by_class.append(falls.pop(i) - np.mean(falls))
        values.append(np.mean(by_class))
    assert total.stderr == pytest.approx(np.std(values), rel=0.15)


# --- traps ---------------------------------------------------------------------------------------------------------------------


def test_an_n_beyond_the_width_is_left_blank_and_the_others_go_on() -> None:
    got, ctx = run(world.sae(), n_values=(2, 48, 49, 500))
    assert {f"tpp_total_metric n={n}" for n in (2, 48)} <= set(got)
    assert not any("n=49" in key or "n=500" in key for key in got)
    assert ctx.missing["tpp_total_metric n=500"] == "the SAE has 48 latents"
    assert ctx.missing["upstream_tpp_intended_diff_only n=49"]
    with pytest.raises(CannotMeasure, match="48 latents"):
        run(world.sae(), n_values=(49,))


def test_our_probes_do_not_know_the_test_texts_and_saebench_s_do() -> None:
    sae, cfg = world.sae(), ProbeConfig(**world.SETTINGS)
    ctx = make_context(sae, world.model(), seed=0, labelled=[world.topics()])
    task = next(tpp_tasks(ctx, cfg))
    turned = replace(task, test=dict(zip(task.test, [*list(task.test.values())[1:], task.test["a"]], strict=True)), source={"other": 1})  # fmt: skip
    one, other = concepts(ctx, cfg, task), concepts(ctx, cfg, turned)
    for c in ("a", "b", "c"):
        assert torch.equal(one.probes[c].net.weight, other.probes[c].net.weight)
    assert any(not torch.equal(one.upstream_probes[c].net.weight, other.upstream_probes[c].net.weight) for c in "abc")


def test_two_seeds_give_two_sets_of_texts_and_probes_and_one_seed_the_same_numbers_to_the_last_digit(
    tmp_path: Path,
) -> None:
    first, _ = run(world.sae(), folder=tmp_path)
    again, _ = run(world.sae(), folder=tmp_path)  # from the files
    fresh, _ = run(world.sae())
    other, _ = run(world.sae(), seed=4, folder=tmp_path)
    assert first == again == fresh
    assert {k for k in first if first[k] != other[k]} > {k for k in first if k.startswith("probe_accuracy ")}
    assert {f.suffix for f in tmp_path.rglob("*") if f.is_file()} <= {".safetensors", ".lock"}  # nothing pickled


def test_another_setting_of_the_probes_never_reads_the_first_one_s_probes(tmp_path: Path) -> None:
    first, _ = run(world.sae(), folder=tmp_path)
    other, _ = run(world.sae(), folder=tmp_path, probe_lr=0.001)
    assert {k: v for k, v in first.items() if "upstream_probe" in k} != {
        k: v for k, v in other.items() if "upstream_probe" in k
    }
    assert other == run(world.sae(), probe_lr=0.001)[0]


def test_a_retrained_sae_of_the_same_name_gets_its_own_score_and_the_model_runs_once_for_all(tmp_path: Path) -> None:
    passes = []
    model = world.model()
    model.add_hook("blocks.0.hook_resid_pre", lambda acts, hook: passes.append(len(acts)), is_permanent=True)
    try:
        one, _ = run(world.sae(seed=0), folder=tmp_path)
        before = len(passes)
        two, _ = run(world.sae(seed=1), folder=tmp_path)
    finally:
        model.reset_hooks(including_permanent=True)
    assert before > 0 and len(passes) == before
    assert one != two
    assert two == run(world.sae(seed=1))[0]


def test_every_ordinary_token_is_encoded_once_whatever_n_and_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    sae, found = prepared()
    tokens = sum(len(acts.acts) for part in (found.train, found.test) for acts in part.acts)
    seen: list[int] = []
    real = sae.encode
    monkeypatch.setattr(type(sae), "encode", lambda self, x: seen.append(x.shape[:-1].numel()) or real(x))
    monkeypatch.setattr(type(sae), "decode", None)
    run(sae, seed=0, n_values=(2, 5, 10, 20))
    assert sum(seen) == tokens + 1  # and the zero vector, for the padding that SAEBench ablates


def test_random_state_grad_mode_the_sae_and_the_model_stay_as_they_were() -> None:
    sae, model = world.sae(), world.model()
    weights = {name: value.clone() for name, value in sae.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch.set_grad_enabled(True)
    folder = Path.cwd()
    ctx = make_context(sae, model, seed=0, labelled=[world.topics()])
    scores = SAEBenchTPP().run(ctx, ProbeConfig(**SMALL))
    next(scores)
    assert torch.is_grad_enabled() and Path.cwd() == folder
    list(scores)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert all(torch.equal(value, weights[name]) for name, value in sae.state_dict().items())
    assert not model.hook_dict["blocks.0.hook_resid_post"].fwd_hooks


def test_an_sae_whose_latents_overflow_fails_and_gets_no_score() -> None:
    sae = copy.deepcopy(world.sae())
    sae.W_enc.data *= 1e38  # every weight is finite
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        run(sae)


def test_building_probes_again_draws_nothing() -> None:
    prepared()
    before = torch.get_rng_state()
    from hedgebench_evals.saebench.concept_probes import _probes

    from hedgebench.artifacts import Artifact

    stored = Artifact({"probe net.weight a": torch.ones(1, 5), "probe net.bias a": torch.zeros(1)})
    probe = _probes(stored, Task("t", {"a": "a"}, {}, {}, {}, scr=False), "probe", "cpu")["a"]
    assert torch.equal(torch.get_rng_state(), before)
    assert float(probe(torch.ones(2, 5))[0]) == 5.0


# --- refusals ------------------------------------------------------------------------------------------------------------------


def test_an_sae_that_rescales_its_input_at_run_time_cannot_be_measured() -> None:
    sae = world.sae()
    sae.cfg.normalize_activations = "layer_norm"
    with pytest.raises(CannotMeasure, match="layer_norm"):
        run(sae)


def test_other_hook_points_and_too_long_texts_and_twin_names_are_refused() -> None:
    sae = world.sae()
    sae.cfg.metadata.hook_name = "blocks.0.attn.hook_z"
    with pytest.raises(BadInput, match="one vector per token"):
        run(sae)
    with pytest.raises(BadInput, match="the model reads 16 tokens"):
        run(world.sae(), context_size=17)
    with pytest.raises(BadInput, match="same name"):
        run(world.sae(), sets=[world.topics(), replace(world.reviews(), name="topics")])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_values": ()}, "n_values"),
        ({"n_values": (0,)}, "n_values"),
        ({"n_values": (2, 2)}, "n_values"),
        ({"validation_share": 0.0}, "validation_share"),
        ({"test_size": 4}, "test_size"),
        ({"probe_lr": 0.0}, "probe_lr"),
        ({"data": ()}, "data"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ProbeConfig(**settings)


def test_two_classes_are_enough() -> None:
    rows = [(f"w{3 + i % 9} w{12 + i // 9 % 9} w{21 + i // 81}", "x") for i in range(200)]
    rows += [(f"w{30 + i % 9} w{12 + i // 9 % 9} w{21 + i // 81}", "y") for i in range(200)]
    got, _ = run(world.sae(), sets=[labels(rows, name="two")])
    assert {key.split()[-1] for key in got if "/" in key} == {"two/x", "two/y"}
    mean = (got["tpp_intended_diff_only n=2 two/x"] + got["tpp_intended_diff_only n=2 two/y"]) / 2
    assert got["tpp_intended_diff_only n=2"] == pytest.approx(mean)


# --- the record ----------------------------------------------------------------------------------------------------------------


def test_the_record_is_one_that_saebench_reads_with_the_numbers_of_the_rows() -> None:
    from pydantic import TypeAdapter
    from sae_bench.evals.scr_and_tpp.eval_output import TppEvalOutput

    from hedgebench.records import Outcome

    got, ctx = run(world.sae(), sets=[world.topics(), world.reviews()])
    about = Run("r", ctx.checkpoint, "saebench_tpp", 1, {}, 0, "tiny", None, None, None, "float32")
    record = json.loads(json.dumps(build_record(about, Outcome("ok", details=ctx.details)), allow_nan=False))
    output = TypeAdapter(TppEvalOutput).validate_json(json.dumps(record))
    assert output.eval_config.dataset_names == ["topics", "made_up/amazon_reviews"]
    assert output.eval_config.random_seed == world.SEED
    assert output.eval_result_metrics.tpp_metrics.tpp_threshold_10_total_metric == got["upstream_tpp_total_metric n=10"]
    assert [d.dataset_name for d in output.eval_result_details] == [
        "topics_tpp_results",
        "made_up/amazon_reviews_tpp_results",
    ]
    read = world.rows(Score(r.metric, r.value, r.params, r.slice_by, r.slice_value) for r in read_scores(record))
    assert read == {k: v for k, v in got.items() if k.startswith("upstream_tpp")}


def test_upstream_numbers_run_on_from_set_to_set_and_plain_ones_do_not() -> None:
    both, _ = run(world.sae(), sets=[world.topics(), world.reviews()])
    alone, _ = run(world.sae(), sets=[world.reviews()])
    key = "tpp_total_metric n=10 made_up/amazon_reviews"
    assert both[key] == alone[key]
    assert any(both[k] != v for k, v in alone.items() if k.startswith("upstream_tpp") and "made_up" in k)


def test_nothing_but_the_draws_decides_saebench_s_accuracies() -> None:
    sae, found = prepared()
    latents = encode(sae, found)

    def again(seed: int) -> Any:
        torch.manual_seed(seed)
        return upstream_accuracies(sae, found, latents, (2,))

    with torch.random.fork_rng():
        assert again(0) == again(0) != again(1)


@pytest.mark.slow
def test_a_trained_sae_on_the_real_model_beats_itself_with_its_decoder_permuted() -> None:
    from hedgebench.labelled_sets import open_labelled
    from hedgebench.loaders import load_sae
    from hedgebench.models import load_model

    model, news = load_model("smollm2-135m"), [open_labelled("stand-in:ag_news")]
    trained = load_sae(Path(__file__).parents[2] / "evals" / "checkpoints" / "batchtopk-mse-s0")
    permuted = load_sae(Path(__file__).parents[2] / "evals" / "checkpoints" / "batchtopk-mse-s0")
    permuted.W_dec.data = permuted.W_dec.data.roll(7, dims=0)
    cfg = ProbeConfig(train_size=120, test_size=80, context_size=48, n_values=(20,))
    first = make_context(trained, model, labelled=news)
    second = replace(make_context(permuted, model, labelled=news), artifacts=first.artifacts)
    scores = [{s.metric: s for s in SAEBenchTPP().run(ctx, cfg) if s.slice_by == "all"} for ctx in (first, second)]
    assert scores[0]["probe_accuracy"].value > 0.85
    one, other = (s["tpp_total_metric"] for s in scores)
    assert one.value > other.value + 2 * (one.stderr**2 + other.stderr**2) ** 0.5
