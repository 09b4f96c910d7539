"""The page and the figure of the study of hedging estimates: markdown and axes, from its tables alone. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from hedgebench.canvas import page_wide
from hedgebench.looks import OKABE_ITO, SMALL_LETTERS
from hedgebench.toy.estimate_bars import BARS, JUDGED, Numbers, counted, of_set, read_numbers
from hedgebench.toy.estimate_families import CONTROLS, HEDGED, Kind
from hedgebench.toy.estimate_summary import MIN_COSINE, MIN_LATENTS, MIN_SPREAD, SAE, UNHEDGED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

PURE = 0.9
"""Mean best cosine of SAEs that are well apart from merging."""
_SETS = {"held out": "held-out families", "development": "families of development"}
"""As they are shown, in that order."""
_HEAD = """# What does a latent hedge? Estimates that see one SAE

Estimates that see only a model's activations and one SAE on them, held against what its latents truly hedge, in toy worlds whose features are known.

    {command}

makes this page, its figure, the numbers as `hedging-estimate.csv`, and `hedging-estimate.parquet`: a row for each of {latents} latents, with the truth and what every estimator says. {n_saes} SAEs
were trained, in {worlds} worlds, one of every family and seed, by L1 at three widths, by BatchTopK narrow and wider (narrow with k at .5, 1 and 2 times the right number; at the right one alone where
there shall be no hedging), and as Matryoshka SAEs, whose prefixes are looked at, too: {n_units} in all. Every latent starts at a feature. Estimators see {samples} samples of each world.

*Truth*: the decoder that fits an SAE's activations best is a mixture of the true features. A latent's *hedge* is the norm of its row's part on features that no latent tracks,
over the norm of the whole row; its *absorb* is the same of features that other latents track. Features are tracked by the row they are nearest to, above cosine 0.4, and noise is taken out by two
halves of the samples. An SAE counts where the mean best cosine of its rows with features is at least {least:g}: below, latents have merged features. {left_out} of the {n_units} are left out.

Estimators may be chosen by the families of development. Those held out are of the same kinds in other numbers.

| kind | what is in it | held out | development |
| --- | --- | --- | --- |
"""
_KINDS: Mapping[Kind, str] = {
    "orthogonal": "orthogonal features; untracked ones fire with tracked ones, by common factors or each with one",
    "superposed": "more features than dimensions, firing by common factors",
    "hierarchical": "features with children, some of which exclude each other, and with grandchildren; features that fire wherever one of their causes does",
    "sizes": "features of magnitudes from 0.3 to 3, firing by common factors",
    "zero": "orthogonal features that fire independently: no hedging",
    "hetero_noise": "the same in noise that grows where a tracked feature fires, in all directions or in some more than others: no hedging",
    "random_sign": "untracked features that fire with tracked ones, each time with a random sign: the residual's variance follows latents, and there is no hedging",
    "mixed": "untracked features that fire with tracked ones, about half of them with a random sign",
}
_BARS = """
## Bar by bar: {met} of {bars} are met

What the estimator `{judged}` shall reach on held-out families, and what it reaches, with the 95 % interval of a bootstrap over families where there are several. The verdict is that of the number itself.

| number | bar | held out | SAEs, prefixes too | verdict | development | SAEs, prefixes too |
| --- | --- | --- | --- | --- | --- | --- |
"""
_MEASURES = """
## Every estimator

`across`: rank correlation of SAE means with true hedging. `within_median`, `within_p10`: median and tenth percentile over SAEs of the latents' rank correlation within one. `level`: the sum of SAE means
over that of the truth, on kinds that hedge. `partial_hedge`: rank correlation of SAE means with hedging given absorption; `partial_absorb`: with absorption given hedging. `control`: mean estimate
less truth where nothing hedges. An estimator that says the same of all latents of an SAE has no rank within it; `level` and `control` of one that is not on the scale of hedging mean little.
"""
_CONTROLS = """
## Controls: what `{judged}` says where nothing hedges

Over SAEs of each kind without hedging whose true mean is at most {unhedged:g}: with a wrong k some hedge there, too.

