"""One SAE through all tasks of TPP or SCR, and what SAEBench's record says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hedgebench.isolation import isolated, upstream
from hedgebench.saebench_output import read_scores
from hedgebench.types import BadInput, CannotMeasure, Score

from .ablation import Accuracies, Correct, check_sae, correct, encode, upstream_accuracies
from .ablation_estimates import Estimate, mean_of, pooled
from .concept_probes import Concepts, Task, concepts

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext

    from .concept_probes_config import ProbeConfig


@dataclass(frozen=True)
class Measured:
    """What one task says of an SAE."""

    task: Task
    texts: Sequence[str]
    """The distinct test texts."""
    rows: NDArray[np.int64]
    """[concept, text of its test set]: their places in `texts`."""
    correct: Correct
    upstream_clean: Mapping[str, float]
    """Accuracies of SAEBench's probes before ablation, under its names."""
    upstream: Accuracies

    def accuracy(self, concept: int) -> Estimate:
        """The accuracy of a concept's probe on its own test set, before ablation."""
        told = self.correct.clean[concept, :, concept].double().numpy()
        return mean_of(told, self.rows[concept], len(self.texts))


def measure(ctx: EvalContext, cfg: ProbeConfig, tasks: Sequence[Task]) -> list[Measured]:
    """Every task with one SAE; `cfg.n_values` are at most its width.

    SAEBench seeds its generator once and draws from it task after task, and so does what is called `upstream` here. Everything else begins
    with the seed in every task.

    Raises:
        CannotMeasure: The SAE cannot be ablated.
        BadInput: Two sets have one name, or the texts or the hook point do not fit.
    """
    if len({task.name for task in tasks}) < len(tasks):
        raise BadInput("two labelled sets have the same name, so that their numbers could not be told apart")
    check_sae(ctx.sae)
    seed, results = ctx.seed or 0, []
    with upstream(seed):
        for i, task in enumerate(tasks):
            with isolated():
                found = concepts(ctx, cfg, task)
                latents = encode(ctx.sae, found)
            theirs = upstream_accuracies(ctx.sae, found, latents, cfg.n_values)
            told = correct(ctx.sae, found, latents, cfg.n_values, seed)
            results.append(_measured(found, told, theirs))
            ctx.progress((i + 1) / len(tasks))
    return results


def _measured(found: Concepts, told: Correct, theirs: Accuracies) -> Measured:
    rows = np.stack([rows.numpy() for rows, _ in found.samples.values()])
    return Measured(found.task, found.test.texts, rows, told, found.upstream_accuracies, theirs)


def widths(ctx: EvalContext, cfg: ProbeConfig, metrics: Sequence[str]) -> ProbeConfig:
    """The settings with as many latents as the SAE has at most; what falls away is left blank with the reason.

    Raises:
        CannotMeasure: Nothing is left.
    """
    d_sae = ctx.sae.cfg.d_sae
    why = f"the SAE has {d_sae} latents"
    possible = tuple(n for n in cfg.n_values if n <= d_sae)
    if not possible:
        raise CannotMeasure(f"{why}, fewer than every n of n_values")
    for n in cfg.n_values:
        if n not in possible:
            for metric in metrics:
                ctx.leave_blank(f"{metric} n={n}", why)
    return replace(cfg, n_values=possible)


def score(metric: str, estimate: Estimate, slice_by: str, slice_value: str, **params: int) -> Score:
    """A row of one task."""
    return Score(metric, estimate.value, params, slice_by, slice_value, stderr=estimate.stderr, n=estimate.n)


def total(metric: str, parts: Sequence[tuple[Estimate, Measured]], **params: int) -> Score:
    """The row of a mean over tasks."""
    value, stderr, n = pooled([(estimate, m.texts) for estimate, m in parts])
    return Score(metric, value, params, stderr=stderr, n=n)


def probe_scores(results: Sequence[Measured]) -> Iterator[Score]:
    """How well the probes tell the concepts apart before anything is ablated: without good ones the rest means nothing."""
    accuracies = [(m, i, m.accuracy(i)) for m in results for i in range(len(m.task.concepts))]
    theirs = [m.upstream_clean[concept] for m in results for concept in m.task.concepts]
    yield total("probe_accuracy", [(estimate, m) for m, _, estimate in accuracies])
    yield Score("upstream_probe_accuracy", sum(theirs) / len(theirs))
    for (m, i, estimate), other in zip(accuracies, theirs, strict=True):
        where = "class", f"{m.task.name}/{list(m.task.concepts.values())[i]}"
        yield score("probe_accuracy", estimate, *where)
        yield Score("upstream_probe_accuracy", other, {}, *where)


def saebench_fields(
    ctx: EvalContext, cfg: ProbeConfig, per_run: Mapping[str, Mapping[str, float]], *, scr: bool
) -> dict[str, Any]:
    """The fields of SAEBench's output that this eval decides.

    Args:
        ctx: The run's context.
        cfg: Its settings.
        per_run: SAEBench's metrics by its name for a task.
        scr: Whether it is SCR, not TPP.
    """
    from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig
    from sae_bench.sae_bench_utils.general_utils import average_results_dictionaries

    kind = "scr" if scr else "tpp"
    by_run = {f"{run}_results": dict(metrics) for run, metrics in per_run.items()}
    same = ["llm_batch_size", "early_stopping_patience"]
    same += ["probe_train_batch_size", "probe_epochs", "probe_lr", "probe_l1_penalty"]
    config = ScrAndTppEvalConfig(
        random_seed=ctx.seed or 0,
        dataset_names=[data.name for data in ctx.labelled],
        perform_scr=scr,
        llm_dtype=str(ctx.model.cfg.dtype).removeprefix("torch."),
        model_name=str(ctx.checkpoint.model or ""),
        train_set_size=cfg.train_size,
        test_set_size=cfg.test_size,
        context_length=cfg.context_size,
        n_values=list(cfg.n_values),
        column1_vals_lookup={data.name: list(data.pairs) for data in ctx.labelled} if scr else {},
        **{name: getattr(cfg, name) for name in same},
    )
    return {
        "eval_type_id": kind,
        "eval_config": asdict(config),
        "eval_result_metrics": {f"{kind}_metrics": average_results_dictionaries(by_run, list(per_run))},
        "eval_result_details": [{"dataset_name": name, **metrics} for name, metrics in by_run.items()],
    }


def upstream_scores(details: Mapping[str, Any]) -> Iterator[Score]:
    """SAEBench's own numbers, read from the record's fields as they are from its files."""
    for row in read_scores(details):
        yield Score(row.metric, row.value, row.params, row.slice_by, row.slice_value)
