"""Comparing variants, against statsmodels and scipy."""

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from hedgebench.stats.pairwise import (
    ALPHA,
    compare,
    compare_paired,
    groups_apart,
    letters,
    rank_intervals,
    ranks,
)


def simulated(v: int = 4, n: int = 5, seed: int = 0, step: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(i * step, 1.0, n + i % 2) for i in range(v)]


def test_pooled_comparisons_are_those_of_the_linear_model():
    groups = simulated()
    frame = pd.DataFrame([{"v": str(i), "y": y} for i, group in enumerate(groups) for y in group])
    theirs = smf.ols("y ~ C(v)", frame).fit().t_test_pairwise("C(v)", method="holm").result_frame
    ours = compare(groups, pooled=True)
    assert np.abs(ours.difference) == pytest.approx(np.abs(theirs["coef"].to_numpy()))
    assert ours.stderr == pytest.approx(theirs["std err"].to_numpy())
    assert ours.adjusted == pytest.approx(theirs["pvalue-holm"].to_numpy())


def test_comparisons_that_are_not_pooled_are_welchs():
    groups = simulated()
    ours = compare(groups, pooled=False)
    theirs = [
        stats.ttest_ind(groups[i], groups[j], equal_var=False) for i, j in zip(ours.first, ours.second, strict=True)
    ]
    fewer = [min(len(groups[i]), len(groups[j])) - 1 for i, j in zip(ours.first, ours.second, strict=True)]
    assert ours.df == pytest.approx([min(found.df, 2 * n) for found, n in zip(theirs, fewer, strict=True)])
    p = [2 * stats.t.sf(abs(found.statistic), df) for found, df in zip(theirs, ours.df, strict=True)]
    assert ours.adjusted == pytest.approx(multipletests(p, method="holm")[1])


def test_variances_are_pooled_unless_there_is_reason_to_doubt_that_they_are_equal():
    rng = np.random.default_rng(0)
    alike = [rng.normal(size=200) for _ in range(4)]
    assert compare(alike).pooled and stats.bartlett(*alike).pvalue > 0.25
    assert not compare([*alike, 10 * rng.normal(size=200)]).pooled


@pytest.mark.parametrize("seed", range(5))
def test_the_doubt_is_bartletts(seed):
    groups = simulated(seed=seed)
    assert compare(groups).pooled == (stats.bartlett(*groups).pvalue >= 0.25)


def test_paired_comparisons_leave_out_what_a_seed_does_to_all():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 5)) + np.arange(4)[:, None]
    shifted = compare_paired(values + 100 * rng.normal(size=5))
    plain = compare_paired(values)
    assert shifted.adjusted == pytest.approx(plain.adjusted) and shifted.stderr == pytest.approx(plain.stderr)


def test_pooled_paired_comparisons_are_those_of_the_model_with_seeds_as_blocks():
    values = np.random.default_rng(0).normal(size=(4, 5)) + np.arange(4)[:, None]
    frame = pd.DataFrame([{"v": str(i), "s": str(j), "y": values[i, j]} for i in range(4) for j in range(5)])
    theirs = smf.ols("y ~ C(v) + C(s)", frame).fit().t_test_pairwise("C(v)", method="holm").result_frame
    ours = compare_paired(values, pooled=True)
    assert ours.stderr == pytest.approx(theirs["std err"].to_numpy())
    assert ours.adjusted == pytest.approx(theirs["pvalue-holm"].to_numpy())


def test_paired_comparisons_that_are_not_pooled_are_paired_t_tests():
    values = np.random.default_rng(0).normal(size=(4, 5)) + np.arange(4)[:, None]
    ours = compare_paired(values, pooled=False)
    theirs = [stats.ttest_rel(values[i], values[j]).pvalue for i, j in zip(ours.first, ours.second, strict=True)]
    assert ours.adjusted == pytest.approx(multipletests(theirs, method="holm")[1])


def test_a_simultaneous_interval_leaves_out_zero_only_where_the_pair_can_be_told_apart():
    for seed in range(20):
        pairs = compare(simulated(seed=seed))
        without = (pairs.low > 0) | (pairs.high < 0)
        assert (pairs.adjusted[without] < ALPHA).all()


