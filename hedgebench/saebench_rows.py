"""From SAEBench's own output to rows of the scores table. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hedgebench.columns import typed_value
from hedgebench.pedigree import read_objective, read_recipe
from hedgebench.records import params_text
from hedgebench.saebench_output import EVAL_NAMES, read_scores
from hedgebench.types import BadInput, Metric


def saebench_rows(data: Mapping[str, Any], taken: Collection[str]) -> Iterator[dict[str, Any]]:
    """Rows of one SAEBench output file: what it says of its SAE, and its numbers under our names."""
    common = saebench_facts(data, taken)
    cards = _cards(common["eval"])
    for score in read_scores(data):
        row = score._asdict() | {"params": params_text(score.params)}
        card = cards.get(score.metric)
        yield {**common, **row, "higher_is_better": card and card.higher_is_better, "chance": card and card.chance}


def saebench_facts(data: Mapping[str, Any], taken: Collection[str] = ()) -> dict[str, Any]:
    """What one SAEBench output file says of its run and its SAE, by columns of the scores table.

    Args:
        data: The file's content.
        taken: Names of other SAEs. An SAE that SAEBench was handed as an object is called as its user called it, unless that is one of them.
    """
    config, eval_config = _mapping(data.get("sae_cfg_dict")), _mapping(data.get("eval_config"))
    release, sae_id = data.get("sae_lens_release_id"), data.get("sae_lens_id")
    meta = _mapping(config.get("metadata")) or config
    custom = sae_id == "custom_sae"
    name = str(release) if custom and str(release) not in taken else f"{release}:{sae_id}"
    content = hashlib.sha256(
        _json(data).encode()
    ).hexdigest()  # a file that was edited, or made again under its old id, is another run
    facts = {
        "sae": name,
        "eval": EVAL_NAMES[data["eval_type_id"]],
        "seed": eval_config.get("random_seed"),
        "architecture": meta.get("training_architecture") or config.get("architecture"),
        "loss": meta.get("reconstruction_loss"),
        "width": config.get("d_sae"),
        "k": _mapping(meta.get("training_architecture_details")).get("k", config.get("k")),
        "l0": meta.get("l0"),
        "train_seed": meta.get("train_seed"),
        "train_tokens": meta.get("train_tokens", config.get("training_tokens")),
        "model": eval_config.get("model_name") or meta.get("model_name"),
        "hook": meta.get("hook_name"),
        "layer": meta.get("hook_layer"),
        "data": _data_name(eval_config),
        "release": meta.get("release") if custom else release,
        "sae_id": meta.get("sae_id") if custom else sae_id,
        "config": _json({name: value for name, value in eval_config.items() if name != "random_seed"}),
        "run_id": f"saebench:{data.get('eval_id')}:{release}:{sae_id}:{content[:12]}",
        "source": "saebench",
        "objective": read_objective(meta),
        "recipe": read_recipe(meta),
        "made_with": _json({"sae-bench": commit}) if (commit := data.get("sae_bench_commit_hash")) else None,
    }
    return {column: typed_value(column, value) for column, value in facts.items()}


def _data_name(eval_config: Mapping[str, Any]) -> str | None:
    """The data that SAEBench says it read: one set or several."""
    names = eval_config.get("dataset_names")
    if isinstance(names, list):
        return " + ".join(map(str, names))
    return eval_config.get("dataset") or eval_config.get("dataset_name")


def _cards(eval_name: str) -> dict[str, Metric]:
    from hedgebench.registry import get_eval

    try:
        return {metric.name: metric for metric in get_eval(eval_name).metrics}
    except BadInput:
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
