"""The decoder bias against activations whose mean is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from hedgebench_evals.bias_alignment import BiasAlignment, alignment, sequence_sums
from known_saes import bias_only, build, oracle, orthonormal_features, random_rows, sparse_activations

from hedgebench.checkpoint import describe
from hedgebench.eval import ActivationBatch, EvalContext
from hedgebench.types import CannotMeasure, Score

D_IN = 6


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(acts: torch.Tensor, mask: torch.Tensor | None = None) -> ActivationBatch:
    tokens = torch.zeros(acts.shape[:2], dtype=torch.long)
    return ActivationBatch(tokens, acts, tokens == 0 if mask is None else mask)


class Given:
    """An activation source that hands out what it was given."""

    def __init__(self, *batches: ActivationBatch) -> None:
        self.given = batches

    def batches(self, n_batches, batch_size, context_size, start=0):
        return iter(self.given[start:n_batches])


def context(sae, *batches: ActivationBatch) -> EvalContext:
    return EvalContext(sae, describe(sae, name="known"), seeded(), activation_source=Given(*batches))


def measure(sae, *batches: ActivationBatch) -> tuple[dict[str, Score], dict[str, str]]:
    ctx = context(sae, *batches)
    return {s.metric: s for s in BiasAlignment().run(ctx, BiasAlignment.Config(n_batches=len(batches)))}, ctx.missing


def with_bias(b_dec: torch.Tensor):
    return bias_only(b_dec, 4, seeded())


def correlated(n: int, length: int = 10, seed: int = 0, shift: float = 1.0) -> torch.Tensor:
    """[n, length, D_IN]: the tokens of a sequence share most of their deviation from `shift`."""
    generator = seeded(seed)
    own = torch.randn(n, 1, D_IN, generator=generator, dtype=torch.float64)
    return shift + own + 0.2 * torch.randn(n, length, D_IN, generator=generator, dtype=torch.float64)


def test_a_bias_that_is_the_mean_explains_all_of_it():
    acts = correlated(20)
    scores, missing = measure(with_bias(acts.mean((0, 1))), batch_of(acts[:12]), batch_of(acts[12:]))
    assert not missing
    values = {metric: score.value for metric, score in scores.items()}
    assert values == pytest.approx(
        {
            "relative_norm": float(acts.mean((0, 1)).norm() / acts.norm(dim=-1).mean()),
            "relative_norm_of_mean": 1,
            "cosine_mean": 1,
            "mean_explained": 1,
        }
    )
    assert {score.n for score in scores.values()} == {20}


def test_constant_activations_give_closed_forms_without_error():
    acts = torch.zeros(3, 4, 2)
    acts[..., 0] = 2.0
    scores, _ = measure(with_bias(torch.tensor([1.0, 1.0])), batch_of(acts))
    expected = {
        "relative_norm": math.sqrt(2) / 2,
        "relative_norm_of_mean": math.sqrt(2) / 2,
        "cosine_mean": math.sqrt(0.5),
        "mean_explained": 1 - 2 / 4,
    }
    assert {m: s.value for m, s in scores.items()} == pytest.approx(expected)
    assert [s.stderr for s in scores.values()] == pytest.approx([0, 0, 0, 0], abs=1e-12)


def test_a_bias_that_points_away_from_the_mean_adds_to_it():
    acts = correlated(20)
    scores, _ = measure(with_bias(-acts.mean((0, 1))), batch_of(acts))
    assert scores["cosine_mean"].value == pytest.approx(-1)
    assert scores["mean_explained"].value == pytest.approx(1 - 4)


def test_the_bias_of_an_sae_that_puts_hedged_features_there_is_their_mean():
    features = orthonormal_features(4, D_IN, seeded())
    acts = sparse_activations(features, 400, 0.3, seeded(1)).view(20, 20, D_IN)
    without_a_latent = features[3] * (acts @ features[3]).mean()
    narrow = oracle(features[:3])
    scores, _ = measure(build(narrow.W_enc, narrow.W_dec, b_dec=without_a_latent), batch_of(acts))
    mean = acts.mean((0, 1))
    assert scores["mean_explained"].value == pytest.approx(float((mean @ features[3]) ** 2 / mean.square().sum()))


def test_special_tokens_do_not_count_whatever_they_hold():
    acts = correlated(8)
    mask = torch.rand(8, 10, generator=seeded(3)) < 0.6
    spoiled = acts.masked_fill(~mask[..., None], math.inf)
    b_dec = torch.randn(D_IN, generator=seeded(4), dtype=torch.float64)
    scores, _ = measure(with_bias(b_dec), batch_of(spoiled, mask))
    mean = acts[mask].mean(0)
    assert scores["cosine_mean"].value == pytest.approx(float(mean @ b_dec / (mean.norm() * b_dec.norm())))
    assert scores["relative_norm"].value == pytest.approx(float(b_dec.norm() / acts[mask].norm(dim=-1).mean()))


def test_a_sequence_of_special_tokens_alone_is_no_sequence():
    acts = correlated(5)
    mask = torch.ones(5, 10, dtype=torch.bool)
    mask[2] = False
    scores, _ = measure(with_bias(torch.ones(D_IN)), batch_of(acts, mask))
    kept, _ = measure(with_bias(torch.ones(D_IN)), batch_of(acts[[0, 1, 3, 4]]))
    assert scores == kept
    assert scores["cosine_mean"].n == 4


def test_the_standard_errors_are_the_spread_over_fresh_texts_and_not_that_of_tokens():
    sae = with_bias(torch.linspace(-1, 2, D_IN, dtype=torch.float64))
    runs = [measure(sae, batch_of(correlated(100, seed=seed)))[0] for seed in range(150)]
    for metric in ("relative_norm", "relative_norm_of_mean", "cosine_mean", "mean_explained"):
        spread = torch.tensor([run[metric].value for run in runs]).std().item()
        stderr = torch.tensor([run[metric].stderr for run in runs]).mean().item()
        assert stderr == pytest.approx(spread, rel=0.2), metric


def test_one_sequence_has_no_standard_error():
    scores, _ = measure(with_bias(torch.ones(D_IN)), batch_of(correlated(1)))
    assert {(score.stderr, score.n) for score in scores.values()} == {(None, 1)}


def test_half_precision_activations_are_summed_in_float64():
    acts = torch.full((1, 4096, 2), 1 + 2**-10, dtype=torch.float16)
    total, norm, count = sequence_sums(batch_of(acts), random_rows(2, 3, seeded()))
    assert total.tolist() == [[4096 + 4.0] * 2]
    assert norm.item() == pytest.approx((4096 + 4) * math.sqrt(2), rel=1e-12)
    assert count.item() == 4096


def test_the_metrics_come_in_the_order_in_which_they_are_declared():
    total, norm, count = torch.tensor([6.0, 0.0]).double(), torch.tensor(20.0), torch.tensor(2.0)
    values = alignment(torch.tensor([3.0, 4.0]), total, norm, count)
    assert [m.name for m in BiasAlignment.metrics] == [
        "relative_norm",
        "relative_norm_of_mean",
        "cosine_mean",
        "mean_explained",
    ]
    assert values.tolist() == pytest.approx([5 / 10, 5 / 3, 3 / 5, 1 - 16 / 9])


def test_a_zero_bias_leaves_only_the_cosine_blank():
    scores, missing = measure(with_bias(torch.zeros(D_IN)), batch_of(correlated(4)))
    assert list(scores) == ["relative_norm", "relative_norm_of_mean", "mean_explained"]
    assert [score.value for score in scores.values()] == pytest.approx([0, 0, 0])
    assert missing == {"cosine_mean": "the decoder bias is zero"}


def test_a_zero_mean_leaves_blank_what_is_relative_to_it():
    acts = torch.tensor([[[1.0, 2.0], [-1.0, -2.0]]])
    scores, missing = measure(with_bias(torch.ones(2)), batch_of(acts))
    assert scores["relative_norm"].value == pytest.approx(math.sqrt(2 / 5))
    assert set(missing) == {"relative_norm_of_mean", "cosine_mean", "mean_explained"}
    assert set(missing.values()) == {"the mean activation is zero"}


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale"])
def test_the_bias_of_a_normalising_sae_is_measured_against_what_it_reads(kind):
    from sae_lens import SAE

    acts = correlated(6)
    config = {"architecture": "standard", "d_in": D_IN, "d_sae": 3, "dtype": "float64", "normalize_activations": kind}
    sae = SAE.from_dict({**config, "apply_b_dec_to_input": False, "metadata": {"hook_name": "h"}}).requires_grad_(False)
    read = sae.process_sae_in(acts)
    sae.b_dec.data = read.mean((0, 1))
    scores, _ = measure(sae, batch_of(acts))
    assert scores["mean_explained"].value == pytest.approx(1)
    plain, _ = measure(with_bias(sae.b_dec), batch_of(10 * acts))
    assert plain["mean_explained"].value < 0.5
    rescaled, _ = measure(sae, batch_of(10 * acts))
    assert rescaled["mean_explained"].value == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kind", ["expected_average_only_in", "covariance_whitening"])
def test_a_bias_in_unknown_units_cannot_be_measured(kind):
    sae = random_rows(D_IN, 3, seeded())
    sae.cfg.normalize_activations = kind
    with pytest.raises(CannotMeasure, match=kind):
        measure(sae, batch_of(correlated(2)))


def test_an_sae_without_a_decoder_bias_cannot_be_measured():
    ctx = context(random_rows(D_IN, 3, seeded()), batch_of(correlated(2)))
    ctx.sae = SimpleNamespace(W_dec=ctx.sae.W_dec)
    with pytest.raises(CannotMeasure, match="no decoder bias"):
        list(BiasAlignment().run(ctx, BiasAlignment.Config(n_batches=1)))


def test_text_without_an_ordinary_token_cannot_be_measured():
    acts = correlated(2)
    with pytest.raises(CannotMeasure, match="no unit"):
        measure(with_bias(torch.ones(D_IN)), batch_of(acts, torch.zeros(2, 10, dtype=torch.bool)))


def test_activations_that_are_not_finite_fail_the_run():
    acts = correlated(2)
    acts[0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        measure(with_bias(torch.ones(D_IN)), batch_of(acts))


def test_the_progress_ends_at_one():
    seen = []
    ctx = context(with_bias(torch.ones(D_IN)), *[batch_of(correlated(2))] * 4)
    ctx.progress = seen.append
    list(BiasAlignment().run(ctx, BiasAlignment.Config(n_batches=4)))
    assert seen == [0.25, 0.5, 0.75, 1.0]
