"""The law of a toy world: as modifiers of SAELens's ActivationGenerator, and, where the law has few outcomes, as their exact probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.toy.world_config import RandomCorrelation, WorldConfig, ancestors

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sae_lens.synthetic import ActivationGenerator
    from torch import Tensor

_MOST_FEATURES = 12
"""Outcomes are counted through up to this many features: 2^12 rows."""


def correlation_matrix(config: WorldConfig) -> Tensor | None:
    """The correlation of the Gaussians behind the features, [n_features, n_features] in float32, or None for features without one."""
    import torch

    given = config.correlation
    if given is None:
        return None
    if not isinstance(given, RandomCorrelation):
        return torch.tensor(given)
    n, generator = config.n_features, torch.Generator().manual_seed(config.seed + 1)
    common = torch.randn(n, n, generator=generator, dtype=torch.float64)
    mixed = given.strength * common / common.norm(dim=1, keepdim=True)
    mixed[: given.uncorrelated] = torch.eye(n, dtype=torch.float64)[: given.uncorrelated]
    matrix: Tensor = (mixed @ mixed.T).fill_diagonal_(1.0).float()
    return matrix  # the diagonal's rest is each feature's own share


def make_generator(config: WorldConfig, correlation: Tensor | None) -> ActivationGenerator:
    """SAELens's generator of this law. It draws from torch's global generator."""
    import torch
    from sae_lens.synthetic import ActivationGenerator, HierarchyNode, hierarchy_modifier

    modifiers: list[Callable[..., Tensor]] = [_exclusive(config, group) for group in config.exclusive]
    modifiers += [_any_of(config, feature) for feature in config.any_of]
    modifiers += [_otherwise(config, child) for child in config.otherwise]
    if edges := {child: parent for child, parent in config.parents.items() if child not in config.otherwise}:
        roots = set(edges.values()) - set(edges)

        def node(feature: int) -> HierarchyNode:
            return HierarchyNode(feature, [node(child) for child, parent in edges.items() if parent == feature])

        modifiers.append(hierarchy_modifier([node(root) for root in sorted(roots)]))
    return ActivationGenerator(
        num_features=config.n_features,
        firing_probabilities=torch.tensor(config.probability),
        mean_firing_magnitudes=torch.tensor(config.magnitudes),
        std_firing_magnitudes=config.magnitude_std,
        modify_activations=modifiers or None,
        correlation_matrix=correlation,
    )


def _strengths(config: WorldConfig, features: Sequence[int], fires: Tensor) -> Tensor:
    """A strength wherever one of these features fires, [n, len(features)], 0 elsewhere."""
    import torch

    mean = torch.tensor([config.magnitudes[feature] for feature in features])
    strength: Tensor = fires * (mean + config.magnitude_std * torch.randn(fires.shape)).relu()
    return strength


def _exclusive(config: WorldConfig, group: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Draw again which one of a group fires. SAELens settles ties after drawing each by itself, which lowers the probabilities (.2 becomes .163)."""
    import torch

    edges = torch.tensor([config.probability[feature] for feature in group]).cumsum(0)

    def modify(acts: Tensor) -> Tensor:
        chosen = torch.bucketize(torch.rand(len(acts)), edges, right=True)  # len(group): none of them
        acts[:, list(group)] = _strengths(config, group, chosen[:, None] == torch.arange(len(group)))
        return acts

    return modify


def _any_of(config: WorldConfig, feature: int) -> Callable[[Tensor], Tensor]:
    causes = list(config.any_of[feature])

    def modify(acts: Tensor) -> Tensor:
        acts[:, [feature]] = _strengths(config, [feature], (acts[:, causes] > 0).any(dim=1, keepdim=True))
        return acts

    return modify


def _otherwise(config: WorldConfig, child: int) -> Callable[[Tensor], Tensor]:
    import torch

    parent, probability = config.parents[child], config.otherwise[child]

    def modify(acts: Tensor) -> Tensor:
        instead = _strengths(config, [child], torch.rand(len(acts), 1) < probability)
        acts[:, [child]] = torch.where(acts[:, [parent]] > 0, acts[:, [child]], instead)
        return acts

    return modify


def outcomes(config: WorldConfig) -> tuple[NDArray[np.bool_], NDArray[np.float64]] | None:
    """Every set of features that can fire together, and its probability.

    Returns:
        ([P, n_features], [P]), outcomes of probability 0 left out; None with a Gaussian correlation or more than 12 features, where there is no short list.
    """
    if config.correlation is not None or config.n_features > _MOST_FEATURES:
        return None
    rows = np.array(list(itertools.product((False, True), repeat=config.n_features)))
    probability = np.ones(len(rows))
    grouped = {feature for group in config.exclusive for feature in group}
    for feature, p in enumerate(config.probability):
        fires = rows[:, feature]
        if feature in config.any_of:
            probability *= fires == rows[:, list(config.any_of[feature])].any(axis=1)
        elif feature not in grouped:
            parent = config.parents.get(feature)
            alone = config.otherwise.get(feature, 0.0)
            chance = np.full(len(rows), p) if parent is None else np.where(rows[:, parent], p, alone)
            probability *= np.where(fires, chance, 1 - chance)
    for group in config.exclusive:
        probability *= _group_probability(config, group, rows)
    possible = probability > 0
    return rows[possible], probability[possible]


def _group_probability(config: WorldConfig, group: tuple[int, ...], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    p = np.array([config.probability[feature] for feature in group])
    members = rows[:, list(group)]
    count = members.sum(axis=1)
    free = np.where(count == 0, max(0.0, 1 - p.sum()), np.where(count == 1, members @ p, 0.0))
    parent = config.parents.get(group[0])
    return free if parent is None else np.where(rows[:, parent], free, count == 0)


def marginals(config: WorldConfig) -> list[float]:
    """The firing probability of each feature, exactly."""
    found = list(config.probability)
    for feature in sorted(config.parents, key=lambda child: len(ancestors(config.parents, child))):
        parent = found[config.parents[feature]]
        found[feature] = parent * config.probability[feature] + (1 - parent) * config.otherwise.get(feature, 0.0)
    for feature, causes in config.any_of.items():
        grouped = [tuple(cause for cause in causes if cause in group) for group in config.exclusive]
        single = [cause for cause in causes if not any(cause in group for group in grouped)]
        silent = [1 - sum(config.probability[cause] for cause in group) for group in grouped]
        found[feature] = 1 - math.prod([*silent, *(1 - config.probability[cause] for cause in single)])
    return found
