"""From records to tidy tables: one row is one number. No torch, and no knowledge of any eval."""

from __future__ import annotations

import csv
import json
import logging
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.columns import CARD, NAMES, RUNS, SCORES, typed_column
from hedgebench.formats.layouts import find_layout
from hedgebench.made_with import deciding_packages, made_with
from hedgebench.one_line import no_formula
from hedgebench.records import is_copy, read_cards, read_json, read_record, read_records, tell_copy, write_text
from hedgebench.saebench_output import is_saebench
from hedgebench.saebench_rows import saebench_rows
from hedgebench.scores_table import scores_table
from hedgebench.types import BadInput, Checkpoint

if TYPE_CHECKING:
    from pandas import DataFrame

logger = logging.getLogger(__name__)


def read_results(folder: str | Path) -> DataFrame:
    """The scores table of a results folder: HedgeBench's records, and SAEBench's own output files. A copy of a file adds nothing.

    What lies among the records under another name than its run's is left out with a warning.

    Raises:
        BadInput: No such folder.
    """
    return _frame(list(_score_rows(Path(folder))), SCORES).drop_duplicates(ignore_index=True)


def read_runs(folder: str | Path) -> DataFrame:
    """The runs table of a results folder, failed and skipped runs included.

    Raises:
        BadInput: No such folder.
    """
    folder = _there(folder)
    names = sae_names(read_cards(folder))
    rows = []
    for record in read_records(folder):
        ours = record["hedgebench"]
        row = {key: ours.get(key) for key in RUNS}
        rows.append(row | {"sae": names.get(ours["digest"], ours["digest"]), "versions": _text(ours["versions"])})
    return _frame(rows, RUNS)


def result_files(folder: Path) -> Iterator[Path]:
    """What is called `*.json` in a results folder: it may be a record of ours or output of SAEBench. In a fixed order.

    Raises:
        BadInput: No such folder.
    """
    for place, below, names in os.walk(_there(folder)):
        if Path(place) != folder and find_layout(place) is not None:
            below.clear()  # an SAE lies beside the results: it is none itself
        elif Path(place).name != "checkpoints":
            called_json = sorted(name for name in (*below, *names) if name.endswith(".json"))
            below[:] = sorted(set(below) - set(called_json))  # a folder of such a name is told to be neither
            yield from (Path(place) / name for name in called_json)


def _there(folder: str | Path) -> Path:
    if not Path(folder).is_dir():
        raise BadInput(f"{folder}: no such results folder")
    return Path(folder)


def sae_names(cards: Mapping[str, Checkpoint]) -> dict[str, str]:
    """A readable name for each digest; where two SAEs share one, each gets the start of its digest."""
    count = Counter(c.name for d, c in cards.items() if not d.startswith("unreadable"))

    def name(digest: str, card: Checkpoint) -> str:
        if digest.startswith("unreadable") and count[card.name]:
            return f"{card.name}~{digest[:17]}"
        return card.name if count[card.name] <= 1 else f"{card.name}~{digest[:6]}"

    return {digest: name(digest, card) for digest, card in cards.items()}


def _score_rows(folder: Path) -> Iterator[dict[str, Any]]:
    cards = read_cards(folder)
    names = sae_names(cards)
    for path in result_files(folder):
        record = read_record(path)
        if record is not None:
            if is_copy(path, record):
                tell_copy(path, record)
            else:
                yield from _our_rows(record, cards, names)
            continue
        data = read_json(path)
        if is_saebench(data):
            yield from saebench_rows(data, names.values())
        else:
            logger.warning(
                "%s is neither a whole record of HedgeBench nor an output of SAEBench that can be read; left out", path
            )


def _our_rows(
    record: Mapping[str, Any],
    cards: Mapping[str, Checkpoint],
    names: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    ours = record["hedgebench"]
    card = cards.get(ours["digest"])
    common: dict[str, Any] = (
        {key: getattr(card, key) for key in (*CARD, *NAMES)} if card else {"digest": ours["digest"]}
    )
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
        "made_with": made_with(ours, deciding_packages(ours["eval"])),
    }
    for score in ours["scores"]:
        yield {**common, **score}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> DataFrame:
    """A frame with fixed columns and types, in a fixed order of rows."""
    import pandas as pd

    frame = pd.DataFrame({column: typed_column(column, [row.get(column) for row in rows]) for column in columns})
    order = [c for c in ("eval", "sae", "seed", "run_id") if c in columns]
    return frame.sort_values(order, kind="stable", ignore_index=True)


def csv_text(frame: DataFrame, for_people: bool = False) -> str:
    """A table as CSV.

    Args:
        frame: The table.
        for_people: No text of it is a formula to a spreadsheet (`no_formula`). Not for what is read back, as a scores table is: names would be others.
    """
    if for_people:
        texts = frame.select_dtypes(["object", "string"])
        frame = frame.assign(**{str(name): column.map(no_formula) for name, column in texts.items()})
    return frame.to_csv(index=False)


def write_table(frame: DataFrame, file: str | Path, for_people: bool = False) -> Path:
    """Write a table to .csv or .parquet, whole or not at all.

    Args:
        frame: The table.
        file: Where to.
        for_people: Of a .csv, as in `csv_text`.

    Raises:
        BadInput: Another suffix, or the file cannot be written.
    """
    file = Path(file)
    if file.suffix == ".csv":
        write_text(file, csv_text(frame, for_people))
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
        BadInput: No such file, another suffix, or no scores table (see `hedgebench.scores_table`); every row has a value.
    """
    import pandas as pd

    file = Path(file)
    try:
        if file.suffix == ".parquet":
            frame = pd.read_parquet(file)
        elif file.suffix == ".csv":
            if _is_cut(file):
                raise BadInput(f"{file}: no scores table: its last line ends halfway; write or copy it again")
            # the first line is read as any other: pandas gives two columns of one name two names
            lines = pd.read_csv(file, header=None, dtype="string", keep_default_na=False, na_values=[""])
            frame = lines[1:].set_axis(lines.iloc[0].fillna("").tolist(), axis=1)
        else:
            raise BadInput(f"{file}: a scores table is a .csv or .parquet file")
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: no scores table can be read: {str(error).splitlines()[0]}") from error
    table = scores_table(frame, str(file))
    if (blank := table.index[table["value"].isna()]).size:
        raise BadInput(f"{file}: row {blank[0] + 1} has no value; every row of a scores table has one")
    return table


def _is_cut(file: Path) -> bool:
    """Whether the last line of a CSV has no end and fewer cells than the first."""
    with file.open("rb") as opened:
        first = opened.readline()
        opened.seek(max(0, file.stat().st_size - 2**20))
        last = opened.read().rpartition(b"\n")[2]
    return 0 < _cells(last) < _cells(first)


def _cells(line: bytes) -> int:
    """How many cells a line of a CSV has; 0 where that cannot be told, and pandas will say why."""
    try:
        return len(next(csv.reader([line.decode(errors="replace").strip("\r\n")]), []))
    except csv.Error:
        return 0


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
            else ("1 evaluation seed" if n_seeds else "no evaluation seed")
        )
        where = (f" on {data}" if n_data[name] > 1 else "") + (f" with {config}" if n_configs[name] > 1 else "")
        blocks.append(f"{name}{where} ({seeds})\n{table.to_string()}")
    return "\n\n".join(blocks)
