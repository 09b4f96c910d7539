"""Row 22, told from its table: `python results/seeds/page.py` writes README.md beside it from scores.parquet, and nothing else decides a word of it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from hedgebench.markdown import markdown_table
from hedgebench.records import write_text
from hedgebench.stats.differences import Difference
from hedgebench.training.config import read_config
from hedgebench.verdicts import Claim, above, below, claim, claim_of_each, falls, in_all, judged, listed, so_far

HERE = Path(__file__).parent
NAMES = {"topk": "TopK", "batchtopk": "BatchTopK", "standard": "L1"}
THRESHOLD = "threshold=0.7"
HALF = 0.5
"""Of the latents: the paper says *only 30 %*, and not of which share it would not say *only*."""
CONFIGS = ("widths/train-batchtopk.yaml", "widths/train-l1.yaml", "seeds/train.yaml")


def page(scores: pd.DataFrame) -> str:
    """The page in Markdown."""
    found = Seeds(scores)
    return "\n".join(
        [
            HEAD.format(**found.facts()),
            "## What holds\n",
            *listed(found.claims()),
            "\n## Share of latents that another training seed has, too\n",
            found.shares(),
            "\n## Per doubling\n",
            found.slopes(),
            "\n## At equal L0\n",
            EQUAL,
            found.equal_l0(),
            "\n" + LIMITS.format(**found.facts()),
        ]
    )


def planned() -> int:
    """How many SAEs of the configs have another training seed to be held to."""
    saes = (sae for file in CONFIGS for sae in read_config(HERE.parent / file).saes)
    seeds = Counter(replace(sae, train_seed=0, name="") for sae in saes)
    return sum(number for number in seeds.values() if number > 1)


def combined(rows: Sequence[Any] | pd.DataFrame, weights: Sequence[float]) -> Difference:
    """A weighted sum of shared shares, which are independent, with its 95 % interval: Student's t with Satterthwaite's degrees of freedom, of standard errors over `n` seeds each."""
    table = pd.DataFrame(rows)
    parts, df = (np.asarray(weights) * table["stderr"].to_numpy()) ** 2, table["n"].to_numpy() - 1
    mean = float(np.dot(weights, table["value"]))
    degrees = float(parts.sum() ** 2 / (parts**2 / df).sum()) if parts.any() else float(df.min())
    reach = float(t.ppf(0.975, degrees) * np.sqrt(parts.sum()))
    return Difference(mean, mean - reach, mean + reach)


class Seeds:
    """The shared share of every group of training seeds, with its L0."""

    def __init__(self, scores: pd.DataFrame) -> None:
        here = scores["slice_by"] == "all"
        rows = scores[here & (scores["eval"] == "seed_overlap") & (scores["metric"] == "shared")]
        rows = rows[(rows["params"] == THRESHOLD) & rows["stderr"].notna()]
        each = scores[scores["train_seed"].notna()].drop_duplicates("sae")
        of = ["architecture", "k", "objective", "width"]
        # a group that was measured again when it had grown by a seed is in the table twice
        rows = rows[rows["n"] == rows.groupby(of, dropna=False)["n"].transform("max")]
        l0 = each.groupby(of, dropna=False)["l0"].mean().rename("measured_l0").reset_index()
        self.rows = rows.merge(l0, on=of, how="left").sort_values(["architecture", "k", "objective", "width"])
        self.saes = len(each.merge(self.rows[of].drop_duplicates(), on=of))
        self.rows["series"] = [_series(row) for row in self.rows.itertuples()]

    def facts(self) -> dict[str, Any]:
        """What was trained."""
        return {
            "saes": self.saes,
            "so_far": so_far(self.saes, planned()),
            "tokens": f"{int(self.rows['train_tokens'].dropna().iloc[0]):,}",
            "seeds": int(self.rows["n"].min()),
            "df": f"{self.rows['n'].min() - 1:.0f}",
            "l1_l0s": self._l1_l0s(),
            "narrower": f"{131_072 / self.rows['width'].max():.0f}",
        }

    def _l1_l0s(self) -> str:
        """The L0s of the L1 SAEs, weight by weight."""
        by_weight = self.rows[self.rows["architecture"] == "standard"].groupby("objective")["measured_l0"]
        return " and ".join(f"{of.min():.0f} to {of.max():.0f}" for _, of in by_weight)

    def slope(self, series: str) -> Difference:
        """The change of the share when the width doubles: least squares over widths."""
        rows = self.rows[self.rows["series"] == series]
        x = np.log2(rows["width"].astype(float))
        weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        return combined(rows, weights)

    def slope_in_k(self, architecture: str, width: int) -> Difference | None:
        """The change of the share when k doubles, at one width. None with one k."""
        rows = self.rows[(self.rows["architecture"] == architecture) & (self.rows["width"] == width)]
        if len(rows) < 2:
            return None
        x = np.log2(rows["k"].astype(float))
        weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        return combined(rows, weights)

    def differences(self, architecture: str) -> dict[tuple[int, float], Difference]:
        """By width and k: its share less that of L1 SAEs of the same width at an L0 of k, between the two measured L0s about it (a straight line in log L0). Where k lies beyond the measured L0s there is none."""
        found = {}
        for row in self.rows[self.rows["architecture"] == architecture].itertuples():
            l1 = self.rows[(self.rows["architecture"] == "standard") & (self.rows["width"] == row.width)]
            l1 = l1.dropna(subset=["measured_l0"]).sort_values("measured_l0")
            at = np.searchsorted(l1["measured_l0"], row.k)
            if not 0 < at < len(l1):
                continue
            low, high = l1.iloc[at - 1], l1.iloc[at]
            way = np.log(row.k / low["measured_l0"]) / np.log(high["measured_l0"] / low["measured_l0"])
            found[int(row.width), float(row.k)] = combined([row._asdict(), low, high], [1.0, way - 1.0, -way])
        return found

    @property
    def names(self) -> list[str]:
        """Of all series, BatchTopK and TopK by k, L1 by weight."""
        return list(dict.fromkeys(self.rows["series"]))

    def claims(self) -> list[Claim]:
        """What the paper's abstract says, one by one; then width and k, of which it says nothing."""
        widths = {
            name: falls(self.slope(name), self.steps(name))
            for name in self.names
            if (self.rows["series"] == name).sum() > 1
        }
        in_k = {
            f"{NAMES[architecture]}, width {width:,}": slope
            for architecture in ("topk", "batchtopk")
            for width in sorted(self.rows["width"].unique())
            if (slope := self.slope_in_k(architecture, width)) is not None
        }
        least = {
            f"{NAMES[architecture]}, width {width:,}, L0 {k:.0f}": difference
            for architecture in ("topk", "batchtopk")
            for (width, k), difference in self.differences(architecture).items()
        }
        return [
            claim_of_each(
                "SAEs that differ in their seed alone find other latents (the paper: only 30 % of 131,072 are shared; our reading: less than half are, at every width).",
                self._some(),
            ),
            claim_of_each("TopK shares less than L1 at equal L0.", judged(least, below, above)),
            claim(
                "Seeds differ so in several layers of three language models, on two texts.",
                "cannot tell",
                "one layer of one model here, on one text",
            ),
            claim_of_each("The wider, the less is shared.", widths, ours=True),
            claim_of_each(
                "The larger k, the less is shared.", judged(in_k, below, above, "per doubling of k"), ours=True
            ),
        ]

    def _some(self) -> dict[str, tuple[str, str]]:
        """Whether less than half of the latents are shared, series by series over widths, and the least and the most that are."""
        found = {}
        for name, rows in self.rows.groupby("series", sort=False):
            shared = {f"{row.width:,}": combined([row._asdict()], [1.0]) for row in rows.itertuples()}
            verdict = in_all([one.high < HALF for one in shared.values()], [one.low >= HALF for one in shared.values()])
            least, most = (choose(shared, key=lambda width: shared[width].mean) for choose in (min, max))
            numbers = f"{_share(shared[least])} at {least} latents"
            found[str(name)] = verdict, f"{numbers} to {_share(shared[most])} at {most}" if most != least else numbers
        return found

    def steps(self, series: str) -> dict[str, Difference]:
        """From each width to the next: the change of the share."""
        found = {}
        for low, high in itertools.pairwise(self.rows[self.rows["series"] == series].itertuples()):
            found[f"{low.width:,} to {high.width:,}"] = combined([high._asdict(), low._asdict()], [1.0, -1.0])
        return found

    def shares(self) -> str:
        """A row for each width, a column for each series."""
        lines = []
        for width, at in self.rows.groupby("width", sort=True):
            cells = []
            for name in self.names:
                rows = at[at["series"] == name]
                cells.append("".join(self._share(row) for row in rows.itertuples()))
            lines.append([f"{width:,}", *cells])
        return markdown_table(["width", *self.names], lines)

    def _share(self, row: Any) -> str:
        l0 = f" (L0 {row.measured_l0:.0f})" if row.architecture == "standard" else ""
        return f"{_share(combined([row._asdict()], [1.0]))}{l0}"

    def slopes(self) -> str:
        """A row for each series."""
        slopes = [(name, self.slope(name)) for name in self.names if (self.rows["series"] == name).sum() > 1]
        steps = [(f"{name}, {step}", change) for name in self.names for step, change in self.steps(name).items()]
        found = [
            markdown_table(["series", "per doubling of the width"], slopes),
            markdown_table(["from each width to the next", "change"], steps),
        ]
        at = {
            width: [self.slope_in_k(architecture, width) for architecture in ("topk", "batchtopk")]
            for width in sorted(self.rows["width"].unique())
        }
        in_k = [[f"{width:,}", *(one or "" for one in slopes)] for width, slopes in at.items() if any(slopes)]
        if in_k:
            columns = ["at width", *(f"{NAMES[a]}, per doubling of k" for a in ("topk", "batchtopk"))]
            found.append(markdown_table(columns, in_k))
        return "\n\n".join(found)

    def equal_l0(self) -> str:
        """A row for each width and k."""
        topk, batchtopk = self.differences("topk"), self.differences("batchtopk")
        lines = (
            [f"{width:,}", f"{k:.0f}", topk.get((width, k), ""), batchtopk.get((width, k), "")]
            for width, k in sorted({*topk, *batchtopk})
        )
        return markdown_table(["width", "L0", "TopK − L1", "BatchTopK − L1"], lines)


