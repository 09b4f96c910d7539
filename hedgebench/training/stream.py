"""The batches that SAEs learn from, kept on disk as SAELens hands them out: SAEs trained after others see the very same ones, and no model runs again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hedgebench.activations import DISK_BUDGET
from hedgebench.cache import cache_limit, touch, trim
from hedgebench.once import store_tensors
from hedgebench.paths import cache_dir
from hedgebench.records import package_version
from hedgebench.training.config import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_PER_FILE = 64
"""Batches."""
_DECIDE = ("hook", "data_seed", "context_size", "sequences_per_pass", "buffer_sequences", "batch_tokens", "tokens")
"""Of a training config, what decides the batches beside model and text."""


class Stream:
    """The batches of one training config [batch_tokens, d_in], float32.

    Args:
        config: What is trained.
        revision: What the model's name stands for.
        text: The text's identity.
        d_in: Width of the activations.
    """

    def __init__(self, config: TrainConfig, revision: str, text: str, d_in: int) -> None:
        self.count = config.steps + (config.norm_batches if config.normalize else 0)
        """Batches: those that the scale of the activations is estimated on come first."""
        self.nbytes = self.count * config.batch_tokens * d_in * 4
        versions = {name: package_version(name) for name in ("torch", "transformer-lens", "transformers", "sae-lens")}
        decide = {name: getattr(config, name) for name in _DECIDE}
        key = json.dumps([revision, text, self.count, decide, versions], sort_keys=True)
        self.folder = cache_dir().absolute() / "activations" / f"stream-{hashlib.sha256(key.encode()).hexdigest()[:24]}"

    def _files(self) -> list[Path]:
        return [self.folder / f"{i:05}.safetensors" for i in range(-(-self.count // _PER_FILE))]

    @property
    def is_kept(self) -> bool:
        """Whether all of it lies on disk, whole."""
        return all(_is_whole(file) for file in self._files())

    def kept(self) -> Iterator[Tensor]:
        """The batches that lie on disk."""
        from safetensors.torch import load_file

        for file in self._files():
            touch(file)
            yield from load_file(file)["batches"]

    def keep(self, batches: Iterator[Tensor]) -> Iterator[Tensor]:
        """Hand batches on, and keep the first `count` of them; where the disk has no room, nothing is kept from there on."""
        held: list[Tensor] = []
        files = iter(self._files() if self.nbytes <= min(DISK_BUDGET, cache_limit()) else [])
        if (file := next(files, None)) is None:
            logger.warning(
                "%d GiB of activations are more than is kept: the model runs again for SAEs that are trained later",
                self.nbytes // 2**30,
            )
        for i, batch in enumerate(batches, start=1):
            if file is not None:
                held.append(batch.detach().cpu())
                if len(held) == _PER_FILE or i == self.count:
                    file = next(files, None) if _write(file, held) else None
                    held.clear()
            yield batch


def _is_whole(file: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt"):
            return True
    except (SafetensorError, OSError):
        return False


def _write(file: Path, batches: list[Tensor]) -> bool:
    """Store some batches; whether they are."""
    import torch

    try:
        store_tensors(file, {"batches": torch.stack(batches)})
        trim(spare=file)
    except OSError as error:
        logger.warning("cannot keep activations in %s: %s", file.parent, error)
        return False
    return True
