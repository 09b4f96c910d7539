"""Controls that are computed: principal components and true features, against data of which both are known; and how their runs are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from known_saes import build, dead, identity, oracle, orthonormal_features, sparse_activations
from tiny_models import save_world

from hedgebench import Eval, Metric, Score
from hedgebench.control_cards import CALIBRATION_SEED, KINDS, control_card
from hedgebench.controls import calibration_sample, make_control, match_l0, oracle_control, pca_control
from hedgebench.loaders import build_sae, prepare
from hedgebench.places import Here
from hedgebench.plan import Plan, make_plan
from hedgebench.results import read_results
from hedgebench.runner import execute
from hedgebench.session import Job, Session
from hedgebench.suite import EvalEntry, SaeEntry, Suite, read_suite
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import World, make_world
from hedgebench.types import CannotMeasure, Checkpoint

BASE = Checkpoint("abc", "n", "jumprelu", 8, 12, k=3.0, l0=2.9, decoder_row_norm=2.0, b_dec_norm=1.0)
HOOK = "blocks.0.hook_resid_post"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


def imitated(width: int, d: int, **config: Any) -> Any:
    """An SAE of that shape with random rows, in float64."""
    rows = gaussian(width, d, seed=9)
    rows = rows / rows.norm(dim=1, keepdim=True)
    settings = {"architecture": "standard", "d_in": d, "d_sae": width, "dtype": "float64", "metadata": {}, **config}
    weights = {"W_dec": rows, "W_enc": rows.T.contiguous(), "b_dec": gaussian(1, d)[0], "b_enc": -torch.ones(width)}
    return build_sae(settings, weights).eval().requires_grad_(False)


def l0(sae: Any, acts: torch.Tensor) -> float:
    return float((sae.encode(acts) != 0).sum(-1).double().mean())


# --- principal components ----------------------------------------------------------------------------------------------------------


def test_the_rows_are_the_principal_components_of_either_sign_in_order_of_variance_and_the_bias_is_the_mean():
    mean, axes = gaussian(1, 4)[0], orthonormal_features(4, 4, seeded(1))
    arms = torch.tensor([2.0, 5.0, 1.0, 3.0])[:, None] * axes
    control = pca_control(imitated(6, 4), torch.cat([mean + arms, mean - arms]))
    for i, axis in enumerate((1, 3, 0)):  # by how far the tokens reach along each
        torch.testing.assert_close((control.W_dec[2 * i] @ axes[axis]).abs(), torch.tensor(1.0).double())
    torch.testing.assert_close(control.b_dec.data, mean)
    assert torch.equal(control.W_dec[1::2], -control.W_dec[::2])
    assert (control.W_dec[::2].amax(1) > control.W_dec[1::2].amax(1)).all()  # of a pair, which is first
    assert torch.equal(control.W_enc, control.W_dec.T)
    torch.testing.assert_close(control.W_dec[::2] @ control.W_dec[::2].T, torch.eye(3).double())


def test_with_both_signs_of_every_component_and_threshold_0_everything_is_explained():
    acts = gaussian(100, 6) + 0.5
    control = pca_control(imitated(12, 6), acts)
    assert not torch.allclose(control(acts), acts)  # few latents fire, as of the SAE
    control.threshold.data.zero_()
    torch.testing.assert_close(control(acts), acts)


def test_as_many_latents_fire_as_in_the_sae():
    acts, sae = gaussian(500, 16), imitated(24, 16)
    control = pca_control(sae, acts)
    assert l0(control, acts) == pytest.approx(l0(sae, acts), abs=1e-9) and 2 < l0(sae, acts) < 12
    assert len(control.threshold.unique()) == 1 and control.threshold[0] > 0


def test_beside_an_sae_that_never_fires_no_control_does():
    acts, sae = gaussian(500, 16), dead(16, 24, seeded())
    drawn = make_control("random", sae, 0)
    match_l0(drawn, sae, acts)
    assert l0(drawn, acts) == l0(pca_control(sae, acts), acts) == 0


@pytest.mark.parametrize(("width", "d", "wanted"), [(5, 4, 5), (8, 4, 8), (30, 4, 8)])
def test_it_is_as_wide_as_its_sae_and_twice_the_dimensions_at_most_and_its_card_says_so(width, d, wanted):
    control = pca_control(imitated(width, d), gaussian(50, d))
    assert control.cfg.d_sae == len(control.W_dec) == wanted
    assert control_card("pca", replace(BASE, d_in=d, width=width)).width == wanted


def test_tokens_that_are_no_more_than_the_components_have_none_to_give():
    sae = imitated(8, 8)
    assert len(pca_control(sae, gaussian(5, 8)).W_dec) == 8
    with pytest.raises(CannotMeasure, match="4 tokens have no 4 principal components"):
        pca_control(sae, gaussian(4, 8))


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale"])
def test_of_an_sae_that_normalises_they_are_those_of_what_it_reads(kind: str):
    acts = 5 * gaussian(200, 6) + 2
    sae = imitated(12, 6, normalize_activations=kind)
    control = pca_control(sae, acts)
    assert l0(control, acts) == pytest.approx(l0(sae, acts), abs=1e-9)
    torch.testing.assert_close(control.b_dec.data, sae.run_time_activation_norm_fn_in(acts).mean(0))
    control.threshold.data.zero_()
    torch.testing.assert_close(control(acts), acts, rtol=1e-4, atol=1e-4)  # layer_norm's own epsilon is not undone


def test_where_what_the_sae_reads_is_not_known_or_not_finite_it_says_so():
    with pytest.raises(CannotMeasure, match="the checkpoint does not hold the factors"):
        pca_control(imitated(8, 4, normalize_activations="expected_average_only_in"), gaussian(50, 4))
    with pytest.raises(CannotMeasure, match="not finite"):
        pca_control(imitated(8, 4, normalize_activations="constant_norm_rescale"), torch.zeros(50, 4))


def test_of_an_sae_on_attention_heads_they_are_those_of_heads_side_by_side():
    sae = imitated(24, 12, reshape_activations="hook_z", metadata={"hook_name": "blocks.0.attn.hook_z"})
    acts = gaussian(100, 12)
    control = pca_control(sae, acts)
    assert sae.hook_z_reshaping_mode and control.hook_z_reshaping_mode
    control.threshold.data.zero_()
    heads = acts.reshape(10, 10, 3, 4)
    torch.testing.assert_close(control(heads), heads)


def test_nothing_is_drawn_and_the_sae_is_left_as_it_was():
    sae, acts = imitated(8, 6), gaussian(50, 6)
    state, before = torch.get_rng_state(), {name: t.clone() for name, t in sae.state_dict().items()}
    one, two = pca_control(sae, acts), pca_control(sae, acts)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], t) for name, t in sae.state_dict().items())
    with pytest.raises(LookupError, match="no control 'pca' is drawn; known: random, permuted"):
        make_control("pca", sae, 0)


# --- true features -----------------------------------------------------------------------------------------------------------------


def test_the_oracle_says_exactly_which_features_fire_and_how_strongly():
    world = make_world(WorldConfig("w", 24, (0.1,) * 12, directions="random", magnitude_std=0.3, bias=2.0))
    control, sample = oracle_control(imitated(8, 24), world), world.sample(1000, seeded())
    acts = sample.activations.double()
    torch.testing.assert_close(control.encode(acts), sample.firings.double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(control(acts), acts, rtol=1e-4, atol=1e-4)
    assert torch.equal((control.encode(acts) > 0), sample.firings > 0)
    assert torch.equal(control.W_dec.data, world.features.double()) and torch.equal(
        control.b_dec.data.float(), world.bias
    )


def test_its_encoder_is_the_transpose_where_features_are_orthonormal():
    control = oracle_control(imitated(8, 6), make_world(WorldConfig("w", 6, (0.25,) * 4)))
    torch.testing.assert_close(control.W_enc.data, control.W_dec.data.T, atol=1e-6, rtol=0)


def test_in_superposition_each_latent_reads_its_own_feature_whole_and_as_many_fire_as_features_do():
    world = make_world(WorldConfig("w", 20, (0.03,) * 40, directions="random"))
    control, sample = oracle_control(imitated(8, 20), world), calibration_sample(world)
    torch.testing.assert_close((control.W_enc.T * control.W_dec).sum(1), torch.ones(40).double())
    assert l0(control, sample.activations.double()) == pytest.approx(float((sample.firings > 0).sum(1).double().mean()))


def test_it_reads_the_world_as_it_is_whatever_its_sae_makes_of_it():
    world = make_world(WorldConfig("w", 6, (0.25,) * 4))
    control = oracle_control(imitated(8, 6, normalize_activations="layer_norm"), world)
    acts = world.sample(100, seeded()).activations.double()
    torch.testing.assert_close(control(acts), acts, atol=1e-5, rtol=0)


# --- what a control and its run are called -----------------------------------------------------------------------------------------


def test_what_is_drawn_is_named_by_its_seed_as_ever_and_what_is_computed_is_one():
    named = {(kind, seed): control_card(kind, BASE, seed) for kind in KINDS for seed in (0, 1)}
    assert {key: card.digest for key, card in named.items() if key[0] in ("random", "permuted")} == {
        ("random", 0): "d2830e56724b1f570504ae2da560e7c9",
        ("random", 1): "8ddf696c96915cdd95f02165b8d5d71a",
        ("permuted", 0): "dd3c0632d106fe80bafcb8631a8220ae",
        ("permuted", 1): "e8fa24b4107fb17935fa84c828ca14f5",
    }
    for kind in ("pca", "oracle"):
        assert named[kind, 0] == named[kind, 1] and named[kind, 0].control_seed is None
    assert len({card.digest for card in named.values()}) == 6


def test_a_card_tells_nothing_of_the_sae_that_is_not_true_of_the_control():
    pca, best = control_card("pca", BASE), control_card("oracle", BASE, n_features=20)
    for card in (pca, best):
        assert (card.decoder_row_norm, card.b_dec_norm) == (None, None)
    assert (pca.width, pca.l0, pca.architecture) == (12, 2.9, "pca_control")
    assert (best.width, best.l0, best.k, best.name) == (20, None, None, "n/oracle")


class Weights(Eval):
    """It reads weights alone."""

    name, version, draws = "weights", 1, False
    metrics = (
        Metric("bias", "norm of the bias"),
        Metric("threshold", "of the first latent"),
        Metric("width", "latents"),
    )

    def run(self, ctx, cfg):
        assert ctx.features is ctx.model is ctx.data is ctx.activation_source is ctx.artifacts is None
        yield Score("bias", float(ctx.sae.b_dec.norm()))
        yield Score("threshold", float(ctx.sae.threshold[0]))
        yield Score("width", ctx.sae.cfg.d_sae)


class Labelled(Eval):
    """It reads labelled texts."""

    name, version, needs = "labelled", 1, frozenset({"sae", "model", "data"})
    metrics = (Metric("n", "none"),)
    labelled_sets = {"offline": ("stand-in:yelp_stars",)}  # noqa: RUF012 - the base class has the type

    @dataclass(frozen=True)
    class Config:
        """Which."""

        data: tuple[str, ...] = ("offline",)


CLASSES: dict[str, type[Eval]] = {"weights": Weights, "labelled": Labelled}


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model (`model/`) and texts for it (`texts/`)."""
    return save_world(tmp_path_factory.mktemp("language"))


