"""SAEBench's SCR: whether ablating the latents behind a spurious correlation frees a biased probe of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hedgebench.eval import Eval, EvalContext
from hedgebench.l0_figures import Shown, l0_figure
from hedgebench.types import Metric, Score

from .concept_probes_config import ProbeConfig

if TYPE_CHECKING:
    from .ablation_estimates import Estimate
    from .ablation_measure import Measured

_PAPER = "SAEBench (arXiv 2503.09532)"
_SHARE = "(accuracy after - before ablation) / (accuracy of an unbiased probe - before), of the biased probe on the"
_KINDS = ("dir1", "dir2", "metric")
MIN_GAP = 0.001
"""What a biased probe must fall short of an unbiased one in accuracy, at least: SAEBench's threshold."""

METRICS = (
    Metric(
        "scr_metric",
        "of scr_dir1 and scr_dir2 the one where the biased probe is worse before ablation; their mean where it is as bad in both",
        higher_is_better=True,
        paper=_PAPER,
    ),
    Metric(
        "scr_dir1",
        f"{_SHARE} label, ablating the n latents that drive the second label's probe most",
        higher_is_better=True,
        paper=_PAPER,
    ),
    Metric(
        "scr_dir2",
        f"{_SHARE} second label, ablating the n latents that drive the label's probe most",
        higher_is_better=True,
        paper=_PAPER,
    ),
    Metric(
        "scr_gap",
        "accuracy of an unbiased probe - accuracy of the biased one before ablation: what there is to win, and what SCR divides by",
        low=-1.0,
        high=1.0,
    ),
    Metric(
        "probe_accuracy",
        "accuracy of the probes on the model's activations before ablation, each on texts like those it learnt from",
        chance=0.5,
        low=0.0,
        high=1.0,
    ),
    *(
        Metric(
            f"upstream_scr_{kind}",
            "SAEBench's: with probes chosen on the test texts, padding ablated, 0 where there is nothing to win",
            higher_is_better=True,
            paper=_PAPER,
        )
        for kind in _KINDS
    ),
    Metric(
        "upstream_probe_accuracy",
        "of SAEBench's probes, on the texts they were chosen on",
        low=0.0,
        high=1.0,
        chance=0.5,
    ),
)


class SAEBenchSCR(Eval):
    """Spurious correlation removal: can a bias be taken out of a probe by ablating few latents?

    A probe learns two classes that a second label gives away (every text of the one class is `low`, of the other `high`), and so it goes by
    both. The n latents with the largest effect on a probe of the second label alone are taken out of the activations; where these carry the
    second label, the biased probe now tells the classes better on texts in which both labels are mixed. `scr_dir1` is the share of the way to
    an unbiased probe's accuracy; `scr_dir2` the same with the roles of the labels swapped. n is a parameter; slices are data sets, one per
    pair of classes.

    SAEBench does the work: texts, probes, effects, choice of latents. Every distinct text goes through the model once, though SAEBench's
    six groups hold it up to three times, and every token is encoded once per SAE instead of once per n and group. The numbers of SAEBench's
    own run (its LLM part cached, in single precision) are `upstream_scr_...`; the plain ones differ from them where SAEBench is wrong:

    - Where the biased probe falls short of the unbiased one by less than 0.001, the score is set to 0 (evals/scr_and_tpp/main.py:381). Here
      it is left blank.
    - Where the biased probe is equally bad in both directions, `scr_metric` is missing (main.py:395). Here it is the mean of the two.
    - A probe's epoch is chosen by its accuracy on the test texts (probe_training.py:285), and here on a part of the training texts
      (`validation_share`).
    - Padded positions are ablated, too, where an SAE says something of the zero vector (main.py:222-229). Here they are not.
    - Some n above the number of latents makes the whole run fail (main.py:163). Here such n are left blank.
    - Whatever the seed, the texts are the first of the file (dataset_creation.py:70-75). Here the seed decides, for both kinds of numbers.
    - Its cached activations and probes are named without seed or settings (main.py:560) and pickled; gradients are switched off for the
      whole process (main.py:651). Not here.

    Sets that are too small for the sizes asked for are cut down to the largest that SAEBench's function takes, with a warning. The offline
    default is reviews; `stand-in:persons` has 7 test texts per pair of labels, which decides nothing, and is there for who asks for it.

    `stderr` is over test texts, with probes and latents as they are; what the seed adds (texts, probes) is seen in the spread over seeds. `n`
    of a row counts the texts.

    Limits: it is a ratio, and noise where `scr_gap` is not far above its standard error. It can be above 1. A mean over sets is over those
    that have a number; which these are does not depend on the SAE.

    Source: Karvonen et al. 2025, "SAEBench" (arXiv 2503.09532); sae_bench.evals.scr_and_tpp.
    """

    name, version = "saebench_scr", 1
    needs = frozenset({"sae", "model", "data"})
    metrics = METRICS
    figures = (
        l0_figure(
            "score_against_l0",
            Shown("saebench_scr", "scr_metric", "n=10", "SCR, 10 latents"),
            panel="saebench_against_l0",
        ),
        l0_figure(
            "upstream_score_against_l0",
            Shown("saebench_scr", "upstream_scr_metric", "n=10", "SCR, 10 latents, SAEBench's"),
        ),
    )
    packages = ("sae-bench",)
    labelled_sets = {  # noqa: RUF012 - a class attribute of Eval
        "offline": ("stand-in:reviews",),
        "hub": ("LabHC/bias_in_bios_class_set1", "canrager/amazon_reviews_mcauley_1and5"),
    }
    cost = (
        "shared: one pass of the model up to the hook point over all texts, and the probes; each SAE: one encoding of the texts (1,350 texts of "
        "64 tokens, width 512, two threads: 0.9 s, against 16 s for SAEBench's own loop: make bench ONLY=tpp_scr_sharing); grows with texts x tokens x width"
    )
    Config = ProbeConfig

    def run(self, ctx: EvalContext, cfg: ProbeConfig) -> Iterator[Score]:
        """Measure one SAE."""
        from .ablation_measure import measure, widths
        from .scr_texts import scr_tasks

        cfg = widths(ctx, cfg, [f"{prefix}scr_{kind}" for prefix in ("", "upstream_") for kind in _KINDS])
        yield from scr_scores(ctx, cfg, measure(ctx, cfg, list(scr_tasks(ctx, cfg))))


def scr_scores(ctx: EvalContext, cfg: ProbeConfig, results: Sequence[Measured]) -> Iterator[Score]:
    """Every number of what was measured; fills `ctx.details` with SAEBench's own fields."""
    from .ablation_measure import probe_scores, saebench_fields, upstream_scores

    yield from _scores(ctx, results, cfg.n_values)
    yield from probe_scores(results)
    details = saebench_fields(ctx, cfg, _upstream(results), scr=True)
    ctx.details.update(details)
    for m, row in zip(results, details["eval_result_details"], strict=True):
        if f"scr_metric_threshold_{cfg.n_values[0]}" not in row:
            ctx.leave_blank(f"upstream_scr_metric dataset={m.task.name}", "SAEBench gives none for a tie")
    yield from upstream_scores(details)


class _Direction:
    """One of SCR's two directions in one task, with our probes."""

    def __init__(self, m: Measured, ablated: str, tested: str) -> None:
        from .ablation_estimates import difference, mean_of
        from .scr_texts import BOTH

        self.m, self.ablated = m, ablated
        self.data, self.biased = (list(m.task.concepts).index(c) for c in (tested, BOTH))
        self.before, self.unbiased = self._told(m.correct.clean, self.biased), self._told(m.correct.clean, self.data)
        self.where = m.rows[self.data], len(m.texts)
        self.accuracy = mean_of(self.before, *self.where)
        self.gap = difference(mean_of(self.unbiased, *self.where), self.accuracy)

    def _told(self, correct: Any, probe: int) -> Any:
        return correct[self.data, :, probe].double().numpy()

    def score(self, n: int) -> Estimate | None:
        """The share of the gap that ablating n latents closes; None where there is no gap."""
        from .ablation_estimates import ratio_of

        if self.gap.value < MIN_GAP:
            return None
        after = self._told(self.m.correct.ablated[self.ablated, n], self.biased)
        return ratio_of(after - self.before, self.unbiased - self.before, *self.where)


def _both(directions: tuple[_Direction, _Direction], scores: tuple[Estimate | None, ...]) -> Estimate | None:
    """`scr_metric` from the two directions."""
    from .ablation_estimates import mean

    first, second = (round(d.accuracy.value * len(d.before)) for d in directions)
    chosen = scores if first == second else scores[:1] if first < second else scores[1:]
    known = [estimate for estimate in chosen if estimate is not None]
    return mean(known) if len(known) == len(chosen) else None


def _scores(ctx: EvalContext, results: Sequence[Measured], n_values: Sequence[int]) -> Iterator[Score]:
    """Totals and data sets; what has no number is left blank."""
    from .ablation_measure import score, total
    from .scr_texts import LABEL, SECOND

    directions = [(_Direction(m, SECOND, LABEL), _Direction(m, LABEL, SECOND)) for m in results]
    for i, m in enumerate(results):
        for d in (0, 1):
            yield score("scr_gap", directions[i][d].gap, "dataset", m.task.name, direction=d + 1)
    found: dict[str, int] = dict.fromkeys(_KINDS, 0)
    for n in n_values:
        rows = []
        for both in directions:
            scores = both[0].score(n), both[1].score(n)
            rows.append((*scores, _both(both, scores)))
        for k, kind in enumerate(_KINDS):
            known = [(row[k], m) for row, m in zip(rows, results, strict=True)]
            defined = [(estimate, m) for estimate, m in known if estimate is not None]
            found[kind] += len(defined)
            if defined:
                yield total(f"scr_{kind}", defined, n=n)
            for estimate, m in defined:
                yield score(f"scr_{kind}", estimate, "dataset", m.task.name, n=n)
            for nothing, m in known:
                if nothing is None:
                    ctx.leave_blank(f"scr_{kind} dataset={m.task.name}", _NO_GAP)
    for kind, count in found.items():
        if not count:
            ctx.leave_blank(f"scr_{kind}", f"in every set {_NO_GAP}")


_NO_GAP = (
    f"the biased probe falls short of the unbiased one by less than {MIN_GAP} in accuracy: there is no bias to remove"
)


def _upstream(results: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """SAEBench's metrics by its name of a task."""
    from sae_bench.evals.scr_and_tpp.main import get_scr_plotting_dict

    from hedgebench.isolation import upstream

    with upstream(0):  # it prints
        return {m.task.name: get_scr_plotting_dict(m.upstream, dict(m.upstream_clean)) for m in results}
