"""How noisy one value is: closed forms."""

import numpy as np
import pytest

from hedgebench.regression.spread import (
    BELIEVED,
    SURE,
    Spread,
    in_steps,
    known,
    mixed,
    over_seeds,
    pooled,
    reach,
    rest,
    within,
)


def test_variances_are_pooled_by_their_degrees_of_freedom():
    assert pooled([known(1.0, 2.0), known(4.0, 4.0)]) == known(3.0, 6.0)
    assert pooled([]) is None


def test_others_are_believed_in_part_and_never_more_than_the_subject_itself():
    many = known(1.0, 100.0)
    assert mixed(known(0.4, 2.0), many) == Spread((2 * 0.4 + BELIEVED) / (2 + BELIEVED), BELIEVED, sure=SURE)
    assert mixed(known(9.0, 2.0), many) == Spread(9.0, BELIEVED, sure=SURE)
    assert mixed(known(0.4, 8.0), many)[1:] == (8.0, 8.0)
    assert mixed(known(0.4, 1.0), known(1.0, 2.0)).sure == 2.0
    assert mixed(known(1.0, 2.0), None) == known(1.0, 2.0)


def test_parts_of_a_sum_add_up_and_their_degrees_of_freedom_are_satterthwaites_and_the_sure_ones_the_fewer():
    assert known(1.0, 4.0).plus(known(1.0, 4.0)) == Spread(2.0, 8.0, sure=4.0)
    assert known(0.0, 4.0).plus(known(0.0, 2.0)) == known(0.0, 2.0)
    assert Spread(1.0, 4.0, sure=2.0).times(0.5) == Spread(0.5, 4.0, sure=2.0)


def test_what_seeds_do_to_all_alike_is_noise_over_seeds_and_not_of_differences():
    together = np.array([[0.0, 1.0, 5.0], [10.0, 11.0, 15.0]])
    found, left = over_seeds(together), rest(together)
    assert found is not None and left is not None
    assert found.variance == pytest.approx(together[0].var(ddof=1)) and found.df == pytest.approx(2.0)
    assert left == known(0.0, 2.0)


def test_single_values_have_no_spread():
    assert within(np.array([1.0])) is None
    assert within(np.array([1.0, 3.0])) == known(2.0, 1.0)
    assert over_seeds(np.array([[1.0], [2.0]])) is None and rest(np.array([[1.0, 2.0]])) is None


def test_the_reach_of_few_degrees_of_freedom_is_students():
    assert reach(known(4.0, 1.0), 0.95) == pytest.approx(2 * 12.706, rel=1e-4)


def test_a_value_in_steps_is_no_less_noisy_than_one_that_falls_on_either_side_of_a_step():
    assert in_steps(known(0.01, 2.0), 1.0, 1e-9) == known(np.var([0.0, 1.0]), 2.0)
    assert in_steps(known(3.0, 2.0), 1.0, 1e-9) == known(3.0, 2.0)
    assert in_steps(known(1e-20, 2.0), 1.0, 1e-9) == known(1e-20, 2.0)
