"""The twelve checkpoints that are committed, against the baseline that is."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY

import hedgebench
from hedgebench.cli import main
from hedgebench.results import read_table, write_table

FOLDER = REPOSITORY / "results" / "quickstart"
BASELINE = FOLDER / "baseline.parquet"
WORSE = "batchtopk-mse-s0"


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return read_table(BASELINE)


def with_noise(folder: Path, **scales: float) -> Path:
    """A copy of a checkpoint, normal noise added to some of its weights: so many times as long as they are."""
    import torch
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(REPOSITORY / "evals" / "checkpoints" / WORSE, folder / WORSE))
    weights, generator = load_file(copy / "sae_weights.safetensors"), torch.Generator().manual_seed(0)
    for name, scale in scales.items():
        there = weights[name].float()
        noise = torch.randn(there.shape, generator=generator)
        length = there.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
        weights[name] = (there + scale * length * noise).to(weights[name].dtype)
    save_file(weights, copy / "sae_weights.safetensors")
    return copy


def test_the_committed_results_are_those_of_the_committed_baseline():
    report = hedgebench.check(FOLDER / "scores.csv", BASELINE, config=FOLDER / "check.yaml")
    assert set(report.findings["verdict"]) == {"same"} and report.code(strict=True) == 0
    assert report.findings["sae"].nunique() == 12


def test_a_decoder_bias_that_grew_is_worse_on_every_scale(scores: pd.DataFrame):
    norms = ["b_dec_norm", "b_dec_relative_norm", "relative_norm", "relative_norm_of_mean"]
    grew = (scores["sae"] == WORSE) & scores["metric"].isin(norms)
    here = scores.assign(value=scores["value"].where(~grew, 3 * scores["value"]))
    report = hedgebench.check(here, BASELINE, config=FOLDER / "check.yaml")
    worse = report.findings[report.findings["verdict"] == "worse"]
    assert report.code() == 1 and set(worse["sae"]) == {WORSE} and sorted(worse["metric"]) == norms


def test_another_version_of_an_eval_is_not_compared(
    scores: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bumped = scores["eval"] == "saebench_core"
    file = write_table(
        scores.assign(eval_version=scores["eval_version"] + bumped, value=scores["value"] - 9 * bumped),
        tmp_path / "s.csv",
    )
    assert main(["check", str(file), "--baseline", str(BASELINE)]) == 0
    assert "cannot be told: cannot compare: eval version 1 in the baseline, 2 here" in capsys.readouterr().out


@pytest.mark.slow
def test_a_checkpoint_whose_decoder_bias_was_disturbed_is_named(
    scores: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    again = hedgebench.evaluate(with_noise(tmp_path, b_dec=2.0), "decoder_bias")
    others = scores[(scores["sae"] != WORSE) & (scores["eval"] == "decoder_bias")]
    here = pd.concat([others, again], ignore_index=True)
    report = hedgebench.check(here, BASELINE, config=FOLDER / "check.yaml")
    worse = report.findings[report.findings["verdict"] == "worse"]
    assert report.code() == 1 and set(worse["sae"]) == {WORSE}
    assert sorted(worse["metric"]) == ["b_dec_norm", "b_dec_relative_norm"]


@pytest.mark.slow
def test_a_checkpoint_whose_decoder_was_disturbed_is_named(
    scores: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = {"batch_size": 16, "context_size": 128, "n_batches": 1, "n_sparsity_batches": 8}
    again = hedgebench.evaluate(
        with_noise(tmp_path, W_dec=0.3), {"saebench_core": config}, [0, 1], model="smollm2-135m"
    )
    others = scores[scores["sae"] != WORSE]
    file = write_table(pd.concat([others, again], ignore_index=True), tmp_path / "scores.csv")
    assert main(["check", str(file), "--baseline", str(BASELINE)]) == 1
    assert f"\n  {WORSE}  saebench_core.explained_variance: " in capsys.readouterr().out
    report = hedgebench.check(file, BASELINE)
    worse = report.findings[report.findings["verdict"] == "worse"]
    assert set(worse["sae"]) == {WORSE}
    assert {"explained_variance", "mse", "cossim"} <= set(worse["metric"])
    assert set(report.findings[report.findings["sae"] != WORSE]["verdict"]) == {"same"}
