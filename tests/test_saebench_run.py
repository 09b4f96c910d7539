"""SAEBench itself, run as its users run it: what its files say is what our table, leaderboard and figures say."""

from __future__ import annotations

import importlib.util
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny_models import save_tiny

from hedgebench.board.board import make_board
from hedgebench.board.markdown import markdown
from hedgebench.plots import draw_figures
from hedgebench.results import read_results
from hedgebench.saebench_rows import saebench_facts

COMMITTED = Path(__file__).parent.parent / "results/upstream"
EVALS = {"saebench_core", "saebench_sparse_probing", "saebench_tpp"}
SIZES = {"context": 12, "batch": 8, "batches": 2, "train": 40, "test": 20}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_upstream", COMMITTED / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny_sae(seed: int) -> Any:
    """Random unit rows that read what they write; wide enough for every number of latents that TPP asks for."""
    import torch
    from sae_lens import SAE

    rows = torch.nn.functional.normalize(torch.randn(512, 32, generator=torch.Generator().manual_seed(seed)), dim=1)
    metadata = {"hook_name": "blocks.0.hook_resid_post", "model_name": "tiny", "training_architecture": "batchtopk"}
    metadata |= {"train_seed": seed, "l0": 20.0, "reconstruction_loss": "snap", "prepend_bos": True}
    sae = SAE.from_dict({"architecture": "jumprelu", "d_in": 32, "d_sae": 512, "metadata": metadata})
    weights = {"W_dec": rows, "W_enc": rows.T.clone(), "b_dec": torch.zeros(32), "b_enc": torch.zeros(512)}
    sae.load_state_dict({**weights, "threshold": torch.full((512,), 0.5)})
    return sae


