"""What `hedging_estimate` is worth on a language model, told from its tables: `python results/hedging_estimate/page.py` writes README.md and trend.png beside it, and nothing else decides a number in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from hedgebench.canvas import page_wide, save_figure
from hedgebench.control_cards import control_kind
from hedgebench.looks import OKABE_ITO, SMALL_LETTERS
from hedgebench.records import write_text
from hedgebench.stats.intervals import Interval, mean_interval, slope_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
LAYERS = {12: "on which nothing was tuned"}
JUDGED, SECOND = "hedging", "virtual_growth"
GROWN, SCALED = r"from(\d+)-\1-s(\d)", r"w(\d+)-k[\d.]+-s(\d)"
"""Names of SAEs that were left behind by a growth (k 8), and of those whose k is a sixteenth of the width."""
SHARE = "share=0.3"
VERDICT = {True: "met", False: "**not met**", None: "not judged"}


class Line(NamedTuple):
    """One thing that must be shown."""

    what: str
    found: str
    bar: str
    met: bool | None
    """None where it cannot be judged, on one training seed."""


class Layer:
    """The tables of one layer."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        scores = pd.read_parquet(HERE / f"scores-layer{layer}.parquet")
        self.all = scores[scores["slice_by"] == "all"].copy()
        names = "growth", "seeds", "directions", "halves", "injection", "elsewhere"
        tables = [pd.read_csv(HERE / f"{name}-layer{layer}.csv") for name in names]
        self.growth, self.of_seeds, self.directions, self.of_halves, self.injection, self.otherwise = tables

    def table(self, pattern: str, metric: str, params: str = "") -> pd.DataFrame:
        """Width, seed, value."""
        rows = self.all[(self.all["metric"] == metric) & (self.all["params"] == params)]
        names = rows["sae"].str.extract(f"^{pattern}$").set_axis(["width", "seed"], axis=1)
        return names.assign(value=rows["value"]).dropna().astype({"width": int, "seed": int})

    def seeds(self, metric: str, params: str = "") -> Interval:
        """Over training seeds, each a mean over widths."""
        return mean_interval(self.table(GROWN, metric, params).groupby("seed")["value"].mean())

    def per_doubling(self, pattern: str, metric: str) -> Interval:
        """Over training seeds: how much it changes when the width doubles."""
        rows = self.table(pattern, metric)
        return slope_interval(np.log2(rows["width"]), rows["value"], rows["seed"])

    def correlation(self, estimate: str, of: str = "correlation") -> pd.DataFrame:
        """[seed, width]: with growth."""
        own = self.growth[self.growth["estimate"] == estimate]
        return own.pivot_table(index="seed", columns="width", values=of)

    def ratio(self, estimate: str) -> Interval:
        """Over training seeds: rise by random signs over rise by hedging, each summed over widths."""
        signs, real = (
            self.table(GROWN, metric, f"of={estimate},{SHARE}").groupby("seed")["value"].sum()
            for metric in ("random_sign_rise", "injected_rise")
        )
        return mean_interval(signs / real)

    def lines(self, estimate: str = JUDGED) -> Iterator[Line]:
        """What must be shown of an estimate."""
        of = f"of={estimate},{SHARE}"
        ratio = self.ratio(estimate)
        yield Line("rise by random signs / rise by hedging", str(ratio), "at most 0.2", ratio.mean <= 0.2)
        for what, params, bar in (
            ("AUC of latents made to hedge .3, against other latents", of, 0.75),
            ("the same, against itself before", f"{of},than=itself", 0.90),
            ("the same, against all of them before", f"{of},than=before", 0.90),
        ):
            value = self.seeds("injected_auc", params)
            yield Line(what, str(value), f"at least {bar:g}", value.mean >= bar)
        halves = self.seeds("repeatability", f"of={estimate}")
        yield Line(
            "rank correlation of disjoint halves of the documents", str(halves), "at least 0.8", halves.mean >= 0.8
        )
        own, second = self.correlation(estimate), self.correlation(SECOND)
        grown, ahead = (mean_interval(table.mean(axis=1)) for table in (own, own - second))
        yield Line("rank correlation with growth, within an SAE", str(grown), "at least 0.5", grown.mean >= 0.5)
        yield Line(f"the same, less that of `{SECOND}`", str(ahead), "above 0", None if ahead.n < 2 else ahead.low > 0)
        for what, pattern in (("k = 8", GROWN), ("k = width / 16", SCALED)):
            slope = self.per_doubling(pattern, estimate)
            yield Line(
                f"change when the width doubles, {what}", str(slope), "below 0", None if slope.n < 2 else slope.high < 0
            )

    def by_width(self) -> str:
        """Means over seeds at each width."""
        moved = self.growth[self.growth["estimate"] == JUDGED].groupby("width")["moved"].mean()
        columns: dict[str, pd.Series] = {
            f"`{JUDGED}`, k 8": self.mean(GROWN, JUDGED),
            f"`{JUDGED}`, k = width / 16": self.mean(SCALED, JUDGED),
            "`modulation`": self.mean(GROWN, "modulation"),
            "`modulation_unscaled`": self.mean(GROWN, "modulation_unscaled"),
            "`leading_strength`": self.mean(GROWN, "leading_strength"),
            "`consistent`": self.mean(GROWN, "consistent"),
            f"`{SECOND}`": self.mean(GROWN, SECOND),
            "rows moved by growth": moved,
            **{
                f"growth ~ `{name}`": self.correlation(name).mean()
                for name in (JUDGED, "owed", "modulation", "consistent", SECOND)
            },
            f"halves ~ `{JUDGED}`": self.mean(GROWN, "repeatability", f"of={JUDGED}"),
            f"share in new rows' span ~ `{JUDGED}`": self.correlation(JUDGED, "with_share").mean(),
        }
        return _table(pd.DataFrame(columns))

    def nulls(self) -> str:
        """What an SAE's own controls say, means over seeds at each width."""
        of = f"{SHARE},than=live"
        columns = {
            f"`{JUDGED}`": self.mean(GROWN, JUDGED),
            "the same, nothing owed": self.mean(GROWN, JUDGED, "null=nothing owed"),
            "AUC of added hedging": self.mean(GROWN, "injected_auc", f"of={JUDGED},{of}"),
            "AUC of random signs": self.mean(GROWN, "random_sign_auc", f"of={JUDGED},{of}"),
            "the same, `modulation`: hedging": self.mean(GROWN, "injected_auc", f"of=modulation,{of}"),
            "random signs": self.mean(GROWN, "random_sign_auc", f"of=modulation,{of}"),
            "`row_cosine`": self.mean(GROWN, "row_cosine"),
        }
        return _table(pd.DataFrame(columns))

    def learnt_nothing(self) -> str:
        """SAEs that learnt nothing, beside the one that they are made like."""
        rows = self.all[self.all["architecture"].map(control_kind).notna()]
        names = {sae.split("/")[0] for sae in rows["sae"]} | set(rows["sae"])
        metrics = [JUDGED, "owed", "modulation", "consistent", SECOND]
        own = self.all[self.all["sae"].isin(names) & self.all["metric"].isin(metrics)]
        own = own[own["params"].isin(["", "null=nothing owed"])]
        own = own.assign(metric=own["metric"] + own["params"].map({"": "", "null=nothing owed": ", nothing owed"}))
        table = own.pivot_table(index="sae", columns="metric", values="value")
        return _table(table[[name for name in dict.fromkeys(own["metric"])]], first="SAE")

    def elsewhere(self) -> str:
        """What is found of added hedging whose feature is there without its latent, too, or varies in strength."""
        own = self.otherwise[self.otherwise["estimate"] == JUDGED].set_index("width").sort_index(kind="stable")
        columns = {
            "alone": "there without it", "spread": "spread", "injected": "latents", "auc": "against others", "auc_signs": "random signs, against others",
            "rise": "rise", "random_sign_rise": "rise by random signs", "directions_found": "directions found",
        }  # fmt: skip
        return _table(own[list(columns)].rename(columns=columns))

    def mean(self, pattern: str, metric: str, params: str = "") -> pd.Series:
        """Over seeds, by width."""
        return self.table(pattern, metric, params).groupby("width")["value"].mean()

    def estimates(self) -> str:
        """The lines of every estimate, as numbers."""
        names = list(dict.fromkeys(self.growth["estimate"]))
        cells = {name: {line.what: line.found for line in self.lines(name)} for name in names}
        return _table(pd.DataFrame(cells), first="estimate")

    def shared(self) -> str:
        """How alike training seeds rank the latents they share, means over pairs of seeds."""
        table = self.of_seeds
        found = table.pivot_table(index="width", columns="estimate", values="correlation")
        found.insert(0, "latents shared", table.groupby("width")["n"].mean().round().astype(int))
        return _table(found)

    def halves(self) -> str:
        """How alike disjoint halves rank latents on less and on more text."""
        table = self.of_halves
        found = table.pivot_table(index=["width", "tokens"], columns="estimate", values="correlation")
        found.index = pd.Index(
            [f"{width} latents, {tokens:,} tokens" for width, tokens in found.index], name="SAE, half"
        )
        return _table(found)

    def named(self) -> str:
        """Whether named directions are rows of a wider SAE: own against others', by width."""
        rows = []
        for width, own in self.directions.groupby("width"):
            p = float(wilcoxon(own["own"], own["others"], alternative="greater").pvalue)
            above = float((own["own"] > own["others"]).mean())
            rows.append((width, len(own), own["own"].mean(), own["others"].mean(), above, f"{p:.1g}"))
        columns = ["width", "latents", "own direction", "other latents'", "own above others'", "p"]
        return _table(pd.DataFrame(rows, columns=columns).set_index("width"))

    def curve(self) -> str:
        """What is found of hedging that is added."""
        own = self.injection[self.injection["estimate"] == JUDGED].set_index("width").sort_index(kind="stable")
        columns = {
            "share": "share", "tokens": "tokens", "injected": "latents", "auc": "against others", "auc_before": "the same before",
            "than_itself": "against itself before", "auc_signs": "random signs, against others", "rise": "rise",
            "random_sign_rise": "rise by random signs", "directions_found": "directions found",
        }  # fmt: skip
        return _table(own[list(columns)].rename(columns=columns))

    def least_found(self, auc: float = 0.75) -> str:
        """The least share that is found at each width, on most tokens."""
        own = self.injection[self.injection["estimate"] == JUDGED]
        said = []
        for width, rows in own.groupby("width"):
            most = rows[rows["tokens"] == rows["tokens"].max()]
            found = most[most["auc"] >= auc]["share"]
            said.append(f"{found.min():g} at {width} latents" if len(found) else f"none at {width} latents")
        return ", ".join(said)


