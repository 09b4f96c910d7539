"""The figures of numbers against the width: which points, which lines, and what they say."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hedgebench_evals.bias_alignment import BiasAlignment
from hedgebench_evals.decoder_bias import DecoderBias
from matplotlib.figure import Figure

from hedgebench.figures import short
from hedgebench.plots import draw_figures
from hedgebench.results import SCORES, _frame
from hedgebench.types import CannotMeasure

HOOK = "blocks.8.hook_resid_post"


def row(width: int, value: float, **more: Any) -> dict[str, Any]:
    sae = more.pop("sae", f"{more.get('architecture', 'standard')}-{width}-{more.get('l0')}-{more.get('train_seed')}")
    said = {"eval": "decoder_bias", "metric": "b_dec_norm", "params": "", "slice_by": "all", "slice_value": "all"}
    said |= {"model": "tiny", "hook": HOOK, "architecture": "standard", "config": "{}", "run_id": sae, "digest": sae}
    return {**said, "sae": sae, "width": width, "value": value, **more}


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return _frame(rows, SCORES)


def draw(rows: list[dict[str, Any]], which: Any = DecoderBias) -> Any:
    axes = Figure().add_subplot()
    which.figures[0].draw(table(rows), axes)
    return axes


def points(axes: Any) -> list[list[tuple[float, float]]]:
    return [sorted(map(tuple, c.get_offsets().tolist())) for c in axes.collections]


def words(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_each_sae_is_a_point_and_its_l0_a_colour():
    rows = [row(2**i, 3.0 + l0 / 100, l0=l0) for i, l0 in itertools.product((14, 16, 20), (22, 82, 176))]
    axes = draw(rows)
    assert points(axes) == [sorted((r["width"], r["value"]) for r in rows)]
    assert axes.get_xscale() == "log" and not axes.lines  # one width has several SAEs: nothing joins them
    colours = axes.collections[0].get_facecolors()
    assert len({tuple(c) for c in colours}) == 3
    (bar,) = [a for a in axes.figure.axes if a is not axes]
    assert bar.get_ylabel() == "L0 (latents per token)"


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (22, 176, ["22", "50", "100", "176"]),
        (19, 105, ["19", "50", "105"]),  # 20 and 100 would lie under the labels of the ends
        (24, 30, ["24", "30"]),
        (20, 200, ["20", "50", "100", "200"]),
        (0.2, 60000, ["0.2", "1", "10", "100", "1,000", "10,000", "60,000"]),
    ],
)
def test_the_scale_of_colours_names_its_ends_and_round_l0s_between(low: float, high: float, labels: list[str]):
    axes = draw([row(64, 3.0, l0=low), row(128, 4.0, l0=high)])
    (bar,) = [a for a in axes.figure.axes if a is not axes]
    axes.figure.draw_without_rendering()
    drawn = [t for t in bar.yaxis.get_ticklabels(which="both") if t.get_text()]
    assert [t.get_text() for t in drawn] == labels
    boxes = [t.get_window_extent() for t in drawn]
    assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))
    assert bar.get_ylim() == pytest.approx((low, high))


def test_l0s_that_are_nearly_one_are_no_scale():
    axes = draw([row(64, 3.0, l0=19.99), row(128, 4.0, l0=20.01)])
    assert len(axes.figure.axes) == 1


def test_training_seeds_are_small_points_and_their_mean_a_large_one_on_a_line():
    rows = [row(w, v + s, train_seed=s) for w, v in ((64, 9.0), (128, 5.0), (256, 7.0)) for s in (0, 2)]
    axes = draw(rows)
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[64, 10], [128, 6], [256, 8]]
    seeds, means = axes.collections
    assert points(axes)[0] == sorted((r["width"], r["value"]) for r in rows)
    assert points(axes)[1] == [(64, 10), (128, 6), (256, 8)]
    assert means.get_sizes()[0] > 2 * seeds.get_sizes()[0]


def test_families_have_markers_and_words_for_what_tells_them_apart():
    rows = [
        row(w, w / 64, architecture=a, k=k)
        for w in (64, 512)
        for a, k in (("standard", None), ("topk", 8), ("topk", 16))
    ]
    axes = draw(rows)
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["standard", "topk, k = 16", "topk, k = 8"]
    assert len(axes.lines) == 3
    assert draw(rows[:1]).get_legend() is None


def test_the_models_dimension_is_marked_where_it_is_known():
    rows = [row(w, v) for w, v in ((64, 9.0), (2048, 12.0))]
    assert not [line for line in draw(rows).lines if line.get_linestyle() == "--"]
    size = [{**r, "metric": "d_in", "value": 576.0} for r in rows]
    axes = draw(rows + size)
    (mark,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert set(mark.get_xdata()) == {576}
    assert words(axes) == ["d_model = 576"] and not axes.texts  # words at the line would lie over points
    head = [{**r, "hook": "blocks.8.attn.hook_z"} for r in rows + size]
    assert words(draw(head)) == ["d_in = 576"]


def test_families_of_one_width_stand_beside_each_other_and_the_axis_says_the_width():
    rows = [row(512, 3.0, loss="mse"), row(512, 3.0, loss="snap", sae="other")]
    axes = draw(rows + [{**r, "metric": "d_in", "value": 576.0} for r in rows])
    assert points(axes) == [[(0, 3)], [(1, 3)]] and axes.get_xlabel() == "width 512, d_model = 576"


def test_relative_norms_are_means_over_evaluation_seeds_of_one_text_beside_the_line_of_a_whole_mean():
    def of(width: int, value: float, seed: int, data: str = "text:a") -> dict[str, Any]:
        return row(
            width, value, eval="bias_alignment", metric="relative_norm_of_mean", seed=seed, data=data, sae=str(width)
        )

    axes = draw([of(64, 0.5, 0), of(64, 0.7, 1), of(128, 0.9, 0), of(128, 0.9, 1)], BiasAlignment)
    assert points(axes) == [[(64, pytest.approx(0.6)), (128, pytest.approx(0.9))]]
    assert any(set(line.get_ydata()) == {1.0} for line in axes.lines)
    apart = draw([of(64, 0.5, 0), of(64, 0.7, 0, "text:b"), of(128, 0.9, 0)], BiasAlignment)
    assert sorted(point for drawn in points(apart) for point in drawn) == [(64, 0.5), (64, 0.7), (128, 0.9)]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ({"eval_version": [1, 2]}, ["version 1", "version 2"]),
        ({"data": ["a", "b"]}, ["a", "b"]),
        ({"config": ['{"n": 1}', '{"n": 2}']}, ["n = 1", "n = 2"]),
    ],
)
@pytest.mark.parametrize("by_l0", [True, False])
def test_what_was_measured_in_two_ways_is_two_lines_of_other_looks_and_names(
    what: dict[str, list[Any]], names: list[str], by_l0: bool
):
    (column, (one, other)), values = next(iter(what.items())), {64: 4.0, 128: 3.0}
    rows = [
        row(w, v * times, **{column: way}, l0=w / 4 if by_l0 else None, sae=str(w))
        for w, v in values.items()
        for way, times in ((one, 1), (other, 10))
    ]
    axes = draw(rows)
    assert points(axes) == [[(w, v * times) for w, v in values.items()] for times in (1, 10)]
    assert len(axes.lines) == 2 and words(axes) == names
    first, second = axes.collections
    assert first.get_facecolors().tolist() != second.get_facecolors().tolist()
    shown = {(line.get_markerfacecolor(), str(line.get_linestyle())) for line in axes.get_legend().legend_handles}
    assert len(shown) == 2
    assert set(DecoderBias.figures[0].table(table(rows))["mean"]) == {4.0, 3.0, 40.0, 30.0}


def test_where_l0_is_the_colour_the_line_and_the_marker_are_still_the_recipes():
    rows = [row(w, 3.0 + len(loss), loss=loss, l0=w, sae=f"{loss}{w}") for loss in ("mse", "l2") for w in (64, 128)]
    axes = draw(rows)
    assert len({line.get_color() for line in axes.lines}) == 2
    assert len({tuple(map(tuple, c.get_paths()[0].vertices.tolist())) for c in axes.collections}) == 2


def test_without_a_value_there_is_no_figure():
    with pytest.raises(CannotMeasure, match="no SAE here has a b_dec_norm"):
        draw([row(64, 1.0, metric="b_dec_relative_norm")])


def test_a_bias_of_zero_is_drawn_at_zero():
    axes = draw([row(64, 0.0), row(128, 3.0)])
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] == 0


def test_the_figures_and_their_numbers_are_files_in_the_plots_folder(tmp_path: Path):
    files = draw_figures(table([row(64, 1.0, train_seed=0), row(64, 2.0, train_seed=1), row(128, 2.0)]), tmp_path)
    names = [f"decoder_bias-norm_against_width.{kind}" for kind in ("png", "svg", "csv")]
    assert [f.name for f in files][:3] == names
    numbers = pd.read_csv(files[2])
    assert numbers["width"].tolist() == [64, 128] and numbers["mean"].tolist() == [1.5, 2.0]
    assert numbers["train_seeds"].tolist() == [2, 1] and numbers["low"].isna().tolist() == [False, True]


def test_the_widths_of_a_series_that_grows_by_equal_steps_have_labels_that_do_not_touch():
    rows = [row(w, 3.0, l0=w) for w in range(64, 513, 64)]
    axes = draw(rows + [{**r, "metric": "d_in", "value": 576.0} for r in rows])
    axes.figure.draw_without_rendering()
    labels = [t for t in axes.get_xticklabels() if t.get_text()]
    assert [t.get_text() for t in labels] == ["64", "128", "192", "256", "320", "384", "512"]
    boxes = [t.get_window_extent() for t in labels]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    assert len(axes.get_xticks()) == 8


@pytest.mark.parametrize(
    ("value", "text"),
    [(64, "64"), (1024, "1k"), (16384, "16k"), (2**20, "1M"), (2304, "2,304"), (0.25, "0.25"), (3.14159, "3.142")],
)
def test_numbers_on_axes_are_short(value: float, text: str):
    assert short(value) == text


def gallery() -> list[dict[str, Any]]:
    """Rows of a figure worth looking at."""
    rows = []
    for (loss, lift), seed, i in itertools.product((("mse", 1.0), ("l2", 0.8), ("snap", 0.5)), (0, 1, 2), range(6, 14)):
        value = lift * (4 + (i - 9.2) ** 2) * (1 + 0.05 * seed)
        rows.append(row(2**i, value, loss=loss, train_seed=seed, sae=f"{loss}-{i}-{seed}"))
    return rows + [{**r, "metric": "d_in", "value": 576.0} for r in rows]


def test_the_caption_says_where_each_line_of_several_widths_goes():
    rows = [row(w, v + 0.5 * s, train_seed=s) for w, v in ((64, 4.0), (128, 3.0), (256, 2.0)) for s in (0, 1)]
    numbers = DecoderBias.figures[0].table(table(rows))
    first, last = (f"{at.mean:.3g} [{at.low:.3g}, {at.high:.3g}] at width {at.width}" for at in numbers.iloc[[0, 2]].itertuples())  # fmt: skip
    assert DecoderBias.figures[0].caption(table(rows)).endswith(f" {first}, {last} (95 % over training seeds).")
    alone = DecoderBias.figures[0].caption(table([row(64, 4.0, l0=20), row(64, 5.0, l0=40), row(128, 3.0)]))
    assert alone.endswith(" 4 to 5 (2 SAEs) at width 64, 3 at width 128.")
    one = DecoderBias.figures[0].caption(table([row(64, 4.0), row(64, 5.0, sae="another", loss="snap")]))
    assert one == "b_dec_norm: too few seeds to tell a difference from noise."
