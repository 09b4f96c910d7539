"""Whether a metric answers rightly where the answer is known: an SAE beside its own controls, and the oracle beside the SAE. No torch.

A trained SAE must be better than the same shape with random rows, than itself with its rows shuffled (`hedgebench.controls`) and than itself made worse by a known amount (`hedgebench.dials`), and
no better than the oracle, which has the true features of a toy world. A metric that cannot see that tells nothing finer either ("Sanity checks for sparse autoencoders", arXiv 2602.14111; "Are SAE
Benchmarks Reliable?", arXiv 2605.18229). Principal components are no such case: they are a baseline that an SAE may lose to. A shuffled decoder leaves a metric that reads activations alone as it was:
then the two are the same, and nothing is tested.

All comparisons behind one verdict together have a chance of 5 % of an answer that is noise (Bonferroni, two-sided): more SAEs or more steps make nothing wrong by their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_high
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.stats.answers import WORDS, Answer, dials, steps_of, with_noise
from hedgebench.stats.grid import COLUMN, PLACE

if TYPE_CHECKING:
    from pandas import DataFrame

BETTER = {"random": "sae", "permuted": "sae", "oracle": "control"}
"""Which of the two is known to be better, by the kind of control."""
LEVEL = 0.05


def report_card(scores: DataFrame) -> DataFrame:
    """A row for each metric that has a better end and each kind of control: on how many SAEs it answers rightly.

    The difference between an SAE and its control is held against its noise: over evaluation seeds that both have, where there are two or more (paired, and pooled over SAEs that may be equally noisy), or else the two numbers' own standard errors.

    Returns:
        `COLUMN`, `PLACE`, kind, n_saes (that have such a control), right, wrong (the wrong way, by more than noise), same (equal by construction), unknown (within the noise, or no noise is known),
        gap (mean difference, positive where it is the right way), p_wrong (chance of so wrong an answer, times the number of SAEs; none where none is the wrong way) and verdict: `right` (right on
        most, wrong on none), `wrong` (wrong on any), `same`, `cannot tell`.
    """
    import pandas as pd

    rows = []
    for grid, compare in with_noise(scores):
        for kind, better in BETTER.items():
            pairs = [(sae, f"{sae}/{kind}") for sae in grid.table.index if f"{sae}/{kind}" in grid.table.index]
            found = compare(pairs if better == "sae" else [(control, sae) for sae, control in pairs])
            if found:
                words = [answer.word(LEVEL / len(found)) for answer in found]
                gaps = [answer.gap for answer in found if np.isfinite(answer.gap)]
                gap = float(np.mean(gaps)) if gaps else None
                last = {"gap": gap, "p_wrong": _p_wrong(found), "verdict": _verdict(words)}
                rows.append({**grid.column, "kind": kind, **_counted(words), **last})
    columns = ["kind", "n_saes", *WORDS, "gap", "p_wrong", "verdict"]
    return pd.DataFrame(rows, columns=[*COLUMN, *PLACE, *columns])


def dial_card(scores: DataFrame) -> DataFrame:
    """A row for each metric that has a better end and each dial: whether it falls as SAEs are made worse, and from where on it sees that.

    Returns:
        `COLUMN`, `PLACE`, dial, amounts, n_saes, right (the SAE itself is above the greatest amount, and nothing is wrong), wrong (an amount is above the SAE itself or above the amount before, by more
        than noise), same, unknown, steps (share of all steps that go down at all), first (the least amount that is told apart from the SAE itself, as are all greater ones: the median over SAEs;
        infinity where the greatest is not), gap (SAE less greatest amount), p_wrong and verdict as in `report_card`.
    """
    import pandas as pd

    rows = []
    for grid, compare in with_noise(scores):
        for dial, saes in dials(grid.table.index).items():
            found = steps_of(grid, compare, saes)
            if found:
                answers = [answer for steps in found for answer in (*steps.below, *steps.falls[1:])]
                level, any_level = LEVEL / len(found), LEVEL / len(answers)
                words = [steps.word(level, any_level) for steps in found]
                rows.append({
                    **grid.column, "dial": dial, "amounts": " ".join(f"{a:g}" for a in sorted({a for s in found for a in s.amounts})), **_counted(words),
                    "steps": float(np.mean([fall.gap > 0 for steps in found for fall in steps.falls])),
                    "first": median_high([steps.first(level) for steps in found]),
                    "gap": float(np.mean([steps.below[-1].gap for steps in found])),
                    "p_wrong": _p_wrong(answers), "verdict": _verdict(words),
                })  # fmt: skip
    columns = ["dial", "amounts", "n_saes", *WORDS, "steps", "first", "gap", "p_wrong", "verdict"]
    return pd.DataFrame(rows, columns=[*COLUMN, *PLACE, *columns])


def _counted(words: Sequence[str]) -> dict[str, int]:
    return {"n_saes": len(words), **{word: words.count(word) for word in WORDS}}


def _verdict(words: Sequence[str]) -> str:
    if "wrong" in words:
        return "wrong"
    if 2 * words.count("right") > len(words):
        return "right"
    return "same" if words.count("same") == len(words) else "cannot tell"


def _p_wrong(answers: Sequence[Answer]) -> float | None:
    """Chance of the most clearly wrong of these answers, times their number."""
    wrong = [answer.p for answer in answers if answer.p is not None and answer.gap < 0]
    return min(1.0, len(answers) * min(wrong)) if wrong else None
