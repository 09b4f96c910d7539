"""Read SAEBench's own output files: its names for evals and metrics, and ours. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

EVAL_NAMES = {"core": "saebench_core"}
"""SAEBench's `eval_type_id` and the eval of ours that reports the same metrics."""

CORE_RENAMED = {
    "explained_variance": "upstream_explained_variance",
    "explained_variance_legacy": "upstream_explained_variance_legacy",
    "mse": "upstream_mse",
}
"""Metrics of SAEBench's core whose formula is not the one the name promises: they keep their numbers under another name."""
_CORE_COUNTS = "token_stats"


def is_saebench(data: Any) -> bool:
    """Whether this is an output of SAEBench of a type that can be read here."""
    return (
        isinstance(data, Mapping)
        and data.get("eval_type_id") in EVAL_NAMES
        and isinstance(data.get("eval_result_metrics"), Mapping)
    )


def metric_values(data: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """(metric, value) of an output of SAEBench's core, under our names; its −1 for "not a number" gives nothing.

    No metric of core that can be −1 is reported as exactly −1 but for that: cosines, scores and variances are means over many tokens.
    """
    for category, metrics in data["eval_result_metrics"].items():
        if category == _CORE_COUNTS or not isinstance(metrics, Mapping):
            continue
        for name, value in metrics.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value != -1:
                yield str(CORE_RENAMED.get(name, name)), float(value)
