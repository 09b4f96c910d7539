"""Read SAEBench's own output: its names for evals, metrics and subsets, and ours. One mapping, which our evals of SAEBench use too.

A number whose formula is not what its name promises keeps its value under `upstream_...`; see the eval that reports it. Standard library only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import ItemsView, Iterator, Mapping
from typing import Any, NamedTuple

EVAL_NAMES = {
    "core": "saebench_core",
    "absorption_first_letter": "saebench_absorption",
    "tpp": "saebench_tpp",
    "scr": "saebench_scr",
    "sparse_probing": "saebench_sparse_probing",
    "sparse_probing_sae_probes": "saebench_sae_probes",
    "autointerp": "saebench_autointerp",
}
"""SAEBench's `eval_type_id` and the eval of ours that reports the same metrics."""

CORE_RENAMED = {
    "explained_variance": "upstream_explained_variance",
    "explained_variance_legacy": "upstream_explained_variance_legacy",
    "mse": "upstream_mse",
}
"""Metrics of SAEBench's core whose formula is not the one the name promises: they keep their numbers under another name."""
_CORE_COUNTS = "token_stats"

_PATTERNS: dict[str, tuple[tuple[str, str], ...]] = {
    "absorption_first_letter": ((r"(?P<name>.+)", "{name}"),),
    "tpp": ((r"tpp_threshold_(?P<n>\d{1,9})_(?P<name>\w+)", "upstream_tpp_{name}"),),
    "scr": ((r"scr_(?P<name>dir1|dir2|metric)_threshold_(?P<n>\d{1,9})", "upstream_scr_{name}"),),
    "sparse_probing": (
        (r"(?P<name>llm|sae)_top_(?P<k>\d{1,9})_test_accuracy", "{name}_top_k_test_accuracy"),
        (r"(?P<name>llm|sae)_test_accuracy", "upstream_{name}_test_accuracy"),
    ),
    "sparse_probing_sae_probes": (
        (r"(?P<who>llm|sae)_top_(?P<k>\d{1,9})_(?P<name>test_\w+)", "{who}_top_k_{name}"),
        (r"(?P<name>llm_test_\w+)", "{name}"),
    ),
    "autointerp": ((r"(?P<name>autointerp_\w+)", "upstream_{name}"),),
}
"""Per type: what SAEBench calls a number, and our name for it. The groups `k` and `n` become parameters."""
_PARAMETERS = ("k", "n")
_SIGNED = ("scr", "tpp")


class UpstreamScore(NamedTuple):
    """One number of an output of SAEBench, under our names."""

    metric: str
    value: float
    params: Mapping[str, int] = {}
    slice_by: str = "all"
    slice_value: str = "all"


def is_saebench(data: Any) -> bool:
    """Whether this is an output of SAEBench of a type that can be read here."""
    return (
        isinstance(data, Mapping)
        and str(data.get("eval_type_id")) in EVAL_NAMES
        and isinstance(data.get("eval_result_metrics"), Mapping)
    )


def our_name(eval_type: str, name: str) -> tuple[str, dict[str, int]] | None:
    """Our metric and its parameters for a number of SAEBench's; None where it is none we know.

    `tpp`, `tpp_threshold_10_total_metric` gives `upstream_tpp_total_metric`, {"n": 10}.
    """
    if eval_type == "core":
        return CORE_RENAMED.get(name, name), {}
    for pattern, ours in _PATTERNS[eval_type]:
        if found := re.fullmatch(pattern, name):
            groups = found.groupdict()
            params = {p: int(groups.pop(p)) for p in _PARAMETERS if p in groups}
            return ours.format(**groups), params
    return None


def read_scores(data: Mapping[str, Any]) -> Iterator[UpstreamScore]:
    """Every number of an output of SAEBench, aggregates first, then its subsets (data set, class, letter, latent).

    Left out are what core counts (tokens) and its list for every latent, which our own records keep out of the table, too.
    Its −1 for "not a number" gives nothing, but for TPP and SCR: they have no such mark, and are differences that can be −1.
    """
    kind = str(data["eval_type_id"])
    for category, metrics in data["eval_result_metrics"].items():
        if not (kind == "core" and category == _CORE_COUNTS):
            yield from _numbers(kind, metrics)
    yield from _by_k(data.get("sae_metrics_by_k"), _named(data["eval_result_metrics"]))
    if kind == "core":
        return
    details = data.get("eval_result_details")
    for row in details if isinstance(details, list) else []:
        if isinstance(row, Mapping):
            where = _subset(kind, row)
            yield from _numbers(kind, row, *where)
            yield from _by_k(row.get("sae_metrics_by_k"), set(row), *where)
    yield from _unstructured(kind, data.get("eval_result_unstructured"))


def _subset(kind: str, row: Mapping[str, Any]) -> tuple[str, str]:
    if kind == "absorption_first_letter":
        return "letter", str(row.get("first_letter"))
    name = str(row.get("dataset_name")).removesuffix("_results")
    return "dataset", name.removesuffix("_tpp") if kind == "tpp" else name


def _numbers(kind: str, metrics: Any, *where: str) -> Iterator[UpstreamScore]:
    for name, value in _items(metrics):
        if _is_number(value, kind) and (ours := our_name(kind, str(name))):
            yield UpstreamScore(ours[0], float(value), ours[1], *where)


def _is_number(value: Any, kind: str = "") -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return plain and (value != -1 or kind in _SIGNED)


def _items(data: Any) -> ItemsView[str, Any]:
    """Of a mapping; of anything else, which no version of SAEBench writes there, none."""
    return data.items() if isinstance(data, Mapping) else {}.items()


def _named(categories: Mapping[str, Any]) -> set[str]:
    return {str(name) for metrics in categories.values() for name, _ in _items(metrics)}


def _by_k(table: Any, known: set[str], *where: str) -> Iterator[UpstreamScore]:
    """The numbers at a k for which SAEBench's types have no field of their own."""
    for k, metrics in _items(table):
        for name, value in _items(metrics):
            if re.fullmatch(r"\d{1,9}", str(k)) and f"sae_top_{k}_{name}" not in known and _is_number(value):
                yield UpstreamScore(f"sae_top_k_{name}", float(value), {"k": int(k)}, *where)


def _unstructured(kind: str, data: Any) -> Iterator[UpstreamScore]:
    if kind == "tpp":  # data set: class: metric: value
        for dataset, classes in _items(data):
            for label, metrics in _items(classes):
                yield from _numbers(kind, metrics, "class", f"{dataset}/{label}")
    elif kind == "sparse_probing":  # data set: metric: class: value
        for dataset, metrics in _items(data):
            for name, classes in _items(metrics):
                for label, value in _items(classes):
                    where = "class", f"{str(dataset).removesuffix('_results')}/{label}"
                    yield from _numbers(kind, {name: value}, *where)
    elif kind == "autointerp":  # latent: its explanation, predictions and score
        for latent, result in _items(data):
            if isinstance(result, Mapping) and _is_number(result.get("score")):
                yield UpstreamScore("upstream_autointerp_score", float(result["score"]), {}, "latent", str(latent))
