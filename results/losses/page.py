"""Rows 15 to 17, told from their table: `python results/losses/page.py` writes README.md beside it from scores.parquet, and nothing else decides a word of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t

from hedgebench.records import write_text
from hedgebench.stats.effects import effects
from hedgebench.stats.pairwise import ALPHA, holm
from hedgebench.stats.tables import control_rows, summary
from hedgebench.training.config import read_config

HERE = Path(__file__).parent
LOSSES = ("mse", "l2", "snap")
LEVELS = ("matryoshka_batchtopk", "batchtopk")
ARCHITECTURES = {"batchtopk": "BatchTopK", "matryoshka_batchtopk": "Matryoshka"}


class Shown(NamedTuple):
    """A metric on the page."""

    words: str
    eval: str
    metric: str
    params: str = ""


POST = [
    Shown("explained variance", "saebench_core", "explained_variance"),
    Shown("absorption, full", "saebench_absorption", "mean_full_absorption_score"),
    Shown("absorption, fraction", "saebench_absorption", "mean_absorption_fraction_score"),
    Shown("TPP", "saebench_tpp", "tpp_total_metric", "n=10"),
    Shown("SCR", "saebench_scr", "scr_metric", "n=10"),
    Shown("sparse probing, k = 1", "saebench_sparse_probing", "sae_top_k_test_accuracy", "k=1"),
    Shown("autointerp", "saebench_autointerp", "autointerp_score"),
]
"""What the post on feature hedging draws: the Pareto picture and six panels."""
BESIDE = [
    Shown("L0", "saebench_core", "l0"),
    Shown("loss recovered", "saebench_core", "ce_loss_score"),
    Shown("latents alive", "saebench_core", "frac_alive"),
    Shown("sae-probes, k = 16", "saebench_sae_probes", "sae_top_k_test_accuracy", "k=16"),
    Shown("decoder bias norm", "decoder_bias", "b_dec_norm"),
    Shown("decoder bias, cosine with the mean activation", "bias_alignment", "cosine_mean"),
    Shown("largest cosine with another decoder row", "decoder_similarity", "max_cosine"),
    Shown("latents shared with other training seeds", "seed_overlap", "shared"),
]
"""What else tells of hedging, and whether SAEs of equal k are alike in L0."""
GROWN = [
    Shown("hedging degree", "grow_delta", "hedging_degree"),
    Shown("hedging beyond rows like the residual", "grow_delta", "excess", "null=residual"),
    Shown("hedging beyond other training seeds' rows", "grow_delta", "excess", "null=other_seed"),
    Shown("hedging beyond no new latents", "grow_delta", "excess"),
]
"""How much the decoder rows give up to new latents when SAEs of this kind grow."""
EVERY = [*POST, *BESIDE, *GROWN]


def page(scores: pd.DataFrame) -> str:
    """The page in Markdown."""
    found = Found(scores)
    return "\n".join(
        [
            HEAD.format(**found.facts()),
            "## What holds\n",
            *found.claims(),
            "\n## What the loss does\n",
            LOSS.format(tests=len(found.loss), alpha=f"{ALPHA:.0%}".replace("%", " %")),
            *(found.losses(architecture) for architecture in ARCHITECTURES),
            "## What Matryoshka levels do\n",
            ARCHITECTURE.format(**found.facts(), pooled=len(found.pooled), tests=len(found.architecture)),
            found.architectures(),
            "\n## What balance does\n",
            BALANCE.format(tests=len(found.balance)),
            found.balances(),
            "\n## Beyond controls\n",
            found.controls(),
            "\n" + LIMITS.format(**found.facts()),
        ]
    )


class Found:
    """What the scores table says of losses, levels and balance."""

    def __init__(self, scores: pd.DataFrame) -> None:
        scores = self.scores = _on_the_page(scores)
        plain = scores[scores["objective"].fillna("") == ""]
        self.loss = _every(_shown(effects(plain, "loss", "k")))
        self.architecture = _every(_shown(effects(plain, "architecture", "k")))
        self.pooled = _every(_shown(effects(plain, "architecture", ["loss", "k"])))
        self.balance = _every(_shown(effects(_balanced(scores[scores["loss"] == "mse"]), "objective", "k")))
        self.l0 = _shown(effects(plain, "k", "loss"))

    def facts(self) -> dict[str, Any]:
        """What was trained."""
        scores = self.scores[self.scores["eval"] != "grow_delta"]
        saes = scores[~scores["sae"].isin(control_rows(scores))].drop_duplicates("sae")
        return {
            "saes": len(saes),
            "planned": sum(len(read_config(HERE / f"train-{name}.yaml").saes) for name in ("batchtopk", "matryoshka")),
            "width": f"{int(saes['width'].iloc[0]):,}",
            "tokens": f"{int(saes['train_tokens'].iloc[0]):,}",
            "seeds": saes["train_seed"].nunique(),
            "eval_seeds": self.scores["seed"].nunique(),
            "ks": ", ".join(f"{k:.0f}" for k in sorted(saes["k"].unique())),
        }

    def claims(self) -> list[str]:
        """The post's findings one by one."""
        shown = {shown.words: shown for shown in POST}
        matryoshka = "matryoshka_batchtopk"
        variance = shown["explained variance"]
        better = {words: self._levels(shown[words]) for words in shown}
        return [
            f"- **No difference between losses in the L0 / explained-variance curves (BatchTopK).** {self._none([variance], 'batchtopk', 'Not to be told from none')} {self._beside_l0(variance)}".rstrip(),
            f"- **The same of Matryoshka SAEs.** {self._none([variance], matryoshka, 'Not to be told from none')}",
            f"- **Matryoshka SAEs absorb less.** Full: {better['absorption, full']}; fraction: {better['absorption, fraction']}.",
            f"- **Matryoshka SAEs are better on TPP.** {better['TPP']}.",
            f"- **... and seem so on SCR.** {better['SCR']}.",
            f"- **... and appear so in sparse probing with one latent.** {better['sparse probing, k = 1']}.",
            f"- **Autointerp is too noisy to conclude.** That Matryoshka SAEs are better: {better['autointerp']}. Losses: {self._none([shown['autointerp']], 'batchtopk')}",
            f"- **The losses of Matryoshka SAEs cannot be told apart on these six.** {self._none(POST[1:], matryoshka)}",
            f"- **Nor can those of BatchTopK SAEs.** {self._none(POST[1:], 'batchtopk')}",
            f"- **L2 and snap hedge less than mse, as in toy worlds (BatchTopK SAEs that grow).** {self._hedging('batchtopk')}",
            f"- **The same of Matryoshka SAEs that grow.** {self._hedging(matryoshka)}",
            f"- **Some multiplier between BatchTopK (0) and Matryoshka (1) is better than both, as in toy worlds.** {self._between()}",
        ]

    def _between(self) -> str:
        """On which metrics of the post a multiplier between beats both ends, and what beats it."""
        if not self._levels_between():
            return "Cannot tell: not measured."
        beaten = dict[str, list[str]]()
        for shown in POST:
            rows = self.balance[(self.balance["words"] == shown.words) & self.balance["real"]]
            wins = {(row.first, row.second) for row in rows.itertuples() if row.better == "first"}
            wins |= {(row.second, row.first) for row in rows.itertuples() if row.better == "second"}
            both = [level for level in self._levels_between() if {(level, ""), (level, "balance=0")} <= wins]
            if both:
                beaten[shown.words] = [level.removeprefix("balance=") for level in both]
        if not beaten:
            return f"Cannot tell: on none of {len(POST)} metrics is one of {len(self._levels_between())} multipliers better than both ends for certain."
        said = "; ".join(f"{words} ({', '.join(levels)})" for words, levels in beaten.items())
        return f"Holds on {len(beaten)} of {len(POST)} metrics: {said}."

    def _levels_between(self) -> list[str]:
        """The multipliers strictly between the ends."""
        return sorted({*self.balance["first"], *self.balance["second"]} - {"", "balance=0"})

    def _none(self, shown: list[Shown], architecture: str, verdict: str = "Holds") -> str:
        """Whether no loss differs from another, and what would have been found; `verdict` where none does."""
        rows = self.loss[
            (self.loss["architecture"] == architecture) & self.loss["words"].isin([s.words for s in shown])
        ]
        if rows.empty:
            return "Cannot tell: not measured."
        real = rows[rows["real"]]
        many = f" on {len(shown)} metrics" if len(shown) > 1 else ""
        if real.empty:
            least = "; ".join(
                f"{words} {size:.3g}" for words, size in rows.groupby("words", sort=False)["detectable"].max().items()
            )
            return (
                f"{verdict}: none of {len(rows)} differences{many} is real. Found four times in five would be: {least}."
            )
        said = "; ".join(f"{row.words}: {row.first} less {row.second} {_interval(row)}" for row in real.itertuples())
        return f"Does not hold: {len(real)} of {len(rows)} differences{many} are real: {said}."

    def _hedging(self, architecture: str) -> str:
        """Whether L2 and snap hedge less than mse: by the degree, and beyond all nulls."""
        rows = self.loss[self.loss["words"].isin([shown.words for shown in GROWN])]
        rows = rows[rows["architecture"] == architecture]
        if rows.empty:
            return "Cannot tell: not measured."
        said = []
        for loss in ("l2", "snap"):
            pairs = rows[rows[["first", "second"]].isin([loss, "mse"]).all(axis=1)]
            change = np.where(pairs["first"] == loss, 1, -1) * pairs["difference"] * pairs["real"]
            word = "cannot tell"
            if (change != 0).any():
                word = "holds" if (change < 0).all() else "the opposite holds" if (change > 0).all() else "in part"
            cells = (f"{words} {_difference(of, loss, 'mse')}" for words, of in pairs.groupby("words", sort=False))
            said.append(f"{loss}: {word} ({'; '.join(cells)})")
        return f"{'. '.join(said)}."

    def _levels(self, shown: Shown) -> str:
        """Whether Matryoshka SAEs are better than BatchTopK SAEs, over all losses; and loss by loss."""
        rows = self.pooled[self.pooled["words"] == shown.words]
        if rows.empty:
            return "cannot tell: not measured"
        word = "cannot tell"
        if rows["real"].item():
            word = "holds" if rows[rows["better"].item()].item() == "matryoshka_batchtopk" else "the opposite holds"
        by_loss = self.architecture[self.architecture["words"] == shown.words]
        said = ", ".join(f"{row.loss} {-row.difference:+.3f}" for row in by_loss.itertuples())
        return f"{word} ({_difference(rows, *LEVELS)}; {said})"

    def _beside_l0(self, shown: Shown) -> str:
        """How large the largest difference between losses is beside what L0 does."""
        rows = self.loss[(self.loss["words"] == shown.words) & (self.loss["architecture"] == "batchtopk")]
        ks = self.l0[(self.l0["words"] == shown.words) & (self.l0["architecture"] == "batchtopk")]
        if rows.empty or ks.empty:
            return ""
        step = ks[(ks["first"].astype(float) * 2) == ks["second"].astype(float)]
        if step.empty:
            return ""
        size = float(step["difference"].abs().min())
        return f"The largest is {rows['difference'].abs().max():.4f}, beside {size:.3f} for the last doubling of k."

    def losses(self, architecture: str) -> str:
        """A row for each metric: means over L0s, differences with simultaneous intervals, what would be found."""
        rows = self.loss[self.loss["architecture"] == architecture]
        lines = [
            f"\n**{ARCHITECTURES[architecture]}**\n",
            "| metric | mse | l2 | snap | l2 − mse | snap − mse | snap − l2 | real | found 4 times in 5 |",
            "| --- " * 9 + "|",
        ]
        for words, pairs in rows.groupby("words", sort=False):
            means = _means(pairs)
            cells = [f"{means[loss]:.3f}" if loss in means else "" for loss in LOSSES]
            cells += [_difference(pairs, *pair) for pair in (("l2", "mse"), ("snap", "mse"), ("snap", "l2"))]
            real = [f"{row.first} / {row.second}" for row in pairs[pairs["real"]].itertuples()]
            lines.append(
                f"| {words} | "
                + " | ".join([*cells, ", ".join(real) or "none", f"{pairs['detectable'].max():.3g}"])
                + " |"
            )
        return "\n".join([*lines, ""])

    def architectures(self) -> str:
        """A row for each metric: Matryoshka less BatchTopK, for each loss."""
        lines = [
            "| metric | all losses | real | " + " | ".join(LOSSES) + " | real for | better |",
            "| --- " * 8 + "|",
        ]
        for words, rows in self.architecture.groupby("words", sort=False):
            pooled = self.pooled[self.pooled["words"] == words]
            cells = [_difference(pooled, *LEVELS), "yes" if pooled["real"].any() else "no"]
            cells += [_difference(rows[rows["loss"] == loss], *LEVELS) for loss in LOSSES]
            real = rows[rows["real"]]
            better = {
                ARCHITECTURES[row.first if row.better == "first" else row.second]
                for row in [*real.itertuples(), *pooled[pooled["real"]].itertuples()]
                if row.better
            }
            lines.append(
                f"| {words} | "
                + " | ".join([*cells, ", ".join(real["loss"]) or "none", ", ".join(sorted(better))])
                + " |"
            )
        return "\n".join(lines)

    def balances(self) -> str:
        """A row for each metric: every multiplier less plain Matryoshka (1)."""
        levels = sorted({*self.balance["first"], *self.balance["second"]} - {""})
        lines = [
            "| metric | 1 (plain) | "
            + " | ".join(f"{level.removeprefix('balance=')} − 1" for level in levels)
            + " | real | found 4 times in 5 |",
            "| --- " * (len(levels) + 4) + "|",
        ]
        for words, rows in self.balance.groupby("words", sort=False):
            means = _means(rows)
            cells = [f"{means['']:.3f}"] + [_difference(rows, level, "") for level in levels]
            real = [
                f"{row.first or '1'} / {row.second or '1'}".replace("balance=", "")
                for row in rows[rows["real"]].itertuples()
            ]
            lines.append(
                f"| {words} | "
                + " | ".join([*cells, ", ".join(real) or "none", f"{rows['detectable'].max():.3g}"])
                + " |"
            )
        return "\n".join(lines)

    def controls(self) -> str:
        """A row for each metric of the post: the best variant and the controls."""
        table = summary(self.scores[self.scores["slice_by"] == "all"])
        controls = control_rows(self.scores)
        lines = [
            "| metric | variants | " + " | ".join(name.split("/")[-1] for name in controls) + " |",
            "| --- " * (2 + len(controls)) + "|",
        ]
        for shown in POST:
            rows = table[
                (table["eval"] == shown.eval) & (table["metric"] == shown.metric) & (table["params"] == shown.params)
            ]
            saes, means = rows[~rows["saes"].isin(controls)], rows.set_index("saes")["mean"]
            lines.append(
                f"| {shown.words} | {saes['mean'].min():.3f} to {saes['mean'].max():.3f} | "
                + " | ".join(f"{means[name]:.3f}" if name in means else "" for name in controls)
                + " |"
            )
        return "\n".join(lines)


