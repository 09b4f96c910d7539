"""Rows 15 to 17, told from their tables: `python results/losses/page.py` writes README.md beside it from scores.parquet and grown.parquet, and nothing else decides a word of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from compared import (
    ARCHITECTURES,
    CHECKS,
    ESTIMATE,
    EVERY,
    GROWN,
    LEVELS,
    LOSSES,
    PAIRS,
    POST,
    SAE_PROBES,
    SHARED,
    minus,
    only,
)
from found import Found

from hedgebench.markdown import markdown_table
from hedgebench.records import write_text
from hedgebench.stats.differences import level_means, paired_difference
from hedgebench.stats.intervals import mean_interval
from hedgebench.stats.tables import control_rows
from hedgebench.verdicts import listed

HERE = Path(__file__).parent


def page(scores: pd.DataFrame) -> str:
    """The page in Markdown."""
    found = Found(scores)
    return "\n".join(
        [
            HEAD.format(**found.facts()),
            "## What holds\n",
            *listed(found.claims()),
            "\n## What the loss does\n",
            LOSS,
            *(losses(found, architecture) for architecture in ARCHITECTURES),
            SEEDS,
            shared(found),
            "\n## The estimate that needs no growing\n",
            estimates(found),
            "\n## What Matryoshka levels do\n",
            ARCHITECTURE.format(**found.facts()),
            architectures(found),
            "\n## What balance does\n",
            BALANCE.format(ks=", ".join(sorted({k for over in found.balances["over"] for k in over.split()}))),
            balances(found),
            "\n## Beyond controls\n",
            CONTROLS,
            controls(found),
            "\n" + LIMITS.format(**found.facts()),
        ]
    )


def losses(found: Found, architecture: str) -> str:
    """A row for each metric: means over L0s, differences with simultaneous intervals, what would be found; then the same differences seed by seed."""
    rows = found.losses[found.losses["architecture"] == architecture]
    most = next(iter(rows["over"].mode()), "")
    lines, paired = [], []
    for words, of in rows.groupby("words", sort=False):
        means, over = level_means(of), of["over"].iloc[0]
        name = words if over == most else f"{words} (k {', '.join(over.split())})"
        cells = [f"{means[loss]:.3f}" if loss in means else "" for loss in LOSSES]
        cells += [minus(of, *pair, digits=4) for pair in PAIRS]
        real = [f"{row.first} / {row.second}" for row in of[of["apart"]].itertuples()]
        lines.append([name, *cells, ", ".join(real) or "none", f"{of['detectable'].max():.3g}"])
        by_seed = (paired_difference(of, *pair) for pair in PAIRS)
        paired.append([name, *(f"{one:.4f}" if one else "" for one in by_seed)])
    compared = [f"{first} − {second}" for first, second in PAIRS]
    tables = (
        markdown_table(["metric", *LOSSES, *compared, "apart", "found 4 times in 5"], lines),
        markdown_table(["seed by seed", *compared], paired),
    )
    over = f", means over k {', '.join(most.split())}" if most else ""
    return "\n\n".join([f"\n**{ARCHITECTURES[architecture]}{over}**", *tables]) + "\n"


def estimates(found: Found) -> str:
    """A row for each architecture and loss, over training seeds; then one for each SAE on which the estimate was checked. No comparison: its level ranks no SAEs."""
    if found.estimated.empty:
        return "Not measured."
    checked = found.estimated["run_id"].isin(found.estimated.loc[found.estimated["params"] != "", "run_id"])
    whole = found.estimated[~checked]
    seeds = set.intersection(*whole.groupby("sae")["seed"].agg(set))
    noise = np.sqrt(whole.groupby("sae")["value"].var().mean())
    lines = []
    for (architecture, k, loss), rows in whole[whole["seed"].isin(seeds)].groupby(["architecture", "k", "loss"]):
        means = rows.groupby("sae")["value"].mean()
        lines.append([ARCHITECTURES[str(architecture)], f"{k:.0f}", loss, mean_interval(means)])
    said = ESTIMATED.format(tokens=f"{round(found.tokens_read, -3):,.0f}", seeds=len(seeds), noise=f"{noise:.4f}")
    told = [said, markdown_table(["architecture", "k", "loss", "`hedging`"], lines)]
    lines = []
    for sae, rows in found.estimated[checked].groupby("sae"):
        values = (only(rows, [shown])["value"] for shown in (ESTIMATE, *CHECKS))
        lines.append([f"`{sae}`", *(f"{of.mean():.3f}" if len(of) else "" for of in values)])
    if lines:
        told += [CHECKED, markdown_table(["SAE", "`hedging`", *(shown.words for shown in CHECKS)], lines)]
    return "\n".join(told)


def architectures(found: Found) -> str:
    """A row for each metric: Matryoshka less BatchTopK, for each loss."""
    lines = []
    for words, rows in found.architectures.groupby("words", sort=False):
        pooled = found.architectures_over_losses[found.architectures_over_losses["words"] == words]
        cells = [minus(pooled, *LEVELS), "yes" if pooled["apart"].any() else "no"]
        cells += [minus(rows[rows["loss"] == loss], *LEVELS) for loss in LOSSES]
        real = rows[rows["apart"]]
        better = {
            ARCHITECTURES[row.first if row.better == "first" else row.second]
            for row in [*real.itertuples(), *pooled[pooled["apart"]].itertuples()]
            if row.better
        }
        if any(words == shown.words and (shown in GROWN or found.blind(shown)) for shown in EVERY):
            better = set()
        lines.append([words, *cells, ", ".join(real["loss"]) or "none", ", ".join(sorted(better))])
    return markdown_table(["metric", "all losses", "apart", *LOSSES, "apart for", "better"], lines)


def balances(found: Found) -> str:
    """A row for each metric: every multiplier less plain Matryoshka (1)."""
    levels = sorted({*found.balances["first"], *found.balances["second"]} - {""})
    lines = []
    for words, rows in found.balances.groupby("words", sort=False):
        cells = [f"{level_means(rows)['']:.3f}", *(minus(rows, level, "") for level in levels)]
        real = [
            f"{row.first or '1'} / {row.second or '1'}".replace("balance=", "")
            for row in rows[rows["apart"]].itertuples()
        ]
        lines.append([words, *cells, ", ".join(real) or "none", f"{rows['detectable'].max():.3g}"])
    compared = [f"{level.removeprefix('balance=')} − 1" for level in levels]
    return markdown_table(["metric", "1 (plain)", *compared, "apart", "found 4 times in 5"], lines)


def controls(found: Found) -> str:
    """A row for each metric of SAEBench: the variants, and the controls."""
    names, lines = control_rows(found.scores), []
    for shown in [*POST, SAE_PROBES]:
        beside = found.beside[shown]
        if beside.variants.empty:
            continue
        cells = [f"{beside.controls[name]:.3f}" if name in beside.controls else "" for name in names]
        spread = f"{beside.variants.min():.3f} to {beside.variants.max():.3f}"
        no_worse = ", ".join(beside.no_worse()) or "none"
        lines.append([shown.words, "higher" if beside.higher else "lower", spread, *cells, no_worse])
    columns = ["metric", "better", "variants", *(name.split("/")[-1] for name in names), "no worse"]
    return markdown_table(columns, lines)


def shared(found: Found) -> str:
    """A row for each architecture and k: the share of latents that other training seeds have, too."""
    rows = only(found.scores, [SHARED])
    rows = rows[rows["objective"].fillna("") == ""]
    # a group that was measured again when it had grown by a seed is in the table twice
    rows = rows[rows["n"] == rows.groupby(["architecture", "k", "loss"])["n"].transform("max")]
    lines = []
    for (architecture, k), of in rows.groupby(["architecture", "k"], sort=True):
        by_loss = of.groupby("loss")[["value", "stderr"]].mean()
        cells = [
            f"{by_loss['value'][loss]:.3f} ± {by_loss['stderr'][loss]:.3f}" if loss in by_loss.index else ""
            for loss in LOSSES
        ]
        lines.append([ARCHITECTURES[architecture], f"{k:.0f}", *cells])
    return markdown_table(["architecture", "k", *LOSSES], lines)


HEAD = """# Losses (rows 15 to 17)

