"""SAEBench's sae-probes: k-sparse probes on the last token, on up to 113 binary sets of texts, beside a probe on the model itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hedgebench.eval import Eval, EvalContext
from hedgebench.types import BadInput, Metric, Score

if TYPE_CHECKING:
    from .sae_probes_measure import Measured, Probe

_PAPER = "Kantamneni et al. 2025 (arXiv 2502.16681); SAEBench (arXiv 2503.09532)"
_DEFAULT = (
    "7_hist_fig_ispolitician",
    "21_headline_istrump",
    "87_glue_cola",
    "114_nyc_borough_Manhattan",
    "124_world_country_United_States",
    "127_art_type_song",
    "133_context_type_Causality",
    "149_twt_emotion_happiness",
)
_NEW = "on the test texts that no training text equals, each once"


def _share(name: str, summary: str, up: bool | None, chance: float | None = None, paper: str = _PAPER) -> Metric:
    return Metric(name, summary, "", up, chance, low=0.0, high=1.0, paper=paper)


def _metrics() -> Iterator[Metric]:
    for who, whose, up in (("sae_top_k", "the k best latents", True), ("llm", "the model's own activations", None)):
        of = f"a logistic regression on {whose}; mean over sets"
        yield _share(f"{who}_test_accuracy", f"test accuracy of {of}", up, 0.5)
        yield _share(f"{who}_test_auc", f"test area under the ROC curve of {of}", up, 0.5)
        yield _share(f"{who}_test_f1", f"test F1, mean of both classes weighted by their size, of {of}", up)
        yield _share(f"{who}_unseen_accuracy", f"accuracy of {of}; {_NEW}", up, paper="")
        yield _share(f"{who}_unseen_auc", f"area under the ROC curve of {of}; {_NEW}", up, 0.5, paper="")
    yield _share("seen_in_training", "share of the test rows whose text is a training text, too", None, paper="")


@dataclass(frozen=True)
class SAEProbesConfig:
    """Which sets, and which probes."""

    data: tuple[str, ...] = ("default",)
    """Sets of sae-probes: `default`, `all`, or names and patterns such as `sae-probes:105_click_bait`, `sae-probes:*_glue_*`."""
    ks: tuple[int, ...] = (1, 2, 5, 16)
    """How many latents a probe may use."""
    reg_type: str = "l1"
    """Penalty of the probes: `l1` or `l2`."""
    binarize: bool = False
    """Probe on whether a latent fires instead of how much."""
    max_seq_len: int = 1024
    """Tokens per text at most, or what the model reads; of longer texts the end is kept."""
    llm_batch_size: int = 32
    """Texts per pass of the model."""
    llm_baseline: bool = True
    """Also probe the model's own activations."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ks", tuple(self.ks))
        if not self.ks or any(k < 1 for k in self.ks) or len(set(self.ks)) < len(self.ks):
            raise BadInput(f"ks must be different numbers from 1 on, not {list(self.ks)}")
        if self.reg_type not in ("l1", "l2"):
            raise BadInput(f"reg_type must be l1 or l2, not {self.reg_type!r}")
        for name, low in {"max_seq_len": 2, "llm_batch_size": 1}.items():
            if getattr(self, name) < low:
                raise BadInput(f"{name} must be at least {low}, not {getattr(self, name)}")


