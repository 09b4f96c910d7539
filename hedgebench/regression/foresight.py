"""The smallest change that a check against a baseline would find, from the baseline alone. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from hedgebench.made_with import told_apart
from hedgebench.regression.cells import Values
from hedgebench.regression.frozen import open_table
from hedgebench.regression.layout import Side
from hedgebench.regression.noise import Group, Noise
from hedgebench.regression.rules import FLOAT_TOLERANCE, metric_names
from hedgebench.regression.spread import BELIEVED, SURE, Spread, in_steps, mixed, within
from hedgebench.regression.verdicts import POWER, critical

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

Again = Literal["drawn", "trained", "one trained"]
"""What is done again by the time of the check: all SAEs evaluated, on other draws; all trained (with as many training seeds as in the baseline); or single SAEs trained, of which the others are as they were."""
_DRAWS = 4000
_COLUMNS = ["again", "sae", "eval", "metric", "params", "sd", "detectable"]


def foresight(baseline: DataFrame | str | Path, again: Again) -> DataFrame:
    """What a check against this baseline would find 9 times of 10, one change among all that it compares.

    Args:
        baseline: As in `check`.
        again: What is done again until then.

    Returns:
        A row for each metric that has noise, of each SAE or recipe whose noise the baseline knows: `again`, `sae`, `eval`, `metric`, `params`, `sd` (of one value, by chance alone) and `detectable`, in the metric's unit.
    """
    import pandas as pd

    side = Side.of(told_apart(open_table(baseline, "baseline").scores))
    found = {key: known(values, side.alike, again) for key, (values, _) in side.metrics.items()}
    tests = sum(len(of_metric) for of_metric in found.values())
    rows = [
        (again, name, key.eval, key.metric, key.params, one.sd, smallest_change(one, again, tests))
        for key, of_metric in found.items()
        for name, one in of_metric.items()
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


class Known(NamedTuple):
    """What a baseline knows of the noise of one value of an SAE or a recipe."""

    own: Spread
    """From its own seeds."""
    others: Spread | None
    """From others."""
    n: int
    """Seeds that a mean is over, on either side."""
    step: float
    """Of the metric's values."""
    rounding: float
    """What varies by less does not vary."""

    @property
    def now(self) -> Spread:
        """All of it."""
        return in_steps(mixed(self.own, self.others), self.step, self.rounding)

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.now.variance)


def known(values: Values, alike: Mapping[str, Sequence[str]], again: Again) -> dict[str, Known]:
    """What is known of the noise of one metric, for each SAE or recipe that will be compared; without those that have a single seed, or none of it.

    Args:
        values: The metric's, in the baseline.
        alike: The SAEs of each recipe that has several.
        again: As in `foresight`.
    """
    step, rounding = values.step, FLOAT_TOLERANCE * values.largest
    found = {
        name: Known(*one, step, rounding)
        for name, one in (_drawn(values) if again == "drawn" else _trained(values, alike, again == "trained"))
    }
    return {name: one for name, one in found.items() if one.sd > one.rounding}


def _drawn(values: Values) -> Iterator[tuple[str, tuple[Spread, Spread | None, int]]]:
    floor = Noise(values, Values({}, (), np.empty((0, 0))), {}).floor
    for sae in values.saes:
        seeds = values.seeds_of([sae])
        own = within(values.at([sae], seeds)[0])
        if own is not None:
            yield sae, (own, floor, len(seeds))


def _trained(
    values: Values, alike: Mapping[str, Sequence[str]], whole: bool
) -> Iterator[tuple[str, tuple[Spread, Spread | None, int]]]:
    noise = Noise(values, values, {Group("before", name): saes for name, saes in alike.items()})
    for name, members in alike.items():
        saes = [sae for sae in members if sae in values.saes]
        for subject in [saes] if whole else [[sae] for sae in saes]:
            seeds = values.seeds_of(subject)
            own, others = noise.training([Group("before", name)], seeds, seeds) if seeds else (None, None)
            if own is not None:
                yield name if whole else subject[0], (own, others, len(subject))


def smallest_change(one: Known, again: Again, tests: int) -> float:
    """The smallest change that is found with a probability of `POWER`, among so many that are compared.

    What the noise truly is, and what it will come out as by the time of the check, is drawn many times, given what the baseline knows of it; then the threshold and the difference itself are.
    """
    true = one.now.variance / _chi(one.now.df, 0)
    own, df = one.own.variance * np.ones(_DRAWS), one.own.df
    if again != "one trained":  # both sides will have seeds of their own
        own, df = (own + true * _chi(df, 1)) / 2, 2 * df
    used, sure = own, df
    if one.others is not None:
        others, believed = one.others.variance * np.ones(_DRAWS), one.others.df
        if again != "one trained":
            others, believed = others * (1 + _chi(believed, 2) / _chi(believed, 3)) / 2, 2 * believed
        believed, sure = min(believed, BELIEVED), max(df, min(believed, SURE))
        used = np.maximum(own, (df * own + believed * others) / (df + believed))
    threshold = np.sqrt(np.maximum(used, one.step**2 / 4)) * float(critical(sure, tests))
    needed = np.quantile(threshold + np.sqrt(true) * _normal(), POWER)
    return float(needed) * math.sqrt(2 / one.n)


@cache
def _chi(df: float, which: int) -> NDArray[np.float64]:
    """Draws of chi square over its degrees of freedom: of a variance that is 1. Those of one number rise and fall together, whatever their degrees of freedom."""
    from scipy.special import chdtri

    found: NDArray[np.float64] = chdtri(df, np.random.default_rng(which).uniform(size=_DRAWS)) / df
    return found


@cache
def _normal() -> NDArray[np.float64]:
    return np.random.default_rng(9).normal(size=_DRAWS)


def foreseen(baseline: DataFrame) -> DataFrame:
    """The smallest change of the middle SAE: a row for each metric, `metric` as rules call it, a column for each of `Again`; missing where the noise is not known or nothing."""
    import pandas as pd

    columns = {}
    for again in get_args(Again):
        rows = foresight(baseline, again)
        names = [metric_names(*row)[0] for row in rows[["eval", "metric", "params"]].itertuples(index=False, name=None)]
        columns[again] = rows["detectable"].groupby(names, sort=False).median()
    return pd.DataFrame(columns).rename_axis("metric").reset_index()
