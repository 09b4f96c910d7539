"""What `hedging_estimate` makes of hedging that is known, and the directions of what is hedged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hedgebench.eval import CannotMeasure, EvalContext, Score

from .hedging_estimate_rows import LEAST, NOTHING_OWED, Measured, measure

if TYPE_CHECKING:
    from torch import Tensor

    from hedgebench.latent_sample import LatentSample

RANKED = ("hedging", "owed", "modulation", "consistent", "virtual_growth")
"""Estimates whose ranks of latents are looked at."""
JUDGED_BY = ("injected_rise", "injected_auc"), ("random_sign_rise", "random_sign_auc")
"""What is told of hedging that is added, and of random signs."""
_OF = 8
"""One of so many latents is made to hedge."""
_NAMED = 3
"""Directions of a latent."""
_DIGITS = 4


def controls(found: Measured, ctx: EvalContext, cfg: Any) -> Iterator[Score]:
    """Latents are made to hedge a known feature, and one of random sign; everything is estimated again, twice."""
    import torch

    from hedgebench.hedging import refit
    from hedgebench.injection import auc, inject

    try:
        added = inject(found.fit, cfg.inject, _OF, ctx.generator)
        afters = []
        for x in (added.x, added.control):
            own = measure(found.sample._replace(x=x), ctx.generator, cfg, refit(found.fit, x))
            afters.append(own.latents())
            ctx.progress(0.3 + 0.25 * len(afters))
    except CannotMeasure as why:
        for metric in (metric for both in JUDGED_BY for metric in both):
            ctx.leave_blank(metric, str(why))
        return
    before, chosen = found.latents(), added.latents
    rest = torch.ones(len(found.norms), dtype=torch.bool)
    rest[chosen] = False
    for (rise, auc_of), after in zip(JUDGED_BY, afters, strict=True):
        for name in RANKED:
            params = {"of": name, "share": cfg.inject}
            was, now = before[name][chosen], after[name][chosen]
            rises = (now - was)[(now - was).isfinite()]  # a row of zeros has no virtual growth
            if not len(rises):
                ctx.leave_blank(f"{rise} of {name}", "none of the latents has a number")
                continue
            error = float(rises.std() / len(rises) ** 0.5) if len(rises) > 1 else None
            yield Score(rise, float(rises.mean()), params, stderr=error, n=len(rises))
            than = {"": after[name][added.others], "live": after[name][rest], "before": was}
            for word, others in than.items():
                yield Score(auc_of, auc(now, others), params | ({"than": word} if word else {}), n=len(chosen))
            rose = float((now > was).double().mean())
            yield Score(auc_of, rose, params | {"than": "itself"}, n=len(chosen))


def nothing_owed(found: Measured, alive: Tensor, ctx: EvalContext, cfg: Any) -> Iterator[Score]:
    """What every estimate reads where what is missing has a sign at random: it follows the latents as much, and no row owes anything."""
    from hedgebench.hedging import owing_nothing

    try:
        nothing = owing_nothing(found.fit, found.hedging, ctx.generator)
        latents = measure(found.sample._replace(x=nothing.x), ctx.generator, cfg, nothing).latents()
    except CannotMeasure as why:
        ctx.leave_blank("the estimate where nothing is owed", str(why))
        return
    for name in RANKED:
        values = latents[name]
        yield Score(name, float(values.nanmean()), NOTHING_OWED, n=int(values.isfinite().sum()))
        if len(ctx.sae.W_dec) <= cfg.slice_limit:
            for latent, value in zip(alive.tolist(), values.tolist(), strict=True):
                if value == value:
                    yield Score(name, value, NOTHING_OWED, "latent", str(latent))


def repeatability(found: Measured, ctx: EvalContext, cfg: Any) -> Iterator[Score]:
    """How much alike two halves of the documents rank latents, each half estimated by itself."""
    import torch
    from scipy.stats import spearmanr

    from hedgebench.latent_sample import halved, live, restricted

    def side(own: LatentSample) -> tuple[Tensor, dict[str, Tensor]]:
        alive = live(own, cfg.min_firings // 4)
        if len(alive) < LEAST:
            raise CannotMeasure(f"{len(alive)} latents fire often enough in half of the text, and {LEAST} must")
        return alive, measure(restricted(own, alive), ctx.generator, cfg).latents()

    try:
        (first, one), (second, other) = map(side, halved(found.sample, ctx.generator))
    except CannotMeasure as why:
        ctx.leave_blank("repeatability", str(why))
        return
    shared = torch.isin(first, second), torch.isin(second, first)
    for name in RANKED:
        pair = torch.stack([one[name][shared[0]], other[name][shared[1]]]).cpu()
        pair = pair[:, pair.isfinite().all(dim=0)]
        if pair.shape[1] < LEAST or bool((pair.std(dim=1) == 0).any()):
            ctx.leave_blank(
                f"repeatability of {name}", "too few latents have a number in both halves, or all have the same"
            )
            continue
        yield Score("repeatability", float(spearmanr(*pair).statistic), {"of": name}, n=pair.shape[1])


def directions(found: Measured, alive: Tensor, ctx: EvalContext, cfg: Any) -> Iterator[Score]:
    """What the latents that hedge most hedge: missing features with what the row owes to each (parts of one sum), and leading directions of N_i beside a null."""
    from hedgebench.modulation import leading_directions, shuffled
    from hedgebench.sparse_growth import owed

    told: list[dict[str, Any]] = []
    ctx.details["eval_result_unstructured"] = {"hedging": told}
    latents = found.latents()
    strongest = latents["hedging"].argsort(descending=True)
    strongest = strongest[found.norms[strongest].isfinite()][: cfg.directions]
    if not len(strongest):
        return
    fit, missing, counted = found.fit, found.hedging.missing, found.hedging.counted
    own = owed(missing.codes, fit.r, fit.whole)
    size = own.directions.norm(dim=1)
    amounts = (own.coefficients * size * counted)[strongest] / found.norms[strongest][:, None]
    weights = fit.halves[0].weights(strongest), fit.halves[1].weights(strongest)
    residuals = fit.residuals
    scale = missing.spike * found.norms[strongest]
    real = leading_directions(residuals, weights, 1, ctx.generator)
    null = leading_directions(shuffled(residuals, ctx.generator), weights, 1, ctx.generator)
    for params, lead in (({}, real), ({"null": "shuffled"}, null)):
        values = lead.validated[:, 0] / scale
        yield Score("leading_strength", float(values.mean()), params, n=len(values))
        for latent, value in zip(alive[strongest].tolist(), values.tolist(), strict=True):
            yield Score("leading_strength", value, params, "latent", str(latent))
    for i, latent in enumerate(alive[strongest].tolist()):
        first = amounts[i].abs().argsort(descending=True)[: min(_NAMED, int(counted.sum()))].tolist()
        told.append(
            {
                "latent": latent,
                **{name: round(float(latents[name][strongest[i]]), _DIGITS) for name in ("hedging", "owed")},
                "features": [
                    {"share": round(float(amounts[i, j]), _DIGITS), "direction": _rounded(own.directions[j] / size[j])}
                    for j in first
                ],
                "leading": {
                    "strength": round(float(real.validated[i, 0] / scale[i]), _DIGITS),
                    "null": round(float(null.validated[i, 0] / scale[i]), _DIGITS),
                    "direction": _rounded(real.vectors[i, 0]),
                },
            }
        )


def _rounded(vector: Tensor) -> list[float]:
    return [round(value, _DIGITS) for value in vector.tolist()]