@pytest.fixture
def trained(tmp_path: Path, language: Path, save_sae: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An SAE that reads that model, and a cache of its own."""
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))
    return save_sae(tmp_path / "one", d_in=32, d_sae=24, hook=HOOK, model_name=str(language / "model"))


@pytest.fixture
def world() -> World:
    return make_world(WorldConfig("pair", 6, (0.25,) * 4, bias=1.0))


@pytest.fixture
def toy(tmp_path: Path, world: World) -> Path:
    """An SAE of two of its world's four features, with the world beside it."""
    build(world.features[:2].T, world.features[:2]).save_model(tmp_path / "toy")
    world.save(tmp_path / "toy" / "world")
    return tmp_path / "toy"


def plan_of(
    sae: Path, *kinds: str, data: Path | str = "offline", evals: tuple[str, ...] = ("weights",), **entry: Any
) -> Plan:
    """Control rows of an SAE, without the SAE's own runs."""
    entries = (SaeEntry("s:1", (str(sae),), **entry), SaeEntry("s:2", controls=kinds))
    plan = make_plan(Suite("s", entries, tuple(EvalEntry("s:3", e) for e in evals), data=str(data)), evals=CLASSES)
    plan.runs = [run for run in plan.runs if run.checkpoint.control_of is not None]
    return plan


def carry_out(plan: Plan) -> list[Any]:
    session = Session(evals=CLASSES)
    return [outcome for run in plan.runs for _, outcome in session.carry_out(Job((run,)), lambda _: None)]


def numbers(outcome: Any) -> dict[str, float]:
    assert outcome.status == "ok", outcome.error
    return {score["metric"]: score["value"] for score in outcome.scores}


def test_a_run_on_the_weights_of_principal_components_is_named_by_the_model_and_the_text_they_are_of(
    tmp_path: Path, language: Path, trained: Path
):
    pca, drawn = plan_of(trained, "pca", "random", data=language / "texts").runs
    assert pca.model == str(language / "model") and pca.revision is not None and pca.calibration is not None
    assert drawn.model is drawn.calibration is pca.data is None  # the eval itself reads no text
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "all.jsonl").write_text((language / "texts/all.jsonl").read_text().replace("w3 ", "w4 "))
    other, same = plan_of(trained, "pca", "random", data=tmp_path / "texts").runs
    assert other.checkpoint == pca.checkpoint and other.run_id != pca.run_id
    assert same.run_id == drawn.run_id


