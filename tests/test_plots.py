"""What every figure is: a page wide, legible, without words over points, and the same bytes again, as PNG, SVG and PDF."""

from __future__ import annotations

import html
import itertools
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
from known_scores import recipe, table
from legible import cut_off, too_small, touching, words
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

from hedgebench import letters, plots
from hedgebench.canvas import save_figure
from hedgebench.cli import main
from hedgebench.eval import Figure as Declared
from hedgebench.looks import drawable
from hedgebench.plots import draw_figures
from hedgebench.results import read_table, write_table
from hedgebench.types import BadInput

RESULTS = Path(__file__).parent.parent / "results"
PAPER = 7.0
"""Inches: what a page of two columns is wide, at most."""
CORE = [
    {**row, "eval": "saebench_core", "metric": "explained_variance", "l0": 20.0}
    for row in [*recipe("mse", [[0.50, 0.52], [0.51, 0.53]]), *recipe("snap", [[0.80, 0.82], [0.81, 0.83]])]
]


def busy() -> pd.DataFrame:
    """Recipes, widths and versions as of a large study, in every figure."""
    said = {
        "saebench_core": ("explained_variance", ""),
        "saebench_tpp": ("tpp_total_metric", "n=10"),
        "saebench_scr": ("scr_metric", "n=10"),
        "decoder_bias": ("b_dec_norm", ""),
        "grow_delta": ("delta_share", ""),
    }
    rows: list[dict[str, Any]] = []
    widths = [2**i for i in (9, 12, 14, 15, 16, 17, 18, 19, 20)]
    recipes = itertools.product(("batchtopk", "matryoshka_batchtopk"), ("mse", "snap"), widths, (20, 80), (0, 1))
    for architecture, loss, width, k, seed in recipes:
        sae = {"sae": f"{architecture}-{loss}-{width}-{k}-{seed}", "architecture": architecture, "loss": loss}
        sae |= {"width": width, "k": float(k), "l0": float(k), "train_seed": seed, "seed": 0}
        value = 0.3 + 0.02 * len(loss) + k / 200 + seed / 100 + width / 2**22
        for version, (name, (metric, params)) in itertools.product((1, 2), said.items()):
            row = {"eval": name, "metric": metric, "params": params, "eval_version": version, "value": value * version}
            rows.append({**sae, **row})
        rows.append({**sae, "eval": "decoder_bias", "metric": "d_in", "value": 2304.0})
    controls = {"architecture": "permuted_control", "loss": None, "width": 512, "k": 20.0, "l0": 20.0, "seed": 0}
    rows += [{**controls, **row, "sae": f"x/{i}", "value": -50.0 - i} for i in range(4) for row in CORE[:1]]
    return table(rows)


@pytest.fixture(scope="module", params=["busy", "quickstart/scores.csv", "l0/scores.parquet", "growth/scores.parquet"])
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """Every figure of some scores tables."""
    scores = busy() if request.param == "busy" else read_table(RESULTS / request.param)
    found = as_written(scores, tmp_path_factory.mktemp("drawn"))
    assert len(found) >= 4
    return found


