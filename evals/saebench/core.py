"""SAEBench's core: how well an SAE reconstructs the activations, how sparse it is, and how much of the model's behaviour it keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hedgebench.eval import Eval, EvalContext
from hedgebench.l0_figures import Shown, l0_figure
from hedgebench.types import CannotMeasure, Score

from .core_config import CoreConfig
from .core_metrics import METRICS, WHY_BLANK

if TYPE_CHECKING:
    from .core_tally import Baseline, Tally


_FIRST = ("l0", "explained_variance", "ce_loss_score", "kl_div_score", "cossim", "dead_latents")
"""Reported before the others: what a reader looks at first."""


class SAEBenchCore(Eval):
    """Reconstruction, sparsity and model behaviour, as SAEBench's core eval, with the explained variance and MSE put right.

    The model runs once per batch for all SAEs of a hook point: its own predictions, those with the activations set to zero, and the
    activations are shared; each SAE adds encode, decode and the layers above the hook point. Every per-token number equals that of
    SAEBench's own functions. They are summed in float64 (SAEBench: float32), with a standard error over sequences.

    `explained_variance` and `mse` are those of the whole sample: 1 - sum |x - x'|^2 / sum |x - mean|^2, and the mean of |x - x'|^2,
    squares summed over the d_in dimensions. SAEBench's are `upstream_explained_variance` (it squares a mean of squares, so that it
    changes with the scale of the activations), `upstream_explained_variance_legacy` (mean of per-token ratios) and `upstream_mse`
    (divided by the tokens of a batch once more).

    Both parts begin with the same batches, which is what SAEBench asks its store for. (The store of present SAELens does not rewind when
    it is reset, so that a plain run of SAEBench takes the text after the reconstruction batches for the sparsity part.)

    Limits: the standard errors take sequences as independent, though a long document can span two. In half precision the losses are
    computed in half precision, as SAEBench does.

    Source: Karvonen et al. 2025, "SAEBench" (arXiv 2503.09532); sae_bench.evals.core.
    """

    name, version = "saebench_core", 1
    needs = frozenset({"sae", "model", "data", "activations"})
    metrics = METRICS
    figures = (
        l0_figure(
            "l0_vs_explained_variance",
            Shown("saebench_core", "explained_variance", label="explained variance"),
            "Sparsity against reconstruction",
        ),
        l0_figure(  # all that SAEBench's own output holds
            "l0_vs_upstream_explained_variance",
            Shown("saebench_core", "upstream_explained_variance", label="explained variance, SAEBench's"),
            "Sparsity against reconstruction",
        ),
    )
    packages = ("sae-bench",)
    cost = "shared: two passes of the model per reconstruction batch; each SAE: encode, decode and the layers above the hook point"

    Config = CoreConfig

    def run(self, ctx: EvalContext, cfg: CoreConfig) -> Iterator[Score]:
        """Measure one SAE."""
        for _, score in self.run_many([ctx], cfg):
            if isinstance(score, Exception):
                raise score
            yield score

    def run_many(self, ctxs: Sequence[EvalContext], cfg: CoreConfig) -> Iterator[tuple[int, Score | Exception]]:
        """Measure all SAEs of one hook point, sharing every pass of the model that does not depend on the SAE."""
        from .core_measure import measure

        base, tallies = measure(ctxs, cfg)
        for i, tally in enumerate(tallies):
            if isinstance(tally, Exception):
                yield i, tally
                continue
            try:
                scores = _scores(ctxs[i], cfg, base, tally)
            except Exception as error:
                yield i, error
                continue
            for score in scores:
                yield i, score


def _scores(ctx: EvalContext, cfg: CoreConfig, base: Baseline, tally: Tally) -> list[Score]:
    """Every number that is defined; the others are left blank, with the reason. Fills `ctx.details` with SAEBench's own fields."""
    from .core_numbers import Number, density_numbers, numbers, upstream_densities
    from .core_output import misc_numbers, saebench_fields

    n_tokens = int(base.acts["tokens"].sum())
    if n_tokens == 0:
        raise CannotMeasure("the text has no token but beginning-of-text, end-of-text and padding")
    plain = numbers(base, tally, cfg.batch_size)
    misc, details = misc_numbers(ctx.sae, upstream_densities(tally, n_tokens))
    ctx.details.update(saebench_fields(ctx, cfg, {k: v.value for k, v in plain.items()}, misc, details))
    if not bool(tally.positive.any()):
        misc.update(dict.fromkeys((n for n in misc if n.startswith("normalized_")), math.nan))  # upstream says 0
    plain |= {name: Number(value, None, ctx.sae.cfg.d_sae) for name, value in misc.items()}

    dead, quantiles = density_numbers(tally, n_tokens)
    scores = [Score("dead_latents", dead.value, n=dead.n)]
    scores += [Score("firing_density", q.value, {"quantile": level}, n=q.n) for level, q in quantiles.items()]
    for name, number in plain.items():
        if math.isfinite(number.value):
            scores.append(Score(name, number.value, stderr=number.stderr, n=number.n))
        else:
            ctx.leave_blank(name, WHY_BLANK[name])
    return sorted(scores, key=lambda s: _FIRST.index(s.metric) if s.metric in _FIRST else len(_FIRST))
