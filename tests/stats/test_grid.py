"""What may be averaged and compared, and what may not."""

import numpy as np
import pandas as pd
import pytest
from known_scores import alone, recipe, table

from hedgebench.stats.grid import grids, variants


def only(scores: pd.DataFrame):
    (grid,) = grids(scores)
    return grid


def test_saes_that_differ_in_their_training_seed_only_are_one_variant():
    names = variants(table([*recipe("mse", [[1], [2]]), *recipe("snap", [[3], [4]])]))
    assert names.to_dict() == {"mse-s0": "mse", "mse-s1": "mse", "snap-s0": "snap", "snap-s1": "snap"}


def test_a_variants_words_are_what_tells_it_from_others():
    rows = [
        {**row, "sae": row["sae"] + w, "width": int(w)} for w in ("256", "512") for row in recipe("mse", [[1], [2]])
    ]
    assert set(variants(table(rows))) == {"width 256", "width 512"}
    huge = [
        {**row, "sae": row["sae"] + w, "width": int(w)} for w in ("64", "1048576") for row in recipe("mse", [[1], [2]])
    ]
    assert set(variants(table(huge))) == {"width 64", "width 1048576"}
    deeper = [{**row, "sae": "deep" + row["sae"], "hook": "blocks.9"} for row in recipe("mse", [[1], [2]])]
    assert "blocks.9" in " ".join(variants(table(recipe("mse", [[1], [2]]) + deeper)))


def test_an_sae_of_unknown_training_seed_leaves_seeds_beside_it_together():
    """As the row of a whole group, which has its members' recipe and no seed."""
    names = variants(table([*recipe("mse", [[1], [2]]), *alone("mse-s*", [1.5])]))
    assert names.to_dict() == {"mse-s0": "batchtopk", "mse-s1": "batchtopk", "mse-s*": "mse-s*"}


def test_an_sae_of_unknown_training_seed_is_alone():
    assert set(variants(table([*alone("a", [1.0]), *alone("b", [2.0])]))) == {"a", "b"}


def test_two_saes_of_one_training_seed_are_not_seeds_of_one_recipe():
    rows = [{**row, "sae": f"{lr}-{row['sae']}"} for lr in ("slow", "fast") for row in recipe("mse", [[1], [2]])]
    assert len(set(variants(table(rows)))) == 4


def test_seeds_of_another_penalty_are_another_variant():
    weak, strong = recipe("mse", [[1], [2]], objective="l1=1"), recipe("mse", [[3], [4]], objective="l1=8")
    strong = [{**row, "sae": f"strong-{row['sae']}", "train_seed": row["train_seed"] + 2} for row in strong]
    names = variants(table([*weak, *strong]))
    assert names.to_dict() == {"mse-s0": "l1=1", "mse-s1": "l1=1", "strong-mse-s0": "l1=8", "strong-mse-s1": "l1=8"}


def test_a_recipe_tells_apart_what_no_other_column_does():
    rows = [
        {**row, "sae": f"{lr}-{row['sae']}", "recipe": lr}
        for lr in ("slow", "fast")
        for row in recipe("mse", [[1], [2]])
    ]
    assert set(variants(table(rows))) == {"batchtopk recipe slow", "batchtopk recipe fast"}


def test_a_table_of_an_older_version_has_variants_too():
    scores = table([*recipe("mse", [[1], [2]]), *recipe("snap", [[3], [4]])]).drop(columns=["objective", "recipe"])
    assert set(variants(scores)) == {"mse", "snap"}


def test_a_variant_whose_words_are_an_saes_name_is_told_from_it():
    names = variants(table([*recipe("mse", [[1], [2]]), *alone("batchtopk", [1.0], width=64)]))
    assert names["mse-s0"] == "batchtopk (2 seeds)" != names["batchtopk"]


@pytest.mark.parametrize(
    "other",
    [
        {"data": "another-text"},
        {"eval_version": 2},
        {"config": '{"n": 2}'},
        {"hook": "blocks.9"},
        {"model": "b"},
        {"params": "k=5"},
        {"slice_by": "letter", "slice_value": "a"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_numbers_of_other_versions_settings_data_or_places_are_never_in_one_grid(other):
    found = list(grids(table([*alone("a", [1.0]), *alone("b", [2.0], **other)])))
    assert [list(grid.table.index) for grid in found] == [["a"], ["b"]]


def test_two_numbers_for_one_sae_and_seed_are_none():
    grid = only(
        table(
            [
                *alone("a", [1.0, 2.0]),
                {"sae": "a", "seed": 0, "value": 9.0, "run_id": "another"},
                *alone("b", [3.0, 4.0]),
            ]
        )
    )
    assert np.isnan(grid.table.loc["a", 0]) and grid.table.loc["a", 1] == 2.0


def test_a_variants_mean_is_over_the_seeds_that_all_its_saes_have():
    rows = [row for row in recipe("mse", [[1, 2, 3], [4, 5, 6]]) if (row["sae"], row["seed"]) != ("mse-s1", 1)]
    assert only(table(rows)).groups()["batchtopk"].tolist() == [[1, 3], [4, 6]]


def test_an_sae_with_a_blank_leaves_a_comparison_rather_than_a_seed_leaving_all():
    rows = [
        row
        for row in [*recipe("mse", [[1, 2], [3, 4]]), *alone("late", [5, 6])]
        if (row["sae"], row["seed"]) != ("late", 1)
    ]
    assert list(only(table(rows)).complete().index) == ["mse-s0", "mse-s1"]


def test_one_seed_that_a_single_sae_has_costs_nobody_else_a_place():
    rows = [*recipe("mse", [[1], [2], [3], [4]]), *alone("late", [5, 6])]
    complete = only(table(rows)).complete()
    assert complete.shape == (5, 1)


def test_an_eval_that_draws_nothing_has_one_column_and_no_seed():
    grid = only(table([{"sae": "a", "value": 1.0}, {"sae": "b", "value": 2.0}]))
    assert grid.table.shape == (2, 1) and not grid.draws


def test_a_chance_that_is_not_the_same_for_all_is_none():
    assert only(table([*alone("a", [1.0], chance=0.5), *alone("b", [1.0], chance=0.5)])).chance == 0.5
    assert only(table([*alone("a", [1.0], chance=0.5), *alone("b", [1.0], chance=0.1)])).chance is None


def test_no_rows_no_grid():
    assert list(grids(table([]))) == []
