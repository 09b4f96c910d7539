"""From records to tidy tables: one row is one number. No torch, and no knowledge of any eval."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.columns import typed_column
from hedgebench.formats.layouts import find_layout
from hedgebench.pedigree import read_objective, read_recipe
from hedgebench.records import params_text, read_cards, read_json, read_record, read_records, write_text
from hedgebench.saebench_output import EVAL_NAMES, is_saebench, read_scores
from hedgebench.types import BadInput, Checkpoint

if TYPE_CHECKING:
    from pandas import DataFrame

logger = logging.getLogger(__name__)

SCORES = [
    "sae",
    "eval",
    "metric",
    "params",
    "slice_by",
    "slice_value",
    "value",
    "stderr",
    "n",
    "higher_is_better",
    "chance",
    "seed",
    "architecture",
    "loss",
    "width",
    "k",
    "l0",
    "train_seed",
    "train_tokens",
    "model",
    "hook",
    "layer",
    "data",
    "release",
    "sae_id",
    "digest",
    "eval_version",
    "config",
    "run_id",
    "source",
    "objective",
    "recipe",
]
"""Columns of the scores table. Key: run_id, metric, params, slice_by, slice_value."""
_YOUNGER = ("objective", "recipe")
RUNS = ["run_id", "sae", "eval", "seed", "status", "error", "seconds", "peak_mb", "started_at", "versions"]
"""Columns of the runs table."""

_CARD = (
    "architecture",
    "loss",
    "width",
    "k",
    "l0",
    "train_seed",
    "train_tokens",
    "model",
    "hook",
    "layer",
    "release",
    "sae_id",
    "digest",
    "objective",
    "recipe",
)


def read_results(folder: str | Path) -> DataFrame:
    """The scores table of a results folder: HedgeBench's records, and SAEBench's own output files.

    Raises:
        BadInput: No such folder.
    """
    return _frame(list(_score_rows(Path(folder))), SCORES)


def read_runs(folder: str | Path) -> DataFrame:
    """The runs table of a results folder, failed and skipped runs included.

    Raises:
        BadInput: No such folder.
    """
    folder = Path(folder)
    names = sae_names(_cards(folder))
    rows = []
    for record in read_records(folder):
        ours = record["hedgebench"]
        row = {key: ours.get(key) for key in RUNS}
        rows.append(row | {"sae": names.get(ours["digest"], ours["digest"]), "versions": _text(ours["versions"])})
    return _frame(rows, RUNS)


def result_files(folder: Path) -> Iterator[Path]:
    """The JSON files of a results folder that may be records of ours or output of SAEBench, in a fixed order.

    Raises:
        BadInput: No such folder.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such results folder")
    for place, below, names in os.walk(folder):
        if Path(place) != folder and find_layout(place) is not None:
            below.clear()  # an SAE lies beside the results: it is none itself
        elif Path(place).name != "checkpoints":
            below.sort()
            yield from (Path(place) / name for name in sorted(names) if name.endswith(".json"))


def _cards(folder: Path) -> dict[str, Checkpoint]:
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such results folder")
    return read_cards(folder)


def sae_names(cards: Mapping[str, Checkpoint]) -> dict[str, str]:
    """A readable name for each digest; where two SAEs share one, each gets the start of its digest."""
    count = Counter(c.name for d, c in cards.items() if not d.startswith("unreadable"))

    def name(digest: str, card: Checkpoint) -> str:
        if digest.startswith("unreadable") and count[card.name]:
            return f"{card.name}~{digest[:17]}"
        return card.name if count[card.name] <= 1 else f"{card.name}~{digest[:6]}"

    return {digest: name(digest, card) for digest, card in cards.items()}


def _score_rows(folder: Path) -> Iterator[dict[str, Any]]:
    cards = _cards(folder)
    names = sae_names(cards)
    for path in result_files(folder):
        record = read_record(path)
        if record is not None:
            yield from _our_rows(record, cards, names)
            continue
        data = read_json(path)
        if is_saebench(data):
            yield from _saebench_rows(data, names.values())
        else:
            logger.warning(
                "%s is neither a whole record of HedgeBench nor an output of SAEBench that can be read; left out", path
            )


