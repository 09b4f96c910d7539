"""Things made once and kept: whole or not there at all, also when two processes want one at the same moment."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hedgebench.types import BadInput

if TYPE_CHECKING:
    from torch import Tensor


def make_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Return `target`, made by `make(part)` and then renamed, if it is not there yet.

    A second process that wants the same target waits for the first. What a killed process left behind is removed and
    made again.

    Args:
        target: The file or folder wanted.
        make: Writes it at the path it is given.

    Raises:
        BadInput: The folder cannot be written, or the disk is full.
    """
    if target.exists():
        return target
    from filelock import FileLock

    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(target.name + ".lock")
        with FileLock(lock):
            if not target.exists():
                _remove(part)
                make(part)
                part.rename(target)
        lock.unlink(missing_ok=True)  # whoever still waits on it finds the target
    except OSError as error:
        raise BadInput(f"cannot write {target}: {error}; set HEDGEBENCH_CACHE to a folder with room") from error
    return target


def store_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all; of two processes that do so at once, one's file stays.

    Args:
        file: In a folder that is made where it is not there.
        tensors: Of any device; no two may share memory.
        metadata: Texts beside them.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    part = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part, metadata)
        part.replace(file)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, SafetensorError):  # what the system said, in other words
            raise OSError(str(error)) from error
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
