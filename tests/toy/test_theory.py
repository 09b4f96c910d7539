"""The closed forms of the tied latent and of the bias, against enumeration, grids, descent and sampling."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hedgebench.toy import theory
from hedgebench.toy.margins import parent_margins, principal_direction, snap_margin, zero_margin
from hedgebench.types import BadInput

PROBABILITY = st.floats(0.01, 1.0)
PATTERNS = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])  # parent alone, both, child alone
CIRCLE = np.linspace(-math.pi, math.pi, 1441)  # every quarter of a degree: all kinks are on the grid
LOSSES = {"mse": (theory.tied_mse, 2), "l2": (theory.tied_l2, 1)}


def enumerated(angles, probabilities, power):
    """The expected loss of the SAE ReLU(x.d) d itself, over the three inputs that are not zero."""
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    activations = np.maximum(rows @ PATTERNS.T, 0)
    errors = PATTERNS - activations[..., None] * rows[..., None, :]
    return np.linalg.norm(errors, axis=-1) ** power @ np.asarray(probabilities)


def grid_minima(values, tolerance=1e-12):
    """Angles of the circle's grid that lie strictly below both neighbours."""
    below = values[:-1] < np.minimum(np.roll(values[:-1], 1), np.roll(values[:-1], -1)) - tolerance
    return CIRCLE[:-1][below]


def descend(start, probabilities, power, step=1e-4):
    """Walk downhill on the enumerated loss, one small step after the other, from an angle; the angle where it ends."""
    angle = start
    for _ in range(100_000):
        here, left, right = enumerated(np.array([angle, angle - step, angle + step]), probabilities, power)
        if min(left, right) >= here:
            return angle
        angle += step if right < left else -step
    raise AssertionError("no end in sight")


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=40, deadline=None)
@given(PROBABILITY, PROBABILITY, st.floats(0, 1))
def test_the_curve_is_the_expected_loss_of_the_sae_itself_on_the_whole_circle(loss, p0, p1, p2):
    curve, power = LOSSES[loss]
    np.testing.assert_allclose(curve(CIRCLE, p0, p1, p2), enumerated(CIRCLE, (p0, p1, p2), power), atol=1e-12)


