"""The decoder bias from weights alone, on SAEs whose answer is known."""

from types import SimpleNamespace

import pytest
import torch
from hedgebench_evals.decoder_bias import DecoderBias, spans_everything
from hypothesis import given, settings
from hypothesis import strategies as st
from known_saes import bias_only, build, identity, oracle, orthonormal_features, permuted_decoder, random_rows

from hedgebench import evaluate
from hedgebench.checkpoint import describe
from hedgebench.eval import EvalContext
from hedgebench.geometry import row_span
from hedgebench.loaders import prepare
from hedgebench.types import CannotMeasure, Score


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(sae) -> EvalContext:
    """As the harness makes it: the card of the SAE as stored, the SAE folded to unit rows."""
    return EvalContext(prepare(sae, dtype="float64"), describe(sae, name="known"), seeded())


def measure(sae) -> tuple[dict[str, Score], dict[str, str]]:
    ctx = context(sae)
    return {s.metric: s for s in DecoderBias().run(ctx, DecoderBias.Config())}, ctx.missing


def with_bias(sae, b_dec):
    return build(sae.W_enc, sae.W_dec, sae.b_enc, b_dec)


def test_the_norm_is_that_of_the_bias_and_relative_to_the_rows_as_stored():
    features = orthonormal_features(3, 5, seeded())
    sae = build(
        features.T, torch.tensor([[1.0], [2.0], [6.0]]) * features, b_dec=torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0])
    )
    scores, missing = measure(sae)
    assert not missing
    assert scores["b_dec_norm"].value == pytest.approx(5)
    assert scores["b_dec_relative_norm"].value == pytest.approx(5 / 3)


def test_without_a_card_the_rows_given_are_the_measure():
    ctx = context(bias_only(torch.tensor([3.0, 0.0, 4.0]), 2, seeded()))
    ctx.checkpoint = SimpleNamespace(decoder_row_norm=None)
    scores = {s.metric: s.value for s in DecoderBias().run(ctx, DecoderBias.Config())}
    assert scores["b_dec_relative_norm"] == pytest.approx(5)


@pytest.mark.parametrize(("inside", "outside", "share"), [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (3.0, 4.0, 9 / 25)])
def test_the_span_share_is_how_much_of_the_bias_the_latents_could_have_written(inside, outside, share):
    directions = orthonormal_features(6, 7, seeded())
    sae = with_bias(oracle(directions[:4]), inside * directions[2] + outside * directions[5])
    score = measure(sae)[0]["b_dec_span_share"]
    assert score.value == pytest.approx(share, abs=1e-12)
    assert score.chance == pytest.approx(4 / 7)


def test_repeated_rows_do_not_raise_the_rank():
    features = orthonormal_features(2, 5, seeded())
    rows = torch.cat([features, features, -features])
    assert measure(build(rows.T, rows, b_dec=torch.ones(5)))[0]["b_dec_span_share"].chance == pytest.approx(2 / 5)


def test_the_mean_share_of_random_biases_is_chance():
    sae = random_rows(12, 4, seeded())
    generator = seeded(1)
    scores = [measure(with_bias(sae, torch.randn(12, generator=generator)))[0]["b_dec_span_share"] for _ in range(200)]
    assert sum(s.value for s in scores) / 200 == pytest.approx(scores[0].chance, abs=0.04)


@pytest.mark.parametrize(("rank", "n"), [(6, 40), (7, 40), (7, 4000), (1, 4000)])
def test_the_first_rows_tell_that_all_span_the_space_only_where_they_do(rank: int, n: int):
    rows = torch.randn(n, rank, generator=seeded()) @ torch.randn(rank, 7, generator=seeded(1))
    assert spans_everything(rows, 1e-6) == (rank == 7)
    assert len(row_span(rows, 1e-6)) == rank


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(-7, 0), st.floats(-6, -1), st.integers(0, 100))
def test_rows_said_to_span_the_space_do_so_by_every_singular_value(n: int, weakest: float, rtol: float, seed: int):
    rows = torch.randn(n, 4, generator=seeded(seed), dtype=torch.float64) * torch.tensor([1.0, 1.0, 1.0, 10**weakest])
    rows[0] *= 30  # one row lifts the largest singular value
    if spans_everything(rows, 10**rtol):
        assert len(row_span(rows, 10**rtol)) == 4


