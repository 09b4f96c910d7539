"""Core against SAEBench's own functions, run for real, and against SAEs whose right answer is known."""

from __future__ import annotations

import copy
import json
import math
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hedgebench_evals.saebench.core import SAEBenchCore
from hedgebench_evals.saebench.next_token import NextToken
from hedgebench_evals.saebench.splice import Splice
from known_scores import table

from hedgebench.activations import ActivationSource
from hedgebench.checkpoint import describe
from hedgebench.eval import EvalContext
from hedgebench.loaders import prepare
from hedgebench.records import score_row
from hedgebench.types import BadInput

LAYERS, D_MODEL, HEADS, VOCAB = 4, 16, 2, 61
BATCH, CONTEXT = 3, 12
SPECIAL = frozenset({0, 1})
HOOK = "blocks.1.hook_resid_post"
SIZES = {"batch_size": BATCH, "context_size": CONTEXT}


class FixedTokens:
    """A token source of the same rows every time: BOS first, and an end-of-text here and there."""

    special_ids = SPECIAL
    text = SimpleNamespace(name="fixed")

    def __init__(self, n_rows: int = 30) -> None:
        self.rows = torch.randint(2, VOCAB, (n_rows, CONTEXT), generator=torch.Generator().manual_seed(5))
        self.rows[:, 0] = 0
        self.rows[::4, 7] = 1

    def batches(self, n_batches: int, batch_size: int, context_size: int) -> Iterator[torch.Tensor]:
        yield from self.rows[: n_batches * batch_size, :context_size].split(batch_size)


@pytest.fixture(scope="module")
def model() -> Any:
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    with torch.random.fork_rng():
        config = HookedTransformerConfig(
            n_layers=LAYERS, d_model=D_MODEL, n_ctx=CONTEXT, d_head=D_MODEL // HEADS, n_heads=HEADS, d_vocab=VOCAB, act_fn="gelu", normalization_type="RMS", positional_embedding_type="rotary", seed=3, initializer_range=0.6,
        )  # fmt: skip
        model = HookedTransformer(config)
    model.tokenizer = SimpleNamespace(bos_token_id=0, eos_token_id=1, pad_token_id=1, padding_side="right")
    return model.eval().requires_grad_(False)


@pytest.fixture
def sae(make_sae: Callable[..., Any]) -> Callable[..., Any]:
    """A JumpReLU SAE that reads what it writes, so that its output is not far from its input."""

    def make(seed: int = 0, hook: str = HOOK, d_in: int = D_MODEL, **more: Any) -> Any:
        one = make_sae(
            seed=seed, hook=hook, **{"d_in": d_in, "d_sae": 24, "context_size": CONTEXT, "prepend_bos": True, **more}
        )
        one = prepare(one)
        one.W_enc.data = 0.5 * one.W_dec.data.T
        one.b_dec.data *= 0.1
        one.b_enc.data *= 0.1
        return one

    return make


def context(sae: Any, model: Any, tokens: Any = None) -> EvalContext:
    card, tokens = describe(sae, name="sae"), tokens or FixedTokens()
    source = ActivationSource(model, str(card.hook), card.hook_head_index, tokens, None, card.d_in)
    return EvalContext(
        sae=sae, checkpoint=card, generator=torch.Generator(), model=model, data=tokens, activation_source=source
    )


def measure(ctx: EvalContext, **config: Any) -> dict[str, float]:
    rows = [score_row(SAEBenchCore, s) for s in SAEBenchCore().run(ctx, SAEBenchCore.Config(**SIZES, **config))]
    return {" ".join(filter(None, (r["metric"], r["params"]))): r["value"] for r in rows}


