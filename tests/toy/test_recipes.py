"""Recipes: what they say of levels and schedules, and that a wrong field is named."""

from __future__ import annotations

import json

import pytest

from hedgebench.toy.recipes import Recipe
from hedgebench.types import BadInput

NESTED = {"architecture": "matryoshka_standard", "width": 20, "levels": (3, 12, 20)}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("architecture", {"architecture": "gated"}),
        ("width", {"width": 0}),
        ("width", {"width": 2.5}),
        ("loss", {"loss": "l1"}),
        ("snap_at", {"snap_at": 1.0}),
        ("snap_at", {"snap_at": 0.0}),
        ("l1", {"l1": -0.1}),
        ("l1", {"l1": float("nan")}),
        ("l1", {"architecture": "topk", "k": 2, "l1": 0.1}),
        ("l1", {"architecture": "tied", "l1": 0.1}),
        ("k", {"k": 2}),
        ("k", {"architecture": "topk"}),
        ("k", {"architecture": "topk", "k": 21}),
        ("k", {"architecture": "topk", "k": 1.5}),
        ("k", {"architecture": "batchtopk", "k": 0.001, "batch_size": 500}),
        ("levels", {**NESTED, "levels": ()}),
        ("levels", {**NESTED, "levels": (3, 12)}),
        ("levels", {**NESTED, "levels": (12, 3, 20)}),
        ("levels", {**NESTED, "levels": (0, 3, 20)}),
        ("levels", {"levels": (3, 20)}),
        ("balance", {"balance": 0.5}),
        ("balance", {**NESTED, "balance": -1.0}),
        ("detach", {"detach": True}),
        ("steps", {"steps": 0}),
        ("steps", {"steps": True}),
        ("batch_size", {"batch_size": -1}),
        ("lr", {"lr": 0.0}),
        ("lr_warm_up", {"lr_warm_up": 1.5}),
        ("lr_decay", {"lr_decay": 0.6, "lr_warm_up": 0.6}),
        ("init", {"init": "zeros"}),
        ("init_noise", {"init_noise": -1.0}),
        ("dead_after", {"dead_after": 0}),
    ],
)
def test_a_wrong_field_is_named_in_one_line(field, fields):
    with pytest.raises(BadInput) as refused:
        Recipe(**{"architecture": "standard", "width": 20, **fields})
    assert str(refused.value).startswith(f"toy recipe: '{field}' ")
    assert "\n" not in str(refused.value)


def test_a_wrong_name_is_answered_with_the_nearest_right_one():
    with pytest.raises(BadInput, match="did you mean 'batchtopk'"):
        Recipe("batch_topk", 3)


@pytest.mark.parametrize(
    ("fields", "multipliers"),
    [
        ({"balance": 0.5}, (0.25, 0.5, 1.0)),
        ({"balance": 0.0}, (0.0, 0.0, 1.0)),
        ({}, (1.0, 1.0, 1.0)),
        ({"detach": True}, (1.0, 1.0, 1.0)),
    ],
)
def test_a_level_counts_balance_to_the_power_of_its_distance_from_the_outermost(fields, multipliers):
    assert Recipe(**NESTED, **fields).multipliers == multipliers


def test_an_sae_without_levels_has_one_and_snap_switches_where_it_says():
    recipe = Recipe("standard", 7, loss="snap", snap_at=0.25, steps=10, batch_size=3)
    assert (recipe.all_levels, recipe.multipliers, recipe.samples) == ((7,), (1.0,), 30)
    assert [step for step in range(10) if recipe.schedule.is_l2(step)] == list(range(3, 10))


def test_a_recipe_is_plain_json():
    recipe = Recipe(**NESTED, l1=0.02)
    data = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe(**{**data, "levels": tuple(data["levels"]), "init_features": tuple(data["init_features"])}) == recipe
