"""Scores tables whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from hedgebench.columns import typed_column
from hedgebench.results import SCORES

COMMON: dict[str, Any] = {
    "eval": "an_eval",
    "metric": "quality",
    "params": "",
    "slice_by": "all",
    "slice_value": "all",
    "higher_is_better": True,
    "architecture": "batchtopk",
    "loss": "mse",
    "width": 512,
    "k": 20.0,
    "model": "a-model",
    "hook": "blocks.8.hook_resid_post",
    "layer": 8,
    "data": "a-text",
    "eval_version": 1,
    "config": "{}",
    "source": "hedgebench",
}


def table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A scores table of these rows, what they do not say as in `COMMON`; run and digest follow from the SAE and the seed."""
    full = []
    for row in rows:
        made = {**COMMON, **row}
        identity = f"{made['sae']} {made.get('seed')} {made['eval']} {made['data']} {made['eval_version']}"
        full.append({"digest": made["sae"], "run_id": identity, **made})
    return pd.DataFrame({name: typed_column(name, [row.get(name) for row in full]) for name in SCORES})


def recipe(loss: str, values: Iterable[Iterable[float]], **more: Any) -> list[dict[str, Any]]:
    """Rows of one variant: `values[training seed][evaluation seed]`."""
    return [
        {"sae": f"{loss}-s{i}", "loss": loss, "train_seed": i, "seed": j, "value": value, **more}
        for i, over_seeds in enumerate(values)
        for j, value in enumerate(over_seeds)
    ]


def alone(sae: str, values: Iterable[float], **more: Any) -> list[dict[str, Any]]:
    """Rows of an SAE whose training seed nobody knows: a value for each evaluation seed."""
    return [{"sae": sae, "seed": j, "value": value, **more} for j, value in enumerate(values)]
