"""Standard errors against closed forms and against the bootstrap."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgebench.stats.intervals import complete, mean_interval, ratio_interval, slope_interval, step_intervals
from hedgebench.stats.units import jackknife, ratio_of_sums
from hedgebench.types import CannotMeasure


def correlated_units(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    den = generator.uniform(1, 5, n)
    return 0.7 * den + generator.normal(0, 0.5, n), den


def test_a_ratio_over_equal_units_is_the_mean_with_its_usual_standard_error():
    num = np.array([1.0, 2.0, 4.0, 9.0])
    value, stderr, n = ratio_of_sums(num, np.full(4, 2.0))
    assert (value, n) == (2.0, 4)
    assert stderr == pytest.approx((num / 2).std(ddof=1) / 2, rel=1e-12)


def test_the_delta_method_agrees_with_the_bootstrap_over_units_of_unequal_size():
    num, den = correlated_units(300)
    value, stderr, _ = ratio_of_sums(num, den)
    draws = np.random.default_rng(1).integers(300, size=(20_000, 300))
    bootstrap = num[draws].sum(1) / den[draws].sum(1)
    assert value == pytest.approx(float(bootstrap.mean()), abs=0.1 * stderr)
    assert stderr == pytest.approx(float(bootstrap.std()), rel=0.03)


def test_the_standard_error_is_the_spread_of_the_estimate_over_fresh_samples():
    estimates, stderrs = zip(*(ratio_of_sums(*correlated_units(50, seed))[:2] for seed in range(2000)), strict=True)
    assert np.mean(stderrs) == pytest.approx(np.std(estimates), rel=0.05)


def test_a_ratio_that_is_the_same_in_every_unit_has_no_error():
    den = np.array([1.0, 5.0, 2.0])
    assert ratio_of_sums(3 * den, den) == (3.0, 0.0, 3)


def test_one_unit_gives_a_value_and_no_error():
    assert ratio_of_sums([3.0], [4.0]) == (0.75, None, 1)


def test_a_unit_that_adds_nothing_is_not_counted():
    num, den = correlated_units(5)
    assert ratio_of_sums([*num, 0.0], [*den, 0.0]) == ratio_of_sums(num, den)


def test_sums_of_float32_tensors_are_taken_in_float64():
    num = torch.tensor([2.0**25, 1.0, 1.0, 1.0])
    assert ratio_of_sums(num, torch.ones(4))[0] == (2**25 + 3) / 4


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.integers(0, 1000), st.floats(0.01, 100), st.floats(-5, 5))
def test_a_ratio_follows_scale_and_shift_of_its_numerator(n, seed, scale, shift):
    num, den = correlated_units(n, seed)
    value, stderr, _ = ratio_of_sums(num, den)
    moved, moved_stderr, _ = ratio_of_sums(-scale * num + shift * den, den)
    assert moved == pytest.approx(-scale * value + shift, abs=1e-9)
    assert moved_stderr == pytest.approx(scale * stderr, rel=1e-6)


@pytest.mark.parametrize("den", [[0.0, 0.0], [1.0, -1.0]])
def test_a_zero_denominator_cannot_be_measured(den):
    with pytest.raises(CannotMeasure, match="denominator is zero"):
        ratio_of_sums([1.0, 1.0], den)


def test_no_units_cannot_be_measured():
    with pytest.raises(CannotMeasure, match="no unit"):
        ratio_of_sums([], [])


@pytest.mark.parametrize(
    ("num", "den", "message"),
    [
        (np.ones(3), np.ones(2), "found 3 and 2"),
        (np.ones((2, 1)), np.ones(2), "expected two vectors"),
        ([1.0, math.nan], [1.0, 1.0], "NaN or an infinity"),
        ([1.0, 1.0], [math.inf, 1.0], "NaN or an infinity"),
    ],
)
def test_units_that_are_not_numbers_of_one_length_are_refused(num, den, message):
    with pytest.raises(ValueError, match=message):
        ratio_of_sums(num, den)


def test_the_jackknife_of_a_mean_is_its_usual_standard_error():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 3)))
    values, stderrs, n = jackknife(lambda total, count: total / count[..., None], x, torch.ones(40))
    assert n == 40
    torch.testing.assert_close(values, x.mean(0))
    torch.testing.assert_close(stderrs, x.std(0, correction=1) / math.sqrt(40))


def test_the_jackknife_and_the_delta_method_agree_on_a_ratio_of_sums():
    num, den = correlated_units(400)
    value, stderr, _ = ratio_of_sums(num, den)
    values, stderrs, _ = jackknife(lambda a, b: (a / b)[..., None], *map(torch.from_numpy, (num, den)))
    assert values.item() == pytest.approx(value, rel=1e-12)
    assert stderrs.item() == pytest.approx(stderr, rel=0.01)


def test_the_jackknife_of_one_unit_has_no_error():
    values, stderrs, n = jackknife(lambda a: a[..., None], torch.tensor([2.0]))
    assert (values.tolist(), stderrs, n) == ([2.0], None, 1)


def test_the_jackknife_refuses_units_of_different_number():
    with pytest.raises(ValueError, match="found 3 and 2"):
        jackknife(lambda a, b: a / b, torch.ones(3), torch.ones(2))


def test_the_interval_of_a_mean_is_students():
    found = mean_interval([1.0, 2.0, 4.0, 9.0])
    reach = 3.182446305 * np.std([1, 2, 4, 9], ddof=1) / 2  # t at .975 with 3 degrees of freedom, from any table
    assert (found.mean, found.n) == (4.0, 4)
    assert (found.low, found.high) == (pytest.approx(4 - reach), pytest.approx(4 + reach))
    assert str(found) == f"4.000 [{4 - reach:.3f}, {4 + reach:.3f}]"


def test_an_interval_holds_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3, 2, size=(4000, 5))
    inside = [mean_interval(row, 0.9).low <= 3 <= mean_interval(row, 0.9).high for row in draws]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_a_ratio_of_means_lies_in_its_interval_as_often_as_it_says_also_where_both_move_together():
    num, den = np.random.default_rng(0).normal(size=(2, 4000, 4))
    found = [ratio_interval(3 + a + b, 10 + b, 0.9) for a, b in zip(num, den, strict=True)]
    assert not any(math.isnan(one.low) for one in found)
    assert np.mean([one.low <= 0.3 <= one.high for one in found]) == pytest.approx(0.9, abs=0.02)


def test_a_ratio_whose_denominator_may_be_zero_has_no_interval():
    assert math.isnan(ratio_interval([1.0, 2.0, 3.0], [-1.0, 4.0, 0.5]).low)
    assert math.isnan(ratio_interval([1.0], [2.0]).high) and ratio_interval([1.0], [2.0]).mean == 0.5
    with pytest.raises(CannotMeasure, match="denominator is zero"):
        ratio_interval([1.0, 2.0], [1.0, -1.0])


def test_no_interval_is_invented_for_one_value():
    found = mean_interval([2.5])
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert "no interval" in str(found)
    with pytest.raises(CannotMeasure):
        mean_interval([])


def test_a_slope_is_that_of_each_unit_by_itself():
    x, unit = [0.0, 1.0, 2.0, 0.0, 3.0, 5.0], ["a", "a", "a", "b", "b", "c"]
    found = slope_interval(x, [1.0, 3.0, 5.0, 10.0, 22.0, -100.0], unit)  # a: 2, b: 4, c has no slope
    assert (found.n, found.mean) == (2, pytest.approx(3.0)) and found == pytest.approx(mean_interval([2.0, 4.0]))


def test_a_slope_is_numpys():
    x, y = np.random.default_rng(0).normal(size=(2, 50)) * 1e3
    assert slope_interval(x, y, np.zeros(50)).mean == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-9)


def test_without_two_different_x_there_is_no_slope():
    with pytest.raises(CannotMeasure, match="no unit to average over"):
        slope_interval([1.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0, 0, 1])
    with pytest.raises(ValueError, match="3 values, but 2 units"):
        slope_interval([1.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0, 0])


def test_a_table_is_complete_without_an_x_that_most_units_lack_and_without_a_unit_that_most_x_lack():
    assert complete([1, 1, 2, 2, 4], ["a", "b", "b", "a", "a"]).tolist() == [True] * 4 + [False]
    assert complete([1, 1, 1, 2, 2, 4, 4], list("abcabab")).tolist() == [True, True, False, True, True, True, True]
    # the one unit that all x have is alone at none of them
    assert complete([1, 1, 2, 2, 3, 3], list("abbcbd")).tolist() == [False, True, True, False, True, False]
    assert complete([1, 1, 2, 3, 4], list("abccc")).tolist() == [False, False, True, True, True]
    assert complete([1, 1, 2, 3], list("abcc")).tolist() == [True, True, False, False]
    assert complete([1, 2], ["a", "a"]).all() and complete([], []).tolist() == []


def test_a_step_is_the_mean_change_of_the_units_that_have_both_ends():
    x = [1, 1, 2, 2, 4]
    found = step_intervals(x, [0.0, 1.0, 3.0, 5.0, 6.0], ["a", "b", "a", "b", "a"])
    assert list(found) == ["1 to 2", "2 to 4"] and found["1 to 2"] == mean_interval([3.0, 4.0])
    assert (found["2 to 4"].mean, found["2 to 4"].n) == (3.0, 1)
    assert step_intervals([1, 2], [0.0, 1.0], ["a", "b"]) == {}
