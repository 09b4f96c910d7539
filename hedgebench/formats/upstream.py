"""SAELens's own converters, fed from files of this machine.

They ask a hub for each file by name. Here they run in a second, private copy of their module, in which a *repository* is a set of local
files and asking for one gives its path; and in which `torch.load` unpickles nothing but tensors, whatever version of torch is installed.
SAELens's own module is left as it is, so other threads notice nothing and nothing has to be put back.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any


class LocalRepository(str):
    """A repository's name that knows its files: each by the last part of its name there."""

    __slots__ = ("files",)
    files: Mapping[str, Path]

    def __new__(cls, name: str, files: Mapping[str, Path]) -> LocalRepository:
        """A name, and the files that are asked for under it."""
        made = super().__new__(cls, name)
        made.files = files
        return made


class _SafeTorch(ModuleType):
    """torch, but `load` takes tensors only, and maps the file instead of reading it."""

    def __init__(self) -> None:
        import torch

        super().__init__("torch")
        self._torch = torch
        self.load = functools.partial(torch.load, weights_only=True, mmap=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)


def _download(repo_id: LocalRepository, filename: str, **_: object) -> str:
    """Stands where the converters ask the hub."""
    return str(repo_id.files[PurePosixPath(filename).name])


@functools.cache
def converters() -> Any:
    """The private copy of `sae_lens.loading.pretrained_sae_loaders`; its functions take a `LocalRepository` as `repo_id`."""
    from hedgebench.compat import prepare

    prepare()
    name = "sae_lens.loading.pretrained_sae_loaders"
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)  # not entered in sys.modules: nobody else finds it
    spec.loader.exec_module(copy)
    vars(copy).update(hf_hub_download=_download, torch=_SafeTorch())
    return copy