def as_written(scores: pd.DataFrame, folder: Path) -> dict[str, Figure]:
    """Every figure of a scores table as it would be written, without captions and tables, which take their time."""
    found: dict[str, Figure] = {}

    def keep(figure: Figure, file: Path) -> Path:
        figure.draw_without_rendering()
        found[file.stem] = figure
        return file

    alone = [(name, figure._replace(caption=None, table=None)) for name, figure in plots._figures(scores)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save_figure", keep)
        patch.setattr(plots, "_figures", lambda _scores: alone)
        draw_figures(scores, folder, ["png"])
    return found


def test_every_figure_has_the_width_of_a_page_and_letters_that_can_be_read_there(drawn: dict[str, Figure]):
    assert {name: figure.get_figwidth() for name, figure in drawn.items() if figure.get_figwidth() > PAPER} == {}
    assert {name: found for name, figure in drawn.items() if (found := too_small(figure))} == {}


def test_every_committed_figure_is_at_most_as_wide_as_a_page():
    wide = {}
    for file in sorted(RESULTS.rglob("*.png")):
        with Image.open(file) as image:
            wide[str(file.relative_to(RESULTS))] = image.width / image.info["dpi"][0]
    assert len(wide) > 40 and {"toy/growth.png", "validity/card.png"} <= wide.keys()
    assert {name: width for name, width in wide.items() if width > PAPER} == {}


def test_no_word_is_cut_off(drawn: dict[str, Figure]):
    assert {name: found for name, figure in drawn.items() if (found := cut_off(figure))} == {}


def test_no_legend_and_no_word_lies_over_what_is_drawn(drawn: dict[str, Figure]):
    for name, figure in drawn.items():
        insides = [axes.get_window_extent() for axes in figure.axes]
        assert [axes.get_legend() for axes in figure.axes if axes.get_legend() is not None] == [], name
        assert [axes.texts for axes in figure.axes if len(axes.texts)] == [], name
        for legend in figure.legends:
            assert not any(legend.get_window_extent().overlaps(inside) for inside in insides), name
        assert all(inside.height > 70 for inside in insides), name


def test_labels_of_an_axis_do_not_touch(drawn: dict[str, Figure]):
    assert {name: found for name, figure in drawn.items() if (found := touching(figure, "y"))} == {}


def test_a_figure_is_written_in_the_formats_that_are_asked_for_the_same_bytes_each_time(tmp_path: Path):
    scores = table(CORE)
    first, second = (draw_figures(scores, tmp_path / name, ["png", "svg", "pdf"]) for name in ("first", "second"))
    kinds = {file.suffix for file in first}
    assert kinds == {".png", ".svg", ".pdf", ".csv", ".md"}
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True] * len(first)
    (pdf,) = (file for file in first if file.name == "noise.pdf")
    bytes_ = pdf.read_bytes()
    assert b"/FontFile2" in bytes_ and b"/Type3" not in bytes_  # TrueType, in the file
    assert b"CreationDate" not in bytes_ and b"<dc:date>" not in pdf.with_suffix(".svg").read_bytes()


def test_the_command_writes_the_formats_that_are_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    write_table(table(CORE), tmp_path / "scores.csv")
    command = ["plot", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "drawn")]
    assert main([*command, "--format", "pdf"]) == 0
    names = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    assert "noise.pdf" in names and not {name for name in names if name.endswith((".png", ".svg"))}
    page = (tmp_path / "drawn" / "figures.md").read_text()
    assert "\n[noise](noise.pdf)" in page and "![" not in page
    assert main([*command, "--format", "png,gif"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "hedgebench: unknown format 'gif': a figure is written as png, svg, pdf"
    )


def test_no_format_is_no_figure(tmp_path: Path):
    with pytest.raises(BadInput, match="no format is named"):
        draw_figures(table(CORE), tmp_path, [])


NAMES = [r"<script>$\frac{a}$</script>_^%", "price$1 and $2", "_of_mine", "two\nlines -- and more"]
LONG = "a_very_long_name" * 10


def named(name: str) -> pd.DataFrame:
    """Numbers of every kind of figure whose architecture, model and SAEs go by a name."""
    rows = [row | {"architecture": name, "model": name} for row in CORE if row["loss"] == "mse"]
    other = [row | {"model": name} for row in CORE if row["loss"] == "snap"]
    norms = [row | {"eval": "decoder_bias", "metric": "b_dec_norm"} for row in [*rows, *other]]
    each = [
        {
            **row,
            "slice_by": "latent",
            "slice_value": str(i),
            "value": i / 20,
            "metric": name[:40],
            "params": name[:40],
            "eval": "e",
        }
        for row in (rows[0] | {"sae": name}, other[0])
        for i in range(20)
    ]
    return table([*rows, *other, *norms, *each])


@pytest.mark.parametrize("name", [*NAMES, LONG])
def test_a_name_from_a_table_is_drawn_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str):
    figures = as_written(named(name), tmp_path)
    assert not [message for message in caplog.messages if "cannot be drawn" in message]
    drawn = {"saebench_core-l0_vs_explained_variance", "decoder_bias-norm_against_width", "noise"}
    assert drawn <= figures.keys() and len(figures) == 4
    assert len(figures["saebench_core-l0_vs_explained_variance"].legends[0].get_texts()) == 2
    bare = "".join(name.replace("--", "- -").split())  # no two dashes in a comment of XML
    for file, figure in figures.items():
        assert cut_off(figure) == [], file
        if file != "noise":
            assert all(axes.get_window_extent().height > 70 for axes in figure.axes), file
            picture = save_figure(figure, tmp_path / "picture.svg").read_text()
            written = "".join(part.partition(" -->")[0] for part in picture.split("<!-- ")[1:])
            assert bare in "".join(html.unescape(written).split()), file


