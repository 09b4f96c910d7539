"""`hedgebench toy` from end to end: it trains, scores, writes, resumes, and refuses in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from hedgebench import read_results
from hedgebench.cli import main
from hedgebench.toy_study import is_trained, run_toy
from hedgebench.types import BadInput

OWN = """\
world: {d_in: 8, probability: [0.25, 0.2], parents: {1: 0}}
sae: {architecture: standard, width: 1, l1: 1e-3, steps: 400, lr: 1e-2}
losses: [mse, snap]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.yaml"
    file.write_text(OWN)
    return file


def test_a_scenario_of_ones_own_ends_as_checkpoints_records_and_tables(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert main(["toy", "--scenario", str(own), "--seeds", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "4 of 4 SAEs scored" in printed.err
    assert "mean ± SD over 2 training seeds" in printed.out
    assert {file.name for file in out.iterdir()} == {
        ".lock",
        "saes",
        "records",
        "checkpoints",
        "scores.csv",
        "scores.parquet",
        "runs.csv",
        "minima.csv",
    }

    scores = read_results(out)
    assert set(scores["sae"]) == {f"own-{loss}-s{seed}" for loss in ("mse", "snap") for seed in (0, 1)}
    assert set(scores["architecture"]) == {"standard"}
    assert scores["data"].str.startswith("toy:own@").all()
    hedged = scores[(scores["metric"] == "hedged") & (scores["slice_by"] == "all")].set_index("sae")["value"]
    assert hedged["own-mse-s0"] > 0.1 > hedged["own-snap-s0"]

    from sae_lens import SAE

    assert SAE.load_from_disk(out / "saes" / "own-mse-s0").cfg.d_sae == 1


def test_a_second_run_computes_nothing_and_says_the_same(own: Path, tmp_path: Path):
    first = run_toy([own], seeds=1, out=tmp_path / "out")
    files = {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in (tmp_path / "out" / "saes").rglob("*") if f.is_file()}
    again = run_toy([own], seeds=1, out=tmp_path / "out")
    assert (first.summary.done_before, again.summary.done_before) == (0, 2)
    assert files == {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in files}
    assert first.scores.equals(again.scores)


def test_controls_that_were_run_beside_the_saes_are_in_the_table(own: Path, tmp_path: Path):
    out = tmp_path / "out"
    plain = run_toy([own], ["mse"], 1, out).scores
    suite = tmp_path / "controls.yaml"
    suite.write_text(
        f"saes: [{{path: {out}/saes/own-mse-s0}}, {{controls: [random, oracle]}}]\nevals: [toy_recovery: {{n_samples: 20000}}]\n"
    )
    assert main(["run", str(suite), "--out", str(out)]) == 0
    again = run_toy([own], ["mse"], 1, out)
    assert again.summary.done_before == again.summary.total == 1
    assert set(again.scores["sae"]) == {"own-mse-s0", "own-mse-s0/random", "own-mse-s0/oracle"}
    assert again.scores[again.scores["sae"] == "own-mse-s0"].reset_index(drop=True).equals(plain)


def test_the_same_seeds_give_the_same_numbers_in_another_folder(own: Path, tmp_path: Path):
    one, other = (run_toy([own], ["mse"], 2, tmp_path / name).scores for name in ("one", "other"))
    keys = ["sae", "metric", "params", "slice_by", "slice_value"]
    both = one.merge(other, on=keys)
    assert len(both) == len(one) == len(other)
    assert both["value_x"].to_numpy() == pytest.approx(both["value_y"].to_numpy(), abs=1e-6)


def test_more_seeds_and_losses_add_to_what_is_there(own: Path, tmp_path: Path):
    out = tmp_path / "out"
    run_toy([own], ["mse"], 1, out)
    more = run_toy([own], None, 2, out)
    assert (more.summary.total, more.summary.done_before) == (4, 1)


def test_an_interrupted_study_goes_on_where_it_was(own: Path, tmp_path: Path):
    out = tmp_path / "out"
    whole = run_toy([own], seeds=2, out=out).scores
    shutil.rmtree(out / "saes" / "own-snap-s1")  # never trained
    left = out / "saes" / ".own-snap-s1.part"  # and killed while it was written
    left.mkdir()
    (left / "cfg.json").write_text("{")
    record = next(iter((out / "records" / "toy_recovery").glob("*.json")))
    record.unlink()
    again = run_toy([own], seeds=2, out=out)
    assert again.summary.ok == 4
    keys = ["sae", "metric", "params", "slice_by", "slice_value"]
    both = whole.merge(again.scores, on=keys)
    assert len(both) == len(whole) == len(again.scores)
    # trained alone rather than beside others: another order of sums, which the cusp of l2 magnifies
    assert both["value_x"].to_numpy() == pytest.approx(both["value_y"].to_numpy(), abs=0.02)
    kept = both["sae"] != "own-snap-s1"
    assert both["value_x"][kept].equals(both["value_y"][kept])
    assert not left.exists()


def test_the_posts_scenarios_bring_their_figures_and_page(tmp_path: Path):
    out = tmp_path / "out"
    result = run_toy(["hierarchical", "tied-0.25"], ["mse", "snap"], 2, out)
    assert {"cosines-pairs.png", "loss-curves.png", "b-dec.png", "snap-against-mse.png", "README.md"} <= {
        f.name for f in result.files
    }
    page = (out / "README.md").read_text(encoding="utf-8")
    assert "hedgebench toy --scenario hierarchical --scenario tied-0.25 --loss mse --loss snap --seeds 2" in page
    assert "| 3 | Hierarchical features | holds |" in page
    assert "| 13 | Matryoshka, MSE | not run |" in page
    for file in result.files:
        if file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")


def test_saes_that_came_out_equal_are_named_and_not_lost_silently(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    own.write_text(OWN.replace("steps: 400", "steps: 1, snap_at: [0.5, 0.9]"))  # one step: snap is mse yet
    assert main(["toy", "--scenario", str(own), "--seeds", "1", "--out", str(tmp_path / "out")]) == 0
    error = capsys.readouterr().err
    assert "1 of 4 SAEs scored" in error
    for name in ("own-snap_at0.5-snap-s0", "own-snap_at0.9-mse-s0", "own-snap_at0.9-snap-s0"):
        assert f"{name} is the same SAE as own-snap_at0.5-mse-s0, number for number" in error


def test_global_state_is_left_alone(own: Path, tmp_path: Path):
    torch.manual_seed(3)
    state, grad = torch.random.get_rng_state(), torch.is_grad_enabled()
    run_toy([own], ["mse"], 1, tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled() is grad


def test_a_toy_sae_is_evaluated_like_any_other_with_a_world_that_is_named(own: Path, tmp_path: Path):
    study = run_toy([own], ["mse"], 1, tmp_path / "out").scores
    sae, world = tmp_path / "out" / "saes" / "own-mse-s0", tmp_path / "elsewhere"
    (sae / "world").rename(world)
    run = ["run", "--sae", str(sae), "--eval", "toy_recovery:n_samples=20000", "--world"]
    assert main([*run, str(world), "--out", str(tmp_path / "named")]) == 0
    named = read_results(tmp_path / "named")
    assert len(named) == len(study) > 10
    assert named["value"].equals(study["value"])
    assert main([*run, str(tmp_path / "nowhere"), "--out", str(tmp_path / "bad")]) == 2


# --- refusals ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scenario", "hierarchial"], "there is no scenario 'hierarchial'; did you mean 'hierarchical'"),
        (["--scenario", "none.yaml"], "none.yaml: cannot read a scenario"),
        (["--loss", "snapp"], "--loss snapp: there is no such loss; did you mean 'snap'"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--study", "phase"], "--study phase: there is no such study; did you mean 'phases'"),
        (["--study", "phases", "--loss", "mse"], "--study phases has its own worlds and losses"),
        (["--study", "grow"], "--study grow: there is no such study; did you mean 'growth'"),
        (["--study", "growth", "--scenario", "pair"], "--study growth has its own worlds and losses"),
        (["--study", "hedging-estimates"], "there is no such study; did you mean 'hedging-estimate'"),
        (["--study", "hedging-estimate", "--loss", "l2"], "--study hedging-estimate has its own worlds and losses"),
        (["--scenario", "hierarchical", "--scenario", "hierarchical"], "two SAEs would be called 'hierarchical-l2-s0'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["toy", "--out", str(tmp_path), "--seeds", "1", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert error.strip().count("\n") == 0


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("")
    assert main(["toy", "--scenario", str(own), "--out", str(tmp_path / "file" / "out")]) == 2
    error = capsys.readouterr().err
    assert "cannot write" in error
    assert "toy SAEs" not in error  # the bar of training


@pytest.mark.parametrize("seeds", ["0", "-1", "many"])
def test_a_number_of_seeds_that_is_none(seeds: str):
    with pytest.raises(SystemExit) as error:
        main(["toy", "--seeds", seeds])
    assert error.value.code == 2


def test_more_latents_than_memory_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "huge.yaml"
    file.write_text(OWN.replace("width: 1,", "width: 3000000000,"))
    assert main(["toy", "--scenario", str(file), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "GB" in error
    assert "Traceback" not in error


def test_a_folder_that_holds_another_sae_is_not_overwritten(own: Path, tmp_path: Path):
    out = tmp_path / "out"
    run_toy([own], ["mse"], 1, out)
    own.write_text(OWN.replace("steps: 400", "steps: 401"))
    with pytest.raises(BadInput, match="own-mse-s0 was trained with another recipe or on another world; remove it"):
        run_toy([own], ["mse"], 1, out)


@pytest.mark.parametrize("damage", ["{", "[]", "{}", None])
def test_a_folder_that_is_no_toy_sae_is_not_overwritten(damage: str | None, own: Path, tmp_path: Path):
    folder = tmp_path / "out" / "saes" / "own-mse-s0"
    folder.mkdir(parents=True)
    if damage is not None:
        (folder / "cfg.json").write_text(damage)
    with pytest.raises(BadInput, match="was not made by this program"):
        run_toy([own], ["mse"], 1, tmp_path / "out")


def test_an_sae_whose_world_was_changed_is_not_taken_for_the_trained_one(own: Path, tmp_path: Path):
    from hedgebench.toy.scenario_file import read_scenario
    from hedgebench.toy.scenarios import scenario_runs

    run_toy([own], ["mse"], 1, tmp_path / "out")
    (named,) = scenario_runs([read_scenario(own)], ["mse"], [0])
    folder = tmp_path / "out" / "saes" / named.name
    assert is_trained(folder, named.run)
    world: dict[str, Any] = json.loads((folder / "world" / "world.json").read_text())
    (folder / "world" / "world.json").write_text(json.dumps({**world, "probability": [0.3, 0.2]}))
    with pytest.raises(BadInput, match="on another world"):
        is_trained(folder, named.run)


def test_the_scenarios_are_listed(capsys: pytest.CaptureFixture[str]):
    assert main(["toy", "--list"]) == 0
    printed = capsys.readouterr().out
    assert "hierarchical" in printed
    assert "rows 13, 14" in printed
