"""A hash of a model's folder: what its name stood for."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from hedgebench.paths import cache_dir
from hedgebench.records import read_json, write_json
from hedgebench.types import BadInput

_PATTERNS = (
    "config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*",
)


def folder_digest(folder: Path) -> str:
    """Hash the files that decide what a Hugging Face model and its tokenizer compute, wherever the folder lies.

    Every byte counts. A file's hash is remembered until its size or time changes; about a second per GB the first time.
    """
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _PATTERNS for file in folder.glob(pattern) if file.is_file()}):
        digest.update(f"{file.name}\0{_file_digest(file)}\0".encode())
    return digest.hexdigest()[:16]


def _file_digest(file: Path) -> str:
    stat = file.stat()
    key = json.dumps([str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino])
    memo = cache_dir() / "digests" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    remembered = read_json(memo)
    if isinstance(remembered, str):
        return remembered
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    with contextlib.suppress(BadInput):  # a cache that cannot be written costs time, nothing else
        write_json(memo, found)
    return found
