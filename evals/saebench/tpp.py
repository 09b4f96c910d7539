"""SAEBench's TPP: whether ablating the latents behind one class hurts the probe of this class, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hedgebench.eval import Eval, EvalContext
from hedgebench.l0_figures import Shown, l0_figure
from hedgebench.types import Metric, Score

from .concept_probes_config import ProbeConfig

if TYPE_CHECKING:
    from .ablation_estimates import Estimate
    from .ablation_measure import Measured
    from .concept_probes import Task

_PAPER = "SAEBench (arXiv 2503.09532)"
_FALL = "accuracy before - accuracy after ablation of the n latents that drive a class's probe most, mean over classes"
_KINDS = ("total_metric", "intended_diff_only", "unintended_diff_only")

METRICS = (
    Metric(
        "tpp_total_metric",
        "tpp_intended_diff_only - tpp_unintended_diff_only",
        higher_is_better=True,
        low=-2.0,
        high=2.0,
        paper=_PAPER,
    ),
    Metric(
        "tpp_intended_diff_only",
        f"of this class's probe: {_FALL}",
        higher_is_better=True,
        low=-1.0,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "tpp_unintended_diff_only",
        f"of the other classes' probes: {_FALL}",
        higher_is_better=False,
        low=-1.0,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "probe_accuracy",
        "accuracy of the probes on the model's activations before ablation: low ones make TPP meaningless",
        chance=0.5,
        low=0.0,
        high=1.0,
    ),
    Metric(
        "upstream_tpp_total_metric",
        "SAEBench's: with probes chosen on the test texts, padding ablated, other texts after ablation than before",
        higher_is_better=True,
        low=-2.0,
        high=2.0,
        paper=_PAPER,
    ),
    Metric(
        "upstream_tpp_intended_diff_only",
        "SAEBench's, in the same way",
        higher_is_better=True,
        low=-1.0,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "upstream_tpp_unintended_diff_only",
        "SAEBench's, in the same way",
        higher_is_better=False,
        low=-1.0,
        high=1.0,
        paper=_PAPER,
    ),
    Metric(
        "upstream_probe_accuracy",
        "of SAEBench's probes, on the texts they were chosen on",
        low=0.0,
        high=1.0,
        chance=0.5,
    ),
)


class SAEBenchTPP(Eval):
    """Targeted probe perturbation: do few latents carry a class, and that class alone?

    For every class of a labelled set, a linear probe on the model's mean activations tells its texts from those of the other classes. The n
    latents with the largest effect on the probe are taken out of the activations, and all probes of the set are tested again. The class's own
    probe should fall (`tpp_intended_diff_only`), the others should not (`tpp_unintended_diff_only`); `tpp_total_metric` is the difference.
    n is a parameter; slices are data sets and classes.

    SAEBench does the work: probes, effects, choice of latents, sampling. Every token is encoded once per SAE instead of once per n and
    class. The numbers of SAEBench's own run (its LLM part cached, in single precision) are `upstream_tpp_...`; the plain ones differ from
    them where SAEBench is wrong:

    - The accuracy before ablation is measured on other texts than that after it, for the texts of the other classes are drawn anew each time
      (evals/scr_and_tpp/main.py:246, probe_training.py:61-71): an SAE that changes nothing gets a TPP other than 0. Here the texts are
      the same.
    - A probe's epoch is chosen by its accuracy on the test texts (probe_training.py:285), and here on a part of the training texts
      (`validation_share`).
    - Padded positions are ablated, too, where an SAE says something of the zero vector (main.py:222-229). Here they are not.
    - Some n above the number of latents makes the whole run fail (main.py:163). Here such n are left blank.
    - Its cached activations and probes are named without seed or settings (main.py:556) and pickled; gradients are switched off for the
      whole process (main.py:651). Not here.

    `stderr` is over test texts, with probes and latents as they are; what the seed adds (texts, probes) is seen in the spread over seeds.
    `n` of a row counts the texts.

    Limits: with n near the number of latents that fire at all, random SAEs score well. Where fewer than n latents have an effect, SAEBench
    takes those that have one in number, but ranks latents without effect before those that speak for the other classes (main.py:166-190);
    so does this. Probes must be good: see `probe_accuracy`.

    Source: Karvonen et al. 2025, "SAEBench" (arXiv 2503.09532); sae_bench.evals.scr_and_tpp.
    """

    name, version = "saebench_tpp", 1
    needs = frozenset({"sae", "model", "data"})
    metrics = METRICS
    figures = (
        l0_figure(
            "total_against_l0",
            Shown("saebench_tpp", "tpp_total_metric", "n=10", "TPP, 10 latents"),
            panel="saebench_against_l0",
        ),
        l0_figure(
            "upstream_total_against_l0",
            Shown("saebench_tpp", "upstream_tpp_total_metric", "n=10", "TPP, 10 latents, SAEBench's"),
        ),
    )
    packages = ("sae-bench",)
    labelled_sets = {  # noqa: RUF012 - a class attribute of Eval
        "offline": ("stand-in:ag_news", "stand-in:code", "stand-in:reviews"),
        "hub": ("LabHC/bias_in_bios_class_set1", "canrager/amazon_reviews_mcauley_1and5"),
    }
    cost = (
        "shared: one pass of the model up to the hook point over all texts, and the probes; each SAE: one encoding of the texts (1,050 texts of "
        "64 tokens, width 512, two threads: 0.7 s, against 7.8 s for SAEBench's own loop: make bench ONLY=tpp_scr_sharing); grows with texts x tokens x width"
    )
    Config = ProbeConfig

    def run(self, ctx: EvalContext, cfg: ProbeConfig) -> Iterator[Score]:
        """Measure one SAE."""
        from .ablation_measure import measure, widths

        metrics = [f"{prefix}tpp_{kind}" for prefix in ("", "upstream_") for kind in _KINDS]
        cfg = widths(ctx, cfg, metrics)
        yield from tpp_scores(ctx, cfg, measure(ctx, cfg, list(tpp_tasks(ctx, cfg))))


def tpp_tasks(ctx: EvalContext, cfg: ProbeConfig) -> Iterator[Task]:
    """One task per set; its concepts are the classes."""
    from hedgebench.isolation import isolated

    from .concept_probes import Task

    for data in ctx.labelled:
        with isolated():
            train, test = data.train_test(cfg.train_size, cfg.test_size, ctx.seed or 0)
        source = {"data": data.identity, "train_size": cfg.train_size, "test_size": cfg.test_size}
        yield Task(data.name, {label: label for label in train}, train, test, source, scr=False)


def tpp_scores(ctx: EvalContext, cfg: ProbeConfig, results: Sequence[Measured]) -> Iterator[Score]:
    """Every number of what was measured; fills `ctx.details` with SAEBench's own fields."""
    from .ablation_measure import probe_scores, saebench_fields, upstream_scores

    yield from _scores(results, cfg.n_values)
    yield from probe_scores(results)
    per_run, per_class = _upstream(results)
    details = {**saebench_fields(ctx, cfg, per_run, scr=False), "eval_result_unstructured": per_class}
    ctx.details.update(details)
    yield from upstream_scores(details)


