"""What a leaderboard's cells hold: means, never over a blank and never of two versions, and the reasons of blanks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from known_boards import write_run
from known_scores import alone, recipe, table

from hedgebench.board.board import Board, Cell, make_board
from hedgebench.board.rows import about_controls
from hedgebench.types import BadInput

THREE = [
    *recipe("mse", [[0.50, 0.52], [0.51, 0.53], [0.52, 0.54]]),
    *recipe("l2", [[0.51, 0.53], [0.50, 0.52], [0.52, 0.54]]),
    *recipe("snap", [[0.80, 0.82], [0.81, 0.83], [0.82, 0.84]]),
]
"""Only snap is another."""


def cell(board: Board, row: str, column: int = 0) -> Cell:
    (found,) = (i for i, made in enumerate(board.rows) if made.name == row)
    return board.cells[found][column]


def test_seeds_of_one_recipe_are_one_row_with_its_mean_interval_and_rank():
    board = make_board(table(THREE))
    assert [row.name for row in board.rows] == ["mse", "l2", "snap"]
    mse, snap = cell(board, "mse"), cell(board, "snap")
    assert mse.mean == pytest.approx(0.52) and (mse.n_saes, mse.n_seeds) == (3, 2)
    assert set(mse.intervals) == {"training", "evaluation", "both"}
    assert mse.rank is not None and mse.rank[:3] == (2, 2, 3)
    assert snap.rank is not None and snap.rank.rank == 1
    assert len(mse.values) == 6


def test_a_recipe_with_a_blank_has_no_mean_and_the_others_are_ranked_without_it():
    other = [{**row, "metric": "size"} for row in THREE]
    board = make_board(table([row for row in THREE if row["sae"] != "mse-s1"] + other))
    blank = cell(board, "mse")
    assert blank.mean is None and blank.rank is None and len(blank.values) == 4
    assert (
        blank.why
        == "1 of 3 SAEs without a number, and no mean is taken over a blank (mse-s1: its run has no such number in the table)"
    )
    assert cell(board, "l2").rank is not None and cell(board, "l2").rank[:3] == (2, 2, 2)  # type: ignore[index]


@pytest.mark.parametrize(
    ("other", "apart", "why"),
    [
        ({"eval_version": 2}, "version", "(version 1), but with (version 2)"),
        ({"data": "another-text"}, "on", "(on a-text), but with (on another-text)"),
        ({"config": '{"n": 2}'}, "n", "(no n), but with (n = 2)"),
    ],
    ids=["version", "data", "settings"],
)
def test_numbers_of_two_versions_data_sets_or_settings_are_in_two_columns(other: dict[str, Any], apart: str, why: str):
    board = make_board(table([*alone("a", [1.0]), *alone("b", [2.0], **other)]))
    assert len(board.columns) == 2
    assert [[c.mean for c in line] for line in board.cells] == [[1.0, None], [None, 2.0]]
    assert len({column.apart for column in board.columns}) == 2 and all(
        apart in column.apart for column in board.columns
    )
    unlike, like = why.removeprefix("(").removesuffix(")").split("), but with (")
    assert cell(board, "b").why == f"not in the table with these settings {why}"
    assert cell(board, "a", 1).why == f"not in the table with these settings ({like}), but with ({unlike})"


def test_subsets_are_no_columns():
    board = make_board(table([*alone("a", [1.0]), *alone("a", [2.0], slice_by="letter", slice_value="q")]))
    assert [column.name for column in board.columns] == ["quality"]


def test_two_records_of_one_seed_are_a_blank_and_say_so():
    twice = {"sae": "a", "seed": 0, "value": 9.0, "run_id": "another"}
    board = make_board(table([*alone("a", [1.0]), twice, *alone("b", [2.0])]))
    assert cell(board, "a").mean is None and "none is preferred" in cell(board, "a").why
    assert {value["value"] for value in cell(board, "a").values.values()} == {1.0, 9.0}


def test_a_number_that_is_there_twice_is_one_number():
    board = make_board(table([*alone("a", [1.0]), {"sae": "a", "seed": 0, "value": 1.0, "run_id": "another"}]))
    assert (cell(board, "a").mean, cell(board, "a").n_seeds) == (1.0, 1)


def test_saes_without_an_evaluation_seed_in_common_have_no_mean_and_their_seeds_are_named():
    rows = [row | {"seed": row["seed"] + 2 * row["train_seed"]} for row in recipe("mse", [[0.5, 0.6], [0.7, 0.8]])]
    assert (
        cell(make_board(table(rows)), "batchtopk").why
        == "its SAEs have no evaluation seed in common (mse-s0: 0, 1; mse-s1: 2, 3)"
    )
    twice = {**rows[0], "seed": 2, "value": 0.9}
    board = make_board(table([*rows, twice, twice | {"value": 0.8, "run_id": "another"}]))
    assert "(mse-s0: 0, 1; mse-s1: 2, 3)" in cell(board, "batchtopk").why  # of two numbers at seed 2, none is preferred


def test_a_blank_names_no_sae_that_has_its_number_twice():
    rows = [*recipe("mse", [[0.5], [0.6]]), *alone("z", [1.0], metric="size")]
    twice = {**rows[0], "run_id": "another"}
    less = [row for row in rows if row["sae"] != "mse-s1"]
    board = make_board(table([*less, twice, {**rows[1], "metric": "size"}]))
    assert cell(board, "batchtopk").why.endswith("(mse-s1: its run has no such number in the table)")


def test_an_sae_that_was_run_on_two_models_is_a_row_for_each():
    rows = [*alone("a", [1.0]), *alone("a", [3.0], model="another", run_id="r"), *alone("b", [2.0])]
    board = make_board(table(rows))
    assert [(row.name, line[0].mean) for row, line in zip(board.rows, board.cells, strict=True)] == [
        ("a (a-model)", 1.0),
        ("a (another)", 3.0),
        ("b", 2.0),
    ]
    assert [row.facts["model"] for row in board.rows] == ["a-model", "another", "a-model"]


def test_a_run_on_a_second_model_that_failed_is_a_blank_of_its_own_row(tmp_path: Path):
    write_run(tmp_path, "a", {"quality": 0.8})
    write_run(tmp_path, "a", {}, model="another", status="failed", error="no such model")
    board = make_board(tmp_path)
    assert {row.name: line[0].why for row, line in zip(board.rows, board.cells, strict=True)} == {
        "a (a-model)": "",
        "a (another)": "failed: no such model",
    }


def test_where_no_number_is_of_a_whole_sae_there_are_rows_and_no_columns(tmp_path: Path):
    board = make_board(table(alone("a", [2.0], slice_by="letter", slice_value="q")))
    assert ([row.name for row in board.rows], board.columns, board.cells) == (["a"], [], [[]])
    write_run(tmp_path, "broken", {}, status="failed", error="odd")
    assert [row.name for row in make_board(tmp_path).rows] == ["broken"]


def test_numbers_as_large_as_numbers_can_be_have_means_intervals_and_ranks():
    largest = 1.7e308
    rows = [*recipe("mse", [[largest], [0.99 * largest]]), *recipe("snap", [[-largest], [-0.99 * largest]])]
    board = make_board(table([row | {"chance": largest} for row in rows]))
    mse, snap = cell(board, "mse"), cell(board, "snap")
    assert mse.mean == pytest.approx(0.995 * largest) and mse.chance == largest
    assert mse.rank is not None and snap.rank is not None and (mse.rank.rank, snap.rank.rank) == (1, 2)
    assert all(math.isfinite(end) for ends in mse.intervals.values() for end in ends) and mse.intervals


def test_chance_is_the_mean_of_the_saes_own():
    rows = [{**row, "chance": 0.1 if row["sae"].endswith("s0") else 0.3} for row in recipe("mse", [[1.0], [2.0]])]
    assert cell(make_board(table(rows)), "batchtopk").chance == pytest.approx(0.2)


def test_random_controls_are_told_from_saes():
    control = alone("mse-s0/random", [0.20, 0.22], architecture="random_control", loss=None)
    board = make_board(table([*THREE, *control]))
    assert [row.control for row in board.rows] == [None, None, None, "random"]
    snap = cell(board, "snap")
    assert snap.way is not None and (snap.way.control, snap.way.start) == (pytest.approx(0.21), pytest.approx(0.21))
    assert snap.of_best == pytest.approx(1) and cell(board, "mse-s0/random").rank is None


def test_a_row_is_held_against_the_random_controls_of_its_own_width_that_have_the_most_evaluation_seeds():
    rows = [*alone("a", [0.5, 0.6], width=64), *alone("b", [0.8, 0.9], width=128), *alone("c", [0.9, 1.0], width=256)]
    controls = {"a": [[0.0, 0.0], [0.2, 0.2], [0.9]], "b": [[0.7]]}
    for name, width in (("a", 64), ("b", 128)):
        for i, values in enumerate(controls[name]):
            rows += alone(f"{name}{i}/random", values, architecture="random_control", loss=None, width=width)
    board = make_board(table(rows))
    ways = [cell(board, name).way for name in "abc"]
    assert [way and way[:3] for way in ways] == [(pytest.approx(0.1), 2, True), (0.7, 1, True), (pytest.approx(0.1), 2, False)]  # fmt: skip
    assert cell(board, "b").of_best == pytest.approx((0.85 - 0.7) / (0.95 - 0.7))


def test_an_interval_that_is_nothing_but_rounding_has_no_length():
    rows = [*alone("a", [0.4, 0.4 + 1e-16, 0.4]), *alone("b", [0.4, 0.4 + 1e-6, 0.4])]
    ends = {name: cell(make_board(table(rows)), name).intervals["evaluation"] for name in "ab"}
    assert ends["a"][0] == ends["a"][1] and ends["b"][1] - ends["b"][0] > 1e-6


def test_what_control_rows_are_is_said_of_each_kind():
    kinds = {"random": "random", "pca": "pca", "oracle": "oracle", "permuted": "permuted", "permuted=0.2": "permuted", "dead=0.5": "dead"}  # fmt: skip
    rows = [alone(f"a/{kind}", [0.1], architecture=f"{said}_control")[0] for kind, said in kinds.items()]
    assert about_controls(make_board(table([*alone("a", [0.5]), *rows])).rows) == (
        "Controls are made to compare with (random, permuted: learnt nothing; pca: the principal components of the activations, computed and not learnt; "
        "oracle: the true features themselves, or an SAE that was given the answers; permuted=…, dead=…: SAEs made worse by a known amount)."
    )
    assert about_controls(make_board(table(alone("a", [0.5]))).rows) == ""


def test_ranks_at_matched_l0_are_among_rows_of_like_l0_only():
    near = [
        {**row, "l0": 20.0} for row in recipe("mse", [[0.5], [0.51], [0.52]]) + recipe("snap", [[0.8], [0.81], [0.82]])
    ]
    far = [
        {**row, "l0": 80.0} for row in recipe("l2", [[0.9], [0.91], [0.92]]) + recipe("top", [[0.95], [0.96], [0.97]])
    ]
    board = make_board(table([*near, *far]))
    assert [row.band for row in board.rows] == [0, 0, 1, 1]
    ranks = {
        row.name: (line[0].rank.rank, line[0].matched.rank) for row, line in zip(board.rows, board.cells, strict=True)
    }  # type: ignore[union-attr]
    assert ranks == {"mse": (4, 2), "snap": (3, 1), "l2": (2, 2), "top": (1, 1)}


def test_why_there_are_no_ranks_is_said():
    def why(rows: Any) -> str:
        return next(iter(make_board(table(rows)).unranked.values()), "")

    assert why(THREE) == ""
    assert "neither end" in why([{**row, "higher_is_better": None} for row in THREE])
    assert "no two rows have several training seeds" in why([*alone("a", [1.0]), *alone("b", [2.0])])
    apart = [row | {"seed": row["seed"] + 2} for row in alone("b", [2.0, 2.1])]
    assert "or several evaluation seeds in common" in why([*alone("a", [1.0, 1.1]), *apart])
    assert "more than 300 rows" in why([row for i in range(301) for row in alone(f"sae-{i}", [1.0, float(i)])])


def test_a_blank_says_what_came_of_the_run(tmp_path: Path):
    write_run(tmp_path, "good", {"quality": 0.8, "size": 1.0})
    write_run(tmp_path, "broken", {}, status="failed", error="ValueError: odd")
    write_run(tmp_path, "shy", {}, status="skipped", error="dead latents only")
    write_run(tmp_path, "partial", {"size": 2.0}, missing={"quality": "no probe passed"})
    write_run(tmp_path, "silent", {"size": 2.0})
    write_run(tmp_path, "elsewhere", {}, data="another-text", status="failed", error="no such text")
    write_run(tmp_path, "newcomer", {"other": 1.0}, eval="another_eval")
    board = make_board(tmp_path)
    (at,) = (i for i, column in enumerate(board.columns) if column.name == "quality")
    assert {row.name: line[at].why for row, line in zip(board.rows, board.cells, strict=True)} == {
        "good": "",
        "broken": "failed: ValueError: odd",
        "shy": "cannot be measured: dead latents only",
        "partial": "left blank: no probe passed",
        "silent": "its run reports no such number",
        "elsewhere": "not run with these settings (on a-text), but with (on another-text); failed: no such text",
        "newcomer": "not run",
    }


@pytest.mark.parametrize("circumstance", [{"dtype": "bfloat16"}, {"revision": "r2"}])
def test_another_numeric_type_or_model_revision_is_another_column(tmp_path: Path, circumstance: dict[str, str]):
    write_run(tmp_path, "a", {"quality": 0.8})
    write_run(tmp_path, "b", {"quality": 0.9}, **circumstance)
    board = make_board(tmp_path)
    (name,) = circumstance
    assert [[c.mean for c in line] for line in board.cells] == [[0.8, None], [None, 0.9]]
    assert {column.apart.split(" = ")[0] for column in board.columns} == {name}


def test_versions_of_sae_bench_are_not_mixed_where_they_decide_numbers(tmp_path: Path):
    for name, version in (("a", "0.6.0"), ("b", "0.6.1")):
        for eval_name in ("saebench_core", "decoder_bias"):
            write_run(tmp_path, name, {"quality": 0.8}, eval=eval_name, versions={"sae-bench": version})
    apart = [(column.key.setting.eval, column.apart) for column in make_board(tmp_path).columns]
    assert apart == [
        ("decoder_bias", ""),
        ("saebench_core", "sae-bench = 0.6.0"),
        ("saebench_core", "sae-bench = 0.6.1"),
    ]


def test_a_table_without_anything_that_is_optional_is_a_board():
    nothing = dict.fromkeys(
        [
            "architecture",
            "loss",
            "width",
            "k",
            "model",
            "hook",
            "layer",
            "data",
            "eval_version",
            "config",
            "higher_is_better",
        ]
    )
    board = make_board(table([{"sae": "a", "value": 1.0, **nothing}]))
    assert (board.rows[0].l0, board.rows[0].band, board.cells[0][0].mean, board.cells[0][0].intervals) == (
        None,
        None,
        1.0,
        {},
    )


def test_what_is_no_scores_table_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="it has no column 'run_id'"):
        make_board(table(THREE).drop(columns="run_id"))
    with pytest.raises(BadInput, match="holds no number"):
        make_board(table([]))
    with pytest.raises(BadInput, match="no records of HedgeBench"):
        make_board(tmp_path)
    with pytest.raises(BadInput, match="no such results folder"):
        make_board(tmp_path / "nowhere")
    (tmp_path / "odd.csv").write_text("sae,width\na,wide\n")
    with pytest.raises(BadInput, match=r"odd\.csv"):
        make_board(tmp_path / "odd.csv")


def test_a_written_table_gives_the_same_board(tmp_path: Path):
    from hedgebench.results import write_table

    scores = table([*THREE, *alone("far", [2**53 + 1.0], train_tokens=2**53 + 1)])
    boards = [make_board(write_table(scores, tmp_path / name)) for name in ("t.csv", "t.parquet")]
    assert boards[0] == boards[1] == make_board(scores)
