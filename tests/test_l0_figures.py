"""Figures against L0: which points and lines, and that what they say is what the table says."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest
from known_scores import alone, recipe, table
from matplotlib.figure import Figure

from hedgebench.l0_figures import Shown, draw_against_l0, l0_table, read_against_l0
from hedgebench.reading import reading
from hedgebench.stats.tables import comparisons, summary
from hedgebench.types import CannotMeasure

QUALITY = Shown("an_eval", "quality", label="how good")


def series(loss: str, start: float, at: tuple[int, ...] = (20, 40, 60), **more: Any) -> list[dict[str, Any]]:
    """Two training seeds at each of three L0s, .01 apart."""
    return [
        {**row, "sae": f"{row['sae']}-k{k}", "k": float(k), "l0": float(k)}
        for step, k in enumerate(at)
        for row in recipe(loss, [[start + 0.1 * step], [start + 0.1 * step + 0.01]], **more)
    ]


TWO = [*series("mse", 0.5), *series("snap", 0.7)]
CONTROL = alone("x/random", [0.6], architecture="random_control", loss=None, l0=41.0)


def draw(rows: list[dict[str, Any]]) -> Any:
    axes = Figure().add_subplot()
    draw_against_l0(table(rows), axes, QUALITY)
    return axes


def test_a_line_is_a_variants_means_over_training_seeds():
    lines = {line.get_label(): line for line in draw(TWO).lines}
    assert set(lines) == {"mse", "snap"}
    assert lines["mse"].get_xdata().tolist() == [20, 40, 60]
    assert lines["mse"].get_ydata().tolist() == pytest.approx([0.505, 0.605, 0.705])


def test_the_band_is_one_standard_deviation_over_training_seeds():
    band = draw(TWO).collections[0].get_paths()[0].vertices
    half = 0.01 / 2**0.5
    assert band[:, 1].min() == pytest.approx(0.505 - half) and band[:, 1].max() == pytest.approx(0.705 + half)
    assert l0_table(table(TWO), QUALITY)["sd"].tolist() == pytest.approx([half] * 6)


@pytest.mark.parametrize(("higher", "label"), [(True, "how good ↑"), (False, "how good ↓"), (None, "how good")])
def test_the_axis_says_which_way_is_better(higher: bool | None, label: str):
    assert draw([{**row, "higher_is_better": higher} for row in TWO]).get_ylabel() == label


def test_one_seed_has_a_line_and_no_band():
    found = l0_table(table([row for row in TWO if row["train_seed"] == 0]), QUALITY)
    assert found["sd"].isna().all() and found["train_seeds"].tolist() == [1] * 6


def test_several_evaluation_seeds_are_averaged_before_the_spread_over_training_seeds():
    rows = [
        {**row, "seed": seed, "value": row["value"] + shift} for row in TWO for seed, shift in ((0, -0.2), (1, 0.2))
    ]
    pd.testing.assert_frame_equal(l0_table(table(rows), QUALITY), l0_table(table(TWO), QUALITY))


def test_an_l0_that_was_measured_goes_before_the_checkpoints_own():
    measured = [{**row, "eval": "another", "metric": "l0", "value": row["l0"] + 3} for row in TWO]
    assert l0_table(table([*TWO, *measured]), QUALITY)["l0"].tolist() == [23, 43, 63] * 2


def test_a_control_among_the_saes_is_a_point_and_one_far_out_is_named():
    near = draw([*TWO, *CONTROL])
    (point,) = (line for line in near.lines if line.get_label() == "random_control")
    assert point.get_linestyle() == "None" and point.get_ydata().tolist() == [0.6]
    far = draw([*TWO, *({**row, "value": -50.0} for row in CONTROL)])
    assert far.get_xlabel() == "L0 (latents per token)\noutside: random_control\N{NO-BREAK SPACE}-50"
    assert far.get_ylim()[0] > 0 and not far.texts


def versions(rows: list[dict[str, Any]], shift: float) -> list[dict[str, Any]]:
    """The rows, and again as a second version of the eval measured them."""
    return [*rows, *({**row, "eval_version": 2, "value": row["value"] + shift} for row in rows)]


@pytest.mark.parametrize(("column", "other"), [("eval_version", 2), ("data", "b-text"), ("config", '{"n": 2}')])
def test_what_was_measured_in_two_ways_is_two_lines(column: str, other: Any):
    rows = [*series("mse", 0.5), *({**row, column: other, "value": row["value"] + 5} for row in series("mse", 0.5))]
    lines = draw(rows).lines
    assert sorted(line.get_ydata().tolist() for line in lines) == [
        pytest.approx([0.505, 0.605, 0.705]),
        pytest.approx([5.505, 5.605, 5.705]),
    ]
    assert len({line.get_label() for line in lines}) == 2
    assert len({line.get_markerfacecolor() for line in lines}) == 2
    assert l0_table(table(rows), QUALITY)["sd"].tolist() == pytest.approx([0.01 / 2**0.5] * 6)


def test_versions_are_told_by_the_legend_and_far_controls_of_each_by_itself():
    axes = draw([*versions(series("mse", 0.5), 0.1), *versions([{**row, "value": -50.0} for row in CONTROL], -10)])
    assert {line.get_label() for line in axes.lines} == {"batchtopk, mse, version 1", "batchtopk, mse, version 2"}
    said = axes.get_xlabel().replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ")
    assert said.endswith("outside: random_control, version 1 -50, random_control, version 2 -60")


def test_an_l0_that_another_eval_measured_in_two_ways_is_no_mean_of_both():
    measured = [
        {**row, "eval": "another", "metric": "l0", "value": row["l0"] + shift, "eval_version": version}
        for row in TWO
        for version, shift in ((1, 3), (2, 100))
    ]
    assert l0_table(table([*TWO, *measured]), QUALITY)["l0"].tolist() == [120, 140, 160] * 2
    fewer = [row for row in measured if row["eval_version"] == 1 or row["loss"] == "mse"]
    assert l0_table(table([*TWO, *fewer]), QUALITY)["l0"].tolist() == [23, 43, 63] * 2


def test_an_l0_of_the_same_eval_is_that_of_the_rows_own_version():
    own = [
        {**row, "metric": "l0", "value": row["l0"] + 10 * version, "eval_version": version}
        for row in series("mse", 0.5)
        for version in (1, 2)
    ]
    found = l0_table(table([*versions(series("mse", 0.5), 1.0), *own]), QUALITY).set_index("eval_version")["l0"]
    assert found["1"].tolist() == [30, 50, 70] and found["2"].tolist() == [40, 60, 80]


def test_saes_that_differ_in_the_weight_of_their_penalty_are_a_line_and_those_of_another_loss_weight_another():
    def swept(rest: str, start: float) -> list[dict[str, Any]]:
        return [
            {**row, "sae": f"{rest}-{row['sae']}", "objective": f"{rest}l1={row['k']:g}".strip(), "k": None}
            for row in series("mse", start)
        ]

    lines = draw([*swept("", 0.5), *swept("balance=0.25 ", 0.7)]).lines
    assert [line.get_xdata().tolist() for line in lines] == [[20, 40, 60]] * 2
    assert "None" not in {line.get_linestyle() for line in lines}
    assert len({(line.get_color(), line.get_label()) for line in lines}) == 2


def test_saes_that_are_no_series_are_not_joined():
    twins = [*alone("a", [0.5], l0=20.0), *alone("b", [0.6], l0=21.0)]
    assert {line.get_linestyle() for line in draw(twins).lines} == {"None"}


def test_widths_are_lines_of_their_own():
    wider = [{**row, "sae": "wide" + row["sae"], "width": 1024} for row in series("mse", 0.6)]
    assert {line.get_label() for line in draw([*series("mse", 0.5), *wider]).lines} == {
        "batchtopk mse, width 512",
        "batchtopk mse, width 1024",
    }


def test_an_sae_of_unknown_width_is_drawn_all_the_same():
    axes = draw([*series("mse", 0.5), *alone("theirs", [0.6], width=None, l0=30.0)])
    assert sorted(line.get_label() for line in axes.lines) == ["batchtopk mse", "batchtopk mse, width 512"]


def test_without_an_l0_there_is_no_figure():
    with pytest.raises(CannotMeasure, match="both a quality and an l0"):
        draw(alone("a", [0.5], k=None, architecture="standard"))


def test_what_is_read_off_the_figure_is_what_the_table_says():
    rows = table(
        [
            *recipe("mse", [[0.50], [0.51], [0.52]], l0=20.0),
            *recipe("l2", [[0.51], [0.50], [0.52]], l0=20.0),
            *recipe("snap", [[0.8], [0.81], [0.82]], l0=20.0),
        ]
    )
    said = reading(rows, "an_eval", "quality")
    pairs, ranked = comparisons(rows), summary(rows)
    (best,) = ranked.loc[ranked["rank"] == 1, "variant"]
    assert said == (
        f"quality: {pairs['apart'].sum()} of {len(pairs)} pairs can be told apart (95 %, all pairs together, over training seeds). Beaten by none: {best} (0.81)."
    )
    assert (int(pairs["apart"].sum()), best) == (2, "snap")


def test_a_difference_over_evaluation_seeds_is_said_to_be_one():
    rows = table([*alone("a", [0.5, 0.6, 0.55], l0=20.0), *alone("b", [0.8, 0.9, 0.85], l0=20.0)])
    assert "1 of 1 pairs" in reading(rows, "an_eval", "quality") and "over evaluation seeds" in reading(
        rows, "an_eval", "quality"
    )


def test_where_nothing_can_be_told_apart_that_is_said_and_none_is_best():
    rows = table([*recipe("mse", [[0.4], [0.5], [0.6]], l0=20.0), *recipe("l2", [[0.45], [0.5], [0.61]], l0=20.0)])
    said = "quality: none of 1 pairs can be told apart (95 %, all pairs together, over training seeds). Means are 0.5 to 0.52."
    assert reading(rows, "an_eval", "quality") == said


def test_each_version_is_read_by_itself():
    rows = [*recipe("mse", [[0.4], [0.41]], l0=20.0), *recipe("snap", [[0.8], [0.81]], l0=20.0)]
    said = reading(table(versions(rows, 1.0)), "an_eval", "quality")
    assert said == (
        "quality (version 1): 1 of 1 pairs can be told apart (95 %, all pairs together, over training seeds). Beaten by none: snap (0.805). "
        "quality (version 2): 1 of 1 pairs can be told apart (95 %, all pairs together, over training seeds). Beaten by none: snap (1.81)."
    )


def at_two_l0s(**better: Any) -> pd.DataFrame:
    """MSE is better at L0 20, and at L0 80 nothing is; where L0 is larger, both are better than either at 20."""
    rows = [
        *recipe("mse", [[0.50], [0.51], [0.52]], k=20.0, l0=20.0, recipe="a"),
        *recipe("snap", [[0.30], [0.31], [0.32]], k=20.0, l0=21.0, recipe="b"),
        *[row | {"sae": row["sae"] + "-80"} for row in recipe("mse", [[0.80], [0.81], [0.82]], k=80.0, l0=80.0)],
        *[row | {"sae": row["sae"] + "-80"} for row in recipe("snap", [[0.79], [0.82], [0.81]], k=80.0, l0=80.0)],
        *alone("x/random", [0.9], architecture="random_control", loss=None, l0=80.0),
        *alone("x/pca", [0.805], architecture="pca_control", loss=None, l0=80.0),
        *alone("x/permuted", [0.1], architecture="permuted_control", loss=None, l0=80.0),
    ]
    return table(row | better for row in rows)


def test_saes_of_like_l0_are_read_by_themselves_and_controls_that_nothing_beats_are_named():
    assert read_against_l0(at_two_l0s(), QUALITY) == (
        "quality, SAEs of like L0 compared (95 %, all pairs at an L0 together, over training seeds): at L0 20 to 21: 1 of 1 pairs can be told apart. Beaten by none: mse k 20 (0.51). "
        "At L0 80: none of 1 pairs can be told apart. Means are 0.807 to 0.81. "
        "By 95 % intervals of means, none is better than the control x/random (0.9); the best is not told apart from the control x/pca (0.805)."
    )
    low = read_against_l0(at_two_l0s(higher_is_better=False), QUALITY)
    assert "Beaten by none: snap k 20 (0.31). At L0 80:" in low
    assert low.endswith(
        "none is better than the control x/permuted (0.1); the best is not told apart from the control x/pca (0.805)."
    )
    assert "control" not in read_against_l0(at_two_l0s(higher_is_better=None), QUALITY)


def test_saes_are_held_to_a_control_by_the_intervals_of_the_means_of_the_table():
    rows = at_two_l0s()
    inside = rows[rows["l0"] == 80]
    trained = summary(inside[inside["loss"].notna()])
    assert trained["training_low"].max() < 0.805 < trained["training_high"].max() < 0.9
    assert trained["mean"].max() > 0.805  # bare means would say that it is beaten


def test_without_an_interval_nothing_is_said_of_controls():
    one = recipe("mse", [[0.5]], l0=40.0)
    assert read_against_l0(table([*one, *CONTROL]), QUALITY) == "quality: mse-s0 alone."
    two = recipe("mse", [[0.5], [0.6]], l0=40.0)
    assert "the best is not told apart from the control x/random" in read_against_l0(table([*two, *CONTROL]), QUALITY)


def test_where_there_are_only_controls_that_is_said():
    controls = [*CONTROL, *alone("y/random", [0.7], architecture="random_control", loss=None, l0=41.0)]
    assert read_against_l0(table(controls), QUALITY) == "quality: there are only controls."
    assert reading(table(controls), "an_eval", "quality") == "quality: there are only controls."


def test_a_caption_names_the_parameters_of_its_metric():
    rows = [row | {"params": "n=10"} for row in recipe("mse", [[0.5], [0.6]], l0=20.0)]
    assert read_against_l0(table(rows), Shown("an_eval", "quality", "n=10")) == "quality n=10: batchtopk alone."
    assert reading(table(rows), "an_eval", "quality", "n=10") == "quality n=10: batchtopk alone."


def with_a_blank() -> pd.DataFrame:
    """Two recipes of three training seeds, of which the third of MSE at L0 40 has another number only."""
    two = [*series("mse", 0.5, (20, 40, 80)), *series("snap", 0.7, (20, 40, 80))]
    third = [{**row, "sae": f"{row['sae']}-third", "train_seed": 2} for row in two if row["train_seed"] == 0]
    blank = [row for row in third if (row["loss"], row["k"]) == ("mse", 40.0)]
    return table([*two, *(row for row in third if row not in blank), *({**row, "metric": "size"} for row in blank)])


def test_a_line_goes_on_where_a_recipe_has_a_blank_whose_saes_are_small_points_beside_it():
    axes = Figure().add_subplot()
    draw_against_l0(with_a_blank(), axes, QUALITY)
    line, beside = (one for one in axes.lines if one.get_color() == axes.lines[0].get_color())
    assert line.get_xdata().tolist() == [20, 80] and line.get_linestyle() == "-"
    assert beside.get_xdata().tolist() == [40, 40] and beside.get_linestyle() == "None"
    assert beside.get_markersize() < line.get_markersize()
    assert len(axes.get_legend().get_texts()) == 2
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 0].min(), band[:, 0].max()) == (20, 80)


def test_a_recipe_that_only_a_blank_leaves_alone_is_not_said_to_have_too_few_seeds():
    said = read_against_l0(with_a_blank(), QUALITY)
    assert "At L0 40: snap k 40 alone. Left out: mse k 40 (1 of 3 SAEs without a number: mse-s0-k40-third). At" in said
    assert "too few" not in said


def test_an_l0_whose_neighbours_have_one_seed_has_a_bar_for_its_band():
    rows = [row for row in series("mse", 0.5) if row["k"] == 40 or row["train_seed"] == 0]
    ((_, _, (bar,)),) = draw(rows).containers
    half = 0.01 / 2**0.5
    assert bar.get_segments()[0].tolist() == [pytest.approx([40, 0.605 - half]), pytest.approx([40, 0.605 + half])]


def test_the_numbers_at_each_l0_are_summed_up_once(monkeypatch: pytest.MonkeyPatch):
    counted = Mock(side_effect=summary)
    monkeypatch.setattr("hedgebench.stats.tables.summary", counted)
    read_against_l0(at_two_l0s(), Shown("an_eval", "quality"))
    assert counted.call_count == 2


def test_a_recipe_with_a_blank_is_compared_with_none_and_named():
    rows = [row for row in recipe("mse", [[0.5], [0.51], [0.52]], l0=20.0)]
    rows += [row for row in recipe("snap", [[0.8], [0.81], [0.82]], l0=20.0)]
    rows += [row for row in recipe("l2", [[0.7], [0.71], [0.72]], l0=20.0)]
    whole = [row | {"metric": "size"} for row in rows]
    scores = table([*whole, *(row for row in rows if row["sae"] != "snap-s1")])
    said = read_against_l0(scores, Shown("an_eval", "quality"))
    assert said.endswith(
        "at L0 20: 1 of 1 pairs can be told apart. Beaten by none: l2 (0.71). Left out: snap (1 of 3 SAEs without a number: snap-s1)."
    )
    found = l0_table(scores, Shown("an_eval", "quality")).set_index("saes")
    assert found.loc["mse-s0 mse-s1 mse-s2", "train_seeds"] == 3
    assert found.loc[["snap-s0", "snap-s2"], "train_seeds"].tolist() == [
        1,
        1,
    ]  # each for itself: no mean is taken over a blank


def test_variants_that_are_alone_at_their_l0_are_compared_with_none():
    rows = table([*recipe("mse", [[0.5], [0.6]], l0=20.0), *recipe("snap", [[0.8], [0.9]], l0=80.0)])
    assert read_against_l0(rows, Shown("an_eval", "quality")) == "quality: no two variants have a like L0."
    assert "At L0 80: snap alone." in read_against_l0(
        table(
            [
                *recipe("mse", [[0.5], [0.6]], l0=20.0),
                *recipe("l2", [[0.5], [0.6]], l0=20.0),
                *recipe("snap", [[0.8], [0.9]], l0=80.0),
            ]
        ),
        Shown("an_eval", "quality"),
    )


def test_an_sae_without_this_number_is_a_blank_of_its_recipe():
    rows = [*recipe("mse", [[0.5], [0.51], [0.52]], l0=20.0), *recipe("snap", [[0.8], [0.81]], l0=20.0)]
    other = recipe("snap", [[1.0], [1.0], [1.0]], l0=20.0, metric="size")
    assert "1 of 1 pairs" in reading(table(rows), "an_eval", "quality")
    assert (
        reading(table([*rows, *other]), "an_eval", "quality")
        == "quality: mse alone. Left out: snap (1 of 3 SAEs without a number: snap-s2)."
    )


def test_one_seed_claims_nothing():
    assert (
        reading(table([*recipe("mse", [[0.5]]), *recipe("snap", [[0.9]])]), "an_eval", "quality")
        == "quality: too few seeds to tell a difference from noise."
    )