def _on_the_page(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the page's metrics: thousands of others, of single latents and words, are a hundred times as much work."""
    metrics = [tuple(shown[1:]) for shown in EVERY]
    keys = zip(scores["eval"], scores["metric"], scores["params"], strict=True)
    return scores[(scores["slice_by"] == "all") & np.array([key in metrics for key in keys], dtype=bool)]


def _balanced(scores: pd.DataFrame) -> pd.DataFrame:
    """BatchTopK SAEs as what they are among balanced ones: Matryoshka SAEs whose lower levels count 0 times in the loss."""
    flat = scores["architecture"] == "batchtopk"
    return scores.assign(
        objective=scores["objective"].mask(flat, "balance=0"),
        architecture=scores["architecture"].mask(flat, "matryoshka_batchtopk"),
    )


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the page's metrics, in its order, with their words."""
    rows = rows[rows["slice_by"] == "all"]
    keys = list(zip(rows["eval"], rows["metric"], rows["params"], strict=True))
    order = {tuple(shown[1:]): i for i, shown in enumerate(EVERY)}
    words = [shown.words for shown in EVERY]
    places = np.array([order.get(key, -1) for key in keys], dtype=int)
    rows = rows.assign(place=places)[places >= 0].sort_values("place", kind="stable")
    return rows.assign(words=[words[i] for i in rows["place"]])


def _every(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with `real`: apart at 5 % for all rows of the table together."""
    if rows.empty:
        return rows.assign(real=pd.Series(dtype=bool))
    sure = rows["stderr"].to_numpy() > 0
    size = np.divide(
        rows["difference"].abs(), rows["stderr"], out=np.where(rows["difference"] != 0, np.inf, 0.0), where=sure
    )
    return rows.assign(real=holm(2 * t.sf(size, rows["df"])) < ALPHA)


def _means(rows: pd.DataFrame) -> dict[str, float]:
    """The mean of each value of a setting, from its pairs."""
    return {
        level: mean for end in ("first", "second") for level, mean in zip(rows[end], rows[f"{end}_mean"], strict=True)
    }


def _interval(row: Any) -> str:
    return f"{row.difference:+.3g} [{row.low:.3g}, {row.high:.3g}]"


def _difference(rows: pd.DataFrame, first: str, second: str) -> str:
    """The difference of two values of a setting with its interval, whichever of them the table has first."""
    for sign, (a, b) in ((1, (first, second)), (-1, (second, first))):
        for row in rows[(rows["first"] == a) & (rows["second"] == b)].itertuples():
            low, high = sorted((sign * row.low, sign * row.high))
            return f"{sign * row.difference:+.3f} [{low:.3f}, {high:.3f}]"
    return ""


HEAD = """# Losses (rows 15 to 17)

BatchTopK and Matryoshka BatchTopK SAEs of the residual stream of SmolLM2-135M after layer 8, under MSE, L2 and snap loss, after the post on feature hedging: {saes} SAEs (the configs name {planned}; training goes on where it was broken off) of {width} latents,
{tokens} tokens each, k {ks}, {seeds} training seeds, {eval_seeds} evaluation seeds. Losses of one training seed start from the same weights and see the same batches.

    OMP_NUM_THREADS=1 hedgebench train results/losses/train-batchtopk.yaml --out out/losses/saes
    OMP_NUM_THREADS=1 hedgebench train results/losses/train-matryoshka.yaml --out out/losses/saes
    OMP_NUM_THREADS=1 hedgebench train results/losses/grow.yaml --out out/losses/grown
    python results/validity/judge.py --port 8090 &
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite.yaml --out out/losses/results
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite-grown.yaml --out out/losses/results
    hedgebench table out/losses/results --out results/losses/scores.parquet
    python results/pack.py out/losses/results results/losses/records.tar.xz
    hedgebench plot results/losses/scores.parquet --out results/losses
    python results/losses/page.py                                                  # this page, from that table

![Pareto](saebench_core-l0_vs_explained_variance.png)

![six panels](saebench_against_l0.png)
"""
LOSS = """Means over L0s; differences with simultaneous 95 % intervals over the pairs of a line (`hedgebench.stats.effects`). *Real*: apart when all {tests} differences between losses on this page are tested together at {alpha} (Holm). Hedging is of the SAEs of `grow.yaml`, which grow by 64 latents after their training: how far the old rows' change reaches into the new rows' span (`hedgebench list`, eval `grow_delta`)."""
ARCHITECTURE = """Matryoshka less BatchTopK at equal k, means over L0s: first over all losses, too, where each training seed counts once ({seeds} against {seeds}), then each loss by itself. *Real*: apart when the differences of all metrics of this table are tested together, the {pooled} over all losses and the {tests} of one loss
each among themselves.
"""
BALANCE = """Level m of n counts balance^(n − m) times in the loss: 1 is plain Matryoshka, 0 is BatchTopK. *Real*: apart when all {tests} differences of this table are tested together.
"""
LIMITS = """## Limits

One model of 135M parameters, one layer, k {ks} (the post: 20 to 80), {tokens} tokens (the post: 500M), {width} latents (the post: 32k) and {seeds} training seeds (the post: 5). SAEBench's evals are run with small sizes on texts that need no network (`suite.yaml`),
and autointerp's judge reads words alone and is no language model: of autointerp as the post ran it nothing is said. Of the hedging evals, `grow_delta` is of SAEs that grow once, by 64 latents, after their training, under the loss that they end with; `toy_recovery` needs known features, and `hedging_estimate` has no
calibration on a language model: they are not among these. Intervals hold training seeds; evaluation seeds are averaged, the same for all SAEs. A verdict counts all comparisons of
its table, an interval its own line: one that leaves 0 out may still be beside "cannot tell".
"""


def main() -> None:
    """Write the page."""
    write_text(HERE / "README.md", page(pd.read_parquet(HERE / "scores.parquet")))


if __name__ == "__main__":
    main()
