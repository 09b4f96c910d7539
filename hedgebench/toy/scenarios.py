"""The experiments of the post as named scenarios: a world, how SAEs are trained on it, and which rows of the post's claims it is about.

Rows are counted as in `results/toy/`; sources: the post on feature hedging, and "Feature Hedging" (arXiv 2505.11756) for the balanced Matryoshka SAEs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hedgebench.spelling import nearest
from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.world_config import RandomCorrelation, WorldConfig
from hedgebench.training.losses import LOSSES, LossName
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens.synthetic import SyntheticModelConfig

    from hedgebench.toy.worlds import World


@dataclass(frozen=True)
class Scenario:
    """A world and the SAEs that are trained on it."""

    name: str
    rows: tuple[int, ...]
    """Rows of the post's claims that it is about; none for a user's own."""
    about: str
    """One line."""
    world: WorldConfig | SyntheticModelConfig
    recipe: Recipe
    """How its SAEs are trained; the loss is given apart."""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    """Further recipes: what is added to the name, and the fields that differ."""
    losses: tuple[LossName, ...] = LOSSES
    world_per_seed: bool = False
    """Every training seed has a world of its own, of that seed: what is said is then about such worlds, not about one of them."""


@dataclass(frozen=True)
class NamedRun:
    """One SAE of a scenario."""

    name: str
    """`<scenario>[-<variant>]-<loss>-s<train_seed>`: the folder of its checkpoint."""
    scenario: str
    run: ToyRun


_PAIR = Recipe("standard", 1, l1=1e-3, steps=3000, lr_decay=0.5, init_noise=0.01, rescale_with_loss=False)
_CROWD = Recipe("standard", 5, l1=1e-3, steps=3000, batch_size=250, lr_decay=0.5, rescale_with_loss=False)
_TIED = Recipe("tied", 1, steps=2000, lr_decay=0.5, init_noise=0.01)
_PARENTS_FIRST = (0, 4, 8, 1, 2, 3, 5, 6, 7, 9, 10, 11, *range(12, 20))
_NESTED = Recipe(
    "matryoshka_standard",
    width=20,
    levels=(3, 12, 20),
    l1=2e-2,
    lr=1e-3,
    lr_decay=0.5,
    steps=2000,
    batch_size=250,
    snap_at=0.25,
    init_features=_PARENTS_FIRST,
    rescale_with_loss=False,
)
_FAMILIES = WorldConfig(
    "families",
    20,
    (*(0.25, 0.2, 0.2, 0.2) * 3, *(0.05,) * 8),
    parents={parent + i: parent for parent in (0, 4, 8) for i in (1, 2, 3)},
    exclusive=((1, 2, 3), (5, 6, 7), (9, 10, 11)),
)
TIED_RATIOS = (0.25, 0.45, 0.55, 0.63, 0.69, 0.75, 0.95, 1.1)
"""p1 / p0 of the tied scenarios: on both sides of 1/2, 2/3, 1/sqrt 2 and 1."""
CROWD_PROBABILITIES = (0.05, 0.075, 0.1, 0.125, 0.15)
"""How often the 15 outside features of rows 9 and 10 fire."""
BALANCES = (0.0, 0.125, 0.25, 0.5, 0.75, 2.0)
"""Multipliers of row 15, but for 1, which is scenario `matryoshka`; `detach` stands for an infinite one."""


def _pair(name: str, given: float, otherwise: float, **kwargs: Any) -> WorldConfig:
    return WorldConfig(name, 50, (0.25, given), parents={1: 0}, otherwise={1: otherwise} if otherwise else {}, **kwargs)


def _tied(ratio: float) -> Scenario:
    p0 = 0.5 / (1 + ratio)  # the parent fires half of the time, alone with p0, with its child with ratio * p0
    world = WorldConfig(f"tied-{ratio:g}", 50, (0.5, ratio * p0 / 0.5), parents={1: 0})
    about = f"tied unit latent, a child {ratio:g} times as often with its parent as the parent alone"
    return Scenario(world.name, (6, 7), about, world, _TIED)


def _crowd(name: str, rows: tuple[int, ...], p: float) -> Scenario:
    correlation = RandomCorrelation(strength=0.5, uncorrelated=5)
    world = WorldConfig(name, 20, (*(0.25,) * 5, *(p,) * 15), correlation=correlation)
    about = f"20 randomly correlated features for 5 latents, 15 of them at {p:g}; other correlations for every seed"
    return Scenario(name, rows, about, world, _CROWD, world_per_seed=True)


def _scenarios() -> Iterator[Scenario]:
    independent = WorldConfig("independent", 50, (0.25, 0.20))
    yield Scenario("independent", (1, 2, 8), "one latent, two independent features", independent, _PAIR)
    hierarchical = _pair("hierarchical", 0.2, 0.0)
    yield Scenario("hierarchical", (3, 8), "one latent, a parent and its child", hierarchical, _PAIR)
    yield Scenario("correlated", (4, 8), "one latent, two correlated features", _pair("correlated", 0.2, 0.1), _PAIR)
    anti = _pair("anticorrelated", 0.1, 0.2)
    yield Scenario("anticorrelated", (5, 8), "one latent, two anti-correlated features", anti, replace(_PAIR, l1=2e-2))
    yield from (_tied(ratio) for ratio in TIED_RATIOS)
    yield from (_crowd(f"crowd-{p:g}", {0.1: (9,), 0.15: (10,)}.get(p, (10,)), p) for p in CROWD_PROBABILITIES)
    never_alone = WorldConfig("never-alone", 15, (0.0, *(0.02,) * 14), any_of={0: tuple(range(1, 15))})
    yield Scenario(
        "never-alone", (11,), "one latent, a parent that fires only with one of 14 children", never_alone, _PAIR
    )
    yield Scenario(
        "absorption", (12,), "two latents, a parent and its child", hierarchical, replace(_PAIR, width=2, l1=1e-2)
    )
    yield Scenario(
        "matryoshka", (13, 14), "Matryoshka levels 3, 12, 20; three parents with three children", _FAMILIES, _NESTED
    )
    variants: dict[str, Mapping[str, Any]] = {f"balance{b:g}": {"balance": b} for b in BALANCES}
    variants["detach"] = {"detach": True}
    rough = {"early": {"snap_at": 0.25}, "late": {"snap_at": 0.5}}
    about = "the same from a noisy start, snap switching after a quarter or a half of training"
    yield Scenario("rough", (13, 14), about, _FAMILIES, replace(_NESTED, init_noise=0.1), rough, ("snap",))
    about = "the same Matryoshka SAE, inner levels weighted less or more"
    yield Scenario("balanced", (15,), about, _FAMILIES, _NESTED, variants)


SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _scenarios()}
"""Every scenario of the post, by name."""


def find_scenario(name: str) -> Scenario:
    """A scenario of the post by name.

    Raises:
        BadInput: There is none of that name.
    """
    if name not in SCENARIOS:
        raise BadInput(f"there is no scenario {name!r}{nearest(name, SCENARIOS)}")
    return SCENARIOS[name]


def scenario_runs(
    scenarios: Iterable[Scenario], losses: Sequence[LossName] | None, seeds: Sequence[int]
) -> list[NamedRun]:
    """Every SAE of some scenarios: variant by variant, loss by loss, seed by seed. Equal worlds are made once.

    Args:
        scenarios: What to train.
        losses: Only these; None: each scenario's own.
        seeds: Training seeds.
    """
    from hedgebench.toy.worlds import make_world

    worlds: list[tuple[Any, World]] = []

    def world_of(config: WorldConfig | SyntheticModelConfig) -> World:
        for known, made in worlds:
            if known == config:
                return made
        worlds.append((config, make_world(config)))
        return worlds[-1][1]

    found = []
    for scenario in scenarios:
        for variant, changes in scenario.variants.items():
            for loss in scenario.losses if losses is None else losses:
                recipe = replace(scenario.recipe, loss=loss, **changes)
                for seed in seeds:
                    config = replace(scenario.world, seed=seed) if scenario.world_per_seed else scenario.world
                    parts = [scenario.name, variant, loss, f"s{seed}"]
                    name = "-".join(part for part in parts if part)
                    world = world_of(config)
                    if max(recipe.init_features, default=0) >= world.n_features:
                        raise BadInput(
                            f"{name}: 'init_features' names feature {max(recipe.init_features)} of {world.n_features}, counted from 0"
                        )
                    found.append(NamedRun(name, scenario.name, ToyRun(world, recipe, seed)))
    return found
