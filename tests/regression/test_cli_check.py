"""`hedgebench check` and `hedgebench baseline` at the shell, and `assert_no_regression` in a test suite."""

import json
from pathlib import Path

import pandas as pd
import pytest
from known_regressions import drawn, recipes
from known_scores import alone, table

from hedgebench.cli import main
from hedgebench.columns import SCORES
from hedgebench.records import Outcome, build_record, write_card, write_record
from hedgebench.regression.foresight import foresight
from hedgebench.regression.frozen import freeze
from hedgebench.results import read_table, write_table
from hedgebench.testing import assert_no_regression
from hedgebench.types import Checkpoint, Run


def written(rows: list[dict]) -> bytes:
    return table(rows).to_csv(index=False).encode()


BEFORE = [{"sae": "a", "value": 1.0, "digest": "x"}, {"sae": "b", "value": 1.0, "digest": "y"}]


def files(folder: Path, here: list[dict], before: list[dict] = BEFORE) -> list[str]:
    written = [
        str(write_table(table(rows), folder / name)) for rows, name in ((here, "here.csv"), (before, "before.csv"))
    ]
    return ["check", written[0], "--baseline", written[1]]


@pytest.mark.parametrize(
    ("here", "code", "strict"),
    [
        (BEFORE, 0, 0),
        ([{**BEFORE[0], "value": 2.0}, BEFORE[1]], 0, 0),
        ([{**BEFORE[0], "value": 0.5}, BEFORE[1]], 1, 1),
        ([{**BEFORE[0], "value": 0.5, "digest": "z"}, BEFORE[1]], 0, 3),
        (BEFORE[:1], 0, 3),
        ([*BEFORE, {"sae": "c", "value": 1.0}], 0, 0),
        ([{**BEFORE[0], "value": 0.5}], 1, 1),
    ],
    ids=["same", "better", "worse", "undecided", "missing", "new", "worse and missing"],
)
def test_exit_codes(tmp_path: Path, here: list[dict], code: int, strict: int, capsys: pytest.CaptureFixture[str]):
    args = files(tmp_path, here)
    assert main(args) == code
    assert capsys.readouterr().out.startswith("nothing is worse" if not code else "1 worse")
    assert main([*args, "--strict"]) == strict


def test_all_reports_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    args = files(tmp_path, [{**BEFORE[0], "value": 0.5}, BEFORE[1]])
    out = tmp_path / "made" / "here"
    assert main([*args, "--markdown", f"{out}.md", "--junit", f"{out}.xml", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"]["worse"] == 1
    assert out.with_suffix(".md").read_text().startswith("### ❌") and "<failure" in out.with_suffix(".xml").read_text()


def test_the_config_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    args = files(tmp_path, [{**BEFORE[0], "value": 0.5}, BEFORE[1]])
    rules = tmp_path / "check.yaml"
    rules.write_text("metrics:\n  an_eval.quality: {tolerance: 60%}\n")
    assert main([*args, "--config", str(rules)]) == 0
    rules.write_text("metrics:\n  an_eval.quality: {tolerance: 60 percent}\n")
    assert main([*args, "--config", str(rules)]) == 2
    assert (
        capsys.readouterr().err
        == f"hedgebench: {rules}:2: 'tolerance' must be a number from 0 or a share such as 2%, not '60 percent'\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no scores table can be read"),
        (b"a,b\n1,2\n", "it has no column 'sae'"),
        (b"\x00\x01", "no scores table: it has no column 'sae'"),
        (b"\xff\xfe", "no scores table can be read"),
        (written([{**BEFORE[0], "value": 1.0}]).replace(b",1.0,", b",e,"), "value is 'e' in row 1"),
        (written([{**BEFORE[0], "value": 1.0}]).replace(b",1.0,", b",inf,"), "value is 'inf' in row 1"),
        (written([{**BEFORE[0], "value": 1.0}]).replace(b",1.0,", b",,"), "row 1 has no value"),
        (written([{**BEFORE[0], "value": 1.0}]).replace(b",1.0,", b",nan,"), "value is 'nan' in row 1"),
        (written(BEFORE).replace(b",metric,", b",measure,"), "it has no column 'metric'"),
        (written([]), "there is no number to compare"),
        (written([{"sae": "z", "value": 1.0}]), "nothing to compare"),
    ],
)
def test_a_bad_baseline_is_one_line_and_exit_code_2(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
):
    args = files(tmp_path, BEFORE)
    Path(args[-1]).write_bytes(content)
    told_in_one_line(args, message, capsys)