def test_between_the_features_the_curves_are_the_formulas_of_the_rows():
    t = np.linspace(0, math.pi / 2, 91)
    np.testing.assert_allclose(theory.tied_mse(t, 0.2, 0.05), 0.2 * np.sin(t) ** 2 + 0.05 * (1 - np.sin(2 * t)))
    np.testing.assert_allclose(
        theory.tied_l2(t, 0.2, 0.05), 0.2 * np.sin(t) + 0.05 * abs(np.cos(t) - np.sin(t)), atol=1e-15
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_curve_is_what_sampling_gives(loss):
    curve, power = LOSSES[loss]
    rng = np.random.default_rng(0)
    f0 = rng.random(200_000) < 0.25
    f1 = rng.random(200_000) < np.where(f0, 0.2, 0.1)
    x, d = np.stack([f0, f1], axis=1).astype(float), np.array([math.cos(0.4), math.sin(0.4)])
    losses = np.linalg.norm(x - np.maximum(x @ d, 0)[:, None] * d, axis=1) ** power
    stderr = losses.std() / math.sqrt(len(losses))
    assert losses.mean() == pytest.approx(float(curve(0.4, 0.2, 0.05, 0.075)), abs=4 * stderr)


@settings(max_examples=100, deadline=None)
@given(PROBABILITY, PROBABILITY, st.floats(0, 1))
def test_mse_has_one_minimum_and_it_is_at_the_closed_form(p0, p1, p2):
    values = enumerated(CIRCLE, (p0, p1, p2), 2)
    (found,) = grid_minima(values, 0)
    best = theory.mse_angle(p0, p1, p2)
    assert abs(best - found) <= CIRCLE[1] - CIRCLE[0]
    assert theory.tied_mse(best, p0, p1, p2) <= values.min() + 1e-15


@settings(max_examples=100, deadline=None)
@given(PROBABILITY, PROBABILITY, st.floats(0, 1))
def test_the_best_latent_under_mse_is_the_first_principal_direction_of_the_inputs(p0, p1, p2):
    moments = (PATTERNS * np.array([[p0], [p1], [p2]])).T @ PATTERNS
    first = np.linalg.eigh(moments)[1][:, -1]
    angle = theory.mse_angle(p0, p1, p2)
    assert abs(first @ [math.cos(angle), math.sin(angle)]) == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(PROBABILITY, PROBABILITY)
def test_mse_always_hedges_strictly_between_the_two_and_by_the_root_of_the_quadratic(p0, p1):
    r = theory.mse_ratio(p0, p1)
    assert 0 < r < 1
    assert p1 * r**2 + p0 * r - p1 == pytest.approx(0, abs=1e-15)
    assert r == pytest.approx(math.tan(theory.mse_angle(p0, p1)))


def test_only_a_child_that_never_fires_with_the_parent_is_left_out_by_mse():
    assert theory.mse_ratio(0.2, 0.0) == 0
    assert theory.mse_ratio(0.2, 1e-12) == pytest.approx(5e-12)


def test_the_hierarchical_row_has_a_quarter_of_the_child():
    r = theory.mse_ratio(0.20, 0.05)
    assert r == pytest.approx((-0.2 + math.sqrt(0.05)) / 0.1)
    assert round(r, 3) == 0.236
    assert round(math.sin(math.atan(r)), 3) == 0.230


def test_the_posts_interpolation_is_r_over_one_plus_r_and_back():
    r = theory.mse_ratio(0.20, 0.05)
    a = theory.interpolation(math.atan(r))
    assert a == pytest.approx(r / (1 + r))
    assert theory.interpolation_angle([0, a, 0.5, 1]) == pytest.approx([0, math.atan(r), math.pi / 4, math.pi / 2])
    row = np.array([1 - a, a]) / np.linalg.norm([1 - a, a])
    assert row == pytest.approx([math.cos(math.atan(r)), math.sin(math.atan(r))])


@settings(max_examples=200, deadline=None)
@given(PROBABILITY, PROBABILITY, st.floats(0, 1))
def test_the_minima_of_l2_are_those_of_the_grid_with_their_values(p0, p1, p2):
    assume(
        min(abs(p0 - p1), abs(p2 - p1), abs(2 * p1 - abs(p0 - p2))) > 0.02
    )  # a slope of zero is no matter for a grid
    found = theory.l2_minima(p0, p1, p2)
    assert sorted(m.angle for m in found) == pytest.approx(list(grid_minima(enumerated(CIRCLE, (p0, p1, p2), 1))))
    for minimum in found:
        assert enumerated(np.array(minimum.angle), (p0, p1, p2), 1) == pytest.approx(minimum.loss)
    assert [m.loss for m in found] == sorted(m.loss for m in found)
    assert found[0].loss == pytest.approx(enumerated(CIRCLE, (p0, p1, p2), 1).min())


JUST_BELOW, JUST_ABOVE = 1 - 1e-6, 1 + 1e-6


@pytest.mark.parametrize(
    ("holds", "threshold", "holds_below"),
    [
        (theory.parent_is_minimum, 1.0, True),
        (theory.merged_is_minimum, 0.5, False),
        (theory.parent_is_global, 1 / math.sqrt(2), True),
        (theory.snap_reaches_parent, 2 / 3, True),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 0.2, 0.01])
def test_each_threshold_turns_exactly_at_its_ratio(holds, threshold, holds_below, scale):
    assert holds(scale, scale * threshold * JUST_BELOW) is holds_below
    assert holds(scale, scale * threshold * JUST_ABOVE) is not holds_below


def test_the_named_thresholds_are_those_of_the_rows():
    named = theory.PARENT_IS_MINIMUM, theory.MERGED_IS_MINIMUM, theory.PARENT_IS_GLOBAL, theory.SNAP_REACHES_PARENT
    assert named == pytest.approx((1, 0.5, 1 / math.sqrt(2), 2 / 3))
    assert theory.snap_threshold() == pytest.approx(2 / 3)


def test_two_equally_good_minima_are_neither_of_them_the_global_one():
    first, second, _ = theory.l2_minima(0.3, 0.01, 0.3)
    assert {first.kind, second.kind} == {"parent", "child"} and first.loss == second.loss
    assert not theory.parent_is_global(0.3, 0.01, 0.3)
    assert theory.parent_is_global(0.31, 0.01, 0.3)


@pytest.mark.parametrize("p2", [0.0, 0.1, 0.4, 0.8])
@pytest.mark.parametrize(("factor", "end"), [(0.97, 0.0), (1.03, math.pi / 4)])
def test_walking_down_l2_from_the_best_of_mse_ends_where_the_threshold_says(p2, factor, end):
    p1 = theory.snap_threshold(p2) * factor
    start = descend(0.1, (1.0, p1, p2), 2)
    assert start == pytest.approx(theory.mse_angle(1.0, p1, p2), abs=2e-4)
    assert descend(start, (1.0, p1, p2), 1) == pytest.approx(end, abs=2e-4)
    assert theory.snap_reaches_parent(1.0, p1, p2) is (end == 0.0)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 0.99))
