"""Figures of a whole scores table, whatever evals it is of: how noisy each metric is, and how the latents of each SAE are spread. No torch, and no knowledge of any eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hedgebench.control_cards import control_kind
from hedgebench.figures import handle
from hedgebench.looks import EDITION, OKABE_ITO, SIZES, Look, Looks, drawable
from hedgebench.reading import reading
from hedgebench.series import editions
from hedgebench.stats.grid import PLACE, VARIANT, variants
from hedgebench.stats.tables import noise
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

LEAST_LATENTS = 20
"""Of an SAE whose latents have a histogram."""
_FEW_DECADES = 100
"""An axis that spans no more has a label at 1, 2 and 5 of each decade."""
_MOST_LINES = 4
"""Of densities in one picture."""
_MOST_METRICS = 40
"""In the report on noise: the noisiest."""
_ROUNDING = 1e-9
"""A coefficient of variation that is no more is none."""
_MUCH = 0.1
"""A coefficient of variation that is worth a word."""
_ROW = 0.14
"""Inches that a line of a row's name takes at least."""
_VARIANT = [column for column in VARIANT if column in SIZES]
"""What tells variants of one recipe apart."""

HOW_NOISE = (
    "A row is a metric, the noisiest above: its standard deviation over seeds, of one SAE (evaluation seeds) or of one recipe (training seeds), "
    "over its mean size."
)
HOW_LATENTS = (
    "Of each variant, the latents of all its SAEs: their distribution; or, of many variants, the median, half of the latents "
    "(thick) and nine tenths (thin). These lines are no intervals: they say how latents differ, not how sure a median is."
)


def noise_table(scores: DataFrame) -> DataFrame:
    """`hedgebench.stats.tables.noise` of the metrics that are whole numbers of an SAE (not of a slice) and have noise over either seed, by falling noise.

    Returns:
        Its columns, and cv_training: the standard deviation over training seeds over the mean absolute value, as `cv` is over evaluation seeds.

    Raises:
        CannotMeasure: No metric has two seeds.
    """
    found = noise(scores[scores["slice_by"] == "all"])
    found = found.assign(
        cv_training=found["sd_training"].astype(float) / found["mean_size"].where(found["mean_size"] > 0)
    )
    both = found[["cv", "cv_training"]].astype(float)
    found = found.assign(cv=both["cv"], largest=both.max(axis=1))
    found = found[found["largest"] > _ROUNDING]
    if not len(found):
        raise CannotMeasure("no metric here has several seeds and changes with them")
    return found.sort_values("largest", ascending=False, ignore_index=True).drop(columns="largest")


def draw_noise(scores: DataFrame, axes: Axes) -> None:
    """A row for each metric: its coefficient of variation over evaluation seeds, with its 95 % interval, and over training seeds."""
    import numpy as np
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter

    every = noise_table(scores)
    found = _with_cv_interval(every[:_MOST_METRICS][::-1].reset_index(drop=True))
    rows = np.arange(len(found))
    known = found["cv"] > _ROUNDING
    reach = np.vstack([(found["cv"] - found["cv_low"])[known], (found["cv_high"] - found["cv"])[known]])
    trained = found["cv_training"] > _ROUNDING
    over_evaluation: dict[str, Any] = {"marker": "o", "color": OKABE_ITO[0], "markersize": 4}
    over_training: dict[str, Any] = {"marker": "D", "color": OKABE_ITO[1], "markersize": 4, "linestyle": "none"}
    axes.errorbar(found["cv"][known], rows[known], xerr=reach, ls="none", elinewidth=1, **over_evaluation)
    axes.plot(found["cv_training"][trained], rows[trained], **over_training)
    handles = [Line2D([], [], label="evaluation seed, 95 %", linewidth=1, **over_evaluation)] if known.any() else []
    handles += [Line2D([], [], label="training seed", **over_training)] if trained.any() else []
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right < _FEW_DECADES * left else (1,), numticks=12))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    _name_rows(axes, range(len(found)), _metric_names(found))
    axes.set(
        title="How noisy each metric is"
        + (f": the {len(found)} noisiest of {len(every)}" if len(every) > len(found) else "")
    )
    axes.set_xlabel("coefficient of variation (SD over seeds / mean size)")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(handles=handles, fontsize="small")


