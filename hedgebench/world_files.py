"""Where the ground truth of an SAE lies, and what it is called by its content. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from hedgebench.types import BadInput

WORLD_FOLDER = "world"
"""The folder in a checkpoint's folder that holds the world it was trained on."""
CONFIG_FILE, WEIGHTS_FILE = "world.json", "world.safetensors"
SYNTHETIC_FILES = ("synthetic_model_config.json", "synthetic_model.safetensors", "hierarchy.json")
"""SAELens's own files of a SyntheticModel; the last only where there is a hierarchy."""
_MOST_JSON = 50 * 2**20
"""Bytes of JSON that are read at most."""


def find_world(folder: Path) -> Path | None:
    """The world beside a checkpoint: `world/`, or `synthetic_model/` as SAELens's SyntheticSAERunner saves it; None where there is neither."""
    for name in (WORLD_FOLDER, "synthetic_model"):
        if is_world(folder / name):
            return folder / name
    return None


def is_world(folder: Path) -> bool:
    """Whether a folder holds the description of a world."""
    return (folder / CONFIG_FILE).is_file() or (folder / SYNTHETIC_FILES[0]).is_file()


def stands_for_world(folder: Path) -> bool:
    """Whether a folder is a world's, or that of a checkpoint with its world."""
    return is_world(folder) or find_world(folder) is not None


def is_synthetic(folder: Path) -> bool:
    """Whether the world in a folder is one of SAELens's SyntheticModels."""
    return (folder / SYNTHETIC_FILES[0]).is_file()


def world_identity(folder: Path) -> str:
    """`toy:<name>@<12 hex digits>`, from the names and bytes of the world's files.

    Raises:
        BadInput: There is no world, or it cannot be read.
    """
    if not is_world(folder):
        raise BadInput(f"{folder} holds no toy world: neither {CONFIG_FILE} nor {SYNTHETIC_FILES[0]}")
    names = SYNTHETIC_FILES if is_synthetic(folder) else (CONFIG_FILE, WEIGHTS_FILE)
    try:
        return identity_of({name: (folder / name).read_bytes() for name in names if (folder / name).exists()})
    except OSError as error:
        raise BadInput(f"{folder}: cannot read the toy world: {error.strerror or error}") from None


def n_features(folder: Path) -> int | None:
    """How many features the world in a folder has by its description; None where that cannot be read."""
    try:
        if is_synthetic(folder):
            count = read_json_bytes((folder / SYNTHETIC_FILES[0]).read_bytes()).get("num_features")
            return count if isinstance(count, int) else None
        probability = read_json_bytes((folder / CONFIG_FILE).read_bytes()).get("probability")
        return len(probability) if isinstance(probability, list) else None
    except (OSError, ValueError):
        return None


def identity_of(files: Mapping[str, bytes]) -> str:
    """The identity of a world in the form of its files, by name."""
    h = hashlib.sha256()
    for name, content in sorted(files.items()):
        h.update(f"{name} {len(content)} ".encode())
        h.update(content)
    name = "synthetic"
    if CONFIG_FILE in files:
        try:
            name = str(read_json_bytes(files[CONFIG_FILE]).get("name", "?"))
        except ValueError:
            name = "unreadable"
    return f"toy:{name}@{h.hexdigest()[:12]}"


def read_json_bytes(content: bytes) -> dict[str, object]:
    """A JSON object from a file's bytes.

    Raises:
        ValueError: Too large, not JSON, or not an object.
    """
    if len(content) > _MOST_JSON:
        raise ValueError(f"{len(content)} bytes of JSON are too many")
    try:
        data = json.loads(content)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data
