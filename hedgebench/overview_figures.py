"""Figures of a whole scores table, whatever evals it is of: how noisy each metric is, and how the latents of each SAE are spread. No torch, and no knowledge of any eval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hedgebench.looks import OKABE_ITO, look
from hedgebench.stats.grid import variants
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
    found = found[found["largest"] > 1e-9]  # less is rounding
    if not len(found):
        raise CannotMeasure("no metric here has several seeds and changes with them")
    return found.sort_values("largest", ascending=False, ignore_index=True).drop(columns="largest")


def draw_noise(scores: DataFrame, axes: Axes) -> None:
    """A row for each metric: its coefficient of variation over evaluation seeds, with its 95 % interval, and over training seeds."""
    import numpy as np
    from matplotlib.ticker import LogLocator, NullFormatter

    found = noise_table(scores)[:_MOST_METRICS][::-1].reset_index(drop=True)
    low, high = (found[end].astype(float) / found["mean_size"] for end in ("floor_low", "floor_high"))
    rows = np.arange(len(found))
    known = found["cv"] > 1e-9
    reach = np.vstack([(found["cv"] - low)[known], (high - found["cv"])[known]])
    axes.errorbar(
        found["cv"][known],
        rows[known],
        xerr=reach,
        fmt="o",
        color=OKABE_ITO[0],
        ms=4,
        lw=1,
        label="evaluation seed, 95 %" if known.any() else None,
    )
    trained = found["cv_training"] > 1e-9
    axes.plot(found["cv_training"][trained], rows[trained], "D", color=OKABE_ITO[1], ms=4, label="training seed")
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right < _FEW_DECADES * left else (1,), numticks=12))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(rows, [f"{r.eval}: {r.metric} {r.params}".strip() for r in found.itertuples()], fontsize="x-small")
    axes.set(title="How noisy each metric is")
    axes.set_xlabel("coefficient of variation (SD over seeds / mean size)", fontsize="small")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(fontsize="small", loc="lower right")


def read_noise(scores: DataFrame) -> str:
    """Which metrics are the noisiest and the quietest over evaluation seeds."""
    found = noise_table(scores)
    known = found[found["cv"] > 1e-9].sort_values("cv", ascending=False)
    if not len(known):
        trained = found.sort_values("cv_training", ascending=False)
        return f"Over training seeds metrics vary, {_ends(trained, 'cv_training')}. Over evaluation seeds no metric is known to change."
    seeds = sorted(set(known["n_seeds"]))
    above = int((known["cv"] > 0.1).sum())
    return (
        f"Over {' or '.join(map(str, seeds))} evaluation seeds {above} of {len(known)} metrics vary by more than a tenth of their size; "
        f"{_ends(known, 'cv')}."
    )


def _ends(ordered: DataFrame, column: str) -> str:
    """The first and the last of some metrics, each with its noise."""
    first, last = ordered.iloc[0], ordered.iloc[-1]
    return f"most {first['metric']} ({first[column]:.0%}), least {last['metric']} ({last[column]:.1%})"


def latent_metrics(scores: DataFrame) -> list[tuple[str, str, str]]:
    """The metrics, each as eval, metric and params, that have a value for each of `LEAST_LATENTS` latents or more of some SAE."""
    rows = scores[scores["slice_by"] == "latent"]
    keys = ["eval", "metric", "params"]
    count = rows.groupby([*keys, "sae"], sort=False)["slice_value"].nunique()
    return [
        tuple(key)
        for key in count[count >= LEAST_LATENTS].reset_index()[keys].drop_duplicates().itertuples(index=False)
    ]


def latent_table(scores: DataFrame, eval_name: str, metric: str, params: str) -> DataFrame:
    """A row for each variant, by width: how a metric of its latents is spread: latents (of all its SAEs), mean, sd, and the quantiles q05, q25, q50, q75, q95."""
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
    name = f"{metric} {params}".strip()
    if rows["variant"].nunique() > _MOST_LINES:
        _draw_quantiles(latent_table(scores, eval_name, metric, params), axes)
        said = ": median, half and nine tenths of the latents"
    else:
        _draw_densities(rows, axes)
        said = ": latents"
    axes.set(xlabel=name, title=eval_name + said)
    axes.grid(alpha=0.25, linewidth=0.6)


def _draw_densities(rows: DataFrame, axes: Axes) -> None:
    import seaborn as sns

    styles = {name: look(*of.iloc[0][["architecture", "loss"]]) for name, of in rows.groupby("variant", sort=False)}
    colours = [style["color"] for style in styles.values()]
    palette = colours if len(set(colours)) == len(colours) else OKABE_ITO[: len(colours)]
    shape = {"element": "step", "fill": False, "bins": 40, "stat": "density", "common_norm": False, "linewidth": 1.2}
    several = {"hue": "variant", "hue_order": list(styles), "palette": palette} if len(styles) > 1 else {}
    sns.histplot(rows, x="value", ax=axes, **shape, **several)
    axes.set(ylabel="density")
    if several:
        sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), fontsize="x-small", title=None, frameon=False)


def _draw_quantiles(found: DataFrame, axes: Axes) -> None:
    rows = range(len(found))[::-1]
    axes.hlines(rows, found["q05"], found["q95"], color=OKABE_ITO[0], linewidth=1)
    axes.hlines(rows, found["q25"], found["q75"], color=OKABE_ITO[0], linewidth=4)
    axes.plot(found["q50"], rows, "o", color="white", markeredgecolor="black", markersize=5)
    axes.set_yticks(rows, found["variant"], fontsize="small" if len(found) <= 20 else "xx-small")


def read_latents(scores: DataFrame, eval_name: str, metric: str, params: str) -> str:
    """Where the middle of the latents lies, from the variant with the lowest to that with the highest."""
    found = latent_table(scores, eval_name, metric, params).sort_values("q50")
    low, high = found.iloc[0], found.iloc[-1]
    said = f"{metric} of {low['variant']}: median {low['q50']:.3g}, half of the latents from {low['q25']:.3g} to {low['q75']:.3g}"
    if len(found) == 1:
        return said + "."
    return f"{said}; of {high['variant']}: median {high['q50']:.3g}, {high['q25']:.3g} to {high['q75']:.3g}."


def _latents(scores: DataFrame, eval_name: str, metric: str, params: str) -> DataFrame:
    rows = scores[(scores["slice_by"] == "latent") & (scores["eval"] == eval_name)]
    rows = rows[(rows["metric"] == metric) & (rows["params"] == params)]
    named = rows.assign(variant=rows["sae"].map(variants(scores)).astype(str))
    named = named.fillna({"architecture": "", "loss": "", "width": 0})
    keys = ["width", "variant", "sae", "slice_value", "architecture", "loss"]
    return named.groupby(keys, sort=True)["value"].mean().reset_index()
