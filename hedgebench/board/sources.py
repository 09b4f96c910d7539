"""Where a leaderboard's numbers come from: a results folder, or a scores table alone. No torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.records import read_cards, read_json, read_record
from hedgebench.registry import Plugin, find_evals
from hedgebench.results import SCORES, completed, read_results, read_table, result_files, sae_names, saebench_facts
from hedgebench.saebench_output import is_saebench
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame

CARD = [
    "architecture",
    "loss",
    "width",
    "k",
    "objective",
    "l0",
    "train_seed",
    "train_tokens",
    "recipe",
    "model",
    "hook",
    "layer",
]
"""What the scores table says of an SAE; with `NAMES`, by which it is found again."""
NAMES = ["release", "sae_id", "digest"]


class Made(NamedTuple):
    """One run: what its record says beside its scores."""

    run_id: str
    sae: str
    eval: str
    eval_version: int | None
    data: str | None
    config: str | None
    seed: int | None
    source: str | None
    status: str = "ok"
    error: str | None = None
    missing: Mapping[str, str] = {}
    """Metrics it leaves blank, each with the reason."""
    incomplete: Mapping[str, str] = {}
    """What it went on without, each with the reason."""
    versions: Mapping[str, str] = {}
    """Of packages."""
    circumstances: Mapping[str, str] = {}
    """Model revision, numeric type, device: what else its record says."""
    file: str | None = None
    """Its record, from the results folder."""


IDENTITY = ["run_id", "sae", "eval", "eval_version", "data", "config", "seed", "source"]
"""Of a run; columns of the scores table."""


class Source(NamedTuple):
    """The numbers of whole SAEs (no slices), the SAEs, and the runs."""

    scores: DataFrame
    """Of the scores table the rows that are about no subset. Runs that differ in what decides numbers, and no column of the table says, differ in `config` here."""
    saes: DataFrame
    """A row for each SAE, also where no run gave a number: sae, `CARD`, `NAMES`."""
    runs: list[Made]


def read_source(given: DataFrame | str | Path) -> Source:
    """Open a results folder, a scores table in a file, or one in memory.

    Raises:
        BadInput: There is no such thing, or no run and no number in it.
    """
    if not isinstance(given, (str, Path)):
        return _table(given, "the scores table")
    path = Path(given)
    if path.suffix in (".csv", ".parquet") and not path.is_dir():
        return _table(read_table(path), str(path))
    scores, cards = read_results(path), read_cards(path)
    names = sae_names(cards)
    runs = list(_runs(path, names))
    if not runs:
        raise BadInput(f"{path}: no records of HedgeBench or output of SAEBench; a scores table may be named as a file")
    known = [
        {"sae": names[digest], **{key: getattr(card, key) for key in (*CARD, *NAMES)}} for digest, card in cards.items()
    ]
    return _source(scores, runs, known)


def _table(scores: DataFrame, where: str) -> Source:
    scores = completed(scores)
    lacking = [column for column in SCORES if column not in scores.columns]
    if lacking:
        raise BadInput(
            f"{where} has no column {lacking[0]!r}: a leaderboard is made of the table that `hedgebench table` writes"
        )
    if scores.empty:
        raise BadInput(f"{where} holds no number")
    runs = [Made(**row) for row in plain(scores.drop_duplicates("run_id")[IDENTITY])]
    return _source(scores, runs, [])


def _source(scores: DataFrame, runs: list[Made], known: list[dict[str, Any]]) -> Source:
    import numpy as np
    import pandas as pd

    from hedgebench.columns import typed_column

    rows = plain(scores.drop_duplicates("sae")[["sae", *CARD, *NAMES]])
    counted = {row["sae"] for row in rows}
    ran = {run.sae for run in runs}
    rows += [row for row in known if row["sae"] in ran - counted]
    saes = pd.DataFrame({name: typed_column(name, [row.get(name) for row in rows]) for name in ("sae", *CARD, *NAMES)})
    whole = scores[(scores["slice_by"] == "all") & np.isfinite(scores["value"])]
    whole = whole.assign(params=whole["params"].fillna(""))
    runs = _told_apart(runs, dict(zip(saes["sae"], saes["model"], strict=True)))
    whole["config"] = whole["run_id"].map({run.run_id: run.config for run in runs}).astype("string")
    return Source(whole, saes, runs)


def _runs(folder: Path, names: Mapping[str, str]) -> Iterator[Made]:
    for path in result_files(folder):
        file = path.relative_to(folder).as_posix()
        record = read_record(path)
        if record is not None:
            yield _ours(record["hedgebench"], names, file)
        elif is_saebench(data := read_json(path)):
            yield _theirs(data, names.values(), file)


def _ours(record: Mapping[str, Any], names: Mapping[str, str], file: str) -> Made:
    circumstances = {key: str(record[key]) for key in ("revision", "dtype", "device") if record.get(key)}
    texts = {
        key: {str(k): str(v) for k, v in (record.get(key) or {}).items()}
        for key in ("missing", "incomplete", "versions")
    }
    return Made(
        record["run_id"],
        names.get(record["digest"], record["digest"]),
        record["eval"],
        record["eval_version"],
        record["data"],
        json.dumps(record["config"], sort_keys=True),
        record["seed"],
        "hedgebench",
        record["status"],
        record.get("error"),
        **texts,
        circumstances=circumstances,
        file=file,
    )


def _theirs(data: Mapping[str, Any], taken: Collection[str], file: str) -> Made:
    facts = saebench_facts(data, taken)
    names = {"sae-bench": "sae_bench_commit_hash", "sae-lens": "sae_lens_version"}
    versions = {package: str(data[key]) for package, key in names.items() if data.get(key)}
    identity: Any = {key: facts.get(key) for key in IDENTITY}
    return Made(**identity, versions=versions, file=file)


def _told_apart(runs: list[Made], models: Mapping[str, str | None]) -> list[Made]:
    """The runs, with what decides their numbers and no column says added to their settings wherever it is not the same for all runs of an eval on a model."""
    evals = declared({run.eval for run in runs})
    packages = {name: found.object.packages for name, found in evals.items()}
    deciding = [_deciding(run, packages.get(run.eval, ())) for run in runs]
    values: dict[tuple[Any, ...], set[str]] = {}
    for run, facts in zip(runs, deciding, strict=True):
        for key, value in facts.items():
            values.setdefault((run.eval, run.source, models.get(run.sae), key), set()).add(value)
    told = []
    for run, facts in zip(runs, deciding, strict=True):
        place = run.eval, run.source, models.get(run.sae)
        more = {key: value for key, value in facts.items() if len(values[(*place, key)]) > 1}
        config = json.dumps({**settings(run.config), **more}, sort_keys=True) if more else run.config
        told.append(run._replace(config=config))
    return told


def _deciding(run: Made, packages: Sequence[str]) -> dict[str, str]:
    """What decides a run's numbers beside its eval, settings and data."""
    found = {key: run.circumstances[key] for key in ("revision", "dtype") if key in run.circumstances}
    names = ("sae-bench",) if run.source == "saebench" else packages
    return found | {name: run.versions[name] for name in names if name in run.versions}


def declared(names: Iterable[str]) -> dict[str, Plugin]:
    """The evals of these names that are installed."""
    evals, _ = find_evals()
    return {name: evals[name] for name in names if name in evals}


def settings(config: str | None) -> dict[str, Any]:
    """The settings in a cell of the table's column `config`."""
    try:
        found = json.loads(config or "{}")
    except ValueError:
        return {"config": config}
    return found if isinstance(found, dict) else {"config": found}


def plain(frame: DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain Python values, None where one is missing."""
    columns = [frame[name].astype("object").where(frame[name].notna(), None) for name in frame.columns]
    return [dict(zip(frame.columns, row, strict=True)) for row in zip(*columns, strict=True)]
