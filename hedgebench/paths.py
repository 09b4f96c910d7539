"""Where HedgeBench keeps what it can make again; and looking at paths that somebody else wrote."""

from __future__ import annotations

import os
from pathlib import Path

ROOMS = ("activations", "cards", "data", "digests", "evals", "models")
"""What HedgeBench itself makes there; nothing else in that folder is ours."""


def cache_dir() -> Path:
    """The user's cache folder: `$HEDGEBENCH_CACHE`, else `$XDG_CACHE_HOME/hedgebench`, else `~/.cache/hedgebench`. Not created here."""
    if own := os.environ.get("HEDGEBENCH_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "hedgebench"


# Path's own methods raise where a name is too long for the system, holds a NUL, or names a user that is not there: such a path is none.


def user_path(text: str | Path) -> Path:
    """A path as a user wrote it: `~` is the home folder, and stays as it is where there is none."""
    return Path(os.path.expanduser(text))  # noqa: PTH111


def is_there(path: str | Path) -> bool:
    """Whether anything lies at a path."""
    return os.path.exists(path)  # noqa: PTH110


def is_folder(path: str | Path) -> bool:
    """Whether a folder lies at a path."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: str | Path) -> bool:
    """Whether a file lies at a path: no folder, pipe or device."""
    return os.path.isfile(path)  # noqa: PTH113
