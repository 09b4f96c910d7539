"""Row 21 by width, L0 and layer, told from its table: `python results/growth/where.py` writes where.md beside it from where.parquet, and nothing else decides a word of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hedgebench.markdown import markdown_table
from hedgebench.records import write_text
from hedgebench.stats.intervals import Interval, complete, mean_interval, slope_interval, step_intervals
from hedgebench.stats.pairwise import ALPHA, Pairs, compare
from hedgebench.verdicts import Claim, above, below, claim_of_each, falls, in_all, judged, listed, so_far

HERE = Path(__file__).parent
FAR = {
    "hedging degree": ("hedging_degree", ""),
    "g beyond rows like the residual": ("excess", "null=residual"),
    "g beyond other training seeds' rows": ("excess", "null=other_seed"),
    "g beyond no new latents (excess)": ("excess", ""),
}
"""How far rows move into the new rows' span, in words, and the metric of `grow_delta` with its params: the paper's degree, and the projection beyond three nulls."""
WAY = {
    "share": ("delta_share", ""),
    "share beyond rows like the residual": ("share_excess", "null=residual"),
    "share beyond other training seeds' rows": ("share_excess", "null=other_seed"),
    "share beyond no new latents": ("share_excess", "null=reordered"),
}
"""Which way they move: the share of the squared change that lies in that span, and beyond the nulls."""
SIDES = {
    "symmetry": ("symmetry", ""),
    "hedging degree of encoder columns": ("hedging_degree", "weights=encoder"),
    "encoder columns beyond no new latents": ("excess", "weights=encoder"),
}
"""Whether the encoder's columns change as the decoder's rows do: hedging is of both sides alike, absorption of the encoder."""
SCALE = {"scale": ("scale", "null=reordered")}
SHOWN = {**FAR, **WAY, **SIDES, **SCALE}
DEGREE, OTHER_SEEDS, EXCESS, ENCODER = "hedging degree", "g beyond other training seeds' rows", "g beyond no new latents (excess)", "encoder columns beyond no new latents"  # fmt: skip
ALIKE = 0.5
"""The symmetry from which on both sides change more alike than not."""
_KEYS = ["layer", "k", "width", "train_seed"]


def page(scores: pd.DataFrame) -> str:
    """The page in Markdown."""
    found = Where(scores)
    return "\n".join(
        [
            HEAD.format(**found.facts()),
            "## What holds\n",
            *listed(found.claims()),
            "\n## How far: the mean projection of the change on the new rows",
            *(f"\n**{words[0].upper()}{words[1:]}**\n\n{found.by_width(words)}" for words in FAR),
            "\n## Which way: the share of the squared change in their span",
            *(f"\n**{words[0].upper()}{words[1:]}**\n\n{found.by_width(words)}" for words in WAY),
            f"\n{SCALED}\n{found.by_width('scale')}",
            "\n## Both sides: encoder columns",
            f"\n{BOTH.rstrip()}",
            *(f"\n**{words[0].upper()}{words[1:]}**\n\n{found.by_width(words)}" for words in SIDES),
            "\n## Per doubling\n",
            found.slopes(),
            "\n## By layer\n",
            found.by_layer(),
            "\n" + LIMITS.format(**found.facts()),
        ]
    )


class Where:
    """The rows of grow_delta, as a value for each layer, k, width before growth and training seed."""

    def __init__(self, scores: pd.DataFrame) -> None:
        rows = scores[(scores["eval"] == "grow_delta") & (scores["slice_by"] == "all")]
        self.values = rows.pivot_table(index=_KEYS, columns=["metric", "params"], values="value", aggfunc="mean")
        self.added = round(float(self.values["rank", ""].max()))
        self.eval_seeds = rows["seed"].nunique()
        self.tokens = int(rows["train_tokens"].iloc[0])
        # k 8 at several layers is one experiment; several k at one layer are the other
        several = self.values.groupby("k").apply(lambda one: len(set(one.index.get_level_values("layer"))) > 1)
        self.layers_k = float(several[several].index[0]) if several.any() else None

    def of(self, words: str) -> pd.Series[float]:
        """One number for each layer, k, width and seed; empty where the table has none."""
        found = self.values.get(SHOWN[words])
        return pd.Series(index=self.values.index[:0], dtype=float) if found is None else found.dropna()

    def facts(self) -> dict[str, Any]:
        """What was grown."""
        index = self.values.index
        return {
            "grown": len(self.values),
            "so_far": so_far(
                len(self.values), sum(map(_entries, [HERE / "grow-l0.yaml", *HERE.glob("layers/grow-*.yaml")]))
            ),
            "added": self.added,
            "tokens": f"{self.tokens:,}",
            "eval_seeds": self.eval_seeds,
            "seeds": index.get_level_values("train_seed").nunique(),
            "scales": self._scales(),
            "narrow_training": _training(HERE / "layers/train-4.yaml"),
            "wide_training": _training(HERE.parent / "widths/train-batchtopk.yaml"),
            "layers": ", ".join(str(layer) for layer in sorted(set(index.get_level_values("layer")))),
            "ks": ", ".join(f"{k:.0f}" for k in sorted(set(index.get_level_values("k")))),
            "narrowest": f"{index.get_level_values('width').min() - self.added:,}",
            "widest": f"{index.get_level_values('width').max() - self.added:,}",
        }

    def _scales(self) -> str:
        """How far the null without new latents is drawn out, or in."""
        means = self.of("scale").groupby(_KEYS[:-1]).mean()
        return f", by {means.min():.2f} to {means.max():.2f} times (`scale`)" if len(means) else ""

    @property
    def series(self) -> list[tuple[int, float]]:
        """(layer, k) of all series of widths."""
        return sorted({(int(layer), float(k)) for layer, k, *_ in self.values.index})

    @property
    def _names(self) -> list[str]:
        return [f"layer {layer}, k {k:.0f}" for layer, k in self.series]

    def per_doubling(self, words: str, layer: int, k: float) -> Interval | None:
        """The change when the width before growth doubles, with its interval over training seeds; None where it was not measured."""
        if self.of(words).empty:
            return None
        one, width, seed = self._series(words, layer, k)
        return slope_interval(np.log2(width), one, seed)

    def in_k(self, words: str) -> dict[int, Interval]:
        """At each width with several k (of one layer): the change when k doubles, over training seeds."""
        values = self.of(words)
        values = values[values.index.get_level_values("k") != self.layers_k]
        found = {}
        for width, at in values.groupby("width"):
            at = at[complete(*(at.index.get_level_values(level) for level in ("k", "train_seed")))]
            k, seed = (at.index.get_level_values(level) for level in ("k", "train_seed"))
            if len(set(k)) > 1:
                found[int(width) - self.added] = slope_interval(np.log2(k), at, seed)
        return found

    def steps(self, words: str, layer: int, k: float) -> dict[str, Interval]:
        """From each width before growth to the next: the change, over training seeds."""
        one, width, seed = self._series(words, layer, k)
        return step_intervals(width, one, seed)

    def _series(self, words: str, layer: int, k: float) -> tuple[pd.Series[float], pd.Index[int], pd.Index[int]]:
        """One number of a series where it has no gap (`complete`), its widths before growth, and its seeds."""
        one = self.of(words).loc[layer, k]
        one = one[complete(*(one.index.get_level_values(level) for level in ("width", "train_seed")))]
        width, seed = (one.index.get_level_values(level) for level in ("width", "train_seed"))
        return one, width - self.added, seed

    def claims(self) -> list[Claim]:
        """The paper's finding, of how far rows move; whether it is one of which way, too; and L0, of which it says nothing."""
        per_k = {words: {f"width {w:,}": slope for w, slope in self.in_k(words).items()} for words in FAR}
        return [
            claim_of_each(
                "Old decoder rows give some of themselves up to the new rows' span, beyond a random span (by which the paper says that SAEs of a language model hedge).",
                self._above([DEGREE]),
            ),
            self._narrower("The narrower, the larger the hedging degree.", DEGREE),
            claim_of_each("Some of that lies beyond harder nulls, too.", self._above(list(FAR)[1:]), ours=True),
            claim_of_each(
                "Encoder columns give something up, too (beyond no new latents).", self._above([ENCODER]), ours=True
            ),
            claim_of_each(
                f"Encoder columns change as decoder rows do, as hedging has them (our reading: a symmetry of {ALIKE} or more at every width).",
                self._alike(),
            ),
            *(self._narrower(f"The narrower, the larger {words}.", words, ours=True) for words in list(FAR)[1:]),
            *(self._narrower(f"The narrower, the larger the {words}.", words, ours=True) for words in WAY),
            *(
                claim_of_each(
                    f"The smaller L0, the larger {_the(words)}.",
                    judged(slopes, below, above, "per doubling of k"),
                    ours=True,
                )
                for words, slopes in per_k.items()
            ),
            claim_of_each(f"Layers differ in hedging{self._at_k()}.", self._by_layer(), ours=True),
        ]

    def _alike(self) -> dict[str, tuple[str, str]]:
        """Whether encoder columns change as decoder rows do, series by series: by the symmetry, and how much each gives up at the widest."""
        found = {}
        for name, (layer, k) in zip(self._names, self.series, strict=True) if len(self.of("symmetry")) else ():
            widths = self.of("symmetry").loc[layer, k].groupby("width")
            at = {width: mean_interval(of) for width, of in widths if len(of) > 1}
            if not at:
                continue
            verdict = in_all([one.low >= ALIKE for one in at.values()], [one.high < ALIKE for one in at.values()])
            narrowest, widest = min(at), max(at)
            encoder, decoder = (self.of(words).loc[layer, k, widest].mean() for words in (ENCODER, EXCESS))
            found[name] = (
                verdict,
                f"{at[narrowest].mean:.2f} at {narrowest - self.added:,} latents to {at[widest].mean:.2f} at {widest - self.added:,}, {self.per_doubling('symmetry', layer, k)} per doubling; at the widest encoder columns give up {encoder:.3f}, decoder rows {decoder:.3f}",
            )
        return found

    def _at_k(self) -> str:
        """At which k layers are compared, and what the SAEs had read before they grew."""
        return f" (k {self.layers_k:.0f}, {_training(HERE / 'layers/train-4.yaml')})" if self.layers_k else ""

    def _above(self, measures: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Of each measure: whether it is above 0 in all series at all widths with two seeds and more, and its range."""
        found = {}
        for words in measures:
            at = [mean_interval(of) for _, of in self.of(words).groupby(_KEYS[:-1]) if len(of) > 1]
            if not at:
                continue
            verdict = in_all(map(above, at), map(below, at))
            means = [one.mean for one in at]
            numbers = f"{min(means):.3f} to {max(means):.3f}"
            under = f", below in {sum(map(below, at))}" if any(map(below, at)) else ""
            found[words] = (
                verdict,
                f"{numbers}; above 0 in {sum(map(above, at))} of {len(at)} settings of layer, k and width{under}",
            )
        return found

    def _narrower(self, claim: str, words: str, ours: bool = False) -> Claim:
        """Whether a number falls with the width, series by series."""
        found = {
            name: falls(slope, self.steps(words, layer, k))
            for name, (layer, k) in zip(self._names, self.series, strict=True)
            if (slope := self.per_doubling(words, layer, k)) is not None
        }
        return claim_of_each(claim, found, ours)

    def by_width(self, words: str) -> str:
        """A row for each width before growth, a column for each layer and k."""
        values = self.of(words)
        lines = []
        for width in sorted(set(values.index.get_level_values("width"))):
            cells = []
            for layer, k in self.series:
                at = values[[(int(i[0]), float(i[1]), i[2]) == (layer, k, width) for i in values.index]]
                cells.append(str(mean_interval(at)) if len(at) else "")
            lines.append([f"{width - self.added:,} → {width:,}", *cells])
        return markdown_table(["width", *self._names], lines)

    def slopes(self) -> str:
        """A row for each measure, a column for each series; then for each width with several k."""
        slopes = ([words, *(self.per_doubling(words, layer, k) or "" for layer, k in self.series)] for words in SHOWN)
        by_width = markdown_table(["per doubling of the width", *self._names], slopes)
        tables = {words: self.in_k(words) for words in SHOWN}
        widths = sorted({width for table in tables.values() for width in table})
        if not widths:
            return by_width
        slopes = ([words, *(table.get(width, "") for width in widths)] for words, table in tables.items())
        by_k = markdown_table(["per doubling of k", *(f"{width:,} latents" for width in widths)], slopes)
        return f"{by_width}\n\n{by_k}"

    def layers(self, words: str) -> tuple[list[int], Pairs] | None:
        """The layers of one k, and how their means over the widths that all have differ, each training seed counted once; None where there are no two."""
        if self.layers_k is None or self.of(words).empty:
            return None
        values = self.of(words).xs(self.layers_k, level="k").unstack("width")  # noqa: PD010 - of one index
        common = values.columns[values.notna().groupby("layer").any().all()]
        seeds = values[common].mean(axis=1, skipna=False).dropna()
        layers = sorted(int(layer) for layer, of in seeds.groupby("layer") if len(of) > 1)
        return (layers, compare([seeds.loc[layer] for layer in layers])) if len(layers) > 1 else None

    def _by_layer(self) -> dict[str, tuple[str, str]]:
        """Of each measure of how far: whether two layers differ, and which."""
        found = {}
        for words in FAR:
            # each seed's value is of its rows and those of other seeds, so that a layer's are not independent
            if words == OTHER_SEEDS or (layers := self.layers(words)) is None:
                continue
            apart = _apart(*layers)
            means = "; ".join(
                f"layer {layer} {mean:.3f}" for layer, mean in zip(layers[0], layers[1].means, strict=True)
            )
            found[words] = ("holds" if apart else "cannot tell", f"{means}; apart: {', '.join(apart) or 'none'}")
        return found

    def by_layer(self) -> str:
        """A row for each layer: the mean over widths, and which layers differ."""
        columns, layers = [], []
        for words in SHOWN:
            if (found := self.layers(words)) is None:
                return "Not measured."
            layers, pairs = found
            means = (f"{mean:.3f} ± {error:.3f}" for mean, error in zip(pairs.means, pairs.error, strict=True))
            columns.append([*means, ", ".join(_apart(layers, pairs)) or "none"])
        lines = zip([*layers, "apart"], *columns, strict=True)
        return f"{LAYERS}\n{markdown_table(['layer', *SHOWN], lines)}"


def _the(words: str) -> str:
    """A measure in a sentence."""
    return f"the {words}" if words == DEGREE else words


def _apart(layers: list[int], pairs: Pairs) -> list[str]:
    """The pairs of layers that differ when all pairs are tested together."""
    found = zip(pairs.first, pairs.second, pairs.adjusted, strict=True)
    return [f"{layers[i]} / {layers[j]}" for i, j, p in found if p < ALPHA]


def _entries(config: Path) -> int:
    """How many SAEs a config grows; `read_config` would look for those that they grow from."""
    return sum(len(entry["train_seed"]) for entry in yaml.safe_load(config.read_text())["saes"])


def _training(config: Path) -> str:
    """How much the SAEs of a config read."""
    settings = yaml.safe_load(config.read_text())
    return f"{settings['tokens']:,} tokens in batches of {settings['batch_tokens']:,}"


HEAD = """# The hedging degree by width, L0 and layer (row 21)

{grown} BatchTopK SAEs of SmolLM2-135M, {narrowest} to {widest} latents, k {ks}, layer {layers}, grow by {added} latents and are trained on for {tokens} tokens, {seeds} training seeds; a copy that does not grow is trained on beside each (the
control), and another on another order of the data. After arXiv 2505.11756: how far the old rows' change (grown less control) reaches into the span of the new rows. Widths are before growth, if not said otherwise (the figures have the width after it).
Before they grow, SAEs of k 8 (layers and widths) were trained on {narrow_training}, those of other k (L0s and widths, layer 8) on {wide_training}: columns of different k differ in more than k and layer, and only those of k 8 are compared across layers.

    OMP_NUM_THREADS=1 hedgebench train results/widths/train-batchtopk.yaml --out out/widths/saes    # what grow-l0.yaml grows from
    OMP_NUM_THREADS=1 hedgebench train results/growth/grow-l0.yaml --out out/growth/l0
    for n in 8 12; do OMP_NUM_THREADS=1 hedgebench train results/hedging_estimate/train-layer$n.yaml --out out/estimate/layer$n; done
    OMP_NUM_THREADS=1 hedgebench train results/growth/layers/train-4.yaml --out out/growth/layer4
    for n in 4 8 12; do OMP_NUM_THREADS=1 hedgebench train results/growth/layers/grow-$n.yaml --out out/growth/layers; done
    OMP_NUM_THREADS=1 hedgebench run results/growth/suite-where.yaml --out out/growth/where
    hedgebench table out/growth/where --out results/growth/where.parquet
    python results/pack.py out/growth/where results/growth/where-records.tar.xz
    hedgebench plot results/growth/where.parquet --out results/growth/where
    python results/growth/where.py                                                 # this page, from that table

![degree](where/grow_delta-degree-against-width.png)

![share](where/grow_delta-share-against-width.png)

[95 %] is Student's interval over the training seeds, each the mean of {eval_seeds} evaluation seeds. The degree is held to a random span; the other columns are the mean projection beyond that of a harder null, in units of the old rows' length (`hedgebench list`, eval `grow_delta`).
"""
BOTH = """Hedging is of both sides alike: the encoder column, too, gives up what the new latents take over (`symmetry` 1, by the formula of `hedgebench list`); where one side alone changes, symmetry is 0. Absorption, as the post has it, changes the encoder alone: where decoder rows change and encoder columns hardly do, it is neither as the post has hedging nor as it has absorption.
"""
SCALED = """`scale`: how many times as far as the second control's the grown SAE's old rows turned outside the span, and the null without new latents is drawn out by. Where it is far from 1, what lies beyond no new latents is an extrapolation.
"""
LAYERS = """Means over the widths that all have ± standard error over training seeds, each counted once; *apart*: layers that differ when all pairs are tested together at 5 % (`hedgebench.stats.pairwise.compare`). Beyond other training seeds' rows the seeds of a layer are not independent, and *apart* says too much.
"""
LIMITS = """## Limits

{so_far}One model of 135M parameters and {seeds} seeds; SAEs grow after their training, for a fraction of its tokens, where the paper's grew while they trained ([one of L1 that does so](README.md) has a page of its own). The same {added} rows are added at every width: many beside the narrowest SAE, few beside the widest. So the numbers say what an
old row gives up to {added} new ones, not all that it hedges of what the SAE lacks. The intervals hold training seeds only: one order of the data, one text; and beside other training seeds' rows each seed is held to the others, so that its values are not independent.

What no new latents would do is drawn out, or in, to how far the grown SAE's rows turned{scales}: where that is far from 1, what lies beyond no new latents is an extrapolation.

That rows move into the new rows' span is what hedging predicts, and not hedging alone: absorbed and split features move rows, too. Where hedging is known, in [toy worlds](../toy/growth.md), the mean projection is what new latents take of it, the degree is no measure of its size, and the share does not follow it.

[The SAE of row 18](README.md), which grows while it is trained, need not agree on how the projection beyond no new latents goes with the width. There the old rows are young when they are left behind, and train on for most of the run whether latents are added or not; here they were trained to their end first: the two do not ask the same.
"""


def main() -> None:
    """Write the page."""
    write_text(HERE / "where.md", page(pd.read_parquet(HERE / "where.parquet")))


if __name__ == "__main__":
    main()
