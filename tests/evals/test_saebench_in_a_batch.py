"""SAEBench's evals through the one door: a suite, a worker process, records; and nothing left anywhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import sae_bench
from tiny_models import save_tiny

from hedgebench.records import read_records
from hedgebench.results import read_results, read_runs
from hedgebench.saebench_output import read_scores

SUITE = """
model: {model}
saes: [{{path: a/sae, name: first}}, {{path: b/sae, name: second}}]
evals:
  - saebench_sparse_probing: {{data: [topics.yaml], train_size: 60, test_size: 40, context_size: 12, k_values: [1, 2]}}
  - saebench_tpp: {{data: [topics.yaml], train_size: 60, test_size: 40, context_size: 12, n_values: [1, 3], probe_epochs: 2}}
  - saebench_scr: {{data: [topics.yaml], train_size: 32, test_size: 16, context_size: 12, n_values: [1, 3], probe_epochs: 2}}
  - saebench_absorption
seeds: [0, 1]
"""
TOPICS = "file: topics.csv\ntext: text\nlabel: topic\nsecond: mood\npairs: [[sea, law]]\n"


def texts() -> pd.DataFrame:
    """Texts of the tiny model's words: topic and mood each choose from their own."""
    rows = []
    for i in range(480):
        topic, mood = i % 2, (i // 2) % 2
        words = [f"w{3 + (i * (j + 3) + j) % 8 + 8 * (topic if j % 2 else 2 + mood)}" for j in range(6 + i % 5)]
        rows.append((" ".join([*words, f"w{35 + i % 5}", f"x{i}"]), ("sea", "law")[topic], ("calm", "stern")[mood]))
    return pd.DataFrame(rows, columns=["text", "topic", "mood"])


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    save_tiny(folder / "model")
    texts().to_csv(folder / "topics.csv", index=False)
    (folder / "topics.yaml").write_text(TOPICS)
    (folder / "suite.yaml").write_text(SUITE.format(model=folder / "model"))
    (folder / "cwd").mkdir()
    return folder


def run(batch: Path, out: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hedgebench.cli", "run", str(batch / "suite.yaml"), "--out", str(batch / out)]
    environment = {**os.environ, "HEDGEBENCH_CACHE": str(batch / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options], cwd=batch / "cwd", env=environment, capture_output=True, text=True)


def values(batch: Path, out: str) -> pd.Series:
    table = read_results(batch / out)
    return table.set_index(["sae", "eval", "seed", "metric", "params", "slice_by", "slice_value"])["value"].sort_index()


def upstream_files() -> dict[str, float]:
    root = Path(sae_bench.__file__).parent
    return {str(f): f.stat().st_mtime for f in root.rglob("*") if "__pycache__" not in f.parts}


@pytest.fixture(scope="module")
def done(batch: Path, save_sae_at: Callable[..., Path]) -> subprocess.CompletedProcess[str]:
    save_sae_at(batch / "a" / "sae", seed=0)
    save_sae_at(batch / "b" / "sae", seed=1)
    before = upstream_files()
    ran = run(batch, "out")
    assert upstream_files() == before
    return ran


@pytest.fixture(scope="module")
def save_sae_at() -> Callable[..., Path]:
    """Two SAEs of one name in two folders: one was trained again."""

    def save(path: Path, seed: int) -> Path:
        import torch
        from sae_lens import SAE

        generator = torch.Generator().manual_seed(seed)
        metadata = {"hook_name": "blocks.1.hook_resid_post", "model_name": "tiny"}
        sae = SAE.from_dict({"architecture": "standard", "d_in": 32, "d_sae": 40, "metadata": metadata})
        rows = torch.randn(40, 32, generator=generator)
        rows /= rows.norm(dim=1, keepdim=True)
        sae.load_state_dict({"W_dec": rows, "W_enc": rows.T, "b_dec": torch.zeros(32), "b_enc": torch.zeros(40)})
        sae.save_model(path)
        return path

    return save


def test_every_eval_leaves_a_record_that_says_what_it_read(batch: Path, done: subprocess.CompletedProcess[str]):
    assert done.returncode == 0, done.stderr[-3000:]
    runs = read_runs(batch / "out")
    status = runs.groupby("eval")["status"].unique().map(list).to_dict()
    assert status == {
        "saebench_absorption": ["skipped"],
        "saebench_scr": ["ok"],
        "saebench_sparse_probing": ["ok"],
        "saebench_tpp": ["ok"],
    }, runs[["eval", "error"]].to_string()
    # SAEBench's absorption would end at the first SAE and say nothing of the second
    assert runs.groupby("eval").size().to_dict() == dict.fromkeys(status, 4)
    assert "no word of letters" in runs.loc[runs["eval"] == "saebench_absorption", "error"].iloc[0]
    table = read_results(batch / "out")
    assert len(table) and set(table["data"].str.split("@").str[0]) == {"topics"}
    assert list((batch / "cwd").iterdir()) == []


def test_the_rows_of_a_record_are_those_that_saebench_s_fields_say(batch: Path, done: object):
    for record in read_records(batch / "out"):
        if record["hedgebench"]["status"] != "ok":
            continue
        ours = {
            (s["metric"], s["params"], s["slice_by"], s["slice_value"]): s["value"]
            for s in record["hedgebench"]["scores"]
        }
        theirs = list(read_scores(json.loads(json.dumps(record))))
        assert theirs
        for score in theirs:
            params = ",".join(f"{k}={v}" for k, v in sorted(score.params.items()))
            assert ours[score.metric, params, score.slice_by, score.slice_value] == pytest.approx(score.value), score


def test_a_second_time_without_what_is_cached_gives_the_same_numbers_to_the_last_digit(batch: Path, done: object):
    (batch / "cache").rename(batch / "old-cache")
    assert run(batch, "again").returncode == 0
    pd.testing.assert_series_equal(values(batch, "again"), values(batch, "out"), check_exact=True)


def test_two_seeds_and_a_retrained_sae_of_the_same_name_give_other_numbers(batch: Path, done: object):
    table = values(batch, "out")
    for name in ("saebench_tpp", "saebench_scr", "saebench_sparse_probing"):
        one = table.xs(name, level="eval")
        assert (one.xs(0, level="seed") - one.xs(1, level="seed")).dropna().abs().max() > 0
        assert (one.xs("first", level="sae") - one.xs("second", level="sae")).dropna().abs().max() > 0
