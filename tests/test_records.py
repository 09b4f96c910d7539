"""Scores are checked against what their eval declares; records are whole or absent, and strict JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hedgebench.eval import Eval
from hedgebench.records import Outcome, build_record, make_run_id, read_records, record_path, score_row, write_record
from hedgebench.types import BadInput, Checkpoint, Metric, Run, Score

CARD = Checkpoint("d" * 32, "sae", "batchtopk", d_in=8, width=12)


class Toy(Eval):
    name, version = "toy", 1
    metrics = (
        Metric("share", "a share", low=0.0, high=1.0, higher_is_better=True, chance=0.5),
        Metric("free", "any number"),
    )

    def run(self, ctx, cfg):
        yield Score("share", 0.5)


def run_of(**changes) -> Run:
    given = {"eval": "toy", "eval_version": 1, "config": {}, "seed": 0, "model": None, "revision": None, "data": None}
    return Run(**({"run_id": "r1", "checkpoint": CARD, "data_source": None, "dtype": "float32"} | given | changes))


def test_a_row_carries_direction_and_chance_and_sorted_params():
    row = score_row(Toy, Score("share", 0.25, {"n": 10, "k": 1}, "letter", "a", stderr=0.1, n=7))
    assert row == {
        "metric": "share", "params": "k=1,n=10", "slice_by": "letter", "slice_value": "a", "value": 0.25,
        "stderr": 0.1, "n": 7, "higher_is_better": True, "chance": 0.5,
    }  # fmt: skip
    assert score_row(Toy, Score("share", 0.25, chance=0.1))["chance"] == 0.1


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "much", True])
def test_a_value_that_is_no_finite_number_is_refused(value: object):
    with pytest.raises(ValueError, match="share: the value is"):
        score_row(Toy, Score("share", value))  # type: ignore[arg-type]


def test_a_value_beyond_the_metrics_bounds_is_refused_but_rounding_is_not():
    with pytest.raises(ValueError, match=r"1.2 is above 1.0"):
        score_row(Toy, Score("share", 1.2))
    with pytest.raises(ValueError, match=r"-0.2 is below 0.0"):
        score_row(Toy, Score("share", -0.2))
    assert score_row(Toy, Score("share", 1.0 + 1e-8))["value"] == 1.0 + 1e-8


def test_an_undeclared_metric_is_refused_with_the_declared_ones():
    with pytest.raises(LookupError, match="declared: share, free"):
        score_row(Toy, Score("shares", 0.5))


def test_a_run_id_depends_on_content_alone():
    a = {"digest": "x", "config": {"n": 1, "m": 2}, "seed": 0}
    assert make_run_id(a) == make_run_id({"seed": 0, "config": {"m": 2, "n": 1}, "digest": "x"})
    assert len({make_run_id(a), make_run_id(a | {"seed": 1}), make_run_id(a | {"config": {"n": 2, "m": 2}})}) == 3


def test_a_record_survives_its_file_and_stands_in_saebenchs_frame(tmp_path: Path):
    outcome = Outcome("ok", scores=(score_row(Toy, Score("share", 0.5)),), sae_config={"d_sae": 12}, started_at=1.5)
    path = write_record(tmp_path, build_record(run_of(), outcome))
    (record,) = read_records(tmp_path)
    assert path == record_path(tmp_path, "toy", "r1")
    assert record["hedgebench"]["scores"] == [dict(outcome.scores[0])]
    assert record["eval_result_metrics"] == {"toy": {"share": 0.5}}
    assert record["datetime_epoch_millis"] == 1500 and record["sae_cfg_dict"] == {"d_sae": 12}


def test_a_record_is_strict_json(tmp_path: Path):
    with pytest.raises(ValueError, match="Out of range"):
        write_record(tmp_path, build_record(run_of(), Outcome("ok", details={"eval_result_details": [math.nan]})))
    assert not list(tmp_path.rglob("*.json"))


def test_damaged_records_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = write_record(tmp_path, build_record(run_of(), Outcome("ok")))
    for i, text in enumerate(["", "{", "null", "[]", '{"hedgebench": {"status": "ok"}}', path.read_text()[:-20]]):
        path.with_name(f"bad{i}.json").write_text(text)
    assert len(list(read_records(tmp_path))) == 1
    assert caplog.text.count("is no whole record") == 6


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "records").write_text("a file is in the way")
    with pytest.raises(BadInput, match="cannot write"):
        write_record(tmp_path, build_record(run_of(), Outcome("ok")))


def test_an_outcome_survives_the_pipe():
    outcome = Outcome("failed", "why", ({"metric": "a"},), {"b": "blank"}, seconds=2.0)
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome
