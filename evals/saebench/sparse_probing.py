"""SAEBench's sparse probing: how well k latents of an SAE tell the classes of labelled texts apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hedgebench.eval import Eval, EvalContext
from hedgebench.l0_figures import Shown, l0_figure
from hedgebench.saebench_output import our_name
from hedgebench.types import BadInput, Metric, Score

if TYPE_CHECKING:
    from .sparse_probing_probes import Measured

_PAPER = "SAEBench (arXiv 2503.09532)"


def _accuracy(name: str, summary: str, higher: bool | None, paper: str = "", chance: float | None = 0.5) -> Metric:
    return Metric(name, summary, "share of test texts", higher, chance, low=0.0, high=1.0, paper=paper)


_FULL = "test accuracy of a linear probe on {}, the epoch chosen on held-out training texts; mean over classes and data sets"
_THEIRS = "SAEBench's: the largest test accuracy that the probe on {} has after any epoch"
_TOP = "test accuracy of a logistic regression on the k {} whose class means differ most"
_LATENTS, _DIMENSIONS = "all latents", "all of the model's dimensions"
_SETS = {
    "offline": tuple(f"stand-in:{name}" for name in ("ag_news", "code", "amazon_stars", "yelp_stars", "persons")),
    "hub": (
        "LabHC/bias_in_bios_class_set1",
        "LabHC/bias_in_bios_class_set2",
        "LabHC/bias_in_bios_class_set3",
        "canrager/amazon_reviews_mcauley_1and5",
        "canrager/amazon_reviews_mcauley_1and5_sentiment",
        "fancyzhx/ag_news",
        "Helsinki-NLP/europarl",
    ),
}
"""SAEBench's own sets without codeparrot/github-code, which runs code from the hub when it is read."""


