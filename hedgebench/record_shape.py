"""What a record is, part by part, so that one that was damaged or edited is never read as another number. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_TEXT, _NUMBER, _MAPPING, _NONE = (str,), (int, float), (dict,), (type(None),)
_OURS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("run_id", "eval", "digest"), _TEXT),
    **dict.fromkeys(("model", "data", "error"), _TEXT + _NONE),
    **dict.fromkeys(("config", "versions"), _MAPPING),
    **dict.fromkeys(("seed", "eval_version"), (int, *_NONE)),
    **dict.fromkeys(("seconds", "started_at"), _NUMBER),
    "peak_mb": _NUMBER + _NONE,
    **dict.fromkeys(("incomplete", "missing"), _MAPPING + _NONE),
    "scores": (list,),
}
_NEEDED = {"run_id", "eval", "digest", "seed", "model", "data", "eval_version", "config", "versions", "scores"}
_SCORE: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("metric", "params", "slice_by", "slice_value"), _TEXT),
    "value": _NUMBER,
    **dict.fromkeys(("stderr", "chance"), _NUMBER + _NONE),
    "n": (int, *_NONE),
    "higher_is_better": (bool, *_NONE),
}
"""What the parts of a record are, where they are there: those of older versions lack some."""


def is_whole(record: Any) -> bool:
    """Whether this is a record of ours, sound in every part that is read of it."""
    ours = record.get("hedgebench") if isinstance(record, dict) else None
    return (
        isinstance(ours, dict)
        and ours.keys() >= _NEEDED
        and _fits(ours, _OURS)
        and ours.get("status") in ("ok", "failed", "skipped")
        and all(isinstance(s, dict) and s.keys() >= {"value", "metric"} and _fits(s, _SCORE) for s in ours["scores"])
    )


def _fits(data: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> bool:
    for key, value in data.items():
        kind = type(value)
        if key in kinds and (kind not in kinds[key] or not (kind not in _NUMBER or _is_finite(value))):
            return False
    return True


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
