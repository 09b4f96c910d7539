"""Verdicts on hand-made tables whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_regressions import drawn, recipes
from known_scores import alone, recipe, table
from scipy import stats

import hedgebench
from hedgebench.regression.rules import Rule, Rules
from hedgebench.types import BadInput


def verdicts(here: pd.DataFrame, before: pd.DataFrame, **rules) -> dict[str, str]:
    found = hedgebench.check(here, before, config=Rules(**rules)).findings
    return dict(zip(found["sae"], found["verdict"], strict=True))


def only(here: pd.DataFrame, before: pd.DataFrame, **rules) -> pd.Series:
    found = hedgebench.check(here, before, config=Rules(**rules)).findings
    assert len(found) == 1
    return found.iloc[0]


# --- nothing is noise -----------------------------------------------------------------------------------------------------------


def test_the_same_numbers_are_the_same():
    scores = table(recipes())
    report = hedgebench.check(scores, scores)
    assert set(report.findings["verdict"]) == {"same"} and report.code(strict=True) == 0


def test_a_better_end_that_was_turned_since_turns_no_verdict():
    here = drawing_nothing(0.9, higher_is_better=False)
    assert only(here, drawing_nothing(1.0, higher_is_better=True))["verdict"] == "worse"


def test_seeds_of_the_baseline_that_are_lost_leave_it_open():
    before = table(drawn())
    here = before[before["seed"] != 2]
    found = hedgebench.check(here, before)
    assert set(found.findings["verdict"]) == {"cannot tell"} and found.code(strict=True) == 3
    assert found.findings["reason"].str.startswith("no number here at evaluation seed 2 of the baseline").all()
    assert set(hedgebench.check(before, here).findings["verdict"]) == {
        "same"
    }  # more seeds than there were cost nothing
    other = before.assign(seed=before["seed"].replace({2: 7}))
    assert set(hedgebench.check(other, before).findings["verdict"]) == {"cannot tell"}


def test_an_sae_that_was_trained_again_into_the_same_folder_is_not_taken_for_a_new_one():
    before = drawing_nothing(1.0)
    rows = [{"sae": "a~x00000", "value": 1.0, "digest": "x"}, {"sae": "a~y00000", "value": 0.1, "digest": "y"}]
    report = hedgebench.check(table(rows), before)
    assert dict(zip(report.findings["sae"], report.findings["verdict"], strict=True)) == {
        "a~x00000": "same",
        "a~y00000": "cannot tell",
    }
    assert report.code(strict=True) == 3 and "two SAEs here are called a" in report.findings["reason"].iloc[0]


def drawing_nothing(value: float, **more) -> pd.DataFrame:
    return table([{"sae": "a", "value": value, "digest": "x", **more}])


def test_an_eval_that_draws_nothing_is_compared_exactly_up_to_a_float_tolerance():
    assert only(drawing_nothing(1 + 9e-6), drawing_nothing(1.0))["verdict"] == "same"
    assert only(drawing_nothing(1 - 2e-5), drawing_nothing(1.0))["verdict"] == "worse"
    assert only(drawing_nothing(1 + 2e-5), drawing_nothing(1.0))["verdict"] == "better"
    assert only(drawing_nothing(1 - 2e-5), drawing_nothing(1.0), float_tolerance=1e-4)["verdict"] == "same"
    assert only(drawing_nothing(0.9), drawing_nothing(1.0))["reason"] == "nothing of it is noise"


def test_the_better_end_is_the_metrics_own_and_the_configs_before_it():
    assert (
        only(drawing_nothing(0.9, higher_is_better=False), drawing_nothing(1.0, higher_is_better=False))["verdict"]
        == "better"
    )
    assert (
        only(drawing_nothing(0.9), drawing_nothing(1.0), metrics={"an_eval.quality": Rule(better=False)})["verdict"]
        == "better"
    )


def test_a_change_of_a_metric_without_a_better_end_is_undecided_until_the_config_names_one():
    sides = drawing_nothing(0.9, higher_is_better=None), drawing_nothing(1.0, higher_is_better=None)
    found = only(*sides)
    assert found["verdict"] == "cannot tell" and found["reason"].startswith("changed, and neither end is better")
    assert only(*sides, metrics={"an_eval.*": Rule(better=True)})["verdict"] == "worse"


def test_within_the_users_tolerance_is_the_same():
    rules = {"metrics": {"an_eval.quality": Rule(tolerance=0.2)}}
    assert only(drawing_nothing(0.9), drawing_nothing(1.0), **rules)["verdict"] == "same"
    assert only(drawing_nothing(0.7), drawing_nothing(1.0), **rules)["verdict"] == "worse"
    share = {"metrics": {"an_eval.quality": Rule(tolerance=0.02, relative=True)}}
    assert only(drawing_nothing(9.9), drawing_nothing(10.0), **share)["verdict"] == "same"
    assert only(drawing_nothing(9.7), drawing_nothing(10.0), **share)["verdict"] == "worse"


def test_an_ignored_metric_takes_no_part():
    scores = table(recipes() + recipes(metric="other"))
    found = hedgebench.check(scores, scores, config=Rules(metrics={"an_eval.other": Rule(ignore=True)})).findings
    assert set(found["metric"]) == {"quality"}


# --- no information -------------------------------------------------------------------------------------------------------------


def test_where_nothing_is_known_of_noise_nothing_is_worse():
    before, here = table(alone("a", [1.0], digest="x")), table(alone("a", [0.0], digest="y"))
    found = only(here, before)
    assert found["verdict"] == "cannot tell" and "what training again does by chance is not known" in found["reason"]
    drawn = only(here.assign(digest="x"), before)
    assert drawn["verdict"] == "cannot tell" and "a single evaluation seed" in drawn["reason"]
    plain = only(here.assign(digest=None), before.assign(digest=None))
    assert plain["verdict"] == "cannot tell"


def test_weights_that_are_not_known_are_the_same_where_all_numbers_are():
    scores = table(alone("a", [1.0, 2.0], digest=None))
    assert only(scores, scores)["verdict"] == "same"


def test_where_no_seed_moves_the_metric_its_noise_is_not_known_and_a_tolerance_settles_it():
    before = table([{**row, "value": 1.0} for row in recipes()])
    here = table([{**row, "value": 1.0 - 0.002 * (row["loss"] == "r0")} for row in recipes(side="again")])
    found = hedgebench.check(here, before).findings.set_index("sae")
    assert found.loc["r0", "verdict"] == "cannot tell" and "same value" in found.loc["r0", "reason"]
    assert set(found.loc[["r1", "r2", "r3"], "verdict"]) == {"same"}
    assert verdicts(here, before, metrics={"an_eval.quality": Rule(tolerance=0.001)})["r0"] == "worse"


def test_two_numbers_for_one_seed_are_none_and_it_is_said():
    before = table([*alone("a", [1.0]), {**alone("a", [2.0])[0], "run_id": "of another version"}])
    found = only(before, before)
    assert found["verdict"] == "cannot tell" and "two numbers for one seed" in found["reason"]


# --- what may be compared -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "old", "new", "said"),
    [
        ("eval_version", 1, 2, "cannot compare: eval version 1 in the baseline, 2 here"),
        ("config", '{"a": 1}', '{"a": 2}', 'cannot compare: config {"a": 1} in the baseline, {"a": 2} here'),
        ("data", "text-1", "text-2", "cannot compare: data text-1 in the baseline, text-2 here"),
        ("model", "m", "n", "cannot compare: model m in the baseline, n here"),
        ("hook", "h", None, "cannot compare: hook h in the baseline, unknown here"),
    ],
)
def test_numbers_made_in_another_way_are_never_compared_and_it_is_said(column: str, old, new, said: str):
    found = only(drawing_nothing(0.0, **{column: new}), drawing_nothing(9.0, **{column: old}))
    assert (found["verdict"], found["reason"]) == ("cannot tell", said)
    assert math.isnan(found["difference"])


def test_numbers_made_with_other_packages_are_never_compared_and_what_one_table_does_not_say_is_no_difference():
    older, younger = (drawing_nothing(1.0, made_with=f'{{"dtype": "float32", "torch": "{n}"}}') for n in (1, 2))
    found = only(younger, older)
    assert found["reason"] == 'cannot compare: made with {"torch": "1"} in the baseline, {"torch": "2"} here'
    silent = drawing_nothing(1.0, made_with='{"dtype": "float32"}')
    for other in (silent, drawing_nothing(1.0)):
        assert only(other, older)["verdict"] == only(older, other)["verdict"] == "same"


def test_of_two_long_configs_the_place_where_they_differ_is_shown():
    configs = ['{"a": ' + "1" * 100 + f', "n_batches": {n}, "z": {"9" * 100}}}' for n in (1, 2)]
    said = only(drawing_nothing(0.0, config=configs[1]), drawing_nothing(0.0, config=configs[0]))["reason"]
    assert '"n_batches": 1' in said and '"n_batches": 2' in said and len(said) < 160


def test_a_metric_on_one_side_only_is_missing_or_new():
    before = table(alone("a", [1.0]) + alone("a", [1.0], metric="old") + alone("b", [1.0]))
    here = table(alone("a", [1.0]) + alone("a", [1.0], metric="young") + alone("c", [1.0]))
    found = hedgebench.check(here, before).findings
    said = {(row.sae, row.metric): row.verdict for row in found.itertuples()}
    assert said == {
        ("a", "quality"): "same",
        ("a", "old"): "missing",
        ("a", "young"): "new",
        ("b", "quality"): "missing",
        ("c", "quality"): "new",
    }


def test_a_blank_is_missing():
    before = table(drawn())
    here = before.assign(value=before["value"].where(before["sae"] != "sae0"))
    found = hedgebench.check(here, before).findings.set_index("sae")["verdict"]
    assert found["sae0"] == "missing" and set(found.drop("sae0")) == {"same"}


def test_of_a_recipe_trained_again_saes_without_the_metric_are_missing_and_the_rest_is_compared():
    before, here = table(recipes()), table(recipes(side="again"))
    found = hedgebench.check(
        pd.concat([here, table(recipes(side="again", metric="m"))]),
        pd.concat([before[before["sae"] != "r0-s1"], table(recipes(metric="m"))]),
    ).findings
    rows = found[found["metric"] == "quality"].set_index("sae")
    assert rows.loc["r0-s1", "verdict"] == "new" and rows.loc["r0", "saes"] == "r0-s0 r0-s2"


def test_controls_and_numbers_about_subsets_take_no_part():
    rows = (
        alone("a", [1.0])
        + alone("a/random", [0.0], architecture="random_control")
        + alone("a", [0.0], slice_by="letter", slice_value="x")
    )
    report = hedgebench.check(table(rows), table(rows))
    assert len(report.findings) == 1 and report.notes == (
        "1 controls take no part",
        "1 numbers about subsets take no part",
    )


def test_with_nothing_to_compare_nothing_passes():
    with pytest.raises(BadInput, match="nothing to compare: no SAE of the results is in the baseline"):
        hedgebench.check(table(alone("a", [1.0])), table(alone("b", [1.0])))
    with pytest.raises(BadInput, match="the baseline: there is no number to compare"):
        hedgebench.check(table(alone("a", [1.0])), table(alone("a", [1.0])).iloc[:0])


def test_an_entry_of_the_config_that_speaks_of_nothing_is_told():
    scores = table(alone("a", [1.0]))
    with pytest.raises(BadInput, match=r"f:2: no metric is called 'an_eval.qualty'; did you mean 'an_eval.quality'"):
        hedgebench.check(
            scores,
            scores,
            config=Rules(metrics={"an_eval.qualty": Rule()}, where={("metrics", "an_eval.qualty"): "f:2"}),
        )
    with pytest.raises(BadInput, match="f:3: no SAE in the baseline is called 'c'"):
        hedgebench.check(scores, scores, config=Rules(match={"a": "c"}, where={("match", "a"): "f:3"}))


# --- noise ----------------------------------------------------------------------------------------------------------------------


def test_a_recipe_trained_again_is_judged_by_what_training_does_in_closed_form():
    before, here = table(recipes()), table(recipes(shift=-9.0, seed=1, side="again"))
    row = hedgebench.check(here, before).findings.set_index("sae").loc["r0"]
    old, new = (
        frame.pivot_table(index="loss", columns="train_seed", values="value").to_numpy(float)
        for frame in (before, here)
    )
    variances = np.concatenate([old.var(axis=1, ddof=1), new.var(axis=1, ddof=1)]).reshape(2, 4)
    own, others = variances[:, 0].mean(), variances[:, 1:].mean()
    variance = max(own, (4 * own + 5 * others) / 9)
    difference, error = new[0].mean() - old[0].mean(), math.sqrt(variance * 2 / 3)
    assert row["difference"] == pytest.approx(difference) and row["verdict"] == "worse"
    assert row["p"] == pytest.approx(4 * 2 * stats.t.sf(-difference / error, 4))  # the recipe's own seeds alone
    assert row["high"] == pytest.approx(difference + stats.t.ppf(0.975, 5) * error)
    assert row["margin"] == pytest.approx(1.96 * math.sqrt(2 * variance))
    assert row["detectable"] == pytest.approx((stats.t.isf(0.01 / 8, 4) + stats.t.ppf(0.9, 4)) * error)


def test_one_sae_trained_again_is_judged_by_the_baselines_recipes():
    before = table(recipes())
    here = before.copy()
    mine = here["sae"] == "r0-s0"
    here.loc[mine, "value"] -= 40.0
    here.loc[mine, "digest"] = "other"
    found = verdicts(here, before)
    assert found.pop("r0-s0") == "worse" and set(found.values()) == {"same"}
    small = before.copy()
    small.loc[mine, "digest"] = "other"
    assert verdicts(small, before)["r0-s0"] == "cannot tell"  # two single trainings cannot show that nothing changed


def test_many_seeds_show_that_nothing_changed():
    found = verdicts(table(recipes(seed=1, side="again", n=12)), table(recipes(n=12)))
    assert set(found.values()) == {"same"}


def test_the_same_weights_on_other_draws_are_judged_by_what_drawing_does():
    before, here = table(drawn(together=0.0)), table(drawn(shift=-9.0, seed=1, together=0.0))
    found = verdicts(here, before)
    assert found.pop("sae0") == "worse" and set(found.values()) <= {"same", "cannot tell"}


def test_what_the_seeds_do_to_all_alike_is_no_change_of_any():
    assert "worse" not in verdicts(table(drawn(seed=1, together=30.0)), table(drawn(together=30.0))).values()


def test_at_shared_seeds_what_they_do_to_all_alike_cancels_for_recipes():
    def made(seed: int, side: str, shift: float = 0.0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        alike = 50 * np.random.default_rng(9).normal(size=3)
        rows = []
        for i in range(4):
            values = alike + rng.normal(size=(3, 1)) + 0.1 * rng.normal(size=(3, 3)) + (shift if i == 0 else 0.0)
            rows += [{**row, "digest": row["sae"] + side} for row in recipe(f"r{i}", values)]
        return table(rows)

    before, here = made(0, ""), made(1, "again", shift=-12.0)
    assert verdicts(here, before)["r0"] == "worse"
    elsewhere = here.assign(seed=here["seed"] + 3)  # no seed in common: what the seeds do is noise, too
    assert verdicts(elsewhere, before)["r0"] == "same"  # two values of one SAE differ by more


def test_judged_as_checkpoints_other_weights_differ_by_what_they_do_at_the_same_seeds():
    rng = np.random.default_rng(0)
    alike, rest = 30 * rng.normal(size=5), 0.1 * rng.normal(size=(2, 6, 5))
    before = table([row for i in range(6) for row in alone(f"s{i}", alike + rest[0, i], digest=f"{i}")])
    here = table(
        [row for i in range(6) for row in alone(f"s{i}", alike + rest[1, i] - 3 * (i == 0), digest=f"{i} again")]
    )
    assert set(verdicts(here, before).values()) == {"cannot tell"}
    found = verdicts(here, before, judge="checkpoints")
    assert found.pop("s0") == "worse" and set(found.values()) <= {"same", "cannot tell"}
    exact = verdicts(drawing_nothing(0.9, digest="y"), drawing_nothing(1.0), judge="checkpoints")
    assert exact == {"a": "worse"}


def test_the_same_weights_in_another_run_are_not_the_same_sae():
    before = table(alone("a", [1.0, 2.0, 3.0]))
    here = before.assign(value=before["value"] - 5, run_id=before["run_id"] + " in bfloat16")
    assert "not the same run" in only(here, before)["reason"]


def test_a_tolerance_moves_what_counts_as_a_change():
    before, here = table(recipes()), table(recipes(shift=-9.0, seed=1, side="again"))
    assert verdicts(here, before)["r0"] == "worse"
    wide = verdicts(here, before, metrics={"an_eval.quality": Rule(tolerance=20.0)})
    assert set(wide.values()) == {"same"}


def test_more_that_is_compared_asks_more_of_each():
    before, here = recipes(), recipes(shift=-9.0, seed=1, side="again")
    few = hedgebench.check(table(here), table(before)).findings.set_index("sae").loc["r0"]
    more = [[{**row, "metric": f"m{i}"} for i in range(9) for row in rows] for rows in (here, before)]
    many = hedgebench.check(table(here + more[0]), table(before + more[1])).findings
    row = many[(many["sae"] == "r0") & (many["metric"] == "quality")].iloc[0]
    assert row["p"] > few["p"] and row["detectable"] > few["detectable"]


@pytest.mark.parametrize("size", [1e101, 1e300, 1e-110])
@pytest.mark.filterwarnings("error")
def test_numbers_whose_squares_no_float_holds_are_not_judged_and_it_is_said(size: float):
    before, here = (
        table([{**row, "value": row["value"] * size} for row in recipes(seed=s, side=f"{s}")]) for s in (0, 1)
    )
    assert set(verdicts(before, before).values()) == {"same"}
    found = hedgebench.check(here, before).findings
    assert set(found["verdict"]) == {"cannot tell"} and all(
        "have no noise that a float64 holds" in said for said in found["reason"]
    )


# --- properties -----------------------------------------------------------------------------------------------------------------

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)
TABLES = st.lists(st.lists(VALUES, min_size=2, max_size=3), min_size=2, max_size=4)
OPPOSITE = {"worse": "better", "better": "worse"}


@settings(max_examples=10, deadline=None)
@given(TABLES)
def test_a_table_is_never_better_or_worse_than_itself(values: list[list[float]]):
    scores = table([row for i, one in enumerate(values) for row in alone(f"s{i}", one)])
    assert set(hedgebench.check(scores, scores).findings["verdict"]) == {"same"}


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=3), min_size=2, max_size=4), st.booleans())
def test_swapping_the_sides_swaps_better_and_worse(values: list[list[tuple[float, float]]], again: bool):
    def made(side: int) -> pd.DataFrame:
        mine = [[pair[side] for pair in one] for one in values]
        if again:
            rows = [row for i, one in enumerate(mine) for row in recipe(f"r{i}", [[value] for value in one])]
            return table([{**row, "digest": f"{row['sae']} {side}"} for row in rows])
        return table([row for i, one in enumerate(mine) for row in alone(f"s{i}", one)])

    there, back = (verdicts(made(side), made(1 - side)) for side in (0, 1))
    assert {name: OPPOSITE.get(verdict, verdict) for name, verdict in there.items()} == back


def test_a_recipe_of_one_training_seed_borrows_no_noise_of_others():
    before = table([*recipes(), *alone("once", [100.0], digest="x")])
    here = table([*recipes(side="again", seed=1), *alone("once", [0.0], digest="y")])
    found = hedgebench.check(here, before).findings.set_index("sae").loc["once"]
    assert found["verdict"] == "cannot tell" and "a single training seed" in found["reason"]


def test_an_sae_that_is_far_noisier_than_all_others_is_judged_by_its_own_seeds():
    def made(seed: int, noisy: list[float]) -> pd.DataFrame:
        quiet = 100 + 1e-2 * np.random.default_rng(seed).normal(size=(40, 3))
        return table([row for i in range(40) for row in alone(f"sae{i}", quiet[i])] + alone("noisy", noisy))

    before, here = [90.0, 100.0, 110.0], [20.0, 27.0, 34.0]
    found = hedgebench.check(made(1, here), made(0, before)).findings.set_index("sae").loc["noisy"]
    assert found["p"] == pytest.approx(41 * stats.ttest_ind(before, here).pvalue) and found["p"] > 0.01
    assert found["verdict"] == "cannot tell"


def test_counts_of_which_all_seeds_fall_on_one_step_here_and_on_the_next_there_are_no_change():
    def made(values: list[int]) -> pd.DataFrame:
        return table([row for i in range(8) for row in alone(f"sae{i}", [0, 0, 1, 0, 0] if i else values)])

    assert verdicts(made([1] * 5), made([0] * 5))["sae0"] != "worse"
    assert verdicts(made([-9] * 5), made([0] * 5))["sae0"] == "worse"


def test_a_config_that_ignores_all_there_is_has_nothing_to_compare():
    scores = table(recipes())
    with pytest.raises(BadInput, match="the config ignores every metric"):
        hedgebench.check(scores, scores, config=Rules(metrics={"*": Rule(ignore=True)}))