def saebench(sae: Any, model: Any, rows: torch.Tensor, **config: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """SAEBench's own run of core on these token rows: its metrics, flat, and its numbers per latent."""
    from datasets import Dataset
    from sae_bench.evals.core.eval_config import CoreEvalConfig
    from sae_bench.evals.core.main import calculate_misc_metrics, run_evals
    from sae_bench.sae_bench_utils.general_utils import _standardize_sae_cfg
    from sae_lens import ActivationsStore

    class Rewinding(ActivationsStore):
        def reset_input_dataset(self) -> None:
            """SAEBench resets the store between core's parts; this SAELens resets an iterator that nothing reads any more."""
            super().reset_input_dataset()
            self.iterable_sequences = self._iterate_tokenized_sequences()

    theirs = copy.deepcopy(sae)
    _standardize_sae_cfg(theirs.cfg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Dataset.from_dict({"tokens": rows.tolist()})
        store = Rewinding.from_sae(model, theirs, data, context_size=rows.shape[1])
    switches = {name: True for name in vars(CoreEvalConfig()) if name.startswith("compute_")}
    eval_config = CoreEvalConfig(batch_size_prompts=BATCH, **switches, **config)
    metrics, per_latent = run_evals(theirs, store, model, eval_config, ignore_tokens=set(SPECIAL))
    flat = {name: value for group in metrics.values() for name, value in group.items()}
    return flat | calculate_misc_metrics(per_latent), per_latent


def same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    """Equal up to SAEBench's sums in float32; its scores are quotients of small differences of such sums."""
    for name, value in theirs.items():
        if not name.startswith("total_tokens"):
            loose = 1e-5 if name.endswith("_score") else 0
            assert ours[UPSTREAM_NAMES.get(name, name)] == pytest.approx(value, rel=1e-6, abs=1e-6 + loose), name


UPSTREAM_NAMES = {
    "explained_variance": "upstream_explained_variance",
    "explained_variance_legacy": "upstream_explained_variance_legacy",
    "mse": "upstream_mse",
}


# --- equality with SAEBench ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("n_sparsity", [2, 4, 7])
def test_every_shared_number_equals_saebench_own_functions(
    model: Any, sae: Any, exclude: bool, n_sparsity: int
) -> None:
    ours = measure(
        context(sae(), model),
        n_batches=4,
        n_sparsity_batches=n_sparsity,
        exclude_special_tokens_from_reconstruction=exclude,
    )
    theirs, _ = saebench(
        sae(),
        model,
        FixedTokens().rows,
        n_eval_reconstruction_batches=4,
        n_eval_sparsity_variance_batches=n_sparsity,
        exclude_special_tokens_from_reconstruction=exclude,
    )
    assert len(theirs) == 24 + 2
    same(ours, theirs)


@pytest.mark.parametrize(
    ("hook", "d_in", "head"),
    [
        ("blocks.1.hook_resid_pre", D_MODEL, None),
        ("blocks.3.hook_resid_post", D_MODEL, None),
        ("blocks.1.hook_mlp_out", D_MODEL, None),
        ("blocks.2.attn.hook_z", D_MODEL, None),
        ("blocks.2.attn.hook_q", D_MODEL // HEADS, 1),
        ("blocks.0.mlp.hook_post", 4 * D_MODEL, None),
    ],
)
def test_other_hook_points_equal_saebench_too(model: Any, sae: Any, hook: str, d_in: int, head: int | None) -> None:
    one = sae(hook=hook, d_in=d_in, hook_head_index=head)
    ours = measure(context(one, model), n_batches=2)
    theirs, _ = saebench(
        one,
        model,
        FixedTokens().rows,
        n_eval_reconstruction_batches=2,
        n_eval_sparsity_variance_batches=2,
        exclude_special_tokens_from_reconstruction=True,
    )
    same(ours, theirs)


def test_losses_of_every_token_are_bitwise_those_of_saebench(model: Any, sae: Any) -> None:
    from sae_bench.evals.core.main import get_recons_loss
    from sae_bench.sae_bench_utils.general_utils import _standardize_sae_cfg

    one, tokens = sae(), FixedTokens().rows[:BATCH]
    splice = Splice(model, HOOK)
    clean = NextToken(splice.run(tokens), tokens)
    kl, ce = clean.compare(splice.rerun(one(splice.acts)))
    kl_zero, ce_zero = clean.compare(splice.rerun(torch.zeros_like(splice.acts)))

    theirs = copy.deepcopy(one)
    _standardize_sae_cfg(theirs.cfg)
    want = get_recons_loss(theirs, model, tokens, None, compute_kl=True, compute_ce_loss=True)
    assert torch.equal(kl, want["kl_div_with_sae"])
    assert torch.equal(kl_zero, want["kl_div_with_ablation"])
    assert torch.equal(ce, want["ce_loss_with_sae"])
    assert torch.equal(ce_zero, want["ce_loss_with_ablation"])
    assert torch.equal(clean.ce, want["ce_loss_without_sae"])


@pytest.mark.parametrize("hook", ["hook_embed", "blocks.0.attn.hook_pattern", "blocks.2.hook_attn_out"])
def test_a_rerun_with_the_same_activations_gives_the_same_logits(model: Any, hook: str) -> None:
    tokens = FixedTokens().rows[:BATCH]
    splice = Splice(model, hook)
    logits = splice.run(tokens)
    assert torch.equal(splice.rerun(splice.acts), logits)
    assert not torch.allclose(splice.rerun(torch.zeros_like(splice.acts)), logits)


def test_the_record_is_one_that_saebench_reads(model: Any, sae: Any) -> None:
    from pydantic import TypeAdapter
    from sae_bench.evals.core.eval_output import CoreEvalOutput

    one, rows = sae(), FixedTokens().rows
    ctx = context(one, model)
    measure(ctx, n_batches=3)
    rest = {"eval_id": "x", "datetime_epoch_millis": 0, "sae_bench_commit_hash": "x", "sae_lens_id": "x", "sae_lens_release_id": "x", "sae_lens_version": "x", "sae_cfg_dict": {}}  # fmt: skip
    text = json.dumps({**ctx.details, **rest}, allow_nan=False)
    output = TypeAdapter(CoreEvalOutput).validate_json(text)

    theirs, per_latent = saebench(
        one,
        model,
        rows,
        n_eval_reconstruction_batches=3,
        n_eval_sparsity_variance_batches=3,
        exclude_special_tokens_from_reconstruction=True,
    )
    metrics = {name: value for group in asdict(output.eval_result_metrics).values() for name, value in group.items()}
    assert metrics.keys() == theirs.keys()
    same({UPSTREAM_NAMES.get(name, name): value for name, value in metrics.items()}, theirs)
    for i, row in enumerate(output.eval_result_details):
        for name, values in per_latent.items():
            want = -1.0 if math.isnan(values[i]) else values[i]
            assert getattr(row, name) == pytest.approx(want, abs=1e-9), name


# --- known answers -------------------------------------------------------------------------------------------------------------


def identity(sae: Any) -> Any:
    """An SAE that gives every vector back: a latent for each direction and one for its opposite."""
    one = sae(d_sae=2 * D_MODEL)
    eye = torch.eye(D_MODEL)
    one.W_enc.data = torch.cat([eye, -eye], dim=1)
    one.W_dec.data = one.W_enc.data.T.contiguous()
    for name in ("b_enc", "b_dec", "threshold"):
        getattr(one, name).data.zero_()
    return one


def silent(sae: Any) -> Any:
    """An SAE whose latents never fire: it always says b_dec."""
    one = sae()
    one.threshold.data.fill_(1e6)
    return one


def test_an_sae_that_gives_everything_back_scores_perfectly(model: Any, sae: Any) -> None:
    got = measure(context(identity(sae), model), n_batches=3)
    assert got["explained_variance"] == pytest.approx(1)
    assert got["mse"] == pytest.approx(0, abs=1e-10)
    assert got["cossim"] == pytest.approx(1)
    assert got["l2_ratio"] == pytest.approx(1)
    assert got["relative_reconstruction_bias"] == pytest.approx(1)
    assert got["ce_loss_score"] == pytest.approx(1, abs=1e-6)
    assert got["kl_div_with_sae"] == pytest.approx(0, abs=1e-6)
    assert got["kl_div_score"] == pytest.approx(1, abs=1e-6)
    assert got["l0"] == D_MODEL


def test_an_sae_that_says_the_mean_explains_nothing(model: Any, sae: Any) -> None:
    one, ctx = silent(sae), context(silent(sae), model)
    batches = list(ctx.activations(3, **SIZES))
    one.b_dec.data = torch.cat([b.acts[b.mask] for b in batches]).mean(dim=0)
    ctx = context(one, model)
    assert measure(ctx, n_batches=3)["explained_variance"] == pytest.approx(0, abs=1e-6)


def test_a_dead_sae_reports_what_is_defined_and_says_why_the_rest_is_blank(model: Any, sae: Any) -> None:
    one = silent(sae)
    one.b_dec.data.zero_()
    ctx = context(one, model)
    got = measure(ctx, n_batches=2, exclude_special_tokens_from_reconstruction=False)
    assert (got["l0"], got["dead_latents"], got["frac_alive"], got["firing_density quantile=0.95"]) == (0, 1, 0, 0)
    assert (got["ce_loss_score"], got["kl_div_score"]) == (0, 0)  # it is zero ablation
    blank = {"cossim", "relative_reconstruction_bias", "normalized_freq_over_1_percent", "normalized_freq_over_10_percent"}  # fmt: skip
    assert set(ctx.missing) == blank
    assert blank.isdisjoint(got)
    assert "zero vector" in ctx.missing["cossim"]


def test_mse_and_l0_and_densities_are_those_counted_by_hand(model: Any, sae: Any) -> None:
    one = sae()
    ctx = context(one, model)
    got = measure(ctx, n_batches=1, n_sparsity_batches=5)
    x = torch.cat([b.acts[b.mask] for b in ctx.activations(5, **SIZES)])
    latents = one.encode(x)
    assert got["mse"] == pytest.approx(float((x - one.decode(latents)).pow(2).sum(1).mean()), rel=1e-6)
    assert got["l0"] == pytest.approx(float((latents != 0).sum(1).float().mean()))
    density = (latents != 0).double().mean(0).numpy()
    assert got["dead_latents"] == pytest.approx((density == 0).mean())
    assert got["firing_density quantile=0.25"] == pytest.approx(np.quantile(density, 0.25), rel=1e-6)


def test_explained_variance_agrees_with_saelens_and_survives_shift_and_scale_where_saebench_does_not(
    model: Any, sae: Any
) -> None:
    from sae_lens.evals import ExplainedVarianceCalculator

    def moved(scale: float, shift: float) -> tuple[dict[str, float], float]:
        """Core on activations x -> scale x + shift, with an SAE whose output moves alike."""
        tokens, one = FixedTokens(), sae()
        one.W_enc.data /= scale
        one.W_dec.data *= scale
        one.b_dec.data = scale * one.b_dec.data + shift
        model.add_hook(HOOK, lambda act, hook: scale * act + shift, is_permanent=True)
        try:
            ctx = context(one, model, tokens)
            got, exact = measure(ctx, n_batches=4), ExplainedVarianceCalculator()
            for b in ctx.activations(4, **SIZES):
                exact.add_batch(one(b.acts[b.mask]), b.acts[b.mask])
            return got, exact.compute()
        finally:
            model.reset_hooks(including_permanent=True)

    (plain, saelens), (scaled, _), (shifted, shifted_saelens) = moved(1, 0), moved(8, 0), moved(1, 3)
    assert plain["explained_variance"] == pytest.approx(saelens, abs=1e-6)
    assert shifted["explained_variance"] == pytest.approx(shifted_saelens, abs=1e-5)
    assert scaled["explained_variance"] == pytest.approx(plain["explained_variance"], abs=1e-5)
    assert shifted["explained_variance"] == pytest.approx(plain["explained_variance"], abs=1e-4)
    assert abs(scaled["upstream_explained_variance"] - plain["upstream_explained_variance"]) > 0.005
    assert abs(shifted["upstream_explained_variance"] - plain["upstream_explained_variance"]) > 0.005


def test_kl_is_exact_where_a_probability_underflows() -> None:
    original, changed = torch.tensor([[[0.0, -300.0, -1.0]]]), torch.tensor([[[-200.0, 0.0, -1.0]]])
    tokens = torch.zeros(1, 1, dtype=torch.long)
    p, q = original.double().log_softmax(-1), changed.double().log_softmax(-1)
    kl, _ = NextToken(original.clone(), tokens).compare(changed)
    assert float(kl) == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-6)


def test_the_standard_error_is_that_of_whole_sequences(model: Any, sae: Any) -> None:
    scores = {s.metric: s for s in SAEBenchCore().run(context(sae(), model), SAEBenchCore.Config(n_batches=8, **SIZES))}
    assert scores["l0"].n == 8 * BATCH
    assert scores["l0"].stderr is not None
    # Sequences are close to independent here, so resampling them must agree with the formula.
    one, source = sae(), context(sae(), model).activation_source
    batches = list(source.batches(8, BATCH, CONTEXT))
    l0 = torch.cat([torch.where(b.mask, (one.encode(b.acts) != 0).sum(-1), 0).sum(-1) for b in batches]).double()
    tokens = torch.cat([b.mask.sum(-1) for b in batches]).double()
    draws = torch.randint(len(l0), (4000, len(l0)), generator=torch.Generator().manual_seed(0))
    bootstrap = float((l0[draws].sum(1) / tokens[draws].sum(1)).std())
    assert scores["l0"].stderr == pytest.approx(bootstrap, rel=0.1)


# --- sharing, failing, leaving things alone ------------------------------------------------------------------------------------


def run_many(ctxs: list[EvalContext], **config: Any) -> tuple[list[dict[str, float]], dict[int, Exception]]:
    values: list[dict[str, float]] = [{} for _ in ctxs]
    errors = {}
    for i, score in SAEBenchCore().run_many(ctxs, SAEBenchCore.Config(**SIZES, **config)):
        if isinstance(score, Exception):
            errors[i] = score
        else:
            values[i][f"{score.metric} {dict(score.params)}"] = score.value
    return values, errors


def test_an_sae_scores_the_same_whoever_shares_the_run(model: Any, sae: Any) -> None:
    a, b, c = sae(0), sae(1), sae(2, d_sae=40)
    together, _ = run_many([context(s, model) for s in (a, b, c)], n_batches=2, n_sparsity_batches=3)
    turned, _ = run_many([context(s, model) for s in (c, a)], n_batches=2, n_sparsity_batches=3)
    assert together[0] == turned[1]
    assert together[2] == turned[0]
    assert together[0] != together[1]


def test_a_broken_sae_fails_alone(model: Any, sae: Any) -> None:
    narrow, nan, fine = sae(1, d_in=8), sae(0), sae(2)
    nan.W_enc.data[3, 5] = float("nan")
    values, errors = run_many([context(s, model) for s in (narrow, nan, fine)], n_batches=2, n_sparsity_batches=3)
    assert set(errors) == {0, 1}
    assert isinstance(errors[0], BadInput)
    assert "NaN or infinite" in str(errors[1])
    alone, _ = run_many([context(sae(2), model)], n_batches=2, n_sparsity_batches=3)
    assert values[2] == alone[0]
    with pytest.raises(FloatingPointError):
        measure(context(nan, model), n_batches=1)


def test_shared_passes_do_not_grow_with_the_number_of_saes(model: Any, sae: Any) -> None:
    passes = {"below": 0, "above": 0}
    model.add_hook(HOOK, lambda act, hook: passes.update(below=passes["below"] + 1), is_permanent=True)
    model.add_hook("blocks.3.hook_resid_post", lambda act, hook: passes.update(above=passes["above"] + 1), is_permanent=True)  # fmt: skip
    try:
        run_many([context(sae(i), model) for i in range(5)], n_batches=2)
    finally:
        model.reset_hooks(including_permanent=True)
    assert passes == {"below": 2, "above": 2 * (1 + 1 + 5)}


def test_random_state_grad_mode_and_the_sae_stay_as_they_were(model: Any, sae: Any) -> None:
    one = sae(hook="blocks.2.attn.hook_z")
    one.turn_on_forward_pass_hook_z_reshaping()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch.set_grad_enabled(True)
    scores = SAEBenchCore().run(context(one, model), SAEBenchCore.Config(n_batches=1, **SIZES))
    next(scores)
    assert torch.is_grad_enabled()
    list(scores)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert one.hook_z_reshaping_mode
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    assert not model.hook_dict[HOOK].fwd_hooks


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadInput, match="n_batches must be at least 1"):
        SAEBenchCore.Config(n_batches=0)
    with pytest.raises(BadInput, match="context_size must be at least 2"):
        SAEBenchCore.Config(context_size=1)


def test_the_figure_has_a_point_for_every_sae() -> None:
    from matplotlib.figure import Figure

    rows = [
        {"eval": "saebench_core", "metric": m, "value": v + i, "sae": f"s{i}", "architecture": "topk", "loss": loss, "seed": seed}
        for i, loss in enumerate(("mse", "snap", None))
        for m, v in (("l0", 20.0), ("explained_variance", 0.7))
        for seed in (0, 1)
    ]  # fmt: skip
    axes = Figure().add_subplot()
    SAEBenchCore.figures[0].draw(table(rows), axes)
    assert sorted(x for line in axes.lines for x in line.get_xdata()) == [20, 21, 22]
    assert len(axes.get_legend().get_texts()) == 3
