"""What does not depend on the SAE, made once: kept in memory within a bound, and on disk under a name that says all that decides it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.cache import touch, trim
from hedgebench.once import make_once, store_tensors
from hedgebench.records import package_version
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

MEMORY_BUDGET = 4 * 2**30
"""Bytes of artifacts held in memory between runs; the least recently used go first."""
_PACKAGES = ("numpy", "sae-bench", "sae-probes", "scikit-learn", "torch", "transformer-lens", "transformers")


class Artifact(NamedTuple):
    """Tensors and plain JSON data. Nothing in it is pickled."""

    tensors: Mapping[str, torch.Tensor]
    facts: Any = None


class Memory:
    """Artifacts by key, within a budget of bytes."""

    def __init__(self, budget: int = MEMORY_BUDGET) -> None:
        self.budget = budget
        self._kept: dict[str, Artifact] = {}

    def get(self, key: str) -> Artifact | None:
        """The artifact, now the most recently used."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._kept[key] = found
        return found

    def keep(self, key: str, artifact: Artifact) -> None:
        """Keep an artifact if it fits, and let go of the least recently used to make room."""
        self._kept.pop(key, None)
        if _size(artifact) > self.budget:
            return
        while self._kept and sum(map(_size, self._kept.values())) + _size(artifact) > self.budget:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = artifact


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of one model, hook point and seed.

    Args:
        identity: What all of them depend on: model revision, hook point, seed, numeric type. Package versions are added here.
        folder: Where they lie on disk; None keeps them in memory only.
        memory: Shared by all runs of a process.
    """

    identity: Mapping[str, Any]
    folder: Path | None = None
    memory: Memory = field(default_factory=Memory)

    def get(self, name: str, settings: Mapping[str, Any], make: Callable[[], Artifact]) -> Artifact:
        """The artifact of that name and settings; `make` computes it where it is not there yet.

        Two processes that want one at the same moment make it once. The tensors are shared: nobody may change them.

        Args:
            name: What it is; one folder of the cache.
            settings: All else that decides it, as plain JSON: sizes, data identities, a recipe number.
            make: Computes it.
        """
        key = self._key(name, settings)
        found = self.memory.get(key)
        if found is None:
            found = self._from_disk(name, key, make)
            self.memory.keep(key, found)
        return found

    def _key(self, name: str, settings: Mapping[str, Any]) -> str:
        versions = {package: package_version(package) for package in _PACKAGES}
        identity = {"name": name, "settings": settings, "versions": versions, **self.identity}
        text = json.dumps(identity, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _from_disk(self, name: str, key: str, make: Callable[[], Artifact]) -> Artifact:
        if self.folder is None:
            return make()
        file = self.folder / name / f"{key}.safetensors"
        if (stored := _read(file)) is not None:
            return stored
        once = _Once(make)
        try:
            make_once(file, lambda part: _write(part, once()))
        except BadInput as error:
            if once.failed:
                raise
            logger.warning("%s: the artifact is kept in memory only", error)
            return once()
        trim(spare=file)
        return once.made or _read(file) or once()


class _Once:
    """Calls a function once, and remembers what came of it."""

    def __init__(self, make: Callable[[], Artifact]) -> None:
        self.make, self.failed = make, False
        self.made: Artifact | None = None

    def __call__(self) -> Artifact:
        if self.made is None:
            self.failed = True
            self.made = self.make()
            self.failed = False
        return self.made


def _size(artifact: Artifact) -> int:
    return sum(t.nbytes for t in artifact.tensors.values())


def _write(part: Path, artifact: Artifact) -> None:
    tensors = {
        name: tensor.detach().cpu().clone() for name, tensor in artifact.tensors.items()
    }  # they may share memory
    store_tensors(part, tensors, {"facts": json.dumps(artifact.facts, allow_nan=False)})


def _read(file: Path) -> Artifact | None:
    """A stored artifact; None where there is none. One that cannot be read is removed, and so made again."""
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
            facts = json.loads((stored.metadata() or {})["facts"])
    except (SafetensorError, OSError, KeyError, ValueError):
        logger.warning("cached artifact %s cannot be read; it is made again", file)
        file.unlink(missing_ok=True)
        return None
    touch(file)
    return Artifact(tensors, facts)