| kind | families | SAEs, prefixes too | true hedging | estimate | estimate less truth [95 %] | most of one SAE |
| --- | --- | --- | --- | --- | --- | --- |
"""
_PURITY = """
## How far latents have merged

`{judged}` within SAEs, by the mean best cosine of their rows with features: SAEs whose latents have all but merged are where it fails. No measure of it was found that does without the features.

| mean best cosine | families | SAEs, prefixes too | within_median | within_p10 |
| --- | --- | --- | --- | --- |
"""
_CALIBRATION = """
## Calibration

On families of development `{judged}` is {level} of the truth. Divided by that, frozen, its SAE means on held-out families are off by so much:

| held-out SAEs, prefixes too | n | true hedging | mean absolute error | bias | calibrated: mean absolute error | calibrated: bias |
| --- | --- | --- | --- | --- | --- | --- |
"""
_COST = """
## Cost

Mean over all SAEs and prefixes, on {samples} samples and one thread of a CPU.

| estimator | seconds for an SAE |
| --- | --- |
"""


def estimate_page(frame: DataFrame, summary: DataFrame, command: str) -> str:
    """The whole page.

    Args:
        frame: From `hedgebench.toy.estimate_study.run_estimate_study`.
        summary: From `summarise_sets`.
        command: What made it.
    """
    saes = counted(frame)
    numbers = {name: read_numbers(saes, summary, name) for name in _SETS}
    estimators, measures = (list(summary[column].unique()) for column in ("estimator", "measure"))
    return "".join(
        [
            _head(frame, len(saes), command),
            "\n![estimates against the truth](hedging-estimate.png)\n",
            _bars(numbers),
            _MEASURES,
            *(_estimators(numbers[name], title, estimators, measures) for name, title in _SETS.items()),
            _controls(saes, numbers),
            _purity(saes),
            _calibration(saes, numbers["development"][JUDGED, "level"].value),
            _cost(frame),
        ]
    )


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


def _head(frame: DataFrame, n_counted: int, command: str) -> str:
    units = frame[SAE].drop_duplicates()
    text = _HEAD.format(
        command=command,
        latents=f"{len(frame):,}",
        n_saes=f"{len(units.drop(columns='prefix').drop_duplicates()):,}",
        worlds=len(units[["family", "world_seed"]].drop_duplicates()),
        n_units=f"{len(units):,}",
        samples=f"{frame.attrs['samples']:,}",
        least=MIN_COSINE,
        left_out=f"{len(units) - n_counted:,}",
    )
    for kind, what in _KINDS.items():
        own = units[units["kind"] == kind]
        text += _row([kind, what, *(", ".join(of_set(own, name)["family"].unique()) for name in _SETS)])
    return text


def _bars(numbers: Mapping[str, Numbers]) -> str:
    judged, before = numbers["held out"], numbers["development"]
    met = sum(bar.verdict(judged) == "met" for bar in BARS)
    text = _BARS.format(met=met, bars=len(BARS), judged=JUDGED)
    for bar in BARS:
        n, n_before = (found[JUDGED, bar.measure].n for found in (judged, before))
        cells = [bar.measure, bar.meant, bar.found(judged), n, bar.verdict(judged), bar.found(before), n_before]
        text += _row(cells)
    return text


def _estimators(numbers: Numbers, title: str, estimators: Sequence[str], measures: Sequence[str]) -> str:
    text = f"\n### {title.capitalize()}\n\n" + _row(["estimator", *measures]) + _row(["---"] * (1 + len(measures)))
    for estimator in estimators:
        text += _row([estimator, *(numbers[estimator, measure] for measure in measures)])
    return text


def _controls(saes: DataFrame, numbers: Mapping[str, Numbers]) -> str:
    text = _CONTROLS.format(judged=JUDGED, unhedged=UNHEDGED)
    for name, title in _SETS.items():
        for kind in CONTROLS:
            own = of_set(saes[(saes["kind"] == kind) & (saes["hedge"] <= UNHEDGED)], name)
            means = [f"{own[column].mean():.3f}" for column in ("hedge", JUDGED)]
            found, most = numbers[name][JUDGED, f"control {kind}"], (own[JUDGED] - own["hedge"]).max()
            text += _row([kind, title, len(own), *means, found, f"{most:.3f}"])
    return text


def _purity(saes: DataFrame) -> str:
    text = _PURITY.format(judged=JUDGED)
    worth = saes[(saes["spread"] >= MIN_SPREAD) & (saes["latents"] >= MIN_LATENTS)]
    for name, title in _SETS.items():
        for low, high in ((MIN_COSINE, PURE), (PURE, 1.01)):
            own = of_set(worth[worth["best_cosine"].between(low, high, inclusive="left")], name)[f"within {JUDGED}"]
            ranks = [f"{own.quantile(level):.3f}" if len(own) else "none" for level in (0.5, 0.1)]
            text += _row([f"{low:g} to {min(high, 1):g}", title, len(own), *ranks])
    return text


def _calibration(saes: DataFrame, level: float) -> str:
    text = _CALIBRATION.format(judged=JUDGED, level=f"{level:.3f}")
    held_out = of_set(saes, "held out")
    for what, own in (("kinds that hedge", held_out[held_out["kind"].isin(HEDGED)]), ("all kinds", held_out)):
        errors = [own[JUDGED] / scale - own["hedge"] for scale in (1.0, level)]
        off = [f"{number:.3f}" for error in errors for number in (error.abs().mean(), error.mean())]
        text += _row([what, len(own), f"{own['hedge'].mean():.3f}", *off])
    return text


def _cost(frame: DataFrame) -> str:
    n = len(frame[SAE].drop_duplicates())
    rows = [_row([name, f"{seconds / n:.2g}"]) for name, seconds in frame.attrs["seconds"].items()]
    return _COST.format(samples=f"{frame.attrs['samples']:,}") + "".join(rows)


# --- figure ----------------------------------------------------------------------------------------------------------------------


def draw_estimates(frame: DataFrame, summary: DataFrame) -> Figure:
    """What the judged estimator says of each SAE against the truth; and how every estimator ranks SAEs and latents of held-out families, with the bootstrap's intervals."""
    with page_wide(3.6, SMALL_LETTERS) as figure:
        left, right = figure.subplots(1, 2)
        _draw_means(left, counted(frame))
        _draw_ranks(right, summary[summary["set"] == "held out"])
    return figure


