"""The page of the growing series is its table, and says what the table says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

FOLDER = Path(__file__).parent.parent / "results/growth"


@pytest.fixture(scope="module")
def told() -> ModuleType:
    spec = importlib.util.spec_from_file_location("growth_page", FOLDER / "page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return pd.read_parquet(FOLDER / "scores.parquet")


def with_values(scores: pd.DataFrame, metric: str, params: str, value: float) -> pd.DataFrame:
    """The table with one number of every SAE replaced, a little apart between seeds."""
    changed = scores.copy()
    rows = (changed["eval"] == "grow_delta") & (changed["metric"] == metric) & (changed["params"] == params)
    assert rows.any()
    changed.loc[rows, "value"] = value + 0.001 * changed.loc[rows, "train_seed"].astype(float)
    return changed


def test_the_committed_page_is_that_of_the_committed_table(told, scores):
    assert (FOLDER / "README.md").read_text() == told.page(scores)


def test_the_table_is_of_the_committed_config(scores):
    rows = scores[scores["eval"] == "grow_delta"]
    assert set(rows["width"]) == {128, 192, 256, 320, 384, 448, 512} and rows["train_seed"].nunique() >= 2
    assert set(rows["architecture"]) == {"standard"} and set(rows["hook"]) == {"blocks.8.hook_resid_post"}
    nulls = {p for p in rows["params"] if p.startswith("null=") and "," not in p}
    assert nulls == {"null=isotropic", "null=residual", "null=other_seed", "null=reordered"}


@pytest.mark.parametrize(
    ("metric", "params", "words"),
    [
        ("share_excess", "null=isotropic", "than in a random span"),
        ("share_excess", "null=other_seed", "(`other_seed`), as a share"),
    ],
)
def test_the_verdict_follows_the_numbers(told, scores, metric, params, words):
    for value, verdict in (
        (0.2, "holds"),
        (-0.2, "does not hold, the opposite does"),
        (-0.001, "cannot be told from nothing"),
    ):
        page = told.page(with_values(scores, metric, params, value))
        (line,) = (line for line in page.splitlines() if words in line)
        assert f"{words}: {verdict}" in line
