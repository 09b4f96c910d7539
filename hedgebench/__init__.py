"""HedgeBench: can this sparse autoencoder be trusted? Hedging metrics beside SAEBench's own, with honest noise."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in typing, whose import would take most of the time before a command can hear Ctrl-C
if TYPE_CHECKING:
    from typing import Any

    from hedgebench.api import evaluate
    from hedgebench.board.write import leaderboard
    from hedgebench.checkpoint import read_checkpoint
    from hedgebench.eval import Eval, EvalContext, Figure
    from hedgebench.loaders import load_sae
    from hedgebench.registry import list_evals
    from hedgebench.regression.check import check
    from hedgebench.results import read_results, read_runs
    from hedgebench.toy_study import run_toy
    from hedgebench.types import BadInput, CannotMeasure, Checkpoint, Metric, Score

_LAZY = {
    "BadInput": "hedgebench.types",
    "CannotMeasure": "hedgebench.types",
    "Checkpoint": "hedgebench.types",
    "Eval": "hedgebench.eval",
    "EvalContext": "hedgebench.eval",
    "Figure": "hedgebench.eval",
    "Metric": "hedgebench.types",
    "Score": "hedgebench.types",
    "check": "hedgebench.regression.check",
    "evaluate": "hedgebench.api",
    "leaderboard": "hedgebench.board.write",
    "list_evals": "hedgebench.registry",
    "load_sae": "hedgebench.loaders",
    "read_checkpoint": "hedgebench.checkpoint",
    "read_results": "hedgebench.results",
    "read_runs": "hedgebench.results",
    "run_toy": "hedgebench.toy_study",
}
"""Names whose modules are imported on first use, so that importing hedgebench is instant."""

__all__ = [
    "BadInput",
    "CannotMeasure",
    "Checkpoint",
    "Eval",
    "EvalContext",
    "Figure",
    "Metric",
    "Score",
    "check",
    "evaluate",
    "leaderboard",
    "list_evals",
    "load_sae",
    "read_checkpoint",
    "read_results",
    "read_runs",
    "run_toy",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hedgebench' has no attribute {name!r}")
