"""What a latent tracks, and what it writes beside that, on rows whose answer can be worked out by hand."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_saes import orthonormal_features, unit_rows

from hedgebench.toy import recovery
from hedgebench.toy.recovery import (
    Leaks,
    cosines,
    decompose,
    dual_basis,
    independent,
    leaks,
    track,
    tracked_features,
)

SEEDS = st.integers(0, 2**31)
HALF = math.sqrt(0.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(*entries: list[float]) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def own(cosine: torch.Tensor, dead: tuple[int, ...] = ()) -> list[int]:
    live = torch.tensor([latent not in dead for latent in range(len(cosine))])
    return track(cosine, live).tolist()


def score(latents: torch.Tensor, features: torch.Tensor, dead: tuple[int, ...] = (), terms: int = 10) -> Leaks:
    live = torch.tensor([latent not in dead for latent in range(len(latents))], dtype=torch.bool)
    return leaks(decompose(latents, features, terms).coefficients, features, track(cosines(latents, features), live))


def two_at_sixty_degrees(d: int = 4) -> torch.Tensor:
    """Two features with cosine one half."""
    features = torch.zeros(2, d, dtype=torch.float64)
    features[0, 0], features[1, 0], features[1, 1] = 1, 0.5, math.sqrt(0.75)
    return features


def superposition() -> torch.Tensor:
    """Six features in four dimensions: the axes and two diagonals between them."""
    return torch.cat([torch.eye(4, dtype=torch.float64), HALF * rows([1, 1, 0, 0], [0, 0, 1, 1])])


# --- what a latent tracks ------------------------------------------------------------------------------------------------------


def test_each_latent_tracks_the_feature_it_writes_in_whatever_order():
    assert own(torch.eye(4, dtype=torch.float64)[[2, 0, 3]]) == [2, 0, 3]


def test_the_matching_is_the_best_for_all_latents_together_not_for_the_first():
    # by itself either latent is nearest to feature 0; only together does the second take feature 1
    assert own(rows([0.9, 0.1, 0.0], [0.8, 0.6, 0.0])) == [0, 1]
    assert own(rows([0.8, 0.6, 0.0], [0.9, 0.1, 0.0])) == [1, 0]


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(0, 2))
def test_no_other_matching_has_a_larger_sum(seed, latents, spare):
    cosine = 0.5 + 0.5 * torch.rand(latents, latents + spare, generator=seeded(seed), dtype=torch.float64)
    sums = [sum(cosine[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(latents + spare), latents)]
    assert sum(cosine[i, j] for i, j in enumerate(own(cosine))) == pytest.approx(max(sums))


def test_a_row_that_points_away_from_a_feature_does_not_track_it():
    assert own(rows([-1.0, 0.0])) == [-1]
    assert own(rows([-0.9, 0.2])) == [1]


def test_a_latent_that_tracks_nothing_does_not_move_the_others():
    # a signed sum would give the second latent feature 0 to spare it -1, and the first one feature 1
    assert own(rows([0.9, 0.5], [-0.1, -1.0])) == [0, -1]


def test_dead_latents_track_nothing_and_leave_their_features_to_others():
    assert own(rows([1.0, 0.0], [0.6, 0.8]), dead=(0,)) == [-1, 1]
    assert own(rows([1.0, 0.0], [0.8, 0.6]), dead=(0,)) == [-1, 0]
    assert own(rows([1.0, 0.0], [0.8, 0.6]), dead=(0, 1)) == [-1, -1]


def test_more_latents_than_features_share_the_feature_they_are_nearest_to():
    assert own(rows([1.0, 0.0], [0.0, 1.0], [0.3, 0.9])) == [0, 1, 1]


def test_the_second_of_two_equal_latents_shares_their_feature_though_others_are_free():
    assert own(rows([1.0, 0.0, 0.0], [1.0, 0.0, 0.0])) == [0, 0]
    # noise gives it a little of a feature nobody has: that is no match
    assert own(rows([0.99, 0.0, 0.001], [0.98, 0.001, 0.003])) == [0, 0]


def test_half_a_parent_in_a_child_does_not_make_it_the_parents():
    assert own(rows([1.0, 0.0], [HALF, HALF])) == [0, 1]
    assert own(rows([1.0, 0.0], [0.98, 0.2])) == [0, 1]


def test_what_rounding_leaves_is_no_match():
    assert own(rows([1e-8, 3e-9], [1.0, 0.0])) == [-1, 0]


def test_a_row_of_zeros_has_no_cosine_and_tracks_nothing():
    found = cosines(rows([0.0, 0.0], [0.0, 3.0]), rows([2.0, 0.0], [1.0, 1.0]))
    torch.testing.assert_close(found, rows([0, 0], [0, HALF]))
    assert own(found) == [-1, 1]


def test_tracked_are_the_features_that_somebody_has():
    assert tracked_features(torch.tensor([2, -1, 2, 0]), 4).tolist() == [True, False, True, False]


# --- what it writes: orthonormal features ---------------------------------------------------------------------------------------


def test_with_orthonormal_features_the_coefficients_are_the_cosines():
    features, latents = orthonormal_features(5, 9, seeded(0)), unit_rows(4, 9, seeded(1))
    found = decompose(3 * latents, features)
    torch.testing.assert_close(found.coefficients, latents @ features.T)
    torch.testing.assert_close(found.unexplained.square() + found.coefficients.square().sum(1), torch.ones(4).double())


def test_hedged_is_on_features_nobody_tracks_and_absorbed_on_features_of_others():
    # 4-5-6 of 9: feature 0 is the latent's own, 1 is the other latent's, 2 and 3 are nobody's
    features = torch.eye(4, dtype=torch.float64)
    found = score(rows([6, 4, 2, 5], [0, 1, 0, 0]), features)
    assert found.hedged.tolist() == pytest.approx([math.sqrt(29) / 9, 0])
    assert found.absorbed.tolist() == pytest.approx([4 / 9, 0])


def test_hedging_in_the_negative_counts_as_much():
    positive, negative = (score(rows([0.8, sign * 0.6]), torch.eye(2)).hedged.item() for sign in (1, -1))
    assert positive == pytest.approx(negative) == pytest.approx(0.6)


def test_what_a_dead_latent_points_at_is_hedged_not_absorbed():
    latents, features = rows([0.8, 0.6], [0, 1]), torch.eye(2)
    assert score(latents, features).absorbed[0].item() == pytest.approx(0.6)
    dead = score(latents, features, dead=(1,))
    assert (dead.hedged[0].item(), dead.absorbed[0].item()) == pytest.approx((0.6, 0))


def test_a_duplicate_shares_its_feature_and_absorbs_nothing():
    features = torch.eye(3)
    for latents in (rows([1, 0, 0], [1, 0, 0]), rows([1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1])):
        found = score(latents, features)
        assert found.hedged.tolist() == found.absorbed.tolist() == [0] * len(latents)


def test_a_latent_that_writes_a_feature_backwards_hedges_it():
    found = score(rows([-1, 0], [0, 1]), torch.eye(2))
    assert (found.hedged.tolist(), found.absorbed.tolist()) == ([1, 0], [0, 0])


def test_what_no_feature_explains_is_neither():
    latents = rows([3, 0, 4])
    features = torch.eye(3, dtype=torch.float64)[:2]
    assert decompose(latents, features).unexplained.item() == pytest.approx(0.8)
    found = score(latents, features)
    assert found.hedged.item() == found.absorbed.item() == pytest.approx(0)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 8), st.integers(1, 6), st.floats(1e-3, 1e3))
def test_the_parts_of_a_row_on_orthonormal_features_sum_to_one_whatever_its_length(seed, latents, n, scale):
    features, drawn = orthonormal_features(n, 7, seeded(seed)), unit_rows(latents, 7, seeded(seed + 1))
    cosine = cosines(scale * drawn, features)
    mine = track(cosine, torch.ones(latents, dtype=torch.bool))
    parts, found = decompose(scale * drawn, features), leaks(cosine, features, mine)
    own_part = torch.where(mine >= 0, cosine[torch.arange(latents), mine.clamp(min=0)], 0.0)
    squares = found.hedged**2 + found.absorbed**2 + own_part**2 + parts.unexplained**2
    torch.testing.assert_close(squares, torch.ones(latents).double())


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_neither_the_order_of_the_latents_nor_of_the_features_matters(seed):
    features, latents = unit_rows(5, 9, seeded(seed)), unit_rows(3, 9, seeded(seed + 1))
    turn, swap = torch.randperm(5, generator=seeded(seed)), torch.randperm(3, generator=seeded(seed))
    one, other = score(latents, features), score(latents[swap], features[turn])
    torch.testing.assert_close(other.hedged, one.hedged[swap])
    torch.testing.assert_close(other.absorbed, one.absorbed[swap])


# --- features that are not orthogonal -------------------------------------------------------------------------------------------


def test_a_pure_row_among_correlated_features_writes_nothing_else_though_its_cosine_says_so():
    features = two_at_sixty_degrees()
    assert cosines(features, features)[0, 1].item() == pytest.approx(0.5)
    alone, both = score(features[:1], features), score(features, features)
    assert alone.hedged.item() == pytest.approx(0, abs=1e-12)
    assert both.absorbed.tolist() == pytest.approx([0, 0], abs=1e-12)


def test_a_mixture_of_correlated_features_has_the_share_that_was_mixed_in():
    features = two_at_sixty_degrees()
    row = features[0] + 0.25 * features[1]
    length = math.sqrt(1 + 0.0625 + 0.25)  # |a + b/4|^2 = 1 + 1/16 + 2 * 1/4 * 1/2
    found = decompose(row[None], features).coefficients[0]
    assert found.tolist() == pytest.approx([1 / length, 0.25 / length])
    assert score(row[None], features).hedged.item() == pytest.approx(0.25 / length)


def test_the_part_on_several_correlated_features_is_the_length_of_their_sum():
    # 60 degrees between the two that are hedged: |a + b| is sqrt 3, not sqrt 2
    features = torch.cat([torch.eye(4, dtype=torch.float64)[2:3], two_at_sixty_degrees()])
    row = 3 * features[0] + features[1] + features[2]
    assert score(row[None], features).hedged.item() == pytest.approx(math.sqrt(3 / 12))


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 6))
def test_coefficients_that_were_put_in_come_out(seed, n):
    features = unit_rows(n, 40, seeded(seed))
    assert independent(features)
    weights = torch.randn(3, n, generator=seeded(seed + 1), dtype=torch.float64)
    made = weights @ features
    found = decompose(made, features)
    torch.testing.assert_close(found.coefficients, weights / made.norm(dim=1, keepdim=True))
    assert found.unexplained.max().item() < 1e-6


def test_the_dual_basis_is_the_pseudoinverse_for_few_features_and_for_many():
    for n, d in ((3, 7), (7, 3), (5, 5)):
        features = unit_rows(n, d, seeded(0))
        torch.testing.assert_close(dual_basis(features), torch.linalg.pinv(features))


def test_features_are_independent_as_long_as_noise_is_not_blown_up():
    assert independent(two_at_sixty_degrees()) and not independent(superposition())
    near = torch.tensor([[1.0, 0.0], [math.cos(0.1), math.sin(0.1)]], dtype=torch.float64)  # singular value .0707
    assert not independent(near)
    far = torch.tensor([[1.0, 0.0], [math.cos(0.2), math.sin(0.2)]], dtype=torch.float64)  # .141
    assert independent(far)


def test_features_that_can_hardly_be_told_apart_are_not_blown_up():
    # the only coefficients of a slightly noisy row would be 1 - 20 * noise and 20 * noise
    near = torch.tensor([[1.0, 0.0, 0.0], [math.cos(0.05), math.sin(0.05), 0.0]], dtype=torch.float64)
    noisy = near[:1] + 0.01 * rows([0, 1, 0])
    assert (noisy @ dual_basis(near))[0, 1] == pytest.approx(0.2, rel=0.01)
    assert decompose(noisy, near, terms=1).coefficients[0].tolist() == pytest.approx([1, 0], abs=1e-3)


def test_the_lengths_of_rows_and_features_do_not_matter():
    for features in (two_at_sixty_degrees(), superposition()):
        row = features[:1] + 0.25 * features[1:2]
        one, other = score(row, features), score(7 * row, 3 * features)
        assert other.hedged.item() == pytest.approx(one.hedged.item(), rel=1e-9)
        torch.testing.assert_close(*(decompose(row, scale * features).unexplained for scale in (1, 3)))


# --- more features than dimensions ----------------------------------------------------------------------------------------------


def test_in_superposition_a_pure_row_of_any_feature_writes_nothing_else():
    features = superposition()
    for i in range(6):
        found = score(features[i : i + 1], features)
        assert (found.hedged.item(), found.absorbed.item()) == pytest.approx((0, 0), abs=1e-12)
    whole = score(features, features)
    assert whole.hedged.tolist() == whole.absorbed.tolist() == pytest.approx([0] * 6, abs=1e-12)


def test_in_superposition_the_least_squares_answer_would_be_wrong_and_is_not_given():
    # the smallest coefficients smear the diagonal over the axes as well
    features = superposition()
    smeared = features[4] @ dual_basis(features)
    assert smeared[:2].abs().min() > 0.2
    assert decompose(features[4:5], features).coefficients[0].tolist() == pytest.approx([0, 0, 0, 0, 1, 0], abs=1e-12)


def test_in_superposition_a_mixture_is_taken_apart_into_its_two_features():
    features = superposition()
    row = features[4] + 0.5 * features[2]
    found = decompose(row[None], features)
    assert found.coefficients[0].tolist() == pytest.approx([0, 0, 0.4**0.5 * math.sqrt(0.5), 0, math.sqrt(0.8), 0])
    assert found.unexplained.item() == pytest.approx(0, abs=1e-7)
    assert score(row[None], features).hedged.item() == pytest.approx(math.sqrt(0.2))
    with_other = score(torch.stack([row, features[2]]), features)
    assert with_other.hedged[0].item() == pytest.approx(0, abs=1e-9)
    assert with_other.absorbed[0].item() == pytest.approx(math.sqrt(0.2))


def test_in_superposition_noise_on_a_pure_row_scores_as_noise():
    features = unit_rows(60, 30, seeded(0)).float()
    noise = unit_rows(60, 30, seeded(1)).float()
    for size in (0.0, 1e-3, 1e-2):
        found = score(features + size * noise, features)
        assert torch.maximum(found.hedged, found.absorbed).max() <= 2 * size + 1e-6


def test_no_more_than_the_stated_number_of_terms_is_used():
    features = torch.cat([superposition(), unit_rows(10, 4, seeded(2))])
    for terms in (1, 2, 3):
        coefficients = decompose(unit_rows(5, 4, seeded(3)), features, terms).coefficients
        assert ((coefficients != 0).sum(1) == terms).all()


@pytest.mark.parametrize("terms", [1, 3, 5])
def test_matching_pursuit_is_that_of_scikit_learn(terms, monkeypatch):
    from sklearn.linear_model import orthogonal_mp_gram

    monkeypatch.setattr(recovery, "_CHUNK", 4)
    features, latents = unit_rows(40, 12, seeded(0)), unit_rows(9, 12, seeded(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = orthogonal_mp_gram(
            (features @ features.T).numpy(), (features @ latents.T).numpy(), n_nonzero_coefs=terms
        )
    found = decompose(latents, features, terms)
    torch.testing.assert_close(found.coefficients, torch.from_numpy(theirs).T)
    torch.testing.assert_close(found.unexplained, (latents - found.coefficients @ features).norm(dim=1))


def test_a_feature_that_is_there_twice_does_no_harm():
    features = torch.cat([superposition(), superposition()[:1]])
    found = decompose(superposition()[:1], features)
    assert found.coefficients.isfinite().all() and found.unexplained.item() == pytest.approx(0, abs=1e-7)


def test_no_rows_have_no_parts():
    for features in (torch.eye(3), superposition()):
        empty = torch.zeros(0, features.shape[1])
        assert decompose(empty, features).coefficients.shape == (0, len(features))
        assert score(empty, features).hedged.shape == (0,)


def test_nothing_given_is_changed():
    features, latents = superposition() * 2, unit_rows(3, 4, seeded()) * 3
    before = features.clone(), latents.clone()
    score(latents, features)
    assert torch.equal(features, before[0]) and torch.equal(latents, before[1])


def test_all_at_once_says_of_every_latent_what_the_parts_say_and_nothing_of_dead_ones():
    features = torch.eye(4, dtype=torch.float64)
    decoder = rows(
        [1, 0.2, 0.3, 0], [0, 1, 0, 0], [0, 0, 0, 1]
    )  # f1 is tracked by the second, f2 by none, the third is dead
    encoder = rows([1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 1])
    found = recovery.recover(decoder, encoder, features, torch.tensor([0.5, 0.5, 0.0]) > 0, 10)
    norm = math.sqrt(1 + 0.04 + 0.09)
    assert found.own.tolist() == [0, 1, -1]
    assert found.absorbed[:2].tolist() == pytest.approx([0.2 / norm, 0])
    assert found.hedged[:2].tolist() == pytest.approx([0.3 / norm, 0])
    assert found.decoder_cosine[:2].tolist() == pytest.approx([1 / norm, 1])
    assert found.encoder_cosine[:2].tolist() == pytest.approx([1, HALF])
    assert found.asymmetry[:2].tolist() == pytest.approx([1 - 1 / norm, 1 - HALF])
    assert all(
        math.isnan(float(part[2])) for part in (found.hedged, found.absorbed, found.asymmetry, found.decoder_cosine)
    )
