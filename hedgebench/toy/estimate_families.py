"""The worlds on which estimates of hedging are judged: families of several kinds, and the SAEs that are trained on each.

Latents start at the first features of a world, those of a narrow SAE at the first quarter; what the others are to these is what makes a kind. HELD_OUT holds the
same kinds in other numbers: for one look, by an estimate that is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from hedgebench.toy.firing import marginals
from hedgebench.toy.recipes import Recipe
from hedgebench.toy.world_config import WorldConfig

Kind = Literal["orthogonal", "superposed", "hierarchical", "sizes", "zero", "hetero_noise", "random_sign", "mixed"]
HEDGED: tuple[Kind, ...] = ("orthogonal", "superposed", "hierarchical", "sizes")
"""Kinds whose SAEs hedge, and in which nothing else makes the residual follow a latent."""
CONTROLS: tuple[Kind, ...] = ("zero", "hetero_noise", "random_sign")
"""Kinds without hedging."""
Span = tuple[float, float]
"""What is drawn uniformly between."""


@dataclass(frozen=True)
class Family:
    """Worlds of one law, and the SAEs trained in each."""

    name: str
    kind: Kind
    held_out: bool
    world: Callable[[int], WorldConfig]
    """Of a seed, which also draws what fires with what."""
    recipes: tuple[Recipe, ...]


# --- worlds ----------------------------------------------------------------------------------------------------------------------


def zipf(n: int, most: float, exponent: float, least: float = 0.02) -> tuple[float, ...]:
    """Firing probabilities most / rank^exponent, none below `least`."""
    return tuple(max(least, most / rank**exponent) for rank in range(1, n + 1))


def factor_correlation(n: int, rank: int, share: float, rng: np.random.Generator) -> tuple[tuple[float, ...], ...]:
    """Correlation matrix of n Gaussians that have `share` of their variance from `rank` common factors, in random mixtures."""
    loadings = rng.standard_normal((n, rank))
    loadings /= np.linalg.norm(loadings, axis=1, keepdims=True)
    matrix = share * loadings @ loadings.T
    np.fill_diagonal(matrix, 1.0)
    return tuple(map(tuple, matrix.tolist()))


def _correlated(seed: int, base: WorldConfig, rank: int, share: float) -> WorldConfig:
    """Features whose firing follows a few common factors."""
    correlation = factor_correlation(base.n_features, rank, share, np.random.default_rng(seed))
    return replace(base, correlation=correlation, seed=seed)


def _sized(seed: int, base: WorldConfig, rank: int, share: float) -> WorldConfig:
    """The same, of magnitudes from .3 to 3, equally often in every octave."""
    drawn = np.random.default_rng(seed + 1000).uniform(np.log(0.3), np.log(3), base.n_features)
    return replace(_correlated(seed, base, rank, share), magnitude=tuple(np.exp(drawn).tolist()))


def _pairs(seed: int, base: WorldConfig, outside: int, given: Span, alone: Span, signed: float = 0.0) -> WorldConfig:
    """The features of `base`, and others that each follow one of these, a share `signed` of them with a random sign.

    They fire with a chance from the span `given` where that one does, and from `alone` where it does not.
    """
    rng, tracked = np.random.default_rng(seed), base.n_features
    others = range(tracked, tracked + outside)
    chosen = rng.choice(others, round(signed * outside), replace=False)
    return replace(
        base,
        probability=(*base.probability, *rng.uniform(*given, outside).tolist()),
        parents=dict(zip(others, rng.integers(tracked, size=outside).tolist(), strict=True)),
        otherwise=dict(zip(others, rng.uniform(*alone, outside).tolist(), strict=True)),
        random_sign=tuple(sorted(chosen.tolist())),
        seed=seed,
    )


def _trees(seed: int, base: WorldConfig, children: int, unions: int, causes: int) -> WorldConfig:
    """The features of `base`, each with children, exclusive ones for every other, and one grandchild; and unions, which fire wherever one of their causes does.

    In the order: roots, unions, children, causes, grandchildren.
    """
    rng, roots = np.random.default_rng(seed), base.n_features
    numbers = iter(range(roots, roots * (2 + children) + unions * (1 + causes)))
    union = [next(numbers) for _ in range(unions)]
    broods = [tuple(next(numbers) for _ in range(children)) for _ in range(roots)]
    reasons = [tuple(next(numbers) for _ in range(causes)) for _ in range(unions)]
    spans = [(0.05, 0.9 / children)] * (roots * children) + [(0.02, 0.05)] * (unions * causes) + [(0.2, 0.5)] * roots
    return replace(
        base,
        probability=(*base.probability, *(0.0,) * unions, *(float(rng.uniform(*span)) for span in spans)),
        parents={child: root for root, brood in enumerate(broods) for child in brood}
        | dict(zip(numbers, (brood[0] for brood in broods), strict=True)),
        exclusive=tuple(broods[::2]),
        any_of=dict(zip(union, reasons, strict=True)),
        seed=seed,
    )


def _noisy(seed: int, base: WorldConfig, followed: int, factors: Span) -> WorldConfig:
    """Noise that grows where one of the first `followed` features fires."""
    drawn = np.random.default_rng(seed).uniform(*factors, followed)
    return replace(base, noise_follows=dict(enumerate(drawn.tolist())), seed=seed)


def _seeded(seed: int, base: WorldConfig) -> WorldConfig:
    return replace(base, seed=seed)


# --- SAEs ------------------------------------------------------------------------------------------------------------------------

_START = Recipe("standard", 1, steps=2500, batch_size=256, lr_decay=0.3, init_noise=0.03)
_L1 = 0.1


def make_recipes(law: WorldConfig, kind: Kind, narrow: int) -> tuple[Recipe, ...]:
    """SAEs for worlds whose features beyond the first `narrow` are what so many latents can hedge.

    L1 at three widths; BatchTopK narrow, with k at .5, 1 and 2 times the number of features that fire on average among those that its latents start at, and at
    another width; Matryoshka. Where there shall be no hedging k is right; where features have a random sign none is wide enough to track them.
    """
    if kind in ("random_sign", "mixed"):
        widths, levels = (narrow // 2, 3 * narrow // 4, narrow), (narrow // 4, narrow // 2, narrow)
    else:
        widths, levels = (narrow, 2 * narrow, law.n_features), (narrow // 2, narrow, 2 * narrow)
    rates = marginals(law)

    def top_k(width: int, multiple: float = 1.0) -> Recipe:
        return replace(_START, architecture="batchtopk", width=width, k=multiple * sum(rates[:width]))

    return (
        *(replace(_START, width=width, l1=_L1) for width in widths),
        *(top_k(narrow, multiple) for multiple in ((1.0,) if kind in ("zero", "hetero_noise") else (0.5, 1.0, 2.0))),
        top_k(widths[1]),
        replace(top_k(levels[-1]), architecture="matryoshka_batchtopk", levels=levels),
    )


def _family(name: str, kind: Kind, narrow: int, world: Callable[[int], WorldConfig], held_out: bool = False) -> Family:
    return Family(name, kind, held_out, world, make_recipes(world(0), kind, narrow))


def _law(name: str, d_in: int, probability: Sequence[float], **more: Any) -> WorldConfig:
    return WorldConfig(name, d_in, tuple(probability), **{"magnitude_std": 0.2, **more})


_held_out = partial(_family, held_out=True)

DEVELOPMENT = (
    _family("factors", "orthogonal", 20, partial(_correlated, base=_law("factors", 100, zipf(80, 0.2, 0.5)), rank=4, share=0.5)),
    _family("pairs", "orthogonal", 15, partial(_pairs, base=_law("pairs", 80, zipf(15, 0.2, 0.4)), outside=45, given=(0.04, 0.4), alone=(0.02, 0.05))),
    _family("crowded", "superposed", 30, partial(_correlated, base=_law("crowded", 64, zipf(120, 0.15, 0.4), directions="spread"), rank=5, share=0.45)),
    _family("dense", "superposed", 45, partial(_correlated, base=_law("dense", 96, zipf(180, 0.1, 0.3), directions="spread", magnitude_std=0.1), rank=8, share=0.5)),
    _family("trees", "hierarchical", 16, partial(_trees, base=_law("trees", 100, zipf(12, 0.2, 0.4)), children=3, unions=4, causes=3)),
    _family("broods", "hierarchical", 20, partial(_trees, base=_law("broods", 128, zipf(16, 0.2, 0.3), magnitude_std=0.3), children=4, unions=4, causes=2)),
    _family("sizes", "sizes", 18, partial(_sized, base=_law("sizes", 96, zipf(72, 0.2, 0.4), magnitude_std=0.1), rank=4, share=0.6)),
    _family("apart", "zero", 16, partial(_seeded, base=_law("apart", 96, zipf(64, 0.2, 0.5)))),
    _family("hum", "hetero_noise", 12, partial(_noisy, base=_law("hum", 96, zipf(48, 0.2, 0.4), noise=0.05), followed=12, factors=(1.2, 2.5))),
    _family("rays", "hetero_noise", 12, partial(_noisy, base=_law("rays", 96, zipf(48, 0.2, 0.4), noise=0.05, noise_shape="anisotropic"), followed=12, factors=(1.2, 2.5))),
    _family("signs", "random_sign", 16, partial(_pairs, base=_law("signs", 80, zipf(16, 0.2, 0.4)), outside=48, given=(0.2, 0.6), alone=(0.01, 0.04), signed=1.0)),
    _family("both", "mixed", 20, partial(_pairs, base=_law("both", 100, zipf(20, 0.2, 0.4)), outside=60, given=(0.05, 0.5), alone=(0.01, 0.04), signed=0.5)),
)  # fmt: skip
"""Estimates may be chosen by these."""

HELD_OUT = (
    _held_out("factors_2", "orthogonal", 28, partial(_correlated, base=_law("factors_2", 128, zipf(112, 0.15, 0.4), magnitude=2.0, magnitude_std=0.5), rank=6, share=0.5)),
    _held_out("pairs_2", "orthogonal", 24, partial(_pairs, base=_law("pairs_2", 112, zipf(24, 0.12, 0.2)), outside=72, given=(0.05, 0.35), alone=(0.01, 0.06))),
    _held_out("crowded_2", "superposed", 36, partial(_correlated, base=_law("crowded_2", 80, zipf(144, 0.12, 0.35), directions="spread", magnitude_std=0.25), rank=4, share=0.4)),
    _held_out("trees_2", "hierarchical", 20, partial(_trees, base=_law("trees_2", 120, zipf(14, 0.15, 0.2), magnitude_std=0.15), children=2, unions=6, causes=4)),
    _held_out("sizes_2", "sizes", 24, partial(_sized, base=_law("sizes_2", 112, zipf(90, 0.15, 0.3), magnitude_std=0.15), rank=6, share=0.6)),
    _held_out("apart_2", "zero", 14, partial(_seeded, base=_law("apart_2", 72, zipf(56, 0.15, 0.3), magnitude_std=0.3))),
    _held_out("hum_2", "hetero_noise", 16, partial(_noisy, base=_law("hum_2", 64, zipf(60, 0.15, 0.4), noise=0.06), followed=10, factors=(1.5, 3.0))),
    _held_out("rays_2", "hetero_noise", 16, partial(_noisy, base=_law("rays_2", 112, zipf(64, 0.15, 0.4), noise=0.04, noise_shape="anisotropic"), followed=10, factors=(1.5, 3.0))),
    _held_out("signs_2", "random_sign", 20, partial(_pairs, base=_law("signs_2", 112, zipf(20, 0.15, 0.3), magnitude_std=0.3), outside=80, given=(0.15, 0.7), alone=(0.0, 0.03), signed=1.0)),
    _held_out("both_2", "mixed", 16, partial(_pairs, base=_law("both_2", 72, zipf(16, 0.15, 0.3), magnitude_std=0.1), outside=48, given=(0.05, 0.55), alone=(0.0, 0.05), signed=0.6)),
)  # fmt: skip
"""For one look by an estimate that is finished."""
