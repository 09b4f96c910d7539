"""A toy world: true features, the law by which they fire, and samples of both. Built on `sae_lens.synthetic`."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from sae_lens.synthetic import (
    ActivationGenerator,
    FeatureDictionary,
    SyntheticModel,
    SyntheticModelConfig,
    orthogonal_initializer,
)

from hedgebench import world_files
from hedgebench.memory import check_memory
from hedgebench.toy.firing import correlation_matrix, make_generator, marginals, outcomes
from hedgebench.toy.noise import add_noise, draw_signs, noise_spans
from hedgebench.toy.world_config import WorldConfig
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from torch import Tensor


_ROUNDING = 1e-3
"""How far from 1 a feature's norm, or from 0 the product of orthonormal ones, may be."""


class Sample(NamedTuple):
    """Activations, and the truth behind them."""

    firings: Tensor
    """[n, n_features], the strength of every feature, 0 where it is silent; below 0 at times if its sign is random."""
    activations: Tensor
    """[n, d_in] = firings @ features + bias + noise."""


class Patterns(NamedTuple):
    """A whole distribution that has few points."""

    firings: Tensor
    """[P, n_features]."""
    activations: Tensor
    """[P, d_in]."""
    probabilities: Tensor
    """[P], float64, sum 1."""


@dataclass(frozen=True, eq=False)
class World:
    """True features and the law by which they fire. On the CPU, in float32."""

    config: WorldConfig | SyntheticModelConfig
    feature_dict: FeatureDictionary
    """SAELens's map from firings to activations."""
    activation_generator: ActivationGenerator
    """SAELens's generator of firings; it draws from torch's global generator, `sample` does not."""
    synthetic: SyntheticModel | None = None
    """The whole of SAELens's model, for a world made by one."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.config.name if isinstance(self.config, WorldConfig) else "synthetic"

    @property
    def features(self) -> Tensor:
        """[n_features, d_in], unit rows."""
        rows: Tensor = self.feature_dict.feature_vectors.detach()
        return rows

    @property
    def bias(self) -> Tensor:
        """[d_in], added to every activation."""
        constant: Tensor = self.feature_dict.bias.detach()
        return constant

    @property
    def n_features(self) -> int:
        """How many true features there are."""
        return len(self.features)

    @property
    def d_in(self) -> int:
        """Dimension of the activations."""
        return len(self.bias)

    @property
    def probabilities(self) -> Tensor | None:
        """[n_features], how often each feature fires; None for SAELens's SyntheticModel, which does not know it exactly."""
        return torch.tensor(marginals(self.config)) if isinstance(self.config, WorldConfig) else None

    @cached_property
    def noise_spans(self) -> Tensor | None:
        """[features that noise follows, d_in/8, d_in]: an orthonormal basis of where each one's noise lies; None for noise that is isotropic."""
        return noise_spans(self.config) if isinstance(self.config, WorldConfig) else None

    @cached_property
    def identity(self) -> str:
        """`toy:<name>@<12 hex digits>`, by content: that of its saved files."""
        return world_files.identity_of(self._files())

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Sample:
        """Draw `n` samples; torch's global random state is left as it was."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
            firings = self.activation_generator.sample(n)
        if not isinstance(self.config, WorldConfig):
            return Sample(firings, self.feature_dict(firings))
        draw_signs(self.config, firings, generator)
        activations = self.feature_dict(firings)
        add_noise(self.config, self.noise_spans, firings, activations, generator)
        return Sample(firings, activations)

    @torch.no_grad()
    def patterns(self, limit: int = 64) -> Patterns | None:
        """Every activation there can be, with its probability; None for a world of more than `limit` of them, or of random strengths or signs, or noise."""
        if not isinstance(self.config, WorldConfig):
            return None
        if self.config.magnitude_std > 0 or self.config.random_sign or self.config.noise > 0:
            return None
        found = outcomes(self.config)
        if found is None or len(found[0]) > limit:
            return None
        firings = torch.from_numpy(found[0]).float() * torch.tensor(self.config.magnitudes)
        return Patterns(firings, self.feature_dict(firings), torch.from_numpy(found[1]))

    def save(self, folder: Path) -> None:
        """Write the world's files; an SAE's folder keeps them in `world/`.

        Raises:
            BadInput: The folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in self._files().items():
                (folder / name).write_bytes(content)
        except OSError as error:
            raise BadInput(f"cannot write the toy world {folder}: {error.strerror or error}") from None

    def _files(self) -> dict[str, bytes]:
        from safetensors.torch import save

        if self.synthetic is not None:
            with tempfile.TemporaryDirectory(prefix="hedgebench-") as scratch:
                self.synthetic.save(scratch)
                return {file.name: file.read_bytes() for file in sorted(Path(scratch).iterdir())}
        assert isinstance(self.config, WorldConfig)
        tensors = {"features": self.features.contiguous(), "bias": self.bias.contiguous()}
        if self.activation_generator.correlation_matrix is not None:
            tensors["correlation"] = self.activation_generator.correlation_matrix.contiguous()
        text = json.dumps(self.config.to_dict(), indent=1, sort_keys=True, allow_nan=False) + "\n"
        return {world_files.CONFIG_FILE: text.encode(), world_files.WEIGHTS_FILE: save(tensors)}


