"""What growing did to old latents, against closed forms and hand-made pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_growth import exact_pair, pair
from known_saes import build, unit_rows

from hedgebench.family import Family
from hedgebench.growth import against, agreement, movement, turned_to
from hedgebench.growth_estimates import estimates
from hedgebench.spans import covariance_factor, expected_norm, new_span, random_span, span_shares
from hedgebench.stats.units import bootstrap
from hedgebench.types import CannotMeasure

SEEDS = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- spans -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "d", "wanted"), [(1, 2, 2 / math.pi), (1, 3, 0.5), (2, 3, math.pi / 4), (7, 7, 1.0), (0, 5, 0.0)]
)
def test_the_expected_norm_inside_a_random_span_is_that_of_geometry(rank, d, wanted):
    assert expected_norm(rank, d) == pytest.approx(wanted, rel=1e-12)


def test_a_random_span_holds_what_the_closed_forms_say():
    vector, generator = unit_rows(1, 20, seeded(0))[0].float(), seeded(1)
    inside = torch.tensor([float((random_span(5, 20, generator) @ vector).norm()) for _ in range(4000)])
    for found, wanted in ((inside, expected_norm(5, 20)), (inside.square(), 5 / 20)):
        assert found.mean().item() == pytest.approx(wanted, abs=4 * found.std().item() / math.sqrt(4000))


def test_expected_norms_do_not_overflow_in_many_dimensions():
    assert expected_norm(64, 2304) == pytest.approx(math.sqrt(64 / 2304), rel=0.01)
    assert expected_norm(2304, 10**6) == pytest.approx(math.sqrt(2304 / 10**6), rel=1e-3)


def test_spans_drawn_with_a_covariance_prefer_its_large_directions():
    covariance = torch.diag(torch.tensor([100.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
    factor = covariance_factor(covariance).float()
    torch.testing.assert_close(factor @ factor.T, covariance)
    shares = [float(random_span(1, 6, g, factor)[0, 0] ** 2) for g in [seeded(0)] for _ in range(300)]
    assert np.mean(shares) > 0.7  # isotropic: 1 / 6
    alone = covariance_factor(torch.diag(torch.tensor([1.0, 0.0, 0.0]))).float()
    span = random_span(2, 3, seeded(0), alone)  # no direction is made up where there is none
    assert span.shape == (1, 3) and float(span[0, 0].abs()) == pytest.approx(1)


def test_the_span_of_new_rows_does_not_depend_on_their_norms_nor_on_rows_that_are_sums_of_others_or_zero():
    rows = unit_rows(3, 10, seeded(0)).float()
    many = torch.cat([rows * torch.tensor([[1e-4], [1.0], [1e4]]), rows[:1] + rows[1:2], torch.zeros(2, 10)])
    one, other = new_span(rows), new_span(many)
    assert one.shape == other.shape == (3, 10)
    torch.testing.assert_close(one.T @ one, other.T @ other, atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 40))
def test_second_moments_say_what_the_spans_say_one_by_one(seed, n):
    generator = seeded(seed)
    spans = [random_span(3, 9, generator).double() for _ in range(5)]
    unit = unit_rows(n, 9, generator)
    each = torch.stack([(unit @ basis.T).square().sum(-1) for basis in spans])
    torch.testing.assert_close(span_shares(unit.T @ unit, spans), each.mean(1))


# --- movement --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_known_change_is_measured(share, dtype):
    made = exact_pair(share, size=0.4)
    rows = [sae.W_dec.to(dtype) for sae in (made.control, made.grown)]
    found = movement(rows[0], rows[1][:30], new_span(made.new.to(dtype)))
    torch.testing.assert_close(found.norm, torch.full((30,), 0.4).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.share.square(), torch.full((30,), share).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.cosine, torch.full((30,), 1 - 0.4**2 / 2).double(), atol=1e-6, rtol=0)


def test_lengths_of_rows_do_not_count():
    made = exact_pair(0.5)
    before, after = made.control.W_dec, made.grown.W_dec[:30]
    scale = torch.linspace(0.1, 10, 30, dtype=torch.float64)[:, None]
    basis = new_span(made.new)
    one, other = movement(before, after, basis), movement(before * scale, after / scale, basis)
    torch.testing.assert_close(one.inside, other.inside)
    torch.testing.assert_close(one.norm, other.norm)


def test_a_latent_that_did_not_move_has_no_direction_and_is_left_out_of_shares():
    made = exact_pair(1.0)
    before, after = made.control.W_dec, made.grown.W_dec[:30].clone()
    after[:10] = before[:10]
    found = movement(before, after, new_span(made.new))
    assert found.moved.sum() == 20
    assert float(found.second_moment.trace()) == pytest.approx(20)
    numbers = estimates(found, seeded(0))
    assert numbers["delta_share"].value == pytest.approx(1) and numbers["delta_share"].n == 20
    assert numbers["projection"].value == pytest.approx(0.4 * 20 / 30) and numbers["projection"].n == 30


def test_the_same_row_stored_at_another_length_did_not_move():
    made = exact_pair(1.0, d=300)
    before, after = made.control.W_dec.float(), made.grown.W_dec[:30].float().clone()
    after[:10] = before[:10] * 1.7
    found = movement(before, after, new_span(made.new.float()))
    assert 0 < float(found.norm[:10].max()) < 1e-6  # rounding
    assert found.moved.tolist() == [False] * 10 + [True] * 20
    assert estimates(found, seeded(0))["delta_share"].value == pytest.approx(1)


def test_giving_up_what_lies_in_the_span_turns_no_row_outside_it_and_the_rest_is_the_turn():
    axes = torch.eye(12, dtype=torch.float64)
    own, inside, across = unit_rows(20, 4, seeded(0)) @ axes[3:7], unit_rows(20, 3, seeded(1)) @ axes[:3], axes[11]
    before = own + 0.3 * inside
    for turn in (0.0, 0.2):
        after = own + turn * across
        found = movement(before, after, axes[:3])
        torch.testing.assert_close(found.turned, torch.full((20,), turn / (1 + turn**2) ** 0.5).double())


def test_rows_beyond_one_block_count():
    before, after = unit_rows(4097, 5, seeded(0)), unit_rows(4097, 5, seeded(1))
    basis = new_span(unit_rows(2, 5, seeded(2)))
    whole, last = (
        movement(*rows, basis, {"all": [torch.eye(5)]}) for rows in ((before, after), (before[-1:], after[-1:]))
    )
    for name in ("norm", "cosine", "inside"):
        torch.testing.assert_close(getattr(whole, name)[-1:], getattr(last, name))
    torch.testing.assert_close(whole.nulls["all"].squared_share, torch.ones(4097).double())
    torch.testing.assert_close(whole.nulls["all"].inside, whole.norm)


def test_a_null_of_several_spans_is_their_mean():
    before, after = unit_rows(50, 12, seeded(0)), unit_rows(50, 12, seeded(1))
    spans = [random_span(3, 12, seeded(i)).double() for i in (2, 3, 4)]
    found = movement(before, after, spans[0], {"null": spans})
    alone = [movement(before, after, one) for one in spans]
    torch.testing.assert_close(found.nulls["null"].inside, torch.stack([one.inside for one in alone]).mean(0))
    shares = torch.stack([one.share.square() for one in alone]).mean(0)
    torch.testing.assert_close(found.nulls["null"].squared_share, shares)


def test_the_movement_is_exact_in_single_precision_up_to_what_the_rows_hold():
    before = unit_rows(500, 300, seeded(0))
    after = before + 0.05 * unit_rows(500, 300, seeded(1))
    basis = new_span(unit_rows(20, 300, seeded(2)))
    wide, single = (movement(before.to(t), after.to(t), basis.to(t)) for t in (torch.float64, torch.float32))
    assert float((wide.share - single.share).abs().max()) < 1e-5


# --- estimates -------------------------------------------------------------------------------------------------------------------


def test_the_degree_is_that_of_the_formula_and_clamped_only_under_its_own_name():
    for share, size in ((0.6, 0.5), (0.0, 0.5)):
        made = exact_pair(share, size=size)
        found = movement(made.control.W_dec, made.grown.W_dec[:30], new_span(made.new))
        numbers = estimates(found, seeded(0))
        g, b = size * share**0.5, size * expected_norm(4, 48)
        assert numbers["projection"].value == pytest.approx(g, abs=1e-9)
        assert numbers["baseline"].value == pytest.approx(b)
        assert numbers["unclamped_degree"].value == pytest.approx((g - b) / (1 - b))
        assert numbers["hedging_degree"].value == pytest.approx(max(0.0, (g - b) / (1 - b)))


def test_the_excess_is_over_each_null_in_projection_and_in_share_and_may_be_negative():
    made = exact_pair(0.36, size=0.4)
    inside = new_span(made.new)
    spans = {"all": [torch.eye(48)], "same": [inside], "none": [inside[:0]]}
    found = movement(made.control.W_dec, made.grown.W_dec[:30], inside, spans)
    numbers = {name: estimate.value for name, estimate in estimates(found, seeded(0)).items()}
    g, b = 0.6 * 0.4, 0.4 * expected_norm(4, 48)
    # a span of all dimensions holds everything, and is expected to; one of none holds nothing
    for name, projection, share in (("all", 0.4, 1.0), ("same", g, 0.36), ("none", 0.0, 0.0)):
        expected = {"all": 0.4, "same": b, "none": 0.0}[name]
        assert numbers[f"null_projection {name}"] == pytest.approx(projection, abs=1e-9)
        assert numbers[f"excess {name}"] == pytest.approx(g - b - (projection - expected), abs=1e-9)
        assert numbers[f"share_excess {name}"] == pytest.approx(0.36 - share, abs=1e-9)
    assert numbers["excess isotropic"] == pytest.approx(g - b)


def test_nothing_is_said_of_shares_where_nothing_moved():
    made = exact_pair(0.3)
    found = movement(made.control.W_dec, made.control.W_dec, new_span(made.new))
    numbers = estimates(found, seeded(0))
    assert not {"delta_share", "direction_share"} & numbers.keys()
    assert numbers["projection"].value == numbers["hedging_degree"].value == 0


def test_the_bootstrap_agrees_with_scipys_and_with_the_error_of_a_mean():
    rng = np.random.default_rng(0)
    x, y = rng.exponential(size=80), rng.normal(3, 1, size=80)
    values, stderrs, n = bootstrap(
        lambda a, b: torch.stack([a / 80, a / b], -1),
        torch.tensor(x),
        torch.tensor(y),
        generator=seeded(0),
        resamples=4000,
    )
    theirs = scipy.stats.bootstrap(
        (x, y),
        lambda a, b: a.sum() / b.sum(),
        paired=True,
        n_resamples=4000,
        vectorized=False,
        method="percentile",
        rng=0,
    )
    assert n == 80 and values.tolist() == pytest.approx([x.mean(), x.sum() / y.sum()])
    assert stderrs[0].item() == pytest.approx(x.std(ddof=1) / 80**0.5, rel=0.06)
    assert stderrs[1].item() == pytest.approx(theirs.standard_error, rel=0.06)


def test_one_unit_has_no_bootstrapped_error_and_none_is_refused():
    assert bootstrap(lambda a: a[..., None], torch.ones(1), generator=seeded(0))[1] is None
    with pytest.raises(CannotMeasure):
        bootstrap(lambda a: a[..., None], torch.ones(0), generator=seeded(0))


# --- symmetry --------------------------------------------------------------------------------------------------------------------


def symmetry(
    decoder: tuple[torch.Tensor, torch.Tensor], encoder: tuple[torch.Tensor, torch.Tensor], basis: torch.Tensor
) -> float:
    twice, sizes = agreement(decoder, encoder, basis)
    return float(twice.sum() / sizes.sum())


def test_both_sides_alike_is_one_one_side_alone_is_nought_and_opposite_sides_are_less():
    made = exact_pair(0.7)
    before, after, basis = made.control.W_dec, made.grown.W_dec[:30], new_span(made.new)
    assert symmetry((before, after), (before, after), basis) == pytest.approx(1)
    assert symmetry((before, before), (before, after), basis) == pytest.approx(0)
    assert symmetry((before, after), (after, before), basis) == pytest.approx(-1)


# --- families --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "grown", "wanted"),
    [
        ((5, 8), (7, 9), "reads 9 dimensions and its control 8"),
        ((5, 8), (5, 8), "has 5 latents and its control 5: it has not grown"),
        ((9, 8), (5, 8), "it has not grown"),
        ((5, 8), (13, 8), "8 new latents span all 8 dimensions"),
    ],
)
def test_shapes_that_make_no_family_are_refused(control, grown, wanted):
    first, second = (build(unit_rows(*shape, seeded(0)).T, unit_rows(*shape, seeded(1))) for shape in (control, grown))
    with pytest.raises(CannotMeasure, match=wanted):
        Family.of(first, second)


def test_latents_with_a_row_of_zeros_are_left_out():
    made = exact_pair(0.5)
    before, after = made.control.W_dec.clone(), made.grown.W_dec[:30].clone()
    before[3] = 0
    after[5] = 0
    family = Family.of(*pair(before, after, made.new)[:2])
    assert family.old == 30 and family.kept.nonzero().flatten().tolist() == [i for i in range(30) if i not in (3, 5)]
    with pytest.raises(CannotMeasure, match="every old latent has a row of zeros"):
        Family.of(*pair(torch.zeros_like(before), after, made.new)[:2])


def test_a_second_control_gives_what_old_rows_change_without_new_latents():
    made, again = exact_pair(0.9), exact_pair(0.2)
    second = build(made.control.W_enc, made.control.W_dec - again.delta)
    family = Family.of(made.control, made.grown, second)
    found = family.movement("decoder", new_span(made.new))
    alone, null = movement(made.control.W_dec, second.W_dec, new_span(made.new)), found.nulls["reordered"]
    assert null.scale == pytest.approx(float(found.turned.sum() / alone.turned.sum()))
    assert float(null.inside.mean()) < 0.5 * float(alone.inside.mean())
    torch.testing.assert_close(null.squared_share, torch.full((30,), 0.2).double(), atol=0.05, rtol=0)
    torch.testing.assert_close(null.by_chance, found.by_chance)


@pytest.mark.parametrize("times", [0.25, 1.0, 2.5])
def test_a_null_that_went_the_same_way_is_the_same_however_far_it_went(times):
    u, way = unit_rows(60, 20, seeded(0)), unit_rows(60, 20, seeded(1))
    way = way - (way * u).sum(-1, keepdim=True) * u
    way = way / way.norm(dim=-1, keepdim=True)
    after, again = (u * math.cos(angle) + way * math.sin(angle) for angle in (0.3, 0.3 * times))
    basis = new_span(unit_rows(3, 20, seeded(2)))
    found = against(movement(u, after, basis), u, again, basis, "again")
    null = found.nulls["again"]
    assert null.scale == pytest.approx(math.sin(0.3) / math.sin(0.3 * times))
    torch.testing.assert_close(null.inside, found.inside)
    assert estimates(found, seeded(0))["excess again"].value == pytest.approx(0, abs=1e-9)


def test_rows_that_became_another_are_held_to_rows_that_did_and_rows_that_stayed_to_such():
    axes = torch.eye(6, dtype=torch.float64)
    before = axes[:1].repeat(4, 1)
    inside, outside = axes[1:2], axes[2:3]

    def moved(far: list[int], way: torch.Tensor) -> torch.Tensor:
        rows = before + 0.01 * outside
        rows[far] = 0.1 * before[far] + way
        return rows

    found = movement(before, moved([0], outside), inside)
    null = against(found, before, moved([3], outside + 0.3 * inside), inside, "again").nulls["again"]
    assert null.inside[0] > 0.2 and float(null.inside[1:].abs().max()) < 1e-9


def test_rows_are_turned_on_or_back_until_they_have_turned_so_far_outside_the_span():
    u, v, basis = unit_rows(40, 20, seeded(0)), unit_rows(40, 20, seeded(1)), new_span(unit_rows(3, 20, seeded(2)))
    v = u + 0.3 * v
    wanted = torch.linspace(0, 0.6, 40, dtype=torch.float64)
    rows = turned_to(wanted, movement(u, v, basis), u, v)
    torch.testing.assert_close(movement(u, rows, basis).turned, wanted)


def test_a_null_that_cannot_turn_as_far_turns_to_the_right_angle_and_one_that_turned_nothing_is_none():
    axes = torch.eye(4, dtype=torch.float64)
    before, across = axes[1:2].repeat(5, 1), axes[2:3]
    found = movement(before, across.repeat(5, 1), axes[:1])
    again = before.clone()
    again[0] += 0.1 * across[0]  # one latent of five
    null = against(found, before, again, axes[:1], "again").nulls["again"]
    assert null.inside.tolist() == pytest.approx([0] * 5) and null.scale > 10
    rows = turned_to(found.turned, movement(before, again, axes[:1]), before, again)
    torch.testing.assert_close(rows, torch.cat([across, before[1:]]))
    assert against(found, before, before + 0.3 * axes[:1], axes[:1], "again").nulls == {}


def test_a_second_control_of_another_shape_is_left_out():
    made, other = exact_pair(0.9), exact_pair(0.9, old=20)
    assert Family.of(made.control, made.grown, other.control).members == (made.control, made.grown)
