"""Minimal detectable differences, against statsmodels and against simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestIndPower

from hedgebench.stats.pairwise import ALPHA, compare, compare_paired
from hedgebench.stats.power import MOST, _found, _limits, detectable, power, seeds_needed


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_a_t_test_that_always_pools_finds_a_difference_as_often_as_statsmodels_says(ratio, seeds):
    theirs = TTestIndPower().power(effect_size=ratio, nobs1=seeds, alpha=ALPHA)
    limits = _limits(seeds, 2, None, doubt=0.0)
    assert _found(ratio * np.sqrt(seeds / 2), limits) == pytest.approx(theirs, abs=0.01)


@pytest.mark.parametrize(("seeds", "variants"), [(2, 2), (3, 2), (3, 6), (10, 6)])
def test_tables_that_are_not_pooled_count(seeds, variants):
    """A quarter of the tables of equally noisy variants are not pooled; there a difference is found less often."""
    rng, difference = np.random.default_rng(0), detectable(1.0, seeds, variants)
    pairs = [compare([rng.normal(difference * (i == 0), 1, seeds) for i in range(variants)]) for _ in range(1500)]
    found = np.array([pair.adjusted[0] < ALPHA for pair in pairs])
    pooled = np.array([pair.pooled for pair in pairs])
    assert found.mean() == pytest.approx(0.8, abs=0.05)
    assert 0.7 < pooled.mean() < 0.82
    assert found[~pooled].mean() < 0.8 < found[pooled].mean()


@pytest.mark.parametrize("sds", [(1.0, 1.0), (4.0, 1.0), (1.0, 4.0)])
@pytest.mark.parametrize("seeds", [2, 5])
def test_where_nothing_is_pooled_the_noise_of_the_two_counts(sds, seeds):
    rng, difference = np.random.default_rng(0), detectable(sds, seeds)
    found = [
        compare([rng.normal(difference * i, sd, seeds) for i, sd in enumerate(sds)], pooled=False).adjusted[0] < ALPHA
        for _ in range(1500)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.035)


@pytest.mark.parametrize(("seeds", "saes"), [(2, 2), (3, 2), (3, 6), (5, 12), (10, 6)])
def test_saes_at_shared_evaluation_seeds_are_told_apart_as_predicted(seeds, saes):
    rng, difference = np.random.default_rng(0), detectable(1.0, seeds, saes, paired=True)
    better = difference * np.eye(saes)[0][:, None]
    values = (better + rng.normal(size=(saes, seeds)) + 5 * rng.normal(size=seeds) for _ in range(1500))
    assert np.mean([compare_paired(one).adjusted[0] < ALPHA for one in values]) == pytest.approx(0.8, abs=0.05)
    assert power(difference, 1.0, seeds, saes, paired=True) == pytest.approx(0.8, abs=1e-6)
    assert seeds_needed(difference * 1.001, 1.0, saes, paired=True) == seeds


def test_saes_that_are_not_equally_noisy_are_told_apart_by_their_own_differences():
    rng, difference = np.random.default_rng(0), detectable((3.0, 1.0), 4, 3, paired=True)
    sds, better = np.array([[3.0], [1.0], [1.0]]), difference * np.eye(3)[0][:, None]
    values = (better + sds * rng.normal(size=(3, 4)) + rng.normal(size=4) for _ in range(2000))
    found = [compare_paired(one, pooled=False).adjusted[0] < ALPHA for one in values]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_a_variant_without_noise_beside_a_noisy_one_is_compared_by_the_others_noise():
    assert detectable((1.0, 0.0), 5) == pytest.approx(detectable((1.0, 1e-4), 5), rel=1e-3)
    assert (seeds_needed(1.0, (0.0, 0.0)), seeds_needed(3.0, (1.0, 0.0))) == (2, seeds_needed(3.0, (0.0, 1.0)))


def test_the_minimal_detectable_difference_is_found_with_the_power_that_it_is_for():
    for seeds, variants in ((2, 2), (3, 6), (5, 12)):
        assert power(detectable(3.0, seeds, variants), 3.0, seeds, variants) == pytest.approx(0.8, abs=1e-6)


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
