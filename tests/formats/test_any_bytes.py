"""Whatever bytes a file holds, loading it gives an SAE or one line: no other exception, and no code of the file's."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import known_formats as known
import numpy as np
import pytest

from hedgebench.loaders import load_raw
from hedgebench.types import BadInput


def packed(folder: Path) -> Path:
    folder.mkdir()
    np.savez_compressed(folder / "params.npz", **known.gemma_arrays())
    return folder


FILES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "gemma_scope": (lambda path: known.write_gemma_scope(path / "it"), ("params.npz",)),
    "packed gemma_scope": (lambda path: packed(path / "it"), ("params.npz",)),
    "sparsify": (
        lambda path: known.write_sparsify(path / "layers.3"),
        ("sae.safetensors", "cfg.json", "../config.json"),
    ),
    "BatchTopKSAE": (lambda path: known.write_dictionary(path / "it"), ("ae.pt", "config.json")),
    "GatedAutoEncoder": (
        lambda path: known.write_dictionary(path / "it", "GatedAutoEncoder"),
        ("ae.pt", "config.json"),
    ),
    "llama_scope": (
        lambda path: known.write_llama_scope(path / "L15R"),
        ("checkpoints/final.safetensors", "hyperparams.json"),
    ),
    "plain": (lambda path: known.write_plain(path / "it/sae.safetensors").parent, ("sae.safetensors",)),
}
TRIES = 60


def mangle(data: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, cut out, put in or said twice; most often in the first or last kilobyte, where formats keep their headers."""
    made = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        near = draw.choice((min(1024, len(made)), len(made)))
        at = draw.randrange(max(near, 1)) if draw.random() < 0.5 else len(made) - 1 - draw.randrange(max(near, 1))
        size, kind = draw.choice((1, 1, 4, 64)), draw.randrange(5)
        if kind == 0:
            made[at : at + size] = draw.randbytes(size)
        elif kind == 1:
            del made[at : at + size]
        elif kind == 2:
            made[at:at] = draw.randbytes(size)
        elif kind == 3:
            made[at:at] = made[at : at + size]
        elif made:
            made[at] ^= 1 << draw.randrange(8)
        if not made:
            break
    return bytes(made)


@pytest.mark.parametrize("name", FILES)
def test_mangled_files_load_or_are_refused_in_one_line(name: str, tmp_path: Path):
    write, files = FILES[name]
    folder = write(tmp_path)
    refused = 0
    for file in files:
        whole = (folder / file).read_bytes()
        for seed in range(TRIES):
            (folder / file).write_bytes(mangle(whole, random.Random(f"{name} {file} {seed}")))
            try:
                load_raw(folder)
            except BadInput as error:
                refused += 1
                assert "\n" not in str(error), (file, seed)
                assert "no loader can read it" not in str(error), f"{file}, seed {seed}: {error}"  # a loader stumbled
            except Exception as error:
                raise AssertionError(f"{file}, seed {seed}: {type(error).__name__}: {error}") from error
        (folder / file).write_bytes(whole)
    assert load_raw(folder).cfg.d_sae == known.D_SAE
    assert refused > TRIES / 4
