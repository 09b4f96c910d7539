"""Decoders whose geometry is known."""

import math

import numpy as np
import pytest
import torch
from hedgebench_evals import decoder_similarity_text
from hedgebench_evals.decoder_similarity import DecoderSimilarity
from hypothesis import given, settings
from hypothesis import strategies as st
from known_saes import build, oracle, orthonormal_features, random_rows, unit_rows

from hedgebench import evaluate
from hedgebench.checkpoint import describe
from hedgebench.eval import ActivationBatch, EvalContext
from hedgebench.types import CannotMeasure

D_IN = 12
FEATURES = orthonormal_features(D_IN, D_IN, torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Given:
    """An activation source that hands out what it was given."""

    def __init__(self, *batches: ActivationBatch) -> None:
        self.given = batches

    def batches(self, n_batches, batch_size, context_size, start=0):
        return iter(self.given[start:n_batches])


def batch_of(acts: torch.Tensor, mask: torch.Tensor | None = None) -> ActivationBatch:
    tokens = torch.zeros(acts.shape[:2], dtype=torch.long)
    return ActivationBatch(tokens, acts, tokens == 0 if mask is None else mask)


def measure(sae, *batches: ActivationBatch, card=None, **config):
    """Scores by metric and params, latents left out, and the reasons for what is blank."""
    found, missing = everything(sae, *batches, card=card, **config)
    return {name(s): s for s in found if s.slice_by == "all"}, missing


def everything(sae, *batches: ActivationBatch, card=None, **config):
    source = Given(*batches) if batches else None
    ctx = EvalContext(sae, card or describe(sae, name="known"), seeded(), activation_source=source)
    cfg = DecoderSimilarity.Config(**{"quantiles": (), "n_batches": len(batches)} | config)
    return list(DecoderSimilarity().run(ctx, cfg)), ctx.missing


def name(score) -> str:
    return " ".join([score.metric, *(f"{k}={v}" for k, v in sorted(score.params.items()))])


def of(rows: torch.Tensor, b_dec: torch.Tensor | None = None):
    return build(rows.T, rows, b_dec=b_dec)


# --- weights ---


def test_orthonormal_rows_do_not_resemble_each_other_and_fill_as_many_dimensions():
    found, _ = measure(oracle(FEATURES[:8]), top=(1, 4))
    values = {key: score.value for key, score in found.items()}
    assert values == pytest.approx(
        {
            "c_dec": 0,
            "max_cosine": 0,
            "max_cosine sign=abs": 0,
            "effective_rank": 8,
            "stable_rank": 8,
            "spectrum_share top=1": 1 / 8,
            "spectrum_share top=4": 1 / 2,
        },
        abs=1e-6,
    )


def test_equal_rows_fill_one_dimension():
    found, _ = measure(of(FEATURES[:1].repeat(5, 1)), top=(1,))
    assert {key: s.value for key, s in found.items()} == pytest.approx(
        {"c_dec": 1, "max_cosine": 1, "max_cosine sign=abs": 1, "effective_rank": 1, "stable_rank": 1, "spectrum_share top=1": 1},
        abs=1e-5,
    )  # fmt: skip


def test_opposite_rows_resemble_each_other_by_size_only():
    found, _ = measure(of(torch.cat([FEATURES[:2], -FEATURES[:2]])))
    assert found["c_dec"].value == pytest.approx(1 / 3, abs=1e-6)
    assert found["max_cosine"].value == pytest.approx(0, abs=1e-6)
    assert found["max_cosine sign=abs"].value == pytest.approx(1, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(2, 20))
def test_c_dec_and_ranks_are_those_of_the_definitions(seed, n, d):
    rows = unit_rows(n, d, seeded(seed))
    found, _ = measure(of(rows))
    similar = [abs(float(rows[i] @ rows[j])) for i in range(n) for j in range(i + 1, n)]
    assert found["c_dec"].value == pytest.approx(np.mean(similar), abs=1e-6)
    values = torch.linalg.svdvals(rows)
    shares = values / values.sum()
    assert found["effective_rank"].value == pytest.approx(float((-(shares * shares.log()).sum()).exp()), rel=1e-6)
    assert found["stable_rank"].value == pytest.approx(float(values.square().sum() / values[0] ** 2), rel=1e-6)


def test_random_rows_score_what_chance_is_told_to_be():
    found, _ = measure(random_rows(32, 3000, seeded(1)), quantiles=(0.1, 0.9))
    assert found["c_dec"].chance == pytest.approx(math.gamma(16) / (math.sqrt(math.pi) * math.gamma(16.5)))
    assert len([s for s in found.values() if s.metric == "max_cosine"]) == 6
    for score in found.values():
        if score.metric in ("c_dec", "max_cosine"):
            assert score.value == pytest.approx(score.chance, abs=0.01)
            assert score.chance > 0.1


def test_each_latent_of_a_small_sae_has_a_row_and_dead_ones_count():
    rows = torch.cat([FEATURES[:1], (FEATURES[:1] + FEATURES[1:2]) / math.sqrt(2), torch.zeros(1, D_IN)])
    found, _ = everything(of(rows))
    latents = {s.slice_value: s.value for s in found if s.slice_by == "latent" and not s.params}
    assert latents == pytest.approx({"0": math.sqrt(0.5), "1": math.sqrt(0.5), "2": 0.0}, abs=1e-6)
    assert not [s for s in everything(of(rows), slice_limit=2)[0] if s.slice_by == "latent"]


def test_a_single_latent_resembles_none_and_no_latent_has_no_geometry():
    found, missing = measure(of(FEATURES[:1]))
    assert found["effective_rank"].value == pytest.approx(1)
    assert missing["c_dec"] == missing["max_cosine"] == "a single latent has no other to resemble"
    with pytest.raises(CannotMeasure, match="all decoder rows are zero"):
        measure(of(torch.zeros(3, D_IN)))


# --- activations ---


def acts_of(n: int, length: int = 7, seed: int = 3) -> torch.Tensor:
    return torch.randn(n, length, D_IN, generator=seeded(seed), dtype=torch.float64)


def test_s_n_is_that_of_the_definition():
    """Written from the paper: z = (x - b_dec) W_dec^T, all values of a batch descending, the one at index n * B, mean over batches."""
    rows, b_dec = unit_rows(40, D_IN, seeded(1)), torch.randn(D_IN, generator=seeded(2), dtype=torch.float64)
    batches = [acts_of(5, seed=3), acts_of(4, seed=4), acts_of(6, seed=5)]
    found, _ = measure(of(rows, b_dec), *map(batch_of, batches), n=(1, 7, 19))
    for n in (1, 7, 19):
        each = []
        for acts in batches:
            z = (acts.flatten(0, 1) - b_dec) @ rows.T
            each.append(float(z.flatten().sort(descending=True).values[n * len(z)]))
        assert found[f"s_n n={n}"].value == pytest.approx(np.mean(each), abs=1e-5)
        assert found[f"s_n n={n}"].stderr == pytest.approx(np.std(each, ddof=1) / math.sqrt(3), abs=1e-5)
        assert found[f"s_n n={n}"].n == 3


def test_s_n_takes_rows_of_unit_length_and_ordinary_tokens_only():
    rows, acts = unit_rows(40, D_IN, seeded(1)), acts_of(9)
    mask = torch.rand(9, 7, generator=seeded(2)) < 0.5
    spoiled = acts.masked_fill(~mask[..., None], math.inf)
    found, _ = measure(of(3 * rows), batch_of(spoiled, mask), n=(5,))
    kept, _ = measure(of(rows), batch_of(acts[mask][None]), n=(5,))
    assert found["s_n n=5"].value == pytest.approx(kept["s_n n=5"].value, abs=1e-5)


def test_a_wide_saes_batches_are_of_fewer_sequences(monkeypatch):
    rows, acts = unit_rows(40, D_IN, seeded(1)), acts_of(9)
    monkeypatch.setattr(decoder_similarity_text, "_ENTRIES", 40 * 7 * 3)
    found, _ = measure(of(rows), batch_of(acts), n=(5,))
    parts, _ = measure(of(rows), *(batch_of(part) for part in acts.split(3)), n=(5,))
    assert found["s_n n=5"] == parts["s_n n=5"] and found["s_n n=5"].n == 3


def test_n_is_below_half_the_width_and_above_the_l0():
    sae, batch = of(unit_rows(40, D_IN, seeded(1))), batch_of(acts_of(3))
    found, missing = measure(sae, batch)
    assert [s.params["n"] for s in found.values() if s.metric == "s_n"] == [5, 10, 15] and "s_n" not in missing
    card = describe(sae, name="known")
    object.__setattr__(card, "l0", 12.0)
    found, _ = measure(sae, batch, card=card)
    assert [s.params["n"] for s in found.values() if s.metric == "s_n"] == [15]
    object.__setattr__(card, "l0", 30.0)
    found, missing = measure(sae, batch, card=card)
    assert "no n is above the SAE's L0, 30, and well below half its width, 20" in missing["s_n"]
    found, missing = measure(sae, batch, n=(19, 20))
    assert "s_n n=19" in found and "s_n n=20" not in found
    assert missing["s_n"] == "n = 20 is not below half the width, 20"


def varying(features: torch.Tensor, n: int = 400) -> torch.Tensor:
    """[20, n / 20, D_IN] far from 0, whose principal components are these features, the first with the most variance."""
    strength = torch.randn(n, len(features), generator=seeded(5), dtype=torch.float64)
    strength = torch.linalg.qr(strength - strength.mean(0)).Q * torch.arange(len(features), 0, -1)
    return (strength @ features + 9 * FEATURES[-1]).view(20, -1, D_IN)


def test_the_share_of_the_components_in_the_span_is_known_and_the_mean_is_none_of_them():
    turned = (FEATURES[2:3] + FEATURES[7:8]) / math.sqrt(2)
    sae = of(torch.cat([FEATURES[:2], turned, -FEATURES[:1]]))
    found, missing = measure(sae, batch_of(varying(FEATURES[:4])), pcs=(1, 2, 3, 4, 5))
    shares = [found[f"pc_share pcs={m}"].value for m in (1, 2, 3, 4)]
    assert shares == pytest.approx([1, 1, 2.5 / 3, 2.5 / 4], abs=1e-5)
    assert found["pc_share pcs=1"].chance == 3 / D_IN
    assert not [key for key in found if key.endswith("pcs=5")]  # the activations have four
    assert not missing and found["s_n n=1"].n == 1  # an eighth, a quarter and three eighths of four


def test_where_the_rows_span_everything_the_share_is_blank_and_the_alignment_is_not():
    rows = torch.cat([FEATURES, 5 * FEATURES[:1], 4 * FEATURES[1:2]])
    found, missing = measure(of(rows), batch_of(varying(FEATURES[:4])), pcs=(1, 2, 3))
    assert missing["pc_share"] == "the decoder rows span all 12 dimensions, so any component is inside"
    assert [found[f"pc_alignment pcs={m}"].value for m in (1, 2)] == pytest.approx([1, 1], abs=1e-5)
    assert found["pc_alignment pcs=2"].chance == 2 / D_IN
    other, _ = measure(of(rows), batch_of(varying(FEATURES[4:8])), pcs=(1, 2))
    assert [other[f"pc_alignment pcs={m}"].value for m in (1, 2)] == pytest.approx([0, 0], abs=1e-5)


def test_random_components_score_chance():
    shares = []
    for seed in range(40):
        sae = of(unit_rows(3, D_IN, seeded(seed)))
        found, _ = measure(sae, batch_of(varying(orthonormal_features(4, D_IN, seeded(100 + seed)))), pcs=(2,))
        shares.append([found["pc_share pcs=2"].value, found["pc_alignment pcs=2"].value])
    assert np.mean(shares, axis=0) == pytest.approx([3 / D_IN, 2 / D_IN], abs=0.06)


@pytest.mark.parametrize("what", ["none", "no tokens", "constant", "normalised"])
def test_what_activations_cannot_tell_is_blank_and_the_weights_are_measured_all_the_same(what):
    sae = of(FEATURES[:4])
    batches = [batch_of(acts_of(3))]
    if what == "none":
        batches, why = [], "no text was to be read: n_batches is 0"
    elif what == "no tokens":
        batches, why = [batch_of(acts_of(3), torch.zeros(3, 7, dtype=torch.bool))], "fewer than two ordinary tokens"
    elif what == "constant":
        batches, why = [batch_of(torch.ones(3, 7, D_IN))], "the activations do not vary"
    else:
        sae.cfg.normalize_activations, why = "expected_average_only_in", "does not hold the factors"
    found, missing = measure(sae, *batches)
    assert "c_dec" in found and "pc_share pcs=1" not in found
    assert why in missing["pc_share"] and why in missing["pc_alignment"]


def test_a_reason_from_the_harness_is_passed_on():
    sae = of(FEATURES[:4])
    ctx = EvalContext(sae, describe(sae, name="x"), seeded(), absent={"activations": "the checkpoint names no model"})
    list(DecoderSimilarity().run(ctx, DecoderSimilarity.Config()))
    assert ctx.missing["s_n"] == "the checkpoint names no model"
    assert DecoderSimilarity.uses(DecoderSimilarity.Config(n_batches=0)) == {"sae"}
    assert DecoderSimilarity.uses(DecoderSimilarity.Config()) == {"sae", "activations"}


@pytest.mark.parametrize(
    "bad",
    [
        {"n": (0,)},
        {"top": (0,)},
        {"pcs": (-1,)},
        {"quantiles": (1.5,)},
        {"slice_limit": -1},
        {"n_batches": -1},
        {"batch_size": 0},
        {"batch_size": -1},
        {"context_size": 0},
    ],
)
def test_settings_without_a_meaning_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DecoderSimilarity.Config(**bad)


def test_the_harness_runs_it_on_weights_alone():
    table = evaluate({"known": oracle(FEATURES[:8])}, {"decoder_similarity": {"n_batches": 0}})
    value = table.set_index(["metric", "params", "slice_by"])["value"]
    assert value["effective_rank", "", "all"].item() == pytest.approx(8)
    assert value["max_cosine", "q=0.5", "all"].item() == pytest.approx(0, abs=1e-6)
