"""Which metrics answer rightly where the answer is known: `python results/validity/page.py` writes README.md, cards.csv and card.png from the tables beside it, and nothing else decides a number in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from card import CASES, FDR, SIGNS, cards, draw, overall, together
from scipy.stats import spearmanr

from hedgebench import list_evals
from hedgebench.records import write_text
from hedgebench.results import read_table, write_table

HERE = Path(__file__).parent
_NO_EFFECT = "latents that do nothing have no side effects either: not to be read without the intended effect"
_LIVE = "a mean over live latents, which dead ones drop out of"
_MORE = "one latent alone was added for a concept: with n above 1 those of other concepts may be taken with it"
_UNIT = "parts of a unit row: more of one fault leaves less of another"
_DENSE = "the five latents that hedge fire on nearly every token (L0 4.9 of 5): whatever makes them fire less often makes them more precise"
_ROWS = "random rows hold little of each feature, of either sign: a row that follows no feature mixes none into another"
_RATIO = "divided by what the spurious concept costs the probe in this direction, which is next to nothing: numbers of -2 to -70 are of no size"
_PUSH = "on the Matryoshka SAE alone; probably a dense latent that writes another one's row, which pushes activations off all data when it is taken away"
_LINEAR = "a probe reads whatever is linear in its inputs: the 16 best of 512 random or turned latents hold as much of a class as the 16 best trained ones (as in arXiv 2602.14111)"
WHY = {
    **{
        f"sae_top_k_{metric}": _LINEAR
        for metric in ("test_accuracy", "test_auc", "test_f1", "unseen_accuracy", "unseen_auc")
    },
    "mean_absorption_fraction_score": "what fires on nothing in particular absorbs nothing",
    "mean_full_absorption_score": "what fires on nothing in particular absorbs nothing",
    "tpp_unintended_diff_only": _NO_EFFECT,
    "upstream_tpp_unintended_diff_only": _NO_EFFECT,
    **{f"{metric}, dead, dial": _LIVE for metric in ("hedged", "absorbed", "decoder_cosine", "encoder_cosine")},
    "hedged, mixed, dial": _UNIT,
    "hedged, random": _ROWS,
    **{f"{metric}, {case}": _DENSE for metric in ("precision", "f1") for case in ("random", "noise, dial")},
    "scr_dir1": _RATIO,
    "upstream_scr_dir1": _RATIO,
    **{
        f"{metric}, permuted{dial}": _PUSH
        for metric in (
            "tpp_intended_diff_only",
            "upstream_tpp_intended_diff_only",
            "tpp_total_metric",
            "upstream_tpp_total_metric",
        )
        for dial in ("", ", dial")
    },
    **{f"{metric}, oracle": _MORE for metric in ("tpp_total_metric", "upstream_tpp_total_metric")},
}
"""What is known to be behind wrong answers, by metric, or by metric and case."""


def table(frame: pd.DataFrame) -> str:
    """In Markdown, the index first."""

    def cell(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    head = [str(frame.index.name), *map(str, frame.columns)]
    body = [[cell(index), *map(cell, row)] for index, row in zip(frame.index, frame.astype(object).to_numpy(), strict=True)]  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def by_eval(found: pd.DataFrame, scores: pd.DataFrame, known: pd.DataFrame) -> str:
    """Every eval of the registry: what it was asked, and what it said."""
    verdict, rows = overall(found), {}
    for plugin in list_evals():
        if not plugin.__module__.startswith("hedgebench_evals"):
            continue
        name = plugin.name
        own = scores[scores["eval"] == name]
        words = verdict[verdict.index.get_level_values("eval") == name]
        held = known[known["eval"] == name]
        judged = set(held["metric"]) | set(words.index.get_level_values("metric"))
        rows[f"`{name}`"] = {
            "SAEs": own["sae"].nunique() or "",
            "seeds": own["seed"].nunique() or "",
            **{word: int((words == word).sum()) if len(words) else "" for word in SIGNS},
            "values known": len(held) or "",
            "metrics not judged": len({metric.name for metric in plugin.metrics} - judged) or "",
        }
    return table(pd.DataFrame(rows).T.rename_axis("eval"))


def wrong(found: pd.DataFrame, words: tuple[str, ...]) -> str:
    """The rows of these verdicts, one for each metric and case."""
    rows = found[found["verdict"].isin(words)]
    lines = {}
    for (_, metric, case), own in rows.groupby(["eval", "metric", "case"], sort=False):
        of = found[(found["metric"] == metric) & (found["case"] == case)]
        key = f"`{metric}`, {case}"
        lines[key] = {
            "params": ", ".join(filter(None, own["params"])) or "-",
            "of": len(of),
            "gap": f"{own['gap'].min():.3g} to {own['gap'].max():.3g}" if len(own) > 1 else float(own["gap"].iloc[0]),
            "chance, at most": float(own["p_wrong"].max()),
            "what is behind it": WHY.get(metric, WHY.get(f"{metric}, {case}", "")),
        }
    return table(pd.DataFrame(lines).T.rename_axis("metric, case")) if lines else "None."


def detail(found: pd.DataFrame) -> str:
    """Every metric with its params: what it says of each case; of a dial the least amount that it sees."""
    cells: dict[str, dict[str, str]] = {}
    for (name, metric, params, case), own in found.groupby(["eval", "metric", "params", "case"], sort=False):
        verdict = together(own["verdict"])
        first = f" {own['first'].max():g}" if verdict == "right" and np.isfinite(own["first"]).all() else ""
        cells.setdefault(f"`{plain(name)}` {metric} {params}".strip(), {})[case] = SIGNS[verdict] + first  # fmt: skip
    frame = pd.DataFrame(cells).T.reindex(columns=[case for case in CASES if case in set(found["case"])]).fillna("")
    return table(frame.rename_axis("metric"))


def values(known: pd.DataFrame) -> str:
    """What is known beforehand against what is said: the largest error of each metric in each case."""
    rows = {}
    for (name, case), own in known.groupby(["eval", "case"], sort=False):
        error = (own["found"] - own["known"]).abs()
        worst = own.loc[error.idxmax()]
        exact = sorted(set(own["metric"]) - set(own.loc[error > 1e-3, "metric"]))
        beyond = {f"`{m}` {error[own['metric'] == m].max():.2g}" for m in set(own["metric"]) - set(exact)}
        rows[f"`{name}`: {case}"] = {
            "amounts": " ".join(f"{a:g}" for a in sorted(set(own["amount"]))),
            "values": len(own),
            "known to .001": f"{len(exact)} of {own['metric'].nunique()} metrics",
            "others, largest error": ", ".join(sorted(beyond)) or "-",
            "largest error of all": f"{float(error.max()):.2g} (`{worst['metric']}`)",
        }
    return table(pd.DataFrame(rows).T.rename_axis("eval: case"))


def nothing(known: pd.DataFrame) -> str:
    """What SAEBench's loss scores say of an SAE that gives back nothing."""
    own = known[known["case"].str.startswith("nothing")].set_index("metric")
    said = " and ".join(f"{own.loc[m, 'found']:.2f} ± {own.loc[m, 'stderr']:.2f} (`{m}`)" for m in ("ce_loss_score", "kl_div_score"))  # fmt: skip
    return (
        f"An SAE that gives back nothing does not score 0 but {said}: the zero of these scores is every vector set to zero, special tokens' too, as SAEBench has it, while an SAE's output leaves special "
        "tokens as they are."
    )


