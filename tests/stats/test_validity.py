"""Report cards of metrics whose right answer is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from known_scores import alone, table

from hedgebench.stats.answers import dials
from hedgebench.stats.validity import dial_card, report_card


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
    assert verdict(beside([0.8], [0.5], stderr=0.05, made_with='{"dtype": "float32"}'))["verdict"] == "right"
    assert verdict(beside([0.8], [0.5]))["unknown"] == 1


def test_what_the_control_cannot_change_tests_nothing():
    assert verdict(beside([0.8, 0.9], [0.8, 0.9], kind="permuted"))["verdict"] == "same"


def test_what_rounding_makes_of_equal_numbers_is_no_difference():
    assert verdict(beside([0.8, 0.9, 0.7], [0.8 + 1e-8, 0.9 + 2e-8, 0.7 + 1e-8], kind="permuted"))["verdict"] == "same"
    assert verdict(beside([2e-9, 3e-9, 2e-9], [5e-8, 5e-8, 6e-8]))["verdict"] == "same"


def test_noise_is_pooled_over_saes_that_may_be_equally_noisy():
    one, two = beside([0.5, 0.7, 0.6], [0.2, 0.2, 0.2]), beside([0.6, 0.5, 0.7], [0.2, 0.2, 0.2], name="b")
    assert verdict(one)["verdict"] == "right"  # t is 6.9, of which 4.3 is enough for one SAE
    assert (
        verdict(one, two)["verdict"] == "right"
    )  # and 6.2 would have to be passed by each of two alone, but 3.5 with the noise of both


def test_a_noisy_sae_is_not_made_sure_by_a_quiet_one():
    noisy, quiet = beside([0.9, 0.1, 0.5], [0.2] * 3), beside([0.500, 0.501, 0.499], [0.2] * 3, name="b")
    card = verdict(noisy, quiet)
    assert (card["right"], card["unknown"]) == (0, 2)  # nor the quiet one believed to be as quiet as it looks


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


# --- dials -------------------------------------------------------------------------------------------------------------------------


def dial(**amounts: list[float]) -> list[dict[str, Any]]:
    """An SAE `a` and its steps: `zero=[values], half=[...], whole=[...]`."""
    names = {"zero": "a", "quarter": "a/dead=0.25", "half": "a/dead=0.5", "whole": "a/dead=1"}
    return [row for step, values in amounts.items() for row in alone(names[step], values)]


def of_dial(*rows: list[dict[str, Any]]) -> pd.Series:
    (card,) = (row for _, row in dial_card(table([r for part in rows for r in part])).iterrows())
    return card


def test_a_metric_that_falls_with_the_dial_is_right_and_sees_the_first_step_that_is_beyond_its_noise():
    card = of_dial(dial(zero=[0.80, 0.82, 0.81], half=[0.79, 0.83, 0.80], whole=[0.2, 0.21, 0.22]))
    assert (card["verdict"], card["first"], card["amounts"], card["steps"]) == ("right", 1.0, "0.5 1", 1.0)
    assert card["gap"] == pytest.approx(0.6)
    early = of_dial(dial(zero=[0.80, 0.82, 0.81], half=[0.50, 0.53, 0.50], whole=[0.2, 0.21, 0.22]))
    assert early["first"] == 0.5


def test_a_metric_that_rises_anywhere_on_the_way_down_is_wrong():
    card = of_dial(dial(zero=[0.8, 0.801, 0.799], half=[0.300, 0.3001, 0.2999], whole=[0.5, 0.5001, 0.4999]))
    assert (card["verdict"], card["wrong"], card["steps"]) == ("wrong", 1, 0.5)
    assert card["p_wrong"] < 0.05


def test_a_rise_within_the_noise_is_no_wrong_answer():
    assert of_dial(dial(zero=[0.8, 0.9, 0.7], half=[0.81, 0.9, 0.72], whole=[0.1, 0.2, 0.0]))["verdict"] == "right"
    assert of_dial(dial(zero=[0.8, 0.9, 0.7], half=[0.81, 0.8, 0.72]))["verdict"] == "cannot tell"


def test_what_a_dial_does_not_touch_is_the_same():
    card = of_dial(dial(zero=[0.8, 0.9], half=[0.8, 0.9], whole=[0.8, 0.9]))
    assert (card["verdict"], card["first"]) == ("same", np.inf)


def test_an_amount_without_a_number_is_no_step():
    card = of_dial(dial(zero=[0.80, 0.82, 0.81], half=[0.4, 0.41, 0.39], whole=[np.nan] * 3))
    assert (card["amounts"], card["verdict"]) == ("0.5", "right")


def test_the_whole_control_is_the_end_of_its_dial():
    rows = [*alone("a", [0.8, 0.81]), *alone("a/permuted=0.5", [0.5, 0.51]), *alone("a/permuted", [0.1, 0.11])]
    assert of_dial(rows)["amounts"] == "0.5 1"
    assert dial_card(table([*alone("a", [0.8, 0.81]), *alone("a/permuted", [0.1, 0.11])])).empty


def test_names_that_only_look_like_a_dial_are_none():
    assert dials(["a", "a/b=c", "a/width=5", "dead=0.5", "b/dead=0.5"]) == {}


def test_among_many_equal_saes_few_rows_are_wrong_by_chance():
    """Under no difference at all, one verdict in twenty at most is not `cannot tell`, however many SAEs and steps there are."""
    generator = np.random.default_rng(0)
    rows = []
    for metric in range(200):
        for sae in "abcd":
            steps = [f"{sae}{end}" for end in ("", "/random", "/dead=0.25", "/dead=0.5", "/dead=1")]
            rows += [row for name in steps for row in alone(name, generator.normal(size=3), metric=f"m{metric}")]
    scores = table(rows)
    assert (report_card(scores)["verdict"] != "cannot tell").mean() <= 0.06
    assert (dial_card(scores)["verdict"] == "wrong").mean() <= 0.06
