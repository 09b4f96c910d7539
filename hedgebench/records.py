"""Records: one JSON file per run, the only thing a run leaves behind. Written whole or not at all. No torch, no pandas.

`OUT/records/<eval>/<run_id>.json` holds SAEBench's own output fields, and under `hedgebench` all that HedgeBench knows of the run.
`OUT/checkpoints/<digest>.json` holds an SAE's card: its names and tags may change while its records stay.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from hedgebench.eval import Eval
from hedgebench.paths import is_file
from hedgebench.record_shape import is_whole
from hedgebench.types import BadInput, Checkpoint, Run, Score

logger = logging.getLogger(__name__)

SCHEMA = 1
MAX_BYTES = 256 * 2**20
"""Of a record: a larger file is none, and is not read."""
_VERSIONED = ("hedgebench", "sae-bench", "sae-lens", "torch", "transformer-lens", "transformers", "numpy")


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    status: Literal["ok", "failed", "skipped"]
    """`skipped`: the eval said that it cannot measure this SAE."""
    error: str | None = None
    scores: tuple[Mapping[str, Any], ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    incomplete: Mapping[str, str] = field(default_factory=dict)
    """What the run's identity promises and the run went on without, each with the reason."""
    details: Mapping[str, Any] = field(default_factory=dict)
    sae_config: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak_mb: float | None = None
    started_at: float = 0.0
    device: str = "cpu"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """The inverse of `to_dict`."""
        return cls(**{**data, "scores": tuple(data["scores"])})


