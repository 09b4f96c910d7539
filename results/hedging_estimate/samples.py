"""How many samples the estimate needs: `python results/hedging_estimate/samples.py` writes samples.csv, of narrow SAEs of some families of development (about five minutes on one core)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from hedgebench.results import write_table
from hedgebench.toy.estimate_families import DEVELOPMENT
from hedgebench.toy.estimate_summary import MIN_COSINE, MIN_LATENTS, MIN_SPREAD, by_sae
from hedgebench.toy.estimating import judge, train_families
from hedgebench.toy.rivals import hedging, kmeans_growth, smr

SAMPLES = 10_000, 20_000, 50_000
FAMILIES = "factors", "crowded", "trees", "sizes"
ESTIMATORS = {"hedging": hedging, "smr": smr, "kmeans_growth": kmeans_growth}


def main() -> None:
    """Train, judge on more and more samples, and write each estimator's rank correlation within SAEs."""
    chosen = [family for family in DEVELOPMENT if family.name in FAMILIES]
    families = [replace(family, recipes=(family.recipes[0], *family.recipes[3:6])) for family in chosen]
    cases = train_families(families, [0])
    rows = []
    for n in tqdm(SAMPLES, desc="sample sizes"):
        table = by_sae(judge(cases, ESTIMATORS, n, progress=False))
        worth = table[
            (table["best_cosine"] >= MIN_COSINE) & (table["spread"] >= MIN_SPREAD) & (table["latents"] >= MIN_LATENTS)
        ]
        for name in ("hedging", "owed", "consistent", "smr", "kmeans_growth"):
            within = worth[f"within {name}"]
            rows.append((name, n, float(within.median()), float(within.quantile(0.1)), len(within)))
    columns = ["estimator", "samples", "within_median", "within_p10", "SAEs"]
    write_table(pd.DataFrame(rows, columns=columns), Path(__file__).parent / "samples.csv")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
