"""What the tests of both probing evals share: an SAE for the letter model, and an eval's scores as rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from char_model import D_MODEL, HOOK

from hedgebench.eval import Eval, EvalContext
from hedgebench.records import score_row

CHECKPOINT = Path(__file__).parent.parent / "evals" / "checkpoints" / "batchtopk-mse-s0"
"""An SAE of the offline model."""


def make_topic_sae(seed: int = 0, d_sae: int = 48, hook: str = HOOK) -> Any:
    """Random unit rows that read what they write, prepared as the harness does."""
    from sae_lens import SAE

    from hedgebench.loaders import prepare

    rows = torch.randn(d_sae, D_MODEL, generator=torch.Generator().manual_seed(seed))
    metadata = {"hook_name": hook, "model_name": "char"}
    sae = SAE.from_dict({"architecture": "standard", "d_in": D_MODEL, "d_sae": d_sae, "metadata": metadata})
    weights = {"W_dec": rows, "W_enc": rows.T, "b_enc": torch.zeros(d_sae), "b_dec": torch.zeros(D_MODEL)}
    sae.load_state_dict(weights)
    return prepare(sae)


def rows_by_key(eval_class: type[Eval], ctx: EvalContext, cfg: Any) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    """The checked rows of one run by (metric, params, slice_by, slice_value); a row reported twice is an error."""
    found: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for score in eval_class().run(ctx, cfg):
        row = score_row(eval_class, score)
        key = (row["metric"], row["params"], row["slice_by"], row["slice_value"])
        assert key not in found, key
        found[key] = row
    return found


def run_plain(kind: str, folder: Path, sae: Any, **job: Any) -> dict[str, Any]:
    """What SAEBench answers in a process of its own; see `plain_probing`."""
    sae.save_model(folder / "sae")
    (folder / "job.json").write_text(json.dumps(job))
    script = Path(__file__).parent / "plain_probing.py"
    subprocess.run([sys.executable, script, kind, folder], check=True, capture_output=True, timeout=600)
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return answer