def _table(frame: pd.DataFrame, first: str | None = None) -> str:
    def cell(value: object) -> str:
        return f"{value:.3f}" if isinstance(value, float) and not float(value).is_integer() else f"{value:g}" if isinstance(value, float) else str(value)  # fmt: skip

    head = [first or str(frame.index.name), *map(str, frame.columns)]
    body = [[cell(index), *map(cell, row)] for index, row in zip(frame.index, frame.astype(object).to_numpy(), strict=True)]  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def losses() -> str:
    """The SAEs of the repository: losses and prefixes."""
    scores = pd.read_parquet(HERE / "scores-losses.parquet")
    scores = scores[
        (scores["params"] == "") & scores["metric"].isin([JUDGED, "owed", "modulation", "consistent", SECOND])
    ]
    whole = scores[scores["slice_by"] == "all"]
    by_loss = whole.pivot_table(index=["architecture", "loss"], columns="metric", values="value", aggfunc="mean")
    by_loss.index = pd.Index([" ".join(key) for key in by_loss.index], name="SAEs")
    prefixes = scores[scores["slice_by"] == "prefix"].assign(prefix=lambda table: table["slice_value"].astype(int))
    by_prefix = prefixes.pivot_table(index=["loss", "prefix"], columns="metric", values="value", aggfunc="mean")
    by_prefix.index = pd.Index([f"{loss}, first {prefix}" for loss, prefix in by_prefix.index], name="prefix")
    return f"{_table(by_loss)}\n\n{_table(by_prefix)}"


