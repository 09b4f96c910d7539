"""Files of a leaderboard, from folders of ours and of SAEBench, by command and from Python."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from known_boards import HOSTILE, write_run
from known_scores import alone, recipe, table

import hedgebench
from hedgebench.board.html import json_block, page, policy
from hedgebench.cli import main
from hedgebench.results import write_table
from hedgebench.types import BadInput


def data_of(file: Path) -> Any:
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', file.read_text(), re.S)
    return json.loads(block)


def saebench_file(folder: Path, sae: str, values: dict[str, float], **more: Any) -> None:
    data = {
        "eval_type_id": "core",
        "eval_config": {"model_name": "m", "dataset": "d", "n_eval_sparsity_variance_batches": 16},
        "eval_id": f"id-{sae}",
        "eval_result_metrics": {"sparsity": {"l0": values["l0"]}, "reconstruction_quality": {"explained_variance": values["ev"], "cossim": values["cossim"]}},
        "sae_bench_commit_hash": "c0ffee",
        "sae_lens_id": sae,
        "sae_lens_release_id": "somebody",
        "sae_lens_version": "6",
        "sae_cfg_dict": {"d_sae": 512, "architecture": "jumprelu", "metadata": {"hook_name": "blocks.8.hook_resid_post"}},
        **more,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{sae}.json").write_text(json.dumps(data))


def test_a_plain_folder_of_saebench_is_a_leaderboard(tmp_path: Path):
    saebench_file(tmp_path / "results", "layer_8", {"l0": 40.0, "ev": 0.75, "cossim": 0.5})
    saebench_file(tmp_path / "results", "layer_9", {"l0": 60.0, "ev": -1, "cossim": 0.25})
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    assert [(row["name"], row["l0"], row["l0_from"], row["width"]) for row in data["rows"]] == [
        ("somebody:layer_8", 40.0, "saebench_core", 512),
        ("somebody:layer_9", 60.0, "saebench_core", 512),
    ]
    columns = [column["metric"] for column in data["columns"]]
    cells = dict(zip(columns, data["rows"][1]["cells"], strict=True))
    assert cells["cossim"]["mean"] == 0.25
    assert data["reasons"][cells["upstream_explained_variance"]["why"]] == "its run reports no such number"
    (run, _) = data["runs"]
    assert (run["file"], run["source"]) == ("layer_8.json", "saebench")
    assert data["versions"][run["versions"]] == {"sae-bench": "c0ffee", "sae-lens": "6"}


def test_outputs_of_two_versions_of_saebench_are_in_two_columns(tmp_path: Path):
    values = {"l0": 40.0, "ev": 0.75, "cossim": 0.5}
    saebench_file(tmp_path / "results", "old", values)
    saebench_file(tmp_path / "results", "new", values, sae_bench_commit_hash="cafe")
    table = write_table(hedgebench.read_results(tmp_path / "results"), tmp_path / "scores.csv")
    for given in (tmp_path / "results", table):  # a table knows no records, but what they were made with
        data = data_of(hedgebench.leaderboard(given, tmp_path / "board.html"))
        assert {column["apart"] for column in data["columns"]} == {"sae-bench = c0ffee", "sae-bench = cafe"}


def test_a_file_made_again_by_another_version_under_its_old_id_is_another_run(tmp_path: Path):
    values = {"l0": 40.0, "ev": 0.75, "cossim": 0.5}
    saebench_file(tmp_path / "results" / "old", "x", values)
    saebench_file(tmp_path / "results" / "new", "x", values | {"ev": 0.5}, sae_bench_commit_hash="cafe")
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    shown = {(column["metric"], column["apart"]): cell for column, cell in zip(data["columns"], data["rows"][0]["cells"], strict=True)}  # fmt: skip
    means = {apart: cell["mean"] for (name, apart), cell in shown.items() if name == "upstream_explained_variance"}
    assert means == {"sae-bench = c0ffee": 0.75, "sae-bench = cafe": 0.5} and len(data["runs"]) == 2


def test_where_two_runs_of_one_version_and_seed_differ_the_blank_says_so(tmp_path: Path):
    values = {"l0": 40.0, "ev": 0.75, "cossim": 0.5}
    saebench_file(tmp_path / "results" / "once", "x", values)
    saebench_file(tmp_path / "results" / "again", "x", values | {"ev": 0.5}, eval_id="another")
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    cells = dict(zip([column["metric"] for column in data["columns"]], data["rows"][0]["cells"], strict=True))
    why = data["reasons"][cells["upstream_explained_variance"]["why"]]
    assert why == "2 runs with one seed and the same settings give different numbers, and none is preferred"
    assert cells["cossim"]["mean"] == 0.5


def test_a_copy_of_a_file_is_no_second_run(tmp_path: Path):
    for folder in ("once", "again"):
        saebench_file(tmp_path / "results" / folder, "x", {"l0": 40.0, "ev": 0.75, "cossim": 0.5})
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    assert len(data["runs"]) == 1 and all("mean" in cell for cell in data["rows"][0]["cells"])
    assert not hedgebench.read_results(tmp_path / "results").duplicated(["run_id", "metric", "params"]).any()


def test_an_output_of_another_version_is_named_where_a_cell_is_blank(tmp_path: Path):
    values = {"l0": 40.0, "ev": 0.75, "cossim": 0.5}
    saebench_file(tmp_path / "results", "old", values)
    saebench_file(tmp_path / "results", "new", values, sae_bench_commit_hash="cafe")
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    assert set(data["reasons"]) == {
        "not run with these settings (sae-bench = c0ffee), but with (sae-bench = cafe)",
        "not run with these settings (sae-bench = cafe), but with (sae-bench = c0ffee)",
    }


def test_an_output_without_a_single_number_is_a_row_of_blanks(tmp_path: Path):
    saebench_file(tmp_path / "results", "a", {"l0": 40.0, "ev": 0.75, "cossim": 0.5})
    saebench_file(tmp_path / "results", "b", {"l0": -1, "ev": -1, "cossim": -1})
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    assert [row["name"] for row in data["rows"]] == ["somebody:a", "somebody:b"]
    assert {data["reasons"][cell["why"]] for cell in data["rows"][1]["cells"]} == {"its run reports no such number"}


@pytest.mark.parametrize("odd", [None, "x", 3, [1], {"a": [1]}, -(10**400), True])
@pytest.mark.parametrize("key", ["sae_cfg_dict", "eval_config", "eval_id", "eval_type_id", "eval_result_metrics", "eval_result_details", "eval_result_unstructured", "sae_lens_id", "sae_lens_release_id", "sae_bench_commit_hash"])  # fmt: skip
def test_an_odd_part_of_one_output_costs_no_other_file_its_numbers(tmp_path: Path, key: str, odd: Any):
    saebench_file(tmp_path / "results", "a", {"l0": 40.0, "ev": 0.75, "cossim": 0.5})
    saebench_file(tmp_path / "results", "b", {"l0": 41.0, "ev": 0.85, "cossim": 0.6}, **{key: odd})
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    (row,) = (row for row in data["rows"] if row["name"] == "somebody:a")
    assert sum("mean" in cell for cell in row["cells"]) == 3


def test_our_numbers_and_saebenchs_own_are_never_in_one_column(tmp_path: Path):
    saebench_file(tmp_path / "results", "theirs", {"l0": 40.0, "ev": 0.75, "cossim": 0.5})
    write_run(tmp_path / "results", "ours", {"cossim": 0.5}, eval="saebench_core")
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    cossim = [i for i, column in enumerate(data["columns"]) if column["metric"] == "cossim"]
    assert len(cossim) == 2
    for row in data["rows"]:
        assert sum("mean" in row["cells"][i] for i in cossim) == 1


def test_a_cell_tells_its_runs_and_their_records(tmp_path: Path):
    ids = [write_run(tmp_path / "results", "a", {"quality": value}, seed=seed) for seed, value in enumerate((0.5, 0.7))]
    data = data_of(hedgebench.leaderboard(tmp_path / "results", tmp_path / "board.html"))
    (cell,) = data["rows"][0]["cells"]
    runs = [data["runs"][int(at)] for at in cell["values"]]
    assert [run["id"] for run in runs] == ids
    assert [found[0] for found in cell["values"].values()] == [0.5, 0.7]
    assert all((tmp_path / "results" / run["file"]).is_file() for run in runs)
    assert data["versions"][runs[0]["versions"]] == {"hedgebench": "0.1.0", "torch": "2.13.0"}
    assert runs[0]["circumstances"] == {"revision": "r1", "dtype": "float32", "device": "cpu"}


@pytest.mark.parametrize("suffix", ["html", "md", "csv"])
def test_the_command_writes_the_file_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str):
    write_run(tmp_path / "results", "an-sae", {"quality": 0.5})
    file = tmp_path / "new" / f"board.{suffix}"
    assert main(["leaderboard", str(tmp_path / "results"), "--out", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert "an-sae" in file.read_text()


@pytest.mark.parametrize(
    ("given", "out", "said"),
    [
        ("results", "board.pdf", "is written as .html, .md or .csv"),
        ("nowhere", "board.html", "no such results folder"),
        ("nowhere.csv", "board.html", "No such file"),
        ("results/runs.csv", "board.html", "has no column"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, given: str, out: str, said: str
):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "results", "an-sae", {"quality": 0.5})
    (tmp_path / "results" / "runs.csv").write_text("run_id,sae\na,b\n")
    assert main(["leaderboard", given, "--out", out]) == 2
    err = capsys.readouterr().err
    assert err.startswith("hedgebench: ") and err.count("\n") == 1 and said in err
    assert not (tmp_path / out).exists()


def test_the_page_is_the_same_whenever_it_is_made(tmp_path: Path):
    scores = table(recipe("mse", [[0.5, 0.6], [0.7, 0.8]]))
    files = [hedgebench.leaderboard(scores, tmp_path / f"{i}.html") for i in (0, 1)]
    shuffled = hedgebench.leaderboard(table(recipe("mse", [[0.5, 0.6], [0.7, 0.8]])), tmp_path / "2.html")
    assert files[0].read_text() == files[1].read_text() == shuffled.read_text()


@pytest.mark.parametrize("name", [*HOSTILE, "\ud800 half of a pair"])
def test_whatever_an_sae_is_called_the_block_of_data_stays_whole(tmp_path: Path, name: str):
    if "\ud800" not in name:
        scores = table(alone(name, [1.0]))
        file = hedgebench.leaderboard(scores, tmp_path / "board.html", title=name)
        assert data_of(file)["rows"][0]["name"] == name
        assert file.read_text().lower().count("<script") == file.read_text().lower().count("</script") == 2
    block = json_block({"name": name})
    assert json.loads(block) == {"name": name} and block.isascii() and not re.search("[<>&]", block)


def test_the_page_allows_its_own_script_and_style_and_nothing_else(tmp_path: Path):
    text = hedgebench.leaderboard(table(alone("a", [1.0])), tmp_path / "board.html").read_text()
    (script,) = re.findall(r'<script type="module">(.*?)</script>', text, re.S)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    (said,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert said.replace("&#x27;", "'") == policy(script, style)
    assert said.startswith("default-src &#x27;none&#x27;; script-src &#x27;sha256-") and "unsafe" not in said
    assert not re.search(r"""(src|href|action)\s*=\s*["'](?!data:,|#)""", text.split("<script")[0].split("</style>")[1])