def test_values_that_do_not_move_are_a_step_wide_so_that_two_seeds_tell_little_and_five_much():
    steps = [[1.0] * n + [2.0] * n for n in (2, 5)]
    few, many = (compare([values[: len(values) // 2], values[len(values) // 2 :]]) for values in steps)
    for pairs, n in ((few, 2), (many, 5)):
        assert pairs.stderr[0] == pytest.approx(math.sqrt(2 / 12 / n))
        assert pairs.adjusted[0] == pytest.approx(2 * stats.t.sf(1 / pairs.stderr[0], 2 * (n - 1)))
    assert few.adjusted[0] > 0.05 > many.adjusted[0]
    assert compare([[1.0, 1.0], [1.0, 1.0]]).adjusted[0] == 1


def test_saes_that_a_seed_moves_alike_by_a_step_are_not_told_apart_by_two_seeds():
    for pooled in (None, False):
        pairs = compare_paired([[0.90, 0.80], [0.95, 0.85]], pooled)
        assert pairs.stderr[0] == pytest.approx(math.sqrt(2 * 0.05**2 / 12 / 2)) and pairs.adjusted[0] > 0.05
    assert compare_paired([[0.90, 0.80, 0.70, 0.80], [0.95, 0.85, 0.75, 0.85]]).adjusted[0] < 0.05


def test_what_rounding_makes_of_one_number_is_no_difference():
    third = 0.1 + 0.2
    pairs = compare([[0.3, third], [third, third], [0.3, 0.3]])
    assert (pairs.adjusted == 1).all()


def test_one_value_is_refused():
    with pytest.raises(ValueError, match="one SAE"):
        compare([[1.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match="one evaluation seed"):
        compare_paired([[1.0], [2.0]])


def test_one_variant_has_no_pair():
    pairs = compare([[1.0, 2.0]])
    assert len(pairs.difference) == 0 and ranks(pairs, True).tolist() == [1] and groups_apart(pairs) == 1


SPREAD = [[0.0, 0.1, 0.2], [0.1, 0.2, 0.3], [5.0, 5.1, 5.2], [9.0, 9.1, 9.2]]
"""Four variants, of which the first two cannot be told apart."""


def test_variants_that_cannot_be_told_apart_share_a_rank():
    pairs = compare(SPREAD)
    assert ranks(pairs, True).tolist() == [3, 3, 2, 1]
    assert ranks(pairs, False).tolist() == [1, 1, 3, 4]


def test_groups_are_variants_that_can_each_be_told_from_each():
    assert groups_apart(compare(SPREAD)) == 3
    assert groups_apart(compare([[0.0, 1.0], [0.2, 1.2], [0.4, 1.4]])) == 1


def test_rank_intervals_hold_the_ranks_that_comparisons_leave_open():
    low, high = rank_intervals(compare(SPREAD), True)
    assert low.tolist() == [3, 3, 2, 1] and high.tolist() == [4, 4, 2, 1]


def test_rank_intervals_are_drawn_from_their_seed():
    pairs = compare(simulated(step=0.3))
    first, second = rank_intervals(pairs, True, seed=1), rank_intervals(pairs, True, seed=1)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_rank_intervals_hold_the_true_rank():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        low, high = rank_intervals(compare([rng.normal(i, 1.0, 3) for i in range(5)]), False, draws=400)
        held.append((low <= np.arange(1, 6)) & (np.arange(1, 6) <= high))
    assert np.mean(held) >= 0.95


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-100, 100))
def test_unit_and_order_change_no_verdict(seed, scale, shift):
    groups = simulated(seed=seed)
    plain, moved = compare(groups), compare([group * scale + shift for group in groups[::-1]])
    assert ranks(moved, True)[::-1].tolist() == ranks(plain, True).tolist()
    assert sorted(moved.adjusted) == pytest.approx(sorted(plain.adjusted), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("seeds", [(2, 2, 2, 2, 2, 2, 10, 10), (2, 2, 10), (2, 10, 10, 10)])
def test_equal_variants_of_unequally_many_seeds_are_told_apart_as_rarely_as_promised(seeds: tuple[int, ...]):
    rng = np.random.default_rng(0)
    false = [(compare([rng.standard_normal(n) for n in seeds]).adjusted < ALPHA).any() for _ in range(1500)]
    assert np.mean(false) < 0.055


def test_false_differences_are_rare():
    rng = np.random.default_rng(0)
    wrong = [bool((compare([rng.normal(size=3) for _ in range(6)]).adjusted < ALPHA).any()) for _ in range(1000)]
    assert np.mean(wrong) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.booleans())
def test_two_variants_share_a_letter_if_and_only_if_they_cannot_be_told_apart(seed, v, higher):
    pairs = compare(simulated(v, 3, seed, step=1.5))
    found = [set(group) for group in letters(pairs, higher)]
    for i in range(v):
        for j in range(i):
            assert bool(found[i] & found[j]) is not bool(pairs.apart[i, j])
    assert "a" in found[int(np.argmax(pairs.means if higher else -pairs.means))]


def test_in_a_chain_the_middle_shares_a_letter_with_both_ends():
    chain = compare([[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]])
    apart = chain.adjusted.copy()
    apart[:] = [1.0, 0.01, 1.0]  # of the pairs 01, 02, 12
    assert letters(chain._replace(adjusted=apart), True) == ["b", "ab", "a"]


def test_past_the_alphabet_letters_come_in_pairs():
    certain = compare([[float(i), float(i)] for i in range(28)])
    assert letters(certain, False)[24:] == ["y", "z", "(aa)", "(ab)"]


@pytest.mark.parametrize(("v", "n", "step"), [(12, 2, 0.2), (12, 2, 0.5), (8, 2, 1.0), (12, 3, 1.0)])
def test_a_metric_that_comes_in_steps_has_no_more_false_differences(v, n, step):
    """Few values of it are often the same, which is no sign that nothing is noise."""
    rng = np.random.default_rng(0)
    found = [
        (compare(list(np.round(rng.normal(size=(v, n)) / step) * step)).adjusted < ALPHA).any() for _ in range(200)
    ]
    assert np.mean(found) <= 0.08


def test_a_huge_value_changes_nothing_between_others():
    rng = np.random.default_rng(0)
    near, far = ([rng.normal(mean, 0.01, 3) for mean in (0.32, 0.72, 0.51)] for _ in range(2))
    pairs = compare([*near, 1e12 + far[0]])
    assert pairs.difference[0] == pytest.approx(near[0].mean() - near[1].mean(), rel=1e-6)
    assert pairs.adjusted[0] < ALPHA and pairs.stderr[0] > 1e-3
