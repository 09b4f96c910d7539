"""A quick hash of a model's folder: all of its small files, and samples of its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

SMALL = 2**24
"""Bytes up to which a file is read whole."""
SAMPLES, SAMPLE = 64, 2**16
"""Of a larger file: so many pieces, spread evenly over it, of so many bytes each, and the size."""

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
    """Hash the files that decide what a Hugging Face model and its tokenizer compute, wherever the folder lies."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _PATTERNS for file in folder.glob(pattern) if file.is_file()}):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= SMALL:
                digest.update(stream.read())
                continue
            for i in range(SAMPLES):
                stream.seek(i * (size - SAMPLE) // (SAMPLES - 1))
                digest.update(stream.read(SAMPLE))
    return digest.hexdigest()[:16]