def estimate() -> str:
    """`hedging_estimate` against true hedging, from the table of its study on toy worlds."""
    latents = pd.read_parquet(HERE.parent / "hedging_estimate" / "hedging-estimate.parquet")
    own = latents[latents["held_out"] & latents["hedging"].notna()]
    ranks = spearmanr(own["hedge"], own["hedging"]).statistic
    off = (own["hedging"] - own["hedge"]).abs()
    return (
        f"`hedging_estimate`'s `hedging` is held to true hedging in toy worlds by [a study of its own](../hedging_estimate/hedging-estimate.md): over {len(own):,} latents of held-out worlds its ranks "
        f"agree with the truth's to {ranks:.2f} (Spearman), and it is off by {off.median():.3f} at the median and {off.quantile(0.9):.3f} at the ninth decile."
    )


def plain(name: str) -> str:
    """An eval's name without what several share."""
    return name.removeprefix("saebench_")


def counted(found: pd.DataFrame) -> str:
    """The whole card in a few lines."""
    whole, metric = overall(found), found.groupby(["eval", "metric"], sort=False)
    tested = found[found["verdict"] != "same"]
    n = whole.value_counts()
    never = [
        f"`{plain(of)} {name}`"
        for (of, name), own in metric
        if not set(own["verdict"]) & {"right", "wrong", "doubtful"}
    ]
    clean = [f"`{plain(of)} {name}`" for (of, name), own in metric if set(own["verdict"]) <= {"right", "same"} and "right" in set(own["verdict"])]  # fmt: skip
    bad = [f"`{plain(of)} {name}`" for (of, name), own in metric if "wrong" in set(own["verdict"])]
    lines = [
        f"- {len(whole)} metrics have a better end (each with its params, such as `k=1`; {metric.ngroups} by name). {n.get('right', 0)} are right on every case that tests them, {n.get('wrong', 0)} are wrong on "
        f"some, {n.get('doubtful', 0)} are doubtful, {n.get('cannot tell', 0)} cannot tell on some, {n.get('same', 0)} are tested by none.",
        f"- There are {len(tested)} answers, a metric on a case. One in twenty at most may be noise by itself; of those called wrong, one in twenty ({FDR:.0%} by Benjamini and Hochberg over all of them). Those that are "
        f"wrong by themselves and not among all are called doubtful: {int((found['verdict'] == 'doubtful').sum())}, where {0.05 * len(tested):.0f} could be expected at most if every metric were blind.",
        f"- **Right throughout, whatever the params** ({len(clean)}): {', '.join(clean) or 'none'}.",
        f"- **Wrong on some case** ({len(bad)}): {', '.join(bad) or 'none'}.",
        f"- **Never tell** ({len(never)}): {', '.join(never) or 'none'}.",
    ]
    return "\n".join(lines)


