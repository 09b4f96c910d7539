"""Inputs with nothing wrong in them, to spoil."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

D_IN, D_SAE = 8, 12
_KEPT = tempfile.TemporaryDirectory(prefix="good-")


@functools.cache
def made() -> Path:
    """The folder they are kept in."""
    import torch
    from known_saes import random_rows

    folder = Path(_KEPT.name)
    random_rows(D_IN, D_SAE, torch.Generator().manual_seed(0)).save_model(folder / "saelens")
    config = json.loads((folder / "saelens/cfg.json").read_text())
    config["metadata"] = {"hook_name": "blocks.1.hook_resid_post", "model_name": "tiny"}
    (folder / "saelens/cfg.json").write_text(json.dumps(config))
    return folder


def sae(folder: Path) -> Path:
    """A SAELens folder: a standard SAE with random rows."""
    return Path(shutil.copytree(made() / "saelens", folder))


def evaluated(ref: Path | str, *more: str) -> list[str]:
    """The command that evaluates an SAE."""
    return ["run", "--sae", str(ref), "--eval", "decoder_bias", "--out", "out", *more]


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON object; `...` takes one away."""
    data = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))