def _draw_means(axes: Axes, saes: DataFrame) -> None:
    import seaborn as sns

    kinds = get_args(Kind)
    colours = dict(zip(kinds, sns.color_palette("colorblind", len(kinds)), strict=True))
    markers = dict(zip(kinds, "os^vDP*X", strict=True))
    for kind, rows in saes.groupby("kind", sort=False):
        for name in _SETS:
            own, colour = of_set(rows, name), colours[kind]
            faces, label = (colour, kind) if name == "held out" else ("none", None)
            axes.scatter(
                own["hedge"],
                own[JUDGED],
                s=12,
                marker=markers[kind],
                facecolors=faces,
                edgecolors=[colour],
                linewidths=0.6,
                label=label,
            )
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=0)
    axes.set_title("Means of SAEs; hollow: development", fontsize="medium")
    axes.set(xlabel="true hedging", ylabel=f"estimate `{JUDGED}`")
    _legend_below(axes)


def _draw_ranks(axes: Axes, summary: DataFrame) -> None:
    names = list(dict.fromkeys(summary["estimator"]))
    looks = (("across", OKABE_ITO[0], "o", -0.15), ("within_median", OKABE_ITO[1], "s", 0.15))
    for measure, colour, marker, shift in looks:
        rows = summary[summary["measure"] == measure]
        places = [names.index(name) + shift for name in rows["estimator"]]
        axes.hlines(places, rows["low"], rows["high"], color=colour)
        axes.plot(rows["value"], places, marker, color=colour, markersize=4.5, label=measure)
    axes.axvline(0, color="0.6", linewidth=1, zorder=0)
    axes.set_title("Rank correlation with the truth, held-out families", fontsize="medium")
    axes.set(xlabel="Spearman's, with its 95 % interval", yticks=range(len(names)), yticklabels=names)
    axes.invert_yaxis()
    _legend_below(axes)


def _legend_below(axes: Axes) -> None:
    """Where it hides no point."""
    axes.legend(fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.15))
