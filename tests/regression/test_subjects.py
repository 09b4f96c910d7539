"""Which SAEs of two tables are compared."""

import pandas as pd
import pytest
from known_scores import alone, recipe, table

from hedgebench.regression.rules import Rules
from hedgebench.regression.subjects import Subject, subjects
from hedgebench.stats.grid import variants
from hedgebench.types import BadInput


def matched(before: pd.DataFrame, here: pd.DataFrame, **rules) -> list[Subject]:
    return subjects(before, here, variants(before), variants(here), Rules(**rules))


def one(name: str, digest: str | None, **more) -> pd.DataFrame:
    return table(alone(name, [1.0], digest=digest, **more))


def both(*tables: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)


def test_an_sae_is_matched_by_its_digest_whatever_it_is_called():
    assert matched(one("old", "x"), one("new", "x")) == [Subject("new", ("old",), ("new",), "digest")]


def test_digests_come_before_names():
    before, here = both(one("a", "x"), one("b", "y")), both(one("a", "y"), one("b", "x"))
    assert matched(before, here) == [Subject("a", ("b",), ("a",), "digest"), Subject("b", ("a",), ("b",), "digest")]


def test_else_by_its_name():
    assert matched(one("a", "x"), one("a", "y")) == [Subject("a", ("a",), ("a",), "name")]
    assert matched(one("a", None), one("a", None)) == [Subject("a", ("a",), ("a",), "name")]


def test_what_the_config_says_comes_before_both():
    before, here = both(one("a", "x"), one("b", "y")), one("a", "x")
    assert matched(before, here, match={"a": "b"}) == [
        Subject("a", ("b",), ("a",), "config"),
        Subject("a", ("a",), (), None),
    ]


def test_what_is_on_one_side_only_is_missing_or_new():
    assert matched(one("a", "x"), one("b", "y")) == [Subject("b", (), ("b",), None), Subject("a", ("a",), (), None)]


def test_copies_are_told_apart_by_their_names_and_never_by_chance():
    copies = both(one("a", "x"), one("b", "x"))
    assert {s.before for s in matched(copies, copies)} == {("a",), ("b",)}
    with pytest.raises(BadInput, match="cannot be told apart: c here, a, b in the baseline; say which is which"):
        matched(copies, one("c", "x"))
    with pytest.raises(BadInput, match="cannot be told apart"):
        matched(one("c", "x"), copies)


def test_a_recipe_whose_saes_were_all_trained_again_is_one_subject():
    before = table(recipe("mse", [[1.0], [2.0], [3.0]]))
    here = before.assign(digest=before["digest"] + " again")
    (found,) = matched(before, here)
    assert found.recipe and found.before == found.here == ("mse-s0", "mse-s1", "mse-s2") and found.by == "name"
    assert not any(subject.recipe for subject in matched(before, here, judge="checkpoints"))


def test_where_one_sae_of_a_recipe_is_as_it_was_each_is_compared_by_itself():
    before = table(recipe("mse", [[1.0], [2.0]]))
    here = before.assign(digest=["mse-s0", "other"])
    assert [subject.here for subject in matched(before, here)] == [("mse-s0",), ("mse-s1",)]


def test_recipes_that_agree_in_all_that_is_known_are_matched_without_a_name_in_common():
    before = table(recipe("mse", [[1.0], [2.0]], recipe="r"))
    here = table(
        [
            {**row, "sae": f"new{i}", "train_seed": 7 + i}
            for i, row in enumerate(recipe("mse", [[1.0], [2.0]], recipe="r"))
        ]
    )
    (found,) = matched(before, here)
    assert found.by == "recipe" and found.before == ("mse-s0", "mse-s1") and found.here == ("new0", "new1")
    other = here.assign(recipe="another")
    assert all(subject.by is None for subject in matched(before, other))


def test_what_is_left_is_matched_by_tags_where_its_training_seed_is_known_and_no_other_has_them():
    before = both(one("a", "x", train_seed=0), one("b", "y", width=1024, train_seed=0))
    here = one("new", "z", train_seed=0)
    assert matched(before, here)[0] == Subject("new", ("a",), ("new",), "tags")
    assert matched(before, here, judge="checkpoints")[0].by == "tags"
    for unlike in ({"train_seed": 1}, {"width": 2048, "train_seed": 0}, {"recipe": "r", "train_seed": 0}):
        assert matched(before, one("new", "z", **unlike))[0].by is None
    assert matched(one("a", "x"), one("new", "z"))[0].by is None  # nothing is known of the seed
    twice = both(before, one("c", "w", train_seed=0))
    assert matched(twice, here)[0].by is None
    named = both(here, one("a", "again", train_seed=0))
    assert [subject.by for subject in matched(before, named)] == [None, "name", None]


def test_of_a_recipe_that_was_trained_again_in_part_the_rest_is_missing():
    before = table(recipe("mse", [[1.0], [2.0], [3.0]]))
    here = before[before["sae"] != "mse-s2"].assign(digest="other")
    here["digest"] += here["sae"]
    found = matched(before, here)
    assert found[0].before == ("mse-s0", "mse-s1") and found[1] == Subject("mse-s2", ("mse-s2",), (), None)
