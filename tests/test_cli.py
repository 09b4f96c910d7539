"""The command line: exit codes, one line per mistake, results on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from known_boards import write_run
from known_scores import alone, recipe, table

from hedgebench.cli import main
from hedgebench.cli_run import parse_eval
from hedgebench.results import read_table, write_table
from hedgebench.stats.tables import comparisons, noise, summary


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hedgebench.cli", *args], capture_output=True, text=True)


def test_inspect_tells_the_card(tmp_path: Path, save_sae: Callable[..., Path], capsys: pytest.CaptureFixture[str]):
    folder = save_sae(tmp_path / "sae", reconstruction_loss="snap", train_seed=4)
    assert main(["inspect", str(folder), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["name"], card["architecture"], card["loss"], card["width"], card["train_seed"]) == (
        "sae",
        "jumprelu",
        "snap",
        12,
        4,
    )
    assert card["b_dec_norm"] > 0
    assert main(["inspect", str(folder)]) == 0
    assert "blocks.1.hook_resid_post" in capsys.readouterr().out


@pytest.mark.parametrize("what", [summary, noise, comparisons])
def test_what_seeds_say_of_a_table_is_printed(what, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scores = table([*recipe("mse", [[1.0], [1.2], [1.1]]), *recipe("snap", [[1.3], [1.1], [1.5]])])
    file = write_table(scores, tmp_path / "scores.csv")
    assert main(["table", str(file), "--stats", what.__name__]) == 0
    assert capsys.readouterr().out == what(scores).to_csv(index=False)


def test_what_people_read_of_a_table_has_no_formula_and_what_is_read_back_has_its_own_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name = "=HYPERLINK(1)"
    file = write_table(table([*alone(name, [0.5, 0.6]), *alone("b", [-0.7, 0.8])]), tmp_path / "scores.csv")
    write_run(tmp_path / "results", name, {"quality": -0.5})

    def told(*args: str) -> str:
        assert main(["table", *args]) == 0
        return capsys.readouterr().out

    for made in (told(str(file), "--stats", "summary"), told(str(tmp_path / "results"), "--runs")):
        assert f"'{name}" in made and f",{name}" not in made and f"\n{name}" not in made
    told(str(file), "--stats", "summary", "--out", str(tmp_path / "s.csv"))
    told(str(file), "--stats", "summary", "--out", str(tmp_path / "s.parquet"))
    assert pd.read_csv(tmp_path / "s.csv")["variant"].tolist() == [f"'{name}", "b"]
    assert pd.read_parquet(tmp_path / "s.parquet")["variant"].tolist() == [name, "b"]
    (tmp_path / "again.csv").write_text(told(str(tmp_path / "results")))
    assert read_table(tmp_path / "again.csv")["sae"].tolist() == [name]


def test_a_broken_checkpoint_is_one_line_and_exit_code_2(tmp_path: Path, save_sae: Callable[..., Path]):
    folder = save_sae(tmp_path / "sae")
    (folder / "sae_weights.safetensors").write_bytes(b"torn")
    for args in (
        ["inspect", str(folder)],
        ["run", "--sae", str(folder), "--eval", "decoder_bias", "--out", str(tmp_path / "out")],
    ):
        done = run(*args)
        assert done.returncode == 2
        assert (
            done.stderr.count("\n") == 1
            and done.stderr.startswith("hedgebench: ")
            and "not a whole safetensors file" in done.stderr
        )


def test_one_sae_is_evaluated_without_a_suite(
    tmp_path: Path, save_sae: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    folder, out = save_sae(tmp_path / "sae"), tmp_path / "out"
    assert main(["run", "--sae", str(folder), "--eval", "decoder_bias", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "b_dec_norm" in shown.out and "scores in" in shown.out
    assert main(["table", str(out)]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].startswith(
        "sae,eval,metric,params,slice_by,slice_value,value,stderr,n,higher_is_better,chance,seed,"
    )
    assert main(["table", str(out), "--out", str(tmp_path / "t.parquet")]) == 0
    scores = pd.read_parquet(tmp_path / "t.parquet")
    assert len(scores) == len(table.splitlines()) - 1
    assert main(["table", str(out), "--runs"]) == 0
    assert "ok" in capsys.readouterr().out


def test_what_cannot_be_measured_is_told_with_its_reason_once(
    tmp_path: Path, save_sae: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    saes = [option for name in "ab" for option in ("--sae", str(save_sae(tmp_path / name, seed=ord(name))))]
    assert main(["run", *saes, "--eval", "grow_delta", "--eval", "seed_overlap", "--out", str(tmp_path / "out")]) == 0
    err = capsys.readouterr().err
    assert "4 cannot be measured" in err and err.count("cannot be measured (2 runs): ") == 2
    assert "give `control:` in the suite, or --control" in err and "give `group:` in the suite, or --group" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run"], "give a suite, or --sae REF and --eval NAME"),
        (["run", "--sae", "x", "--eval", "decoder_bias"], "--out DIR"),
        (["run", "none.yaml"], "none.yaml: cannot read a suite"),
        (["run", "none.yaml", "--sae", "x"], "--sae goes without a suite"),
        (["run", "--sae", "x", "--eval", "e:a", "--out", "o"], "write NAME:key=value"),
        (["run", "--sae", "x", "--eval", "e:a=[1", "--out", "o"], "'[1' is no value"),
        (["run", "--sae", "x", "--eval", "e", "--out", "o", "--seeds", "a"], "--seeds is a list such as"),
        (["inspect", "nowhere"], "nowhere: no such folder"),
        (["table", "nowhere"], "nowhere: no such results folder"),
        (["train", "none.yaml", "--out", "x"], "none.yaml: cannot read a training config"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(args: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(args) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_an_unknown_setting_of_an_eval_names_the_nearest(
    tmp_path: Path, save_sae: Callable[..., Path], capsys: pytest.CaptureFixture[str]
):
    args = ["run", "--sae", str(save_sae(tmp_path / "sae")), "--out", str(tmp_path / "out")]
    assert main([*args, "--eval", "saebench_core:n_batchs=3"]) == 2
    assert "did you mean 'n_batches'" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["banana", "cuda:99"])
def test_a_device_that_is_not_there_is_told(
    tmp_path: Path, save_sae: Callable[..., Path], device: str, capsys: pytest.CaptureFixture[str]
):
    args = ["run", "--sae", str(save_sae(tmp_path / "sae")), "--eval", "decoder_bias", "--out", str(tmp_path / "out")]
    assert main([*args, "--device", device]) == 2
    assert f"device '{device}' cannot be used here" in capsys.readouterr().err


def test_list_as_json_holds_what_a_program_needs(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    (bias,) = [e for e in shown["evals"] if e["name"] == "decoder_bias"]
    assert bias["needs"] == ["sae"] and bias["draws"] is False and bias["package"] == "hedgebench"
    assert all(e["cost"] for e in shown["evals"])
    assert {"b_dec_norm", "b_dec_span_share"} <= {m["name"] for m in bias["metrics"]}
    assert shown["broken"] == []


def test_a_list_can_be_given_to_an_eval_on_the_command_line():
    given = "e:data=[stand-in:a,b/c],k_values=[1, 2],n=3"
    assert parse_eval(given) == ("e", {"data": ["stand-in:a", "b/c"], "k_values": [1, 2], "n": 3})


def test_the_cache_is_shown_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))
    assert main(["cache"]) == 0 and "is empty" in capsys.readouterr().out
    (tmp_path / "cache/activations").mkdir(parents=True)
    (tmp_path / "cache/activations/x").write_bytes(b"0" * 2**20)
    assert main(["cache"]) == 0 and "1 MiB" in capsys.readouterr().out
    (tmp_path / "cache/evals/words").mkdir(parents=True)
    (tmp_path / "cache/evals/words/x.safetensors").write_bytes(b"0" * 2**20)
    monkeypatch.setenv("HEDGEBENCH_CACHE_LIMIT", "1M")
    assert main(["cache"]) == 0 and "kept up to 1 MiB" in capsys.readouterr().out
    assert not (tmp_path / "cache/evals/words/x.safetensors").exists()
    assert main(["cache", "--clear"]) == 0 and not (tmp_path / "cache/activations").exists()
