"""The figures of `grow_delta`: families apart, the numbers beside the picture, and who is alive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hedgebench_evals.grow_delta import GrowDelta
from matplotlib.figure import Figure

from hedgebench.looks import Looks
from hedgebench.plots import draw_figures
from hedgebench.results import SCORES, _frame
from hedgebench.series import APART, points
from hedgebench.stats.intervals import mean_interval
from hedgebench.types import CannotMeasure

SHARES = [("delta_share", "", 0.4), ("null_share", "null=isotropic", 0.1), ("null_share", "null=reordered", 0.3)]
DEGREES = [("unclamped_degree", "", 0.2), ("unclamped_degree", "weights=encoder", 0.1)]
LIVE = ("live_added", "", 0.8)


def study(loss: str = "mse", times: float = 1.0, what: Any = (*SHARES, *DEGREES, LIVE)) -> list[dict[str, Any]]:
    """Two widths of two training seeds."""
    return [
        {
            **{"eval": "grow_delta", "metric": metric, "params": params, "slice_by": "all", "slice_value": "all"},
            **{"model": "tiny", "hook": "h", "architecture": "standard", "loss": loss, "config": "{}"},
            **{"sae": f"{loss}-{width}-{seed}", "width": width, "train_seed": seed},
            "value": times * value * (1 + 0.01 * seed) * 128 / width,
        }
        for metric, params, value in what
        for width in (128, 192)
        for seed in (0, 1)
    ]


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return _frame(rows, SCORES)


def draw(rows: list[dict[str, Any]], which: int = 0) -> Any:
    axes = Figure().add_subplot()
    GrowDelta.figures[which].draw(table(rows), axes)
    return axes


def means(axes: Any) -> list[list[float]]:
    """The values of the lines through widths."""
    return [list(line.get_ydata()) for line in axes.lines if list(line.get_xdata()) == [128, 192]]


def words(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_each_line_is_the_mean_over_training_seeds():
    axes = draw(study())
    expected = [[1.005 * v * 128 / w for w in (128, 192)] for _, _, v in SHARES]
    assert [pytest.approx(values) for values in expected] == means(axes)
    assert words(axes) == ["new rows", "random span", "no new latents, other data order"]
    assert words(draw(study(), 1)) == ["decoder rows", "encoder columns"]


def test_a_second_recipe_of_the_same_architecture_has_lines_of_its_own_and_a_name():
    axes = draw(study() + study("other", 0.5))
    (one, other), alone = sorted(means(axes)[:2], reverse=True), means(draw(study()))[0]
    assert one == pytest.approx(alone) and other == pytest.approx([0.5 * v for v in alone])
    assert len(means(axes)) == 2 * len(SHARES)
    assert words(axes)[-2:] == ["mse", "other"]


def test_recipes_that_cannot_be_told_apart_are_points_without_a_mean():
    axes = draw([*study(), *({**row, "sae": "other " + row["sae"]} for row in study(times=0.5))])
    assert means(axes) == [] and not axes.child_axes[0].lines
    assert sum(len(drawn.get_offsets()) for drawn in axes.collections) == 8 * len(SHARES)


@pytest.mark.parametrize(("which", "shown"), [(0, SHARES), (1, DEGREES)])
def test_the_numbers_of_the_figure_are_its_means_with_interval_seeds_and_live_share(which: int, shown: Any):
    found = GrowDelta.figures[which].table(table(study() + study("other", 0.5)))
    assert len(found) == 2 * 2 * len(shown)
    for metric, params, value in shown:
        rows = found[(found["metric"] == metric) & (found["params"] == params) & (found["loss"] == "mse")]
        for width, at in rows.set_index("width").iterrows():
            mean, low, high, n = mean_interval([value * (1 + 0.01 * seed) * 128 / width for seed in (0, 1)])
            assert [at["mean"], at["low"], at["high"], at["train_seeds"]] == pytest.approx([mean, low, high, n])
            assert at["live_added"] == pytest.approx(0.8 * 1.005 * 128 / width)


def test_the_live_share_of_the_new_latents_stands_above_the_values_on_the_same_widths():
    axes = draw(study())
    (above,) = axes.child_axes
    assert means(above) == [pytest.approx([0.8 * 1.005 * 128 / w for w in (128, 192)])]
    assert "live share" in above.get_ylabel() and above.get_xlim() == axes.get_xlim()
    assert above.get_position().y0 >= axes.get_position().y1 or above.bbox.y0 > axes.bbox.y1


def test_where_no_text_was_read_no_live_share_is_shown():
    rows = study(what=SHARES)
    assert not draw(rows).child_axes
    assert GrowDelta.figures[0].table(table(rows))["live_added"].isna().all()


def test_without_a_value_there_is_neither_figure_nor_table():
    for figure in GrowDelta.figures:
        for make in (lambda scores, figure=figure: figure.draw(scores, Figure().add_subplot()), figure.table):
            with pytest.raises(CannotMeasure, match="no grown SAE here has a"):
                make(table(study(what=[LIVE])))


def caption(rows: list[dict[str, Any]], which: int = 0) -> str:
    return GrowDelta.figures[which].caption(table(rows))


@pytest.mark.parametrize(("which", "shown"), [(0, SHARES[:1]), (1, DEGREES)])
def test_the_caption_says_where_each_line_goes_as_the_numbers_beside_it_do(which: int, shown: Any):
    said, numbers = caption(study(), which), GrowDelta.figures[which].table(table(study()))
    for metric, params, _ in shown:
        for at in numbers[(numbers["metric"] == metric) & (numbers["params"] == params)].itertuples():
            assert f"{at.mean:.3g} [{at.low:.3g}, {at.high:.3g}] at width {at.width}" in said
    assert said.count("(95 % over training seeds)") == len(shown)


def test_the_caption_says_at_how_many_widths_a_null_is_beaten():
    null = ("null_share", "null=isotropic")
    said = caption(study())
    assert said.endswith(
        "; against random span: above at 2 of 2 widths; against no new latents, other data order: above at 2 of 2 widths. "
        "Above and below: by 95 % intervals over training seeds that hold for all widths together."
    )
    assert "random span: below at 2 of 2 widths" in caption(study(what=[SHARES[0], (*null, 0.5)]))
    near = [row | {"value": row["value"] + 0.1 * row["train_seed"]} if row["params"] else row for row in study()]
    assert "random span: not to be told apart at any of 2 widths" in caption(near)
    alone = caption([row for row in study() if row["train_seed"] == 0])
    assert "random span: not to be told apart at any of 2 widths" in alone and "(95 %" not in alone
    assert caption(study(), 1).count("against 0: above at 2 of 2 widths") == 2


def test_a_sign_must_hold_for_all_widths_together():
    """At each width by itself the interval of the difference leaves 0 out, by a little."""
    rows = [
        row | {"value": 0.5 if row["metric"] == "null_share" else 1.4 + 0.1 * row["train_seed"]}
        for row in study(what=SHARES[:2])
    ]
    alone, together = (mean_interval([0.9, 1.0], level) for level in (0.95, 0.975))
    assert alone.low > 0 and together.low < 0
    assert "random span: not to be told apart at any of 2 widths" in caption(rows)


@pytest.mark.parametrize(("column", "other"), [("loss", "other"), ("eval_version", 2), ("k", 5.0)])
def test_families_look_as_they_do_elsewhere_and_are_told_apart_without_colours(column: str, other: Any):
    another = "" if column == "eval_version" else "another "  # a version measures the same SAEs
    rows = [*study(), *({**row, "sae": another + row["sae"], column: other} for row in study(times=2.0))]
    axes = draw(rows)
    assert len(means(axes)) == 2 * len(SHARES)
    ours = axes.get_legend().legend_handles[-2:]
    looks = {(h.get_marker(), h.get_markerfacecolor(), h.get_color()) for h in ours}
    assert len(looks) == 2
    everywhere = Looks(table(rows), "grow_delta")
    assert [h.get_marker() for h in ours] == [
        everywhere.of(group, *APART).marker
        for _, group in points(table(rows), "grow_delta", ("delta_share", "")).groupby("family")
    ]


def test_the_caption_of_two_recipes_names_each():
    said = caption(study() + study("other", 0.5))
    assert said.startswith("mse: new rows hold 0.402 ") and ". other: new rows hold 0.201 " in said


def test_the_numbers_lie_beside_the_picture(tmp_path: Path):
    names = [file.name for file in draw_figures(table(study()), tmp_path) if file.suffix in (".png", ".csv")]
    assert [name for name in names if name.startswith("grow_delta")] == [
        f"grow_delta-{name}-against-width.{suffix}" for name in ("share", "degree") for suffix in ("png", "csv")
    ]
    written = pd.read_csv(tmp_path / names[1], keep_default_na=False)
    assert written["params"].tolist() == ["", "", *["null=isotropic"] * 2, *["null=reordered"] * 2]
    assert [float(v) for v in written["mean"][:2]] == pytest.approx([0.4 * 1.005, 0.4 * 1.005 * 128 / 192])