def test_beside_labelled_texts_the_run_is_named_by_the_text_of_its_components_too(
    tmp_path: Path, language: Path, trained: Path
):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "all.jsonl").write_text((language / "texts/all.jsonl").read_text().replace("w3 ", "w4 "))
    places = (language / "texts", tmp_path / "texts")
    one, other = (plan_of(trained, "pca", data=place, evals=("labelled",)).runs[0] for place in places)
    assert one.data == other.data and one.run_id != other.run_id


def test_of_a_toy_sae_they_are_those_of_samples_of_its_world(toy: Path, world: World):
    plan = plan_of(toy, "pca")  # the SAE names a model that there is not
    (run,) = plan.runs
    assert run.model is run.data is None and run.calibration == world.identity and not plan.unreadable
    found = numbers(carry_out(plan)[0])
    mean = world.sample(8 * 16 * 128, seeded(CALIBRATION_SEED)).activations.mean(0)
    assert found["bias"] == pytest.approx(float(mean.norm()), rel=1e-5) and found["threshold"] > 0


def test_without_the_model_or_its_text_principal_components_fail_in_one_line_and_cost_nothing_else(
    tmp_path: Path, language: Path, save_sae: Callable[..., Path]
):
    lost = save_sae(tmp_path / "lost", hook="blocks.9.hook_resid_post", d_in=32, model_name=str(language / "model"))
    nameless = save_sae(tmp_path / "nameless", model_name=None)
    unknown = save_sae(tmp_path / "unknown", model_name="gpt5")
    for sae, why in ((lost, "no hook point 'blocks.9"), (nameless, "the checkpoint names no model")):
        plan = plan_of(sae, "pca", "random", data=language / "texts")
        failed, fine = carry_out(plan)
        assert (failed.status, fine.status) == ("failed", "ok") and why in failed.error and "\n" not in failed.error
    plan = plan_of(unknown, "pca", "random", data=language / "texts")
    (line,) = plan.unreadable.values()
    assert "unknown model 'gpt5'" in line and plan.unreadable.keys() == {plan.runs[0].run_id}


