"""What `hedging_estimate` says where nothing is owed, and whether a sign at random takes away what is: `python results/hedging_estimate/nothing_owed.py` writes nothing-owed.csv.

Three SAEs of evals/checkpoints, layer 8, on one text; and three of toy worlds, where what is hedged is known (`truth`). With r the residual of the least squares x = f C + r, P what rows owe
by the estimate's own lights, and y = r + f P what is missing, each SAE is looked at on other activations than x, too:

    own         x
    missing     x - y + s y, s a sign at random for each token: what is missing follows the latents as before, and no row holds a part of it
    residual    x - r + s r: signs on the residual itself, in which a latent's share of what is missing was taken away
    gaussian    f C and a residual drawn from a normal distribution of r's covariance: nothing follows a latent, and nothing is sparse
    permuted    f C and r of another token: nothing follows a latent
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from hedgebench_evals.hedging_estimate import HedgingEstimate
from hedgebench_evals.hedging_estimate_controls import RANKED
from hedgebench_evals.hedging_estimate_rows import Measured, measure
from llm import text
from scipy.stats import spearmanr
from tqdm import tqdm

from hedgebench.hedging import Fit, fit, owing_nothing, refit
from hedgebench.latent_sample import LatentSample, gather, live, restricted
from hedgebench.loaders import load_sae
from hedgebench.results import write_table
from hedgebench.toy.estimate_families import DEVELOPMENT
from hedgebench.toy.estimate_truth import measure_truth
from hedgebench.toy.estimating import MIN_FIRINGS, Case, Given, train_families
from hedgebench.toy.rivals import as_sample

if TYPE_CHECKING:
    from torch import Tensor

SAES = "batchtopk-mse-s0", "batchtopk-l2-s1", "matryoshka-mse-s0"
BATCHES, SAMPLES = 16, 32_000
WORLDS, NARROW = ("factors", "pairs", "trees"), slice(4, 5)
"""Families of development; of the SAEs of each the narrow BatchTopK one with the right k."""
CFG = HedgingEstimate.Config(pairs=64)


def residuals(found: Measured) -> Iterator[tuple[str, Fit]]:
    """What takes the place of the activations."""
    fitted, generator = found.fit, torch.Generator().manual_seed(0)
    r, explained = fitted.r, fitted.x - fitted.r
    yield "missing", owing_nothing(fitted, found.hedging, generator)
    yield "residual", refit(fitted, explained + r * (torch.randint(2, (len(r), 1), generator=generator) * 2 - 1))
    values, vectors = torch.linalg.eigh(r.T.double() @ r.double() / len(r))
    root = (vectors * values.clamp(min=0).sqrt()).to(r)
    yield "gaussian", refit(fitted, explained + torch.randn(r.shape, generator=generator) @ root.T)
    yield "permuted", refit(fitted, explained + r[torch.randperm(len(r), generator=generator)])


def look(name: str, own: LatentSample, truth: Tensor | None = None) -> Iterator[tuple[object, ...]]:
    """The mean of every estimate, and how its ranks agree with those on the SAE's own activations; of the truth, where it is known, the mean."""

    def at(x: Tensor, fitted: Fit) -> Measured:
        return measure(own._replace(x=x), torch.Generator().manual_seed(0), CFG, fitted)

    fitted = fit(own)
    found = at(own.x, fitted)
    first = found.latents()
    if truth is not None:
        yield name, len(own.x), "own", "truth", float(truth.mean()), 1.0, len(truth)
    for residual, nothing in tqdm([("own", fitted), *residuals(found)], desc=name):
        latents = first if residual == "own" else at(nothing.x, nothing).latents()
        for estimate in RANKED:
            ranks = float(spearmanr(latents[estimate], first[estimate], nan_policy="omit").statistic)
            yield name, len(own.x), residual, estimate, float(latents[estimate].nanmean()), ranks, len(first[estimate])


def language_model() -> Iterator[tuple[object, ...]]:
    """Of checkpoints."""
    for name in SAES:
        sae = load_sae(str(Path(__file__).parents[2] / "evals" / "checkpoints" / name))
        sample = gather(sae, text(8, BATCHES), torch.Generator().manual_seed(0))
        yield from look(name, restricted(sample, live(sample, CFG.min_firings)))


def toys(cases: Sequence[Case]) -> Iterator[tuple[object, ...]]:
    """Of toy SAEs, beside the truth."""
    for case in cases:
        world = case.trained.run.world
        firings, x = world.sample(SAMPLES, torch.Generator().manual_seed(0))
        acts = case.trained.encode(x)
        (alive,) = ((acts > 0).sum(dim=0) >= MIN_FIRINGS).nonzero(as_tuple=True)
        given = Given(x, acts[:, alive], case.trained.W_dec[alive], case.trained.b_dec)
        yield from look(case.family.name, as_sample(given), measure_truth(given.f, firings, world.features).hedge)


def main() -> None:
    """Look at each SAE, and write the table."""
    families = [replace(one, recipes=one.recipes[NARROW]) for one in DEVELOPMENT if one.name in WORLDS]
    cases = train_families(families, [0])
    columns = ["sae", "tokens", "activations", "estimate", "mean", "ranks_with_own", "latents"]
    with torch.inference_mode():
        table = pd.DataFrame([*toys(cases), *language_model()], columns=columns)
    write_table(table, Path(__file__).parent / "nothing-owed.csv")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