def told_in_one_line(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and err.startswith("hedgebench: ")


def test_a_baseline_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    args = files(tmp_path, BEFORE)[:-1]
    told_in_one_line([*args, str(tmp_path / "none.csv")], "no scores table can be read", capsys)
    told_in_one_line([*args, str(tmp_path / "none")], "no such results folder", capsys)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_parquet_file_that_was_cut_is_told(tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]):
    args = files(tmp_path, BEFORE)
    whole = write_table(table(BEFORE), tmp_path / "before.parquet")
    whole.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    told_in_one_line([*args[:-1], str(whole)], "no scores table can be read", capsys)


def test_a_baseline_keeps_the_rows_that_a_check_compares_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = alone("b", [1.0, 2.0]) + alone("a", [3.0, 4.5]) + alone("a", [9.0], slice_by="letter", slice_value="x")
    rows += alone("a/random", [0.0], architecture="random_control")
    source = write_table(table(rows), tmp_path / "scores.csv")
    for name in ("baseline.csv", "baseline.parquet"):
        assert main(["baseline", str(source), "--out", str(tmp_path / name)]) == 0
        assert f"4 numbers of 2 SAEs in {tmp_path / name}" in capsys.readouterr().out
        kept = read_table(tmp_path / name)
        assert list(kept.columns) == [*SCORES, "versions"]
        assert kept["value"].tolist() == [3.0, 4.5, 1.0, 2.0]
        assert main(["check", str(source), "--baseline", str(tmp_path / name), "--strict"]) == 0
    shuffled = table(rows).sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(freeze(shuffled), freeze(table(rows)))


def record(out: Path, value: float) -> None:
    """What a run leaves behind."""
    card = Checkpoint(digest="d", name="a", architecture="topk", d_in=2, width=4)
    run = Run("r", card, "an_eval", 1, {}, 0, None, None, None, None, "float32")
    score = {
        "metric": "quality",
        "params": "",
        "slice_by": "all",
        "slice_value": "all",
        "value": value,
        "higher_is_better": True,
    }
    write_card(out, card)
    write_record(out, build_record(run, Outcome("ok", scores=(score,))))


def test_a_baseline_of_records_holds_their_versions_and_a_check_names_those_that_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, file = tmp_path / "out", tmp_path / "baseline.csv"
    record(out, 1.0)
    assert main(["baseline", str(out), "--out", str(file)]) == 0
    (versions,) = read_table(file)["versions"]
    assert "hedgebench " in versions and "torch " in versions
    capsys.readouterr()
    assert main(["check", str(out), "--baseline", str(file), "--strict"]) == 0
    assert capsys.readouterr().out == "nothing is worse: 1 the same\n"
    file.write_text(file.read_text().replace("torch ", "torch 0.0."))
    assert main(["check", str(out), "--baseline", str(file)]) == 0
    assert "torch 0.0." in capsys.readouterr().out


def test_a_baseline_says_beforehand_what_a_check_would_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = write_table(table(recipes() + recipes(metric="m", sd=10.0)), tmp_path / "scores.csv")
    assert main(["baseline", str(source), "--out", str(tmp_path / "b.csv")]) == 0
    said = capsys.readouterr().out
    assert "all trained again" in said and "an_eval.quality" in said
    found = foresight(source, "trained")
    assert set(found["sae"]) == {"r0", "r1", "r2", "r3"} and len(found) == 8
    assert (
        found[found["metric"] == "m"]["detectable"].to_numpy()
        > found[found["metric"] == "quality"]["detectable"].to_numpy()
    ).all()
    assert not len(foresight(source, "drawn")) and len(foresight(source, "one trained")) == 24
    assert len(foresight(table(drawn()), "drawn")) == 8
    few, many = (foresight(table(drawn(n=n)), "drawn") for n in (5, 10))
    assert (many["detectable"] / many["sd"]).median() < 0.7 * (few["detectable"] / few["sd"]).median()


def test_a_test_suite_fails_with_the_report_where_something_is_worse():
    before, here = table(BEFORE), table([{**BEFORE[0], "value": 0.5}])
    with pytest.raises(AssertionError, match="1 worse, 1 missing here"):
        assert_no_regression(here, before)
    better = table([{**BEFORE[0], "value": 2.0}])
    assert assert_no_regression(better, before).counts["better"] == 1
    with pytest.raises(AssertionError, match="missing here"):
        assert_no_regression(better, before, strict=True)