def _share(found: Difference) -> str:
    """A share with its interval, which ends where shares do."""
    return f"{found.mean:.3f} [{max(found.low, 0.0):.3f}, {min(found.high, 1.0):.3f}]"


def _series(row: Any) -> str:
    setting = f"weight {row.objective.removeprefix('l1=')}" if row.architecture == "standard" else f"k {row.k:.0f}"
    return f"{NAMES[row.architecture]}, {setting}"


HEAD = """# Do training seeds find the same latents? (row 22)

{saes} TopK, BatchTopK and L1 SAEs of the residual stream of SmolLM2-135M after layer 8, {tokens} tokens each, {seeds} training seeds on the same data, after arXiv 2501.16615. A latent is shared where the best pairings by
encoder and by decoder give it the same counterpart, and both cosines are .7 at least (`hedgebench list`, eval `seed_overlap`).

    OMP_NUM_THREADS=1 hedgebench train results/widths/train-batchtopk.yaml --out out/widths/saes
    OMP_NUM_THREADS=1 hedgebench train results/widths/train-l1.yaml --out out/widths/saes
    OMP_NUM_THREADS=1 hedgebench train results/seeds/train.yaml --out out/seeds/saes
    OMP_NUM_THREADS=1 hedgebench run results/seeds/suite.yaml --out out/seeds/results
    hedgebench table out/seeds/results --out results/seeds/scores.parquet
    python results/pack.py out/seeds/results results/seeds/records.tar.xz
    hedgebench plot results/seeds/scores.parquet --out results/seeds
    python results/seeds/page.py                                                   # this page, from that table

![shared](seed_overlap-shared_vs_width.png)

Means over pairs of seeds; [95 %] by a jackknife over the {seeds} seeds ({df} degrees of freedom each, combined after Satterthwaite).
"""
EQUAL = """L1 SAEs have no k: their share at an L0 of k is read between the two weights whose L0s at the end of training are about it.
"""
LIMITS = """## Limits

{so_far}One model of 135M parameters, one layer, {tokens} tokens (fewer than a thousand steps: what longer training would make alike is not) and {seeds} seeds, so that intervals are wide; seeds draw the start alone, and see the same batches in the same order. Shares of different SAEs are taken as independent, though SAEs of one seed start alike where their widths are equal. L1 SAEs at an L0 of k are none of those that were trained: their share there is read between two weights, of L0 {l1_l0s}. The paper's SAEs have 131,072 latents, {narrower} times as many as the widest here.
"""


def main() -> None:
    """Write the page."""
    write_text(HERE / "README.md", page(pd.read_parquet(HERE / "scores.parquet")))


if __name__ == "__main__":
    main()
