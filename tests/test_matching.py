"""Matchings against brute force, against each other, and against their own bound."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_saes import unit_rows

from hedgebench.matching import approximate, match

SEEDS = st.integers(0, 2**31)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy_pair(seed: int, n: int, d: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows, and the same in another order with noise; half of them have no counterpart at all."""
    generator = seeded(seed)
    a, b = unit_rows(n, d, generator), unit_rows(n, d, generator)
    b[: n // 2] = a[: n // 2] + noise * b[: n // 2]
    return a, b[torch.randperm(n, generator=generator)]


def dense(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(a.double(), dim=1) @ torch.nn.functional.normalize(b.double(), dim=1).T


def is_one_to_one(partner: torch.Tensor) -> bool:
    return sorted(partner.tolist()) == list(range(len(partner)))


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_no_order_of_the_others_has_a_larger_sum(seed, n, d, absolute):
    a, b = unit_rows(n, d, seeded(seed)), unit_rows(n, d, seeded(seed + 1))
    cosine = dense(a, b).abs() if absolute else dense(a, b)
    best = max(float(cosine[range(n), order].sum()) for order in permutations(range(n)))
    found = match(a, b, absolute=absolute)
    assert is_one_to_one(found.partner) and found.exact and found.gap == 0
    assert float(found.cosine.double().sum()) == pytest.approx(best, abs=1e-5)
    torch.testing.assert_close(found.cosine.double(), cosine[range(n), found.partner], atol=1e-6, rtol=0)


def test_a_greedy_matching_would_be_worse():
    """The largest cosine is not in the best matching."""
    a = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    b = torch.tensor([[0.96, 0.28], [0.0, -1.0]])
    assert dense(a, b).argmax() == 0 and match(a, b).partner.tolist() == [1, 0]


def test_signs_count_unless_they_are_asked_not_to():
    a = unit_rows(6, 9, seeded(0))
    assert match(-a, a, absolute=True).cosine.tolist() == pytest.approx([1.0] * 6, abs=1e-6)
    assert match(-a, a, absolute=True).partner.tolist() == list(range(6))
    assert match(-a, a).cosine.max() < 0.9


def test_a_permutation_is_found():
    a, order = unit_rows(50, 8, seeded(0)), torch.randperm(50, generator=seeded(1))
    assert torch.equal(order[match(a, a[order]).partner], torch.arange(50))


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 40), st.integers(1, 10), st.booleans())
def test_with_all_pairs_as_candidates_the_sparse_solver_finds_the_best_matching(seed, n, d, absolute):
    a, b = noisy_pair(seed, n, d)
    best, found = match(a, b, absolute=absolute), approximate(a, b, absolute=absolute, candidates=n)
    assert is_one_to_one(found.partner)
    assert float(found.cosine.sum()) == pytest.approx(float(best.cosine.sum()), abs=1e-5)
    assert 0 <= found.gap <= 1e-6


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(1, 6), st.integers(2, 9), st.booleans(), st.integers(1, 3))
def test_the_bound_holds_however_early_it_stops(seed, n, m, d, absolute, rounds):
    a, b = noisy_pair(seed, n, d, noise=2.0)
    best = match(a, b, absolute=absolute)
    found = approximate(a, b, absolute=absolute, candidates=m, rounds=rounds)
    assert is_one_to_one(found.partner) and not found.exact
    short = float((best.cosine.double() - found.cosine.double()).mean())
    assert -1e-6 <= short <= found.gap + 1e-6
    cosine = dense(a, b).abs() if absolute else dense(a, b)
    torch.testing.assert_close(found.cosine.double(), cosine[range(n), found.partner], atol=2e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(2, 9), st.booleans())
def test_without_tolerance_one_candidate_each_ends_with_the_best_matching(seed, n, d, absolute):
    a, b = noisy_pair(seed, n, d, noise=2.0)
    best = match(a, b, absolute=absolute)
    found = approximate(a, b, absolute=absolute, candidates=1, tolerance=0, rounds=60)
    assert float(best.cosine.double().mean() - found.cosine.double().mean()) <= 2e-6 and found.gap <= 1e-6


def test_one_round_is_short_of_the_best_and_each_further_one_is_nearer():
    """Or the tests above would say nothing of the approximation."""
    a, b = noisy_pair(0, 300, 6, noise=2.0)
    best = match(a, b).cosine.double().mean()
    found = [approximate(a, b, candidates=2, tolerance=0, rounds=rounds) for rounds in (1, 2, 20)]
    short = [float(best - one.cosine.double().mean()) for one in found]
    assert short[0] > short[1] > 1e-5 and abs(short[2]) < 1e-6
    assert found[0].gap > found[1].gap > found[2].gap


def test_it_stops_at_the_tolerance():
    a, b = noisy_pair(0, 300, 6, noise=2.0)
    gaps = [approximate(a, b, candidates=2, tolerance=tolerance).gap for tolerance in (0.05, 0.005, 0.0005)]
    assert all(gap <= tolerance for gap, tolerance in zip(gaps, (0.05, 0.005, 0.0005), strict=True))
    assert gaps[0] > 0.005