def test_the_snap_threshold_with_a_child_that_is_also_alone_is_where_the_prediction_turns(c):
    threshold = theory.snap_threshold(c)
    assert theory.snap_reaches_parent(1.0, threshold * (1 - 1e-6), c)
    assert not theory.snap_reaches_parent(1.0, threshold * (1 + 1e-6), c)


def test_the_more_a_child_fires_alone_the_less_snap_can_take():
    thresholds = [theory.snap_threshold(c) for c in np.linspace(0, 1, 21)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[-1] == 0


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("l2", 1)])
@pytest.mark.parametrize("p", [0.05, 0.2, 0.45, 0.55, 0.9])
def test_the_bias_that_hedges_is_the_mean_under_mse_and_the_median_under_l2(loss, power, p):
    b = np.linspace(-1, 2, 3001)
    # Four inputs of two independent features (p0 = .25); the latent is right about f0, so f1 - b is what remains.
    four = sum(q0 * (p if f1 else 1 - p) * np.abs(f1 - b) ** power for q0 in (0.25, 0.75) for f1 in (0, 1))
    np.testing.assert_allclose(theory.bias_loss(b, p, loss), four, atol=1e-15)
    assert b[four.argmin()] == pytest.approx(theory.hedged_bias(p, loss), abs=1e-9)


def test_the_bias_of_the_independent_row_is_the_firing_probability():
    assert theory.hedged_bias(0.2, "mse") == 0.2
    assert theory.hedged_bias(0.2, "l2") == 0