def read_noise(scores: DataFrame) -> str:
    """How noisy metrics are over evaluation seeds, from the quietest to the noisiest, each with its interval; or else over training seeds."""
    found = noise_table(scores)
    known = _with_cv_interval(found[found["cv"] > _ROUNDING]).sort_values("cv", ascending=False, ignore_index=True)
    if not len(known):
        low, high = found["cv_training"].min(), found["cv_training"].max()
        over = {
            0: "There is no evaluation seed: nothing here is drawn.",
            1: "There is one evaluation seed: what another would change is not known.",
        }
        return (
            f"Over training seeds {len(found)} metrics vary by {_percent(low)} to {_percent(high)} of their size; how sure that is, is not known. "
            + over.get(found["n_seeds"].max(), "Of those with several evaluation seeds none changes with them.")
        )
    seeds = sorted(set(known["n_seeds"]))
    above, sure = int((known["cv"] > _MUCH).sum()), int((known["cv_low"] > _MUCH).sum())
    names = _metric_names(known)
    most, least = (
        f"{names[i]} ({_percent(row['cv'])} [{_percent(row['cv_low'])}, {_percent(row['cv_high'])}])"
        for i, row in ((i, known.iloc[i]) for i in (0, -1))
    )
    return (
        f"Over {' or '.join(map(str, seeds))} evaluation seeds {above} of {len(known)} metrics vary by more than a tenth of their size, "
        f"{sure} of them for certain (95 %). The largest number is that of {most}, the smallest that of {least}. "
        f"Bars are these 95 % intervals.{_unmoved(found)}"
    )


def _unmoved(found: DataFrame) -> str:
    """How many rows of `noise_table` have training seeds, and no mark for them on an axis of logarithms."""
    count = int((found["cv_training"].astype(float) <= _ROUNDING).sum())
    return f" Training seeds move {count} of them no more than the rest of the noise does: no mark." if count else ""


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g} %"


def _with_cv_interval(found: DataFrame) -> DataFrame:
    """Rows of `noise_table` with the 95 % interval of `cv`: cv_low and cv_high."""
    low, high = (found[f"floor_{end}"].astype(float) / found["mean_size"] for end in ("low", "high"))
    return found.assign(cv_low=low, cv_high=high)


def _metric_names(found: DataFrame) -> list[str]:
    """A name for each row of `noise_table`: eval, metric and params, and what tells it from others of that name."""
    names = found["eval"] + ": " + (found["metric"] + " " + found["params"]).str.strip()
    for _, rows in found.groupby(names, sort=False):
        for words, part in editions(rows):
            names[part.index] += f" ({words})" if words else ""
    return names.tolist()


def latent_metrics(scores: DataFrame) -> list[tuple[str, str, str]]:
    """The metrics, each as eval, metric and params, that have a value for each of `LEAST_LATENTS` latents or more of some SAE."""
    rows = scores[scores["slice_by"] == "latent"]
    keys = ["eval", "metric", "params"]
    count = rows.groupby([*keys, *EDITION, "sae"], sort=False, dropna=False)["slice_value"].nunique()
    return [
        tuple(key)
        for key in count[count >= LEAST_LATENTS].reset_index()[keys].drop_duplicates().itertuples(index=False)
    ]


def latent_table(scores: DataFrame, eval_name: str, metric: str, params: str) -> DataFrame:
    """A row for each variant, by width: how a metric of its latents is spread: latents (of all its SAEs), mean, sd, and the quantiles q05, q25, q50, q75, q95.

    What was measured in several ways (versions of the eval, settings, data) has a row for each, which its name says.
    """
    import pandas as pd

    rows = _latents(scores, eval_name, metric, params)
    values = rows.groupby("variant", sort=False)["value"]
    quantiles = {f"q{q:02d}": values.quantile(q / 100) for q in (5, 25, 50, 75, 95)}
    return pd.DataFrame(
        {"latents": values.size(), "mean": values.mean(), "sd": values.std(), **quantiles}
    ).reset_index()


def draw_latents(scores: DataFrame, axes: Axes, eval_name: str, metric: str, params: str) -> None:
    """How a metric of the latents is spread: the density, a line for each variant; of many variants, which would hide each other, a row for each with its quantiles."""
    rows = _latents(scores, eval_name, metric, params)
    looks = Looks(scores, eval_name)
    of_each = {str(name): looks.of(of, *_VARIANT) for name, of in rows.groupby("variant", sort=False)}
    name = f"{metric} {params}".strip()
    if len(of_each) > _MOST_LINES:
        _draw_quantiles(latent_table(scores, eval_name, metric, params), axes, of_each)
        said = ": median, half and nine tenths of the latents"
    else:
        _draw_densities(rows, axes, of_each)
        said = ": latents"
    axes.set(xlabel=drawable(name), title=drawable(eval_name) + said)
    axes.grid(alpha=0.25, linewidth=0.6)


