"""Where texts come from: the sae-probes package, files of one's own, the hub. Each gives the texts of one part."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hedgebench.once import make_once
from hedgebench.paths import cache_dir
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

Split = Literal["train", "eval"]
SPLITS: tuple[Split, ...] = ("train", "eval")
EVAL_SHARE = 0.2
"""Share of the texts kept for evaluation."""
PREFIX = 100
"""Characters that decide a text's part: texts that begin alike, so are likely about one passage, stay together."""
RECIPE = 1
"""Raise when the offline texts, or their order, change."""
SUFFIXES = (".txt", ".jsonl", ".parquet")


def part_of(text: str) -> Split:
    """The part a text belongs to, by a hash of its first characters alone: independent of seed, order and source."""
    digest = hashlib.sha256(text.strip()[:PREFIX].encode()).digest()
    return "eval" if int.from_bytes(digest[:4], "big") < EVAL_SHARE * 2**32 else "train"


def distinct(texts: Iterable[str]) -> dict[Split, list[str]]:
    """The distinct texts of each part, in the order they come, without those that are blank."""
    parts: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for text in dict.fromkeys(texts):
        if text.strip():
            parts[part_of(text)].append(text)
    return parts


def offline_texts(split: Split) -> pa.ChunkedArray:
    """The texts of the installed sae-probes package; the first call collects them into the user's cache (about 6 s).

    Raises:
        BadInput: The package is not installed, or the cache cannot be written.
    """
    import pyarrow.parquet as pq

    try:
        recipe = f"sae-probes {version('sae-probes')} recipe {RECIPE}"
    except PackageNotFoundError as error:
        raise BadInput("the offline texts need the package sae-probes: pip install sae-probes") from error
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    folder = make_once(cache_dir() / "data" / f"offline-{digest}", _collect_offline)
    return pq.read_table(folder / f"{split}.parquet")["text"]


def _collect_offline(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    logger.info("collecting the offline texts into %s (once)", folder.parent)
    folder.mkdir()
    for split, texts in distinct(_prompts()).items():
        pq.write_table(pa.table({"text": texts}), folder / f"{split}.parquet", compression="zstd")


def _prompts() -> Iterator[str]:
    """The prompts of every data set in sae-probes, read from its files: importing it takes seconds."""
    import pandas as pd

    spec = importlib.util.find_spec("sae_probes")
    if spec is None or spec.origin is None:
        raise BadInput("the package sae-probes is damaged: install it again")
    for file in sorted((Path(spec.origin).parent / "data").rglob("*.csv.zst")):
        table = pd.read_csv(file, compression="zstd")
        if "prompt" in table:
            yield from map(str, table["prompt"].dropna())


def file_texts(path: Path, split: Split) -> pa.ChunkedArray:
    """The texts of a file, or of all files under a folder: .txt (a blank line ends a text), .jsonl and .parquet (`text`).

    Raises:
        BadInput: There is no such file, or it cannot be read, or none of its texts falls in the part asked for.
    """
    import pyarrow as pa

    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file())
    if not files or files[0].suffix not in SUFFIXES:
        raise BadInput(f"{path}: no text here; expected {', '.join(SUFFIXES)} files")
    parts = distinct(text for file in files for text in _read(file))
    if not parts[split]:
        found = sum(map(len, parts.values()))
        raise BadInput(f"{path}: {found} distinct texts, and none of them falls in the {split} part; give more text")
    return pa.chunked_array([pa.array(parts[split], type=pa.large_string())])


def _read(file: Path) -> Iterator[str]:
    try:
        if file.suffix == ".parquet":
            yield from _parquet_texts(file)
        elif file.suffix == ".jsonl":
            with file.open(encoding="utf-8") as lines:
                yield from _json_texts(file, lines)
        else:
            yield from file.read_text(encoding="utf-8").split("\n\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: cannot be read as text: {error}") from error


def _parquet_texts(file: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            if "text" not in table.schema_arrow.names:
                raise BadInput(f"{file}: no column 'text'; it has {', '.join(table.schema_arrow.names)}")
            for batch in table.iter_batches(columns=["text"]):
                yield from (text for text in batch.column(0).to_pylist() if text is not None)
    except pa.ArrowException as error:
        raise BadInput(f"{file}: not a readable parquet file: {' '.join(str(error).split())}") from error


def _json_texts(file: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{file}:{number}: not JSON: {error.msg}") from error
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise BadInput(f"{file}:{number}: expected an object with a string 'text'")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise BadInput(f"{file}:{number}: half a surrogate pair in 'text'; write characters, or both halves")
        yield text


def content_hash(column: pa.ChunkedArray) -> str:
    """Hash of texts and their order."""
    digest = hashlib.sha256()
    for text in column:
        digest.update(text.as_py().encode() + b"\0")
    return digest.hexdigest()[:16]
