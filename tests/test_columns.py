"""Whatever the records hold, a table is made: whole numbers are exact, and one odd record costs its own cell and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hedgebench import read_results
from hedgebench.columns import typed_column
from hedgebench.records import read_record, write_json
from hedgebench.results import SCORES, read_runs, write_table
from hedgebench.types import Checkpoint

OURS: dict[str, Any] = {
    "run_id": "r", "eval": "toy", "eval_version": 1, "config": {}, "seed": 0, "model": None, "data": None, "digest": "d",
    "status": "ok", "scores": [{"metric": "share", "value": 0.5, "slice_by": "all", "params": ""}], "versions": {},
}  # fmt: skip
SEED = 2**62 + 1
"""A whole number that no float64 holds."""


def write(out: Path, name: str, train_seed: Any = None, **changes: Any) -> Path:
    ours = {**OURS, "run_id": name, "digest": name, **changes}
    write_json(out / f"records/toy/{name}.json", {"hedgebench": ours})
    card = Checkpoint(name, name, "topk", 8, 12).to_dict() | {"train_seed": train_seed}
    write_json(out / f"checkpoints/{name}.json", json.loads(json.dumps(card)))
    return out / f"records/toy/{name}.json"


def test_a_training_seed_is_exact_beside_an_sae_without_one(tmp_path: Path):
    write(tmp_path, "told", SEED)
    write(tmp_path, "untold")
    table = read_results(tmp_path)
    assert list(table["train_seed"].fillna(0)) == [SEED, 0] and list(table["value"]) == [0.5, 0.5]
    write_table(table, tmp_path / "t.csv")
    write_table(table, tmp_path / "t.parquet")
    assert str(SEED) in (tmp_path / "t.csv").read_text()
    assert pd.read_parquet(tmp_path / "t.parquet")["train_seed"][0] == SEED


@pytest.mark.parametrize("odd", [2**63, 2**64, -(2**63) - 1, 10**400, 1.5, 1e300, "x", [1], {"a": 1}, True])
def test_what_a_card_says_that_no_column_holds_is_missing_and_all_else_is_there(tmp_path: Path, odd: Any):
    write(tmp_path, "fine", 3)
    write(tmp_path, "odd", odd)
    table = read_results(tmp_path).set_index("sae")
    assert (table.loc["fine", "train_seed"], table.loc["fine", "value"]) == (3, 0.5)
    assert pd.isna(table.loc["odd", "train_seed"]) and table.loc["odd", "value"] == 0.5
    assert len(read_runs(tmp_path)) == 2


@pytest.mark.parametrize("odd", [10**400, 1.5, 1e300, "x", [1], {"a": 1}, True])
def test_a_record_with_a_score_that_is_none_is_left_out_with_a_warning(tmp_path: Path, odd: Any, caplog: Any):
    write(tmp_path, "fine", 3)
    write(tmp_path, "odd", 4, scores=[{"metric": "share", "value": 0.5, "n": odd}])
    assert list(read_results(tmp_path)["sae"]) == ["fine"] == list(read_runs(tmp_path)["sae"])
    assert "odd.json" in caplog.text


@pytest.mark.parametrize(
    "change", [{"scores": [1]}, {"scores": [None]}, {"digest": ["d"]}, {"digest": None}, {"run_id": 3}, {"eval": None}]
)
def test_a_record_of_another_form_is_none_of_ours(tmp_path: Path, change: dict[str, Any], caplog: Any):
    write(tmp_path, "fine")
    assert read_record(tmp_path / "records/toy/fine.json") is not None
    write_json(tmp_path / "records/toy/bad.json", {"hedgebench": OURS | change})
    assert list(read_results(tmp_path)["sae"]) == ["fine"] == list(read_runs(tmp_path)["sae"])
    assert "bad.json" in caplog.text


@pytest.mark.parametrize("key", ["seed", "model", "data", "eval_version", "config", "versions"])
def test_a_record_that_lacks_a_part_is_none_of_ours(tmp_path: Path, key: str):
    path = write(tmp_path, "fine")
    write_json(path, {"hedgebench": {k: v for k, v in OURS.items() if k != key}})
    assert read_record(path) is None and len(read_results(tmp_path)) == 0


def test_every_column_keeps_its_type_whatever_is_in_it():
    for name in SCORES:
        assert typed_column(name, []).dtype == typed_column(name, [None, [1], "x", 2**70]).dtype, name