def test_with_too_few_tokens_the_run_is_skipped_and_says_so(trained: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hedgebench.shelf.Shelf._calibration", lambda *_: torch.randn(12, 32, generator=seeded()))
    (outcome,) = carry_out(plan_of(trained, "pca"))
    assert outcome.status == "skipped" and "12 tokens have no 12 principal components" in outcome.error


def test_without_true_features_an_oracle_is_skipped_and_says_why(
    trained: Path, toy: Path, tmp_path: Path, world: World
):
    best, drawn = carry_out(plan_of(trained, "oracle", "random"))
    assert drawn.status == "ok" and best.status == "skipped"
    assert best.error == "it needs the true features, and this checkpoint comes with none"
    (toy / "world" / "world.safetensors").unlink()
    for outcome in carry_out(plan_of(toy, "oracle", "pca")):
        assert outcome.status == "failed" and "cannot read the toy world" in outcome.error
    for file in (toy / "world").iterdir():
        file.unlink()
    (line,) = plan_of(toy, "oracle", world=str(toy / "world")).unreadable.values()
    assert "holds no toy world" in line


def test_an_oracle_is_as_wide_as_there_are_features_and_evals_that_do_not_ask_are_not_told_them(
    toy: Path, world: World
):
    plan = plan_of(toy, "oracle")
    (run,) = plan.runs
    assert run.checkpoint.width == numbers(carry_out(plan)[0])["width"] == 4
    assert (run.data, run.calibration) == (None, world.identity)
    again = make_world(replace(world.config, seed=1))
    again.save(toy / "world")
    assert plan_of(toy, "oracle").runs[0].run_id != run.run_id
    assert Job.from_dict(json.loads(json.dumps(Job((run,)).to_dict()))).first == run, "on the way to a worker"
    (outcome,) = carry_out(plan)
    assert outcome.status == "failed" and "the toy world changed since the run was planned" in outcome.error


def test_the_width_of_an_oracle_is_read_off_saelenss_synthetic_models_too(tmp_path: Path):
    from sae_lens.synthetic import SyntheticModelConfig

    law = {"firing_probability": {"generator_name": "zipfian"}}
    synthetic = make_world(SyntheticModelConfig.from_dict({"num_features": 9, "hidden_dim": 6, "seed": 0, **law}))
    oracle(synthetic.features[:3]).save_model(tmp_path / "sae")
    synthetic.save(tmp_path / "sae" / "synthetic_model")
    assert [run.checkpoint.width for run in plan_of(tmp_path / "sae", "oracle").runs] == [9]


# --- from a suite to a table -------------------------------------------------------------------------------------------------------


def table_of(folder: Path, *lines: str) -> pd.DataFrame:
    """What a suite of these lines comes to, in this process."""
    path = folder / "suite.yaml"
    path.write_text("\n".join(lines))
    plan = make_plan(read_suite(path))
    assert execute(plan, plan.runs, folder / "out", [Here(Session())]).ok == len(plan.runs)
    return read_results(folder / "out")


def test_the_oracle_recovers_everything_and_principal_components_do_not(tmp_path: Path, toy: Path):
    table = table_of(
        tmp_path,
        f"saes: [{{path: {toy}}}, {{controls: [oracle, pca]}}]",
        "evals: [{toy_recovery: {n_samples: 2000}}]",
    )
    whole = table[(table["slice_by"] == "all") & (table["params"] == "")].set_index(["sae", "metric"])["value"]
    best = whole["toy/oracle"]
    for metric in ("mcc", "tracked", "f1", "explained_variance", "encoder_cosine", "decoder_cosine", "uniqueness"):
        assert best[metric] == pytest.approx(1, abs=1e-5), metric
    for metric in ("hedged", "absorbed", "asymmetry", "b_dec_projection", "dead_latents"):
        assert best[metric] == pytest.approx(0, abs=1e-5), metric
    assert best["l0"] == best["true_l0"]
    assert whole["toy/pca"]["mcc"] < 0.95 and whole["toy/pca"]["explained_variance"] < 0.95
    assert dict(zip(table["sae"], table["width"], strict=True)) == {"toy": 2, "toy/oracle": 4, "toy/pca": 2}


def test_principal_components_of_a_language_model_match_its_saes_l0_on_other_text(
    tmp_path: Path, language: Path, trained: Path
):
    small = "{n_batches: 2, batch_size: 4, context_size: 16}"
    table = table_of(
        tmp_path,
        f"saes: [{{path: {trained}}}, {{controls: [pca]}}]",
        f"evals: [decoder_bias, {{saebench_core: {small}}}, {{decoder_similarity: {small}}}]",
        f"data: {language / 'texts'}",
    )
    found = (
        table.drop_duplicates(["sae", "metric", "params"]).set_index(["sae", "metric", "params"])["value"].sort_index()
    )
    # beside its SAE in every table, whatever it was made from
    assert table.groupby("eval")["data"].nunique(dropna=False).eq(1).all()
    assert found["one/pca", "l0", ""] == pytest.approx(found["one", "l0", ""], rel=0.2)
    assert found["one/pca", "explained_variance", ""] > found["one", "explained_variance", ""]  # it never learnt
    assert found["one/pca", "b_dec_relative_norm", ""] == pytest.approx(found["one/pca", "b_dec_norm", ""])
    # rows of 12 components, on as many axes: 12 of 32 dimensions, each as strong
    assert found["one/pca", "effective_rank", ""] == pytest.approx(12, rel=1e-4)


def test_an_sae_that_explains_everything_is_matched_without_a_threshold():
    acts = sparse_activations(orthonormal_features(4, 6, seeded()), 200, 0.5, seeded(1)) - gaussian(200, 6)
    control = pca_control(prepare(identity(6), dtype="float64"), acts)
    assert l0(control, acts) == pytest.approx(6, abs=0.01)
    assert match_l0(control, identity(6), acts) < 1e-2