def test_the_rank_does_not_depend_on_how_many_rows_there_are():
    """A weak direction is one still where 100,000 rows are strong in others: torch's default tolerance would grow with their number."""
    rows = torch.randn(100_000, 6, generator=seeded())
    rows[:, 5] = 0
    rows[-5:, 5] = 1
    sae = with_bias(build(rows.T, rows), torch.ones(6))
    ctx = EvalContext(prepare(sae, dtype="float32"), describe(sae, name="many"), seeded())
    assert torch.linalg.matrix_rank(ctx.sae.W_dec) == 5
    assert "b_dec_span_share" not in {s.metric for s in DecoderBias().run(ctx, DecoderBias.Config())}
    assert "span all 6 dimensions" in ctx.missing["b_dec_span_share"]


def test_permuting_the_decoder_changes_nothing():
    sae = with_bias(random_rows(9, 4, seeded()), torch.randn(9, generator=seeded(1)))
    scores, permuted = measure(sae)[0], measure(permuted_decoder(sae, seeded(2)))[0]
    assert {m: s.value for m, s in permuted.items()} == pytest.approx({m: s.value for m, s in scores.items()})


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3))
def test_the_norm_scales_with_the_bias_and_the_share_does_not(scale):
    sae, b_dec = random_rows(9, 4, seeded()), torch.randn(9, generator=seeded(1), dtype=torch.float64)
    one, other = measure(with_bias(sae, b_dec))[0], measure(with_bias(sae, scale * b_dec))[0]
    assert other["b_dec_norm"].value == pytest.approx(scale * one["b_dec_norm"].value)
    assert other["b_dec_span_share"].value == pytest.approx(one["b_dec_span_share"].value)


def test_the_share_is_blank_where_the_rows_span_everything():
    scores, missing = measure(with_bias(identity(4), torch.ones(4)))
    assert set(scores) == {"b_dec_norm", "b_dec_relative_norm", "d_in"}
    assert "span all 4 dimensions" in missing["b_dec_span_share"]


def test_a_zero_bias_has_norm_zero_and_no_share():
    scores, missing = measure(random_rows(9, 4, seeded()))
    assert scores["b_dec_norm"].value == scores["b_dec_relative_norm"].value == 0
    assert missing == {"b_dec_span_share": "the decoder bias is zero"}


def test_zero_rows_leave_the_relative_norm_blank():
    sae = build(torch.zeros(5, 3), torch.zeros(3, 5), b_dec=torch.ones(5))
    ctx = EvalContext(sae, describe(sae, name="zero"), seeded())
    scores = {s.metric: s for s in DecoderBias().run(ctx, DecoderBias.Config())}
    assert ctx.missing == {"b_dec_relative_norm": "all decoder rows are zero"}
    assert (scores["b_dec_span_share"].value, scores["b_dec_span_share"].chance) == (0, 0)


def test_an_sae_without_a_decoder_bias_cannot_be_measured():
    ctx = context(random_rows(5, 3, seeded()))
    ctx.sae = SimpleNamespace(W_dec=ctx.sae.W_dec)
    with pytest.raises(CannotMeasure, match="no decoder bias"):
        list(DecoderBias().run(ctx, DecoderBias.Config()))


def test_the_sae_is_left_as_it_is():
    ctx = context(with_bias(random_rows(9, 4, seeded()), torch.ones(9)))
    before = {name: t.clone() for name, t in ctx.sae.state_dict().items()}
    list(DecoderBias().run(ctx, DecoderBias.Config()))
    assert all(torch.equal(t, before[name]) for name, t in ctx.sae.state_dict().items())


def test_the_table_has_its_rows_without_any_model(monkeypatch):
    monkeypatch.setattr("hedgebench.models.load_model", lambda *args, **kwargs: pytest.fail("a model was loaded"))
    sae = with_bias(random_rows(9, 4, seeded()), torch.ones(9))
    table = evaluate({"known": sae}, "decoder_bias", seeds=(0, 1)).set_index("metric")
    assert list(table.index) == ["b_dec_norm", "b_dec_relative_norm", "b_dec_span_share", "d_in"]
    assert table.loc["d_in", "value"] == 9
    assert table.loc["b_dec_norm", "value"] == pytest.approx(3)
    assert table.loc["b_dec_span_share", "chance"] == pytest.approx(4 / 9)
