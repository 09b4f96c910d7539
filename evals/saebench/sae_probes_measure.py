"""The passes of sae-probes: the model's last-token activations once for all SAEs and seeds, its own probe once per seed, and an SAE's probes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hedgebench.artifacts import Artifact, Artifacts
from hedgebench.isolation import upstream
from hedgebench.types import BadInput

from .class_acts import check_hook
from .k_values import fitting
from .sae_probes_files import MODEL, Split, TestPart, acts_file, module, placed, split_rows, train_test

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext
    from hedgebench.labelled import LabelledData

    from .sae_probes import SAEProbesConfig

RECIPE = 1
"""Raise when what is stored changes."""
PREFIX = "sae-probes:"
LEAST_UNSEEN = 8
"""Texts of each class among those that no training text equals, below which there is no number for them."""


@dataclass(frozen=True)
class Probe:
    """One probe on the test part of a set."""

    accuracy: float
    auc: float
    f1: float
    unseen_accuracy: float | None
    """On test texts that no training text equals, each once; None where there are too few of a class."""
    unseen_auc: float | None


@dataclass(frozen=True)
class Measured:
    """All numbers of one SAE on one set."""

    dataset: str
    test: TestPart
    sae: dict[int, Probe]
    """By k."""
    llm: Probe | None


def measure(ctx: EvalContext, cfg: SAEProbesConfig) -> list[Measured]:
    """Every set in turn, in the order in which SAEBench collects them.

    Raises:
        BadInput: Some data is no set of sae-probes, or the hook point is none that can be read.
    """
    check_hook(ctx)
    names = sorted((_set_name(data), data.identity) for data in ctx.labelled)
    found = []
    for i, (name, identity) in enumerate(names):
        found.append(_measure_one(ctx, cfg, name, identity))
        ctx.progress((i + 1) / len(names))
    return found


def _set_name(data: LabelledData) -> str:
    if not data.name.startswith(PREFIX):
        raise BadInput(
            f"data {data.name!r}: saebench_sae_probes reads the sets of sae-probes only ({PREFIX}105_click_bait)"
        )
    return data.name.removeprefix(PREFIX)


def _measure_one(ctx: EvalContext, cfg: SAEProbesConfig, name: str, identity: str) -> Measured:
    if ctx.artifacts is None:
        raise ValueError("sae-probes needs a context with artifacts")
    settings = {"data": identity, "context": _context(ctx, cfg), "batch": cfg.llm_batch_size, "recipe": RECIPE}
    unseeded = replace(ctx.artifacts, identity={**ctx.artifacts.identity, "seed": None})
    acts = unseeded.get("sae_probes_acts", settings, lambda: _collect(ctx, cfg, name)).tensors["acts"]
    if acts.shape[1] != ctx.sae.cfg.d_in:
        raise BadInput(f"the SAE expects vectors of width {ctx.sae.cfg.d_in}, but the model's have {acts.shape[1]}")
    llm = _llm_probe(ctx, name, acts, ctx.artifacts, settings) if cfg.llm_baseline else None
    with placed(name, str(ctx.checkpoint.hook), acts.to(ctx.sae.dtype), _seed(ctx)) as folder:
        split = split_rows(name, folder, _seed(ctx))
        sae = _sae_probes(ctx, cfg, name, folder, split)
    return Measured(name, split.test, sae, llm)


# --- the model's part ----------------------------------------------------------------------------------------------------------


def _context(ctx: EvalContext, cfg: SAEProbesConfig) -> int:
    return min(cfg.max_seq_len, int(ctx.model.cfg.n_ctx))


def _collect(ctx: EvalContext, cfg: SAEProbesConfig, name: str) -> Artifact:
    """The activations at the last token of every row of a set: [rows, d_in], by sae-probes' own function."""
    generate = module("generate_model_activations")
    constants = module("constants")
    hook, tokenizer = str(ctx.checkpoint.hook), ctx.model.tokenizer
    sides = tokenizer.truncation_side, tokenizer.padding_side
    with upstream(_seed(ctx)) as scratch:
        try:
            generate.generate_single_dataset_activations(
                model=ctx.model,
                model_name=MODEL,
                dataset_path=constants.DATA_PATH / "cleaned_data" / f"{name}.csv.zst",
                hook_names=[hook],
                model_cache_path=scratch,
                device=ctx.device,
                max_seq_len=_context(ctx, cfg),
                batch_size=cfg.llm_batch_size,
            )
        finally:
            tokenizer.truncation_side, tokenizer.padding_side = sides
        return Artifact({"acts": torch.load(acts_file(scratch, name, hook), weights_only=True)})


