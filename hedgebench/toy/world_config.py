"""The description of a toy world: which features there are, and the law by which they fire. Standard library only.

A law is made of independent features, to which may be added trees (a child can fire only with its parent), a child's own probability where its parent
is silent, groups of which at most one fires, a feature that fires whenever one of others does, or a Gaussian correlation between all of them. Beside what
fires there may be noise, which may follow what fires.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from hedgebench.spelling import nearest
from hedgebench.types import BadInput

Directions = Literal["orthonormal", "random", "spread"]
DIRECTIONS: tuple[Directions, ...] = get_args(Directions)
NoiseShape = Literal["isotropic", "anisotropic"]
NOISE_SHAPES: tuple[NoiseShape, ...] = get_args(NoiseShape)


@dataclass(frozen=True)
class RandomCorrelation:
    """A random correlation matrix of the Gaussians behind the features.

    The first `uncorrelated` features have no correlation with each other. Every other feature is a random mixture, of share `strength`, of `n_features`
    common directions, the first of which are those features; the rest of it, sqrt(1 - strength^2), is its own. The matrix is the Gram matrix of these unit vectors.
    """

    strength: float = 0.5
    """From 0 (independent) up to, not including, 1."""
    uncorrelated: int = 0
    """Number of leading features without any correlation among themselves."""


@dataclass(frozen=True)
class WorldConfig:
    """A world of known features.

    Raises:
        BadInput: The features cannot fire so, or cannot lie so.
    """

    name: str
    """What it is called in tables."""
    d_in: int
    """Dimension of the activations."""
    probability: tuple[float, ...]
    """Firing probability of each feature; of a child: given that its parent fires. Not used for a feature in `any_of`: write 0."""
    parents: Mapping[int, int] = field(default_factory=dict)
    """Child -> parent: the child fires only where its parent does, but for `otherwise`."""
    otherwise: Mapping[int, float] = field(default_factory=dict)
    """Child -> its firing probability where its parent is silent: a pair that is merely correlated."""
    exclusive: tuple[tuple[int, ...], ...] = ()
    """Groups of siblings, or of features without a parent, of which at most one fires. Their probabilities hold exactly, and sum to at most 1."""
    any_of: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Feature -> features without a parent: it fires exactly where at least one of them does."""
    correlation: tuple[tuple[float, ...], ...] | RandomCorrelation | None = None
    """Correlation matrix of Gaussians, each feature firing where its own passes the threshold of its probability; or a random one."""
    magnitude: float | tuple[float, ...] = 1.0
    """Mean strength of a feature where it fires: one for all, or one for each."""
    magnitude_std: float = 0.0
    """Standard deviation of the strength, cut at 0."""
    directions: Directions = "orthonormal"
    """`orthonormal`; `random` unit vectors; or `spread`: random ones pushed apart (SAELens's own, for more features than dimensions)."""
    bias: float = 0.0
    """Norm of a random constant that is added to every activation."""
    seed: int = 0
    """Decides the directions, the bias, a random correlation and the subspaces of anisotropic noise."""
    random_sign: tuple[int, ...] = ()
    """Features that fire with a sign drawn at random: their mean is 0 and follows no other feature; their variance may."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on each coordinate of every activation."""
    noise_follows: Mapping[int, float] = field(default_factory=dict)
    """Feature -> factor, from 1 up: where it fires, and no other that is named, the noise's standard deviation is multiplied by it. Of several, what they add to
    its variance is added."""
    noise_shape: NoiseShape = "isotropic"
    """Where the noise that a feature adds lies: everywhere, or (`anisotropic`) in d_in/8 dimensions of its own, drawn from the seed, with as much variance in all."""

    @property
    def n_features(self) -> int:
        """How many features there are."""
        return len(self.probability)

    @property
    def magnitudes(self) -> tuple[float, ...]:
        """Mean strength of each feature where it fires."""
        given = self.magnitude if isinstance(self.magnitude, tuple) else (self.magnitude,) * self.n_features
        return tuple(map(float, given))

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise BadInput(f"toy world {self.name!r}: {problem}")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data. What a world saved earlier does not have is left out at its default: it keeps its identity."""
        data = {key: value for key, value in asdict(self).items() if key not in _LATER or value != _LATER[key]}
        for key in _BY_FEATURE & set(data):
            data[key] = {str(feature): value for feature, value in data[key].items()}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WorldConfig:
        """The inverse of `to_dict`; also what a YAML mapping gives.

        Raises:
            BadInput: A key is unknown or missing, a value of the wrong kind, or the world impossible.
        """
        known = [f.name for f in fields(cls)]
        name = data.get("name", "?")
        for key in data:
            if key not in known:
                raise BadInput(f"toy world {name!r}: there is no key {key!r}{nearest(str(key), known)}")
        for key in ("name", "d_in", "probability"):
            if key not in data:
                raise BadInput(f"toy world {name!r}: {key!r} is missing")
        values = {key: _read(f"toy world {name!r}: {key!r}", key, value) for key, value in data.items()}
        return cls(**values)


_LATER: Mapping[str, Any] = {"random_sign": (), "noise": 0.0, "noise_follows": {}, "noise_shape": "isotropic"}
"""Fields that came later, and their defaults."""
_BY_FEATURE = {"parents", "otherwise", "any_of", "noise_follows"}
"""Fields that are mappings from features."""


def ancestors(parents: Mapping[int, int], feature: int) -> list[int]:
    """The ancestors of a feature, nearest first.

    Raises:
        BadInput: The feature is its own ancestor.
    """
    chain: list[int] = []
    while feature in parents:
        feature = parents[feature]
        if feature in chain:
            raise BadInput(f"feature {feature} is its own ancestor: a hierarchy has no cycles")
        chain.append(feature)
    return chain


# --- checks --------------------------------------------------------------------------------------------------------------------


def _problems(c: WorldConfig) -> Iterator[str]:
    """Everything that is wrong, the first things first: later checks may take the earlier ones for granted."""
    n = c.n_features
    if n < 1 or c.d_in < 1:
        yield f"needs at least one feature and one dimension, found {n} and {c.d_in}"
    for key, known in (("directions", DIRECTIONS), ("noise_shape", NOISE_SHAPES)):
        if (value := getattr(c, key)) not in known:
            yield f"{key!r} is {value!r}{nearest(str(value), known)}"
    if c.directions == "orthonormal" and n > c.d_in:
        yield f"{n} features cannot be orthonormal in {c.d_in} dimensions: raise 'd_in', or take directions 'spread' or 'random'"
    for feature, p in [*enumerate(c.probability), *c.otherwise.items()]:
        if not 0 <= p <= 1:
            yield f"the probability of feature {feature} is {p:g}: it must lie between 0 and 1"
    if len(c.magnitudes) != n:
        yield f"'magnitude' must be one number, or one for each of the {n} features, not {len(c.magnitudes)}"
    for key, numbers in (
        ("magnitude", c.magnitudes),
        *((key, (getattr(c, key),)) for key in ("magnitude_std", "bias", "noise")),
    ):
        for value in numbers:
            if not (math.isfinite(value) and value >= 0):
                yield f"{key!r} must be a number from 0 up, not {value}"
    if not 0 <= c.seed < 2**63:
        yield f"'seed' must be a whole number from 0, not {c.seed}"
    named = {*c.parents, *c.parents.values(), *c.otherwise, *c.any_of, *c.random_sign, *c.noise_follows}
    named |= {feature for group in (*c.exclusive, *c.any_of.values()) for feature in group}
    if strangers := sorted(feature for feature in named if not 0 <= feature < n):
        yield f"there is no feature {strangers[0]}: there are {n}, counted from 0"
        return
    yield from _tree_problems(c)
    yield from _group_problems(c)
    yield from _correlation_problems(c)
    yield from _noise_problems(c)


def _noise_problems(c: WorldConfig) -> Iterator[str]:
    if len(set(c.random_sign)) < len(c.random_sign):
        yield "'random_sign' names a feature twice"
    if c.noise_follows and not c.noise:
        yield "'noise_follows' multiplies 'noise', which is 0"
    for feature, factor in c.noise_follows.items():
        if not (math.isfinite(factor) and factor >= 1):
            yield f"'noise_follows' of feature {feature} must be a factor from 1 up, not {factor:g}"


def _tree_problems(c: WorldConfig) -> Iterator[str]:
    for child in c.parents:
        try:
            ancestors(c.parents, child)
        except BadInput as error:
            yield str(error)
            return
    inner = set(c.parents.values())
    for child in c.otherwise:
        if child not in c.parents:
            yield f"'otherwise' names feature {child}, which has no parent"
        elif child in inner or c.parents[child] in c.parents:
            yield f"'otherwise' of feature {child}: only for a child without children of a parent without a parent"


def _group_problems(c: WorldConfig) -> Iterator[str]:
    members = [feature for group in c.exclusive for feature in group]
    if len(set(members)) < len(members):
        yield "a feature is in two exclusive groups, or twice in one"
    for group in c.exclusive:
        if len({c.parents.get(feature) for feature in group}) > 1:
            yield f"the exclusive features {list(group)} have different parents"
        if any(feature in c.otherwise or feature in c.any_of for feature in group):
            yield f"the exclusive features {list(group)} may have neither 'otherwise' nor 'any_of'"
        if (total := sum(c.probability[feature] for feature in group)) > 1 + 1e-9:
            yield f"the probabilities of the exclusive features {list(group)} sum to {total:g}: at most 1"
    for feature, causes in c.any_of.items():
        if not causes or feature in causes:
            yield f"'any_of' of feature {feature} must name at least one other feature"
        if feature in c.parents or any(cause in c.parents or cause in c.any_of for cause in causes):
            yield f"'any_of' of feature {feature}: neither it nor the features it names may have a parent or 'any_of'"


def _correlation_problems(c: WorldConfig) -> Iterator[str]:
    if c.correlation is None:
        return
    if c.parents or c.exclusive or c.any_of:
        yield "'correlation' goes with neither 'parents', 'exclusive' nor 'any_of'; a `synthetic` world has both"
    if not all(0 < p < 1 for p in c.probability):
        yield "with 'correlation' every probability must lie strictly between 0 and 1"
    if isinstance(c.correlation, RandomCorrelation):
        if not 0 <= c.correlation.strength < 1:
            yield f"the correlation's 'strength' must be from 0 up to, not including, 1: not {c.correlation.strength:g}"
        if not 0 <= c.correlation.uncorrelated <= c.n_features:
            yield f"the correlation's 'uncorrelated' must be from 0 to {c.n_features}, not {c.correlation.uncorrelated}"
        return
    yield from _matrix_problems(c.correlation, c.n_features)


def _matrix_problems(matrix: tuple[tuple[float, ...], ...], n: int) -> Iterator[str]:
    import numpy as np

    if len(matrix) != n or any(len(row) != n for row in matrix):
        yield f"'correlation' must be a matrix of {n} rows of {n} numbers"
        return
    values = np.array(matrix, dtype=np.float64)
    if not np.isfinite(values).all() or not np.allclose(values, values.T) or not np.allclose(np.diag(values), 1):
        yield "'correlation' must be symmetric, with ones on its diagonal"
    elif (smallest := float(np.linalg.eigvalsh(values)[0])) < 1e-6:
        yield (
            f"no features can correlate as 'correlation' says: its smallest eigenvalue is {smallest:.3g} and must be above 0; lower the correlations"
        )


# --- reading -------------------------------------------------------------------------------------------------------------------


def _read(where: str, key: str, value: Any) -> Any:
    """One value of a config as its field has it.

    Raises:
        BadInput: It is of another kind.
    """
    if key in _BY_FEATURE:
        if not isinstance(value, Mapping):
            raise BadInput(f"{where} must be a mapping from features, not {value!r}")
        read = {"parents": _whole, "otherwise": _number, "any_of": _wholes, "noise_follows": _number}[key]
        return {_whole(where, feature): read(where, entry) for feature, entry in value.items()}
    if key == "exclusive":
        return tuple(_wholes(where, group) for group in _list(where, value))
    if key == "random_sign":
        return _wholes(where, value)
    if key == "probability" or (key == "magnitude" and isinstance(value, (list, tuple))):
        return tuple(_number(where, p) for p in _list(where, value))
    if key == "correlation":
        return _read_correlation(where, value)
    if key in ("d_in", "seed"):
        return _whole(where, value)
    if key in ("magnitude", "magnitude_std", "bias", "noise"):
        return _number(where, value)
    if not isinstance(value, str):
        raise BadInput(f"{where} must be a text, not {value!r}")
    return value


def _read_correlation(where: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        known = [f.name for f in fields(RandomCorrelation)]
        for key in value:
            if key not in known:
                raise BadInput(f"{where}: there is no key {key!r}{nearest(str(key), known)}")
        read: Mapping[str, Any] = {"strength": _number, "uncorrelated": _whole}
        return RandomCorrelation(**{key: read[key](where, entry) for key, entry in value.items()})
    return tuple(tuple(_number(where, entry) for entry in _list(where, row)) for row in _list(where, value))


def _list(where: str, value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise BadInput(f"{where} must be a list, not {value!r}")
    return value


def _wholes(where: str, value: Any) -> tuple[int, ...]:
    return tuple(_whole(where, entry) for entry in _list(where, value))


def _whole(where: str, value: Any) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:  # JSON's and LineMap's keys are texts
        return int(value)
    if type(value) is not int:
        raise BadInput(f"{where} must hold whole numbers, not {value!r}")
    return value


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise BadInput(f"{where} must hold numbers, not {value!r}")
    return float(value)