@cache
def package_version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def make_run_id(run: Mapping[str, Any]) -> str:
    """Name a run by content: equal content, equal name, on any machine and at any time."""
    text = json.dumps(run, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def score_row(eval_class: type[Eval], score: Score) -> dict[str, Any]:
    """Check one score against the eval's declaration and turn it into a row of the record.

    Raises:
        ValueError: Not finite, out of the metric's range, or malformed.
        LookupError: The eval does not declare that metric.
    """
    if not isinstance(score, Score):
        raise ValueError(f"expected a Score, found {score!r}")
    metric = eval_class.metric(score.metric)
    value = _number(score.value, f"{score.metric}: the value")
    for bound, wrong, word in ((metric.low, float.__lt__, "below"), (metric.high, float.__gt__, "above")):
        if (
            bound is not None
            and wrong(value, float(bound))
            and not math.isclose(value, bound, rel_tol=1e-6, abs_tol=1e-6)
        ):
            raise ValueError(f"{score.metric}: {value!r} is {word} {bound}, the metric's bound")
    stderr = None if score.stderr is None else _number(score.stderr, f"{score.metric}: stderr")
    if stderr is not None and stderr < 0:
        raise ValueError(f"{score.metric}: stderr {stderr!r} is negative")
    chance = metric.chance if score.chance is None else _number(score.chance, f"{score.metric}: chance")
    return {
        "metric": score.metric,
        "params": params_text(score.params),
        "slice_by": str(score.slice_by),
        "slice_value": str(score.slice_value),
        "value": value,
        "stderr": stderr,
        "n": None if score.n is None else int(score.n),
        "higher_is_better": metric.higher_is_better,
        "chance": chance,
    }


def params_text(params: Mapping[str, Any]) -> str:
    """A metric's parameters as the table writes them: `k=1,n=10`, sorted."""
    return ",".join(f"{name}={params[name]}" for name in sorted(params))


def _number(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{what} is {value!r}, not a number") from None
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError(f"{what} is {value!r}; raise CannotMeasure or leave the metric blank instead")
    return number


def build_record(run: Run, outcome: Outcome) -> dict[str, Any]:
    """SAEBench's output fields around HedgeBench's own."""
    versions = {name: v for name in _VERSIONED if (v := package_version(name))}
    details, checkpoint = dict(outcome.details), run.checkpoint
    plain = [s for s in outcome.scores if s["slice_by"] == "all"]
    metrics = {s["metric"] + (f"[{s['params']}]" if s["params"] else ""): s["value"] for s in plain}
    return {
        "eval_type_id": details.get("eval_type_id", f"hedgebench_{run.eval}"),
        "eval_config": details.get("eval_config", dict(run.config)),
        "eval_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"hedgebench:{run.run_id}")),
        "datetime_epoch_millis": int((outcome.started_at or time.time()) * 1000),
        "eval_result_metrics": details.get("eval_result_metrics", {run.eval: metrics}),
        "eval_result_details": details.get("eval_result_details", []),
        "sae_bench_commit_hash": f"sae-bench {versions.get('sae-bench', 'not installed')}",
        "sae_lens_id": checkpoint.sae_id or checkpoint.name,
        "sae_lens_release_id": checkpoint.release or "local",
        "sae_lens_version": versions.get("sae-lens", "unknown"),
        "sae_cfg_dict": dict(outcome.sae_config),
        "eval_result_unstructured": details.get("eval_result_unstructured", {}),
        "hedgebench": {
            "schema": SCHEMA,
            "run_id": run.run_id,
            "eval": run.eval,
            "eval_version": run.eval_version,
            "config": dict(run.config),
            "seed": run.seed,
            "model": run.model,
            "revision": run.revision,
            "data": run.data,
            "calibration": run.calibration,
            "dtype": run.dtype,
            "digest": checkpoint.digest,
            "control_digest": run.control.digest if run.control else None,
            "second_control_digest": run.second_control.digest if run.second_control else None,
            "siblings": [card.digest for card in run.siblings],
            "absent": dict(run.absent),
            "status": outcome.status,
            "error": outcome.error,
            "incomplete": dict(outcome.incomplete),
            "scores": [dict(s) for s in outcome.scores],
            "missing": dict(outcome.missing),
            "seconds": outcome.seconds,
            "peak_mb": outcome.peak_mb,
            "started_at": outcome.started_at,
            "device": outcome.device,
            "versions": versions,
        },
    }


def record_path(out: Path, eval_name: str, run_id: str) -> Path:
    """Where the record of a run lies."""
    return out / "records" / eval_name / f"{run_id}.json"


def write_record(out: Path, record: Mapping[str, Any]) -> Path:
    """Write a record atomically and return its path.

    Raises:
        BadInput: The folder cannot be written, or the disk is full.
    """
    ours = record["hedgebench"]
    path = record_path(out, ours["eval"], ours["run_id"])
    write_json(path, record)
    return path


def write_card(out: Path, checkpoint: Checkpoint) -> None:
    """Write an SAE's card, unless the same one is there."""
    path = out / "checkpoints" / f"{checkpoint.digest}.json"
    card = json.loads(json.dumps(checkpoint.to_dict(), default=str))
    if read_json(path) != card:
        write_json(path, card)


def write_json(path: Path, data: Any, *, sync: bool = True) -> None:
    """Write strict JSON to a temporary file beside `path`, then rename it there: readers see all of it or none.

    Args:
        path: The file.
        data: What it is to hold.
        sync: Whether it must outlive a power cut that comes at once.

    Raises:
        BadInput: The file cannot be written.
    """
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, indent=1)
    write_text(path, text, sync=sync)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a text file whole or not at all; `sync` as in `write_json`.

    Raises:
        BadInput: The file cannot be written.
    """
    # not mkstemp, whose files only their owner may read: results are often shared
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """The JSON in a file, or None where there is no file, it is not whole, or too large to be one of ours."""
    try:
        if not is_file(path) or path.stat().st_size > MAX_BYTES:
            return None  # a pipe would never end
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def read_record(path: Path) -> dict[str, Any] | None:
    """A record of ours, or None where there is none that is whole."""
    record = read_json(path)
    return record if is_whole(record) else None


def is_copy(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether a whole record lies among a folder's records, and not at the place of its run: it would count twice, or be an old one."""
    ours = record["hedgebench"]
    return path.parent.parent.name == "records" and path != record_path(path.parents[2], ours["eval"], ours["run_id"])


def read_records(out: Path) -> Iterator[dict[str, Any]]:
    """All whole records of a results folder, in a fixed order. One that is damaged, or not at its place, is named in a warning and left out."""
    for path in sorted((out / "records").glob("*/*.json")):
        record = read_record(path)
        if record is None:
            logger.warning("%s is no whole record and is left out; the next run makes it again", path)
        elif is_copy(path, record):
            tell_copy(path, record)
        else:
            yield record


def tell_copy(path: Path, record: Mapping[str, Any]) -> None:
    """Warn of a record that is left out because it is not at its place."""
    ours = record["hedgebench"]
    logger.warning(
        "%s is left out: it is the record of a run whose place is %s/%s.json", path, ours["eval"], ours["run_id"]
    )


def read_cards(out: Path) -> dict[str, Checkpoint]:
    """The cards of a results folder, by digest."""
    cards = {}
    for path in sorted((out / "checkpoints").glob("*.json")):
        data = read_json(path)
        try:
            card = Checkpoint.from_dict(data)
            if not isinstance(card.name, str) or card.digest != path.stem or not isinstance(card.tags, Mapping):
                raise TypeError
            cards[path.stem] = card
        except (TypeError, AttributeError, ValueError):
            logger.warning("%s is no whole checkpoint card and is left out", path)
    return cards
