"""Whether a run is done: what lies at the place of its record, and what becomes of it where that is no whole record. No torch."""

from __future__ import annotations

import logging
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hedgebench.records import read_record
from hedgebench.types import BadInput

logger = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
"""What tells a file from one that took its place."""


def file_stamp(path: Path) -> Stamp | None:
    """The stamp of whatever lies at a path, a broken link included; None where nothing does."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def set_aside(path: Path) -> None:
    """Rename what is no whole record, so that the run can be made again, and say so.

    Raises:
        BadInput: The folder cannot be written, or the record may be whole but not be read.
    """
    if path.exists() and not os.access(path, os.R_OK):
        raise BadInput(f"cannot read {path}: permission denied")
    aside = path.with_suffix(".damaged")
    while os.path.lexists(aside):
        aside = path.with_suffix(f".{uuid.uuid4().hex[:8]}.damaged")
    logger.warning("%s is no whole record: set aside as %s, and the run is made again", path, aside.name)
    try:
        path.rename(aside)
    except OSError as error:
        raise BadInput(f"cannot set aside {path}: {error.strerror or error}") from error


def read_finished(path: Path) -> dict[str, Any] | None:
    """The record of the run that a path names, sound in every part that is read of it; None where the run has to be made again."""
    record = read_record(path)
    if record is None or record["hedgebench"]["run_id"] != path.stem:
        return None
    ours = record["hedgebench"]
    sound = _fits(ours, _OURS) and all(
        "value" in score and "metric" in score and _fits(score, _SCORE) for score in ours["scores"]
    )
    return record if sound else None


_TEXT, _NUMBER, _MAPPING, _NONE = (str,), (int, float), (dict,), (type(None),)
_OURS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "data", "error"), _TEXT + _NONE),
    **dict.fromkeys(("config", "versions"), _MAPPING),
    **dict.fromkeys(("seed", "eval_version"), (int, *_NONE)),
    **dict.fromkeys(("seconds", "started_at"), _NUMBER),
    "peak_mb": _NUMBER + _NONE,
    **dict.fromkeys(("incomplete", "missing"), _MAPPING + _NONE),
}
_SCORE: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("metric", "params", "slice_by", "slice_value"), _TEXT),
    "value": _NUMBER,
    **dict.fromkeys(("stderr", "chance"), _NUMBER + _NONE),
    "n": (int, *_NONE),
    "higher_is_better": (bool, *_NONE),
}
"""What the parts of a record are, where they are there: those of older versions lack some."""


def _fits(data: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> bool:
    for key, value in data.items():
        kind = type(value)
        if key in kinds and (kind not in kinds[key] or (kind is float and not math.isfinite(value))):
            return False
    return True