HEAD = """# Which metrics answer rightly

A metric's own report card: what it says of SAEs whose right answer is known, in the spirit of "Are SAE Benchmarks Reliable?" (arXiv 2605.18229). Two SAEs of SmolLM2-135M at layer 8 (BatchTopK and Matryoshka, MSE, 512
latents) and three of toy worlds are put beside SAEs that must be worse, beside themselves made worse step by step (`hedgebench.dials`), and beside SAEs that were given the answers; hand-made SAEs have numbers known beforehand.

    hedgebench toy --scenario crowd-0.1 --loss mse --seeds 3 --out out/validity-toy
    python results/validity/concepts.py                                            # trained SAEs that are given TPP's concepts
    python results/validity/judge.py --port 8090 &                                 # autointerp's judge
    for suite in suite suite-concepts suite-others suite-probes suite-toy; do OMP_NUM_THREADS=1 hedgebench run results/validity/$suite.yaml --out out/validity; done
    hedgebench table out/validity --out results/validity/scores.parquet
    python results/validity/known.py                                               # known.csv
    python results/validity/page.py                                                # this page, from those tables

What these suites do not run is judged by the tables of [quickstart](../quickstart/scores.csv) (`bias_alignment`, `decoder_bias`), which has
the controls and no dials. Any eval of yours is put to the same test by its name under `evals:` in such a suite, with
`controls: [random, permuted, dead=0.5, dead=1, noise=0.5]`, and `report_card` and `dial_card` of `hedgebench.stats.validity` on its table.

![the card](card.png)

Colour is the worst of a metric's verdicts over its params (`k`, `n`; in toy worlds over SAEs, each of which has its own world), or what most of them are where none is wrong; the numbers say on how many it is right.

"""
TAIL = """## How to read it

- **Cases.** {cases}. A dial's amount is a share of the latents or rows (`dead`, `permuted`), or a part of another or a random direction beside the row's own 1 (`mixed`, `noise`).
- **Right**: the better SAE is above the worse one by more than noise, on most SAEs; along a dial, the SAE is above itself at the greatest amount. The number beside it is the least amount that is told apart, as are all greater ones.
- **Wrong**: the worse one is above; along a dial, at any amount or from one amount to the next. **Cannot tell**: within the noise, or no noise is known. **Same** (=): equal at every seed, so that nothing is tested (a metric
  that reads activations alone, and a shuffled decoder).
- **Noise** is of paired differences over evaluation seeds (Student's t; pooled over SAEs that may be equally noisy), or of the two numbers' own standard errors where there is one seed. Everything behind one verdict shares
  5 % (Bonferroni). With two or three seeds and two SAEs that takes a difference of three to ten standard errors: "cannot tell" is said of the metric at these sizes, not of the metric. Where nothing is drawn, as in toy weights, any
  difference counts that is no rounding.
- With two SAEs of one model at one layer, "right" means right here. "Wrong" needs no more than one example, and a case in which a broken SAE wins is no example of a bad SAE winning in practice: it says what a metric cannot be used for alone.
- `dead` SAEs have a lower L0 as well: a metric that rewards sparsity may rightly move with that. Metrics that have no better end are held to known values only.
- **Autointerp's judge** was [a program that reads words alone](judge.py), no language model: it explains a latent by the tokens most often marked, and finds examples by these tokens. What the card says of autointerp is true of that judge.
- SAEBench's evals read stand-in data at small sizes, as the suites say; `upstream_*` are the numbers by SAEBench's own definitions on the same run.
"""


