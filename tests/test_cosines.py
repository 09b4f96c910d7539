"""Cosines of all pairs, by blocks in float32, against dense float64, and what random directions have against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_saes import orthonormal_features, unit_rows

from hedgebench import cosines
from hedgebench.cosines import (
    blocks,
    excess,
    largest_random_cosine,
    largest_random_quantile,
    nearest,
    nearest_within,
    pairs,
    random_cosine,
)

SEEDS = st.integers(0, 2**31)
TOLERANCE = {"atol": 1e-6, "rtol": 0.0}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """So that a few rows make several blocks."""
    monkeypatch.setattr(cosines, "BLOCK", 5)


def dense(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """All cosines in float64, 0 for rows of zeros."""
    return torch.nn.functional.normalize(a.double(), dim=1) @ torch.nn.functional.normalize(b.double(), dim=1).T


def rows_of(seed: int, n: int, d: int) -> torch.Tensor:
    """Rows of very different lengths, sometimes one of zeros."""
    generator = seeded(seed)
    rows = torch.randn(n, d, generator=generator) * 10 ** (6 * torch.rand(n, 1, generator=generator) - 3)
    if seed % 3 == 0:
        rows[seed % n] = 0
    return rows


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 17), st.integers(1, 17), st.integers(1, 40), st.booleans())
def test_the_nearest_are_those_of_the_dense_matrix_on_both_sides(seed, n, k, d, absolute):
    a, b = rows_of(seed, n, d), rows_of(seed + 1, k, d)
    m = 1 + seed % min(n, k)
    all_pairs = dense(a, b).abs() if absolute else dense(a, b)
    for found, cosine in zip(nearest(a, b, m, absolute=absolute), (all_pairs, all_pairs.T), strict=True):
        torch.testing.assert_close(found.values.double(), cosine.topk(m, dim=1).values, **TOLERANCE)
        torch.testing.assert_close(found.values.double(), cosine.gather(1, found.indices), **TOLERANCE)
        assert all(len(set(row)) == m for row in found.indices.tolist())
        assert found.values.dtype == torch.float32


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 17), st.integers(1, 40), st.booleans())
def test_the_nearest_within_a_set_leave_the_row_itself_out(seed, n, d, absolute):
    a, m = rows_of(seed, n, d), 1 + seed % (n - 1)
    cosine = dense(a, a).abs() if absolute else dense(a, a)
    others = cosine.masked_fill(torch.eye(n, dtype=torch.bool), -9)
    found = nearest_within(a, m, absolute=absolute)
    torch.testing.assert_close(found.values.double(), others.topk(m, dim=1).values, **TOLERANCE)
    torch.testing.assert_close(found.values.double(), others.gather(1, found.indices), **TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 17), st.integers(1, 17), st.booleans())
def test_the_excess_is_what_a_cosine_has_above_two_prices(seed, n, k, absolute):
    a, b = rows_of(seed, n, 4), rows_of(seed + 1, k, 4)
    ours, theirs = torch.randn(n, generator=seeded(seed)), torch.randn(k, generator=seeded(seed + 1))
    m = 1 + seed % k
    above = (dense(a, b).abs() if absolute else dense(a, b)) - ours[:, None].double() - theirs.double()
    found = excess(a, b, ours, theirs, m, absolute=absolute)
    torch.testing.assert_close(found.values.double(), above.topk(m, dim=1).values, **TOLERANCE)
    torch.testing.assert_close(found.values.double(), above.gather(1, found.indices), **TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 17), st.integers(1, 40))
def test_pairs_are_those_above_the_diagonal(seed, n, d):
    a = rows_of(seed, n, d)
    cosine = dense(a, a)
    above = torch.triu(torch.ones(n, n, dtype=torch.bool), diagonal=1)
    itself = torch.eye(n, dtype=torch.bool)
    found = pairs(a)
    assert found.mean_abs == pytest.approx(float(cosine[above].abs().mean()), abs=1e-6)
    torch.testing.assert_close(found.largest.double(), cosine.masked_fill(itself, -9).amax(1), **TOLERANCE)
    torch.testing.assert_close(found.largest_abs.double(), cosine.abs().masked_fill(itself, -9).amax(1), **TOLERANCE)


def test_orthonormal_rows_and_their_opposites_have_closed_forms():
    rows = orthonormal_features(6, 9, seeded(0))
    found = pairs(torch.cat([rows, -rows]))
    assert found.mean_abs == pytest.approx(1 / 11, abs=1e-6)  # one of the eleven others is the opposite
    assert found.largest_abs.tolist() == pytest.approx([1.0] * 12, abs=1e-6)
    assert found.largest.tolist() == pytest.approx([0.0] * 12, abs=1e-6)


def test_thousands_of_dimensions_stay_within_the_tolerance_and_half_precision_is_widened(monkeypatch):
    monkeypatch.setattr(cosines, "BLOCK", 64)
    a = torch.randn(100, 4096, generator=seeded(0))
    a[1:] += 3 * a[0]
    assert pairs(a).mean_abs == pytest.approx(float(dense(a, a)[tuple(torch.triu_indices(100, 100, 1))].mean()), abs=1e-6)  # fmt: skip
    half = a.bfloat16()
    assert pairs(half).mean_abs == pytest.approx(float(dense(half, half)[tuple(torch.triu_indices(100, 100, 1))].mean()), abs=1e-6)  # fmt: skip


def test_no_block_is_larger_than_the_bound():
    shapes = [tuple(block.shape) for _, _, block in blocks(torch.ones(12, 3), torch.ones(6, 3))]
    assert shapes == [(5, 5), (5, 1), (5, 5), (5, 1), (2, 5), (2, 1)]


def test_shorter_numbers_that_the_user_allows_are_not_used_here_and_stay_allowed():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        used = [torch.get_float32_matmul_precision() for _ in blocks(torch.ones(12, 3))]
        assert set(used) == {"medium"}
        with cosines._full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("m", [0, 4])
def test_more_neighbours_than_there_are_rows_are_refused(m):
    with pytest.raises(ValueError, match=f"the {m} nearest"):
        nearest(torch.ones(3, 2), torch.ones(9, 2), m)
    with pytest.raises(ValueError, match=f"the {m} nearest"):
        nearest_within(torch.ones(4, 2), m)


def test_one_row_makes_no_pair():
    with pytest.raises(ValueError, match="no pair"):
        pairs(torch.ones(1, 2))


# --- random directions ---


@pytest.mark.parametrize(("d", "expected"), [(2, 2 / math.pi), (3, 1 / 2), (5, 3 / 8)])
def test_the_mean_cosine_of_random_directions_has_closed_forms(d, expected):
    assert random_cosine(d) == pytest.approx(expected)


def test_it_falls_as_the_root_of_the_dimension():
    assert random_cosine(2304) == pytest.approx(math.sqrt(2 / (math.pi * 2304)), rel=1e-3)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_in_three_dimensions_a_cosine_is_uniform_and_so_is_its_largest(n):
    assert largest_random_cosine(n, 3) == pytest.approx(2 * n / (n + 1) - 1, abs=1e-6)
    assert largest_random_cosine(n, 3, absolute=True) == pytest.approx(n / (n + 1), abs=1e-6)
    assert largest_random_quantile(n, 3, [0.25, 0.5]) == pytest.approx([2 * q ** (1 / n) - 1 for q in (0.25, 0.5)])


@pytest.mark.parametrize("absolute", [False, True])
def test_random_rows_have_the_largest_cosines_that_are_foretold(monkeypatch, absolute):
    monkeypatch.setattr(cosines, "BLOCK", 4096)
    n, d = 3000, 40
    found = pairs(unit_rows(n, d, seeded(0)))
    values = (found.largest_abs if absolute else found.largest).double()
    error = float(values.std()) / math.sqrt(n)
    assert float(values.mean()) == pytest.approx(largest_random_cosine(n - 1, d, absolute=absolute), abs=4 * error)
    foretold = largest_random_quantile(n - 1, d, [0.1, 0.9], absolute=absolute)
    assert np.quantile(values.numpy(), [0.1, 0.9]) == pytest.approx(foretold, abs=0.01)
    assert found.mean_abs == pytest.approx(random_cosine(d), abs=1e-3)


def test_the_largest_of_a_million_is_still_told_apart_from_one():
    assert 0.1 < largest_random_cosine(10**6, 2304) < largest_random_cosine(10**6, 2304, absolute=True) < 0.12


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_finds_the_same():
    a, b = rows_of(0, 40, 30), rows_of(1, 50, 30)
    for here, there in zip(nearest(a, b, 4), nearest(a.cuda(), b.cuda(), 4), strict=True):
        torch.testing.assert_close(here.values, there.values.cpu(), **TOLERANCE)
    assert pairs(a).mean_abs == pytest.approx(pairs(a.cuda()).mean_abs, abs=1e-6)
