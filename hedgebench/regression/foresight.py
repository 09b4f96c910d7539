"""The smallest change that a check against a baseline would find, from the baseline alone. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from hedgebench.made_with import told_apart
from hedgebench.regression.cells import Values
from hedgebench.regression.frozen import open_table
from hedgebench.regression.layout import Side
from hedgebench.regression.noise import Group, Noise
from hedgebench.regression.rules import metric_names
from hedgebench.regression.spread import BELIEVED, BORROWED, Spread, mixed, seed_parts, total, within
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

    own: Spread | None
    """From its own seeds; None where it has but one."""
    others: tuple[Spread, ...]
    """Independent parts of what is known from others."""
    n: int
    """Seeds that a mean is over, on either side."""

    @property
    def now(self) -> Spread | None:
        """All of it."""
        return mixed(self.own, total(self.others))

    @property
    def sd(self) -> float:
        """The standard deviation; 0 where nothing is known, too."""
        return math.sqrt(self.now.variance) if self.now else 0.0


def known(values: Values, alike: Mapping[str, Sequence[str]], again: Again) -> dict[str, Known]:
    """What is known of the noise of one metric, for each SAE or recipe that will be compared; without those of which nothing is known, or that have none.

    Args:
        values: The metric's, in the baseline.
        alike: The SAEs of each recipe that has several.
        again: As in `foresight`.
    """
    found = _drawn(values) if again == "drawn" else _trained(values, alike, again == "trained")
    return {name: one for name, one in found.items() if one.sd > 0}


def _drawn(values: Values) -> dict[str, Known]:
    found = {}
    for sae in values.saes:
        seeds = values.seeds_of([sae])
        if len(seeds) > 1:
            others = [other for other in values.whole(seeds) if other != sae]
            found[sae] = Known(within(values.at([sae], seeds)[0]), seed_parts(values.at(others, seeds)), len(seeds))
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
            mine, others = noise.training(own, seeds, seeds)
            found[name] = Known(mine, (others,) if others else (), len(saes))
    return found


def smallest_change(one: Known, again: Again, tests: int) -> float:
    """The smallest change that is found with a probability of `POWER`, among so many that are compared.

    What the noise truly is, and what it will come out as by the time of the check, is drawn many times, given what the baseline knows of it; then the threshold and the difference itself are.
    """
    assert one.now is not None
    true = one.now.variance / _chi(one.now.df, 0)
    own, own_df = np.zeros(_DRAWS), 0.0
    if one.own is not None:
        fresh = true * _chi(one.own.df, 1)
        own, own_df = _by_then(one.own, fresh / one.own.variance if one.own.variance else fresh, again)
    others, spread = np.zeros(_DRAWS), np.full(_DRAWS, np.finfo(float).tiny)
    for i, part in enumerate(one.others):
        # the first part is what seeds do to all alike, to the subject as well: it was drawn, and will be, together with the subject's own
        ratio = _chi(part.df, 1 if i == 0 and again == "drawn" else 2) / _chi(
            part.df, 0 if i == 0 and again == "drawn" else 3
        )
        variance, df = _by_then(part, ratio, again)
        others, spread = others + variance, spread + variance**2 / df
    believed = np.minimum(others**2 / spread, BORROWED if one.own is None else BELIEVED)
    used = np.maximum(own, (own_df * own + believed * others) / (own_df + believed))
    threshold = np.sqrt(used) * critical(np.maximum(own_df, believed), tests)
    needed = np.quantile(threshold + np.sqrt(true) * _normal(), POWER)
    return float(needed) * math.sqrt(2 / one.n)


def _by_then(known: Spread, fresh: NDArray[np.float64], again: Again) -> tuple[NDArray[np.float64], float]:
    """What a variance will have come out as, and its degrees of freedom.

    Args:
        known: In the baseline.
        fresh: [draws], in what is done again, over that in the baseline.
        again: `drawn`: only that counts; `trained`: both do; `one trained`: only the baseline does.
    """
    if again == "drawn":
        return known.variance * fresh, known.df
    if again == "trained":
        return known.variance * (1 + fresh) / 2, 2 * known.df
    return known.variance * np.ones(_DRAWS), known.df


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