@dataclass(frozen=True)
class SparseProbingConfig:
    """Which texts, and which probes."""

    data: tuple[str, ...] = ("offline",)
    """Labelled sets: `offline`, `hub`, or names of sets and YAML files."""
    train_size: int = 4000
    """Training texts of a probe, half of them of its class."""
    test_size: int = 1000
    """Test texts of a probe."""
    context_size: int = 128
    """Tokens per text at most."""
    k_values: tuple[int, ...] = (1, 2, 5)
    """How many latents (or dimensions of the model) a sparse probe may use."""
    llm_batch_size: int = 32
    """Texts per pass of the model."""
    full_probe: bool = True
    """Also probe all latents; costs most of an SAE's time where the SAE is wide."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "k_values", tuple(self.k_values))
        if not self.k_values or any(k < 1 for k in self.k_values) or len(set(self.k_values)) < len(self.k_values):
            raise BadInput(f"k_values must be different numbers from 1 on, not {list(self.k_values)}")
        for name, low in {"train_size": 16, "test_size": 16, "context_size": 2, "llm_batch_size": 1}.items():
            if getattr(self, name) < low:
                raise BadInput(f"{name} must be at least {low}, not {getattr(self, name)}")


class SAEBenchSparseProbing(Eval):
    """Linear probes on the mean latents of texts, one class against the others: on the best k latents, and on all of them.

    For each class as many texts of the others are drawn, so that chance is 0.5. The mean over a text's tokens leaves out
    beginning- and end-of-text and padding. `sae_top_k_test_accuracy` is the eval's main number: the k latents (parameter
    `k`) whose means over the class and over the others differ most in the training texts, and a logistic regression on
    them; `llm_top_k_test_accuracy` is the same on the model's own dimensions. Numbers stand for each class
    ("<data set>/<class>"), each data set (mean of its classes) and all of them.

    Where SAEBench is wrong: its probe on all latents stops by its accuracy *on the test texts*, and reports the best
    accuracy over up to 100 epochs (sae_bench/evals/sparse_probing/probe_training.py:282-288): better than chance on pure
    noise. That is `upstream_sae_test_accuracy` and `upstream_llm_test_accuracy`. Ours, `sae_test_accuracy` and
    `llm_test_accuracy`, hold out every fifth training text, choose the epoch there, and look at the test texts once. The
    sparse probes choose nothing on the test texts and are SAEBench's own.

    SAEBench's scores depend on the state of its cache, since training the model's probes uses up the seeded random
    numbers before the SAE's turn (main.py:113, 171, 246). Here each SAE's part begins with the seed: the numbers are
    those of SAEBench when its cache is warm, whichever SAE comes first. The model's probes begin with the seed on each
    data set, as SAEBench's do on its first one. A class with too few texts, which SAEBench leaves out and then fails on,
    is refused by name; a k beyond the width is left blank.

    Errors: binomial, over the test texts of a class's probe. The classes of a data set share their texts, so a data set's
    error is the mean of its classes' errors, an upper bound; data sets are taken as independent. The upstream accuracies,
    being maxima, have none, and no fixed chance level.

    Limits: the mean over tokens is the only pooling. Text beyond `context_size` tokens is cut off.

    Source: Karvonen et al. 2025, "SAEBench" (arXiv 2503.09532); sae_bench.evals.sparse_probing.
    """

    name, version = "saebench_sparse_probing", 1
    needs = frozenset({"sae", "model", "data"})
    figures = (
        l0_figure(
            "accuracy_against_l0",
            Shown("saebench_sparse_probing", "sae_top_k_test_accuracy", "k=1", "probing accuracy, 1 latent"),
            panel="saebench_against_l0",
        ),
    )
    packages = ("sae-bench", "scikit-learn")
    metrics = (
        _accuracy("sae_top_k_test_accuracy", _TOP.format("latents"), True, _PAPER),
        _accuracy("sae_test_accuracy", _FULL.format(_LATENTS), True),
        _accuracy("llm_top_k_test_accuracy", _TOP.format("of the model's dimensions"), None, _PAPER),
        _accuracy("llm_test_accuracy", _FULL.format(_DIMENSIONS), None),
        _accuracy("upstream_sae_test_accuracy", _THEIRS.format(_LATENTS), True, _PAPER, None),
        _accuracy("upstream_llm_test_accuracy", _THEIRS.format(_DIMENSIONS), None, _PAPER, None),
    )
    labelled_sets = _SETS
    cost = (
        "the model's activations and its probes are made once for all SAEs of a hook point and seed; each SAE adds encoding every token "
        "once and its probes; grows with texts, k_values, classes and width"
    )

    Config = SparseProbingConfig

    def run(self, ctx: EvalContext, cfg: SparseProbingConfig) -> Iterator[Score]:
        """Measure one SAE."""
        from .k_values import fitting
        from .sparse_probing_output import saebench_fields
        from .sparse_probing_probes import measure

        found = measure(ctx, cfg)
        ctx.details.update(saebench_fields(ctx, cfg, found))
        for who, width in (("sae", ctx.sae.cfg.d_sae), ("llm", ctx.sae.cfg.d_in)):
            for k in sorted(set(cfg.k_values) - set(fitting(cfg.k_values, width))):
                ctx.leave_blank(f"{who}_top_k_test_accuracy k={k}", f"there are only {width} to choose {k} from")
        yield from _scores(found)


def _scores(found: Sequence[Measured]) -> Iterator[Score]:
    """Rows of all metrics: the aggregate first, then data sets, then classes."""
    named = [_named(one) for one in found]
    for metric, k in named[0]:
        params = {} if k is None else {"k": k}
        honest = not metric.startswith("upstream_")  # a maximum over epochs has no binomial error
        means, errors, rows = [], [], []
        for one, accuracies in zip(found, named, strict=True):
            by_class = accuracies[metric, k]
            binomial = {label: math.sqrt(p * (1 - p) / one.n_test) for label, p in by_class.items()}
            means.append(sum(by_class.values()) / len(by_class))
            errors.append(sum(binomial.values()) / len(binomial))
            where = ("dataset", one.dataset)
            rows.append(Score(metric, means[-1], params, *where, errors[-1] if honest else None, one.n_texts))
            for label, p in by_class.items():
                where = ("class", f"{one.dataset}/{label}")
                rows.append(Score(metric, p, params, *where, binomial[label] if honest else None, one.n_test))
        error = math.sqrt(sum(e * e for e in errors)) / len(errors)
        n = sum(one.n_texts for one in found)
        yield Score(metric, sum(means) / len(means), params, stderr=error if honest else None, n=n)
        yield from rows


def _named(one: Measured) -> dict[tuple[str, int | None], Mapping[str, float]]:
    """The accuracies of a data set by class, under our names, with k."""
    found: dict[tuple[str, int | None], Mapping[str, float]] = {(name, None): c for name, c in one.held_out.items()}
    for name, by_class in one.upstream.items():
        if ours := our_name("sparse_probing", name):
            found[ours[0], ours[1].get("k")] = by_class
    order = [metric.name for metric in SAEBenchSparseProbing.metrics]
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1] or 0)))