def page(scores: pd.DataFrame, known: pd.DataFrame, found: pd.DataFrame) -> str:
    """The page in Markdown, from the tables and the card."""
    cases = "; ".join(f"`{case}`: {what}" for case, what in CASES.items())
    parts = [
        HEAD + "## In short\n", counted(found),
        "\n## Every eval\n", "Metrics (each with its params) by their overall verdict, and values that are known beforehand. A metric that is not judged has no better end and no known value here.\n", by_eval(found, scores, known),
        "\n## Wrong\n", "How far ahead the better SAE is, as a mean over SAEs (`gap`: negative where the worse one is; over params), and the chance of so wrong an answer from noise, of the SAE it is most wrong on.\n", wrong(found, ("wrong",)),
        "\n## Doubtful\n", wrong(found, ("doubtful",)),
        "\n## Values known beforehand\n", values(known), "\n" + nothing(known) + "\n\n" + estimate() + "\n",
        TAIL.format(cases=cases),
        "## Every metric\n", detail(found), "",
    ]  # fmt: skip
    return "\n".join(parts)


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scores, those of evals that the suites do not run from quickstart's table, and the values known beforehand."""
    found = read_table(HERE / "scores.parquet")
    scores = read_table(HERE.parent / "quickstart" / "scores.csv")
    found = pd.concat([found, scores[~scores["eval"].isin(found["eval"])]], ignore_index=True)
    known = pd.read_csv(HERE / "known.csv", keep_default_na=False, na_values={"stderr": "", "seed": ""})
    return found[found["slice_by"] == "all"].reset_index(drop=True), known


def main() -> None:
    """Write the page, the card as a table, and its figure."""
    scores, known = tables()
    found = cards(scores)
    write_table(found, HERE / "cards.csv")
    write_text(HERE / "README.md", page(scores, known, found))
    draw(found).savefig(HERE / "card.png", dpi=110)


if __name__ == "__main__":
    main()
