"""Text and tokens for language models: the same training and evaluation parts for everybody, in an order a seed decides."""

from __future__ import annotations

import difflib
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hedgebench.paths import is_there, user_path
from hedgebench.texts import Split, content_hash, file_texts, offline_texts, part_of
from hedgebench.types import BadInput, Unreachable

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow as pa
    import torch

SHUFFLE_BUFFER = 10_000
"""Texts held back while a stream is shuffled."""


@dataclass(frozen=True)
class TextSource(ABC):
    """The texts of one part of a source."""

    name: str
    split: str
    identity: str
    """What the texts are, for run ids: a hash of the content, or a hub data set's commit. No path."""

    @abstractmethod
    def dataset(self, seed: int) -> datasets.Dataset | datasets.IterableDataset:
        """The texts as a Hugging Face data set with the column `text`, in an order that the seed decides."""

    @abstractmethod
    def texts(self, seed: int) -> Iterator[str]:
        """The texts once each, in the order of `dataset(seed)`."""


@dataclass(frozen=True)
class StoredText(TextSource):
    """Texts in memory."""

    column: pa.ChunkedArray = field(repr=False)

    def __len__(self) -> int:
        return len(self.column)

    def dataset(self, seed: int) -> datasets.Dataset:
        """See `TextSource`."""
        import datasets
        import pyarrow as pa

        return datasets.Dataset(pa.table({"text": self.column.take(pa.array(self._order(seed)))}))

    def texts(self, seed: int) -> Iterator[str]:
        """See `TextSource`."""
        for i in self._order(seed):
            yield self.column[int(i)].as_py()

    def _order(self, seed: int) -> np.ndarray:
        import numpy as np

        return np.random.default_rng(seed).permutation(len(self.column))


@dataclass(frozen=True)
class StreamedText(TextSource):
    """Texts of a hub data set, read as they are needed."""

    repo: str
    config: str | None
    column: str
    revision: str

    def dataset(self, seed: int) -> datasets.IterableDataset:
        """See `TextSource`. The order is a shuffle of the data set's files, and of texts within a buffer.

        Raises:
            BadInput: The data set cannot be read, or has no such configuration or column.
        """
        import datasets

        try:
            parts = datasets.load_dataset(self.repo, self.config, revision=self.revision, streaming=True)
            rows = parts["train" if "train" in parts else next(iter(parts))]
            columns = rows.column_names or list(next(iter(rows)))
        except Exception as error:  # datasets raises many types for what is missing, private or broken
            raise BadInput(f"data {self.name!r} cannot be read: {' '.join(str(error).split())[:300]}") from error
        if self.column not in columns:
            raise BadInput(f"data {self.name!r}: no column {self.column!r}; it has {', '.join(columns)}")
        rows = rows.select_columns([self.column])
        if self.column != "text":
            rows = rows.rename_column(self.column, "text")
        return rows.filter(lambda row: _belongs(row["text"], self.split)).shuffle(seed, buffer_size=SHUFFLE_BUFFER)

    def texts(self, seed: int) -> Iterator[str]:
        """See `TextSource`."""
        for row in self.dataset(seed):
            yield row["text"]


def open_text(name: str = "offline", split: Split = "eval") -> TextSource:
    """Open one part of a source of text.

    A text belongs to the training or the evaluation part by a hash of its beginning, so the two share no text, whatever
    the source, the seed or the order of its files.

    Args:
        name: `offline` (the texts of the installed sae-probes package), a file or folder of .txt (a blank line ends a text),
            .jsonl or .parquet (column `text`), or a hub data set `org/name`, `org/name:config` or `org/name:config:column`
            (either may be empty; its `train` split is read).
        split: `train` or `eval`.

    Raises:
        BadInput: The source is unknown or unreadable, or holds no text.
    """
    if name == "offline":
        column = offline_texts(split)
        return StoredText(name, split, f"offline:{content_hash(column)}:{split}", column)
    path = user_path(name)
    if name and is_there(path):
        column = file_texts(path, split)
        return StoredText(name, split, f"folder:{content_hash(column)}:{split}", column)
    if name.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]*){0,2}", name):
        near = "; did you mean 'offline'?" if difflib.get_close_matches(name, ["offline"]) else ""
        raise BadInput(
            f"unknown data {name!r}{near}: use 'offline', a file or folder of text, or a hub data set org/name"
        )
    repo, config, column_name = (*name.split(":"), "", "")[:3]
    revision = hub_commit(repo)
    identity = f"hub:{repo}@{revision}:{config}:{column_name or 'text'}:{split}"
    return StreamedText(name, split, identity, repo, config or None, column_name or "text", revision)


def _belongs(text: Any, split: str) -> bool:
    return isinstance(text, str) and bool(text.strip()) and part_of(text) == split


def hub_commit(repo: str) -> str:
    """The commit a data set is at now: all that a stream reads is of this one.

    Raises:
        BadInput: There is none of that name; `Unreachable` where the hub does not say.
    """
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(repo, timeout=30).sha)
    except Exception as error:  # not found, private, no network
        from huggingface_hub.errors import RepositoryNotFoundError

        kind = BadInput if isinstance(error, RepositoryNotFoundError) else Unreachable
        raise kind(
            f"data {repo!r} is neither a local path nor a data set the hub gives: {' '.join(str(error).split())[:200]}"
        ) from error


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
