"""Things made once and kept: whole or not there at all, also when two processes want one at the same moment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from hedgebench.types import BadInput


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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