def _draw_densities(rows: DataFrame, axes: Axes, looks: Mapping[str, Look]) -> None:
    import numpy as np
    import seaborn as sns

    bins = np.histogram_bin_edges(rows["value"], 40)
    handles = []
    for i, (name, look) in enumerate(looks.items()):
        values = rows.loc[rows["variant"] == name, "value"]
        shape = {"element": "step", "fill": False, "bins": bins, "stat": "density", "linewidth": 1.2}
        sns.histplot(x=values, ax=axes, color=look.color, linestyle=look.linestyle, **shape)
        density, _ = np.histogram(values, bins, density=True)
        middles, some = ((bins[:-1] + bins[1:]) / 2)[density > 0], slice(i, None, _MOST_LINES)
        axes.plot(middles[some], density[density > 0][some], markersize=4, **(look.style() | {"linestyle": "none"}))
        handles.append(handle(look, name))
    axes.set(ylabel="density")
    if len(looks) > 1:
        axes.legend(handles=handles, fontsize="small")


def _draw_quantiles(found: DataFrame, axes: Axes, looks: Mapping[str, Look]) -> None:
    rows = range(len(found))[::-1]
    colours = [looks[name].color for name in found["variant"]]
    axes.hlines(rows, found["q05"], found["q95"], color=colours, linewidth=1)
    axes.hlines(rows, found["q25"], found["q75"], color=colours, linewidth=4, alpha=0.5)
    for place, (name, median) in zip(rows, zip(found["variant"], found["q50"], strict=True), strict=True):
        axes.plot([median], [place], markersize=6, **looks[name].style())
    _name_rows(axes, rows, found["variant"].tolist())


def _name_rows(axes: Axes, rows: Sequence[int], names: Sequence[str]) -> None:
    """Write a name beside each row, and make the picture as tall as they need."""
    from matplotlib.figure import Figure

    words = [drawable(name) for name in names]
    lines = len(words) * max(word.count("\n") + 1 for word in words)
    axes.set_yticks(rows, words, fontsize="small" if lines <= 20 else "x-small")
    if isinstance(axes.figure, Figure):
        axes.figure.set_figheight(max(axes.figure.get_figheight(), 1.2 + _ROW * lines))


def read_latents(scores: DataFrame, eval_name: str, metric: str, params: str) -> str:
    """How the latents are spread where there is one variant; of several, whose medians over latents can be told apart (a median for each SAE, compared over seeds)."""
    found = latent_table(scores, eval_name, metric, params)
    if len(found) == 1:
        of = found.iloc[0]
        return f"{f'{metric} {params}'.strip()} of {of['variant']}: median {of['q50']:.3g}, half of the latents from {of['q25']:.3g} to {of['q75']:.3g}."
    rows = _of_latents(scores, eval_name, metric, params)
    alike = ["sae", "seed", *PLACE, *EDITION]
    medians = rows.groupby(alike, dropna=False, sort=False)["value"].transform("median")
    whole = rows.assign(value=medians, metric=f"median {metric}", slice_by="all", slice_value="all")
    said = reading(whole.drop_duplicates(alike), eval_name, f"median {metric}", params)
    trained = scores[~scores["architecture"].fillna("").map(control_kind).notna()]
    medians = latent_table(trained, eval_name, metric, params)["q50"]
    return (
        f"{said} Medians over all latents of a variant are {medians.min():.3g} to {medians.max():.3g}."
        if len(medians)
        else said
    )


def _latents(scores: DataFrame, eval_name: str, metric: str, params: str) -> DataFrame:
    """The value of each latent, a mean over evaluation seeds, with its variant and what that looks like."""
    rows = _of_latents(scores, eval_name, metric, params)
    rows = rows.assign(variant=rows["sae"].map(variants(scores)).astype(str))
    for words, part in editions(rows.assign(model="", hook="")):  # a variant's name tells its place
        rows.loc[part.index, "variant"] += f", {words}" if words else ""
    look = ["architecture", "loss", *_VARIANT, *EDITION]
    rows = rows.reindex(columns=[*rows.columns, *(column for column in look if column not in rows)])
    keys = ["width", "variant", "sae", "slice_value"]
    of = {"value": ("value", "mean")} | {column: (column, "first") for column in look if column != "width"}
    return rows.groupby(keys, sort=True, dropna=False).agg(**of).reset_index()


def _of_latents(scores: DataFrame, eval_name: str, metric: str, params: str) -> DataFrame:
    rows = scores[(scores["slice_by"] == "latent") & (scores["eval"] == eval_name)]
    return rows[(rows["metric"] == metric) & (rows["params"] == params)]
