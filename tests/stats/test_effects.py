"""What one setting does, averaged over another: against scipy, and of tables whose truth is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from known_scores import recipe, table
from scipy import stats
from statsmodels.stats.multitest import multipletests

from hedgebench.stats.effects import effects
from hedgebench.stats.pairwise import compare
from hedgebench.stats.power import detectable
from hedgebench.types import BadInput

KS = (20.0, 40.0, 80.0)


def crossed(shift: dict[str, float], noise: float = 0.001, **more: Any) -> pd.DataFrame:
    """Losses at three L0s, three training seeds each: the value is k / 100, what the loss adds, and a little noise."""
    rng = np.random.default_rng(3)
    rows = []
    for loss, add in shift.items():
        for k in KS:
            values = [[k / 100 + add + noise * rng.normal()] for _ in range(3)]
            rows += [{**row, "sae": f"{row['sae']}-{k}"} for row in recipe(loss, values, k=k, **more)]
    return table(rows)


def test_the_comparison_is_of_the_means_of_training_seeds():
    scores = crossed({"mse": 0.0, "l2": 0.05, "snap": 0.1}, noise=0.02)
    seeds = scores.groupby(["loss", "train_seed"])["value"].mean()
    found = effects(scores, "loss", "k")
    by_hand = compare([seeds[loss].to_numpy() for loss in ("l2", "mse", "snap")])
    assert found["difference"].to_numpy() == pytest.approx(by_hand.difference)
    assert found["stderr"].to_numpy() == pytest.approx(by_hand.stderr)
    assert found["p"].to_numpy() == pytest.approx(by_hand.adjusted)
    assert list(found["df"]) == pytest.approx(list(by_hand.df))


def test_two_losses_are_held_to_each_other_by_students_t():
    scores = crossed({"mse": 0.0, "snap": 0.01}, noise=0.02)
    (row,) = (row for _, row in effects(scores, "loss", "k").iterrows())
    seeds = scores.groupby(["loss", "train_seed"])["value"].mean()
    theirs = stats.ttest_ind(seeds["mse"], seeds["snap"])
    assert (row["p"], row["df"]) == pytest.approx((theirs.pvalue, theirs.df))
    assert (row["low"], row["high"]) == pytest.approx(tuple(theirs.confidence_interval()))


def test_beside_them_stands_the_interval_seed_by_seed():
    scores = crossed({"mse": 0.0, "snap": 0.01}, noise=0.02)
    (row,) = (row for _, row in effects(scores, "loss", "k").iterrows())
    seeds = scores.groupby(["loss", "train_seed"])["value"].mean()
    paired = stats.ttest_rel(seeds["mse"], seeds["snap"]).confidence_interval()
    assert (row["paired_low"], row["paired_high"]) == pytest.approx(tuple(paired))
    other = scores["loss"] == "snap"
    scores.loc[other, "train_seed"] = scores.loc[other, "train_seed"].astype(int) + 10
    assert effects(scores, "loss", "k")[["paired_low", "paired_high"]].isna().all(axis=None)


def test_all_metrics_may_be_one_question():
    one = crossed({"mse": 0.0, "snap": 0.02}, noise=0.02)
    scores = pd.concat([one, crossed({"mse": 0.0, "snap": 0.1}, noise=0.02).assign(metric="another")])
    apart, together = effects(scores, "loss", "k"), effects(scores, "loss", "k", together=True)
    assert len(apart) == len(together) == 2
    raw = [stats.ttest_ind(*(of[of["loss"] == loss].groupby("train_seed")["value"].mean() for loss in ("mse", "snap"))).pvalue for _, of in scores.groupby("metric", sort=False)]  # fmt: skip
    assert apart["p"].to_numpy() == pytest.approx(raw)
    assert together["p"].to_numpy() == pytest.approx(multipletests(raw, method="holm")[1])
    assert ((together["high"] - together["low"]) / (apart["high"] - apart["low"])).to_numpy() == pytest.approx(
        stats.t.ppf(1 - 0.025 / 2, 4) / stats.t.ppf(1 - 0.025, 4)
    )
    assert list(together["detectable"]) == pytest.approx([detectable(sd, 3, 2, comparisons=2) for sd in together["sd"]])


def test_what_can_be_detected_among_many_comparisons_is_found_four_times_in_five():
    rng, least = np.random.default_rng(2), detectable(1.0, 3, 3, comparisons=18)
    assert least > detectable(1.0, 3, 3, comparisons=3) == detectable(1.0, 3, 3)
    found = 0
    for _ in range(1000):
        pairs = compare([least + rng.normal(size=3), rng.normal(size=3), rng.normal(size=3)])
        found += 2 * stats.t.sf(abs(pairs.difference[0]) / pairs.stderr[0], pairs.df[0]) < 0.05 / 18
    assert found / 1000 == pytest.approx(0.8, abs=0.05)


def test_seeds_that_move_all_their_saes_alike_make_no_false_differences():
    """What a training seed does to all its L0s is noise between seeds, of which nine SAEs hold three draws: counted as nine, they would find a difference in a third of such tables."""
    rng = np.random.default_rng(1)
    scores = crossed({"mse": 0.0, "snap": 0.0}, noise=0.0)
    cell = scores.groupby(["loss", "train_seed"]).ngroup().to_numpy()
    false = np.mean(
        [
            effects(scores.assign(value=scores["value"] + 0.1 * rng.normal(size=6)[cell]), "loss", "k")["apart"].item()
            for _ in range(200)
        ]
    )
    assert false <= stats.binom.ppf(0.999, 200, 0.05) / 200


def test_an_effect_is_what_a_setting_adds_whatever_the_other_does():
    found = effects(crossed({"mse": 0.0, "snap": 0.1}), "loss", "k")
    (row,) = (row for _, row in found.iterrows())
    assert (row["first"], row["second"], row["over"], row["n_seeds"]) == ("mse", "snap", "20 40 80", 3)
    assert row["difference"] == pytest.approx(-0.1, abs=0.002) and row["low"] < -0.1 < row["high"]
    assert row["apart"] and row["better"] == "second"
    assert (row["first_mean"], row["second_mean"]) == pytest.approx((1.4 / 3, 1.4 / 3 + 0.1), abs=0.002)
    assert row["sd"] < 0.002 and row["detectable"] == pytest.approx(detectable(row["sd"], 3, 2), rel=0.05)


def test_no_difference_is_said_where_there_is_none():
    (row,) = (row for _, row in effects(crossed({"mse": 0.0, "snap": 0.0}), "loss", "k").iterrows())
    assert not row["apart"] and row["low"] < 0 < row["high"] and row["better"] is None


def test_only_saes_that_are_else_alike_are_compared():
    wide = crossed({"mse": 5.0, "l2": 5.0}, width=1024)
    wide[["sae", "run_id", "digest"]] += "-wide"
    found = effects(pd.concat([crossed({"mse": 0.0, "l2": 0.2}), wide]), "loss", "k")
    assert list(found["width"]) == [512, 1024]
    assert found["difference"].to_numpy() == pytest.approx([0.2, 0.0], abs=0.002)  # l2 less mse


def test_values_of_the_other_setting_that_one_side_lacks_are_left_out():
    scores = crossed({"mse": 0.0, "snap": 0.1})
    lacking = scores[~((scores["loss"] == "snap") & (scores["k"] == 80.0))]
    (row,) = (row for _, row in effects(lacking, "loss", "k").iterrows())
    assert row["over"] == "20 40" and row["difference"] == pytest.approx(-0.1, abs=0.002)


def test_where_no_value_of_the_other_setting_has_all_one_that_has_most_is_read():
    scores = crossed({"mse": 0.0, "l2": 0.2, "snap": 0.1})
    k, loss = scores["k"], scores["loss"]
    some = scores[((k == 20.0) & loss.isin(["mse", "snap"])) | ((k == 40.0) & loss.isin(["l2", "snap"]))]
    (row,) = (row for _, row in effects(some, "loss", "k").iterrows())
    assert (row["first"], row["second"], row["over"]) == ("l2", "snap", "40")


def test_a_cell_of_one_training_seed_has_no_noise_and_is_left_out():
    scores = crossed({"mse": 0.0, "snap": 0.1})
    one = scores[(scores["k"] != 20.0) | (scores["train_seed"] == 0)]
    (row,) = (row for _, row in effects(one, "loss", "k").iterrows())
    assert row["over"] == "40 80"
    assert effects(scores[scores["train_seed"] == 0], "loss", "k").empty


def test_an_l0_that_lacks_an_sae_costs_the_others_no_seed():
    scores = crossed({"mse": 0.0, "snap": 0.1})
    lacking = (scores["loss"] == "snap") & (scores["k"] == 20.0) & (scores["train_seed"] == 0)
    (row,) = (row for _, row in effects(scores[~lacking], "loss", "k").iterrows())
    assert (row["over"], row["n_seeds"]) == ("40 80", 3)
    assert row["difference"] == pytest.approx(-0.1, abs=0.002)


def test_an_l0_with_a_seed_more_than_the_others_is_read_without_it():
    scores = crossed({"mse": 0.0, "snap": 0.1})
    (row,) = (
        row for _, row in effects(scores[(scores["k"] == 80.0) | (scores["train_seed"] != 2)], "loss", "k").iterrows()
    )
    assert (row["over"], row["n_seeds"]) == ("20 40 80", 2)
    assert row["difference"] == pytest.approx(-0.1, abs=0.002)


def test_several_settings_are_averaged_over_in_combination():
    flat, levels = (
        crossed({"mse": 0.0, "snap": 0.1}, architecture="batchtopk"),
        crossed({"mse": 0.3, "snap": 0.6}, architecture="matryoshka_batchtopk"),
    )
    levels[["sae", "run_id", "digest"]] += "-levels"
    (row,) = (row for _, row in effects(pd.concat([flat, levels]), "architecture", ["loss", "k"]).iterrows())
    assert row["over"] == "mse/20 mse/40 mse/80 snap/20 snap/40 snap/80"
    assert row["difference"] == pytest.approx(-0.4, abs=0.002)


@pytest.mark.parametrize(
    "pair", [("loss", "loss"), ("lost", "k"), ("loss", "train_seed"), ("loss", []), ("loss", ["k", "k"])]
)
def test_a_setting_that_is_none_is_refused(pair):
    with pytest.raises(BadInput, match="two or more of architecture, loss, width"):
        effects(crossed({"mse": 0.0}), *pair)
