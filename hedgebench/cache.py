"""The size of the cache: how much lies in each room, and what goes when it is too much. Standard library only."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hedgebench.paths import ROOMS, cache_dir
from hedgebench.types import BadInput

logger = logging.getLogger(__name__)

LIMIT = 50 * 2**30
"""Bytes that activations and artifacts may take together, unless `HEDGEBENCH_CACHE_LIMIT` says otherwise."""
_TRIMMED = ("activations", "evals")
"""Rooms whose files go when the cache is too large; models and texts stay."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def cache_limit() -> int:
    """The limit in bytes: `$HEDGEBENCH_CACHE_LIMIT` (`500M`, `20GB`), else 50 GiB.

    Raises:
        BadInput: The variable holds no size.
    """
    text = os.environ.get("HEDGEBENCH_CACHE_LIMIT")
    if text is None:
        return LIMIT
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?\s*", text.upper())
    if found is None:
        raise BadInput(f"HEDGEBENCH_CACHE_LIMIT is {text!r}: write a size such as 500MB or 20GB")
    return int(float(found[1]) * _UNITS[found[2]])


def rooms() -> list[tuple[Path, int]]:
    """The rooms of the cache that are there, each with its size in bytes."""
    found = [room for name in ROOMS if (room := cache_dir() / name).is_dir() and not room.is_symlink()]
    return [(room, sum(size for _, size, _ in _files(room))) for room in found]


def touch(file: Path) -> None:
    """Mark a cached file as used just now."""
    with suppress(OSError):
        os.utime(file)


def trim(spare: Path | None = None) -> int:
    """Delete the least recently used activations and artifacts until the rest is within the limit; the number of bytes deleted.

    Args:
        spare: A file that stays in any case: the one that is wanted now.
    """
    limit = cache_limit()
    files = [entry for name in _TRIMMED for entry in _files(cache_dir() / name)]
    excess = sum(size for _, size, _ in files) - limit
    deleted = 0
    for file, size, _ in sorted(files, key=lambda entry: entry[2]):
        if deleted >= excess:
            break
        if file == spare or file.suffix != ".safetensors":
            continue
        with suppress(OSError):
            file.unlink()
            deleted += size
    if deleted:
        logger.info("the cache was over its limit of %d MiB: %d MiB deleted", limit // 2**20, deleted // 2**20)
    return deleted


def _files(room: Path) -> Iterator[tuple[Path, int, float]]:
    """Path, size and time of last use of every file; one that vanishes meanwhile is left out."""
    for file in room.rglob("*"):
        with suppress(OSError):
            if file.is_file() and not file.is_symlink():
                stat = file.stat()
                yield file, stat.st_size, stat.st_mtime
