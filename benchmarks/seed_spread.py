"""How much TPP and SCR move over five seeds: with texts, activations and probes of one seed kept for all, as SAEBench's cache does, and without.

    python benchmarks/seed_spread.py     (about five minutes on two cores; `make bench ONLY=seed_spread`)

SAEBench names its cached activations and probes without the seed, so that five runs with five seeds and one cache draw again only what is
drawn in the SAE's part: for TPP which texts of other classes are compared with, for SCR an order that no number depends on. HedgeBench
never shares what depends on the seed. Both are done here on the same SAEs with the same code; seed 0 is in both.

Five seeds decide little: the 95 % interval of a standard deviation from five normal numbers reaches from 0.60 to 2.87 times of it. p is that
of an F test of equal variances, two-sided, for normal numbers; 0 against anything else needs no test. What is measured is small, too
(SmolLM2-135M, stand-in texts), and the spread falls with more texts.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from typing import Any

import torch
from core_sharing import CHECKPOINTS, HOOK, MODEL
from hedgebench_evals.saebench.ablation_measure import measure
from hedgebench_evals.saebench.concept_probes_config import ProbeConfig
from hedgebench_evals.saebench.scr import scr_scores
from hedgebench_evals.saebench.tpp import tpp_scores
from scipy.stats import chi2, f
from tpp_scr_sharing import TASKS, context

from hedgebench.artifacts import Artifacts
from hedgebench.labelled_sets import open_labelled
from hedgebench.loaders import load_sae
from hedgebench.models import load_model

SETS = {"tpp": ("stand-in:ag_news",), "scr": ("stand-in:reviews",)}
SCORES = {"tpp": tpp_scores, "scr": scr_scores}
SHOWN = {"tpp": "tpp_total_metric", "scr": "scr_metric"}

Key = tuple[str, int, str]
"""Metric, n, SAE."""


def spread(name: str, model: Any, saes: dict[str, Any], cfg: ProbeConfig, seeds: int, *, shared: bool) -> dict[Key, list[float]]:  # fmt: skip
    """Every total of an eval, one value per seed."""
    found: dict[Key, list[float]] = defaultdict(list)
    sets = [open_labelled(ref) for ref in SETS[name]]
    kept = Artifacts({"benchmark": name})
    for seed in range(seeds):
        artifacts = kept if shared else Artifacts({"benchmark": name, "seed": seed})
        for label, sae in saes.items():
            ctx = context(sae, model, sets, artifacts, seed)
            texts = context(sae, model, sets, artifacts, 0) if shared else ctx
            results = measure(ctx, cfg, list(TASKS[name](texts, cfg)))
            for score in SCORES[name](ctx, cfg, results):
                if score.slice_by == "all" and score.metric.removeprefix("upstream_") == SHOWN[name]:
                    found[score.metric, score.params["n"], label].append(score.value)
        print(f"  {name}, {'one cache' if shared else 'no cache shared'}, seed {seed}", flush=True)
    return found


def row(one: list[float], own: list[float]) -> str:
    """Means and standard deviations of both, the interval of the second, and what an F test says."""
    cells = []
    for values in (one, own):
        sd = statistics.stdev(values)
        low, high = (sd * ((len(values) - 1) / chi2.ppf(q, len(values) - 1)) ** 0.5 for q in (0.975, 0.025))
        cells.append(f"{statistics.mean(values):8.3f} {sd:7.4f} [{low:6.4f}, {high:6.4f}]")
    before, after = statistics.variance(one), statistics.variance(own)
    if before == 0:
        return f"{cells[0]}  {cells[1]}  {'the same' if after == 0 else 'nothing moves with one cache'}"
    ratio = f.cdf(after / before, len(own) - 1, len(one) - 1)
    return f"{cells[0]}  {cells[1]}  SD x {(after / before) ** 0.5:.1f}, p = {2 * min(ratio, 1 - ratio):.3f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--saes", nargs="+", default=["batchtopk-mse-s0", "matryoshka-mse-s0"])
    parser.add_argument("--train", type=int, default=160, help="training texts per probe")
    parser.add_argument("--test", type=int, default=80, help="test texts per probe")
    parser.add_argument("--context", type=int, default=48, help="tokens per text")
    args = parser.parse_args()
    sizes = {"train_size": args.train, "test_size": args.test, "context_size": args.context}
    cfg = ProbeConfig(**sizes, n_values=(5, 20, 50))
    model, saes = load_model(MODEL), {label: load_sae(CHECKPOINTS / label) for label in args.saes}
    print(f"{MODEL}, {HOOK}, {args.train} training and {args.test} test texts per probe, {args.context} tokens each, {args.seeds} seeds, {torch.get_num_threads()} threads")  # fmt: skip
    tables = {name: [spread(name, model, saes, cfg, args.seeds, shared=shared) for shared in (True, False)] for name in TASKS}  # fmt: skip
    titles = [f"{title:>8} {'SD':>7} {'95 % interval':>16}" for title in ("one cache", "none shared")]
    print(f"\n{'metric':26} {'n':>3}  {'SAE':18} {titles[0]:>34} {titles[1]:>34}")
    for one, own in tables.values():
        for key in sorted(one.keys() & own.keys(), key=lambda k: (k[0].removeprefix("upstream_"), k)):
            if len(one[key]) == len(own[key]) == args.seeds:
                print(f"{key[0]:26} {key[1]:3d}  {key[2]:18} {row(one[key], own[key])}")


if __name__ == "__main__":
    main()
