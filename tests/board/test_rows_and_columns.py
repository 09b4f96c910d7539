"""Rows with their L0, and which columns there are, in which order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_scores import alone, recipe, table

from hedgebench.board.board import make_board
from hedgebench.series import WIDEST, split_l0


def test_l0_is_as_measured_else_as_trained_else_k():
    rows = [
        *alone("measured", [21.0, 23.0], metric="l0", l0=99.0),
        *alone("trained", [1.0], l0=30.0),
        *alone("topk", [1.0], architecture="topk", k=40.0),
        *alone("unknown", [1.0], architecture="standard", k=None),
    ]
    found = [(row.name, row.l0, row.l0_from) for row in make_board(table(rows)).rows]
    assert found == [
        ("measured", 22.0, "an_eval"),
        ("trained", 30.0, "training"),
        ("topk", 40.0, "k"),
        ("unknown", None, ""),
    ]


def test_a_recipes_l0_is_the_mean_of_its_saes_and_from_one_source():
    rows = [{**row, "l0": 20.0 + row["train_seed"]} for row in recipe("mse", [[1.0], [2.0]])]
    (row,) = make_board(table(rows)).rows
    assert (row.l0, row.l0_from) == (20.5, "training")
    (row,) = make_board(table([*rows, *alone("mse-s0", [90.0], metric="l0", loss="mse", train_seed=0, l0=20.0)])).rows
    assert (row.l0, row.l0_from) == (20.5, "training")


def test_bands_are_split_at_the_largest_gaps():
    assert [tuple(band) for band in split_l0([20, 21, 19, 41, 40, 160])] == [(19, 21), (40, 41), (160, 160)]
    assert split_l0([]) == []


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=40))
def test_every_l0_is_in_one_band_that_is_narrow_enough(values: list[float]):
    bands = split_l0(values)
    for value in values:
        assert sum(band.low <= value <= band.high for band in bands) == 1
    assert all(band.high <= WIDEST * band.low or math.isclose(band.high, WIDEST * band.low) for band in bands)


def test_metrics_are_in_the_order_of_their_eval_and_parameters_in_that_of_numbers():
    rows = [
        *alone("a", [1.0], eval="saebench_tpp", metric="tpp_total_metric", params="n=10"),
        *alone("a", [1.0], eval="saebench_tpp", metric="tpp_total_metric", params="n=2"),
        *alone("a", [1.0], eval="saebench_core", metric="frac_alive"),
        *alone("a", [1.0], eval="saebench_core", metric="explained_variance"),
    ]
    names = [column.name for column in make_board(table(rows)).columns]
    assert names == ["tpp_total_metric n=2", "tpp_total_metric n=10", "explained_variance", "frac_alive"]


def test_the_board_begins_with_the_first_metrics_of_each_eval_that_have_a_better_end():
    rows = [
        *(row for m in "abcdefghij" for row in alone("x", [1.0], eval="many", metric=m)),
        *alone("x", [1.0], eval="many", metric="upstream_a"),
        *(
            row
            for m in ("plain", "plainer")
            for row in alone("x", [1.0], eval="neither", metric=m, higher_is_better=None)
        ),
        *(row for p in ("k=1", "k=5") for row in alone("x", [1.0], eval="one", metric="m", params=p)),
    ]
    first = [(column.key.setting.eval, column.name) for column in make_board(table(rows)).columns if column.first]
    assert first == [*(("many", m) for m in "abcdef"), ("neither", "plain"), ("one", "m k=1")]


def test_a_board_of_upstream_numbers_only_begins_with_them():
    (column,) = make_board(table(alone("x", [1.0], metric="upstream_a"))).columns
    assert column.first


@pytest.mark.parametrize(("name", "known"), [("decoder_bias", True), ("an_eval", False)])
def test_a_column_knows_its_metric_where_the_eval_is_installed(name: str, known: bool):
    (column,) = make_board(table(alone("x", [1.0], eval=name, metric="b_dec_norm"))).columns
    assert (column.metric is not None, column.package.startswith("hedgebench ")) == (known, known)
