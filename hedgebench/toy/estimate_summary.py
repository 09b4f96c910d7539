"""How well estimates of hedging agree with the truth: across SAEs, within them, in level, and where there is no hedging. No torch.

The unit is an SAE in its world, or one prefix of a Matryoshka SAE, and intervals are of a bootstrap over families. SAEs whose latents have merged features are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.toy.estimate_families import CONTROLS, HEDGED

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    Numbers = NDArray[np.float64]
    Statistic = Callable[[Numbers], float]

SAE = ["family", "kind", "held_out", "world_seed", "recipe", "architecture", "width", "k", "prefix"]
"""What tells one SAE, or prefix, from another."""
TRUTH = ["hedge", "absorb", "best_cosine", "density"]
MIN_COSINE = 0.8
"""Mean best cosine of an SAE that counts."""
MIN_SPREAD, MIN_LATENTS = 0.02, 8
"""Of true hedging in an SAE whose latents are worth ranking."""
UNHEDGED = 0.05
"""Mean true hedging of an SAE of a control kind, at most: with a wrong k it may hedge there, too."""


def estimators_of(frame: DataFrame) -> list[str]:
    """The columns of estimators in a frame of `estimating.judge`."""
    return [name for name in frame.columns if name not in {*SAE, *TRUTH, "latent", "own"}]


def by_sae(frame: DataFrame) -> DataFrame:
    """One row for each SAE, or prefix.

    Means over its live latents of the truth and of each estimator (over those for which it has a number), `latents`, `spread` (standard deviation of true hedging), and
    `within X`, the rank correlation of estimator X with true hedging over the latents, NaN where either is constant.
    """
    import pandas as pd

    estimators, rows = estimators_of(frame), []
    for key, latents in frame.groupby(SAE, sort=False):
        row = dict(zip(SAE, key, strict=True)) | latents[[*TRUTH, *estimators]].mean().to_dict()
        row |= {"latents": len(latents), "spread": latents["hedge"].std(ddof=0)}
        for name in estimators:
            row[f"within {name}"] = rank_correlation(latents[[name, "hedge"]].dropna().to_numpy(float))
        rows.append(row)
    return pd.DataFrame(rows)


def rank_correlation(columns: Numbers) -> float:
    """Spearman's, of two columns [n, 2]; NaN where one is constant."""
    return float(_ranked(columns[:, :2])[0, 1])


def partial_rank_correlation(columns: Numbers) -> float:
    """Of the first two of three columns [n, 3], given the third, by Spearman's correlations; NaN where one is constant or follows from the third."""
    r = _ranked(columns)
    rest = (1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2)
    return float((r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt(rest)) if rest > 1e-12 else float("nan")


def _ranked(columns: Numbers) -> Numbers:
    from scipy.stats import rankdata

    if len(columns) < 3 or (np.ptp(columns, axis=0) == 0).any():
        return np.full((columns.shape[1],) * 2, np.nan)
    return np.corrcoef(rankdata(columns, axis=0), rowvar=False)


def summarise(frame: DataFrame, resamples: int = 500, seed: int = 0) -> DataFrame:
    """What `estimating.judge` found, in a few numbers for each estimator.

    `across`: rank correlation of SAE means with the truth. `within_median`, `within_p10`: of the latents' rank correlation within SAEs worth ranking. `level`: sum of SAE
    means over that of the truth, on the kinds that hedge. `partial_hedge`: rank correlation of SAE means with hedging given absorption; `partial_absorb`: with absorption
    given hedging. `control KIND`: mean of estimate less truth over unhedged SAEs of a kind without hedging.

    Args:
        frame: As from `judge`.
        resamples: Of the bootstrap over families.
        seed: Of the same.

    Returns:
        estimator, measure, value, low and high (95 %; NaN for a single family), n (SAEs).
    """
    import pandas as pd

    table = by_sae(frame)
    table = table[table["best_cosine"] >= MIN_COSINE]
    rows = []
    for name in estimators_of(frame):
        for measure, chosen, columns, statistic in _measures(table, name):
            numbers = chosen[["family", *columns]].dropna()
            values = numbers[columns].to_numpy(float)
            low, high = _interval(values, numbers["family"].to_numpy(), statistic, resamples, seed)
            value = statistic(values) if len(values) else float("nan")
            rows.append((name, measure, value, low, high, len(values)))
    return pd.DataFrame(rows, columns=["estimator", "measure", "value", "low", "high", "n"])


def _measures(table: DataFrame, name: str) -> list[tuple[str, DataFrame, list[str], Statistic]]:
    """Each measure of an estimator: its name, the SAEs it is over, the columns it needs, and what is made of them."""
    worth = table[(table["spread"] >= MIN_SPREAD) & (table["latents"] >= MIN_LATENTS)]
    hedged = table[table["kind"].isin(HEDGED)]
    unhedged = table[table["hedge"] <= UNHEDGED]
    within = [f"within {name}"]
    return [
        ("across", table, [name, "hedge"], rank_correlation),
        ("within_median", worth, within, lambda v: float(np.median(v))),
        ("within_p10", worth, within, lambda v: float(np.quantile(v, 0.1))),
        ("level", hedged, [name, "hedge"], lambda v: float(v[:, 0].sum() / v[:, 1].sum())),
        ("partial_hedge", table, [name, "hedge", "absorb"], partial_rank_correlation),
        ("partial_absorb", table, [name, "absorb", "hedge"], partial_rank_correlation),
        *(
            (f"control {kind}", unhedged[unhedged["kind"] == kind], [name, "hedge"], lambda v: float((v[:, 0] - v[:, 1]).mean()))
            for kind in CONTROLS
        ),
    ]  # fmt: skip


def _interval(values: Numbers, families: NDArray, statistic: Statistic, resamples: int, seed: int) -> tuple[float, float]:  # fmt: skip
    """The middle 95 % of a statistic over families drawn with replacement; NaN where there is one family or none."""
    members = [np.flatnonzero(families == family) for family in dict.fromkeys(families)]
    if len(members) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(values[np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])])
        for _ in range(resamples)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all of them NaN, where the statistic itself is
        low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)
