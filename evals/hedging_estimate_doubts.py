"""Why the numbers of `hedging_estimate` may mislead on this SAE and text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hedgebench.eval import Score

from .hedging_estimate_rows import NOTHING_OWED, Errors, Measured

if TYPE_CHECKING:
    from torch import Tensor

FEW = 200
"""Firings of the median live latent below which ranks of latents are doubtful."""
AGREE = 0.3
"""Rank correlation with virtual growth below which the two opinions disagree, and of the estimate between halves of the text below which it is noise."""
FOUND = 0.75
"""`injected_auc` below which known hedging is not found."""
OPINION = 0.6
"""The same of virtual growth, below which it is no second opinion on this SAE."""
NOTHING = 0.5
"""Share of the estimate's mean that is read where nothing is owed, above which it may be variance."""
FOOLED = 0.2
"""Rise of random signs, over that of hedging, above which variance is taken for hedging."""
LEAST = 10
"""Latents that a control is of."""


def doubts(found: Measured, alive: Tensor, width: int, errors: Errors, checked: Sequence[Score] | None) -> list[str]:
    """The reasons, a line each.

    Args:
        found: Of m latents.
        alive: [m], which they are.
        width: Of the SAE.
        errors: Of what was found.
        checked: Scores of the controls and of the halves; None where none were wanted.
    """
    controls = ["no controls were wanted (inject: 0): nothing says whether hedging is found here, or random signs taken for it"] if checked is None else _of_controls(found, checked)  # fmt: skip
    return [*_of_sample(found, alive, width, errors), *controls, *_of_opinions(found, checked or ())]


def _of_sample(found: Measured, alive: Tensor, width: int, errors: Errors) -> Iterator[str]:
    import torch

    from hedgebench.hedging import signed_root

    firings = torch.bincount(found.fit.whole.f.col_indices(), minlength=len(alive)).double()
    if float(firings.median()) < FEW:
        yield f"the median live latent fires on {firings.median():.0f} tokens only, fewer than {FEW}: give more text"
    if len(alive) < width / 2:
        yield f"{len(alive)} of {width} latents fire often enough to be measured: the mean is not of the SAE"
    mean = float(found.hedging.owed.mean())
    if mean < 2 * errors.mean:
        yield f"the mean, {mean:.3f} ± {errors.mean:.3f}, is not to be told from nothing"
    real, null = (float(signed_root(one.squared).abs().mean()) for one in (found.modulation, found.null))
    if null > 0.5 * real:
        yield "shuffled residuals follow the latents half as much as the real ones do: noise"


def _of_controls(found: Measured, checked: Sequence[Score]) -> Iterator[str]:
    mean = float(found.hedging.owed.mean())
    nothing = next((s.value for s in checked if s.metric == "owed" and s.params == NOTHING_OWED), None)
    if nothing is None:
        yield "nothing says what is read where nothing is owed"
    elif nothing > NOTHING * mean:
        yield f"where what is missing has a sign at random, and nothing is owed, the mean is {nothing:.3f} against {mean:.3f}: it may be variance"
    told = {s.metric: s for s in checked if s.params.get("of") == "hedging" and "than" not in s.params}
    if "injected_rise" not in told:
        yield "the controls could not be run: nothing says whether hedging is found here, or random signs taken for it"
    else:
        rise, fooled, user = (told[name] for name in ("injected_rise", "random_sign_rise", "injected_auc"))
        error = rise.stderr or 0.0
        if (rise.n or 0) < LEAST:
            yield f"the controls are of {rise.n} latents only"
        if rise.value < 2 * error or user.value < FOUND:
            yield (
                f"known hedging of {rise.params['share']:.0%} raises the estimate by {rise.value:.3f} ± {error:.3f} only, and stands out from other latents with probability {user.value:.2f}"
            )
        if fooled.value > FOOLED * max(rise.value, 0):
            yield f"features of random sign, which nothing hedges, raise the estimate by {fooled.value:.3f}, known hedging by {rise.value:.3f}"
    if "repeatability" in told and told["repeatability"].value < AGREE:
        yield f"halves of the text rank latents differently (rank correlation {told['repeatability'].value:.2f}): ranks are noise"


def _of_opinions(found: Measured, checked: Sequence[Score]) -> Iterator[str]:
    from scipy.stats import spearmanr

    latents = found.latents()
    first, second = latents["hedging"].cpu(), latents["virtual_growth"].nan_to_num().cpu()
    aucs = [
        s.value
        for s in checked
        if s.metric == "injected_auc" and s.params["of"] == "virtual_growth" and "than" not in s.params
    ]
    blind = any(auc < OPINION for auc in aucs)
    if float(first.std()) == 0 or float(second.std()) == 0:
        yield "an estimate is the same for all latents: there is nothing to rank"
    elif not blind and (agreement := float(spearmanr(first, second).statistic)) < AGREE:
        yield f"the two opinions rank latents differently (rank correlation {agreement:.2f})"
