"""Rows 19 and 20, told from their table: `python results/widths/page.py` writes README.md beside it from scores.parquet, and nothing else decides a word of it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hedgebench.markdown import markdown_table
from hedgebench.records import write_text
from hedgebench.stats.differences import Difference, oriented
from hedgebench.stats.effects import effects
from hedgebench.stats.intervals import Interval, complete, mean_interval, slope_interval, step_intervals
from hedgebench.training.config import read_config
from hedgebench.verdicts import Claim, above, below, claim, claim_of_each, falls, judged, listed, rises, so_far

HERE = Path(__file__).parent
NORM = ("decoder_bias", "b_dec_norm")
EXPLAINED = ("saebench_core", "explained_variance")
EXPONENT = "as exponent of the width"
FAMILIES = {"batchtopk": "BatchTopK", "standard": "L1"}


def page(scores: pd.DataFrame) -> str:
    """The page in Markdown."""
    found = Widths(scores)
    return "\n".join(
        [
            HEAD.format(**found.facts()),
            "## What holds\n",
            *listed(found.claims()),
            "\n## The norm of the decoder bias\n",
            found.norms(),
            "\n## Per doubling of the width\n",
            SLOPES.format(**found.facts()),
            found.slopes(),
            "\n## At another L0\n",
            EFFECTS,
            found.by_l0(),
            "\n" + LIMITS.format(**found.facts()),
        ]
    )


class Widths:
    """The decoder bias of every SAE, by series: an architecture with its k or its L1 weight."""

    def __init__(self, scores: pd.DataFrame) -> None:
        self.scores = scores
        self.rows, self.explained = (_of_series(scores, *metric) for metric in (NORM, EXPLAINED))
        self.d_in = int(scores.loc[scores["metric"] == "d_in", "value"].iloc[0])

    def facts(self) -> dict[str, Any]:
        """What was trained."""
        saes = self.rows["sae"].nunique()
        planned = sum(len(read_config(HERE / f"train-{name}.yaml").saes) for name in ("batchtopk", "l1"))
        return {
            "saes": saes,
            "so_far": so_far(saes, planned),
            "narrowest": f"{self.rows['width'].min():,}",
            "widest": f"{self.rows['width'].max():,}",
            "tokens": f"{int(self.rows['train_tokens'].iloc[0]):,}",
            "seeds": self.rows["train_seed"].nunique(),
            "d": self.d_in,
            "short": self._short(),
            "few": self._few(),
        }

    def _few(self) -> str:
        """Whether some SAEs have fewer seeds than others, in words."""
        seeds = self.rows.groupby(["series", "width"])["train_seed"].nunique()
        return ", of some SAEs fewer (the table says so)" if seeds.min() < seeds.max() else ""

    def _explain_less(self, series: str, above: int = 0) -> list[str]:
        """From which width to the next the SAEs of a series certainly explain less, of those above one, and how much."""
        rows = self.explained[(self.explained["series"] == series) & (self.explained["width"] > above)]
        steps = step_intervals(rows["width"].astype(int), rows["value"], rows["train_seed"])
        return [f"from {step} latents ({change} of the variance)" for step, change in steps.items() if below(change)]

    def _short(self) -> str:
        """A sentence on these; empty where there are none."""
        found = [f"{name}, {step}" for name in self.names for step in self._explain_less(name)]
        if not found:
            return ""
        return f"Some explain less than narrower ones, as those trained to their end would not: {'; '.join(found)}. What the norm does there may be of that. "

    def slope(self, series: str, beyond: bool) -> Interval | None:
        """The exponent of the width in the norm, its interval over training seeds: over the widths up to d_in, or beyond it. None where those are fewer than three."""
        rows = self._whole(series, beyond)
        if rows["width"].nunique() < 3:
            return None
        return slope_interval(np.log2(rows["width"].astype(float)), np.log2(rows["value"]), rows["train_seed"])

    def _whole(self, series: str, beyond: bool) -> pd.DataFrame:
        """The rows of a series up to d_in, or beyond it, without the widths that most seeds lack."""
        rows = self.rows[(self.rows["series"] == series) & ((self.rows["width"] > self.d_in) == beyond)]
        return rows[complete(rows["width"], rows["train_seed"])]

    def _steps(self, series: str, beyond: bool) -> dict[str, Interval]:
        """From each width to the next: the exponent."""
        rows = self._whole(series, beyond)
        return step_intervals(rows["width"].astype(int), np.log2(rows["value"]), rows["train_seed"])

    @property
    def names(self) -> list[str]:
        """Of all series."""
        return sorted(self.rows["series"].unique())

    def claims(self) -> list[Claim]:
        """The post's findings one by one."""
        wide = {name: slope for name in self.names if (slope := self.slope(name, beyond=True)) is not None}
        too_wide = f"no SAE here has more than {self.rows['width'].max():,} latents"
        return [
            claim_of_each(
                "The norm falls with the width, up to about d_model (of SAEs that are trained by themselves, where the post's grew).",
                self._narrow(),
            ),
            claim_of_each("Beyond d_model it rises.", {name: self._wide(name, slope) for name, slope in wide.items()}),
            claim_of_each(
                "It rises as √n would, by an exponent of .5 of the width (the post's guess, of where the rise goes once the random part is most of the norm).",
                {name: self._root(name, slope) for name, slope in wide.items()},
            ),
            *(
                claim(f"At 16k to 1M latents {words}, as the post sees in Gemma Scope's SAEs.", "cannot tell", too_wide)
                for words in (
                    "it falls with the width",
                    "it is much smaller at a lower L0, most of all in the widest SAEs",
                )
            ),
            *(self._lower(family) for family in FAMILIES.values()),
        ]

    def _narrow(self) -> dict[str, tuple[str, str]]:
        """Whether the norm falls up to d_in, series by series; and what the L0 does meanwhile, where it is not held."""
        found = {}
        for name in self.names:
            if (slope := self.slope(name, beyond=False)) is None:
                found[name] = "cannot tell", f"fewer than three widths up to {self.d_in}"
                continue
            rows = self._whole(name, beyond=False)
            verdict, numbers = falls(slope, self._steps(name, beyond=False), EXPONENT)
            if rows["objective"].notna().any():
                l0 = rows.groupby("width")["l0"].mean()
                numbers += f"; L0 goes from {l0.iloc[0]:.0f} to {l0.iloc[-1]:.0f} meanwhile"
            found[name] = verdict, numbers
        return found

    def _wide(self, name: str, slope: Interval) -> tuple[str, str]:
        """Whether the norm rises beyond d_in; and the SAEs there that explain less than narrower ones."""
        verdict, numbers = rises(slope, self._steps(name, beyond=True), EXPONENT)
        short = [f"they explain less {step}" for step in self._explain_less(name, above=self.d_in)]
        return verdict, "; ".join([numbers, *short])

    def _root(self, name: str, slope: Interval) -> tuple[str, str]:
        """Whether the exponent beyond d_in is .5; in part, where it is that of the last step alone."""

        def is_root(one: Interval) -> bool:
            # an interval that holds 0 or 1, too, says nothing of .5
            return 0 < one.low < 0.5 < one.high < 1

        words, last = list(self._steps(name, beyond=True).items())[-1]
        verdict = "cannot tell"
        if is_root(slope):
            verdict = "holds"
        elif slope.high < 0.5 or slope.low > 0.5:
            verdict = "holds in part" if is_root(last) else "does not hold"
        return verdict, f"{slope}; from {words} {last}"

    def _lower(self, family: str) -> Claim:
        """Whether the norm is smaller at a lower L0, by k or by the weight of L1."""
        mine = [one for one in self._by_l0 if one.family == family]
        found = {f"{one.lower} − {one.higher} at {one.at} latents": one.difference for one in mine}
        widths = sorted(width for one in mine for width in one.widths)
        of = f" of {widths[0]:,} to {widths[-1]:,} latents" if widths else ""
        return claim_of_each(
            f"It is smaller at a lower L0 here, too ({family} SAEs{of}).", judged(found, below, above), ours=True
        )

    @cached_property
    def _by_l0(self) -> list[_Compared]:
        """What k, or the L1 weight, does to the norm on average over widths."""
        rows = self.rows.drop(columns="series")
        l1 = rows["architecture"] == "standard"
        of_k, of_l1 = effects(rows[~l1], "k", "width"), effects(rows[l1], "objective", "width")
        return [_compared(row) for row in [*of_k.itertuples(), *of_l1.itertuples()]]

    def norms(self) -> str:
        """A row for each width, a column for each series: mean and interval over training seeds."""
        lines = []
        for width, at in self.rows.groupby("width", sort=True):
            cells = []
            for name in self.names:
                values = at.loc[at["series"] == name, "value"]
                cells.append(str(mean_interval(values)) if len(values) else "")
            lines.append([f"{width:,}", *cells])
        return markdown_table(["width", *self.names], lines)

    def slopes(self) -> str:
        """A row for each series."""
        lines = ([name, *(self.slope(name, beyond) or "" for beyond in (False, True))] for name in self.names)
        return markdown_table(["series", f"exponent up to {self.d_in}", "beyond"], lines)

    def by_l0(self) -> str:
        """A row for each pair."""
        columns = ["architecture", "lower L0", "higher L0", "widths", "difference of the norm", "found 4 times in 5"]
        lines = (
            [one.family, one.lower, one.higher, one.at, one.difference, f"{one.detectable:.3g}"] for one in self._by_l0
        )
        return markdown_table(columns, lines)


