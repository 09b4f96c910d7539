"""Rows 18, 19 and 21 of an SAE that grows while it trains, told from their table: `python results/growth/page.py` writes README.md beside it from scores.parquet, and nothing else decides a word of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hedgebench.markdown import markdown_table
from hedgebench.records import write_text
from hedgebench.stats.intervals import Interval, mean_interval, slope_interval, step_intervals
from hedgebench.verdicts import NOT_MEASURED, Claim, above, below, claim, claim_of_each, falls, in_all, listed, verdict

HERE = Path(__file__).parent
NULLS = {
    "isotropic": "a random span",
    "residual": "rows drawn like the control's residual",
    "reordered": "no new latents: the control trained on another data order, on the same new rows",
    "other_seed": "the new rows of the other training seeds",
}
PREDICTED = "reordered"
"""The null of what hedging predicts: new latents, and no hedging, change old rows as much as another order of the data does."""
ALIKE = 0.5
"""The symmetry from which on both sides change more alike than not."""


def page(scores: pd.DataFrame) -> str:
    """The page in Markdown."""
    grown = Grown(scores)
    facts = grown.facts()
    parts = [
        HEAD.format(**facts),
        "## What holds\n",
        *listed(grown.claims()),
        "\n## Which way: the share of the squared change that lies in a span\n",
        grown.shares(),
        "\n## How far: the mean projection of the change on it\n",
        grown.sizes(),
        "\n`scale`: how many times as far as the second control's the grown SAE's old rows turned outside the span, and `null: reordered` is drawn out by. Where it is far from 1, `excess` is an extrapolation.",
        "\n## Both sides: encoder columns\n",
        *grown.beside(),
        "\n## The decoder bias\n",
        BIAS,
        grown.norms(),
        "\n" + LIMITS.format(**facts),
    ]
    return "\n".join(parts) + "\n"


class Grown:
    """The rows of grow_delta, as a value for each width and training seed."""

    def __init__(self, scores: pd.DataFrame) -> None:
        self.scores = scores
        self.biases = scores[(scores["eval"] == "decoder_bias") & (scores["metric"] == "b_dec_norm")]
        rows = scores[(scores["eval"] == "grow_delta") & (scores["slice_by"] == "all")]
        self.values = rows.pivot_table(
            index=["width", "train_seed"], columns=["metric", "params"], values="value", aggfunc="mean"
        )
        first = self.values.iloc[0]
        self.added = round(float(self.values["rank", ""].max()))
        self.d = round(self.added / float(first["null_share", "null=isotropic"]))
        self.widths = sorted(int(w) for w in set(self.values.index.get_level_values("width")))
        self.seeds = sorted(int(s) for s in set(self.values.index.get_level_values("train_seed")))

    def of(self, metric: str, params: str = "") -> pd.Series[float]:
        """One number for each width and seed; empty where the table has none."""
        found = self.values.get((metric, params))
        return pd.Series(index=self.values.index[:0], dtype=float) if found is None else found.dropna()

    def by_width(self, metric: str, params: str = "") -> dict[int, Interval]:
        """Its interval over training seeds at each width."""
        return {int(width): mean_interval(of) for width, of in self.of(metric, params).groupby("width")}

    def overall(self, metric: str, params: str = "") -> Interval:
        """The interval over training seeds of each seed's mean over widths."""
        return mean_interval(self.of(metric, params).groupby("train_seed").mean().to_numpy())

    def held(self, metric: str, params: str) -> tuple[str, str]:
        """Whether a number is above 0, on average over widths and at which: the verdict, and the numbers; in part, where some widths are above for certain and some below, and the average is not."""
        if self.of(metric, params).empty:
            return "cannot tell", NOT_MEASURED
        at = self.by_width(metric, params)
        over = [str(width - self.added) for width, interval in at.items() if above(interval)]
        under = [str(width - self.added) for width, interval in at.items() if below(interval)]
        said = [f"{word} {', '.join(widths)}" for word, widths in (("above at", over), ("below at", under)) if widths]
        if untold := len(at) - len(over) - len(under):
            said.append(f"not to be told at {untold} of {len(at)} widths")
        overall = self.overall(metric, params)
        in_part = over and under and not below(overall)
        return "holds in part" if in_part else verdict(overall, above, below), "; ".join([str(overall), *said])

    def per_doubling(self, metric: str, params: str = "", given: str | None = None) -> Interval:
        """The interval over training seeds of the change when the width before growth doubles: the slope of a straight line in its log2.

        Args:
            metric: What changes.
            params: Of it.
            given: Another metric that is held equal: the slope is then one of two in a least-squares fit.
        """
        slopes = []
        for seed, one in self.of(metric, params).groupby("train_seed"):
            widths = np.log2(one.index.get_level_values("width").astype(float) - self.added)
            columns = [widths, np.ones(len(one))]
            if given is not None:
                columns.append(self.of(given).xs(seed, level="train_seed").loc[one.index.get_level_values("width")])
            slopes.append(float(np.linalg.lstsq(np.stack(columns, 1), one.to_numpy(), rcond=None)[0][0]))
        return mean_interval(slopes)

    def steps(self, metric: str, params: str = "") -> dict[str, Interval]:
        """From each width before growth to the next: the change, over training seeds."""
        one = self.of(metric, params)
        width, seed = (one.index.get_level_values(level) for level in ("width", "train_seed"))
        return step_intervals(width - self.added, one, seed)

    def _bias(self) -> Claim:
        """How the norm of the decoder bias goes with the width: the exponent of the width, and its logarithm's steps."""
        words = "The decoder bias's norm falls as the SAE grows, up to about d_model."
        rows = self.biases[self.biases["width"] < self.d]
        if rows.empty:
            return claim(words, "cannot tell", NOT_MEASURED)
        width, norm, seed = rows["width"].astype(int), np.log2(rows["value"]), rows["train_seed"]
        steps = step_intervals(width, norm, seed)
        means = rows.groupby("width")[["value", "l0"]].mean()
        first, last = means.iloc[0], means.iloc[-1]
        fall, numbers = falls(slope_interval(np.log2(width), norm, seed), steps, "as exponent of the width")
        ends = f"from {first['value']:.1f} at {means.index[0]} latents to {last['value']:.1f} at {means.index[-1]}"
        return claim(words, fall, f"{ends}, {numbers}; L0 goes from {first['l0']:.0f} to {last['l0']:.0f} meanwhile")

    def _with_hedging(self) -> Claim:
        """Whether SAEs of a larger decoder bias hedge more, as the widths of each training seed say."""
        words = "A larger norm of the decoder bias goes with more hedging (the hedging degree when the SAE grows next)."
        norms = self.biases.assign(width=self.biases["width"].astype(int) + self.added)
        norm = norms.set_index(["width", "train_seed"])["value"]
        both = pd.concat({"norm": norm, "degree": self.of("hedging_degree")}, axis=1).dropna()
        if both.empty:
            return claim(words, "cannot tell", NOT_MEASURED)
        found = slope_interval(both["norm"], both["degree"], both.index.get_level_values("train_seed"))
        return claim(
            words, verdict(found, above, below), f"over widths the degree rises by {found} with each unit of the norm"
        )

    def _alike(self) -> Claim:
        """Whether encoder columns change as decoder rows do, by the symmetry at each width."""
        words = f"Encoder columns change as decoder rows do, as hedging has them (our reading: a symmetry of {ALIKE} or more at every width)."
        at = self.by_width("symmetry")
        if not at:
            return claim(words, "cannot tell", NOT_MEASURED)
        alike = in_all([one.low >= ALIKE for one in at.values()], [one.high < ALIKE for one in at.values()])
        narrow, wide = min(at), max(at)
        numbers = f"{at[narrow]} at {narrow - self.added} latents, {at[wide]} at {wide - self.added}"
        return claim(words, alike, f"{numbers}; {self.per_doubling('symmetry')} per doubling")

    def facts(self) -> dict[str, Any]:
        """What was trained."""
        rows = self.scores[self.scores["eval"] == "grow_delta"]
        first = rows.iloc[0]
        l0 = rows.groupby("width")["l0"].mean()
        return {
            "tokens": f"{int(first['train_tokens']):,}",
            "seeds": len(self.seeds),
            "eval_seeds": rows["seed"].nunique(),
            "d": self.d,
            "added": self.added,
            "start": self.widths[0] - self.added,
            "scales": self._scales(),
            "l0_first": f"{l0.iloc[0]:.1f}",
            "l0_last": f"{l0.iloc[-1]:.1f}",
            "first": self.widths[0],
            "last": self.widths[-1],
        }

    def _scales(self) -> str:
        """How far the null without new latents is drawn out, from the narrowest to the widest."""
        means = self.of("scale", "null=reordered").groupby("width").mean()
        return (
            f", by {means.iloc[0]:.1f} (the narrowest) to {means.iloc[-1]:.1f} (the widest) times (`scale`)"
            if len(means)
            else ""
        )

    def shares(self) -> str:
        """The post's measure at each width, beside the same of every null; means over seeds."""
        columns = {"new rows": ("delta_share", "")}
        return self._table(columns | {f"null: {name}": ("null_share", f"null={name}") for name in NULLS})

    def sizes(self) -> str:
        """How far rows moved that way: g, and the same of every null; means over seeds."""
        columns = {"g": ("projection", ""), "null: isotropic (b)": ("baseline", "")}
        columns |= {f"null: {name}": ("null_projection", f"null={name}") for name in list(NULLS)[1:]}
        columns |= {"excess": ("excess", ""), "degree h": ("hedging_degree", ""), "symmetry": ("symmetry", "")}
        columns |= {
            "mean change": ("delta_norm", ""),
            "scale": ("scale", "null=reordered"),
            "live new latents": ("live_added", ""),
        }
        return self._table(columns)

    def _table(self, columns: dict[str, tuple[str, str]]) -> str:
        found = {words: at for words, column in columns.items() if (at := self.by_width(*column))}
        rows = (
            [
                f"{width - self.added} → {width}",
                *(f"{at[width].mean:.3f}" if width in at else "" for at in found.values()),
            ]
            for width in self.widths
        )
        return markdown_table(["width", *found], rows)

    def claims(self) -> list[Claim]:
        """The post's findings one by one, and the questions it did not ask."""
        given_live = self.per_doubling("delta_share", given="live_added")
        beyond, more = self.held("share_excess", "null=isotropic")
        fall, numbers = falls(self.per_doubling("delta_share"), self.steps("delta_share"))
        return [
            claim(
                "More of the change lies in the span of the new rows than in a random span (the post: 40 to 50 % of it, and 2 %; what no new latents would do is asked below).",
                beyond,
                f"the share is {self.overall('delta_share')}, beyond the random span's {self.added / self.d:.3f} by {more}",
            ),
            claim(
                "That share falls with width.",
                fall,
                f"{numbers}; with the share of live new latents held equal, by least squares, it {trend(given_live)} per doubling",
            ),
            self._bias(),
            self._with_hedging(),
            self._alike(),
            *(self._beyond(name, words) for name, words in list(NULLS.items())[1:]),
            claim(
                "Old decoder rows give some of themselves up to the new rows' span, beyond a random span (the paper's hedging degree, of an L1 SAE).",
                *self.held("hedging_degree", ""),
            ),
            claim(
                "The narrower, the larger the hedging degree of an L1 SAE.",
                *falls(self.per_doubling("hedging_degree"), self.steps("hedging_degree")),
            ),
        ]

    def _beyond(self, name: str, words: str) -> Claim:
        """Whether the change lies in the span beyond a harder null: by its share, and by its size."""
        found, null = {}, f"null={name}"
        for measure, metric in (("the share", "share_excess"), ("the projection g", "excess")):
            if self.of(metric, null).empty:
                continue
            held, numbers = self.held(metric, null)
            found[measure] = held, f"{numbers}; {trend(self.per_doubling(metric, null))} per doubling"
        if name == PREDICTED:
            return claim_of_each(
                f"What hedging predicts is borne out beyond what no new latents would do, too (`{name}`; the post holds the change to a random span).",
                found,
            )
        return claim_of_each(f"Some of the change lies beyond {words} (`{name}`).", found, ours=True)

    def beside(self) -> list[str]:
        """What the encoder says."""
        return [
            f"- Hedging degree (arXiv 2505.11756): decoder rows {self.overall('hedging_degree')}, encoder columns {self.overall('hedging_degree', 'weights=encoder')}.",
            f"- Encoder columns: share {self.overall('delta_share', 'weights=encoder')}; whether beyond no new latents: {' ('.join(self.held('excess', 'weights=encoder'))}).",
            f"- Symmetry (1: both sides changed alike, as hedging does; 0: one side alone, as absorption changes the encoder): {self.overall('symmetry')}.",
        ]

    def norms(self) -> str:
        """A row for each width: the norm of the decoder bias, and the L0."""
        rows = (
            [f"{width:,}", mean_interval(of["value"]), f"{of['l0'].mean():.0f}"]
            for width, of in self.biases.groupby("width")
        )
        return markdown_table(["width", "norm of the decoder bias", "L0"], rows)