def test_the_error_of_the_approximation_at_its_default_is_small():
    a, b = noisy_pair(0, 1000, 64, noise=1.0)
    best, found = match(a, b), approximate(a, b)
    assert float((best.partner == found.partner).double().mean()) > 0.99
    assert abs(float(best.cosine.mean() - found.cosine.mean())) <= found.gap + 1e-6 <= 1e-4


def test_equal_rows_and_rows_of_zeros_are_matched_too():
    a = torch.zeros(40, 5)
    a[:4] = unit_rows(4, 5, seeded(0))
    a[10:30] = a[0]
    assert match(a, a).cosine.sum() == pytest.approx(24, abs=1e-4)  # the others are sixteen rows of zeros
    b = a[torch.randperm(40, generator=seeded(1))]
    found = approximate(a, b, candidates=3, rounds=60)
    assert is_one_to_one(found.partner) and found.gap <= 1e-4
    assert found.cosine.sum() == pytest.approx(24, abs=40 * 1e-4)


def with_zeros(seed: int, n: int, d: int, zeros: tuple[int, int], opposed: float) -> list[torch.Tensor]:
    """Two sets of rows with so many rows of zeros each; the more they are opposed, the more cosines are negative."""
    generator, to = seeded(seed), torch.ones(d) * opposed
    sides = [unit_rows(n, d, generator) + to, unit_rows(n, d, generator) - to]
    for side, k in zip(sides, zeros, strict=True):
        side[torch.randperm(n, generator=generator)[:k]] = 0
    return sides


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(1, 40), st.integers(1, 5), st.data(), st.sampled_from([0.0, 0.3, 2.0]), st.booleans())
def test_among_rows_of_zeros_the_best_matching_is_found(seed, n, d, data, opposed, absolute):
    """Better with a row of zeros than with a negative cosine, where there are enough of them."""
    zeros = data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))
    a, b = with_zeros(seed, n, d, zeros, opposed)
    best = match(a, b, absolute=absolute)
    found = approximate(a, b, absolute=absolute, candidates=2, tolerance=0, rounds=60)
    assert is_one_to_one(found.partner) and found.gap <= 1.1e-6
    assert float((best.cosine.double() - found.cosine.double()).mean()) <= 2e-6
    cosine = dense(a, b).abs() if absolute else dense(a, b)
    torch.testing.assert_close(found.cosine.double(), cosine[range(n), found.partner], atol=2e-6, rtol=0)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(2, 40), st.data(), st.sampled_from([0.0, 2.0]), st.booleans(), st.integers(1, 3))
def test_the_bound_holds_among_rows_of_zeros(seed, n, data, opposed, absolute, rounds):
    a, b = with_zeros(seed, n, 4, data.draw(st.tuples(st.integers(0, n), st.integers(0, n))), opposed)
    found = approximate(a, b, absolute=absolute, candidates=1, rounds=rounds, tolerance=0)
    short = float((match(a, b, absolute=absolute).cosine.double() - found.cosine.double()).mean())
    assert is_one_to_one(found.partner) and -1e-6 <= short <= found.gap + 1e-6


def test_where_all_are_opposed_and_alike_as_many_go_with_zeros_as_there_are():
    a = torch.ones(20, 3)
    b = -a
    a[:5], b[:5] = 0, 0
    found = approximate(a, b, tolerance=0)
    assert found.cosine.sum() == pytest.approx(-10, abs=1e-4) and found.gap <= 1e-6  # 5 + 5 of 15 + 15 go with zeros


@pytest.mark.parametrize("zeros", [(300, 300), (1500, 1500), (900, 300), (0, 600), (3000, 10)])
def test_with_many_rows_of_zeros_the_tolerance_is_reached_all_the_same(zeros):
    a, b = with_zeros(0, 3000, 64, zeros, 0.0)
    found = approximate(a, b)
    assert is_one_to_one(found.partner) and found.gap <= 1e-4
    assert abs(float(match(a, b).cosine.double().mean() - found.cosine.double().mean())) <= 1e-4


def test_where_rounds_run_out_the_gap_is_above_the_tolerance_and_says_so():
    a, b = noisy_pair(0, 300, 6, noise=2.0)
    assert approximate(a, b, candidates=2, tolerance=1e-4, rounds=1).gap > 1e-4


def test_beyond_the_limit_the_approximation_runs_and_says_so():
    a, b = noisy_pair(0, 30, 8)
    assert match(a, b, exact_up_to=30).exact
    assert not match(a, b, exact_up_to=29, candidates=5).exact


def test_sets_of_different_sizes_are_refused():
    for pair in (match, approximate):
        with pytest.raises(ValueError, match=r"\(3, 2\) with \(4, 2\)"):
            pair(torch.ones(3, 2), torch.ones(4, 2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_candidates_found_on_a_gpu_give_the_same():
    a, b = noisy_pair(0, 200, 16)
    for pair in (match, approximate):
        assert torch.equal(pair(a, b).partner, pair(a.cuda(), b.cuda()).partner)
