"""Text for language models: offline, from files or from the hub; the same training and evaluation parts for everybody."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hedgebench.once import make_once
from hedgebench.paths import cache_dir
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa
    import torch

logger = logging.getLogger(__name__)

Split = Literal["train", "eval"]
EVAL_SHARE = 0.2
"""Share of the texts kept for evaluation."""
PREFIX = 100
"""Characters that decide a text's part: texts that begin alike, so are likely about one passage, stay together."""
RECIPE = 1
"""Raise when the offline texts or their order change."""


def part_of(text: str) -> Split:
    """The part a text belongs to, by a hash of its first characters alone: independent of seed, order and source."""
    digest = hashlib.sha256(text.strip()[:PREFIX].encode()).digest()
    return "eval" if int.from_bytes(digest[:4], "big") < EVAL_SHARE * 2**32 else "train"


@dataclass(frozen=True)
class TextSource:
    """The distinct texts of one part of a data set."""

    name: str
    split: str
    identity: str
    """Hash of the content, for run ids: the same texts under another path are the same data."""
    column: pa.ChunkedArray = field(repr=False)

    def __len__(self) -> int:
        return len(self.column)

    def texts(self, seed: int) -> Iterator[str]:
        """All texts once, in an order that the seed decides."""
        for i in self._order(seed):
            yield self.column[int(i)].as_py()

    def dataset(self, seed: int) -> datasets.Dataset:
        """The same texts in the same order as a Hugging Face data set with the column `text`."""
        import datasets
        import pyarrow as pa

        return datasets.Dataset(pa.table({"text": self.column.take(pa.array(self._order(seed)))}))

    def _order(self, seed: int) -> Any:
        import numpy as np

        return np.random.default_rng(seed).permutation(len(self.column))


def open_text(name: str = "offline", split: Split = "eval") -> TextSource:
    """Open one part of a source of text.

    Args:
        name: `offline` (texts of the installed sae-probes package).
        split: `train` or `eval`. The two share no text, whatever the source.

    Raises:
        BadInput: The source does not exist or holds no text.
    """
    if name == "offline":
        return _offline(split)
    raise BadInput(f"unknown data {name!r}; use 'offline'")


def _offline(split: Split) -> TextSource:
    import pyarrow.parquet as pq

    digest = hashlib.sha256(f"sae-probes {version('sae-probes')} recipe {RECIPE}".encode()).hexdigest()[:12]
    folder = make_once(cache_dir() / "data" / f"offline-{digest}", _collect_offline)
    column = pq.read_table(folder / f"{split}.parquet")["text"]
    return TextSource("offline", split, f"offline:{_hash(column)}:{split}", column)


def _collect_offline(folder: Path) -> None:
    """Gather the distinct prompts of every data set in the sae-probes package into one file per part."""
    import importlib.util

    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    spec = importlib.util.find_spec("sae_probes")
    if spec is None or spec.origin is None:
        raise BadInput("the offline texts need the package sae-probes: pip install sae-probes")
    logger.info("collecting the offline texts into %s (once)", folder.parent)
    texts: dict[str, None] = {}
    for file in sorted((Path(spec.origin).parent / "data").rglob("*.csv.zst")):
        table = pd.read_csv(file, compression="zstd")
        if "prompt" in table:
            texts.update(dict.fromkeys(table["prompt"].dropna().astype(str)))
    folder.mkdir()
    for split in ("train", "eval"):
        kept = [text for text in texts if text.strip() and part_of(text) == split]
        pq.write_table(pa.table({"text": kept}), folder / f"{split}.parquet", compression="zstd")


def _hash(texts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.as_py().encode() + b"\0")
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class TokenSource:
    """Batches of token sequences out of a text source, in the order its seed gives."""

    text: TextSource
    tokenizer: Any
    seed: int = 0

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids that stand for no text: beginning and end of a sequence, and padding."""
        ids = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        return frozenset(i for i in ids if i is not None)

    def batches(self, n_batches: int, batch_size: int, context_size: int) -> Iterator[torch.Tensor]:
        """The first `n_batches` batches of token ids, each [batch_size, context_size], on the CPU.

        Texts are joined with a BOS token between them, and every sequence begins with one, as SAELens's
        `ActivationsStore` does. The first 4 of 8 batches are the 4 of 4.

        Raises:
            BadInput: The texts end before that many batches are full.
        """
        import torch
        from sae_lens.tokenization_and_batching import concat_and_batch_sequences

        bos = self.tokenizer.bos_token_id
        rows = concat_and_batch_sequences(
            self._token_ids(), context_size, begin_batch_token_id=bos, sequence_separator_token_id=bos
        )
        for i in range(n_batches):
            batch = list(itertools.islice(rows, batch_size))
            if len(batch) < batch_size:
                raise BadInput(
                    f"data {self.text.name!r}: the {self.text.split} part ends after {i} of {n_batches} batches of "
                    f"{batch_size} x {context_size} tokens; ask for fewer or give more text"
                )
            yield torch.stack(batch)

    def _token_ids(self) -> Iterator[torch.Tensor]:
        import torch

        for text in self.text.texts(self.seed):
            ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            yield torch.tensor(ids, dtype=torch.long)