def trend(slope: Interval) -> str:
    """A slope in words."""
    word = "rises" if above(slope) else "falls" if below(slope) else "neither rises nor falls for certain"
    return f"{word}, {slope}"


BIAS = """Norms at each width when training ends, [95 %] over training seeds; L0 is that of training.

![norm](decoder_bias-norm_against_width.png)
"""
HEAD = """# A growing SAE (rows 18 and 19, and 21 of L1)

An L1 SAE grows from {start} latents to {last}, {added} at a time, on the residual stream of SmolLM2-135M after layer 8 ({d} dimensions), after the post on feature hedging. At each
growth one copy stays behind and is trained on to the end without new latents: the control. Every width sees the same {tokens} tokens, in {seeds} training
seeds; L0 is {l0_first} at {first} latents and {l0_last} at {last}. How much of what old decoder rows changed (grown less control) lies in the span of the {added} new rows?

    OMP_NUM_THREADS=1 hedgebench train results/growth/train.yaml --out out/growth/saes
    OMP_NUM_THREADS=1 hedgebench run results/growth/suite.yaml --out out/growth/results
    hedgebench table out/growth/results --out results/growth/scores.parquet
    python results/pack.py out/growth/results results/growth/records.tar.xz
    hedgebench plot results/growth/scores.parquet --out results/growth
    python results/growth/page.py                                                  # this page, from that table

![share](grow_delta-share-against-width.png)

Means over training seeds, and in the next section over widths, too, each the mean of {eval_seeds} evaluation seeds; [95 %] is Student's interval over the training seeds. Widths are before growth (the figures have the width after it), except for the decoder bias. *g*: the mean projection of an old row's change on the new rows' span, in units of its length; *h*: the same beyond a random span, as the paper's hedging degree; *share*: how much of the squared change lies in that span. *Holds in part*: above 0 at some widths and below at others.
At which widths something lies above or below is told by each interval by itself; [figures.md](figures.md) counts widths by simultaneous ones, which are fewer. Metrics: `hedgebench list`, eval `grow_delta`.
"""
LIMITS = """## Limits

One model of 135M parameters, one layer, less than a hundredth of the post's tokens, and {seeds} seeds. The intervals hold training seeds only: one order of the data, one text;
and with `other_seed` each seed is held to the others, so that its values are not independent. After its growth an SAE trains on for fifteen sixteenths (the narrowest) to nine sixteenths (the widest) of the run: how far
rows move, and with it the projection and the hedging degree, shrinks with that, too. What no new latents would do is drawn out to how far the grown SAE's rows turned{scales}: where that is far from 1, what lies beyond it is an extrapolation. The random span of
{added} of {d} dimensions is larger here than in the post (64 of 2304: .028). The nulls `other_seed` and `residual` know part of the answer: other seeds add some of the same features, and what the
control leaves over is made of what it lacks. What the measures say where hedging is known: [toy worlds](../toy/growth.md).

L0 changes with the width, so that how much of what the bias does is the width's cannot be told ([what L0 does to it](../widths/README.md)). The SAE ends below d_model, and does not test what the post's bias does beyond it.
Over the widths of one SAE, norm and hedging go with each other where both go with the width."""


def main() -> None:
    """Write the page."""
    write_text(HERE / "README.md", page(pd.read_parquet(HERE / "scores.parquet")))


if __name__ == "__main__":
    main()
