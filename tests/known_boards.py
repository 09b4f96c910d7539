"""Results folders whose leaderboard is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hedgebench.records import record_path, write_json
from hedgebench.types import Checkpoint


def write_run(
    folder: Path,
    sae: str,
    numbers: Mapping[str, float],
    seed: int | None = 0,
    card: Mapping[str, Any] | None = None,
    **more: Any,
) -> str:
    """One record and its SAE's card, as a run would leave them; `more` replaces what the record says. Returns the run_id."""
    digest = hashlib.sha256(sae.encode()).hexdigest()[:32]
    facts: dict[str, Any] = {
        "architecture": "batchtopk",
        "width": 512,
        "model": "a-model",
        "hook": "blocks.8.hook_resid_post",
    }
    made = Checkpoint(digest, sae, d_in=8, **{**facts, **(card or {})})
    write_json(folder / "checkpoints" / f"{digest}.json", made.to_dict())
    ours: dict[str, Any] = {
        "eval": "an_eval",
        "eval_version": 1,
        "config": {"n": 1},
        "seed": seed,
        "model": "a-model",
        "revision": "r1",
        "data": "a-text",
        "dtype": "float32",
        "device": "cpu",
        "digest": digest,
        "status": "ok",
        "error": None,
        "missing": {},
        "incomplete": {},
        "versions": {"hedgebench": "0.1.0", "torch": "2.13.0"},
        **more,
    }
    ours["run_id"] = f"run-{len(list(folder.rglob('*.json')))}"
    ours["scores"] = [
        {"metric": name, "params": "", "slice_by": "all", "slice_value": "all", "value": value, "stderr": 0.01, "n": 64, "higher_is_better": True, "chance": 0.5}
        for name, value in numbers.items()
    ]  # fmt: skip
    write_json(record_path(folder, ours["eval"], ours["run_id"]), {"hedgebench": ours})
    return str(ours["run_id"])


HOSTILE = (
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=2</script>",
    "<!--<script>",
    '"><img src=x onerror=window.hacked=3>',
    "{{script}}",
    "[click](javascript:window.hacked=4) ![x](http://example.invalid/x.png)",
    "`code` **bold** | pipe\nnew line",
    "javascript:window.hacked=5//",
    "http://example.invalid/beacon",
    "\u2028\u202egnp.eas",
)
"""Names that somebody may give a checkpoint."""
