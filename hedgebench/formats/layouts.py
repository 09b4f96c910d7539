"""What lies at a path, by the names of its files and folders: which format, which files, and what they are called. Opens nothing, no torch.

A path is taken as it is written: on a hub's cache the files are links, and what they point to has no telling name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hedgebench.paths import is_file, is_folder, is_there, user_path

PICKLED = frozenset({".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt"})
WEIGHTS = frozenset({".npz", ".safetensors", ".pt"})
"""Suffixes of files that a pattern such as `FOLDER/**/params.npz` may match."""
_GENERIC = re.compile(r"sae|model|weights|params|final|ae|autoencoder|dictionary")
"""File names that tell nothing: the folder's name is taken."""
_NUMBERED = re.compile(r"(trainer_|seed)\d+|ae_\d+")
"""Names that are one of many in their folder: they are told with it."""
_GEMMA_PLACE = re.compile(r"layer_\d+|embedding")


@dataclass(frozen=True)
class Layout:
    """An SAE's place on disk."""

    format: str
    """saelens, sparsify, dictionary_learning, llama_scope, gemma_scope or plain."""
    folder: Path
    weights: Path
    config: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that decide what is loaded: where none of them changes, neither does the SAE."""
        beside = (self.config, self.folder.parent / "config.json") if self.format == "sparsify" else (self.config,)
        return (self.weights, *(file for file in beside if file is not None and file.is_file()))

    @property
    def name(self) -> str:
        """What the SAE is called: readable, and different from its neighbours'."""
        parts = self.folder.parts
        if self.format == "gemma_scope":
            at = [i for i, part in enumerate(parts) if _GEMMA_PLACE.fullmatch(part)]
            return "/".join(parts[at[-1] :] if at else parts[-1:])
        own = self.weights.stem
        if self.format == "plain" and not _GENERIC.fullmatch(own):
            return own
        tail = [*parts[-2:], own] if _NUMBERED.fullmatch(own) else list(parts[-2:])
        telling = [i for i, part in enumerate(tail) if not _NUMBERED.fullmatch(part)]
        return "/".join(tail[telling[-1] :] if telling else tail)


def find_layout(ref: str | Path, kind: str | None = None) -> Layout | None:
    """The SAE at a path: its folder, or the file of its weights. None where there is none that is known, or of that kind."""
    if not str(ref).strip():
        return None  # it would be the folder that one happens to be in
    path = Path(os.path.abspath(user_path(ref)))  # noqa: PTH100 - resolve() would follow links
    found = _folder(path) if is_folder(path) else _file(path) if is_file(path) else None
    return found if found is None or kind in (None, found.format) else None


def _folder(folder: Path) -> Layout | None:
    known = (
        ("saelens", "sae_weights.safetensors", "cfg.json"),
        ("sparsify", "sae.safetensors", "cfg.json"),
        ("dictionary_learning", "ae.pt", "config.json"),
        ("llama_scope", "checkpoints/final.safetensors", "hyperparams.json"),
    )
    for kind, weights, config in known:
        if (folder / weights).is_file() and (folder / config).is_file():
            return Layout(kind, folder, folder / weights, folder / config)
    if (folder / "params.npz").is_file():
        return Layout("gemma_scope", folder, folder / "params.npz")
    only = plain_files(folder)
    if len(only) == 1 and not (folder / "cfg.json").exists():
        return Layout("plain", folder, only[0])
    return None


def plain_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, each of which may be a plain SAE; but one of them makes the folder an SAE."""
    return [file for file in sorted(folder.glob("*.safetensors")) if file.name != "sae_weights.safetensors"]


def _file(file: Path) -> Layout | None:
    folder = file.parent
    if file.suffix == ".npz":
        return Layout("gemma_scope", folder, file)
    if file.suffix == ".pt":
        # a checkpoint of a run that went on lies one folder below: trainer_0/checkpoints/ae_1000.pt
        for home in (folder, folder.parent):
            if (home / "config.json").is_file() and re.fullmatch(r"ae(_\d+)?\.pt", file.name):
                return Layout("dictionary_learning", home, file, home / "config.json")
        return None
    if file.suffix != ".safetensors":
        return None
    for home in (folder, folder.parent):
        found = _folder(home)
        if found is not None and found.weights == file:
            return found
    return Layout("plain", folder, file) if file.name != "sae_weights.safetensors" else None


def display_name(ref: str | Path) -> str:
    """The name of the SAE that a reference means, where the user gives none."""
    found = find_layout(ref)
    if found is not None and (found.format != "saelens" or is_file(ref)):
        return found.name
    return Path(ref).resolve().name if is_there(ref) else str(ref)


def find_paths(pattern: str) -> list[str]:
    """The folders and weights' files that a pattern matches, in order; `**` means folders of any depth."""
    import glob

    found = [Path(p) for p in sorted(glob.glob(str(user_path(pattern)), recursive=True))]  # noqa: PTH207 - Path.glob takes no absolute pattern
    folders = {p for p in found if p.is_dir()}
    return [str(p) for p in found if p in folders or (p.suffix in WEIGHTS and p.parent not in folders)]
