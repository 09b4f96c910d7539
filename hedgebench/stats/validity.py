"""Whether a metric answers rightly where the answer is known: an SAE beside its own controls, and the oracle beside the SAE. No torch.

A trained SAE must be better than the same shape with random rows and than itself with its rows shuffled (`hedgebench.controls`), and no better than the oracle, which has the true features of a toy
world. A metric that cannot see that tells nothing finer either ("Sanity checks for sparse autoencoders", arXiv 2602.14111; "Are SAE Benchmarks Reliable?", arXiv 2605.18229). Principal components are
no such case: they are a baseline that an SAE may lose to. A shuffled decoder leaves a metric that reads activations alone as it was: then the two are the same, and nothing is tested.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hedgebench.stats.grid import COLUMN, PLACE, grids

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

BETTER = {"random": "sae", "permuted": "sae", "oracle": "control"}
"""Which of the two is known to be better, by the kind of control."""
_SURE = 1.96


def report_card(scores: DataFrame) -> DataFrame:
    """A row for each metric that has a better end and each kind of control: on how many SAEs it answers rightly.

    The difference between an SAE and its control is held against its noise: over evaluation seeds that both have, where there are two or more (paired), or else the two numbers' own standard errors.

    Returns:
        `COLUMN`, `PLACE`, kind, n_saes (that have such a control), right, wrong (more than twice its noise the wrong way), same (equal by construction), unknown (within the noise, or no noise is known),
        gap (mean difference, positive where it is the right way) and verdict: `right` (right on most, wrong on none), `wrong` (wrong on any), `same`, `cannot tell`.
    """
    import pandas as pd

    stderrs = _stderrs(scores)
    rows = []
    for grid in grids(scores):
        if grid.higher_is_better is None:
            continue
        sign = 1 if grid.higher_is_better else -1
        for kind, better in BETTER.items():
            found = []
            for sae in grid.table.index:
                control = f"{sae}/{kind}"
                if control in grid.table.index:
                    pair = grid.table.loc[[sae, control]].to_numpy()
                    noise = [stderrs.get((*_key(grid.column), name)) for name in (sae, control)]
                    found.append(_answer(sign * (1 if better == "sae" else -1) * (pair[0] - pair[1]), noise))
            if found:
                rows.append({**grid.column, "kind": kind, **_counted(found)})
    columns = ["kind", "n_saes", "right", "wrong", "same", "unknown", "gap", "verdict"]
    return pd.DataFrame(rows, columns=[*COLUMN, *PLACE, *columns])


def _answer(gaps: NDArray[np.float64], stderrs: list[float | None]) -> tuple[str, float]:
    """What a metric says of one SAE and its control, and by how much.

    Args:
        gaps: [seeds], the difference at each evaluation seed, NaN where either has no number; positive is right.
        stderrs: Of the two, where one seed is all there is.
    """
    from scipy.stats import t

    gaps = gaps[np.isfinite(gaps)]
    if not len(gaps):
        return "unknown", float("nan")
    gap = float(gaps.mean())
    if not gaps.any():
        return "same", gap
    if len(gaps) > 1:
        noise = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) * float(t.ppf(0.975, len(gaps) - 1))
    elif all(error is not None and np.isfinite(error) for error in stderrs):
        noise = _SURE * math.hypot(*(float(error or 0.0) for error in stderrs))
    else:
        return "unknown", gap
    if abs(gap) <= noise:
        return "unknown", gap
    return ("right" if gap > 0 else "wrong"), gap


def _counted(found: list[tuple[str, float]]) -> dict[str, Any]:
    count = {word: sum(answer == word for answer, _ in found) for word in ("right", "wrong", "same", "unknown")}
    gaps = [gap for _, gap in found if np.isfinite(gap)]
    if count["wrong"]:
        verdict = "wrong"
    elif 2 * count["right"] > len(found):
        verdict = "right"
    else:
        verdict = "same" if count["same"] == len(found) else "cannot tell"
    return {"n_saes": len(found), **count, "gap": float(np.mean(gaps)) if gaps else None, "verdict": verdict}


def _stderrs(scores: DataFrame) -> dict[tuple[Any, ...], float]:
    """The standard error of each number that is the only one of its SAE in its column."""
    keys = [*COLUMN, *PLACE, "sae"]
    single = scores[~scores.duplicated(keys, keep=False)]
    texts = single[keys].astype("object").where(single[keys].notna(), None)
    return dict(zip(map(tuple, texts.to_numpy()), single["stderr"], strict=True))


def _key(column: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(column[name] for name in [*COLUMN, *PLACE])
