"""Labelled texts, for evals that probe for concepts: hub sets by name, stand-ins that need no network, and sets of one's own."""

from __future__ import annotations

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from hedgebench.compat import prepare
from hedgebench.texts import part_of
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame

logger = logging.getLogger(__name__)

Texts = dict[str, list[str]]
"""Texts by class."""


@dataclass(frozen=True)
class LabelledData(ABC):
    """Texts with a label, and perhaps a second one, in a training and a test part."""

    name: str
    identity: str
    """What the rows are, for run ids and the `data` column: the name with a hash of the content, or with a hub commit."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Pairs of classes that SCR tells apart; empty where there is no second label."""
    second_values: tuple[str, str] | None = None
    """The two values of the second label, the "positive" one first."""

    @abstractmethod
    def train_test(self, train_size: int, test_size: int, seed: int) -> tuple[Texts, Texts]:
        """Training and test texts by class, for probes of one class against the others.

        Each class has as many as the others: half of the size, as in SAEBench, or what the smallest class has. Where there is a second
        label, its values are balanced within each class.

        Args:
            train_size: Texts of a balanced probe's training set: class and others together.
            test_size: The same of its test set.
            seed: Decides which texts, where there are more.

        Raises:
            BadInput: A class has too few texts, or the set cannot be read.
        """

    @abstractmethod
    def frames(self, seed: int) -> tuple[DataFrame, DataFrame]:
        """All rows of the training and of the test part, columns `text`, `label` and `second`, in an order that the seed decides."""


@dataclass(frozen=True)
class StoredLabels(LabelledData):
    """Rows on this machine, read when they are wanted. A text belongs to the test part by a hash of its beginning, whatever the seed."""

    load: Callable[[], DataFrame] = field(kw_only=True, repr=False, compare=False)

    @cached_property
    def rows(self) -> DataFrame:
        """Columns `text`, `label` and `second`; each text once.

        Raises:
            BadInput: There is no text, or only one class.
        """
        rows = self.load()
        rows = rows[[bool(str(text).strip()) for text in rows["text"]]].drop_duplicates("text").reset_index(drop=True)
        if rows["label"].nunique() < 2:
            raise BadInput(f"data {self.name!r}: fewer than two classes")
        return rows

    def train_test(self, train_size: int, test_size: int, seed: int) -> tuple[Texts, Texts]:
        """See `LabelledData`."""
        train, test = self.frames(seed)
        return self._balanced(train, train_size, "training"), self._balanced(test, test_size, "test")

    def frames(self, seed: int) -> tuple[DataFrame, DataFrame]:
        """See `LabelledData`."""
        import numpy as np

        shuffled = self.rows.iloc[np.random.default_rng(seed).permutation(len(self.rows))]
        test = shuffled["text"].map(lambda text: part_of(text) == "eval").astype(bool)
        return shuffled[~test].reset_index(drop=True), shuffled[test].reset_index(drop=True)

    def _balanced(self, part: DataFrame, size: int, what: str) -> Texts:
        classes = sorted(self.rows["label"].unique())
        values: Sequence[str | None] = self.second_values or (None,)
        groups = {
            (label, value): part.loc[(part["label"] == label) & (value is None or part["second"] == value), "text"]
            for label in classes
            for value in values
        }
        wanted = size // 2 // len(values)
        smallest = min(groups, key=lambda group: len(groups[group]))
        each = min(wanted, len(groups[smallest]))
        if wanted < MIN_TEXTS:
            least = MIN_TEXTS * 2 * len(values)
            raise BadInput(f"data {self.name!r}: a {what} size of {size} is too small; ask for at least {least}")
        if each < MIN_TEXTS:
            name = " ".join(filter(None, smallest))
            raise BadInput(
                f"data {self.name!r}: class {name} has {each} {what} texts, of at least {MIN_TEXTS} needed ({wanted} asked for)"
            )
        if each < wanted:
            logger.warning("data %r: %d %s texts of each class and second label, not %d", self.name, each, what, wanted)
        return {label: [text for value in values for text in groups[label, value][:each]] for label in classes}


MIN_TEXTS = 8
"""Texts of a class (and second label) below which no probe is trained or tested."""


@dataclass(frozen=True)
class HubLabels(LabelledData):
    """A data set that SAEBench knows by name, read from the hub by SAEBench's own functions."""

    repo: str = ""
    commit: str = ""

    def train_test(self, train_size: int, test_size: int, seed: int) -> tuple[Texts, Texts]:
        """See `LabelledData`; the texts are those that SAEBench draws with this seed."""
        from sae_bench.sae_bench_utils import dataset_info, dataset_utils

        with reading_hub(self.name), _pinned(dataset_utils, self.commit):
            found = dataset_utils.get_multi_label_train_test_data(self.name, train_size, test_size, seed % 2**32)
        chosen = dataset_info.chosen_classes_per_dataset[self.name]
        for part, what in zip(found, ("training", "test"), strict=True):
            if lost := [c for c in chosen if c not in part]:
                raise BadInput(f"data {self.name!r}: class {lost[0]} has too few {what} texts for the size asked for")
        train, test = (dataset_utils.filter_dataset(part, chosen) for part in found)
        return train, test

    def frames(self, seed: int) -> tuple[DataFrame, DataFrame]:
        """See `LabelledData`."""
        import datasets
        import pandas as pd
        from sae_bench.sae_bench_utils import dataset_info

        about = dataset_info.dataset_metadata[self.repo]
        columns = {about["text_column_name"]: "text", about["column1_name"]: "label", about["column2_name"]: "second"}
        with reading_hub(self.name):
            loaded = datasets.load_dataset(self.repo, revision=self.commit)
        parts = [pd.DataFrame(loaded[split])[list(columns)].rename(columns=columns) for split in ("train", "test")]
        for part in parts:
            for column, mapping in (("label", "column1_mapping"), ("second", "column2_mapping")):
                names = {v: str(k) for k, v in about[mapping].items()}
                part[column] = part[column].map(names)
        train, test = (part.sample(frac=1, random_state=seed % 2**32).reset_index(drop=True) for part in parts)
        return train, test


@contextmanager
def _pinned(module: Any, commit: str) -> Iterator[None]:
    """SAEBench names no revision when it loads a data set: have it read the commit that the run was planned with."""
    load = module.load_dataset
    module.load_dataset = partial(load, revision=commit)
    try:
        yield
    finally:
        module.load_dataset = load


@contextmanager
def reading_hub(name: str) -> Iterator[None]:
    """Turn whatever the hub's libraries raise into one line; what they print goes to standard error."""
    prepare()
    try:
        with redirect_stdout(sys.stderr):
            yield
    except BadInput:
        raise
    except Exception as error:
        what = " ".join(str(error).split())[:300]
        raise BadInput(
            f"data {name!r} cannot be read from the hub: {what}; `data: offline` needs no network"
        ) from error
