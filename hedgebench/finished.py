"""Whether a run is done: what lies at the place of its record, and what becomes of it where that is no whole record. No torch."""

from __future__ import annotations

import logging
import os
import uuid
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
    """The whole record of the run that a path names; None where the run has to be made again."""
    record = read_record(path)
    return record if record is not None and record["hedgebench"]["run_id"] == path.stem else None
