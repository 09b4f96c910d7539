"""Numbers from test texts, with the standard error that the choice of these texts gives them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """A number, and how far each test text moves it from what texts of its kind give on average."""

    value: float
    pulls: Array
    """[texts]; the sum of their squares is the number's variance, so that numbers which share texts can be combined."""
    used: NDArray[np.bool_]
    """[texts], whether a text takes part."""

    @property
    def stderr(self) -> float:
        """The standard error over test texts; latents and probes are taken as given."""
        return math.sqrt(float((self.pulls**2).sum()))

    @property
    def n(self) -> int:
        """Texts that take part."""
        return int(self.used.sum())


def mean_of(values: Array, rows: NDArray[np.int64], n_texts: int) -> Estimate:
    """The mean of one value per text.

    Args:
        values: [chosen texts].
        rows: [chosen texts], their places among all texts.
        n_texts: How many texts there are.
    """
    return ratio_of(values, np.ones_like(values), rows, n_texts)


def ratio_of(num: Array, den: Array, rows: NDArray[np.int64], n_texts: int) -> Estimate:
    """The ratio sum(num) / sum(den) of one value per text each; its error is that of the delta method. Arguments as in `mean_of`."""
    total, n = float(den.sum()), len(num)
    value = float(num.sum()) / total
    pulls, used = np.zeros(n_texts), np.zeros(n_texts, dtype=bool)
    np.add.at(pulls, rows, (num - value * den) / total * math.sqrt(n / max(n - 1, 1)))
    used[rows] = True
    return Estimate(value, pulls, used)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of numbers from the same texts."""
    values, pulls, used = zip(*estimates, strict=True)
    return Estimate(sum(values) / len(values), sum(pulls) / len(pulls), np.logical_or.reduce(used))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """The number a - b, from the same texts."""
    return Estimate(a.value - b.value, a.pulls - b.pulls, a.used | b.used)


def pooled(parts: Sequence[tuple[Estimate, Sequence[str]]]) -> tuple[float, float, int]:
    """The mean of numbers from several sets of texts: value, standard error, and how many distinct texts take part.

    Args:
        parts: Each number with its texts, in the order of its pulls. A text may be in several.
    """
    pulls: defaultdict[str, float] = defaultdict(float)
    for estimate, texts in parts:
        for i in np.flatnonzero(estimate.used):
            pulls[texts[i]] += float(estimate.pulls[i]) / len(parts)
    value = sum(estimate.value for estimate, _ in parts) / len(parts)
    return value, math.sqrt(sum(pull**2 for pull in pulls.values())), len(pulls)