def draw(layers: list[Layer]) -> Figure:
    """The estimate and what growth does, by width; and what is found of added hedging, by its share."""
    with page_wide(2.9, SMALL_LETTERS) as figure:
        _draw(layers, *figure.subplots(1, 3))
    return figure


def _draw(layers: list[Layer], left: Axes, middle: Axes, right: Axes) -> None:
    for colour, layer in zip(OKABE_ITO, layers, strict=False):
        for pattern, style, label in ((GROWN, "o-", "k = 8"), (SCALED, "s--", "k = width / 16")):
            values = layer.mean(pattern, JUDGED)
            left.plot(values.index, values, style, color=colour, label=f"layer {layer.layer}, {label}")
        for name, style in ((JUDGED, "o-"), (SECOND, "x:")):
            values = layer.correlation(name).mean()
            middle.plot(values.index, values, style, color=colour, label=f"layer {layer.layer}, {name}")
        own = layer.injection[layer.injection["estimate"] == JUDGED]
        for width, rows in own[own["tokens"] > 0.9 * own["tokens"].max()].groupby("width"):
            style = "o-" if width == own["width"].max() else "s--"
            right.plot(rows["share"], rows["auc"], style, color=colour, label=f"layer {layer.layer}, {width} latents")
            right.plot(rows["share"], rows["auc_signs"], style[0] + ":", color=colour, alpha=0.4)
    for axes, title, x in ((left, f"`{JUDGED}`", "width"), (middle, "rank correlation with growth", "width"), (right, "AUC of added hedging\n(faint: random signs)", "share of the row")):  # fmt: skip
        axes.set_title(title, fontsize="medium")
        axes.set(xlabel=x)
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2))  # where it hides no point
        if x == "width":
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.axhline(0.5, color="0.7", linewidth=1, zorder=0)