def test_the_script_makes_no_markup_of_text_and_asks_for_nothing():
    folder = Path(hedgebench.__file__).parent / "board" / "page"
    for file in folder.glob("*.js"):
        found = re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|XMLHttp|import\(|https?:(?!//www\.w3\.org/2000/svg)", file.read_text())  # fmt: skip
        assert not found, file.name


def test_files_of_the_page_stay_small_enough_to_read():
    folder = Path(hedgebench.__file__).parent / "board" / "page"
    assert {file.name: n for file in folder.iterdir() if (n := len(file.read_text().splitlines())) > 250} == {}


def test_a_title_is_text():
    made = page({"title": "<b>&{{data}}", "rows": []})
    assert "<title>&lt;b&gt;&amp;{{data}}: leaderboard</title>" in made


def test_a_frame_that_was_read_without_types_is_read_all_the_same(tmp_path: Path):
    table(recipe("mse", [[0.5, 0.6], [0.7, 0.8]])).to_csv(tmp_path / "t.csv", index=False)
    data = data_of(hedgebench.leaderboard(pd.read_csv(tmp_path / "t.csv"), tmp_path / "board.html"))
    assert data["rows"][0]["cells"][0]["mean"] == 0.65 and data["rows"][0]["width"] == 512
    with pytest.raises(BadInput, match="a leaderboard is written as"):
        hedgebench.leaderboard(pd.read_csv(tmp_path / "t.csv"), tmp_path / "board.txt")


def test_the_committed_leaderboard_is_that_of_the_committed_table(tmp_path: Path):
    folder = Path(__file__).parents[2] / "results" / "quickstart"
    made = hedgebench.leaderboard(folder / "scores.csv", tmp_path / "leaderboard.md")
    assert made.read_text() == (folder / "leaderboard.md").read_text()
