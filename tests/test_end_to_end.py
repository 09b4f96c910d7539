"""From files to a table, on a model and texts made in the test: what the harness promises about every number."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import save_world

from hedgebench import BadInput, evaluate, load_sae, read_results
from hedgebench.cli import main
from hedgebench.controls import make_control, match_l0
from hedgebench.eval import Eval
from hedgebench.registry import find_evals
from hedgebench.results import SCORES, read_runs
from hedgebench.toy.world_config import WorldConfig
from hedgebench.toy.worlds import make_world
from hedgebench.types import Metric, Score

SMALL = {"n_batches": 2, "batch_size": 4, "context_size": 16}
HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and texts for it."""
    return save_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def saes(world: Path, tmp_path: Path, save_sae: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three SAEs for that model, with a cache of their own."""
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate(("one", "two", "three")):
        save_sae(tmp_path / "saes" / name, seed=seed, d_in=32, d_sae=24, hook=HOOK, model_name=str(world / "model"))
    return tmp_path / "saes"


def write_suite(world: Path, saes: Path, *entries: str, evals: str = "", seeds: str = "[0, 1]") -> Path:
    evals = evals or f"[decoder_bias, {{bias_alignment: {SMALL}}}, {{saebench_core: {SMALL}}}]"
    lines = [
        "saes:",
        *(f"  - {e}" for e in ("path: saes/*", *entries)),
        f"evals: {evals}",
        f"seeds: {seeds}",
        f"data: {world / 'texts'}",
    ]
    path = saes.parent / "suite.yaml"
    path.write_text("\n".join(lines).replace("'", ""))
    return path


def test_a_suite_with_a_model_becomes_a_table_without_any_network(
    world: Path, saes: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    suite, out = write_suite(world, saes, "controls: [random, permuted]\n    like: one"), saes.parent / "out"
    assert main(["run", str(suite), "--out", str(out)]) == 0
    scores = read_results(out)
    assert list(scores.columns) == SCORES
    assert not scores.duplicated(["run_id", "metric", "params", "slice_by", "slice_value"]).any()
    assert scores["value"].notna().all()
    assert set(scores["sae"]) == {"one", "two", "three", "one/random", "one/permuted"}
    assert set(scores["eval"]) == {"decoder_bias", "bias_alignment", "saebench_core"}
    assert scores.loc[scores["eval"] == "decoder_bias", "seed"].isna().all()
    assert set(scores.loc[scores["eval"] == "saebench_core", "seed"]) == {0, 1}
    assert (scores.loc[scores["eval"] == "saebench_core", "layer"] == 0).all()
    l0 = scores[scores["metric"] == "l0"].groupby("sae")["value"].mean()
    assert l0["one/random"] == pytest.approx(l0["one"], rel=0.2)
    assert l0["one/permuted"] == pytest.approx(l0["one"])
    assert "saebench_core (mean ± SD over 2 evaluation seeds)" in capfd.readouterr().out


def test_numbers_depend_neither_on_what_else_runs_nor_on_the_order_nor_on_the_process(world: Path, saes: Path):
    suite, out = write_suite(world, saes), saes.parent / "out"
    assert main(["run", str(suite), "--out", str(out)]) == 0
    together = read_results(out)
    alone = evaluate(
        str(saes / "two"), [{"saebench_core": SMALL}, {"bias_alignment": SMALL}], seeds=[1], data=str(world / "texts")
    )
    key = ["run_id", "metric", "params"]
    both = alone.merge(together, on=key, suffixes=("", "_together"))
    assert len(both) == len(alone) > 20
    assert (both["value"] == both["value_together"]).all()


def test_an_sae_in_memory_and_its_file_are_one_checkpoint_with_the_same_numbers(
    world: Path, saes: Path, make_sae: Callable[..., Any]
):
    sae = make_sae(seed=0, d_in=32, d_sae=24, hook=HOOK, model_name=str(world / "model"))
    before = {k: v.clone() for k, v in sae.state_dict().items()}
    evals, data = ["decoder_bias", {"saebench_core": SMALL}], str(world / "texts")
    memory = evaluate([sae], evals, data=data)
    file = evaluate(saes / "one", evals, data=data)
    pd.testing.assert_frame_equal(memory.drop(columns="sae"), file.drop(columns="sae"))
    named = evaluate({"mine": sae}, "decoder_bias")
    assert set(named["sae"]) == {"mine"}
    assert all(torch.equal(before[k], v) for k, v in sae.state_dict().items())


def test_evaluating_leaves_the_process_as_it_was(world: Path, saes: Path):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generator is the point
    torch.manual_seed(1)
    state = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state(), Path.cwd())  # noqa: NPY002
    with torch.enable_grad():
        evaluate(saes / "one", ["decoder_bias", {"saebench_core": SMALL}], data=str(world / "texts"))
        assert torch.is_grad_enabled()
    assert random.getstate() == state[0] and (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), state[2]) and Path.cwd() == state[3]


def test_weight_only_evals_load_no_model(saes: Path, monkeypatch: pytest.MonkeyPatch):
    import hedgebench.models

    monkeypatch.setattr(hedgebench.models, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    assert len(evaluate(list(map(str, saes.iterdir())), "decoder_bias")) >= 6


def test_everything_local_needs_no_network(world: Path, saes: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: Any, **_: Any) -> None:
        raise OSError(f"a connection was tried: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(evaluate(saes / "one", {"saebench_core": SMALL}, data=str(world / "texts"))) > 10


def test_a_wrong_hook_fails_its_own_sae_only(
    world: Path, saes: Path, save_sae: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    save_sae(saes / "lost", d_in=32, d_sae=24, hook="blocks.7.hook_resid_post", model_name=str(world / "model"))
    save_sae(saes / "wide", d_in=48, d_sae=24, hook=HOOK, model_name=str(world / "model"))
    suite, out = write_suite(world, saes, seeds="[0]"), saes.parent / "out"
    assert main(["run", str(suite), "--out", str(out)]) == 1
    runs = read_runs(out).set_index(["eval", "sae"])
    assert set(runs.loc["decoder_bias", "status"]) == {"ok"}
    for name in ("bias_alignment", "saebench_core"):
        failed = runs.loc[name][runs.loc[name, "status"] == "failed"]["error"]
        assert set(failed.index) == {"lost", "wide"}
        assert "no hook point 'blocks.7.hook_resid_post'" in failed["lost"] and "did you mean" in failed["lost"]
        assert "width 48" in failed["wide"]
    assert "Traceback" not in capfd.readouterr().err


def test_a_model_that_does_not_exist_is_told_and_weights_are_measured_all_the_same(
    saes: Path, save_sae: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    save_sae(saes / "stray", d_in=32, d_sae=24, hook=HOOK, model_name="smollm2-135n")
    out = saes.parent / "out"
    evals = ["--eval", "decoder_bias", "--eval", "bias_alignment"]
    assert main(["run", "--sae", str(saes / "stray"), *evals, "--out", str(out)]) == 1
    assert "did you mean 'smollm2-135m'" in capfd.readouterr().err
    assert set(read_results(out)["eval"]) == {"decoder_bias"}


def test_saebench_reads_our_core_record_as_its_own_output(world: Path, saes: Path):
    from pydantic import TypeAdapter
    from sae_bench.evals.core.eval_output import CoreEvalOutput

    out = saes.parent / "out"
    evaluate(saes / "one", {"saebench_core": SMALL}, data=str(world / "texts"), out=out)
    (file,) = (out / "records/saebench_core").iterdir()
    output = TypeAdapter(CoreEvalOutput).validate_json(file.read_text())
    ours = read_results(out).set_index(["metric", "params"])["value"]
    assert output.eval_result_metrics.sparsity.l0 == ours["l0", ""]
    assert (
        output.eval_result_metrics.reconstruction_quality.explained_variance == ours["upstream_explained_variance", ""]
    )
    assert len(output.eval_result_details) == 24 and output.sae_cfg_dict["d_sae"] == 24


def test_saebenchs_own_output_file_enters_the_same_table(world: Path, saes: Path, tmp_path: Path):
    out, plain = saes.parent / "out", tmp_path / "plain"
    evaluate(saes / "one", {"saebench_core": SMALL}, data=str(world / "texts"), out=out)
    (file,) = (out / "records/saebench_core").iterdir()
    record = json.loads(file.read_text())
    del record["hedgebench"]
    record["eval_result_metrics"]["shrinkage"]["l2_ratio"] = -1
    plain.mkdir()
    (plain / "local_one_eval_results.json").write_text(json.dumps(record))
    (plain / "notes.json").write_text("{}")
    theirs, ours = read_results(plain), read_results(out)
    assert set(theirs["source"]) == {"saebench"} and "explained_variance" not in set(theirs["metric"])
    assert "l2_ratio" not in set(theirs["metric"])
    merged = theirs.merge(ours[ours["params"] == ""], on=["eval", "metric"], suffixes=("", "_ours"))
    assert len(merged) == len(theirs) >= 20
    assert (merged["value"] == merged["value_ours"]).all()
    assert (merged["higher_is_better"].fillna(False) == merged["higher_is_better_ours"].fillna(False)).all()


def test_a_random_control_matches_l0_and_shares_nothing_with_its_sae(make_sae: Callable[..., Any]):
    from hedgebench.loaders import prepare

    sae = prepare(make_sae(d_in=32, d_sae=24))
    acts = torch.randn(500, 32, generator=torch.Generator().manual_seed(0)) * 2
    control = make_control("random", sae, 0)
    match_l0(control, sae, acts)
    wanted, found = (float((s.encode(acts) != 0).sum(-1).float().mean()) for s in (sae, control))
    assert found == pytest.approx(wanted, abs=2 / 500)
    torch.testing.assert_close(control.W_dec.norm(dim=-1), torch.ones(24))
    assert torch.equal(control.b_dec, sae.b_dec) and torch.equal(control.W_enc, control.W_dec.T)
    assert torch.equal(make_control("random", sae, 0).W_dec, control.W_dec)
    assert not torch.equal(make_control("random", sae, 1).W_dec, control.W_dec)


def test_a_permuted_control_fires_as_its_sae_does_into_other_directions(make_sae: Callable[..., Any]):
    from hedgebench.loaders import prepare

    sae = prepare(make_sae(d_in=32, d_sae=24))
    acts = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    control = make_control("permuted", sae, 0)
    assert torch.equal(control.encode(acts), sae.encode(acts))
    assert not torch.equal(control.W_dec, sae.W_dec)
    assert torch.equal(control.W_dec.sum(0).round(decimals=4), sae.W_dec.sum(0).round(decimals=4))


def test_cached_activations_change_no_number(world: Path, saes: Path, tmp_path: Path):
    evals, data = {"bias_alignment": SMALL}, str(world / "texts")
    first = evaluate(saes / "one", evals, data=data)
    files = list((tmp_path / "cache/activations").rglob("*.safetensors"))
    assert len(files) == SMALL["n_batches"]
    pd.testing.assert_frame_equal(evaluate(saes / "one", evals, data=data), first)
    files[0].write_bytes(b"torn")
    pd.testing.assert_frame_equal(evaluate(saes / "one", evals, data=data), first)


def test_an_eval_class_of_ones_own_needs_no_package(saes: Path):
    class Width(Eval):
        name, version, draws = "width", 1, False
        metrics = (Metric("width", "number of latents"),)

        def run(self, ctx, cfg):
            yield Score("width", ctx.sae.cfg.d_sae)

    assert list(evaluate(saes / "one", Width)["value"]) == [24.0]


def test_an_eval_that_changes_the_sae_fails_and_spoils_no_other(saes: Path, tmp_path: Path):
    class Clumsy(Eval):
        name, version, draws = "a_clumsy_one", 1, False
        metrics = (Metric("norm", "norm of the decoder bias"),)

        def run(self, ctx, cfg):
            ctx.sae.b_dec.data.mul_(2)
            torch.manual_seed(5)
            torch.set_grad_enabled(True)
            yield Score("norm", float(ctx.sae.b_dec.norm()))

    torch.manual_seed(1)
    state = torch.get_rng_state()
    scores = evaluate(saes / "one", [Clumsy, "decoder_bias"], out=tmp_path / "out")
    pd.testing.assert_frame_equal(scores, evaluate(saes / "one", "decoder_bias"))
    assert torch.equal(torch.get_rng_state(), state)
    failed = read_runs(tmp_path / "out").set_index("eval").loc["a_clumsy_one"]
    assert failed["status"] == "failed" and "changed the SAE it was given" in failed["error"]


@pytest.mark.parametrize(
    ("saes_given", "evals", "message"),
    [
        ("nowhere", "decoder_bias", "no such folder"),
        ("one", "decoder_bais", "did you mean"),
        ("one", 3, "an eval is a name"),
        (3, "decoder_bias", "sae_lens.SAE"),
    ],
)
def test_what_evaluate_cannot_take_is_told(saes: Path, saes_given: Any, evals: Any, message: str):
    given = str(saes / saes_given) if isinstance(saes_given, str) else saes_given
    with pytest.raises(BadInput, match=message):
        evaluate(given, evals)


PROBES = {"train_size": 32, "test_size": 32, "llm_batch_size": 16}
SETTINGS: dict[str, dict[str, Any]] = {
    "saebench_tpp": {"data": ["stand-in:yelp_stars"], "n_values": [2], "probe_epochs": 1, **PROBES},
    "saebench_sparse_probing": {"data": ["stand-in:yelp_stars"], "k_values": [1], "full_probe": False, **PROBES},
    "toy_recovery": {"n_samples": 500, "batch_size": 100},
    "saebench_sae_probes": {"data": ["sae-probes:149_twt_emotion_happiness"], "ks": [1], "max_seq_len": 8},
    "grow_delta": {"n_null": 3, "min_live": 0.0},
    "hedging_estimate": {
        "n_batches": 8,
        "batch_size": 8,
        "context_size": 32,
        "min_firings": 10,
        "n_atoms": 10,
        "pairs": 8,
        "groups": 2,
        "inject": 0.0,
    },
}
ELSEWHERE = {"saebench_absorption", "saebench_autointerp", "saebench_scr"}
"""They need a vocabulary of letters, a judge, and a model that tells texts apart: their own tests hold them to the same."""


def first_latents(sae: Any, n: int) -> Any:
    """An SAE of the first latents of another, a little elsewhere: what that one may have grown from."""
    from hedgebench.loaders import build_sae

    weights = {name: tensor.clone() for name, tensor in sae.state_dict().items()}
    kept = {name: tensor[:n] for name, tensor in weights.items() if name not in ("W_enc", "b_dec")}
    moved = {"W_dec": kept["W_dec"] + 0.1 * kept["W_dec"].roll(1, dims=0), "W_enc": weights["W_enc"][:, :n]}
    config = {**sae.cfg.to_dict(), "d_sae": n, "metadata": sae.cfg.metadata.to_dict()}
    return build_sae(config, {**kept, **moved, "b_dec": weights["b_dec"]})


@pytest.mark.parametrize("name", sorted(set(find_evals()[0]) - ELSEWHERE))
def test_every_eval_keeps_the_contract(name: str, world: Path, saes: Path):
    """Declared metrics only, no change to the SAE, deterministic in the seed, nothing left behind in the process."""
    eval_class = find_evals()[0][name].object
    config = {k: v for k, v in SMALL.items() if k in {f for f in eval_class.Config.__dataclass_fields__}}
    config |= SETTINGS.get(name, {})
    sae = load_sae(saes / "one")
    before = {k: v.clone() for k, v in sae.state_dict().items()}
    given: dict[str, Any] = {"data": str(world / "texts")}
    if "features" in eval_class.needs:
        given["world"] = make_world(WorldConfig("made-up", 32, (0.2,) * 6))
    named = {"x": sae}
    if "siblings" in eval_class.needs:
        named, given["group"] = {"x": sae, "y": load_sae(saes / "two")}, "both"
    if "control" in eval_class.needs:
        given["control"] = first_latents(sae, 16)
    state = torch.get_rng_state()
    first, second = (evaluate(named, {name: config}, **given) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert set(first["metric"]) <= {m.name for m in eval_class.metrics}
    assert all(torch.equal(before[k], v) for k, v in sae.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(m.summary and (m.low is None or m.high is None or m.low < m.high) for m in eval_class.metrics)
    if eval_class.draws:
        other = evaluate(named, {name: config}, seeds=[1], **given)
        assert list(other["value"]) != list(first["value"])


def test_an_object_and_a_folder_of_the_same_name_are_not_confused(
    saes: Path, make_sae: Callable[..., Any], save_sae: Callable[..., Path]
):
    folder = save_sae(saes / "sae-0", seed=5, d_in=32, d_sae=24)
    scores = evaluate([make_sae(seed=6, d_in=32, d_sae=24), folder], "decoder_bias")
    norms = scores[scores["metric"] == "b_dec_norm"]["value"]
    assert len(norms) == 2 and norms.nunique() == 2
    assert float(evaluate(folder, "decoder_bias").set_index("metric").loc["b_dec_norm", "value"]) in set(norms)


@pytest.mark.parametrize("architecture", ["standard", "topk", "gated", "jumprelu"])
def test_every_architecture_goes_through_core(architecture: str, world: Path):
    from sae_lens import SAE

    extra = {"k": 5} if architecture == "topk" else {}
    metadata = {"hook_name": HOOK, "model_name": str(world / "model")}
    sae = SAE.from_dict({"architecture": architecture, "d_in": 32, "d_sae": 24, "metadata": metadata, **extra})
    scores = evaluate({"x": sae}, {"saebench_core": SMALL}, data=str(world / "texts"))
    assert {"l0", "explained_variance", "ce_loss_score"} <= set(scores["metric"])


def test_an_sae_on_attention_heads_and_its_random_control_go_through_core(
    world: Path, saes: Path, save_sae: Callable[..., Path], edit_config: Callable[..., None]
):
    folder = save_sae(saes / "heads", d_in=32, d_sae=24, hook="blocks.1.attn.hook_z", model_name=str(world / "model"))
    edit_config(folder, reshape_activations="hook_z")
    suite = write_suite(
        world, saes, "controls: [random]\n    like: saes/heads", evals=f"[{{saebench_core: {SMALL}}}]", seeds="[0]"
    )
    assert main(["run", str(suite), "--out", str(saes.parent / "out")]) == 0
    l0 = read_results(saes.parent / "out").query("metric == 'l0'").set_index("sae")["value"]
    assert l0["heads/random"] == pytest.approx(l0["heads"], rel=0.3)


def test_a_control_of_an_unreadable_sae_costs_nothing_else(saes: Path, capfd: pytest.CaptureFixture[str]):
    (saes / "two/cfg.json").write_text("{")
    suite, out = (
        write_suite(saes, saes, "controls: [random]\n    like: two", evals="[decoder_bias]"),
        saes.parent / "out",
    )
    suite.write_text(suite.read_text().replace(f"data: {saes / 'texts'}", ""))
    assert main(["run", str(suite), "--out", str(out)]) == 1
    assert set(read_results(out)["sae"]) == {"one", "three"}
    assert "two: not valid JSON" in capfd.readouterr().err.replace("/cfg.json", "")


@pytest.mark.parametrize(
    "metadata",
    [{"l0": float("nan")}, {"hook_name": 5}, {"training_architecture_details": [1]}, {"best": float("inf")}, {"train_seed": "x"},
     {"training_architecture_details": {"matryoshka_widths": 5, "k": float("nan")}}],
)  # fmt: skip
def test_odd_metadata_cost_no_number(metadata: dict[str, Any], tmp_path: Path, save_sae: Callable[..., Path]):
    folder = (
        save_sae(tmp_path / "odd", **metadata)
        if "hook_name" not in metadata
        else save_sae(tmp_path / "odd", hook=metadata["hook_name"])
    )
    assert main(["run", "--sae", str(folder), "--eval", "decoder_bias", "--out", str(tmp_path / "out")]) == 0
    assert "b_dec_norm" in set(read_results(tmp_path / "out")["metric"])


def test_an_sae_named_twice_gets_the_tags_of_both_lines(saes: Path):
    suite = write_suite(saes, saes, "path: saes/one\n    tags: {loss: snap}", evals="[decoder_bias]")
    suite.write_text(suite.read_text().replace(f"data: {saes / 'texts'}", ""))
    assert main(["run", str(suite), "--out", str(saes.parent / "out")]) == 0
    losses = read_results(saes.parent / "out").groupby("sae")["loss"].first()
    assert losses["one"] == "snap" and len(losses) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": 3}, "whole numbers"),
        ({"seeds": [-1]}, "whole numbers"),
        ({"dtype": "float8"}, "did you mean"),
        ({"device": "banana"}, "cannot be used"),
    ],
)
def test_a_wrong_setting_of_evaluate_is_told(saes: Path, given: dict[str, Any], message: str):
    with pytest.raises(BadInput, match=message):
        evaluate(saes / "one", "decoder_bias", **given)
