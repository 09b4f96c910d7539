"""Dials: SAEs made worse by a known amount."""

from __future__ import annotations

import math

import pytest
import torch
from known_saes import build, oracle, orthonormal_features, sparse_activations

from hedgebench.control_cards import control_card, split_kind
from hedgebench.controls import make_control
from hedgebench.dials import turn
from hedgebench.loaders import build_sae
from hedgebench.types import BadInput, CannotMeasure, Checkpoint

N, D = 8, 20


@pytest.fixture
def features() -> torch.Tensor:
    return orthonormal_features(N, D, torch.Generator().manual_seed(0))


@pytest.fixture
def acts(features: torch.Tensor) -> torch.Tensor:
    return sparse_activations(features, 400, 0.3, torch.Generator().manual_seed(1))


def firing(sae, acts) -> torch.Tensor:
    return (sae.encode(acts) != 0).any(0)


def test_a_share_of_the_latents_is_dead_and_more_are_the_same_ones_and_others(features, acts):
    alive = {share: set(firing(turn(f"dead={share}", oracle(features), 0), acts).nonzero().flatten().tolist()) for share in (0.25, 0.5, 1.0)}  # fmt: skip
    assert [len(alive[share]) for share in (0.25, 0.5, 1.0)] == [6, 4, 0]
    assert alive[0.5] < alive[0.25]


def test_permuted_rows_are_the_saes_own_in_other_places_and_all_move_at_1(features):
    for share, moved in ((0.25, 2), (0.5, 4), (1.0, 8)):
        rows = turn(f"permuted={share}", oracle(features), 0).W_dec
        cosines = rows @ features.T
        assert int((cosines.diagonal() < 0.5).sum()) == moved
        torch.testing.assert_close(cosines.sum(0), torch.ones(N).double())


def test_a_mixed_row_holds_so_much_of_one_other_row_and_the_encoder_is_left(features, acts):
    sae = turn("mixed=0.5", oracle(features), 0)
    cosines = (sae.W_dec @ features.T).sort(dim=1, descending=True).values
    torch.testing.assert_close(cosines[:, 0], torch.full((N,), 1 / math.hypot(1, 0.5)).double())
    torch.testing.assert_close(cosines[:, 1], torch.full((N,), 0.5 / math.hypot(1, 0.5)).double())
    assert torch.equal(sae.encode(acts), oracle(features).encode(acts))


def test_noise_turns_encoder_and_decoder_the_same_way_and_leaves_the_encoders_norms(features):
    little, much = (turn(f"noise={amount}", build(3 * features.T, features), 0) for amount in (0.1, 10.0))
    assert torch.equal(little.W_enc.norm(dim=0).round(decimals=6), torch.full((N,), 3.0).double())
    torch.testing.assert_close(much.W_enc.T / 3, much.W_dec.data)
    assert float((little.W_dec * features).sum(-1).min()) > 0.98
    assert float((much.W_dec * features).sum(-1).abs().max()) < 0.8


def test_a_dial_is_drawn_from_its_seed_alone_and_the_sae_is_left_as_it_was(features):
    sae, state = oracle(features), torch.get_rng_state()
    before = {name: weight.clone() for name, weight in sae.state_dict().items()}
    for kind in ("dead=0.5", "permuted=0.5", "mixed=0.5", "noise=0.5"):
        one, again = turn(kind, sae, 3), make_control(kind, sae, 3)
        assert all(torch.equal(one.state_dict()[name], again.state_dict()[name]) for name in before)
        assert any(not torch.equal(turn(kind, sae, 4).state_dict()[name], one.state_dict()[name]) for name in before)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], weight) for name, weight in sae.state_dict().items())


def test_a_gated_latent_has_no_bias_of_its_own_and_cannot_be_silenced(features):
    zeros = {name: torch.zeros(N) for name in ("b_gate", "b_mag", "r_mag")}
    weights = {"W_enc": features.T.contiguous(), "W_dec": features, "b_dec": torch.zeros(D), **zeros}
    config = {"architecture": "gated", "d_in": D, "d_sae": N, "dtype": "float64", "metadata": {}}
    with pytest.raises(CannotMeasure, match="'gated' cannot be silenced: it has no b_enc"):
        turn("dead=0.5", build_sae(config, weights), 0)


def test_a_step_of_a_dial_is_a_control_row_of_its_own():
    base = Checkpoint("abc", "n", "jumprelu", 8, 12, train_seed=1)
    cards = [control_card(kind, base) for kind in ("dead=0.25", "dead=0.5", "permuted=0.5", "permuted")]
    assert [card.name for card in cards] == ["n/dead=0.25", "n/dead=0.5", "n/permuted=0.5", "n/permuted"]
    assert len({card.digest for card in cards}) == 4
    assert cards[0].architecture == "dead_control" and cards[0].train_seed is None


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("deaf=0.5", "there is no dial 'deaf'; did you mean 'dead'"),
        ("dead=0", "a number above 0 and at most 1"),
        ("dead=1.5", "a number above 0 and at most 1"),
        ("noise=inf", "a number above 0$"),
        ("noise=much", "a number above 0$"),
        ("dead", "unknown control 'dead'"),
    ],
)
def test_what_is_no_dial_is_said_in_one_line(kind, why):
    with pytest.raises(BadInput, match=why):
        split_kind(kind)