def topics(n: int) -> Any:
    """Rows of the shape of AG News: four classes with words of their own."""
    from datasets import Dataset, DatasetDict

    draw = random.Random(n)
    rows = [(" ".join(f"w{draw.choice([3 + i, 7 + i, draw.randrange(3, 40)])}" for _ in range(10)), i) for i in range(4) for _ in range(n)]  # fmt: skip
    part = Dataset.from_dict({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    return DatasetDict({"train": part, "test": part})


@pytest.fixture(scope="module")
def run(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that SAEBench has just written: two SAEs, three evals."""
    import torch

    from hedgebench.models import load_model

    folder = tmp_path_factory.mktemp("saebench")
    model = load_model(str(save_tiny(folder / "model")))
    draw = random.Random(0)
    texts = [" ".join(f"w{draw.randrange(3, 40)}" for _ in range(60)) for _ in range(60)]
    (folder / "out").mkdir()
    grad, state = torch.is_grad_enabled(), random.getstate()
    with torch.random.fork_rng():
        script.run_saebench(
            folder / "out", {f"tiny-s{s}": tiny_sae(s) for s in (0, 1)}, model, texts, topics(60), SIZES
        )
    torch.set_grad_enabled(grad)  # SAEBench leaves it off
    random.setstate(state)
    return folder / "out"


@pytest.fixture(scope="module", params=[pytest.param("run", marks=pytest.mark.slow), "committed"])
def folder(request: pytest.FixtureRequest) -> Path:
    return COMMITTED if request.param == "committed" else request.getfixturevalue("run")


def outputs(folder: Path) -> dict[Path, dict[str, Any]]:
    return {path: json.loads(path.read_text()) for path in sorted(folder.rglob("*_eval_results.json"))}


def numbers(data: Any) -> Iterator[float]:
    """Every number in a piece of JSON, wherever it is."""
    if isinstance(data, dict):
        data = list(data.values())
    if isinstance(data, list):
        for each in data:
            yield from numbers(each)
    elif isinstance(data, (int, float)) and not isinstance(data, bool):
        yield float(data)


def said(output: dict[str, Any]) -> list[float]:
    """All numbers of an output but what core counts and its list of latents, which no table of SAEBench's has either."""
    if output["eval_type_id"] == "core":
        metrics = {name: of for name, of in output["eval_result_metrics"].items() if name != "token_stats"}
        return sorted(numbers(metrics))
    parts = ("eval_result_metrics", "eval_result_details", "eval_result_unstructured")
    return sorted(value for part in parts for value in numbers(output[part]))


def test_every_number_of_every_file_is_in_the_table_to_the_last_digit(folder: Path):
    files, table = outputs(folder), read_results(folder)
    kinds = Counter(output["eval_type_id"] for output in files.values())
    assert set(kinds) == {"core", "sparse_probing", "tpp"} and len(set(kinds.values())) == 1
    for output in files.values():
        run_id = f"saebench:{output['eval_id']}:{output['sae_lens_release_id']}:{output['sae_lens_id']}:"
        rows = table[table["run_id"].str.startswith(run_id)]
        assert rows["run_id"].nunique() == 1
        assert sorted(rows["value"]) == said(output) and len(rows) > 20
    assert len(table) == sum(len(said(output)) for output in files.values())


def test_an_sae_is_called_and_described_as_its_file_describes_it(folder: Path):
    table = read_results(folder)
    for output in outputs(folder).values():
        rows, meta = table[table["sae"] == output["sae_lens_release_id"]], output["sae_cfg_dict"]["metadata"]
        facts = {key: set(rows[key]) for key in ("architecture", "loss", "l0", "train_seed", "width", "hook", "layer")}
        assert facts["architecture"] == {meta["training_architecture"]} and facts["loss"] == {
            meta["reconstruction_loss"]
        }
        assert facts["l0"] == {meta["l0"]} and facts["train_seed"] == {meta["train_seed"]}
        assert facts["hook"] == {meta["hook_name"]} and facts["width"] == {512}
        assert set(rows["eval"]) == EVALS


def test_a_number_of_saebench_has_the_chance_level_that_its_metrics_card_knows():
    table = read_results(COMMITTED)
    chance = table[table["slice_by"] == "all"].groupby("metric")["chance"].first()
    assert (chance["kl_div_score"], chance["sae_top_k_test_accuracy"]) == (0, 0.5)
    assert chance.isna()["cossim"]
    rows = table[(table["metric"] == "kl_div_score") & (table["slice_by"] == "all")]
    way = next(cell.way for line in make_board(rows).cells for cell in line)
    assert way is not None and way.start == 0 and way.control is None


def test_the_leaderboard_of_the_committed_files_has_every_variant_and_no_blank():
    board = make_board(COMMITTED)
    assert [row.name for row in board.rows] == ["batchtopk", "matryoshka_batchtopk"]
    assert {column.key.setting.eval for column in board.columns} == EVALS
    assert [cell.why for line in board.cells for cell in line if cell.mean is None] == []
    table = read_results(COMMITTED)
    whole = table[(table["slice_by"] == "all") & (table["architecture"] == "batchtopk")]
    at = {
        (column.key.metric, column.key.params): cell for column, cell in zip(board.columns, board.cells[0], strict=True)
    }
    for key, rows in whole.groupby(["metric", "params"]):
        assert at[key].mean == pytest.approx(rows["value"].mean()) and at[key].n_saes == len(rows) == 2
    assert (COMMITTED / "leaderboard.md").read_text() == markdown(board, "upstream")


def test_the_figures_of_the_committed_files_are_drawn_and_what_has_no_numbers_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    names = {file.stem for file in draw_figures(read_results(COMMITTED), tmp_path)}
    assert {"saebench_core-l0_vs_upstream_explained_variance", "saebench_tpp-upstream_total_against_l0"} <= names
    assert {"saebench_sparse_probing-accuracy_against_l0", "noise", "figures"} <= names
    assert "of 1 pairs can be told apart" in (tmp_path / "figures.md").read_text()
    (line,) = caplog.messages
    assert line.startswith("not drawn, for want of numbers: saebench_core-l0_vs_explained_variance (no SAE here has ")


def test_two_files_that_say_the_same_of_one_sae_are_one_number_and_two_that_differ_are_none(tmp_path: Path):
    path, output = next((path, out) for path, out in outputs(COMMITTED).items() if out["eval_type_id"] == "core")
    (tmp_path / path.name).write_text(json.dumps(output))
    (tmp_path / "again.json").write_text(json.dumps(output | {"eval_id": "again"}))
    assert all(cell.mean is not None for cell in make_board(tmp_path).cells[0])
    output["eval_result_metrics"]["sparsity"]["l0"] += 1
    (tmp_path / "again.json").write_text(json.dumps(output | {"eval_id": "again"}))
    board = make_board(tmp_path)
    whys = {column.key.metric: cell.why for column, cell in zip(board.columns, board.cells[0], strict=True)}
    assert {metric for metric, why in whys.items() if why} == {"l0"} and "none is preferred" in whys["l0"]


def test_an_sae_of_our_own_records_keeps_its_name_to_itself(tmp_path: Path):
    facts = next(iter(outputs(COMMITTED).values()))
    assert saebench_facts(facts)["sae"] == facts["sae_lens_release_id"]
    assert saebench_facts(facts, [facts["sae_lens_release_id"]])["sae"] == f"{facts['sae_lens_release_id']}:custom_sae"
    assert saebench_facts(facts | {"sae_lens_id": "layer_8"})["sae"] == f"{facts['sae_lens_release_id']}:layer_8"
