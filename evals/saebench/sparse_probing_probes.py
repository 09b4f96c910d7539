"""Sparse probing's passes: mean activations and latents of labelled texts, and SAEBench's probes on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from hedgebench.artifacts import Artifact
from hedgebench.compat import prepare
from hedgebench.isolation import upstream
from hedgebench.types import BadInput

from .class_acts import ClassActs, check_hook, class_acts
from .k_values import fitting
from .probe_warnings import known_warnings_silent

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext
    from hedgebench.labelled import LabelledData

    from .sparse_probing import SparseProbingConfig

RECIPE = 1
"""Raise when what is stored of the model's probes changes."""
FULL_PROBE: Mapping[str, Any] = {"use_sklearn": False, "batch_size": 250, "epochs": 100, "lr": 1e-2}
"""SAEBench's settings of the probe on all dimensions (main.py:137, 190)."""
HELD_OUT = 5
"""Every fifth training text is held out to choose the epoch."""

ByClass = Mapping[str, torch.Tensor]
Accuracies = dict[str, dict[str, float]]
"""Test accuracy by class, for each of SAEBench's metrics under its own name (`sae_top_1_test_accuracy`)."""


class Measured(NamedTuple):
    """All numbers of one SAE on one labelled set."""

    dataset: str
    upstream: Accuracies
    """SAEBench's own."""
    held_out: Accuracies
    """`llm_test_accuracy` and `sae_test_accuracy` with the epoch chosen on held-out training texts."""
    n_test: int
    """Test texts of one class's probe; half of them are of the class."""
    n_texts: int
    """Different test texts of all classes."""


def measure(ctx: EvalContext, cfg: SparseProbingConfig) -> list[Measured]:
    """Every labelled set in turn.

    All sets draw from one stream of random numbers that begins with the run's seed, as in SAEBench with cached activations. What is made
    on the way for the cache draws from streams of its own, so that it makes no difference whether the cache is cold.

    Raises:
        BadInput: The hook point is none that SAEBench can read, or the texts are longer than the model's context.
        FloatingPointError: A latent is NaN or infinite.
    """
    check_hook(ctx)
    if cfg.context_size > ctx.model.cfg.n_ctx:
        raise BadInput(f"context_size is {cfg.context_size}, but the model reads {ctx.model.cfg.n_ctx} tokens")
    found = []
    with upstream(ctx.seed or 0):
        for i, data in enumerate(ctx.labelled):
            found.append(_measure_one(ctx, cfg, data))
            ctx.progress((i + 1) / len(ctx.labelled))
    return found


def _measure_one(ctx: EvalContext, cfg: SparseProbingConfig, data: LabelledData) -> Measured:
    if ctx.artifacts is None:
        raise ValueError("sparse probing needs a context with artifacts")
    train_texts, test_texts = data.train_test(cfg.train_size, cfg.test_size, ctx.seed or 0)
    texts = {"train": train_texts, "test": test_texts}
    source = {"data": data.identity, "train": cfg.train_size, "test": cfg.test_size}
    acts = {part: class_acts(ctx, own, cfg.context_size, cfg.llm_batch_size) for part, own in texts.items()}
    llm = ctx.artifacts.get(
        "sparse_probing_llm",
        {**source, "context": cfg.context_size, "batch": cfg.llm_batch_size, "k": cfg.k_values, "recipe": RECIPE},
        lambda: _llm_probes(ctx, cfg, acts),
    ).facts
    train, test = (_latents(ctx, own) for own in acts.values())
    found = _upstream_probes("sae", train, test, fitting(cfg.k_values, ctx.sae.cfg.d_sae), cfg.full_probe)
    held_out = {"sae_test_accuracy": held_out_probe(train, test, ctx.seed or 0)} if cfg.full_probe else {}
    per_class, n_texts = len(next(iter(test_texts.values()))), sum(map(len, test_texts.values()))
    return Measured(data.name, {**found, **llm["upstream"]}, {**held_out, **llm["held_out"]}, 2 * per_class, n_texts)


def _latents(ctx: EvalContext, acts: Mapping[str, ClassActs]) -> dict[str, torch.Tensor]:
    """Mean latents of each text, in the SAE's numeric type as in SAEBench: [texts, d_sae] by class."""
    latents = {label: own.mean_latents(ctx.sae).to(ctx.sae.dtype) for label, own in acts.items()}
    if not all(bool(torch.isfinite(own).all()) for own in latents.values()):
        raise FloatingPointError("some latent is NaN or infinite")
    return latents


def _llm_probes(ctx: EvalContext, cfg: SparseProbingConfig, acts: Mapping[str, Mapping[str, ClassActs]]) -> Artifact:
    """The same probes on the model's own activations, once for all SAEs."""
    train, test = ({label: a.mean.to(ctx.device) for label, a in own.items()} for own in acts.values())
    ks = fitting(cfg.k_values, next(iter(train.values())).shape[1])
    with upstream(ctx.seed or 0):
        theirs = _upstream_probes("llm", train, test, ks, full=True)
    ours = held_out_probe(train, test, ctx.seed or 0)
    return Artifact({}, {"upstream": theirs, "held_out": {"llm_test_accuracy": ours}})


def _upstream_probes(who: str, train: ByClass, test: ByClass, ks: tuple[int, ...], full: bool) -> Accuracies:
    """SAEBench's probes in SAEBench's order, which decides what each draws (main.py:137-158 and 190-222)."""
    prepare()
    from sae_bench.evals.sparse_probing.probe_training import train_probe_on_activations

    settings: dict[str, Mapping[str, Any]] = {f"{who}_test_accuracy": FULL_PROBE} if full else {}
    settings |= {f"{who}_top_{k}_test_accuracy": {"select_top_k": k} for k in ks}
    with known_warnings_silent():
        return {name: train_probe_on_activations(dict(train), dict(test), **how)[1] for name, how in settings.items()}


def held_out_probe(train: ByClass, test: ByClass, seed: int) -> dict[str, float]:
    """Test accuracy by class of SAEBench's probe on all dimensions, its epoch chosen on training texts that it does not learn from.

    Args:
        train: [texts, dimensions] by class; every fifth text is held out.
        test: [texts, dimensions] by class.
        seed: Decides the start, the order of the training texts and which texts of other classes are the negatives.
    """
    prepare()
    from sae_bench.evals.sparse_probing.probe_training import (
        prepare_probe_data,
        test_probe_gpu,
        train_probe_on_activations,
    )

    held = {label: torch.arange(len(own)) % HELD_OUT == HELD_OUT - 1 for label, own in train.items()}
    fit = {label: own[~held[label]] for label, own in train.items()}
    choose = {label: own[held[label]] for label, own in train.items()}
    with upstream(seed):
        probes, _ = train_probe_on_activations(fit, choose, **FULL_PROBE)
        return {
            label: test_probe_gpu(*prepare_probe_data(dict(test), label), FULL_PROBE["batch_size"], probe)
            for label, probe in probes.items()
        }
