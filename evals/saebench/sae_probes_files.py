"""How sae-probes is fed: files in a folder of ours in which it finds what it would make itself, and the rows it draws."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hedgebench.compat import prepare
from hedgebench.isolation import upstream

from .probe_warnings import known_warnings_silent

if TYPE_CHECKING:
    import numpy as np

MODEL = "model"
"""The name under which sae-probes knows the model in our folder."""
_ROWS = "rows"
"""A made-up hook point: its "activations" are the numbers of the rows."""


@dataclass(frozen=True)
class TestPart:
    """What the test part of a set consists of, for one seed."""

    rows: int
    positive: int
    """Different texts of class 1 among them."""
    negative: int
    seen: float
    """Share of the rows whose text is a training text, too."""
    unseen_positive: int
    unseen_negative: int


@dataclass(frozen=True)
class Split:
    """Which rows sae-probes trains and tests on, and the test rows that are new: no training text, and each text once."""

    num_train: int
    new: np.ndarray
    test: TestPart


def module(name: str) -> Any:
    """A module of sae-probes by name: `import sae_probes.run_sae_evals` would give the function that the package exports under it."""
    prepare()
    with known_warnings_silent():  # it turns a warning off for the whole process
        return importlib.import_module(f"sae_probes.{name}")


@contextmanager
def placed(name: str, hook: str, acts: torch.Tensor, seed: int) -> Iterator[Path]:
    """A fresh folder in which sae-probes finds the activations of a set, and as another hook point the number of each row.

    Args:
        name: The set.
        hook: The hook point.
        acts: [rows, d_in].
        seed: Seeds every generator in the block.
    """
    with upstream(seed) as scratch, known_warnings_silent():
        file = acts_file(scratch, name, hook)
        file.parent.mkdir()
        torch.save(acts.clone(), file)
        torch.save(torch.arange(len(acts)), acts_file(scratch, name, _ROWS))
        yield scratch


def acts_file(folder: Path, name: str, hook: str) -> Path:
    """Where sae-probes looks for the activations of a set."""
    return folder / f"model_activations_{MODEL}" / f"{name}_{hook}.pt"


def train_test(name: str, hook: str, folder: Path, seed: int, num_train: int) -> tuple[Any, Any, Any, Any]:
    """`X_train, y_train, X_test, y_test` as sae-probes draws them."""
    found: tuple[Any, Any, Any, Any] = module("utils_data").get_xy_traintest(
        num_train, name, hook, model_name=MODEL, model_cache_path=folder, seed=seed
    )
    return found[0], found[1], found[2], found[3]


def split_rows(name: str, folder: Path, seed: int) -> Split:
    """The split that sae-probes draws with this seed, by its own function, of row numbers in place of activations."""
    data = module("utils_data")
    num_train = min(
        data.get_dataset_sizes()[name] - 100, 1024
    )  # as in run_baselines.py:123, generate_sae_activations.py:57
    train, _, test, labels = train_test(name, _ROWS, folder, seed, num_train)
    texts = data.read_numbered_dataset_df(name)["prompt"]
    tested = texts.iloc[test.numpy()]
    seen = tested.isin(set(texts.iloc[train.numpy()])).to_numpy()
    first = ~tested.duplicated().to_numpy()
    new = first & ~seen
    part = TestPart(
        rows=len(labels),
        positive=int(labels[first].sum()),
        negative=int((1 - labels[first]).sum()),
        seen=float(seen.mean()),
        unseen_positive=int(labels[new].sum()),
        unseen_negative=int((1 - labels[new]).sum()),
    )
    return Split(num_train, new, part)
