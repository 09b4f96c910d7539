"""The board as Markdown and CSV; names from anybody's files are text there and nothing else."""

from __future__ import annotations

import csv
import io
import math
import re

import pytest
from known_boards import HOSTILE
from known_scores import alone, recipe, table

from hedgebench.board.board import make_board
from hedgebench.board.csv_rows import csv_text
from hedgebench.board.markdown import markdown
from hedgebench.one_line import markdown_text

ROWS = [
    *recipe("mse", [[0.50, 0.52], [0.51, 0.53], [0.52, 0.54]]),
    *recipe("snap", [[0.80, 0.82], [0.81, 0.83], [0.82, 0.84]]),
    *alone("mse-s0/random", [0.20, 0.22], architecture="random_control", loss=None),
    *alone("late", [5.0], eval="another_eval", metric="size", higher_is_better=False, width=64),
]


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_line_of_the_csv_is_one_cell_blank_ones_with_their_reason():
    found = {(line["row"], line["metric"]): line for line in lines(csv_text(make_board(table(ROWS))))}
    assert len(found) == 4 * 2
    mse, blank = found["mse", "quality"], found["late", "quality"]
    assert float(mse["mean"]) == pytest.approx(0.52) and (mse["n_saes"], mse["n_seeds"], mse["rank"]) == ("3", "2", "2")
    assert float(mse["training_low"]) < 0.52 < float(mse["training_high"])
    assert mse["run_ids"].count("mse-s") == 6 and mse["blank"] == ""
    assert (blank["mean"], blank["rank"], blank["blank"]) == ("", "", "not in the table")


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\tx", "\rx"])
def test_no_text_of_the_csv_is_a_formula_and_numbers_stay_numbers(name: str):
    found = lines(csv_text(make_board(table(alone(name, [-0.5])))))
    assert found[0]["row"] == "'" + name.replace("\r", " ") and float(found[0]["mean"]) == -0.5


def test_the_csv_says_what_a_share_is_of():
    found = {line["row"]: line for line in lines(csv_text(make_board(table(ROWS)))) if line["metric"] == "quality"}
    snap = {
        name: found["snap"][name] for name in ("random_control", "random_control_seeds", "start", "best", "of_best")
    }
    assert {name: float(value) for name, value in snap.items()} == pytest.approx(
        {"random_control": 0.21, "random_control_seeds": 2, "start": 0.21, "best": 0.82, "of_best": 1}
    )
    assert found["late"]["start"] == found["late"]["random_control_seeds"] == found["snap"]["of_best_low"] == ""


def test_the_csv_has_the_interval_of_a_share_of_the_way_to_an_oracle():
    rows = [*alone("a", [0.49, 0.51]), *alone("a/oracle", [1.0, 1.0], architecture="oracle_control")]
    found, *_ = lines(csv_text(make_board(table({**row, "chance": 0.0} for row in rows))))
    ends = [float(found[name]) for name in ("of_best_low", "of_best", "of_best_high")]
    assert ends == pytest.approx([0.5 - 12.706 * 0.01, 0.5, 0.5 + 12.706 * 0.01], abs=1e-4)


def test_markdown_has_the_mean_half_of_the_interval_and_the_rank():
    text = markdown(make_board(table(ROWS)), "A title")
    assert text.startswith("# A title\n")
    (snap,) = (line for line in text.splitlines() if line.startswith("| snap"))
    half = re.search(r"0\.820? ±(0\.\d+)", snap)
    assert half is not None and float(half[1]) > 0 and " te (#1, a)" in snap
    assert text.index("| *control* mse-s0/random") > text.index("| snap")
    assert "blank (1)" in text and "1. not in the table" in text


def test_markdown_says_of_each_interval_what_it_is_over_and_of_controls_what_they_are():
    about, table_lines = (markdown(make_board(table(ROWS)), "t").split("\n\n")[i] for i in (1, 2))
    assert "te: over training and evaluation seeds; e: over evaluation seeds alone, of these very weights" in about
    assert "Controls are made to compare with \\(random: learnt nothing\\). They come last." in about
    signs = dict(re.findall(r"^\| (\S*).*?±\S+ (te?|e)\b", table_lines.replace("*control* ", ""), re.M))
    assert signs == {"mse": "te", "snap": "te", "mse-s0/random": "e"}


def test_markdown_marks_a_mean_over_fewer_evaluation_seeds_than_others():
    text = markdown(make_board(table([*alone("a", [1.0, 2.0]), *alone("b", [1.5])])), "t")
    (a,), (b,) = ([line for line in text.splitlines() if line.startswith(f"| {name} ")] for name in "ab")
    assert "(1 of 2 evaluation seeds)" in b and "evaluation seeds)" not in a


def test_markdown_explains_nothing_that_it_does_not_show():
    text = markdown(make_board(table(alone("a", [1.0]))), "t")
    assert "±" not in text and "rank" not in text and "more columns" not in text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_starts_nothing_in_markdown(name: str):
    text = markdown(make_board(table([*alone(name, [1.0]), *alone("other", [2.0])])), name)
    escaped = markdown_text(name)
    assert not re.search(r"(?<!\\)[`*_\[\]|<>]", escaped)
    assert "://" not in escaped and "\n" not in escaped
    table_lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table_lines) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table_lines}) == 1


def test_a_half_that_is_nothing_or_large_is_readable():
    rows = [*recipe("same", [[0.5], [0.5]]), *recipe("huge", [[1e9], [3e9]])]
    text = markdown(make_board(table(rows)), "t")
    assert "0.5 (does not move, t)" in text and "2e+09 ±1.3e+10" in text
    assert math.isfinite(float(re.search(r"±(\S+)", text)[1]))  # type: ignore[index]
