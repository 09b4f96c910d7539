"""Row 21 by width, L0 and layer, told from its table: `python results/growth/where.py` writes where.md beside it from where.parquet, and nothing else decides a word of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hedgebench.reading import above, below, verdicts
from hedgebench.records import write_text
from hedgebench.stats.intervals import Interval, mean_interval, slope_interval
from hedgebench.stats.pairwise import ALPHA, compare

HERE = Path(__file__).parent
SHOWN = {
    "hedging degree": ("hedging_degree", ""),
    "beyond rows like the residual": ("excess", "null=residual"),
    "beyond other training seeds' rows": ("excess", "null=other_seed"),
    "beyond no new latents (excess)": ("excess", ""),
}
"""Words, and the metric of `grow_delta` with its params: the paper's degree, and the projection beyond three nulls."""
_KEYS = ["layer", "k", "width", "train_seed"]


def page(scores: pd.DataFrame) -> str:
    """The page in Markdown."""
    found = Where(scores)
    return "\n".join(
        [
            HEAD.format(**found.facts()),
            "## What holds\n",
            *found.claims(),
            *(f"\n## By width and L0: {words}\n\n{found.by_width(words)}" for words in SHOWN),
            "\n## Per doubling\n",
            found.slopes(),
            "\n## By layer\n",
            LAYERS,
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
        self.tokens = int(rows["train_tokens"].iloc[0])
        # k 8 at several layers is one experiment; several k at one layer are the other
        several = self.values.groupby("k").apply(lambda one: len(set(one.index.get_level_values("layer"))) > 1)
        self.layers_k = float(several[several].index[0]) if several.any() else None

    def of(self, words: str) -> pd.Series[float]:
        """One number for each layer, k, width and seed."""
        return self.values[SHOWN[words]].dropna()

    def facts(self) -> dict[str, Any]:
        """What was grown."""
        index = self.values.index
        return {
            "grown": len(self.values),
            "planned": sum(map(_entries, [HERE / "grow-l0.yaml", *HERE.glob("layers/grow-*.yaml")])),
            "added": self.added,
            "tokens": f"{self.tokens:,}",
            "seeds": index.get_level_values("train_seed").nunique(),
            "layers": ", ".join(str(layer) for layer in sorted(set(index.get_level_values("layer")))),
            "ks": ", ".join(f"{k:.0f}" for k in sorted(set(index.get_level_values("k")))),
            "narrowest": f"{index.get_level_values('width').min() - self.added:,}",
            "widest": f"{index.get_level_values('width').max() - self.added:,}",
        }

    @property
    def series(self) -> list[tuple[int, float]]:
        """(layer, k) of all series of widths."""
        return sorted({(int(layer), float(k)) for layer, k, *_ in self.values.index})

    def per_doubling(self, words: str, layer: int, k: float) -> Interval:
        """The change when the width before growth doubles, with its interval over training seeds."""
        one = self.of(words).loc[layer, k]
        width, seed = (one.index.get_level_values(level) for level in ("width", "train_seed"))
        return slope_interval(np.log2(width - self.added), one, seed)

    def in_k(self, words: str) -> dict[int, Interval]:
        """At each width with several k (of one layer): the change when k doubles, over training seeds."""
        values = self.of(words)
        values = values[values.index.get_level_values("k") != self.layers_k]
        found = {}
        for width, at in values.groupby("width"):
            k, seed = (at.index.get_level_values(level) for level in ("k", "train_seed"))
            if len(set(k)) > 1:
                found[int(width) - self.added] = slope_interval(np.log2(k), at, seed)
        return found

    def claims(self) -> list[str]:
        """The paper's finding, and what it does not say of L0."""
        lines = []
        for words in SHOWN:
            slopes = {f"layer {layer}, k {k:.0f}": self.per_doubling(words, layer, k) for layer, k in self.series}
            lines.append(f"- **The narrower, the more hedging ({words}).** {verdicts(slopes, below, above)}.")
        for words in SHOWN:
            slopes = {f"width {width:,}": slope for width, slope in self.in_k(words).items()}
            lines.append(
                f"- **The smaller L0, the more hedging, which nobody claims ({words}):** {verdicts(slopes, below, above)}."
            )
        return lines

    def by_width(self, words: str) -> str:
        """A row for each width before growth, a column for each layer and k."""
        values = self.of(words)
        lines = [
            "| width | " + " | ".join(f"layer {layer}, k {k:.0f}" for layer, k in self.series) + " |",
            "| --- " * (1 + len(self.series)) + "|",
        ]
        for width in sorted(set(values.index.get_level_values("width"))):
            cells = []
            for layer, k in self.series:
                at = values[[(int(i[0]), float(i[1]), i[2]) == (layer, k, width) for i in values.index]]
                cells.append(str(mean_interval(at)) if len(at) else "")
            lines.append(f"| {width - self.added:,} → {width:,} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def slopes(self) -> str:
        """A row for each series."""
        lines = ["| per doubling of the width | " + " | ".join(SHOWN) + " |", "| --- " * (1 + len(SHOWN)) + "|"]
        for layer, k in self.series:
            lines.append(
                f"| layer {layer}, k {k:.0f} | "
                + " | ".join(str(self.per_doubling(words, layer, k)) for words in SHOWN)
                + " |"
            )
        lines += ["", "| per doubling of k | " + " | ".join(SHOWN) + " |", "| --- " * (1 + len(SHOWN)) + "|"]
        tables = [self.in_k(words) for words in SHOWN]
        for width in sorted({width for table in tables for width in table}):
            lines.append(f"| width {width:,} | " + " | ".join(str(table.get(width, "")) for table in tables) + " |")
        return "\n".join(lines)

    def by_layer(self) -> str:
        """A row for each layer: the mean over widths, and which layers differ."""
        if self.layers_k is None:
            return "Not measured."
        lines = ["| layer | " + " | ".join(SHOWN) + " |", "| --- " * (1 + len(SHOWN)) + "|"]
        columns, layers = [], sorted({layer for layer, k in self.series if k == self.layers_k})
        for words in SHOWN:
            values = self.of(words).xs(self.layers_k, level="k").rename("value").reset_index()
            seeds = (
                values.pivot_table(index=["layer", "train_seed"], columns="width", values="value")
                .mean(axis=1, skipna=False)
                .dropna()
            )
            pairs = compare([seeds.loc[layer] for layer in layers])
            apart = [
                f"{layers[i]} / {layers[j]}"
                for i, j, p in zip(pairs.first, pairs.second, pairs.adjusted, strict=True)
                if p < ALPHA
            ]
            columns.append(
                [
                    *(f"{mean:.3f} ± {error:.3f}" for mean, error in zip(pairs.means, pairs.error, strict=True)),
                    ", ".join(apart) or "none",
                ]
            )
        for i, layer in enumerate([*map(str, layers), "apart"]):
            lines.append(f"| {layer} | " + " | ".join(column[i] for column in columns) + " |")
        return "\n".join(lines)


def _entries(config: Path) -> int:
    """How many SAEs a config grows; `read_config` would look for those that they grow from."""
    return sum(len(entry["train_seed"]) for entry in yaml.safe_load(config.read_text())["saes"])


HEAD = """# The hedging degree by width, L0 and layer (row 21)

{grown} BatchTopK SAEs (the configs name {planned}; training goes on where it was broken off) of SmolLM2-135M, {narrowest} to {widest} latents, k {ks}, layers {layers}, grow by {added} latents and are trained on for {tokens} tokens, {seeds} training seeds; a copy that does not grow is trained on beside each (the
control), and another on another order of the data. After arXiv 2505.11756: how far the old rows' change (grown less control) reaches into the span of the new rows.

    OMP_NUM_THREADS=1 hedgebench train results/growth/grow-l0.yaml --out out/growth/l0
    for n in 8 12; do OMP_NUM_THREADS=1 hedgebench train results/hedging_estimate/train-layer$n.yaml --out out/estimate/layer$n; done
    for n in 4 20; do OMP_NUM_THREADS=1 hedgebench train results/growth/layers/train-$n.yaml --out out/growth/layer$n; done
    for n in 4 8 12 20; do OMP_NUM_THREADS=1 hedgebench train results/growth/layers/grow-$n.yaml --out out/growth/layers; done
    OMP_NUM_THREADS=1 hedgebench run results/growth/suite-where.yaml --out out/growth/where
    hedgebench table out/growth/where --out results/growth/where.parquet
    python results/pack.py out/growth/where results/growth/where-records.tar.xz
    hedgebench plot results/growth/where.parquet --out results/growth/where
    python results/growth/where.py                                                 # this page, from that table

![degree](where/grow_delta-degree-against-width.png)

![share](where/grow_delta-share-against-width.png)

[95 %] is Student's interval over the training seeds. The degree is held to a random span; the other columns are the mean projection beyond that of a harder null, in units of the old rows' length (`hedgebench list`, eval `grow_delta`).
"""
LAYERS = """Means over widths ± standard error over training seeds, each counted once; *apart*: layers that differ when all pairs are tested together at 5 % (`hedgebench.stats.pairwise.compare`).
"""
LIMITS = """## Limits

One model of 135M parameters and {seeds} seeds; SAEs grow after their training, for a fraction of its tokens, where the paper's grew while they trained. The same {added} rows are added at every width: many beside the narrowest SAE, few beside the widest. So the numbers say what an
old row gives up to {added} new ones, not all that it hedges of what the SAE lacks. The intervals hold training seeds only: one order of the data, one text; and beside other training seeds' rows each seed is held to the others, so that its values are not independent.
"""


def main() -> None:
    """Write the page."""
    write_text(HERE / "where.md", page(pd.read_parquet(HERE / "where.parquet")))


if __name__ == "__main__":
    main()