HEAD = """# A hedging estimate on a language model

[`hedging_estimate`](../../docs/hedging_estimate.md) on BatchTopK SAEs of the residual stream of SmolLM2-135M (768,000 tokens of training, then 307,200 more as the ones left behind by a growth by half
their width), three training seeds at each of five widths; each SAE is looked at on 129,000 ordinary tokens (the eval's default text). Where hedging is known: [toy worlds](hedging-estimate.md).

    hedgebench train results/hedging_estimate/train-layer12.yaml --out out/estimate/layer12
    hedgebench train results/hedging_estimate/grow-layer12.yaml --out out/estimate/grown-layer12
    hedgebench run results/hedging_estimate/suite-layer12.yaml --out out/estimate/results-layer12
    hedgebench run results/hedging_estimate/suite-widths-layer12.yaml --out out/estimate/results-layer12
    hedgebench table out/estimate/results-layer12 --out results/hedging_estimate/scores-layer12.parquet
    for what in growth seeds directions halves injection elsewhere; do python results/hedging_estimate/llm.py $what 12; done
    python results/hedging_estimate/nothing_owed.py
    hedgebench run results/hedging_estimate/suite-losses.yaml --out out/estimate/results-losses
    hedgebench table out/estimate/results-losses --out results/hedging_estimate/scores-losses.parquet
    python results/hedging_estimate/page.py                                        # this page, from those tables

![by width, and by size](trend.png)

[95 %] is Student's interval over the training seeds, of means over widths; a bar is held to the number itself, but for the words "above" and "below", which are held to the interval.
"""