class _Compared(NamedTuple):
    """The norm at two L0s."""

    family: str
    lower: str
    """The setting that gives the lower L0; likewise `higher`."""
    higher: str
    widths: tuple[int, ...]
    difference: Difference
    """Of the lower less the higher L0."""
    detectable: float

    @property
    def at(self) -> str:
        """The widths in words."""
        return ", ".join(f"{width:,}" for width in self.widths)


def _compared(row: Any) -> _Compared:
    """A row of `effects`: a smaller k, or a larger weight, gives the lower L0."""
    is_l1 = row.architecture == "standard"
    lower, higher = sorted((row.first, row.second), key=lambda one: float(one.removeprefix("l1=")), reverse=is_l1)
    names = (f"{'weight' if is_l1 else 'k'} {one.removeprefix('l1=')}" for one in (lower, higher))
    widths = tuple(map(int, row.over.split()))
    return _Compared(FAMILIES[row.architecture], *names, widths, oriented(row, lower), row.detectable)


def _of_series(scores: pd.DataFrame, name: str, metric: str) -> pd.DataFrame:
    """The rows of a metric, with the series that each SAE is of."""
    rows = scores[(scores["eval"] == name) & (scores["metric"] == metric) & (scores["slice_by"] == "all")]
    return rows.assign(series=[_series(row) for row in rows.itertuples()])


