"""Firing counts of SAEs whose latents fire on known tokens."""

import math

import pytest
import torch
from known_saes import build, dead, oracle, orthonormal_features, sparse_activations

from hedgebench import firing
from hedgebench.eval import ActivationBatch
from hedgebench.firing import firing_counts


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(acts: torch.Tensor, mask: torch.Tensor | None = None) -> ActivationBatch:
    tokens = torch.zeros(acts.shape[:2], dtype=torch.long)
    return ActivationBatch(tokens, acts, tokens == 0 if mask is None else mask)


FEATURES = orthonormal_features(4, 6, seeded())
ACTS = sparse_activations(FEATURES, 60, 0.3, seeded(1)).view(12, 5, 6)
FIRES = (ACTS @ FEATURES.T) > 0.5


def test_each_latent_of_the_oracle_fires_where_its_feature_does():
    sae = build(FEATURES.T, FEATURES, b_enc=torch.full((4,), -0.5))
    counts, total = firing_counts(sae, [batch_of(ACTS[:7]), batch_of(ACTS[7:])])
    assert counts.tolist() == FIRES.sum((0, 1)).tolist() and len(set(counts.tolist())) > 1
    assert total == 60 and counts.dtype == torch.int64


def test_only_ordinary_tokens_count_whatever_the_others_hold():
    sae = build(FEATURES.T, FEATURES, b_enc=torch.full((4,), -0.5))
    mask = torch.rand(12, 5, generator=seeded(2)) < 0.5
    counts, total = firing_counts(sae, [batch_of(ACTS.masked_fill(~mask[..., None], math.inf), mask)])
    assert counts.tolist() == FIRES[mask].sum(0).tolist()
    assert total == int(mask.sum())


def test_dead_latents_count_nothing():
    counts, total = firing_counts(dead(6, 9, seeded()), [batch_of(ACTS)])
    assert counts.tolist() == [0] * 9 and total == 60


def test_without_text_nothing_was_read():
    counts, total = firing_counts(oracle(FEATURES), [])
    assert counts.tolist() == [0] * 4 and total == 0


@pytest.mark.parametrize("entries", [1, 4 * 5 * 3])
def test_sequences_at_a_time_give_the_same(monkeypatch, entries):
    sae = build(FEATURES.T, FEATURES, b_enc=torch.full((4,), -0.5))
    seen = []
    plain = sae.encode
    monkeypatch.setattr(sae, "encode", lambda acts: seen.append(len(acts)) or plain(acts))
    monkeypatch.setattr(firing, "_ENTRIES", entries)
    counts, _ = firing_counts(sae, [batch_of(ACTS)])
    assert counts.tolist() == FIRES.sum((0, 1)).tolist()
    assert max(seen) == max(1, entries // 20) and sum(seen) == 12


def test_heads_side_by_side_are_read_and_the_sae_is_left_as_it_was():
    sae = build(FEATURES.T, FEATURES, b_enc=torch.full((4,), -0.5))
    sae.cfg.metadata.hook_name = "blocks.1.attn.hook_z"
    sae.turn_on_forward_pass_hook_z_reshaping()
    counts, _ = firing_counts(sae, [batch_of(ACTS)])
    assert counts.tolist() == FIRES.sum((0, 1)).tolist()
    assert sae.hook_z_reshaping_mode