def _llm_probe(
    ctx: EvalContext, name: str, acts: torch.Tensor, artifacts: Artifacts, settings: dict[str, Any]
) -> Probe:
    """sae-probes' baseline: a logistic regression on the model's own activations, once for all SAEs."""

    def make() -> Artifact:
        with placed(
            name, str(ctx.checkpoint.hook), acts.float(), _seed(ctx)
        ) as folder:  # scikit-learn knows no bfloat16
            split = split_rows(name, folder, _seed(ctx))
            parts = train_test(name, str(ctx.checkpoint.hook), folder, _seed(ctx), split.num_train)
            fitted = module("run_baselines").METHODS["logreg"](*parts, seed=_seed(ctx))
            return Artifact({}, vars(_probe(fitted, parts[2], parts[3], split)))

    return Probe(**artifacts.get("sae_probes_llm", settings, make).facts)


# --- the SAE's part ------------------------------------------------------------------------------------------------------------


def _sae_probes(ctx: EvalContext, cfg: SAEProbesConfig, name: str, folder: Path, split: Split) -> dict[int, Probe]:
    """A probe for each k that is not beyond the SAE's width: the steps of sae-probes' `run_sae_eval` (run_sae_evals.py:114).

    That function writes the scores and throws the probes away, and what a probe says of new texts is wanted, too.
    """
    evals = module("run_sae_evals")
    acts = evals.generate_sae_activations(
        sae=ctx.sae,
        setting="normal",
        dataset=name,
        hook_name=str(ctx.checkpoint.hook),
        model_name=MODEL,
        device=ctx.device,
        num_train=None,
        frac=None,
        model_cache_path=folder,
        seed=_seed(ctx),
    )
    if not bool(torch.isfinite(acts.X_train).all() and torch.isfinite(acts.X_test).all()):
        raise FloatingPointError("some latent is NaN or infinite")
    order = evals.get_sorted_indices(acts.X_train, acts.y_train, evals.mean_act_normalization)
    probes = {}
    for k in fitting(cfg.ks, ctx.sae.cfg.d_sae):
        train, test = acts.X_train[:, order[:k]], acts.X_test[:, order[:k]]
        if cfg.binarize:
            train, test = train != 0, test != 0
        fitted = evals.find_best_reg(train, acts.y_train, test, acts.y_test, penalty=cfg.reg_type, seed=_seed(ctx))
        probes[k] = _probe(fitted, test, acts.y_test, split)
    return probes


def _probe(fitted: Any, test: Any, labels: Any, split: Split) -> Probe:
    """sae-probes' own numbers of a probe, and what it says of the new texts."""
    from sklearn.metrics import accuracy_score, roc_auc_score  # type: ignore[import-untyped]

    own, part = fitted.metrics, split.test
    unseen_accuracy = unseen_auc = None
    if min(part.unseen_positive, part.unseen_negative) >= LEAST_UNSEEN:
        chosen, truth = test[torch.from_numpy(split.new)], labels[split.new]
        unseen_accuracy = float(accuracy_score(truth, fitted.classifier.predict(chosen)))
        unseen_auc = float(roc_auc_score(truth, fitted.classifier.predict_proba(chosen)[:, 1]))
    if not all(map(math.isfinite, (own.test_acc, own.test_auc, own.test_f1))):
        raise FloatingPointError("a probe's score is NaN")
    return Probe(own.test_acc, own.test_auc, own.test_f1, unseen_accuracy, unseen_auc)


def _seed(ctx: EvalContext) -> int:
    """The run's seed, as scikit-learn takes it."""
    return (ctx.seed or 0) % 2**32