BatchTopK and Matryoshka BatchTopK SAEs of the residual stream of SmolLM2-135M after layer 8, under MSE, L2 and snap loss, after the post on feature hedging: {saes} SAEs of {width} latents,
{tokens} tokens each, k {ks}, {seeds} training seeds, {eval_seeds} evaluation seeds. Losses of one training seed start from the same weights and see the same batches.

    OMP_NUM_THREADS=1 hedgebench train results/losses/train-batchtopk.yaml --out out/losses/saes
    OMP_NUM_THREADS=1 hedgebench train results/losses/train-matryoshka.yaml --out out/losses/saes
    OMP_NUM_THREADS=1 hedgebench train results/losses/grow.yaml --out out/losses/grown
    python results/validity/judge.py --port 8090 &
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite.yaml --out out/losses/results
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite-estimate.yaml --out out/losses/results
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite-checks.yaml --out out/losses/results
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite-grown.yaml --out out/losses/grown-results
    hedgebench table out/losses/results --out results/losses/scores.parquet
    hedgebench table out/losses/grown-results --out results/losses/grown.parquet
    python results/pack.py out/losses/results results/losses/records.tar.xz
    python results/pack.py out/losses/grown-results results/losses/grown-records.tar.xz
    hedgebench plot results/losses/scores.parquet --out results/losses
    hedgebench plot results/losses/grown.parquet --out results/losses/grown
    python results/losses/page.py                                                  # this page, from those tables

