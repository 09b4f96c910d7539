"""Report cards of metrics whose right answer is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from known_scores import alone, table

from hedgebench.stats.validity import report_card


def beside(
    sae: list[float], control: list[float], kind: str = "random", name: str = "a", **more: Any
) -> list[dict[str, Any]]:
    shape = {"architecture": f"{kind}_control", "loss": None}
    return [*alone(name, sae, **more), *alone(f"{name}/{kind}", control, **{**more, **shape})]


def verdict(*rows: list[dict[str, Any]]) -> pd.Series:
    (card,) = (row for _, row in report_card(table([r for part in rows for r in part])).iterrows())
    return card


def test_a_metric_that_puts_the_sae_above_its_control_is_right():
    card = verdict(beside([0.8, 0.82, 0.81], [0.2, 0.21, 0.23]))
    assert (card["verdict"], card["right"], card["n_saes"]) == ("right", 1, 1)
    assert card["gap"] == pytest.approx(0.81 - 0.64 / 3)


def test_a_metric_that_puts_the_control_above_the_sae_is_wrong():
    assert verdict(beside([0.2, 0.21, 0.23], [0.8, 0.82, 0.81]))["verdict"] == "wrong"


def test_where_less_is_better_less_is_right():
    assert verdict(beside([0.2, 0.21, 0.23], [0.8, 0.82, 0.81], higher_is_better=False))["verdict"] == "right"


def test_no_sae_is_better_than_the_oracle():
    assert verdict(beside([0.8, 0.82, 0.81], [1.0, 1.0, 0.99], kind="oracle"))["verdict"] == "right"
    assert verdict(beside([1.0, 1.0, 0.99], [0.8, 0.82, 0.81], kind="oracle"))["verdict"] == "wrong"


def test_a_difference_within_the_noise_tells_nothing():
    assert verdict(beside([0.5, 0.7, 0.6], [0.6, 0.55, 0.58]))["verdict"] == "cannot tell"


def test_one_seed_is_held_against_the_numbers_own_standard_errors():
    assert verdict(beside([0.8], [0.5], stderr=0.05))["verdict"] == "right"
    assert verdict(beside([0.8], [0.5], stderr=0.2))["verdict"] == "cannot tell"
    assert verdict(beside([0.8], [0.5]))["unknown"] == 1


def test_what_the_control_cannot_change_tests_nothing():
    assert verdict(beside([0.8, 0.9], [0.8, 0.9], kind="permuted"))["verdict"] == "same"


def test_one_wrong_answer_is_enough_and_one_right_of_three_is_not():
    good, bad = beside([0.8, 0.82], [0.1, 0.11]), beside([0.1, 0.11], [0.8, 0.82], name="b")
    unclear = [beside([0.5, 0.7], [0.6, 0.5], name=name) for name in "cd"]
    assert verdict(good, bad)["verdict"] == "wrong"
    assert verdict(good, *unclear)["verdict"] == "cannot tell"


def test_principal_components_are_no_known_answer():
    assert report_card(table(beside([0.8, 0.8], [0.9, 0.9], kind="pca"))).empty


def test_a_metric_without_a_better_end_has_no_card():
    assert report_card(table(beside([0.8, 0.82], [0.1, 0.11], higher_is_better=None))).empty
    assert report_card(table([])).empty


def test_a_blank_is_not_an_answer():
    card = verdict(beside([0.8, 0.82, 0.81], [0.2, np.nan, np.nan]))
    assert card["verdict"] == "cannot tell"
