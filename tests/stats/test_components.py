"""Variance components and intervals over seeds, against statsmodels and closed forms."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from hedgebench.stats.components import components, mean_squares, noise_floor, over_evaluation, over_training

VARIANT = np.repeat(["a", "b", "c"], [4, 5, 3])


def simulated(training: float, evaluation: float, rest: float, b: int = 4, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = len(VARIANT)
    means = np.array([0.0, 3.0, -2.0])[np.unique(VARIANT, return_inverse=True)[1]]
    parts = rng.normal(size=(a, 1)) * training, rng.normal(size=(1, b)) * evaluation, rng.normal(size=(a, b)) * rest
    return means[:, None] + sum(parts)


def long(values: np.ndarray) -> pd.DataFrame:
    a, b = values.shape
    return pd.DataFrame(
        {
            "value": values.ravel(),
            "variant": np.repeat(VARIANT, b),
            "sae": np.repeat(np.arange(a), b),
            "seed": np.tile(np.arange(b), a),
        }
    )


def test_mean_squares_are_those_of_the_analysis_of_variance():
    values = simulated(1.0, 0.5, 0.3)
    frame = long(values)
    within = frame["value"] - frame.groupby("variant")["value"].transform("mean")
    found = mean_squares(values, VARIANT)
    table = anova_lm(smf.ols("value ~ C(sae) + C(seed)", frame.assign(value=within)).fit())
    # statsmodels counts SAEs less 1; within their variants there are SAEs less variants
    assert found.training * found.training_df == pytest.approx(table.loc["C(sae)", "sum_sq"])
    assert found.training_df == 12 - 3
    assert (found.evaluation, found.evaluation_df) == pytest.approx((table.loc["C(seed)", "mean_sq"], 3))
    assert (found.rest, found.rest_df) == pytest.approx((table.loc["Residual", "mean_sq"], 33))


def test_components_are_those_of_restricted_maximum_likelihood():
    values = simulated(1.0, 0.6, 0.3)
    frame = long(values).assign(all=1)
    crossed = {"sae": "0 + C(sae)", "seed": "0 + C(seed)"}
    fit = smf.mixedlm("value ~ C(variant)", frame, groups="all", vc_formula=crossed).fit(reml=True)
    theirs = dict(zip(fit.model.exog_vc.names, np.sqrt(fit.vcomp), strict=True))
    ours = components(values, VARIANT)
    assert ours.training == pytest.approx(theirs["sae"], rel=1e-3)
    assert ours.evaluation == pytest.approx(theirs["seed"], rel=1e-3)
    assert ours.rest == pytest.approx(math.sqrt(fit.scale), rel=1e-3)


def test_components_of_many_seeds_are_the_true_ones():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(400, 1)) * 2 + rng.normal(size=(1, 300)) * 3 + rng.normal(size=(400, 300))
    found = components(values, ["all"] * 400)
    assert (found.training, found.evaluation, found.rest) == pytest.approx((2, 3, 1), rel=0.1)


def test_a_source_with_one_seed_is_not_told():
    one_training = components([[1.0, 2.0], [5.0, 7.0]], ["a", "b"])
    assert one_training.training is None and one_training.evaluation is not None and one_training.rest is not None
    one_evaluation = components([[1.0], [2.0], [4.0]], ["a", "a", "a"])
    assert one_evaluation.training == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert one_evaluation.evaluation is None and one_evaluation.rest is None
    assert components([[1.0]], ["a"])[:3] == (None, None, None)


def test_a_component_below_zero_is_zero():
    found = components([[1.0, -1.0], [-1.0, 1.0]], ["a", "a"])
    assert (found.training, found.evaluation) == (0.0, 0.0) and found.rest == pytest.approx(2.0)


def test_the_noise_floor_is_the_spread_of_one_sae_over_evaluation_seeds():
    values = np.array([[1.0, 2.0, 6.0]])
    found = noise_floor(values)
    assert found.sd == pytest.approx(values.std(ddof=1)) and found.cv == pytest.approx(found.sd / 3)
    low, high = (math.sqrt(2 * found.sd**2 / stats.chi2.ppf(q, 2)) for q in (0.975, 0.025))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_more_saes_at_the_same_seeds_say_no_more_about_what_the_seeds_do_to_all():
    shared = np.array([0.0, 1.0, 3.0])
    one, many = noise_floor(shared[None]), noise_floor(np.repeat(shared[None], 50, axis=0))
    assert many.sd == pytest.approx(one.sd) and (many.low, many.high) == pytest.approx((one.low, one.high))


def test_a_metric_without_noise_has_a_floor_of_zero_and_one_seed_has_none():
    assert noise_floor(np.ones((3, 4))) == (0.0, 0.0, 0.0, 0.0)
    assert noise_floor(np.zeros((3, 4))).cv is None
    assert noise_floor(np.ones((3, 1))) == (None, None, None, None)


def test_each_interval_is_of_the_means_over_the_other_seed():
    values = np.array([[1.0, 2.0], [2.0, 4.0], [6.0, 6.0]])
    over = over_training(values)
    assert (over.mean, over.n) == (3.5, 3)
    assert (over.low, over.high) == pytest.approx(stats.ttest_1samp([1.5, 3, 6], 0).confidence_interval(0.95))
    over = over_evaluation(values)
    assert (over.mean, over.n) == (3.5, 2)
    assert (over.low, over.high) == pytest.approx(stats.ttest_1samp([3, 4], 0).confidence_interval(0.95))


@pytest.mark.parametrize("over", [over_training, over_evaluation])
def test_one_seed_has_a_mean_and_no_interval(over):
    found = over([[2.0]])
    assert found.mean == 2.0 and math.isnan(found.low) and math.isnan(found.high)
