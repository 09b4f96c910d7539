"""What `hedging_estimate` says where nothing is owed, on the SAEs' own residuals: `python results/hedging_estimate/flipped.py` writes flipped.csv (about a quarter of an hour on one core).

Layer 8, three of the SAEs of evals/checkpoints. With r the residual of the least squares x = f C + r, the SAE is looked at on f C + r' instead, for

    own         r' = r
    flipped     r' = r with a sign at random for each token: the variance follows the latents as before, in whatever directions it did, and no row holds a part of it
    gaussian    r' drawn from a normal distribution of r's covariance: nothing follows a latent, and nothing is sparse
    permuted    r' = r of another token: nothing follows a latent
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from hedgebench_evals.hedging_estimate import HedgingEstimate
from hedgebench_evals.hedging_estimate_controls import RANKED
from hedgebench_evals.hedging_estimate_rows import measure
from llm import text
from scipy.stats import spearmanr
from tqdm import tqdm

from hedgebench.hedging import fit, refit
from hedgebench.latent_sample import gather, live, restricted
from hedgebench.loaders import load_sae
from hedgebench.results import write_table

if TYPE_CHECKING:
    from torch import Tensor

SAES = "batchtopk-mse-s0", "batchtopk-l2-s1", "matryoshka-mse-s0"
BATCHES = 16


def residuals(r: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The residual r [n, d], and what takes its place."""
    yield "own", r
    generator = torch.Generator().manual_seed(0)
    yield "flipped", r * (torch.randint(2, (len(r), 1), generator=generator) * 2 - 1)
    covariance = r.T.double() @ r.double() / len(r)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()).to(r)
    yield "gaussian", torch.randn(r.shape, generator=generator) @ root.T
    yield "permuted", r[torch.randperm(len(r), generator=generator)]


def main() -> None:
    """Look at each SAE with each residual, and write the mean of every estimate, and how its ranks agree with those on the SAE's own."""
    cfg, rows = HedgingEstimate.Config(pairs=64), []
    for name in SAES:
        sae = load_sae(str(Path(__file__).parents[2] / "evals" / "checkpoints" / name))
        sample = gather(sae, text(8, BATCHES), torch.Generator().manual_seed(0))
        own = restricted(sample, live(sample, cfg.min_firings))
        fitted, first = fit(own), None
        explained = own.x - fitted.r
        for residual, r in tqdm(residuals(fitted.r), total=4, desc=name):
            x = explained + r
            found = measure(own._replace(x=x), torch.Generator().manual_seed(0), cfg, refit(fitted, x)).latents()
            first = first or found
            for estimate in RANKED:
                ranks = spearmanr(found[estimate], first[estimate], nan_policy="omit").statistic
                mean = float(found[estimate].nanmean())
                rows.append((name, len(own.x), residual, estimate, mean, float(ranks), len(found[estimate])))
    columns = ["sae", "tokens", "residual", "estimate", "mean", "ranks_with_own", "latents"]
    write_table(pd.DataFrame(rows, columns=columns), Path(__file__).parent / "flipped.csv")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        main()