def _our_rows(
    record: Mapping[str, Any], cards: Mapping[str, Checkpoint], names: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    ours = record["hedgebench"]
    card = cards.get(ours["digest"])
    common: dict[str, Any] = {key: getattr(card, key) for key in _CARD} if card else {"digest": ours["digest"]}
    common |= {
        "sae": names.get(ours["digest"], ours["digest"]),
        "eval": ours["eval"],
        "seed": ours["seed"],
        "model": ours["model"] or common.get("model"),
        "data": ours["data"],
        "eval_version": ours["eval_version"],
        "config": _text(ours["config"]),
        "run_id": ours["run_id"],
        "source": "hedgebench",
    }
    for score in ours["scores"]:
        yield {**common, **score}


def _saebench_rows(data: Mapping[str, Any], taken: Collection[str]) -> Iterator[dict[str, Any]]:
    """Rows of one SAEBench output file: what it says of its SAE, and its numbers under our names."""
    common = saebench_facts(data, taken)
    directions = _directions(common["eval"])
    for score in read_scores(data):
        row = score._asdict() | {"params": params_text(score.params)}
        yield {**common, **row, "higher_is_better": directions.get(score.metric)}


def saebench_facts(data: Mapping[str, Any], taken: Collection[str] = ()) -> dict[str, Any]:
    """What one SAEBench output file says of its run and its SAE, by columns of the scores table.

    Args:
        data: The file's content.
        taken: Names of other SAEs. An SAE that SAEBench was handed as an object is called as its user called it, unless that is one of them.
    """
    config = data.get("sae_cfg_dict") or {}
    eval_config = data.get("eval_config") or {}
    release, sae_id = data.get("sae_lens_release_id"), data.get("sae_lens_id")
    metadata = config.get("metadata")
    meta: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else config
    details = meta.get("training_architecture_details")
    custom = sae_id == "custom_sae"
    return {
        "sae": release if custom and release not in taken else f"{release}:{sae_id}",
        "eval": EVAL_NAMES[data["eval_type_id"]],
        "seed": eval_config.get("random_seed"),
        "architecture": meta.get("training_architecture") or config.get("architecture"),
        "loss": meta.get("reconstruction_loss"),
        "width": config.get("d_sae"),
        "k": details.get("k") if isinstance(details, Mapping) else config.get("k"),
        "l0": meta.get("l0"),
        "train_seed": meta.get("train_seed"),
        "train_tokens": meta.get("train_tokens", config.get("training_tokens")),
        "model": eval_config.get("model_name") or meta.get("model_name"),
        "hook": meta.get("hook_name"),
        "layer": meta.get("hook_layer"),
        "data": _data_name(eval_config),
        "release": meta.get("release") if custom else release,
        "sae_id": meta.get("sae_id") if custom else sae_id,
        "config": _text({name: value for name, value in eval_config.items() if name != "random_seed"}),
        "run_id": f"saebench:{data.get('eval_id')}:{release}:{sae_id}",
        "source": "saebench",
        "objective": read_objective(meta),
        "recipe": read_recipe(meta),
    }


def _data_name(eval_config: Mapping[str, Any]) -> str | None:
    """The data that SAEBench says it read: one set or several."""
    names = eval_config.get("dataset_names")
    if isinstance(names, list):
        return " + ".join(map(str, names))
    return eval_config.get("dataset") or eval_config.get("dataset_name")


def _directions(eval_name: str) -> dict[str, bool | None]:
    from hedgebench.registry import get_eval

    try:
        return {m.name: m.higher_is_better for m in get_eval(eval_name).metrics}
    except BadInput:
        return {}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> DataFrame:
    """A frame with fixed columns and types, in a fixed order of rows."""
    import pandas as pd

    frame = pd.DataFrame({column: typed_column(column, [row.get(column) for row in rows]) for column in columns})
    order = [c for c in ("eval", "sae", "seed", "run_id") if c in columns]
    return frame.sort_values(order, kind="stable", ignore_index=True)


def write_table(frame: DataFrame, file: str | Path) -> Path:
    """Write a table to .csv or .parquet, whole or not at all.

    Raises:
        BadInput: Another suffix, or the file cannot be written.
    """
    file = Path(file)
    if file.suffix == ".csv":
        write_text(file, frame.to_csv(index=False))
    elif file.suffix == ".parquet":
        temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(temporary, index=False)
            temporary.replace(file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise BadInput(f"cannot write {file}: {error.strerror or error}") from error
    else:
        raise BadInput(f"{file}: a table is written as .csv or .parquet")
    return file


def read_table(file: str | Path) -> DataFrame:
    """A scores table that `write_table` wrote.

    Raises:
        BadInput: No such file, another suffix, or no scores table.
    """
    import pandas as pd

    file = Path(file)
    try:
        if file.suffix == ".parquet":
            frame = pd.read_parquet(file)
        elif file.suffix == ".csv":
            types: Any = {column: pd.Series(typed_column(column, [])).dtype for column in SCORES}
            frame = pd.read_csv(file, dtype=types, keep_default_na=False, na_values=[""], float_precision="round_trip")
        else:
            raise BadInput(f"{file}: a scores table is a .csv or .parquet file")
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: no scores table can be read: {str(error).splitlines()[0]}") from error
    for column in ("sae", "eval", "metric", "run_id", "value"):
        if column not in frame:
            raise BadInput(f"{file}: no scores table: it has no column {column!r}")
        if (blank := frame[column].isna().to_numpy().nonzero()[0]).size:
            raise BadInput(f"{file}: row {blank[0] + 1} has no {column}; every row of a scores table has one")
    if "params" in frame:
        frame["params"] = frame["params"].fillna("")  # a CSV does not tell an empty text from none
    return completed(frame)


def completed(scores: DataFrame) -> DataFrame:
    """A scores table with the columns that tables of older versions do not have, missing throughout."""
    return scores.assign(
        **{name: typed_column(name, [None] * len(scores)) for name in _YOUNGER if name not in scores.columns}
    )


def headline(scores: DataFrame, n_metrics: int = 6) -> str:
    """The first metrics of each eval, one line per SAE: mean over seeds, ± their standard deviation where there are several.

    An eval that ran on several data or with several settings has a block for each: numbers on different data are never averaged.
    """
    import pandas as pd

    blocks = []
    whole = scores[scores["slice_by"] == "all"]
    whole = whole.assign(metric=(whole["metric"] + " " + whole["params"]).str.strip())
    n_data, n_configs = (whole.groupby("eval")[column].nunique(dropna=False).to_dict() for column in ("data", "config"))
    for (name, data, config), rows in whole.groupby(["eval", "data", "config"], sort=True, dropna=False):
        metrics = list(dict.fromkeys(rows["metric"]))[:n_metrics]
        n_seeds = rows["seed"].nunique()
        cells = rows[rows["metric"].isin(metrics)].groupby(["sae", "metric"], sort=True)["value"].agg(["mean", "std"])
        text = cells.apply(lambda c: f"{c['mean']:.4g}" + (f" ±{c['std']:.1g}" if pd.notna(c["std"]) else ""), axis=1)
        table = text.unstack("metric").reindex(columns=metrics).fillna("")  # noqa: PD010 - nothing is aggregated
        table.columns.name, table.index.name = None, None
        seeds = (
            f"mean ± SD over {n_seeds} evaluation seeds"
            if n_seeds > 1
            else ("1 evaluation seed" if n_seeds else "nothing drawn")
        )
        where = (f" on {data}" if n_data[name] > 1 else "") + (f" with {config}" if n_configs[name] > 1 else "")
        blocks.append(f"{name}{where} ({seeds})\n{table.to_string()}")
    return "\n\n".join(blocks)