![Pareto](saebench_core-l0_vs_explained_variance.png)

![six panels](saebench_against_l0.png)
"""
LOSS = """Differences have simultaneous 95 % intervals over the pairs of a line (`hedgebench.stats.effects`), each training seed counted once. *Apart*: told apart when the pairs of its line are tested together at 5 % (Holm, who finds a little more than these intervals show): of lines without any difference, one in twenty has one. *Found 4 times in 5*: the smallest difference that such a test finds with a chance of .8. The claims above test more together (Limits).

*Seed by seed*: the differences within training seeds, with intervals each by itself, of which one in twenty misses. SAEs of one seed start from the same weights and see the same batches under every loss, so that they may vary alike, most of all mse and snap, which is mse for the first half of training.
That is why no noise is pooled here: each interval has two degrees of freedom, and all are too wide to be tested together. The tests above take SAEs of one seed as independent, and find less for it.

Hedging is of the SAEs of `grow.yaml`, which grow by 64 latents after their training: how far the old rows' change reaches into the new rows' span (`hedgebench list`, eval `grow_delta`; [figures](grown/figures.md)). Of Matryoshka SAEs the outermost level grows: what rows of inner levels mix in because they have to do alone,
new latents do not take from them, so that these numbers are no measure of it.
"""
SEEDS = """Latents that other training seeds have, too (both cosines .7 at least), ± the jackknife's standard error over seeds:
"""
ESTIMATED = """`hedging_estimate` of the SAEs as they are, on about {tokens} tokens, [95 %] by Student's t over training seeds; of each SAE the mean over the evaluation seeds that all have ({seeds}), which move one number by {noise} (standard deviation). What it is worth has [a page of its own](../hedging_estimate/README.md): its level has no calibration on a language model, part of it is variance and not hedging, and nobody may rank SAEs, or losses, by it. So nothing is compared here.
"""
CHECKED = """
What it reads on two of these SAEs where the answer is known: where what is missing has a sign at random and no row owes anything (0 would be right), and how often it is higher for a latent that was made to hedge .3 of its row than for another (1 would be right), or for one that follows a feature of random sign (.5 would be right).
"""
ARCHITECTURE = """Matryoshka less BatchTopK at equal k, means over L0s: first over all losses, too, where each training seed counts once ({seeds} against {seeds}), then each loss by itself; 95 % intervals, each by itself. *Apart*: told apart at 5 %, each by itself.
Which is *better* is left blank where a random SAE does as well as some of these, and of hedging, which growth does not measure in Matryoshka SAEs (above).
"""
BALANCE = """Level m of n counts balance^(n − m) times in the loss: 1 is plain Matryoshka, 0 is BatchTopK; k {ks}. *Apart*: told apart when the pairs of its line are tested together at 5 %.
"""
CONTROLS = """Of one BatchTopK SAE (k 40, mse): random unit rows at its L0 (`random`), its decoder rows shuffled (`permuted`: on metrics of activations alone, such as probing, that SAE itself), and principal components in place of latents (`pca`); beside them the variants of that k. *No worse*: controls as good as the worst variant, or better: where `random` is among
them, a metric says little of these SAEs. On which metrics the answer is known and found, or not, has [a page of its own](../validity/README.md).
"""
LIMITS = """## Limits

{so_far}One model of 135M parameters, one layer, k {ks} (the post: 20 to 80), {tokens} tokens (the post: 300M and 500M), {width} latents (the post: 8,192 to 32k) and {seeds} training seeds (the post: 5). SAEBench's evals are run with small sizes on texts that need no network (`suite.yaml`),
and autointerp's judge reads words alone and is no language model: of autointerp as the post ran it nothing is said. Of the hedging evals, `grow_delta` is of SAEs that grow once, by 64 latents, after their training, under the loss that they end with; `hedging_estimate` is of SAEs of k {estimated}, and holds none to another;
`toy_recovery` needs known features, and is not among these. Intervals hold training seeds; evaluation seeds are averaged, the same for all SAEs. What is tested together: of the claims on Matryoshka levels, all six panels; of each claim on losses and on balance, all pairs of its metrics, also those that it does not name;
in the tables, a line: a table may tell apart what a claim does not.
"""


def main() -> None:
    """Write the page."""
    tables = [pd.read_parquet(HERE / f"{name}.parquet") for name in ("scores", "grown")]
    write_text(HERE / "README.md", page(pd.concat(tables, ignore_index=True)))


if __name__ == "__main__":
    main()