def make_world(config: WorldConfig | SyntheticModelConfig) -> World:
    """The world of a description. Equal descriptions give equal worlds; a synthetic one without a seed has seed 0.

    Raises:
        BadInput: It does not fit into memory.
    """
    if isinstance(config, SyntheticModelConfig):
        _check_size(config.num_features, config.hidden_dim)
        seeded = replace(config, seed=0) if config.seed is None else config
        try:
            with _own_state():
                model = SyntheticModel(seeded)
        except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
            raise BadInput(f"synthetic world: SAELens does not make it: {' '.join(str(error).split())[:300]}") from None
        return _checked(World(seeded, model.feature_dict, model.activation_generator, model), "synthetic world")
    _check_size(config.n_features, config.d_in)
    initializer = {"orthonormal": _orthonormalise, "random": None, "spread": orthogonal_initializer()}
    with _own_state():
        features = FeatureDictionary(
            config.n_features,
            config.d_in,
            bias=config.bias,
            initializer=initializer[config.directions],
            seed=config.seed,
        )
    return World(config, features.requires_grad_(False), make_generator(config, correlation_matrix(config)))


@contextlib.contextmanager
def _own_state() -> Iterator[None]:
    """What SAELens draws without a seed of its own is the same every time and leaves torch's global state alone; and it may take gradients."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(0)
        yield


def synthetic_config(data: Mapping[str, Any]) -> SyntheticModelConfig:
    """SAELens's SyntheticModelConfig (a SynthSAEBench-like world of any size) from plain data, its own keys.

    Raises:
        BadInput: A key or value that SAELens does not take.
    """
    firing = {"firing_probability": {"generator_name": "zipfian"}}
    try:
        return SyntheticModelConfig.from_dict({**firing, **data})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"synthetic world: SAELens does not take it: {' '.join(str(error).split())}") from None


def load_world(folder: Path) -> World:
    """A world from its files: ours, or those of SAELens's SyntheticModel.

    Raises:
        BadInput: There is none, or it cannot be read.
    """
    identity = world_files.world_identity(folder)
    try:
        world = _load_synthetic(folder) if world_files.is_synthetic(folder) else _load_own(folder)
    except BadInput:
        raise
    except Exception as error:  # whatever safetensors or SAELens make of a damaged file
        raise BadInput(f"{folder}: cannot read the toy world: {' '.join(str(error).split())[:300]}") from None
    world.__dict__["identity"] = identity
    return _checked(world, f"{folder}: the toy world")


def _checked(world: World, what: str) -> World:
    """A world whose numbers make sense.

    Raises:
        BadInput: They do not.
    """
    law = world.activation_generator
    p, strengths = law.firing_probabilities, torch.stack([law.mean_firing_magnitudes, law.std_firing_magnitudes])
    if not all(torch.isfinite(tensor).all() for tensor in (world.features, world.bias)):
        raise BadInput(f"{what}: its features or its bias hold NaN or infinite values")
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise BadInput(f"{what}: a firing probability is {_worst(p):g}: it must lie between 0 and 1")
    if not bool((torch.isfinite(strengths) & (strengths >= 0)).all()):
        raise BadInput(f"{what}: a strength of firing, its mean or deviation, is negative, NaN or infinite")
    if float((world.features.double().norm(dim=1) - 1).abs().max()) > _ROUNDING:
        raise BadInput(f"{what}: its features are not unit vectors")
    return world


def _worst(p: Tensor) -> float:
    """The probability farthest outside [0, 1]; NaN is the farthest."""
    outside = torch.nan_to_num((p - 0.5).abs(), nan=torch.inf)
    return float(p[outside.argmax()])


def _load_own(folder: Path) -> World:
    from safetensors.torch import load_file

    config = WorldConfig.from_dict(world_files.read_json_bytes((folder / world_files.CONFIG_FILE).read_bytes()))
    tensors = load_file(folder / world_files.WEIGHTS_FILE)
    features, bias, correlation = tensors["features"], tensors["bias"], tensors.get("correlation")
    if not all(tensor.dtype == torch.float32 for tensor in tensors.values()):
        raise BadInput(f"{folder}: the toy world's tensors must be float32")
    if (correlation is None) != (config.correlation is None):
        raise BadInput(f"{folder}: the toy world's description and its tensors disagree on a correlation")
    if features.shape != (config.n_features, config.d_in) or bias.shape != (config.d_in,):
        raise BadInput(
            f"{folder}: the toy world's features are {list(features.shape)}, its description says {[config.n_features, config.d_in]}"
        )
    if (
        config.directions == "orthonormal"
        and float((features @ features.T - torch.eye(len(features))).abs().max()) > _ROUNDING
    ):
        raise BadInput(f"{folder}: the toy world's features are not orthonormal, as its description says")
    made = FeatureDictionary(config.n_features, config.d_in, initializer=None, seed=0).requires_grad_(False)
    made.feature_vectors.data, made.bias.data = features, bias
    return World(config, made, make_generator(config, correlation))


def _load_synthetic(folder: Path) -> World:
    from safetensors import safe_open

    config_file, weights_file, _ = world_files.SYNTHETIC_FILES
    stated = world_files.read_json_bytes((folder / config_file).read_bytes())
    with safe_open(folder / weights_file, framework="pt") as file:
        shape = list(file.get_slice("feature_vectors").get_shape())
    if shape != [stated.get("num_features"), stated.get("hidden_dim")]:
        raise BadInput(f"{folder}: the synthetic model's features are {shape}, its config says otherwise")
    with _own_state():
        model = SyntheticModel.load_from_disk(folder)
    return World(model.cfg, model.feature_dict, model.activation_generator, model)


def _check_size(n_features: int, d_in: int) -> None:
    check_memory(
        f"a world of {n_features} features in {d_in} dimensions", 4 * n_features * (2 * d_in + 8), "make it smaller"
    )


@torch.no_grad()
def _orthonormalise(features: FeatureDictionary) -> None:
    """Exactly orthonormal rows, where SAELens's own initializer only comes near."""
    rows = torch.linalg.qr(features.feature_vectors.double().T).Q.T
    features.feature_vectors.data = rows.float().contiguous()
