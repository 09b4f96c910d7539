"""Minimal detectable differences, against statsmodels and against simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestIndPower

from hedgebench.stats.pairwise import ALPHA, compare
from hedgebench.stats.power import MOST, _found, detectable, power, seeds_needed


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_a_t_test_finds_a_difference_as_often_as_statsmodels_says(ratio, seeds):
    theirs = TTestIndPower().power(effect_size=ratio, nobs1=seeds, alpha=ALPHA)
    assert _found(ratio * np.sqrt(seeds / 2), 2 * (seeds - 1), ALPHA) == pytest.approx(theirs, rel=2e-3)


def test_pooled_variances_have_the_degrees_of_freedom_of_all_variants():
    shift, level = 3.0, ALPHA / 15
    assert power(3.0 / np.sqrt(2) * 5, 5.0, 4, 6) == pytest.approx(_found(shift, 18, level))
    assert power(3.0 / np.sqrt(2) * 5, 5.0, 4, 6, pooled=False) == pytest.approx(_found(shift, 6, level))


def test_a_threshold_that_scipy_has_no_tail_for_is_no_certainty():
    assert _found(7.0, 1, ALPHA / 66) < 0.05


def test_the_minimal_detectable_difference_is_found_with_the_power_that_it_is_for():
    for seeds, variants in ((2, 2), (3, 6), (5, 12)):
        assert power(detectable(3.0, seeds, variants), 3.0, seeds, variants) == pytest.approx(0.8, abs=1e-6)


def test_one_of_several_variants_is_found_as_often_as_predicted():
    rng = np.random.default_rng(0)
    difference = detectable(1.0, 3, 4)
    found = [
        compare([rng.normal(difference * (i == 0), 1, 3) for i in range(4)], pooled=True).adjusted[0] < ALPHA
        for _ in range(600)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 5), st.integers(2, 8))
def test_the_seeds_needed_are_the_fewest_that_do(ratio, variants):
    needed = seeds_needed(ratio, 1.0, variants)
    assert needed is not None and power(ratio, 1.0, needed, variants) >= 0.8
    assert needed == 2 or power(ratio, 1.0, needed - 1, variants) < 0.8


def test_more_variants_need_larger_differences_where_seeds_are_many_and_more_seeds_smaller_ones():
    assert detectable(1.0, 10, 2) < detectable(1.0, 10, 6) < detectable(1.0, 10, 20)
    assert detectable(1.0, 2, 6) > detectable(1.0, 3, 6) > detectable(1.0, 10, 6)


def test_what_has_no_noise_is_found_and_what_is_no_difference_is_not():
    assert (power(1.0, 0.0, 2), power(0.0, 1.0, 2), detectable(0.0, 2)) == (1.0, 0.0, 0.0)
    assert seeds_needed(1.0, 0.0) == 2
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(0.01, 1.0) is None and MOST == 1000


def test_a_huge_difference_is_found():
    assert power(1e6, 1.0, 3, 5) == 1.0


@pytest.mark.parametrize(("seeds", "variants"), [(1, 2), (2, 1)])
def test_one_seed_or_one_variant_has_no_power(seeds, variants):
    with pytest.raises(ValueError, match="two"):
        power(1.0, 1.0, seeds, variants)
