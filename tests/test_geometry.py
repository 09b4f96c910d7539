"""Cosines and spans against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_saes import orthonormal_features, unit_rows

from hedgebench.geometry import cosine, effective_rank, row_span, singular_axes, span_share
from hedgebench.types import CannotMeasure

SEEDS = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_cosine_at_sixty_degrees_is_a_half():
    assert cosine(torch.tensor([2.0, 0.0]), torch.tensor([1.5, 1.5 * math.sqrt(3)])).item() == pytest.approx(0.5)


def test_a_cosine_is_taken_along_the_last_dimension_and_broadcasts():
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.0, -3.0, 0.0]])
    assert cosine(rows, torch.tensor([0.0, 5.0, 0.0])).tolist() == [0.0, -1.0]


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.floats(1e-6, 1e6))
def test_the_cosine_of_a_vector_with_itself_never_passes_one_whatever_its_length(seed, scale):
    v = unit_rows(5, 7, seeded(seed))
    same = cosine(v, scale * v)
    assert (same <= 1).all() and torch.allclose(same, torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(cosine(v, -scale * v), -same)


@pytest.mark.parametrize("bad", [cosine, lambda v, w: span_share(v, w[None])])
def test_a_zero_vector_has_no_direction(bad):
    with pytest.raises(CannotMeasure, match="zero vector"):
        bad(torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]))


def test_the_share_in_a_coordinate_plane_is_that_of_its_squares():
    plane = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    share = span_share(torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [1.0, 2.0, 2.0]]), row_span(plane))
    torch.testing.assert_close(share, torch.tensor([1.0, 0.0, 5 / 9], dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 12), st.integers(1, 9), st.integers(2, 9))
def test_the_span_has_the_rank_of_its_rows_and_an_orthonormal_basis(seed, n, inner, d):
    generator = seeded(seed)
    rows = torch.randn(n, inner, generator=generator) @ torch.randn(inner, d, generator=generator)
    basis = row_span(rows)
    assert len(basis) == torch.linalg.matrix_rank(rows.double(), rtol=max(n, d) * torch.finfo(torch.float32).eps)
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis), dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-3))
def test_the_share_is_that_of_the_projection_by_least_squares_whatever_the_scale(seed, scale):
    generator = seeded(seed)
    rows, v = torch.randn(4, 9, generator=generator), torch.randn(9, generator=generator)
    fit = torch.linalg.lstsq(rows.double().T, v.double()).solution @ rows.double()
    share = span_share(scale * v, row_span(scale * rows)).item()
    assert share == pytest.approx((fit.square().sum() / v.double().square().sum()).item(), rel=1e-6)
    assert 0 <= share <= 1


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_shares_in_a_span_and_in_its_complement_sum_to_one(seed):
    basis = orthonormal_features(8, 8, seeded(seed))
    v = unit_rows(5, 8, seeded(seed + 1))
    torch.testing.assert_close(span_share(v, basis[:3]) + span_share(v, basis[3:]), torch.ones(5, dtype=torch.float64))


def test_a_random_direction_has_the_rank_over_the_dimension_on_average():
    basis = orthonormal_features(3, 12, seeded(0))
    shares = span_share(unit_rows(20_000, 12, seeded(1)), basis)
    assert shares.mean().item() == pytest.approx(3 / 12, abs=4 * shares.std().item() / math.sqrt(20_000))


def test_rows_beyond_one_chunk_count():
    rows = torch.zeros(8193, 3)
    rows[0, 0] = rows[-1, 2] = 1.0
    assert len(row_span(rows)) == 2


def test_zero_rows_span_nothing():
    assert row_span(torch.zeros(4, 3)).shape == (0, 3)


def test_the_rank_follows_the_tolerance_given():
    rows = torch.diag(torch.tensor([1.0, 1e-2, 1e-4]))
    assert [len(row_span(rows, rtol)) for rtol in (None, 1e-3, 0.1)] == [3, 2, 1]


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.integers(1, 12), st.integers(1, 40))
def test_singular_values_and_axes_are_those_of_the_dense_decomposition(seed, n, d):
    rows = torch.randn(n, d, generator=seeded(seed))
    values, axes = singular_axes(rows)
    r = min(n, d)
    torch.testing.assert_close(values[:r], torch.linalg.svdvals(rows.double()), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(axes @ axes.T, torch.eye(len(axes), dtype=torch.float64))
    torch.testing.assert_close((axes @ rows.double().T).norm(dim=1)[:r], values[:r], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(values[r:], torch.zeros(len(values) - r, dtype=torch.float64), rtol=0, atol=1e-6)


def test_equal_singular_values_have_the_rank_as_their_effective_rank():
    assert effective_rank(torch.tensor([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3)
    assert effective_rank(torch.tensor([7.0])) == pytest.approx(1)


def test_the_effective_rank_of_two_unequal_ones_is_their_entropy():
    expected = math.exp(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert effective_rank(torch.tensor([1.0, 3.0])) == pytest.approx(expected)


def test_no_rows_span_nothing():
    assert row_span(torch.zeros(0, 3)).shape == (0, 3)