def _scores(results: Sequence[Measured], n_values: Sequence[int]) -> Iterator[Score]:
    """Totals, data sets, classes."""
    from .ablation_estimates import mean
    from .ablation_measure import score, total

    for n in n_values:
        by_class = [_class_estimates(m, n) for m in results]
        for k, kind in enumerate(_KINDS):
            metric = f"tpp_{kind}"
            sets = [
                (mean([estimates[k] for estimates in classes]), m) for m, classes in zip(results, by_class, strict=True)
            ]
            yield total(metric, sets, n=n)
            for (estimate, m), classes in zip(sets, by_class, strict=True):
                yield score(metric, estimate, "dataset", m.task.name, n=n)
                for label, estimates in zip(m.task.concepts.values(), classes, strict=True):
                    yield score(metric, estimates[k], "class", f"{m.task.name}/{label}", n=n)


def _class_estimates(m: Measured, n: int) -> list[tuple[Estimate, ...]]:
    """By class: the numbers of `_KINDS`."""
    from .ablation_estimates import difference, mean, mean_of

    found: list[tuple[Estimate, ...]] = []
    for i, ablated in enumerate(m.task.concepts):
        fell = m.correct.clean.double() - m.correct.ablated[ablated, n].double()
        falls = [mean_of(fell[c, :, c].numpy(), m.rows[c], len(m.texts)) for c in range(len(m.task.concepts))]
        intended, unintended = falls.pop(i), mean(falls)
        found.append((difference(intended, unintended), intended, unintended))
    return found


def _upstream(
    results: Sequence[Measured],
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, dict[str, float]]]]:
    """SAEBench's metrics by its name of a set, and by set and class."""
    from sae_bench.evals.scr_and_tpp.main import create_tpp_plotting_dict

    found = {m.task.name: create_tpp_plotting_dict(m.upstream, dict(m.upstream_clean)) for m in results}
    return {f"{name}_tpp": both[0] for name, both in found.items()}, {name: both[1] for name, both in found.items()}
