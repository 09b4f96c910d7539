"""Where a leaderboard's numbers come from: a results folder, or a scores table alone. No torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.columns import CARD, NAMES, typed_column, typed_value
from hedgebench.made_with import deciding_packages, made_with, settings, telling
from hedgebench.records import is_copy, read_cards, read_json, read_record
from hedgebench.registry import Plugin, find_evals
from hedgebench.results import read_results, read_table, result_files, sae_names
from hedgebench.saebench_output import is_saebench
from hedgebench.saebench_rows import saebench_facts
from hedgebench.scores_table import scores_table
from hedgebench.types import BadInput, Checkpoint

if TYPE_CHECKING:
    from pandas import DataFrame


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
    model: str | None = None
    hook: str | None = None
    """What the SAE read; likewise `model`."""
    made_with: str | None = None
    """What decides its numbers and no other column says (`hedgebench.made_with`)."""
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


IDENTITY = ["run_id", "sae", "eval", "eval_version", "data", "config", "seed", "source", "model", "hook", "made_with"]
"""Of a run; columns of the scores table."""


class Source(NamedTuple):
    """The numbers of whole SAEs (no slices), the SAEs, and the runs."""

    scores: DataFrame
    """Of the scores table the rows that are about no subset. Runs that differ in what decides numbers, and no column of the table says, differ in `config` here."""
    saes: DataFrame
    """A row for each SAE and what it reads, also where no run gave a number: sae, `CARD`, `NAMES`."""
    runs: list[Made]
    records: bool
    """Whether records were read, which tell of runs that gave no number; a table does not."""


def read_source(given: DataFrame | str | Path) -> Source:
    """Open a results folder, a scores table in a file, or one in memory.

    Raises:
        BadInput: There is no such thing, no run and no number in it, or its rows contradict each other.
    """
    if not isinstance(given, (str, Path)):
        return _table(scores_table(given), "the scores table")
    path = Path(given)
    if path.suffix in (".csv", ".parquet") and not path.is_dir():
        return _table(read_table(path), str(path))
    scores, cards = scores_table(read_results(path), f"the table of {path}"), read_cards(path)
    made = sorted(_runs(path, cards), key=lambda found: _order(found[0]))
    if not made:
        raise BadInput(f"{path}: no records of HedgeBench or output of SAEBench; a scores table may be named as a file")
    return _source(scores, [run for run, _ in made], [facts for _, facts in made], records=True)


def _table(scores: DataFrame, where: str) -> Source:
    if scores.empty:
        raise BadInput(f"{where} holds no number")
    rows = scores.drop_duplicates("run_id")
    return _source(scores, [Made(**row) for row in plain(rows[IDENTITY])], plain(rows), records=False)


def _source(scores: DataFrame, runs: list[Made], facts: list[dict[str, Any]], records: bool) -> Source:
    """Put together the numbers, the runs, and of each run what is known of its SAE."""
    import pandas as pd

    runs = _one_place_each(_told_apart(runs))
    saes: dict[str, dict[str, Any]] = {}
    for run, said in zip(runs, facts, strict=True):
        known = saes.setdefault(run.sae, {"sae": run.sae, "model": run.model, "hook": run.hook})
        known |= {name: said.get(name) for name in (*CARD, *NAMES) if known.get(name) is None}
    of = {run.run_id: run for run in runs}
    whole = scores[(scores["slice_by"] == "all") & scores["value"].notna()]
    for name in ("sae", "config"):
        whole = whole.assign(**{name: typed_column(name, [getattr(of[run_id], name) for run_id in whole["run_id"]])})
    whole = whole.assign(made_with=typed_column("made_with", [None] * len(whole)))  # is in `config` where it tells
    columns = ("sae", *CARD, *NAMES)
    table = {name: typed_column(name, [sae.get(name) for sae in saes.values()]) for name in columns}
    return Source(whole, pd.DataFrame(table), runs, records)


def _one_place_each(runs: list[Made]) -> list[Made]:
    """The runs, with another name for an SAE at each model and hook point where it was run at several: what it is there is another row."""
    places: dict[str, dict[tuple[str | None, str | None], None]] = {}
    for run in runs:
        places.setdefault(run.sae, {})[run.model, run.hook] = None
    return [
        run._replace(sae=f"{run.sae} ({_place(run, places[run.sae])})") if len(places[run.sae]) > 1 else run
        for run in runs
    ]


def _place(run: Made, places: Collection[tuple[str | None, str | None]]) -> str:
    words = [run.model or "no model named"] if len({model for model, _ in places}) > 1 else []
    words += [run.hook or "no hook point named"] if len({hook for _, hook in places}) > 1 else []
    return ", ".join(words)


def _runs(folder: Path, cards: Mapping[str, Checkpoint]) -> Iterator[tuple[Made, dict[str, Any]]]:
    """Every run, with what is known of its SAE; a file that is there twice is one run."""
    names, seen = sae_names(cards), set[str]()
    for path in result_files(folder):
        file = path.relative_to(folder).as_posix()
        record = read_record(path)
        if record is not None:
            if is_copy(path, record):
                continue  # as the scores table says
            ours = record["hedgebench"]
            card = cards.get(ours["digest"])
            found = (
                _ours(ours, names, card, file),
                {"digest": ours["digest"]} if card is None else card.to_dict(),
            )
        elif is_saebench(data := read_json(path)):
            facts = saebench_facts(data, names.values())
            found = _theirs(data, facts, file), facts
        else:
            continue
        if found[0].run_id not in seen:
            yield found
        seen.add(found[0].run_id)


def _order(run: Made) -> tuple[Any, ...]:
    """As the rows of `read_results` are."""
    return run.eval, run.sae, run.seed is None, run.seed or 0, run.run_id


def _ours(
    record: Mapping[str, Any],
    names: Mapping[str, str],
    card: Checkpoint | None,
    file: str,
) -> Made:
    identity: dict[str, Any] = {key: typed_value(key, record.get(key)) for key in IDENTITY}
    identity |= {
        "sae": names.get(record["digest"], record["digest"]),
        "config": json.dumps(record["config"], sort_keys=True),
        "source": "hedgebench",
        "model": identity["model"] or (card and card.model),
        "hook": card and card.hook,
        "made_with": made_with(record, deciding_packages(record["eval"])),
    }
    circumstances = {key: str(record[key]) for key in ("revision", "dtype", "device") if record.get(key)}
    texts: dict[str, Any] = {
        key: {str(k): str(v) for k, v in found.items()}
        for key in ("missing", "incomplete", "versions")
        if isinstance(found := record.get(key), Mapping)
    }
    error = typed_value("error", record.get("error"))
    return Made(**identity, status=record["status"], error=error, **texts, circumstances=circumstances, file=file)


def _theirs(data: Mapping[str, Any], facts: Mapping[str, Any], file: str) -> Made:
    names = {"sae-bench": "sae_bench_commit_hash", "sae-lens": "sae_lens_version"}
    versions = {package: str(data[key]) for package, key in names.items() if data.get(key)}
    identity: Any = {key: facts.get(key) for key in IDENTITY}
    return Made(**identity, versions=versions, file=file)


def _told_apart(runs: list[Made]) -> list[Made]:
    """The runs, with what they were made with added to their settings wherever it is not the same for all runs of an eval on a model."""
    found = telling([(run.eval, run.source, run.model) for run in runs], [run.made_with for run in runs])
    return [
        run._replace(config=json.dumps({**settings(run.config), **more}, sort_keys=True)) if more else run
        for run, more in zip(runs, found, strict=True)
    ]


def declared(names: Iterable[str]) -> dict[str, Plugin]:
    """The evals of these names that are installed."""
    return find_evals(names)[0]


def plain(frame: DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain Python values, None where one is missing."""
    columns = [frame[name].astype("object").where(frame[name].notna(), None) for name in frame.columns]
    return [dict(zip(frame.columns, row, strict=True)) for row in zip(*columns, strict=True)]
