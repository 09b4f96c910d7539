"""Which SAEs are a family, and what their means over training seeds are."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from hedgebench.one_line import natural
from hedgebench.results import SCORES, _frame
from hedgebench.series import labels, means, points
from hedgebench.stats.intervals import mean_interval

WHAT = ("share", "null=a")


def row(width: int, train_seed: int | None, value: float, **more: Any) -> dict[str, Any]:
    said = {"eval": "an_eval", "metric": "share", "params": "null=a", "slice_by": "all", "slice_value": "all"}
    said |= {"model": "tiny", "hook": "blocks.1", "architecture": "standard", "loss": "mse"}
    said |= {"sae": f"{more.get('loss', 'mse')}-{width}-{train_seed}", "config": '{"n": 1, "m": 2}'}
    said |= {"width": width, "train_seed": train_seed, "value": value}
    return {**said, **more}


def known(*rows: dict[str, Any]) -> pd.DataFrame:
    return points(_frame(list(rows), SCORES), "an_eval", WHAT)


def test_a_mean_is_over_training_seeds_with_their_interval_after_one_over_evaluation_seeds():
    of = {0: (1.0, 3.0), 1: (5.0, 5.0), 2: (9.0, 9.0)}
    rows = [row(64, s, v, seed=i, l0=10 + s) for s, values in of.items() for i, v in enumerate(values)]
    (found,) = means(known(*rows)).to_dict("records")
    expected = mean_interval([2.0, 5.0, 9.0])
    assert [found[name] for name in ("mean", "low", "high")] == pytest.approx(list(expected[:3]))
    assert expected.low < 2.0 < 9.0 < expected.high
    assert (found["train_seeds"], found["l0"], found["saes"]) == (3, 11, "mse-64-0 mse-64-1 mse-64-2")


def test_a_mean_is_at_the_evaluation_seeds_that_all_saes_of_a_variant_have_and_over_no_blank():
    of = {0: (1.0, 3.0), 1: (5.0,), 2: (9.0, 9.0)}
    rows = [row(64, s, v, seed=i) for s, values in of.items() for i, v in enumerate(values)]
    (found,) = means(known(*rows)).to_dict("records")
    assert found["mean"] == 5.0 and found["train_seeds"] == 3
    elsewhere = [row(64, 3, 7.0, metric="another"), row(64, 0, 7.0, metric="another")]
    assert means(known(*rows, *elsewhere))["train_seeds"].tolist() == [1, 1, 1]
    apart = [row(64, s, v, seed=s) for s, v in ((0, 1.0), (1, 5.0))]
    assert means(known(*apart))[["mean", "train_seeds"]].to_numpy().tolist() == [[1.0, 1], [5.0, 1]]


def test_one_training_seed_has_no_interval():
    (found,) = means(known(row(64, 0, 4.0))).to_dict("records")
    assert found["mean"] == 4.0 and found["train_seeds"] == 1 and pd.isna(found["low"]) and pd.isna(found["high"])


@pytest.mark.parametrize("what", ["model", "hook", "architecture", "loss", "objective", "data"])
def test_recipes_that_differ_in_anything_the_table_knows_are_never_averaged(what: str):
    rows = [row(64, s, v, sae=f"{v}-{s}", **{what: name}) for name, v in (("a", 1.0), ("b", 9.0)) for s in (0, 1)]
    found = known(*rows)
    assert means(found)[[what, "mean", "train_seeds"]].to_numpy().tolist() == [["a", 1.0, 2], ["b", 9.0, 2]]
    assert list(labels(found).values()) == ["a", "b"]


def test_versions_of_an_eval_are_families_of_their_own():
    rows = [row(64, s, v, eval_version=version) for version, v in ((1, 1.0), (2, 9.0)) for s in (0, 1)]
    found = known(*rows)
    assert means(found)[["eval_version", "mean", "train_seeds"]].to_numpy().tolist() == [["1", 1.0, 2], ["2", 9.0, 2]]
    assert list(labels(found).values()) == ["version 1", "version 2"] and found["series"].all()


def test_families_are_told_apart_by_the_settings_that_differ_and_by_k():
    found = known(row(64, 0, 1.0, k=8), row(64, 0, 1.0, k=16, config='{"n": 1, "m": 5}', sae="other"))
    assert set(labels(found).values()) == {"k = 8, m = 2", "k = 16, m = 5"}
    assert labels(known(row(64, 0, 1.0))) == {}


@pytest.mark.parametrize("seed", [0, None])
def test_saes_that_the_table_cannot_tell_apart_are_not_averaged(seed: int | None):
    """Two recipes that differ in their penalty, say: an interval over the four would not be one over training seeds."""
    found = known(row(64, 1, 3.0), row(64, seed, 1.0, sae="one"), row(64, seed, 9.0, sae="two"), row(128, 1, 5.0))
    assert not found["series"].any()
    table = means(found)
    assert sorted(table["mean"]) == [1, 3, 5, 9] and set(table["train_seeds"]) == {1}
    assert "one" in set(table["saes"])


def test_seeds_beyond_what_a_float_holds_stay_apart():
    found = known(row(64, 2**62, 1.0), row(64, 2**62 + 1, 3.0))
    assert found["series"].all() and means(found)["train_seeds"].tolist() == [2]


def test_only_what_is_asked_for_counts():
    others = ({"metric": "b"}, {"params": ""}, {"slice_by": "pair"}, {"eval": "x"}, {"width": None}, {"value": None})
    assert known(row(64, 0, 1.0), *(row(64, 0, 7.0) | other for other in others))["value"].tolist() == [1.0]
    assert known().empty and means(known()).empty


def test_hook_points_go_by_their_layer():
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in (12, 4, 8)]
    assert sorted(hooks, key=natural) == [f"blocks.{layer}.hook_resid_post" for layer in (4, 8, 12)]
    assert sorted(["b", "a2", "a", "10", "9", ""], key=natural) == ["", "9", "10", "a", "a2", "b"]
    multipliers = [f"balance={share}" for share in ("0.75", "0.125", "0.5", "0", "0.25")]
    assert sorted(multipliers, key=natural) == [f"balance={share}" for share in ("0", "0.125", "0.25", "0.5", "0.75")]