class SAEBenchSAEProbes(Eval):
    """Logistic regressions on the k latents (parameter `k`) whose means over two classes differ most, at the last token of a text.

    Up to 1,024 training rows, balanced; the regularisation is chosen on the last 100 of them; the rest of the set's first
    5,000 rows, balanced, is the test part, so that chance is 0.5. Beside it the same on the model's own activations
    (`llm_*`), once for all SAEs. Every number is that of sae-probes' own functions in their setting `normal`, for each
    set and as mean over sets.

    Eight sets stand for the 113 by default: people, headlines, grammar, places near and far, works of art, the logic of
    sentences and feelings. Half of their texts have at most 5 to 22 tokens (in all 113: up to 1,789), they have 1,250 to
    5,000 rows, and less than a fifth of their test rows is known from training. `data: [all]` takes all 113.

    What is wrong with the sets: most hold texts several times, and rows are drawn, not texts
    (sae_probes/utils_data.py:97-129), so that a part of the test rows stands among the training rows, too:
    `seen_in_training`, 0 to 89 % by set, over 20 % in 36 of the 113. A probe on all of the model's dimensions can learn
    those by heart. `sae_top_k_unseen_accuracy`, `llm_unseen_accuracy` and the same with `auc` are the same probes on the
    test texts that are not among the training texts, each once; chance of that accuracy is the larger class's share, and
    sets with fewer than 8 such texts of a class have none. sae-probes' own numbers keep their plain names.

    Where SAEBench's wrapper goes astray and this does not: results on disk are taken up again whatever seed and k they
    were made with (sae_probes/run_sae_evals.py:274, run_baselines.py:119), activations whatever model, context and
    numeric type (generate_model_activations.py:212-219); the tokenizer's sides stay changed
    (generate_model_activations.py:18-19); a k beyond the SAE's width is reported as if there were so many latents
    (run_sae_evals.py:174).

    Errors: accuracies binomial, AUC after Hanley and McNeil 1982, over the different texts of the test part; the mean
    over sets takes sets as independent.

    Source: Kantamneni et al. 2025 (arXiv 2502.16681), the package sae-probes; sae_bench.evals.sparse_probing_sae_probes.
    """

    name, version = "saebench_sae_probes", 1
    needs = frozenset({"sae", "model", "data"})
    packages = ("sae-bench", "sae-probes", "scikit-learn")
    metrics = tuple(_metrics())
    labelled_sets = {"default": tuple(f"sae-probes:{name}" for name in _DEFAULT), "all": ("sae-probes:*",)}  # noqa: RUF012
    cost = (
        "the model's last-token activations are made once for all SAEs and seeds of a hook point, its own probe once per seed; each SAE adds "
        "its probes, about ten fits per set and k; grows with sets, their texts' length, and ks"
    )

    Config = SAEProbesConfig

    def run(self, ctx: EvalContext, cfg: SAEProbesConfig) -> Iterator[Score]:
        """Measure one SAE."""
        from .k_values import fitting
        from .sae_probes_measure import measure
        from .sae_probes_output import saebench_fields

        found = measure(ctx, cfg)
        ctx.details.update(saebench_fields(ctx, cfg, found))
        width = ctx.sae.cfg.d_sae
        for k in sorted(set(cfg.ks) - set(fitting(cfg.ks, width))):
            ctx.leave_blank(f"sae_top_k k={k}", f"the SAE has only {width} latents to choose {k} from")
        for one in found:
            if any(probe.unseen_auc is None for probe in one.sae.values()):
                why = f"too few test texts of a class that are not among the training texts: {one.test.unseen_positive} and {one.test.unseen_negative}"
                ctx.leave_blank(f"unseen {one.dataset}", why)
        for k in fitting(cfg.ks, width):
            yield from _probe_rows("sae_top_k", {"k": k}, [(one, one.sae[k]) for one in found])
        yield from _probe_rows("llm", {}, [(one, one.llm) for one in found if one.llm is not None])
        yield from _rows("seen_in_training", {}, [_seen(one) for one in found])


def _seen(one: Measured) -> Score:
    return Score("", one.test.seen, slice_value=one.dataset, n=one.test.rows)


def _probe_rows(who: str, params: dict[str, int], probes: Sequence[tuple[Measured, Probe]]) -> Iterator[Score]:
    """The rows of one probe's metrics, on every set and as their mean."""
    for metric in ("test_accuracy", "test_auc", "test_f1", "unseen_accuracy", "unseen_auc"):
        scores = [_score(metric, one, probe) for one, probe in probes]
        yield from _rows(f"{who}_{metric}", params, [score for score in scores if score is not None])


def _score(metric: str, one: Measured, probe: Probe) -> Score | None:
    part, (which, _, kind) = one.test, metric.partition("_")
    value = getattr(probe, kind if which == "test" else metric)
    if value is None:
        return None
    unseen = which == "unseen"
    positive, negative = (part.unseen_positive, part.unseen_negative) if unseen else (part.positive, part.negative)
    n, chance = positive + negative, None
    errors = {"accuracy": math.sqrt(value * (1 - value) / n), "auc": _auc_error(value, positive, negative)}
    if unseen and kind == "accuracy":
        chance = max(positive, negative) / n
    return Score("", value, slice_value=one.dataset, stderr=errors.get(kind), n=n, chance=chance)


def _rows(metric: str, params: dict[str, int], scores: Sequence[Score]) -> Iterator[Score]:
    """The mean over sets, then the sets."""
    if not scores:
        return
    n = len(scores)
    errors = [score.stderr for score in scores if score.stderr is not None]
    chances = [score.chance for score in scores if score.chance is not None]
    yield Score(
        metric,
        sum(score.value for score in scores) / n,
        params,
        stderr=math.sqrt(sum(e * e for e in errors)) / n if len(errors) == n else None,
        n=sum(score.n or 0 for score in scores),
        chance=sum(chances) / n if len(chances) == n else None,
    )
    for s in scores:
        yield Score(metric, s.value, params, "dataset", s.slice_value, s.stderr, s.n, s.chance)


def _auc_error(auc: float, positive: int, negative: int) -> float:
    """Hanley and McNeil 1982: the standard error of an area under the ROC curve over independent texts."""
    same_positive, same_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positive - 1) * (same_positive - auc**2) + (negative - 1) * (same_negative - auc**2)
    return math.sqrt(max(variance, 0.0) / (positive * negative))