def _series(row: Any) -> str:
    return (
        f"L1, weight {row.objective.removeprefix('l1=')}"
        if row.architecture == "standard"
        else f"BatchTopK, k {row.k:.0f}"
    )


HEAD = """# The decoder bias against width (rows 19 and 20)

{saes} BatchTopK and L1 SAEs of the residual stream of SmolLM2-135M after layer 8 ({d} dimensions), {narrowest} to {widest} latents, {tokens} tokens each, {seeds} training seeds. After the post on feature hedging, which grew
one L1 SAE of Gemma-2-2b, and read Gemma Scope's.

    OMP_NUM_THREADS=1 hedgebench train results/widths/train-batchtopk.yaml --out out/widths/saes
    OMP_NUM_THREADS=1 hedgebench train results/widths/train-l1.yaml --out out/widths/saes
    OMP_NUM_THREADS=1 hedgebench run results/widths/suite.yaml --out out/widths/results
    hedgebench table out/widths/results --out results/widths/scores.parquet
    python results/pack.py out/widths/results results/widths/records.tar.xz
    hedgebench plot results/widths/scores.parquet --out results/widths
    python results/widths/page.py                                                  # this page, from that table

![norm](decoder_bias-norm_against_width.png)
"""
SLOPES = """The slope of log norm on log width, by least squares for each training seed; [95 %] is Student's interval over the seeds; a width that most seeds lack is left out. .5 is what the post's explanation by random vectors (√n) would give.
"""
EFFECTS = """Means over the widths that both have; simultaneous 95 % intervals (`hedgebench.stats.effects`).
"""
LIMITS = """## Limits

{so_far}One model of 135M parameters, one layer, {tokens} tokens and fewer than a thousand steps, so that biases may be far from where they would end, those of narrow SAEs, too: the SAEs of [row 18](../growth/README.md), of L1 weight 1 like some here, have eight times as many steps, and other norms. Which way the norm goes may be a matter of the steps. {short}There are {seeds} seeds{few}. Each width is trained by itself, where the post's SAE grew (one that grows here has [a page of its own](../growth/README.md)). L1 SAEs of one weight differ in L0 between widths, and the weight
changes how far latents shrink, not L0 alone. The post's claims about SAEs of 16k latents and more are of Gemma Scope's, which are not read here.
"""


def main() -> None:
    """Write the page."""
    write_text(HERE / "README.md", page(pd.read_parquet(HERE / "scores.parquet")))


if __name__ == "__main__":
    main()
