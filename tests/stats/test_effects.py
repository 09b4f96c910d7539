"""What one setting does, averaged over another: against statsmodels, and of tables whose truth is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from known_scores import recipe, table
from scipy import stats

from hedgebench.stats.effects import effects
from hedgebench.stats.pairwise import compare, compare_averaged
from hedgebench.stats.power import detectable, power
from hedgebench.types import BadInput

KS = (20.0, 40.0, 80.0)


def cells(v: int = 3, b: int = 4, n: int = 3, seed: int = 0, step: float = 0.5) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [[rng.normal(i * step + 10 * j, 1.0, n) for j in range(b)] for i in range(v)]


def crossed(shift: dict[str, float], noise: float = 0.001, **more: Any) -> pd.DataFrame:
    """Losses at three L0s, three training seeds each: the value is k / 100, what the loss adds, and a little noise."""
    rng = np.random.default_rng(3)
    rows = []
    for loss, add in shift.items():
        for k in KS:
            values = [[k / 100 + add + noise * rng.normal()] for _ in range(3)]
            rows += [{**row, "sae": f"{row['sae']}-{k}"} for row in recipe(loss, values, k=k, **more)]
    return table(rows)


def test_averaged_over_one_block_they_are_plain_comparisons():
    groups = [row[0] for row in cells()]
    for pooled in (True, False):
        one, other = compare(groups, pooled), compare_averaged([[group] for group in groups], pooled)
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_pooled_ones_are_contrasts_of_the_linear_model_with_all_cells():
    made = cells()
    frame = pd.DataFrame(
        [{"v": f"v{i}", "b": f"b{j}", "y": y} for i, row in enumerate(made) for j, cell in enumerate(row) for y in cell]
    )
    model = smf.ols("y ~ 0 + v:b", frame).fit()
    ours = compare_averaged(made, pooled=True)
    for k, (i, j) in enumerate(zip(ours.first, ours.second, strict=True)):
        weights = [(f"v[v{i}]:" in name) / 4 - (f"v[v{j}]:" in name) / 4 for name in model.params.index]
        theirs = model.t_test(weights)
        assert (ours.difference[k], ours.stderr[k]) == pytest.approx((theirs.effect[0], theirs.sd[0, 0]))
        assert ours.df[k] == theirs.df_denom == 24


def test_those_that_are_not_pooled_have_satterthwaites_degrees_of_freedom():
    made = [[np.array([0.0, 2.0]), np.array([0.0, 4.0])], [np.array([0.0, 2.0]), np.array([0.0, 2.0])]]
    parts = np.array([1.0, 4.0, 1.0, 1.0]) / 4  # variance / n / blocks^2, of 2, 8, 2 and 2 at n = 2
    ours = compare_averaged(made, pooled=False)
    assert ours.stderr[0] ** 2 == pytest.approx(parts.sum())
    assert ours.df[0] == pytest.approx(parts.sum() ** 2 / (parts**2).sum())


@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_false_differences_are_as_rare_as_promised_also_where_cells_differ_in_noise(spread):
    rng = np.random.default_rng(1)
    sd = np.array([1.0, 1.0, spread, 1.0])
    drawn = (sd[None, :, None] * rng.normal(size=(3, 4, 3)) for _ in range(1000))
    false = np.mean([(compare_averaged(made).adjusted < 0.05).any() for made in drawn])
    assert false < stats.binom.ppf(0.999, 1000, 0.05) / 1000


def test_what_can_be_detected_is_found_four_times_in_five():
    rng, least = np.random.default_rng(2), detectable(1.0, 3, 3, blocks=4)
    shift = np.array([least, 0.0, 0.0])[:, None, None]
    found = np.mean([compare_averaged(shift + rng.normal(size=(3, 4, 3))).adjusted[0] < 0.05 for _ in range(1000)])
    assert found == pytest.approx(0.8, abs=0.05)
    assert power(least, 1.0, 3, 3, blocks=4) == pytest.approx(0.8)


def test_more_blocks_find_smaller_differences():
    assert detectable(1.0, 3, 3, blocks=4) < detectable(1.0, 3, 3, blocks=2) < detectable(1.0, 3, 3)
    assert detectable((1.0, 2.0), 3, 3, blocks=4) < detectable((1.0, 2.0), 3, 3)


def test_an_effect_is_what_a_setting_adds_whatever_the_other_does():
    found = effects(crossed({"mse": 0.0, "snap": 0.1}), "loss", "k")
    (row,) = (row for _, row in found.iterrows())
    assert (row["first"], row["second"], row["over"], row["n_saes"]) == ("mse", "snap", "20 40 80", 9)
    assert row["difference"] == pytest.approx(-0.1, abs=0.002) and row["low"] < -0.1 < row["high"]
    assert row["apart"] and row["better"] == "second"
    assert (row["first_mean"], row["second_mean"]) == pytest.approx((1.4 / 3, 1.4 / 3 + 0.1), abs=0.002)
    assert row["sd"] < 0.002 and row["detectable"] == pytest.approx(detectable(row["sd"], 3, 2, blocks=3), rel=0.05)


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


def test_a_cell_of_one_training_seed_has_no_noise_and_is_left_out():
    scores = crossed({"mse": 0.0, "snap": 0.1})
    one = scores[(scores["k"] != 20.0) | (scores["train_seed"] == 0)]
    (row,) = (row for _, row in effects(one, "loss", "k").iterrows())
    assert row["over"] == "40 80"
    assert effects(scores[scores["train_seed"] == 0], "loss", "k").empty


@pytest.mark.parametrize("pair", [("loss", "loss"), ("lost", "k"), ("loss", "train_seed")])
def test_a_setting_that_is_none_is_refused(pair):
    with pytest.raises(BadInput, match="two of architecture, loss, width"):
        effects(crossed({"mse": 0.0}), *pair)
