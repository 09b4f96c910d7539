"""How well estimates that see only activations tell what latents hedge: SAEs on worlds of many kinds, and beside each latent's truth what every estimator says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import torch
from tqdm import tqdm

from hedgebench.toy.estimate_families import Family
from hedgebench.toy.estimate_truth import measure_truth
from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.trainer import Trained, train
from hedgebench.toy.worlds import make_world

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

MIN_FIRINGS = 50
"""A latent is alive that fires on so many of the samples; the others are left out, of what estimators are given, too."""


class Given(NamedTuple):
    """What an estimator sees: an SAE, or a prefix of one, on samples."""

    x: Tensor
    """[n, d_in], the model's activations."""
    f: Tensor
    """[n, m], of the latents that are alive."""
    W_dec: Tensor
    """[m, d_in], of the same."""
    b_dec: Tensor
    """[d_in]."""


Estimator = Callable[[Given, int], "Tensor | dict[str, Tensor]"]
"""From what is given and a seed to an estimate for each latent, [m], or to several by their names."""


class Case(NamedTuple):
    """One SAE of the study."""

    family: Family
    world_seed: int
    trained: Trained


def train_families(families: Sequence[Family], seeds: Sequence[int], device: str = "cpu", progress: bool = True) -> list[Case]:  # fmt: skip
    """Train every recipe of every family in a world of each seed; runs of one shape train together.

    Args:
        families: What to train.
        seeds: Of the worlds, and of the training.
        device: Torch device.
        progress: Show a bar on stderr.

    Returns:
        In the order of families, seeds, recipes.
    """
    plans = []
    for family in families:
        for seed in seeds:
            world = make_world(family.world(seed))
            plans += [(family, seed, ToyRun(world, recipe, seed)) for recipe in family.recipes]
    trained = train([run for _, _, run in plans], device=device, progress=progress)
    return [Case(family, seed, sae) for (family, seed, _), sae in zip(plans, trained, strict=True)]


@torch.no_grad()
def judge(
    cases: Sequence[Case],
    estimators: Mapping[str, Estimator],
    n_samples: int = 50_000,
    seed: int = 0,
    progress: bool = True,
) -> DataFrame:
    """The truth of every latent of trained SAEs, and what estimators make of it.

    Args:
        cases: As from `train_families`; SAEs of one world that stand together are judged on the same samples.
        estimators: By the name of their column, where they have but one.
        n_samples: How many samples of each world.
        seed: Of the samples, and handed to estimators.
        progress: Show a bar on stderr.

    Returns:
        One row for each live latent of each SAE, and of each prefix of a Matryoshka SAE: family, kind, held_out, world_seed, recipe (its name), architecture, width, k,
        prefix (latents that were looked at, the width for a whole SAE), latent, hedge, absorb, best_cosine, density, own (see `estimate_truth.Truth`), and each estimator's.
    """
    import pandas as pd

    frames = []
    with tqdm(total=len(cases), disable=not progress, desc="SAEs judged") as bar:
        for _, group in groupby(cases, key=lambda case: case.trained.run.world.identity):
            own = list(group)
            world = own[0].trained.run.world
            firings, x = world.sample(n_samples, torch.Generator().manual_seed(seed))
            for case in own:
                sae, recipe = case.trained, case.trained.run.recipe
                acts = sae.encode(x)
                for prefix in recipe.all_levels:
                    (live,) = ((acts[:, :prefix] > 0).sum(dim=0) >= MIN_FIRINGS).nonzero(as_tuple=True)
                    given = Given(x, acts[:, live], sae.W_dec[live], sae.b_dec)
                    truth = measure_truth(given.f, firings, world.features)._asdict()
                    told: dict[str, Tensor] = {}
                    for name, estimator in estimators.items():
                        found = estimator(given, seed)
                        told |= found if isinstance(found, dict) else {name: found}
                    columns = {name: values.numpy() for name, values in (truth | told).items()}
                    frames.append(pd.DataFrame(_about(case) | {"prefix": prefix, "latent": live.numpy()} | columns))
                bar.update()
    return pd.concat(frames, ignore_index=True)


def _about(case: Case) -> dict[str, object]:
    recipe = case.trained.run.recipe
    return {
        "family": case.family.name,
        "kind": case.family.kind,
        "held_out": case.family.held_out,
        "world_seed": case.world_seed,
        "recipe": recipe_name(recipe),
        "architecture": recipe.architecture,
        "width": recipe.width,
        "k": recipe.k,
    }


def recipe_name(recipe: Recipe) -> str:
    """Such as `batchtopk-20-k1.5`, unique in a family."""
    return f"{recipe.architecture}-{recipe.width}-" + (f"k{recipe.k:.3g}" if recipe.k else f"l1_{recipe.l1:g}")
