"""The numbers of an SAE as Hugging Face's `model-index`, in the metadata of its README. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hedgebench.one_line import one_line
from hedgebench.spelling import nearest
from hedgebench.stats.tables import control_rows, summary
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from huggingface_hub import EvalResult
    from pandas import DataFrame

_HOW = ("eval_version", "model", "hook", "made_with")
"""Of the scores table: what a metric's `args` say of how it was made, beside its dataset's name (`data`) and config."""


def eval_results(scores: DataFrame, sae: str | None = None) -> tuple[str, list[EvalResult]]:
    """What a scores table says of one SAE: its name, and a result for each metric over the whole of what it was evaluated on.

    Every text is on one line (`one_line`). A result's task is the eval, its dataset the data that was read, its value the mean over evaluation seeds. `metric_args` holds `seeds` (0: nothing is drawn), `interval_95` over them (where there are
    two), `higher_is_better`, `eval_version`, `model`, `hook` and `made_with`, as far as they are known.

    Args:
        scores: The scores table.
        sae: Its name; None: there is but one beside controls.

    Raises:
        BadInput: No such SAE, or several and none is named.
    """
    import pandas as pd
    from huggingface_hub import EvalResult

    controls = set(control_rows(scores))
    names = [str(name) for name in scores["sae"].unique() if name not in controls or name == sae]
    if sae is None and len(names) != 1:
        said = f"one of {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "there is none here"
        raise BadInput(one_line(f"--sae says whose numbers: {said}"))
    name = names[0] if sae is None else sae
    if name not in names:
        raise BadInput(f"no SAE is called {name!r}{nearest(name, names)}")
    mine = scores[scores["sae"].isin([name]) & (scores["slice_by"] == "all")]
    if mine.empty:
        raise BadInput(f"{one_line(name)}: there is no number (those about subsets take no part)")
    made_alike = mine.fillna({"made_with": ""}).groupby("made_with", sort=False)
    parts = [summary(rows.assign(made_with=None)).assign(made_with=made).astype(object) for made, rows in made_alike]
    rows = pd.concat(parts, ignore_index=True)
    better = scores.drop_duplicates(["eval", "eval_version", "metric"])
    rows = rows.merge(better[["eval", "eval_version", "metric", "higher_is_better"]], how="left")
    rows = rows[rows["mean"].notna()].astype(object)
    rows = rows.where(rows.notna(), None).map(lambda cell: one_line(cell) if isinstance(cell, str) else cell)
    return one_line(name), [
        EvalResult(
            task_type=row["eval"],
            task_name=row["eval"],
            dataset_type=row["data"] or "none",
            dataset_name=row["data"] or "none",
            dataset_config=row["config"],
            metric_type=row["metric"],
            metric_name=row["metric"] + (f"[{row['params']}]" if row["params"] else ""),
            metric_config=row["params"] or None,
            metric_value=float(row["mean"]),
            metric_args=_args(row),
        )
        for row in rows.to_dict("records")
    ]


def _args(row: Mapping[Any, Any]) -> dict[str, Any]:
    """How sure a number is, and how it was made."""
    said: dict[str, Any] = {"seeds": int(row["n_seeds"])}
    low, high = row["evaluation_low"], row["evaluation_high"]
    if row["n_seeds"] > 1 and low is not None and math.isfinite(high - low):
        said["interval_95"] = [float(low), float(high)]
    if row["higher_is_better"] is not None:
        said["higher_is_better"] = bool(row["higher_is_better"])
    return said | {name: row[name] for name in _HOW if row[name] not in (None, "")}


def with_results(readme: bytes, where: str, name: str, results: list[EvalResult]) -> str:
    """A README whose metadata holds the results of a model. Its text, its other metadata, the results of other models, and this one's of other tasks stay.

    Args:
        readme: As it was; empty where there is none.
        where: What messages call it.
        name: The model's.
        results: What is put in place of all its results of the same tasks.

    Raises:
        BadInput: The README or its metadata cannot be read.
    """
    from huggingface_hub import ModelCard, metadata_load, metadata_save
    from huggingface_hub.repocard_data import eval_results_to_model_index
    from yaml import YAMLError

    with TemporaryDirectory() as folder:
        copy = Path(folder) / "README.md"
        copy.write_bytes(readme)
        try:
            known = metadata_load(copy) or {}
            index = eval_results_to_model_index(name, results)
            known["model-index"] = _merged(known.get("model-index") or [], index[0])
            metadata_save(copy, known)
            text = copy.read_bytes().decode()
            ModelCard(text)
        except (ValueError, TypeError, KeyError, AttributeError, YAMLError) as error:
            raise BadInput(f"{where}: its metadata cannot be read: {' '.join(str(error).split())}") from error
    return text


def n_comments(readme: bytes) -> int:
    """How many comments the metadata of a README has: they are lost where it is written again. It must be one that can be read."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    found = REGEX_YAML_BLOCK.search(readme.decode())
    text = found.group(2) if found else ""
    bare = list(text)
    for token in yaml.scan(text):
        start, end = token.start_mark.index, token.end_mark.index
        bare[start:end] = " " * (end - start)
    return sum("#" in line for line in "".join(bare).splitlines())


def _merged(old: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """A model index with a model's results in place of its old ones of the same tasks."""
    tasks = {result["task"]["type"] for result in new["results"]}
    found, mine = [], new
    for entry in old:
        if entry["name"] == new["name"]:
            kept = [result for result in entry["results"] if result["task"]["type"] not in tasks]
            mine = {**entry, "results": kept + new["results"]}
        else:
            found.append(entry)
    return [mine, *found]
