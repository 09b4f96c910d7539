"""What a number was made with: two versions, numeric types or revisions are never put together, and what a run does not know makes it no other."""

from __future__ import annotations

import pandas as pd
import pytest
from known_scores import alone, table

from hedgebench.made_with import made_with, settings, telling, told_apart
from hedgebench.reading import reading
from hedgebench.stats.tables import comparisons, noise, summary

OLD, NEW = '{"sae-bench": "0.5"}', '{"sae-bench": "0.6"}'


def rows(*cells: str | None) -> pd.DataFrame:
    """Of one SAE for each cell, at two seeds."""
    return table(row for i, cell in enumerate(cells) for row in alone(f"s{i}", [3 * i, 3.01 * i + 0.5], made_with=cell))


def test_a_record_says_its_models_revision_its_numeric_type_and_the_packages_its_eval_names():
    ours = {"eval": "a", "revision": "r1", "dtype": "float32", "versions": {"sae-bench": "0.6", "torch": "2"}}
    assert (
        made_with(ours, ("sae-bench", "scikit-learn")) == '{"dtype": "float32", "revision": "r1", "sae-bench": "0.6"}'
    )
    assert made_with(ours, ()) == '{"dtype": "float32", "revision": "r1"}'
    assert made_with({"eval": "a", "revision": None, "versions": "odd"}, ("torch",)) is None


def test_only_facts_of_which_two_values_are_known_tell_cells_apart():
    cells = [
        '{"dtype": "float32", "revision": "r1"}',
        '{"dtype": "float32", "revision": "r2"}',
        '{"dtype": "float32"}',
        None,
    ]
    assert telling("pppp", cells) == [{"revision": "r1"}, {"revision": "r2"}, *[{"revision": "not known"}] * 2]
    assert telling("pqpq", cells) == [{}, {}, {}, {}]


@pytest.mark.parametrize("cell", ["no JSON", "[1]", "3", "{", "[" * 100_000])
def test_a_cell_that_is_no_settings_is_one_by_itself(cell: str):
    assert list(settings(cell)) == ["config"]
    assert telling("pp", [cell, NEW]) == [{}, {}]


def test_numbers_of_two_versions_are_never_put_together():
    scores = rows(OLD, NEW, NEW)
    found = summary(scores)
    assert found["made_with"].tolist() == [OLD, NEW, NEW] and len(noise(scores)) == 2
    pairs = comparisons(scores)
    assert pairs[["first", "second"]].to_numpy().tolist() == [["s1", "s2"]]
    said = reading(told_apart(scores), "an_eval", "quality")
    assert "quality (sae-bench = 0.5): s0 alone." in said and "quality (sae-bench = 0.6): 1 of 1 pairs" in said


def test_a_run_that_knows_less_is_no_other():
    """A control of an eval of weights alone: that it was made from the model's activations makes its number no other metric."""
    scores = rows('{"dtype": "float32"}', '{"dtype": "float32", "revision": "r1"}', None)
    assert told_apart(scores)["made_with"].isna().all()
    assert len(noise(scores)) == 1 and len(comparisons(scores)) == 3


def test_a_table_without_the_column_is_as_it_was():
    older = rows(None).drop(columns="made_with")
    pd.testing.assert_frame_equal(told_apart(older), older)