def nothing_owed() -> str:
    """Each estimate's mean over SAEs on their own activations and on those to which nothing is owed, of the language model and of toy worlds."""
    known = pd.read_csv(HERE / "nothing-owed.csv")
    of_toys = known.groupby("sae")["estimate"].transform(lambda names: "truth" in set(names))
    kinds = ["own", "missing", "residual", "gaussian", "permuted"]
    lines = [f"| SAEs | estimate | {' | '.join(kinds)} |", "| --- " * (len(kinds) + 2) + "|"]
    for where, table in (("language model", known[~of_toys]), ("toy worlds", known[of_toys])):
        means = table.groupby(["estimate", "activations"])[["mean", "ranks_with_own"]].mean()
        for name in table["estimate"].unique():
            cells = []
            for kind in kinds:
                mean, ranks = means.loc[(name, kind)] if (name, kind) in means.index else (None, None)
                cells.append("" if mean is None else f"{mean:.3f}" + ("" if kind == "own" else f" ({ranks:.2f})"))
            lines.append(f"| {where} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(layers: list[Layer], may: str) -> str:
    """The page in Markdown."""
    parts = [HEAD, "## What may be concluded\n", may]
    for layer in layers:
        lines = list(layer.lines())
        parts += [
            f"\n## Layer {layer.layer}, {LAYERS[layer.layer]}: {sum(line.met is True for line in lines)} of {sum(line.met is not None for line in lines)} met\n",
            f"| `{JUDGED}` | found | bar | |\n| --- | --- | --- | --- |",
            *(
                f"| {line.what} | {line.found} | {line.bar} | {'met' if line.met else '**not met**'} |"
                for line in lines
            ),
            "\nEvery estimate, by the same measures:\n",
            layer.estimates(),
            "\nBy width, means over seeds. *Rows moved by growth*: mean |change| of old rows against the SAE left behind; `growth ~`: rank correlation of latents with it; `halves ~`: of halves of the documents with each other.\n",
            layer.by_width(),
            "\n*Training seeds*: rank correlation over latents that two seeds share (rows paired one to one, of a cosine of .7 or more), by width.\n",
            layer.shared(),
            "\n*Disjoint halves* of the documents, each estimated by itself, on less and on more text (one training seed).\n",
            layer.halves(),
            "\n*Named directions*: the first direction that the record names for a latent, held against rows of a 512-latent SAE of another training seed that the narrow SAE lacks (cosine below .6) "
            "and that fire with the latent three times as often as by chance: the largest cosine, against that of directions named for other latents with the same rows. p: Wilcoxon's signed ranks, one-sided; latents of one SAE share directions, so that it is too small.\n",
            layer.named(),
            f"\n*Hedging that is added* to 1 in 8 latents, by its share of the row. Least share with an AUC of .75 against other latents: {layer.least_found()}.\n",
            layer.curve(),
            "\n*The same where features are there without their latents, too* (on that share of all tokens), or vary in strength (*spread*: standard deviation over mean), at a share of .3.\n",
            layer.elsewhere(),
            "\n*Every SAE's own controls*, by width: the estimate on the SAE's own activations and where nothing is owed (the section below); AUC, against all live latents, of latents made to hedge .3 and of latents "
            "that features of random sign were added to instead, of `hedging` and of `modulation`, which takes the one for the other; and the cosine of the SAE's own decoder rows with the best ones, of which all estimates are.\n",
            layer.nulls(),
            "\n*SAEs that learnt nothing*, beside the one that they are made like.\n",
            layer.learnt_nothing(),
        ]
    parts += [
        "\n## Where nothing is owed\n",
        "Three SAEs of [evals/checkpoints](../../evals/checkpoints/README.md), layer 8, one text of 32,000 tokens, and three of toy worlds, whose true hedging is known (`truth`): means of each estimate on the activations as they are, and on others: *missing*, what is missing (the residual with what rows owe given back) has a sign at random for each token, so that it follows the latents as before and nothing is owed; "
        "*residual*, the same sign on the residual itself, which leaves hedging where it is, as toy worlds show: what a latent takes too little of where a feature is there, and too much where it is not, becomes two strengths of one feature; *gaussian*, a residual drawn with the same covariance; *permuted*, that of other tokens. "
        "In brackets how the ranks of latents agree with those on the activations as they are. An estimate of hedging should read 0 on *missing*, *gaussian* and *permuted*.\n",
        nothing_owed(),
        "\n## Losses and prefixes\n",
        "The SAEs of [evals/checkpoints](../../evals/checkpoints/README.md), layer 8. Levels of different SAEs are shown, not to be ranked.\n",
        losses(),
        "",
    ]
    return "\n".join(parts)


def main() -> None:
    """Write the page and its figure."""
    layers = [Layer(layer) for layer in LAYERS]
    write_text(HERE / "README.md", page(layers, (HERE / "conclusions.md").read_text()))
    save_figure(draw(layers), HERE / "trend.png")


if __name__ == "__main__":
    main()
