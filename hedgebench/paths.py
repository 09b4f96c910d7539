"""Where HedgeBench keeps what it can make again."""

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
