"""The statistics of whole scores tables whose truth is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from known_scores import alone, recipe, table
from scipy.stats import ttest_1samp

from hedgebench.stats.intervals import mean_interval
from hedgebench.stats.power import detectable, seeds_needed
from hedgebench.stats.tables import comparisons, noise, summary

THREE = [
    *recipe("mse", [[0.50, 0.52], [0.51, 0.53], [0.52, 0.54]]),
    *recipe("l2", [[0.51, 0.53], [0.50, 0.52], [0.52, 0.54]]),
    *recipe("snap", [[0.80, 0.82], [0.81, 0.83], [0.82, 0.84]]),
]
"""Of mse, l2 and snap, three training seeds and two evaluation seeds each, only snap is another; the evaluation seed adds .02."""


def of(frame: pd.DataFrame, variant: str) -> pd.Series:
    (row,) = (row for _, row in frame[frame["variant"] == variant].iterrows())
    return row


def test_variants_that_cannot_be_told_apart_share_a_rank():
    found = summary(table(THREE))
    assert dict(zip(found["variant"], found["rank"], strict=True)) == {"mse": 2, "l2": 2, "snap": 1}
    assert (of(found, "l2")["rank_low"], of(found, "l2")["rank_high"]) == (2, 3)
    assert set(found["scope"]) == {"training"}


def test_where_less_is_better_the_least_is_first():
    found = summary(table([{**row, "higher_is_better": False} for row in THREE]))
    assert dict(zip(found["variant"], found["rank"], strict=True)) == {"mse": 1, "l2": 1, "snap": 3}


def test_a_metric_without_a_better_end_has_no_rank_and_no_better_of_two():
    scores = table([{**row, "higher_is_better": None} for row in THREE])
    assert summary(scores)["rank"].isna().all()
    found = comparisons(scores)
    assert found["apart"].sum() == 2 and found["better"].isna().all()


def test_a_summary_says_of_what_its_mean_is():
    found = of(summary(table(THREE)), "mse")
    assert found["mean"] == pytest.approx(0.52)
    assert (found["n_saes"], found["n_seeds"], found["saes"]) == (3, 2, "mse-s0 mse-s1 mse-s2")
    assert found["training_low"] < found["mean"] < found["training_high"]
    assert found["evaluation_high"] - found["evaluation_low"] == pytest.approx(2 * 12.706 * 0.01, rel=1e-3)


def test_one_seed_has_no_interval_and_no_rank():
    found = summary(table([*recipe("mse", [[0.5]]), *recipe("snap", [[0.8]])]))
    ends = [f"{over}_{end}" for over in ("training", "evaluation", "both") for end in ("low", "high")]
    assert found[[*ends, "rank", "rank_low", "rank_high", "scope"]].isna().all(axis=None)
    assert comparisons(table([*recipe("mse", [[0.5]]), *recipe("snap", [[0.8]])])).empty


def test_with_one_training_seed_saes_are_compared_and_not_recipes():
    scores = table([*recipe("mse", [[0.50, 0.70, 0.60]]), *recipe("snap", [[0.60, 0.80, 0.71]])])
    found = comparisons(scores)
    assert found["scope"].tolist() == ["evaluation"] and found["better"].tolist() == ["second"]
    assert found[["first", "second"]].to_numpy().tolist() == [["mse-s0", "snap-s0"]]
    assert comparisons(scores, "training").empty


def test_saes_can_be_compared_where_recipes_could_be():
    assert len(comparisons(table(THREE), "evaluation")) == 9 * 8 / 2


def test_the_difference_that_is_real_is_told_and_no_other():
    found = comparisons(table(THREE)).set_index(["first", "second"])
    assert found["apart"].to_dict() == {("l2", "mse"): False, ("mse", "snap"): True, ("l2", "snap"): True}
    assert found.loc[("mse", "snap"), "better"] == "second"
    assert found.loc[("mse", "snap"), "low"] < -0.3 < found.loc[("mse", "snap"), "high"] < 0


def test_a_difference_that_is_not_found_says_how_many_seeds_it_needs():
    rows = [*recipe("mse", [[0.50], [0.52], [0.54]]), *recipe("snap", [[0.53], [0.55], [0.57]])]
    (row,) = (row for _, row in comparisons(table(rows)).iterrows())
    assert not row["apart"] and row["seeds_needed"] == seeds_needed(0.03, 0.02) > 3
    assert comparisons(table(THREE)).set_index(["first", "second"])["seeds_needed"].isna().tolist() == [
        True,
        True,
        True,
    ]


def test_noise_is_told_by_source():
    (row,) = (row for _, row in noise(table(THREE)).iterrows())
    assert row["sd_training"] == pytest.approx(0.01)
    assert row["sd_evaluation"] == pytest.approx(0.02 / np.sqrt(2))
    assert row["sd_rest"] == pytest.approx(0, abs=1e-9)
    assert row["floor"] == pytest.approx(row["sd_evaluation"])
    assert (row["n_saes"], row["n_variants"], row["n_seeds"], row["compared"], row["groups"]) == (9, 3, 2, 3, 2)
    assert row["detectable_2"] > row["detectable_3"] > row["detectable_5"] > row["detectable_10"] > 0


def test_where_saes_are_compared_noise_says_what_more_evaluation_seeds_would_find():
    rows = table([*alone("a", [0.50, 0.52, 0.51]), *alone("b", [0.60, 0.63, 0.61]), *alone("c", [0.70, 0.72, 0.73])])
    (row,) = (row for _, row in noise(rows).iterrows())
    assert (row["scope"], row["compared"], row["groups"]) == ("evaluation", 3, 3)
    assert row["detectable_3"] == pytest.approx(detectable(row["sd_rest"], 3, 3, paired=True))
    assert row["detectable_2"] > row["detectable_3"] > row["detectable_10"] > 0
    found = comparisons(table([*alone("a", [0.50, 0.52, 0.51]), *alone("b", [0.51, 0.52, 0.53])]))
    sd = float(np.std([0.01, 0.0, 0.02], ddof=1)) / np.sqrt(2)
    assert found["seeds_needed"].tolist() == [seeds_needed(0.01, sd, paired=True)]


def test_more_seeds_of_some_saes_cost_the_others_nothing():
    two = {name: [value, value + 0.1] for name, value in zip("abcd", (0.0, 1.0, 2.0, 3.0), strict=True)}
    whole = [row for name, values in two.items() for row in alone(name, values)]
    for more in ("a", "ab"):
        rows = [*whole, *({**alone(name, [9.0])[0], "seed": 2} for name in more)]
        assert len(comparisons(table(rows))) == 6
        assert summary(table(rows))["rank"].tolist() == [4, 3, 2, 1]
        assert noise(table(rows))["n_saes"].tolist() == [4]


def test_recipes_are_compared_at_the_seeds_that_all_their_saes_have():
    values = [[0.5, 0.6, 0.7], [0.5, 0.6, 0.7]]
    rows = [*recipe("mse", values), *recipe("snap", [[0.8, 0.9, 1.0], [0.81, 0.91, 1.01]])]
    rows = [row for row in rows if (row["sae"], row["seed"]) not in (("snap-s0", 0), ("mse-s1", 2))]
    assert summary(table(rows))["rank"].tolist() == [
        2,
        1,
    ]  # at seed 1, and no two have two seeds in common but one pair


def test_the_best_variant_is_all_of_the_way_though_one_of_its_saes_lacks_a_seed():
    rows = [*recipe("mse", [[0.5, 0.6], [0.5, 0.6]]), *recipe("snap", [[0.8, 0.9], [0.9, 1.0]])]
    rows = [row for row in rows if (row["sae"], row["seed"]) != ("snap-s0", 1)]
    control = alone("mse-s0/random", [0.2, 0.2], architecture="random_control", loss=None)
    found = summary(table([*rows, *control])).set_index("variant")["of_best"]
    assert found["snap"] == 1 and found["mse"] == pytest.approx((0.55 - 0.2) / (0.85 - 0.2))


def test_comparisons_and_ranks_are_of_the_same_saes():
    singles = [*alone("a", [0.50, 0.51, 0.52]), *alone("b", [0.60, 0.61, 0.62])]
    scores = table([*singles, *recipe("mse", [[0.90, 0.91, 0.92], [0.30, 0.31, 0.32]])])
    assert comparisons(scores)[["first", "second"]].to_numpy().tolist() == [["a", "b"]]
    assert noise(scores)["compared"].tolist() == [2]
    assert len(comparisons(scores, "evaluation")) == 6


def test_a_recipe_is_not_ranked_on_fewer_saes_than_its_mean_has():
    """The SAEs of snap have seed 5 in common, which mse has not, and two of the three have what mse has."""
    rows = [*recipe("mse", [[0.50, 0.60], [0.51, 0.61]]), *recipe("snap", [[0.80, 0.90], [0.81, 0.91]])]
    assert summary(table(rows))["rank"].tolist() == [2, 1]
    rows += [{"sae": f"snap-s{i}", "loss": "snap", "train_seed": i, "seed": 5, "value": 0.8} for i in range(3)]
    found = summary(table(rows)).set_index("variant")
    assert found.loc["snap", ["n_saes", "n_seeds"]].tolist() == [3, 1] and found["rank"].isna().all()


def test_a_recipe_among_single_saes_has_a_row_and_no_part_in_their_ranks():
    singles = [*alone("a", [0.50, 0.51, 0.52]), *alone("b", [0.60, 0.61, 0.62])]
    seeds = recipe("mse", [[0.90, 0.91, 0.92], [0.30, 0.31, 0.32]])
    found = summary(table([*singles, *seeds])).set_index("variant")
    assert found.loc[["a", "b"], "rank"].tolist() == [2, 1] and found.drop(["a", "b"])["rank"].isna().all()


def test_the_way_to_the_best_begins_at_the_control_of_ones_own_width():
    rows = [*alone("a", [0.5], width=64), *alone("b", [0.9], width=128), *alone("c", [0.8], width=256)]
    rows += alone("a/random", [0.1], architecture="random_control", width=64)
    rows += alone("b/random", [0.5], architecture="random_control", width=128)
    found = summary(table(rows)).set_index("variant")["of_best"]
    assert found["a"] == pytest.approx((0.5 - 0.1) / (0.9 - 0.1)) and found["b"] == pytest.approx(1)
    assert found["c"] == pytest.approx((0.8 - 0.3) / (0.9 - 0.3))  # no control of its width: of all
    assert found["a/random"] == found["b/random"] == 0


def test_the_way_to_the_best_begins_at_chance_or_at_the_control_whichever_is_better():
    def shares(control: float, sign: int, **more: Any) -> list[float]:
        rows = [*alone("a", [0.6]), *alone("b", [0.8]), *alone("a/random", [control], architecture="random_control")]
        turned = [{**row, "value": sign * row["value"], "higher_is_better": sign > 0, **more} for row in rows]
        found = summary(table(turned)).set_index("variant")["of_best"]
        return found[["a", "b", "a/random"]].round(9).tolist()

    for sign in (1, -1):
        assert shares(-0.2, sign) == [0.8, 1, 0]
        assert shares(-0.2, sign, chance=0.4 * sign) == [0.5, 1, -1.5]
        assert shares(0.5, sign, chance=0.4 * sign) == [round(0.1 / 0.3, 9), 1, 0]


def test_where_there_is_no_control_the_way_begins_at_chance():
    rows = [*alone("a", [0.6]), *alone("b", [0.9])]
    assert summary(table([{**row, "chance": 0.5} for row in rows]))["of_best"].round(9).tolist() == [0.25, 1]
    own = [{**row, "chance": row["value"] / 2} for row in rows]  # a level for each SAE is none of all
    assert summary(table(own))["of_best"].isna().all()


def test_a_best_that_rounding_alone_makes_better_than_the_control_is_no_end_of_a_way():
    rows = [*alone("a", [0.3]), *alone("b", [0.3 + 1e-16]), *alone("a/random", [0.3], architecture="random_control")]
    assert summary(table(rows))["of_best"].isna().all()


def test_a_control_with_fewer_evaluation_seeds_is_not_averaged_with_others():
    rows = [*alone("a", [0.6, 0.6])]
    for i, values in enumerate(([0.1, 0.1], [0.5])):
        rows += alone(f"a{i}/random", values, architecture="random_control")
    found = summary(table(rows)).set_index("variant")["of_best"]
    assert found["a0/random"] == 0 and found["a1/random"] == pytest.approx(0.8)


def test_controls_are_no_part_of_a_metrics_noise():
    control = alone("mse-s0/random", [0.1, 0.9], architecture="random_control", loss=None)
    pd.testing.assert_frame_equal(noise(table([*THREE, *control])), noise(table(THREE)))


def test_controls_are_compared_with_nothing_and_change_no_comparison():
    rows = [*alone("a", [0.50, 0.51, 0.52]), *alone("b", [0.60, 0.61, 0.62])]
    noisy = [0.1, 0.4, -0.3]
    controls = [row for i in range(8) for row in alone(f"a{i}/random", noisy, architecture="random_control", loss=None)]
    plain, with_controls = table(rows), table([*rows, *controls])
    pd.testing.assert_frame_equal(comparisons(plain), comparisons(with_controls))
    ranked = summary(with_controls).set_index("variant")["rank"]
    assert (ranked["a"], ranked["b"]) == (2, 1)
    assert ranked.drop(["a", "b"]).isna().all()


def test_how_far_from_the_control_to_the_best():
    random = alone("mse-s0/random", [0.20, 0.22], architecture="random_control", loss=None)
    permuted = alone("mse-s0/permuted", [0.0, 0.0], architecture="permuted_control", loss=None)
    found = summary(table([*THREE, *random, *permuted]))
    assert of(found, "mse-s0/random")["of_best"] == 0 and of(found, "snap")["of_best"] == pytest.approx(1)
    assert of(found, "mse")["of_best"] == pytest.approx((0.52 - 0.21) / (0.82 - 0.21))
    assert of(found, "mse-s0/permuted")["of_best"] < 0


def test_the_best_is_the_oracle_where_there_is_one():
    ends = [
        *alone("x/random", [0.2, 0.2], architecture="random_control"),
        *alone("x/oracle", [1.0, 1.0], architecture="oracle_control"),
    ]
    found = summary(table([*THREE, *ends]))
    assert of(found, "x/oracle")["of_best"] == 1 and of(found, "snap")["of_best"] == pytest.approx((0.82 - 0.2) / 0.8)


def shares(*rows: dict[str, Any]) -> pd.DataFrame:
    return summary(table(rows)).set_index("variant")[["of_best_low", "of_best", "of_best_high"]]


ORACLE = alone("a/oracle", [0.9, 1.0, 1.1], architecture="oracle_control")
RANDOM = alone("a/random", [0.1, 0.0, 0.05], architecture="random_control")


def test_the_interval_of_a_share_holds_all_shares_that_evaluation_seeds_leave_open():
    one = np.array([0.55, 0.50, 0.60])
    low, share, high = shares(*alone("a", one), *RANDOM, *ORACLE).loc["a"]
    start, best = (np.array([row["value"] for row in rows]) for rows in (RANDOM, ORACLE))
    p = {of: ttest_1samp((one - start) - of * (best - start), 0).pvalue for of in (low, share, high)}
    assert p == pytest.approx({low: 0.05, share: 1.0, high: 0.05}) and low < share < high


def test_the_oracle_is_at_one_and_the_control_at_zero_for_certain():
    found = shares(*alone("a", [0.55, 0.50, 0.60]), *RANDOM, *ORACLE)
    assert found.loc["a/oracle"].tolist() == pytest.approx([1, 1, 1])
    assert found.loc["a/random"].tolist() == pytest.approx([0, 0, 0], abs=1e-9)


def test_a_share_of_the_way_to_the_best_sae_has_no_interval():
    found = shares(*alone("a", [0.55, 0.50, 0.60]), *alone("b", [0.9, 1.0, 1.1]), *RANDOM)
    assert found["of_best"].notna().all() and found[["of_best_low", "of_best_high"]].isna().all(axis=None)


def test_a_share_has_no_interval_where_seeds_are_too_few_or_not_the_same_or_the_way_may_have_no_length():
    def of(*rows: dict[str, Any]) -> list[bool]:
        return shares(*rows).loc["a"].notna().tolist()

    none, a = [False, True, False], alone("a", [0.55, 0.50, 0.60])
    assert of(*a, *RANDOM, *ORACLE) == [True] * 3
    assert of(*a[:1], *RANDOM[:1], *ORACLE[:1]) == none
    assert of(*a, *RANDOM, *ORACLE[:2]) == none
    assert of(*a, *RANDOM[1:], *ORACLE) == none
    assert of(*a, *RANDOM, *alone("a/oracle", [0.2, 3.0, 0.1], architecture="oracle_control")) == none
    undrawn = [{**row, "seed": None} for row in (*a[:1], *RANDOM[:1], *ORACLE[:1])]
    assert of(*undrawn) == none


def test_where_chance_is_the_start_the_noise_of_controls_is_no_part_of_a_share():
    known = [
        {**row, "chance": 0.5}
        for row in (
            *alone("a", [0.75, 0.76, 0.77]),
            *RANDOM,
            *alone("a/oracle", [1.0] * 3, architecture="oracle_control"),
        )
    ]
    low, share, high = shares(*known).loc["a"]
    expected = mean_interval([0.5, 0.52, 0.54])
    assert (low, share, high) == pytest.approx((expected.low, expected.mean, expected.high))


def test_there_is_no_way_from_a_control_that_nothing_beats():
    control = alone("x/random", [0.95, 0.95], architecture="random_control")
    assert summary(table([*THREE, *control]))["of_best"].isna().all()
    assert summary(table(THREE))["of_best"].isna().all()


def test_numbers_of_another_version_are_another_metric():
    newer = [{**row, "eval_version": 2, "value": row["value"] + 1} for row in THREE]
    found = summary(table([*THREE, *newer]))
    assert len(found) == 6 and sorted(found["mean"].round(2)) == [0.52, 0.52, 0.82, 1.52, 1.52, 1.82]
    assert len(noise(table([*THREE, *newer]))) == 2 and len(comparisons(table([*THREE, *newer]))) == 6


def test_a_blank_leaves_the_variant_its_other_numbers():
    rows = [row for row in THREE if (row["sae"], row["seed"]) != ("mse-s1", 1)]
    found = of(summary(table(rows)), "mse")
    assert (found["n_saes"], found["n_seeds"]) == (3, 1) and found["mean"] == pytest.approx(0.51)


def test_a_variant_one_of_whose_saes_has_no_number_has_no_mean_and_no_rank_and_says_why():
    other = [{**row, "metric": "size"} for row in THREE]
    rows = [row for row in THREE if row["sae"] != "mse-s1"]
    found = summary(table([*rows, *other]))
    blank = of(found[found["metric"] == "quality"], "mse")
    assert blank["blank"] == "1 of 3 SAEs without a number: mse-s1" and blank["saes"] == "mse-s0 mse-s2"
    assert (blank["n_saes"], blank["n_seeds"]) == (2, 0)
    assert blank[["mean", "training_low", "both_high", "rank", "of_best"]].isna().all()
    whole = of(found[found["metric"] == "quality"], "snap")
    assert whole["blank"] == "" and (whole["rank"], whole["rank_high"]) == (1, 1)
    named = set(comparisons(table([*rows, *other])).query("metric == 'quality'")[["first", "second"]].to_numpy().flat)
    assert "mse" not in named and "snap" in named


def test_a_missing_value_is_a_blank():
    rows = [row | {"value": np.nan} if row["sae"] == "mse-s1" else row for row in THREE]
    assert "mse-s1" in of(summary(table(rows)), "mse")["blank"]


def test_saes_without_a_seed_in_common_have_no_mean():
    rows = [row | {"seed": row["seed"] + 2 * row["train_seed"]} for row in recipe("mse", [[0.5, 0.6], [0.7, 0.8]])]
    (found,) = summary(table(rows)).itertuples()
    assert np.isnan(found.mean) and found.blank == "its SAEs have no evaluation seed in common"


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_numbers_of_any_size_are_judged_alike(size: float):
    plain, scaled = table(THREE), table([row | {"value": row["value"] * size} for row in THREE])
    for make, unit, same in (
        (summary, ["mean", "training_low", "both_high"], ["rank", "rank_low", "rank_high"]),
        (noise, ["mean_size", "sd_training", "floor", "detectable_3"], ["cv", "share", "p", "groups"]),
        (comparisons, ["difference", "stderr", "low"], ["p", "seeds_needed"]),
    ):
        one, other = make(plain), make(scaled)
        assert (other[unit] / size).to_numpy() == pytest.approx(one[unit].to_numpy())
        assert other[same].astype(float).to_numpy() == pytest.approx(one[same].astype(float).to_numpy(), nan_ok=True)


def test_an_eval_that_draws_nothing_has_training_seeds_only():
    rows = [{**row, "seed": None} for row in THREE if row["seed"] == 0]
    found = of(summary(table(rows)), "mse")
    assert found["n_seeds"] == 0
    assert found["training_low"] < found["training_high"]
    assert found[["evaluation_low", "evaluation_high", "both_low", "both_high"]].isna().all()
    assert np.isnan(noise(table(rows))["floor"].astype(float)).all()


@pytest.mark.parametrize("make", [summary, noise, comparisons])
def test_no_scores_no_rows(make):
    assert make(table([])).empty and len(make(table([])).columns) == len(make(table(THREE)).columns)


@pytest.mark.parametrize("make", [summary, noise, comparisons])
def test_neither_the_order_of_rows_nor_of_saes_changes_a_number(make):
    rng = np.random.default_rng(0)
    plain, shuffled = make(table(THREE)), make(table([THREE[i] for i in rng.permutation(len(THREE))]))
    number = plain.select_dtypes("number").columns
    for name in number:
        assert sorted(plain[name].abs().dropna()) == pytest.approx(sorted(shuffled[name].abs().dropna()))


@pytest.mark.parametrize("huge", [1e30, 1e100, 1e154, 1e308])
def test_huge_values_are_noise_to_each_other_and_not_ranked_beyond_the_table(huge):
    rows = [*recipe("mse", [[huge, -huge], [1.7 * huge, huge]]), *recipe("l2", [[1.0, 2.0], [3.0, 4.0]])]
    found, pairs = summary(table(rows)), comparisons(table(rows))
    assert found[["rank", "rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1, 2], [1, 1, 2]]
    assert pairs["p"].between(0.05, 1).all() and not pairs["apart"].any()