def test_the_median_of_points_is_at_zero_exactly_where_zero_holds_more_than_the_others_pull():
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 0.1]])
    assert zero_margin(points, [0.6, 0.3, 0.4]) == pytest.approx(0.6 - 0.5)  # unit vectors, whatever their length
    assert zero_margin(points, [0.4, 0.3, 0.4]) == pytest.approx(0.4 - 0.5)
    assert zero_margin(points[1:], [0.3, 0.4]) == pytest.approx(-0.5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_the_margin_is_the_least_slope_away_from_zero(seed):
    rng = np.random.default_rng(seed)
    rest = np.vstack([np.zeros(3), rng.normal(size=(6, 3))])
    weights = rng.random(7)
    turn = np.linspace(0, 2 * math.pi, 361)
    tilt = np.linspace(0, math.pi, 181)[:, None]
    sphere = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt) + 0 * turn], -1).reshape(
        -1, 3
    )
    at_zero = weights @ np.linalg.norm(rest, axis=1)
    near = np.linalg.norm(rest - 1e-6 * sphere[:, None], axis=2) @ weights
    assert ((near - at_zero) / 1e-6).min() == pytest.approx(zero_margin(rest, weights), abs=2e-3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_the_first_margin_is_the_least_slope_of_the_tied_latents_loss_at_the_parent(seed):
    rng = np.random.default_rng(seed)
    firings = np.vstack(
        [np.diag(rng.random(3) + 0.5)] + [(rng.random(3) < 0.6) * (rng.random(3) + 0.5) for _ in range(5)]
    )
    probabilities = rng.dirichlet(np.ones(len(firings)))
    turn = np.linspace(0, 2 * math.pi, 3601)
    away = np.stack([0 * turn, np.cos(turn), np.sin(turn)], axis=-1)

    def loss(rows):
        activations = np.maximum(rows @ firings.T, 0)
        return np.linalg.norm(firings - activations[..., None] * rows[:, None], axis=-1) @ probabilities

    step = 1e-6
    slopes = (loss(math.cos(step) * np.eye(3)[:1] + math.sin(step) * away) - loss(np.eye(3)[:1])) / step
    assert slopes.min() == pytest.approx(parent_margins(firings, probabilities)[0], abs=1e-4)


def test_two_features_hold_the_parent_where_it_is_alone_more_often_than_not_and_the_bias_where_nothing_fires_more_often():
    firings = [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert parent_margins(firings, [0.6, 0.2, 0.1, 0.1]) == pytest.approx((0.2 - 0.1, 0.6 - 0.1))
    assert parent_margins(firings, [0.6, 0.2, 0.1, 0.1], parent=1) == pytest.approx((0.0, 0.6 - 0.2))


def test_a_parent_that_never_fires_alone_is_never_a_minimum():
    children = np.eye(14)
    firings = np.hstack([np.ones((14, 1)), children])
    assert parent_margins(firings, np.full(14, 0.02))[0] == pytest.approx(-0.02 * math.sqrt(14))


def test_many_exclusive_children_leave_the_parent_alone_more_easily_than_one():
    """Their pulls are orthogonal: with the same chance of a child, n of them pull 1 / sqrt(n) as hard."""
    for n in (1, 4, 9):
        firings = np.vstack([np.eye(n + 1)[:1], np.eye(n + 1)[1:] + np.eye(n + 1)[:1]])
        assert parent_margins(firings, [0.5, *[0.3 / n] * n])[0] == pytest.approx(0.5 - 0.3 / math.sqrt(n))


FOUR = [[0, 0], [1, 0], [1, 1], [0, 1]]
"""Nothing, parent alone, both, child alone."""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_with_a_bias_the_best_latent_under_mse_is_the_first_principal_axis(weights):
    p = np.array(weights) / sum(weights)
    covariance = np.cov(np.array(FOUR).T, aweights=p, ddof=0)
    values, axes = np.linalg.eigh(covariance)
    assume(values[1] - values[0] > 1e-3)
    angle = theory.principal_angle(*p[1:])
    row = np.array([math.cos(angle), math.sin(angle)])
    assert abs(row @ axes[:, 1]) == pytest.approx(1)
    assert abs(row @ principal_direction(FOUR, p)) == pytest.approx(1)
    assert abs(angle) <= math.pi / 2  # both ends are one axis


@pytest.mark.parametrize(
    ("given_f0", "otherwise", "child"), [(0.2, 0.2, 0.0), (0.2, 0.0, 0.243), (0.2, 0.1, 0.222), (0.1, 0.2, -0.350)]
)
def test_the_rows_with_a_bias_are_principal_axes(given_f0, otherwise, child):
    angle = theory.principal_angle(0.25 * (1 - given_f0), 0.25 * given_f0, 0.75 * otherwise)
    assert math.sin(angle) == pytest.approx(child, abs=5e-4)


def test_where_inputs_are_rare_a_bias_makes_no_difference():
    assert theory.principal_angle(2e-6, 1e-6, 5e-7) == pytest.approx(theory.mse_angle(2, 1, 0.5), abs=1e-5)


def test_an_axis_points_along_its_largest_part():
    assert principal_direction([[0, 0, 0], [0, 1, 1], [0, 1, 0]], [0.5, 0.1, 0.4])[1] > 0.9
    # Variances .21 and .16, covariance -.06.
    assert principal_direction([[0, 0], [1, 0], [0, 1]], [0.5, 0.3, 0.2]) == pytest.approx(np.array([3, -2]) / 13**0.5)


def turning_point(margin, low, high):
    """Where a function of one number turns from negative to positive."""
    assert margin(low) < 0 < margin(high)
    for _ in range(30):
        low, high = ((low + high) / 2, high) if margin((low + high) / 2) < 0 else (low, (low + high) / 2)
    return high


@pytest.mark.parametrize("c", [0.0, 0.1, 0.3])
def test_with_rare_inputs_the_snap_margin_turns_at_the_closed_form_of_the_tied_latent(c):
    def margin(ratio):
        p = 1e-4 * np.array([1, ratio, c])
        return snap_margin(FOUR, [1 - p.sum(), *p])

    assert turning_point(lambda r: -margin(r), 0.01, 0.99) == pytest.approx(theory.snap_threshold(c), abs=2e-3)


@pytest.mark.parametrize("n", [2, 3, 8, 30])
@pytest.mark.parametrize("parent", [0.05, 0.25, 0.5])
def test_with_several_exclusive_children_the_snap_margin_turns_where_the_parent_becomes_a_minimum(n, parent):
    firings = np.vstack([np.zeros((1, n + 1)), np.eye(n + 1)[:1], np.eye(n + 1)[:1] + np.eye(n + 1)[1:]])

    def margin(alone):
        return snap_margin(firings, [1 - parent, parent * alone, *[parent * (1 - alone) / n] * n])

    assert turning_point(margin, 0.01, 0.99) == pytest.approx(1 / (1 + math.sqrt(n)), abs=1e-3)


def test_the_snap_margin_is_negative_for_a_feature_that_is_not_the_largest_part_of_the_axis():
    often = [0.2, 0.05, 0.05, 0.7]
    assert snap_margin(FOUR, often, parent=0) < 0
    lead = (2 - 3) / 13**0.5  # the axis is along (-2, 3)
    assert snap_margin([[0, 0], [1, 0], [0, 1]], [0.5, 0.2, 0.3], parent=0) == pytest.approx(lead)
    assert snap_margin([[0, 0], [1, 0], [0, 1]], [0.5, 0.2, 0.3], parent=1) > 0


def test_with_independent_features_the_snap_margin_is_that_of_the_perfect_latent():
    independent = [0.75 * 0.8, 0.25 * 0.8, 0.25 * 0.2, 0.75 * 0.2]
    margins = parent_margins(FOUR, independent)
    assert snap_margin(FOUR, independent) == pytest.approx(min(margins)) == pytest.approx(0.25 * 0.6)
    assert snap_margin(FOUR, [0.75 * 0.4, 0.25 * 0.4, 0.25 * 0.6, 0.75 * 0.6]) < 0  # more often than not


@settings(max_examples=60, deadline=None)
@given(st.floats(0.2, 0.6), st.floats(0, 0.5), st.floats(0, 0.3))
def test_the_snap_margin_of_two_features_is_the_least_slope_of_the_tied_latents_curve_up_to_the_axis(
    f0, given_f0, otherwise
):
    p = np.array([(1 - f0) * (1 - otherwise), f0 * (1 - given_f0), f0 * given_f0, (1 - f0) * otherwise])
    angle = theory.principal_angle(*p[1:])
    assume(0.05 < abs(angle) < math.pi / 4 - 0.05)
    lead = math.cos(angle) - abs(math.sin(angle))
    angles = np.linspace(0, angle, 2001)
    slopes = np.diff(theory.tied_l2(angles, *p[1:])) / abs(angles[1])
    assert snap_margin(FOUR, p) == pytest.approx(min(lead, *parent_margins(FOUR, p), slopes.min()), abs=2e-3)


def test_probabilities_that_sum_to_more_than_one_have_no_axis():
    with pytest.raises(BadInput, match="at most 1"):
        theory.principal_angle(0.5, 0.4, 0.2)


@pytest.mark.parametrize("bad", [(-0.1, 0.2), (0.0, 0.0), (math.nan, 0.1), (0.1, math.inf)])
@pytest.mark.parametrize(
    "function",
    [
        theory.mse_angle,
        theory.mse_ratio,
        theory.l2_minima,
        theory.snap_reaches_parent,
        lambda *p: theory.tied_l2(0, *p),
    ],
)
def test_what_is_no_probability_is_refused(function, bad):
    with pytest.raises(BadInput, match="not negative"):
        function(*bad)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_a_threshold_is_known_for_children_no_more_frequent_than_the_parent(bad):
    with pytest.raises(BadInput, match="from 0 to 1"):
        theory.snap_threshold(bad)
