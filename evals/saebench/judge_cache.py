"""A judge's answers, kept on disk one file each, so that a run that is taken up again asks nothing twice. Standard library only."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

RECIPE = 1
"""Raise when what a question's key or an answer's file holds changes."""


class Answer(NamedTuple):
    """What a judge said."""

    text: str
    cut: bool = False
    """It reached the limit of tokens before its end."""


class Answers:
    """Answers by key, in a folder; without one in memory only. Threads may share it.

    Args:
        folder: Where they lie. What cannot be written there is kept in memory; what cannot be read there is asked again.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._memory: dict[str, Answer] = {}

    def get(self, key: str) -> Answer | None:
        """The answer of that key, or None."""
        if key not in self._memory and (found := self._read(key)) is not None:
            self._memory[key] = found
        return self._memory.get(key)

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer: whole, or not at all."""
        self._memory[key] = answer
        if self.folder is None:
            return
        file = self._file(self.folder, key)
        part = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(answer._asdict(), ensure_ascii=True), encoding="utf-8")
            part.replace(file)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            logger.warning("the judge's answer cannot be kept in %s: %s", file.parent, error.strerror or error)

    def _read(self, key: str) -> Answer | None:
        if self.folder is None:
            return None
        try:
            stored = json.loads(self._file(self.folder, key).read_text(encoding="utf-8"))
            text, cut = stored["text"], stored["cut"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return Answer(text, cut) if isinstance(text, str) and isinstance(cut, bool) else None

    @staticmethod
    def _file(folder: Path, key: str) -> Path:
        return folder / key[:2] / f"{key}.json"


def key_of(question: Mapping[str, Any]) -> str:
    """Name a question by all that decides its answer."""
    text = json.dumps({"recipe": RECIPE, **question}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
