"""The worlds in which toy SAEs grow, each with a dial that makes them hedge. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hedgebench.toy.recipes import Recipe
from hedgebench.toy.world_config import RandomCorrelation, WorldConfig

if TYPE_CHECKING:
    from hedgebench.training.losses import LossName


@dataclass(frozen=True)
class Setting:
    """A dial, and the SAEs that grow at each of its values."""

    name: str
    title: str
    dial: str
    """What the dial is."""
    points: tuple[float, ...]
    """Its values."""
    world: Callable[[float, int], WorldConfig]
    """Of a dial's value and a seed."""
    recipe: Recipe
    """Of the narrow SAE; the loss is given apart."""
    added: int
    """New latents."""
    losses: tuple[LossName, ...] = ("mse", "snap")
    per_world: int = 2
    """Training seeds in every world: what another seed's new latents learn is a null."""


def _crowd(strength: float, seed: int) -> WorldConfig:
    correlation = RandomCorrelation(strength=strength, uncorrelated=5)
    return WorldConfig("crowd", 32, (*(0.25,) * 5, *(0.1,) * 15), correlation=correlation, seed=seed)


def _pair(given: float, seed: int) -> WorldConfig:
    """A feature, and a second one that fires 1 time in 20, so often where the first does."""
    first, second = 0.25, 0.05
    otherwise = (second - first * given) / (1 - first)
    return WorldConfig("pair", 32, (first, given), parents={1: 0}, otherwise={1: otherwise}, seed=seed)


def _child(given: float, seed: int) -> WorldConfig:
    return WorldConfig("child", 32, (0.25, given), parents={1: 0}, seed=seed)


_STRENGTHS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
_NARROW = Recipe("standard", 5, l1=1e-2, steps=2000, batch_size=200, lr_decay=0.5, rescale_with_loss=False)
_ALONE = replace(_NARROW, width=1, init_noise=0.01)
_STRENGTH = "correlation strength"
SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "crowd+5",
            "5 latents, 20 features, grown by 5: a third of the rest",
            _STRENGTH,
            _STRENGTHS,
            _crowd,
            _NARROW,
            5,
        ),
        Setting("crowd+15", "The same, grown by 15: all of the rest", _STRENGTH, _STRENGTHS, _crowd, _NARROW, 15),
        Setting(
            "faint L1",
            "Grown by 15 with a tenth of the L1",
            _STRENGTH,
            _STRENGTHS,
            _crowd,
            replace(_NARROW, l1=1e-3),
            15,
            ("mse",),
        ),
        Setting(
            "pair",
            "One latent, two features, grown by 1",
            "P(second | first); .05 is independence",
            (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15),
            _pair,
            _ALONE,
            1,
            per_world=6,
        ),
        Setting(
            "child",
            "One latent, a parent and its child, grown by 1",
            "P(child | parent)",
            (0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
            _child,
            _ALONE,
            1,
            per_world=6,
        ),
    )
}
"""Every setting by name."""
