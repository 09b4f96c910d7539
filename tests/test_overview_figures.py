"""The figures of any scores table, and the files that `hedgebench plot` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from known_scores import alone, recipe, table
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hedgebench import overview_figures as overview
from hedgebench.looks import Looks
from hedgebench.plots import draw_figures
from hedgebench.results import read_table, write_table
from hedgebench.types import BadInput, CannotMeasure

SEEDS = [*recipe("mse", [[0.50, 0.52], [0.51, 0.53]]), *recipe("snap", [[0.80, 0.82], [0.81, 0.83]])]
QUIET = [{**row, "metric": "quiet", "value": 100 + row["value"]} for row in SEEDS]


def latents(sae: str, centre: float, n: int = 40, **more: Any) -> list[dict[str, Any]]:
    values = centre + np.linspace(-0.1, 0.1, n)
    rows = [
        {"sae": sae, "metric": "spread", "slice_by": "latent", "slice_value": str(i), "value": v}
        for i, v in enumerate(values)
    ]
    return [{**row, **more} for row in rows]


def test_the_noise_of_each_metric_is_its_spread_over_its_size():
    found = overview.noise_table(table([*SEEDS, *QUIET])).set_index("metric")
    assert found.index.tolist() == ["quality", "quiet"]  # the noisiest first
    assert found.loc["quality", "cv"] == pytest.approx(0.02 / 2**0.5 / 0.665)
    assert found.loc["quiet", "cv_training"] == pytest.approx(0.01 / 2**0.5 / 100.665)


def test_the_report_on_noise_draws_what_its_table_has_and_says_it():
    scores = table([*SEEDS, *QUIET])
    axes = Figure().add_subplot()
    overview.draw_noise(scores, axes)
    found = overview.noise_table(scores)[::-1]
    drawn = axes.lines[0].get_xdata()
    assert sorted(drawn) == pytest.approx(sorted(found["cv"]))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["an_eval: quiet", "an_eval: quality"]
    assert overview.read_noise(scores) == (
        "Over 2 evaluation seeds 0 of 2 metrics vary by more than a tenth of their size, 0 of them for certain (95 %). "
        f"The largest number is that of an_eval: quality ({interval(found, 'quality')}), the smallest that of an_eval: quiet ({interval(found, 'quiet')}). Bars are these 95 % intervals."
    )


def interval(found: pd.DataFrame, metric: str) -> str:
    """A coefficient of variation with its interval, by hand."""
    row = found.set_index("metric").loc[metric]
    parts = [row["cv"], row["floor_low"] / row["mean_size"], row["floor_high"] / row["mean_size"]]
    of, low, high = (f"{float(f'{100 * part:.2g}'):g} %" for part in parts)
    return f"{of} [{low}, {high}]"


def test_the_noise_of_each_version_is_a_row_with_a_name_of_its_own():
    scores = table([*SEEDS, *({**row, "eval_version": 2, "value": 2 * row["value"] - 0.5} for row in SEEDS)])
    axes = Figure().add_subplot()
    overview.draw_noise(scores, axes)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(names) == ["an_eval: quality (version 1)", "an_eval: quality (version 2)"]


def test_metrics_of_one_seed_have_no_report_on_noise():
    with pytest.raises(CannotMeasure, match="several seeds"):
        overview.noise_table(table([*recipe("mse", [[0.5]]), *alone("b", [0.6])]))


def test_a_metric_of_many_latents_has_a_histogram_and_one_of_few_has_none():
    assert overview.latent_metrics(table([*latents("a", 0.5), *latents("b", 0.5, n=5)])) == [("an_eval", "spread", "")]
    assert overview.latent_metrics(table(latents("b", 0.5, n=5))) == []


def test_a_histogram_says_where_the_middle_of_the_latents_lies():
    scores = table([*latents("low", 0.3), *latents("high", 0.7)])
    found = overview.latent_table(scores, "an_eval", "spread", "").set_index("variant")
    assert found["q50"].to_dict() == pytest.approx({"low": 0.3, "high": 0.7}) and set(found["latents"]) == {40}
    assert overview.read_latents(table(latents("low", 0.3)), "an_eval", "spread", "") == (
        "spread of low: median 0.3, half of the latents from 0.25 to 0.35."
    )
    axes = Figure().add_subplot()
    overview.draw_latents(scores, axes, "an_eval", "spread", "")
    assert len(axes.lines) + len(axes.collections) >= 2 and axes.get_xlabel() == "spread"


def test_medians_of_latents_differ_only_where_seeds_tell_them_apart():
    near, far = (
        [
            row
            for loss, centre in (("mse", 0.5), ("snap", other))
            for seed, shift in enumerate((-0.05, 0.0, 0.05))
            for row in latents(f"{loss}{seed}", centre + shift, loss=loss, train_seed=seed)
        ]
        for other in (0.52, 1.5)
    )
    said = overview.read_latents(table(near), "an_eval", "spread", "")
    assert said.startswith("median spread: none of 1 pairs can be told apart") and "snap" not in said
    assert overview.read_latents(table(far), "an_eval", "spread", "").startswith(
        "median spread: 1 of 1 pairs can be told apart"
    )
    alone = overview.read_latents(table([*latents("a", 0.3), *latents("b", 0.9)]), "an_eval", "spread", "")
    assert alone.startswith("median spread: too few seeds to tell a difference from noise.")


@pytest.mark.parametrize("column", ["eval_version", "data", "config"])
def test_latents_that_were_measured_in_two_ways_are_two_distributions(column: str):
    ways = {"eval_version": (1, 2), "data": ("a", "b"), "config": ('{"n": 1}', '{"n": 2}')}[column]
    scores = table([row for way, at in zip(ways, (0.3, 0.9), strict=True) for row in latents("a", at, **{column: way})])
    found = overview.latent_table(scores, "an_eval", "spread", "").set_index("variant")
    assert found["q50"].tolist() == pytest.approx([0.3, 0.9]) and found["latents"].tolist() == [40, 40]
    axes = Figure().add_subplot()
    overview.draw_latents(scores, axes, "an_eval", "spread", "")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == found.index.tolist()
    assert len({h.get_markerfacecolor() for h in axes.get_legend().legend_handles}) == 2


def test_variants_of_latents_look_as_in_other_figures():
    scores = table(
        [row for loss in ("mse", "snap") for of in "ab" for row in latents(loss + of, 0.5, loss=loss, architecture=of)]
    )
    axes = Figure().add_subplot()
    overview.draw_latents(scores, axes, "an_eval", "spread", "")
    looks, legend = Looks(scores, "an_eval"), axes.get_legend()
    drawn = dict(zip((text.get_text() for text in legend.get_texts()), legend.legend_handles, strict=True))
    expected = {name: looks.of(scores[scores["sae"] == name]) for name in drawn}
    assert {name: (h.get_color(), h.get_marker()) for name, h in drawn.items()} == {
        name: (one.color, one.marker) for name, one in expected.items()
    }
    lines = {(to_hex(line.get_color()), line.get_linestyle()) for line in axes.lines if line.get_marker() == "None"}
    assert len(drawn) == len(lines) == 4


def core(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "eval": "saebench_core", "metric": "explained_variance", "l0": 20.0} for row in rows]


def test_every_figure_is_a_png_and_an_svg_with_its_numbers_and_a_page_says_what_they_show(tmp_path: Path):
    files = draw_figures(table([*core(SEEDS), *latents("a", 0.5)]), tmp_path)
    names = {file.name for file in files}
    assert {f"saebench_core-l0_vs_explained_variance.{kind}" for kind in ("png", "svg", "csv")} <= names
    assert {"noise.png", "noise.svg", "noise.csv", "an_eval-latents-spread.png", "figures.md"} <= names
    page = (tmp_path / "figures.md").read_text()
    assert (
        "![noise](noise.png)" in page
        and r"explained\_variance, SAEs of like L0 compared" in page
        and "1 of 1 pairs can be told apart" in page
    )
    assert pd.read_csv(tmp_path / "saebench_core-l0_vs_explained_variance.csv")["mean"].tolist() == pytest.approx(
        [0.515, 0.815]
    )


def test_figures_of_one_panel_are_drawn_together(tmp_path: Path):
    absorbed = [
        {**row, "eval": "saebench_absorption", "metric": metric, "l0": 20.0}
        for metric in ("mean_full_absorption_score", "mean_absorption_fraction_score")
        for row in SEEDS
    ]
    names = {file.name for file in draw_figures(table(absorbed), tmp_path)}
    together = (tmp_path / "figures.md").read_text().partition("![saebench_against_l0]")[2].splitlines()
    assert [line.partition(",")[0] for line in together if line.startswith("- ")] == [
        r"- mean\_full\_absorption\_score",
        r"- mean\_absorption\_fraction\_score",
    ]
    assert {"saebench_absorption-rate_against_l0.png", "saebench_against_l0.png", "saebench_against_l0.svg"} <= names


def test_saebenchs_own_output_has_its_picture_of_sparsity_and_reconstruction(tmp_path: Path):
    rows = [{**row, "metric": "upstream_explained_variance", "source": "saebench"} for row in core(SEEDS)]
    names = {file.name for file in draw_figures(table(rows), tmp_path)}
    assert "saebench_core-l0_vs_upstream_explained_variance.png" in names
    assert "saebench_core-l0_vs_explained_variance.png" not in names


def test_the_same_table_gives_the_same_bytes(tmp_path: Path):
    scores = table(core(SEEDS))
    first, second = (draw_figures(scores, tmp_path / name) for name in ("first", "second"))
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True] * len(first)


def test_an_empty_table_has_no_figure_and_no_page(tmp_path: Path):
    assert draw_figures(table([]), tmp_path / "new") == [] and not (tmp_path / "new").exists()


def test_many_variants_of_latents_are_rows_of_quantiles_from_the_narrowest():
    scores = table([row | {"width": 2**i} for i, name in enumerate("fedcba") for row in latents(name, 0.1 * i)])
    axes = Figure().add_subplot()
    overview.draw_latents(scores, axes, "an_eval", "spread", "")
    found = overview.latent_table(scores, "an_eval", "spread", "")
    assert [label.get_text() for label in axes.get_yticklabels()] == list("fedcba") == found["variant"].tolist()
    assert [line.get_xdata()[0] for line in axes.lines] == found["q50"].tolist()
    nine_tenths, half = (c.get_segments() for c in axes.collections)
    assert [s[:, 0].tolist() for s in half] == found[["q25", "q75"]].to_numpy().tolist()
    assert [s[:, 0].tolist() for s in nine_tenths] == found[["q05", "q95"]].to_numpy().tolist()


def test_what_cannot_be_drawn_for_want_of_numbers_is_said_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    draw_figures(table(core(recipe("mse", [[0.5]]))), tmp_path)
    assert caplog.messages == [
        "not drawn, for want of numbers: saebench_core-l0_vs_upstream_explained_variance (no SAE here has both a upstream_explained_variance and an l0); "
        "noise (no metric here has several seeds and changes with them)"
    ]


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        (None, "There is no evaluation seed: nothing here is drawn."),
        (0, "There is one evaluation seed: what another would change is not known."),
    ],
)
def test_without_several_evaluation_seeds_the_noise_is_said_over_training_seeds(seed: int | None, said: str):
    rows = [row | {"seed": seed} for row in [*SEEDS, *QUIET] if row["seed"] == 0]
    found = overview.noise_table(table(rows)).set_index("metric")["cv_training"]
    assert overview.read_noise(table(rows)) == (
        f"Over training seeds 2 metrics vary by {100 * found['quiet']:.2g} % to {100 * found['quality']:.2g} % of their size; how sure that is, is not known. "
        + said
    )
    assert "ars are" not in overview.HOW_NOISE + overview.read_noise(table(rows))


def test_metrics_that_evaluation_seeds_do_not_change_are_said_to_be_so():
    rows = [row | {"value": 0.1 * row["train_seed"] + len(row["loss"])} for row in SEEDS]
    said = overview.read_noise(table(rows))
    assert said.endswith("Of those with several evaluation seeds none changes with them.")


def test_a_caption_of_latents_names_the_parameters_of_their_metric():
    one, two = latents("low", 0.3, params="k=2"), latents("high", 0.7, params="k=2")
    assert overview.read_latents(table(one), "an_eval", "spread", "k=2").startswith("spread k=2 of low: median")
    assert overview.read_latents(table([*one, *two]), "an_eval", "spread", "k=2").startswith("median spread k=2: ")


def test_a_scores_table_is_drawn_by_the_command_as_its_folder_would_be(tmp_path: Path, capsys: pytest.CaptureFixture):
    from hedgebench.cli import main

    write_table(table([*SEEDS, *QUIET]), tmp_path / "scores.csv")
    assert main(["plot", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "drawn")]) == 0
    files = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    assert {"noise.png", "noise.svg", "noise.csv", "figures.md"} <= files
    assert "None" not in (tmp_path / "drawn" / "noise.svg").read_text()


@pytest.mark.parametrize("column", ["sae", "eval", "metric", "run_id", "value"])
def test_a_table_without_what_every_row_has_is_told_by_row(tmp_path: Path, column: str):
    whole = table(SEEDS)
    write_table(whole.drop(columns=column), tmp_path / "less.csv")
    with pytest.raises(BadInput, match=f"no scores table: it has no column '{column}'"):
        read_table(tmp_path / "less.csv")
    rows = whole.astype("object")
    rows.loc[2, column] = None
    rows.to_csv(tmp_path / "blank.csv", index=False)
    with pytest.raises(BadInput, match=f"row 3 has no {column}; every row"):
        read_table(tmp_path / "blank.csv")


def test_a_report_on_noise_that_leaves_metrics_out_says_how_many():
    rows = [row for i in range(41) for row in alone("a", [1.0, 2.0 + i], metric=f"m{i}")]
    for n, said in ((41, "How noisy each metric is: the 40 noisiest of 41"), (40, "How noisy each metric is")):
        axes = Figure().subplots()
        overview.draw_noise(table(rows[: 2 * n]), axes)
        assert axes.get_title() == said
