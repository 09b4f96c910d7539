"""Odd scores tables: each is read as what it plainly is, or refused in one line that names the column, the row and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from known_scores import alone, recipe, table

import hedgebench
from hedgebench.cli import main
from hedgebench.columns import SCORES, YOUNGER, kind_of
from hedgebench.scores_table import scores_table
from hedgebench.stats.answers import with_noise
from hedgebench.stats.grid import grids, variants
from hedgebench.stats.tables import comparisons, control_rows, noise, summary
from hedgebench.stats.validity import dial_card, report_card
from hedgebench.types import BadInput

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
ROWS = table([
    *recipe("mse", [[0.5, 0.52], [0.51, 0.53]], chance=0.1, stderr=0.01, n=64),
    *recipe("snap", [[0.8, 0.82], [0.81, 0.83]], chance=0.1, stderr=0.01, n=64),
    *recipe("mse", [[20.0, 21.0], [22.0, 23.0]], metric="l0", higher_is_better=None),
    *recipe("mse", [[0.5, 0.52], [0.51, 0.53]], slice_by="letter", slice_value="q"),
    *alone("mse-s0/random", [0.2, 0.22], architecture="random_control", loss=None),
])  # fmt: skip
LARGEST = float(np.finfo(np.float64).max)
NAMES = ["<script>", "a|b", "=1+1", "\x01", "two\nlines", "\u202e", "NaN", " ", '"', "x" * 3000]
FUNCTIONS: list[Callable[[pd.DataFrame], Any]] = [
    *(summary, noise, comparisons, report_card, dial_card, variants, control_rows),
    lambda scores: list(grids(scores)),
    lambda scores: list(with_noise(scores)),
]


def put(column: str, value: Any, row: int | None = None) -> pd.DataFrame:
    """The table with a value in one row of a column, or in all."""
    changed = ROWS.astype("object")
    changed.loc[changed.index if row is None else [row], column] = value
    return changed


REFUSED = {
    "a word for a number": (put("value", "abc", 1), "value is 'abc' in row 2, not a finite number; leave the row out"),
    "a decimal comma": (put("value", "1,5", 1), "value is '1,5' in row 2"),
    "an infinite value": (put("value", np.inf, 3), "value is 'inf' in row 4"),
    "no value": (put("value", None, 2), "row 3 has no value"),
    "no name": (put("sae", None, 0), "row 1 has no sae"),
    "no word on slices": (put("slice_by", None, 4), "row 5 has no slice_by"),
    "half a seed": (put("seed", 0.5, 0), "seed is '0.5' in row 1, not a whole number; leave the cell empty"),
    "a seed beyond 64 bits": (put("seed", 2**70, 0), "seed is '1180591620717411303424' in row 1"),
    "a wide width": (put("width", "wide", 5), "width is 'wide' in row 6, not a whole number"),
    "an infinite L0": (put("l0", -np.inf, 5), "l0 is '-inf' in row 6, not a finite number"),
    "yes": (put("higher_is_better", "yes", 0), "higher_is_better is 'yes' in row 1, not True or False"),
    "two better ends": (
        put("higher_is_better", False, 0),
        "higher_is_better of eval 'an_eval', eval_version 1, metric 'quality' is False in row 1 and True in rows 2, 3, 4, 5, 6 and 8 more; a metric has one better end",
    ),
    "a better end that some rows lack": (put("higher_is_better", None, 1), "is True in rows 1, 3, 4, 5, 6 and 8 more and empty in row 2"),
    "one run of all": (put("run_id", "r"), "sae of run_id 'r' is 'mse-s0' in rows 1, 2"),
    "one run of two seeds": (put("seed", 7, 0), "seed of run_id 'mse-s0 0 an_eval a-text 1' is 7 in row 1 and 0 in rows 9, 13; give two runs two names"),
    "one name of two SAEs": (put("digest", "other", 1), "digest of sae 'mse-s0' is 'mse-s0' in rows 1, 9, 10, 13, 14 and 'other' in row 2; give two SAEs two names"),
    "two numbers of one run": (pd.concat([ROWS, put("value", 9.0)[:1]]), "is 0.5 in row 1 and 9.0 in row 19; one of them is wrong"),
    "a column twice": (pd.concat([ROWS, ROWS[["value"]]], axis=1), "it has 2 columns 'value'"),
    "no rows": (ROWS[:0], "holds no number"),
    **{f"no {name}": (ROWS.drop(columns=name), f"it has no column '{name}'") for name in SCORES if name not in YOUNGER},
}  # fmt: skip
FINE = {
    "numbers as large as can be": put("value", LARGEST),
    "numbers as large as can be, either way": ROWS.assign(value=[LARGEST * (-1) ** i for i in range(len(ROWS))]),
    "numbers as small as can be": put("value", 5e-324),
    "nothing but zero": put("value", 0.0),
    "large facts": ROWS.assign(l0=LARGEST, k=LARGEST, chance=LARGEST, stderr=LARGEST, train_tokens=2**63 - 1),
    "negative facts": ROWS.assign(l0=-3.0, k=-1.0, width=-512, chance=-1.0, stderr=-1.0, n=-1, seed=-1 - ROWS["seed"]),
    "slices alone": ROWS[ROWS["slice_by"] == "letter"],
    "controls alone": ROWS[ROWS["architecture"] == "random_control"],
    "one row": ROWS[:1],
    "every row twice": pd.concat([ROWS, ROWS]),
    "more columns": ROWS.assign(mood="fine"),
    "no younger columns": ROWS.drop(columns=[*YOUNGER]),
    "names that are numbers": ROWS.assign(sae=ROWS["sae"].astype("category").cat.codes, digest=None),
    **{f"no {name} known": put(name, None) for name in SCORES if name not in ("sae", "eval", "metric", "run_id", "slice_by", "value")},
    **{f"odd words in {name}": put(name, dict(enumerate(NAMES))[i]) for i, name in enumerate(("architecture", "loss", "model", "hook", "data", "release", "config", "source", "objective", "recipe"))},
}  # fmt: skip


def write(scores: pd.DataFrame, folder: Path) -> Path:
    scores.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_is_none_is_refused_in_one_line_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    scores, said = REFUSED[name]
    file = str(write(scores, tmp_path))
    for command, out in (("leaderboard", "b.html"), ("plot", "drawn")):
        if (command, name) != ("plot", "no rows"):
            assert main([command, file, "--out", str(tmp_path / out)]) == 2
            err = capsys.readouterr().err
            assert err.startswith(f"hedgebench: {file}") and err.count("\n") == 1 and said in err
            assert not (tmp_path / out).exists()


@pytest.mark.parametrize("name", FINE)
def test_a_table_that_is_odd_but_whole_is_a_leaderboard_and_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    file = str(write(FINE[name], tmp_path))
    for suffix in ("html", "md", "csv"):
        assert main(["leaderboard", file, "--out", str(tmp_path / f"b.{suffix}")]) == 0
        assert (tmp_path / f"b.{suffix}").stat().st_size > 50 and capsys.readouterr().err == ""
    if not name.startswith(("no ", "odd words")):
        assert main(["plot", file, "--out", str(tmp_path / "drawn")]) == 0
    for make in FUNCTIONS:
        make(FINE[name])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("column", [name for name in SCORES if kind_of(name) != "string"])
def test_the_statistics_refuse_a_frame_that_lacks_a_column_or_has_another_type_in_it(
    function: Callable[[pd.DataFrame], Any], column: str
):
    for odd, said in ((ROWS.drop(columns=column), "has no column"), (put(column, "abc", 1), "is 'abc' in row 2")):
        try:
            function(odd)  # which may not need the column
        except BadInput as error:
            assert f"{said} {column!r}" in str(error) or f"{column} {said}" in str(error)


@pytest.mark.parametrize("function", [summary, noise, comparisons, report_card, dial_card])
def test_the_statistics_name_the_column_that_a_frame_lacks(function: Callable[[pd.DataFrame], Any]):
    for column in ("sae", "value", "seed", "architecture", "higher_is_better", "config", "train_seed"):
        with pytest.raises(BadInput, match=f"the scores table: no scores table: it has no column '{column}'"):
            function(ROWS.drop(columns=column))


def test_a_frame_without_types_becomes_a_scores_table(tmp_path: Path):
    untyped = pd.read_csv(write(ROWS, tmp_path))
    pd.testing.assert_frame_equal(scores_table(untyped), scores_table(ROWS))
    assert {name: str(scores_table(untyped)[name].dtype) for name in SCORES} == {name: kind_of(name) for name in SCORES}


def test_whole_numbers_are_read_to_the_last_digit(tmp_path: Path):
    rows = ROWS.assign(train_tokens=pd.array([2**62 + 1, *[None] * (len(ROWS) - 1)], dtype="Int64"))
    pd.testing.assert_frame_equal(hedgebench.results.read_table(write(rows, tmp_path)), scores_table(rows))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No columns to parse"),
        ("hello", "it has no column 'sae'"),
        (",,\n1,2,3\n", "it has no column 'sae'"),
        ("a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        ('a,"b\n1,2\n', "no scores table can be read"),
        ("\x00\x01", "no scores table"),
    ],
)
def test_a_file_that_is_no_table_is_told_in_one_line(tmp_path: Path, text: str, said: str):
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t.parquet").write_text(text)
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(BadInput, match=said if name == "t.csv" else "no scores table can be read") as error:
            hedgebench.results.read_table(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)


def test_a_mark_of_the_byte_order_is_no_part_of_a_name(tmp_path: Path):
    write(ROWS, tmp_path).write_text("\ufeff" + ROWS.to_csv(index=False), encoding="utf-8")
    assert len(hedgebench.results.read_table(tmp_path / "t.csv")) == len(ROWS)


def test_a_row_that_is_there_twice_is_there_once():
    assert len(scores_table(pd.concat([ROWS, ROWS[3:5]]))) == len(ROWS)
