"""Values of SAEs against their width: which belong together, and their means over training seeds. No torch, and no knowledge of any eval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.looks import EDITION
from hedgebench.made_with import settings
from hedgebench.one_line import natural

if TYPE_CHECKING:
    from pandas import DataFrame, Series

APART = ["model", "hook", "k", "objective"]
"""What tells width series of one recipe apart, but for how the eval measured them."""
FAMILY = ["model", "hook", "architecture", "loss", "k", "objective", *EDITION]
"""What is equal within a width series. Columns of the scores table, here as text: "" where not known."""


WIDEST = 1.25**2
"""Largest ratio of the L0s in a band: within a factor of 1.25 of its middle."""


def points(scores: DataFrame, eval_name: str, *wanted: tuple[str, str]) -> DataFrame:
    """The values of an eval against the width, each a mean over evaluation seeds: those that all SAEs of its variant have.

    Args:
        scores: The scores table.
        eval_name: The eval.
        wanted: Metrics, each with its params.

    Returns:
        A row for each SAE, metric and params: the columns of `FAMILY`, `family` (one word for these), metric, params, width, train_seed (-1: not known),
        sae, value, l0 (for TopK its k where nothing was measured), and `series`: no width of the family has two SAEs of one training seed, and none of the variant's SAEs
        is without a number. Where it has, as with two recipes that the table cannot tell apart, a mean over its SAEs would not be one over training seeds; where one is, it would be one over a blank.
    """
    from hedgebench.stats.grid import variants

    rows = scores[(scores["eval"] == eval_name) & (scores["slice_by"] == "all")]
    rows = rows[rows["width"].notna() & rows["value"].notna()]
    rows = rows[rows.set_index(["metric", "params"]).index.isin(wanted)]
    rows = rows.reindex(columns=[*FAMILY, "metric", "params", "sae", "seed", "width", "train_seed", "value", "l0"])
    rows = rows.assign(width=rows["width"].astype(int), train_seed=rows["train_seed"].astype("Int64").fillna(-1))
    topk = rows["architecture"].astype("string").fillna("").str.contains("topk")
    rows["l0"] = rows["l0"].astype(float).fillna(rows["k"].astype(float).where(topk))
    rows, blank = _at_common_seeds(with_family(rows), variants(scores))
    keys = ["family", *FAMILY, "metric", "params", "width", "train_seed", "sae"]
    found = rows.groupby(keys, sort=True).agg(value=("value", "mean"), l0=("l0", "mean")).reset_index()
    here = found.groupby(["family", "metric", "params", "width", "train_seed"])["sae"].transform("nunique")
    most = here.groupby([found["family"], found["metric"], found["params"]]).transform("max")
    whole = ~found.set_index(["family", "metric", "params", "sae"]).index.isin(blank)
    return found.assign(series=most.eq(1).astype(bool) & whole)


def _at_common_seeds(rows: DataFrame, variant: Series) -> tuple[DataFrame, set[tuple[str, ...]]]:
    """Rows at the evaluation seeds that all SAEs of a variant have; and, by family, metric, params and SAE, where there is no such seed, or an SAE of the variant has no number at all."""
    import pandas as pd

    from hedgebench.stats.grid import members

    kept, blank = [rows[:0]], set[tuple[str, ...]]()
    everyone = members(variant)
    for key, own in rows.groupby(["family", "metric", "params", rows["sae"].map(variant)], sort=False):
        *which, name = map(str, key)
        n = own["sae"].nunique()
        seeds = own["seed"].astype("Int64").fillna(-1)
        common = own[own.groupby(seeds)["sae"].transform("nunique") == n]
        if n < len(everyone[name]) or common.empty:
            blank |= {(*which, sae) for sae in own["sae"]}
        kept.append(own if common.empty else common)
    return pd.concat(kept), blank


def means(points: DataFrame, level: float = 0.95) -> DataFrame:
    """The means of `points` over training seeds, with their intervals (Student's t) at a level of confidence; of what is no series, every SAE by itself.

    Returns:
        A row for each family, metric, params and width: the columns of `FAMILY`, metric, params, width, mean, low and high (NaN for one SAE),
        train_seeds (how many), l0 (mean) and saes (their names).
    """
    import pandas as pd

    from hedgebench.stats.intervals import mean_interval

    keys, rows = [*FAMILY, "metric", "params", "width"], []
    alone = points["sae"].astype("object").where(~points["series"], "")
    for key, group in points.groupby([*(points[name] for name in keys), alone], sort=True):
        mean, low, high, n = mean_interval(group["value"], level)
        names = " ".join(group["sae"])
        rows.append([*key[:-1], mean, low, high, n, group["l0"].mean(), names])
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "train_seeds", "l0", "saes"])


class Band(NamedTuple):
    """SAEs of like L0."""

    low: float
    high: float


def split_l0(values: Iterable[float]) -> list[Band]:
    """Bands of like L0, split at the largest gaps until the largest L0 of each is no more than `WIDEST` times the smallest; from the lowest."""
    waiting, found = [sorted(values)], []
    while waiting:
        band = waiting.pop()
        if len(band) and band[-1] <= WIDEST * band[0]:
            found.append(Band(band[0], band[-1]))
        elif band:
            at = max(range(1, len(band)), key=lambda i: band[i] / band[i - 1])
            waiting += [band[at:], band[:at]]
    return found


def with_family(rows: DataFrame) -> DataFrame:
    """Rows of the scores table with the columns of `FAMILY` as text, and `family`, one word for them all."""
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *FAMILY])))
    texts = rows[FAMILY].astype("object")
    texts = texts.where(texts.notna(), "").astype(str)
    rows[FAMILY] = texts
    return rows.assign(family=["\x1f".join(row) for row in texts.itertuples(index=False)])


def labels(rows: DataFrame) -> dict[str, str]:
    """What tells the families of some rows apart, in words; nothing where there is but one."""
    parts = {family: _words(family) for family in sorted(rows["family"].unique(), key=natural)}
    every = list(parts.values())
    keys = dict.fromkeys(key for words in every for key in words)
    differing = [key for key in keys if len({words.get(key, "") for words in every}) > 1]
    return {
        family: ", ".join(words[key] for key in differing if words.get(key)) or "other"
        for family, words in parts.items()
        if len(parts) > 1
    }


def shared(rows: DataFrame) -> str:
    """The model and hook point of all the SAEs, where they have one."""
    said = [{family.split("\x1f")[i] for family in rows["family"]} for i in (0, 1)]
    return ", ".join(next(iter(words)) for words in said if len(words) == 1).strip(", ")


def editions(rows: DataFrame) -> Iterator[tuple[str, DataFrame]]:
    """The rows of one metric by how it was measured and where, which are all that may be compared with each other; each with what tells it from the others, in words."""
    alike = with_family(rows.assign(architecture="", loss="", k="", objective=""))
    words = labels(alike)
    for family, part in rows.groupby(alike["family"], sort=True):
        yield words.get(str(family), ""), part


def _words(family: str) -> dict[str, str]:
    """A family's parts as a reader sees them, the settings of its eval one by one."""
    words = dict(zip(FAMILY, family.split("\x1f"), strict=True))
    if words["k"]:
        words["k"] = f"k = {float(words['k']):g}"
    if words["eval_version"]:
        words["eval_version"] = f"version {words['eval_version']}"
    for column in ("config", "made_with"):
        words |= {f"{column}.{name}": f"{name} = {value}" for name, value in settings(words.pop(column)).items()}
    return words
