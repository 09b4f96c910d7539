"""The smallest change that a check against a baseline would find, from the baseline alone. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from hedgebench.regression.cells import Values
from hedgebench.regression.frozen import open_table
from hedgebench.regression.layout import Side
from hedgebench.regression.noise import Group, Noise
from hedgebench.regression.rules import metric_names
from hedgebench.regression.spread import BELIEVED, Spread, mixed, over_seeds, within
from hedgebench.regression.verdicts import POWER, critical

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

Again = Literal["drawn", "trained", "one trained"]
"""What is done again by the time of the check: all SAEs evaluated, on other draws; all trained (with as many training seeds as in the baseline); or single SAEs trained, of which the others are as they were."""
_DRAWS = 10_000
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

    side = Side.of(open_table(baseline, "baseline").scores)
    alike = side.groups()
    found = {key: known(values, alike, again) for key, (values, _) in side.metrics.items()}
    tests = sum(len(of_metric) for of_metric in found.values())
    rows = [
        (again, name, key.eval, key.metric, key.params, one.sd, smallest_change(one, again, tests))
        for key, of_metric in found.items()
        for name, one in of_metric.items()
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


class Known(NamedTuple):
    """What a baseline knows of the noise of one value of an SAE or a recipe."""

    own: Spread | None
    """From its own seeds; None where it has but one."""
    others: Spread | None
    n: int
    """Seeds that a mean is over, on either side."""

    @property
    def now(self) -> Spread:
        """All of it."""
        found = mixed(self.own, self.others)
        assert found is not None
        return found

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.now.variance)


def known(values: Values, alike: Mapping[str, Sequence[str]], again: Again) -> dict[str, Known]:
    """What is known of the noise of one metric, for each SAE or recipe that will be compared; without those of which nothing is known, or that have none.

    Args:
        values: The metric's, in the baseline.
        alike: The SAEs of each recipe that has several.
        again: As in `foresight`.
    """
    found = _drawn(values) if again == "drawn" else _trained(values, alike, again == "trained")
    return {name: one for name, one in found.items() if (one.own or one.others) and one.sd > 0}


def _drawn(values: Values) -> dict[str, Known]:
    found = {}
    for sae in values.saes:
        seeds = values.seeds_of([sae])
        if len(seeds) > 1:
            others = [other for other in values.whole(seeds) if other != sae]
            found[sae] = Known(within(values.at([sae], seeds)[0]), over_seeds(values.at(others, seeds)), len(seeds))
    return found


def _trained(values: Values, alike: Mapping[str, Sequence[str]], whole: bool) -> dict[str, Known]:
    groups = {Group("before", name): saes for name, saes in alike.items()}
    noise = Noise(values, values, groups)
    recipe = {sae: name for name, saes in alike.items() for sae in saes}
    found = {}
    for sae in values.saes:
        name = recipe.get(sae, sae) if whole else sae
        saes = [one for one in alike.get(name, [sae]) if one in values.saes] if whole else [sae]
        seeds = values.seeds_of(saes)
        own = [Group("before", recipe[sae])] if sae in recipe else []
        if seeds:
            found[name] = Known(*noise.training(own, seeds, seeds), len(saes))
    return found


def smallest_change(one: Known, again: Again, tests: int) -> float:
    """The smallest change that is found with a probability of `POWER`, among so many that are compared.

    What the noise truly is, and what it will come out as by the time of the check, is drawn many times, given what the baseline knows of it; then the threshold and the difference itself are.
    """
    own_df = 0.0 if one.own is None else one.own.df
    others_df = 0.0 if one.others is None else one.others.df
    now = one.now.variance
    true = now / _chi(max(own_df, min(others_df, BELIEVED)), 0)
    own, others = np.zeros(_DRAWS), np.zeros(_DRAWS)
    if one.own is not None:
        fresh = true * _chi(own_df, 1)
        own = {"drawn": fresh, "trained": (one.own.variance + fresh) / 2}.get(again, one.own.variance + own)
    if one.others is not None:
        # what evaluation seeds do to all alike is in the subject's own variance and in others'
        fresh = true / now * _chi(others_df, 1) if again == "drawn" else _chi(others_df, 2) / _chi(others_df, 3)
        others = one.others.variance * {"drawn": fresh, "trained": (1 + fresh) / 2}.get(again, 1 + others)
    if again == "trained":
        own_df, others_df = 2 * own_df, 2 * others_df
    believed = min(others_df, BELIEVED)
    used = np.maximum(own, (own_df * own + believed * others) / (own_df + believed))
    threshold = np.sqrt(used) * critical(max(own_df, believed), tests)
    needed = np.quantile(threshold + np.sqrt(true) * _normal(), POWER)
    return float(needed) * math.sqrt(2 / one.n)


@cache
def _chi(df: float, which: int) -> NDArray[np.float64]:
    """Draws of chi square over its degrees of freedom: of a variance that is 1."""
    return np.random.default_rng([which, int(1000 * df)]).chisquare(df, _DRAWS) / df


@cache
def _normal() -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=_DRAWS)


def foreseen(baseline: DataFrame) -> DataFrame:
    """The smallest change of the middle SAE: a row for each metric, `metric` as rules call it, a column for each of `Again`; missing where the noise is not known or nothing."""
    import pandas as pd

    columns = {}
    for again in get_args(Again):
        rows = foresight(baseline, again)
        names = [metric_names(*row)[0] for row in rows[["eval", "metric", "params"]].itertuples(index=False, name=None)]
        columns[again] = rows["detectable"].groupby(names, sort=False).median()
    return pd.DataFrame(columns).rename_axis("metric").reset_index()
