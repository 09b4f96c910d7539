"""The interval of a mean over training and evaluation seeds together: cases with a known answer, and how often it holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hedgebench.stats.both_seeds import _quantile, over_both

SHAPES = [(2, 2), (2, 10), (3, 3), (5, 3), (5, 5), (10, 10)]


def simulated(rng, shape, training, evaluation, rest):
    a, b = shape
    return training * rng.normal(size=(a, 1)) + evaluation * rng.normal(size=(1, b)) + rest * rng.normal(size=shape)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_one_seed_has_a_mean_and_no_interval(shape):
    found = over_both(np.full(shape, 2.0))
    assert found.mean == 2.0 and math.isnan(found.low) and math.isnan(found.high)


def test_a_mean_without_noise_has_an_interval_of_no_width():
    assert over_both(np.full((2, 2), 3.0))[:3] == (3.0, 3.0, 3.0)


@pytest.mark.parametrize("values", [[[0.9, 0.8], [0.8, 0.9]], [[1, 2, 3], [2, 3, 1], [3, 1, 2]]])
def test_values_whose_means_agree_over_either_seed_and_that_move_all_the_same_have_an_interval(values):
    found = over_both(values)
    assert found.high - found.low > np.ptp(values) / len(values)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_where_only_one_seed_matters_it_is_students_interval_over_that_with_one_miss_in_as_many_less(seeds):
    means = np.random.default_rng(seeds).normal(size=seeds)
    values = np.repeat(means[:, None], seeds, axis=1)
    confidence = 1 - 0.05 * (seeds - 1) / seeds
    low, high = stats.ttest_1samp(means, 0).confidence_interval(confidence)
    for found in (over_both(values), over_both(values.T)):
        assert found.high - found.low == pytest.approx(high - low, rel=0.02)
        assert found.mean == pytest.approx(means.mean()) and (found.low + found.high) / 2 == pytest.approx(found.mean)


@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e120])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_moves_and_grows_with_the_values(shape, scale):
    values = simulated(np.random.default_rng(0), shape, 1, 1, 1)
    one, other = over_both(values), over_both(scale * (3 + values))
    assert other[:3] == pytest.approx([scale * (3 + end) for end in one[:3]], rel=1e-9, abs=0)


def test_training_and_evaluation_seeds_play_the_same_part():
    values = simulated(np.random.default_rng(0), (4, 4), 2, 0.5, 1)
    assert over_both(values)[:3] == pytest.approx(over_both(values.T)[:3], rel=0.02)


def test_more_confidence_is_a_wider_interval():
    values = simulated(np.random.default_rng(0), (3, 3), 1, 1, 1)
    widths = [over_both(values, level).high for level in (0.5, 0.8, 0.9, 0.95, 0.99)]
    assert widths == sorted(widths) and widths[0] < widths[-1]


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_quantiles_between_those_that_are_known_are_students(level):
    df = np.array([0.5, 0.7123, 1, 1.3, 2, 3.7, 11, 123.4, 1e5])
    assert _quantile(1 / df, level) == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-4)


@pytest.mark.parametrize("spreads", [(1, 1, 0.3), (1, 0, 0.3), (0, 0, 1), (0.3, 0.3, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_holds_the_truth_about_as_often_as_it_says(shape, spreads):
    rng = np.random.default_rng(0)
    found = [over_both(simulated(rng, shape, *spreads)) for _ in range(1000)]
    held = np.mean([one.low <= 0 <= one.high for one in found])
    few = min(shape) < 5
    assert (0.91 if few else 0.93) <= held <= (0.985 if few else 0.972)