@pytest.mark.parametrize("name", [*NAMES, LONG])
def test_a_row_is_as_tall_as_the_name_beside_it(tmp_path: Path, name: str):
    saes = [f"{name} {i}" for i in range(12)]
    row = CORE[0] | {"slice_by": "latent", "metric": "spread", "train_seed": None}
    rows = [row | {"sae": sae, "slice_value": str(i), "value": i / 20} for sae in saes for i in range(20)]
    figure = as_written(table(rows), tmp_path)["saebench_core-latents-spread"]
    words = ["".join(label.get_text().replace(r"\$", "$").split()) for label in figure.axes[0].get_yticklabels()]
    assert sorted(words) == sorted("".join(sae.split()) for sae in saes)
    assert cut_off(figure) == [] == touching(figure, "y") and figure.axes[0].get_window_extent().width > 150


def test_a_name_that_is_too_long_for_three_lines_ends_with_an_ellipsis():
    lines = drawable("word " * 100).splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= 60 and lines[-1].endswith("word…")


def test_a_letter_that_no_font_here_has_is_its_code_point_and_no_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    monkeypatch.setattr(letters, "OTHER_SCRIPTS", ())
    row = CORE[0] | {"slice_by": "latent", "metric": "spread", "train_seed": None}
    rows = [row | {"sae": sae, "slice_value": str(i), "value": i / 20} for sae in ("模型 é", "b") for i in range(20)]
    figure = as_written(table(rows), tmp_path)["saebench_core-latents-spread"]
    assert r"\u6a21\u578b é" in [text.get_text() for text in words(figure)]
    assert not [str(one.message) for one in recwarn if "lyph" in str(one.message)]


def test_a_letter_that_another_font_here_has_is_drawn_in_it(monkeypatch: pytest.MonkeyPatch):
    before = rcParams["font.family"]
    letter = "\N{MATHEMATICAL BOLD SCRIPT CAPITAL A}"  # of the fonts that come with matplotlib STIXGeneral alone has it
    monkeypatch.setattr(letters, "OTHER_SCRIPTS", ("STIXNonUnicode", "STIXGeneral", "no such font"))
    assert letters.families() == [*before, "STIXNonUnicode", "STIXGeneral"]
    assert drawable(letter) == letter
    monkeypatch.setattr(letters, "OTHER_SCRIPTS", ())
    assert letters.families() == before and drawable(letter) == r"\U0001d4d0"


def test_captions_leave_markdown_nothing_to_obey(tmp_path: Path):
    name = "<img src=x> [x](js:1) *b*\n# head"
    draw_figures(named(name), tmp_path, ["svg"])
    page = (tmp_path / "figures.md").read_text()
    assert r"&lt;img src=x&gt; \[x\]\(js:1\) \*b\* \# head" in page
    assert "<img" not in page and "\n# head" not in page and "[x](" not in page


def test_a_metric_of_a_table_names_no_file_outside_the_folder(tmp_path: Path):
    scores = named("../../up/and [away](x)")
    files = draw_figures(scores, tmp_path / "a" / "b", ["svg"])
    assert {file.parent for file in files} == {tmp_path / "a" / "b"} == {file.parent for file in tmp_path.rglob("*.*")}
    (latents,) = (file.name for file in files if "latents" in file.name and file.suffix == ".svg")
    assert f"]({quote(latents)})" in (tmp_path / "a" / "b" / "figures.md").read_text()


def test_a_figure_that_cannot_be_rendered_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    faulty = Declared("faulty", lambda _, axes: axes.set_title(r"$\frac{a}$"))
    every = plots._figures
    monkeypatch.setattr(plots, "_figures", lambda scores: [("e-faulty", faulty), *every(scores)])
    files = {file.name for file in draw_figures(table(CORE), tmp_path, ["svg"])}
    assert "noise.svg" in files and files == {file.name for file in tmp_path.iterdir()}
    (said,) = (message for message in caplog.messages if "faulty" in message)
    assert said.startswith("figure e-faulty cannot be drawn: ValueError: ") and "\n" not in said
