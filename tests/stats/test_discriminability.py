"""How well a metric tells variants apart, against scipy and statsmodels."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hedgebench.stats.discriminability import discriminability, discriminability_paired
from hedgebench.stats.pairwise import compare, compare_paired, groups_apart


def simulated(v: int = 4, n: int = 5, seed: int = 0, step: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(i * step, 1.0, n + i % 2) for i in range(v)]


def test_what_rounding_makes_of_one_number_is_no_difference():
    third = 0.1 + 0.2
    assert math.isnan(discriminability([[0.3, third], [third, third]]).f)


def test_discriminability_is_the_analysis_of_variance():
    groups = [group[:5] for group in simulated(step=2.0)]
    found = discriminability(groups)
    theirs = stats.f_oneway(*groups)
    assert compare(groups).pooled
    assert (found.f, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert found.share == pytest.approx((found.f - 1) / (found.f - 1 + 5))
    assert found.groups == groups_apart(compare(groups))


@pytest.mark.parametrize("value", [576.0, 0.1, 1 / 3, 1e-7])
@pytest.mark.parametrize("sizes", [(2,) * 6, (3, 7, 6), (5, 10)])
def test_equal_numbers_are_told_apart_by_nothing(value: float, sizes: tuple[int, ...]):
    found = [discriminability([[value] * n for n in sizes]), discriminability_paired([[value, 2 * value]] * 4)]
    assert all(math.isnan(one.f) and one[1:] == (1.0, 0.0, 1) for one in found)
    assert not compare([[value] * n for n in sizes]).apart.any()


def test_where_noise_is_unequal_discriminability_finds_no_more_than_the_comparisons():
    rng = np.random.default_rng(0)
    tables = [[rng.normal(0, sd, n) for sd, n in ((1, 10), (1, 10), (5, 3))] for _ in range(400)]
    found = [discriminability(one) for one in tables]
    assert np.mean([one.p < 0.05 for one in found]) < 0.15  # .38 by the plain F ratio
    unpooled = next(one for one in tables if not compare(one).pooled)
    assert discriminability(unpooled).p == pytest.approx(compare(unpooled).adjusted.min())


def test_of_saes_it_is_the_two_way_analysis_of_variance():
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    values = np.random.default_rng(0).normal(size=(5, 4)) + np.arange(5)[:, None] + 7 * np.arange(4)
    long = pd.DataFrame(values).melt(ignore_index=False, var_name="seed").reset_index(names="sae")
    theirs = anova_lm(ols("value ~ C(sae) + C(seed)", long).fit()).loc["C(sae)"]
    found = discriminability_paired(values)
    assert (found.f, found.p) == pytest.approx((theirs["F"], theirs["PR(>F)"]))
    assert found.groups == groups_apart(compare_paired(values))
    assert discriminability_paired([[1.0, 2.0], [2.0, 3.0]])[:3] == (math.inf, pytest.approx(0.18, abs=0.005), 1.0)
    assert math.isnan(discriminability_paired([[1.0, 2.0], [1.0, 2.0]]).f)


def test_among_equal_variants_of_few_seeds_discriminability_is_as_rare_as_it_says():
    rng = np.random.default_rng(0)
    p = [discriminability(rng.standard_normal((12, 2))).p for _ in range(300)]
    assert np.mean(np.array(p) < 0.05) < 0.09


def test_a_metric_of_noise_tells_nothing_apart():
    found = discriminability([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    assert found == (0.0, 1.0, 0.0, 1)


def test_a_metric_without_noise_tells_all_apart():
    found = discriminability([[1.0] * 5, [2.0] * 5, [3.0] * 5])
    assert (found.f, found.share, found.groups) == (math.inf, 1.0, 3) and found.p < 1e-4
