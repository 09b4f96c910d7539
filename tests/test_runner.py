"""Batches: every run leaves a record, nothing is computed twice, and one failure never takes the others along."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked_runs
import pandas as pd
import pytest

from hedgebench.cli import main
from hedgebench.records import read_records
from hedgebench.results import read_results, read_runs

NOTICE = """
    from hedgebench.eval import notice
    from hedgebench import Eval, Metric, Score

    class Dear(Eval):
        "Says what it will cost."
        name, version, draws = "dear", 1, False
        metrics = (Metric("drawn", "a number"),)
        def run(self, ctx, cfg):
            notice.warning("this will cost %d dollars", 3)
            yield Score("drawn", 1.0)
"""

EVALS = """
    import os, signal, time
    from pathlib import Path
    from hedgebench import CannotMeasure, Eval, Metric, Score

    LOG = Path(__file__).parent / "computed.log"

    def value(ctx):
        import torch
        with LOG.open("a") as log:
            log.write(f"{ctx.checkpoint.name} {ctx.seed}\\n")
        return float(ctx.sae.b_dec.sum()) + float(torch.rand(1, generator=ctx.generator))

    class Fair(Eval):
        "Draws a number."
        name, version = "fair", 1
        metrics = (Metric("drawn", "a drawn number"),)
        def run(self, ctx, cfg):
            yield Score("drawn", value(ctx))

    class Together(Fair):
        name = "together"
        def run_many(self, ctxs, cfg):
            for i, ctx in enumerate(ctxs):
                if ctx.checkpoint.name == "bad":
                    yield i, ValueError("this one is bad")
                else:
                    yield i, Score("drawn", value(ctx))

    class Cursed(Fair):
        name, draws = "cursed", False
        def run(self, ctx, cfg):
            if ctx.checkpoint.name == "bad":
                CURSE()
            yield Score("drawn", value(ctx))
"""
POINTS = {"fair": "Fair", "together": "Together", "cursed": "Cursed"}


def suite(folder: Path, evals: str, **more: object) -> Path:
    lines = [f"{k}: {v}" for k, v in more.items()]
    path = folder / "suite.yaml"
    path.write_text("\n".join(["saes: [{path: saes/*}]", f"evals: [{evals}]", *lines, ""]))
    return path


@pytest.fixture
def three_saes(tmp_path: Path, save_sae: Callable[..., Path]) -> Path:
    for seed, name in enumerate(("alice", "bad", "carol")):
        save_sae(tmp_path / "saes" / name, seed=seed)
    return tmp_path


def computed(site: Path) -> list[str]:
    log = site / "computed.log"
    return log.read_text().splitlines() if log.exists() else []


def test_a_suite_becomes_one_record_per_run_and_a_second_run_does_nothing_and_says_so(
    three_saes: Path, plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    site, out = plugin(EVALS, **POINTS), three_saes / "out"
    path = suite(three_saes, "fair", seeds="[0, 1]")
    assert main(["run", str(path), "--out", str(out)]) == 0
    assert sorted(computed(site)) == sorted(f"{n} {s}" for n in ("alice", "bad", "carol") for s in (0, 1))
    scores = read_results(out)
    assert len(scores) == 6 and scores["value"].nunique() == 6
    before = {p: p.stat().st_mtime_ns for p in (out / "records").rglob("*.json")}
    assert len(before) == 6
    capfd.readouterr()
    assert main(["run", str(path), "--out", str(out)]) == 0
    assert "nothing to do: all 6 runs are done" in capfd.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in (out / "records").rglob("*.json")}
    assert len(computed(site)) == 6
    pd.testing.assert_frame_equal(pd.read_parquet(out / "scores.parquet"), scores)
    assert len(pd.read_csv(out / "scores.csv")) == len(scores)


def test_a_notice_reaches_the_user_out_of_the_worker(
    three_saes: Path, plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    plugin(NOTICE, dear="Dear")
    assert main(["run", str(suite(three_saes, "dear")), "--out", str(three_saes / "out")]) == 0
    assert "this will cost 3 dollars" in caplog.text


def test_one_failing_sae_fails_its_own_run_only_and_is_tried_again_only_when_asked(
    three_saes: Path, plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    site, out = plugin(EVALS, **POINTS), three_saes / "out"
    path = suite(three_saes, "together")
    assert main(["run", str(path), "--out", str(out)]) == 1
    assert "failed: together on bad, seed 0: ValueError: this one is bad" in capfd.readouterr().err
    runs = read_runs(out).set_index("sae")
    assert list(runs.loc[["alice", "bad", "carol"], "status"]) == ["ok", "failed", "ok"]
    assert set(read_results(out)["sae"]) == {"alice", "carol"}
    assert main(["run", str(path), "--out", str(out)]) == 1
    assert len(computed(site)) == 2
    assert main(["run", str(path), "--out", str(out), "--force"]) == 1
    assert len(computed(site)) == 4


@pytest.mark.parametrize(
    ("curse", "message"),
    [
        ("os._exit(7)", "ended with exit code 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (out of memory?)"),
        ("time.sleep(1000)", "time limit of 5 s"),
    ],
)
def test_a_worker_that_dies_or_hangs_costs_one_run(
    three_saes: Path, plugin: Callable[..., Path], curse: str, message: str
):
    plugin(EVALS.replace("CURSE()", curse), **POINTS)
    out = three_saes / "out"
    assert main(["run", str(suite(three_saes, "cursed", time_limit=5)), "--out", str(out)]) == 1
    runs = read_runs(out).set_index("sae")
    assert list(runs.loc[["alice", "bad", "carol"], "status"]) == ["ok", "failed", "ok"]
    assert message in runs.loc["bad", "error"]


def test_an_unreadable_checkpoint_and_an_unknown_eval_are_told_and_the_rest_is_done(
    three_saes: Path, plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    plugin(EVALS, **POINTS)
    (three_saes / "saes/bad/cfg.json").write_text("{")
    out = three_saes / "out"
    assert main(["run", str(suite(three_saes, "fair, fiar")), "--out", str(out)]) == 2
    err = capfd.readouterr().err
    assert "suite.yaml:2: unknown eval 'fiar'; did you mean 'fair'?" in err
    assert "not valid JSON" in err
    runs = read_runs(out).set_index("sae")
    assert list(runs.loc[["alice", "bad", "carol"], "status"]) == ["ok", "failed", "ok"]
    (three_saes / "suite.yaml").write_text("saes: [{path: saes/bad}]\nevals: [fair]\n")
    assert main(["run", str(three_saes / "suite.yaml"), "--out", str(out)]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_a_score_that_breaks_the_evals_own_declaration_fails_the_run(three_saes: Path, plugin: Callable[..., Path]):
    plugin(EVALS.replace('Score("drawn", value(ctx))', "Score(\"drawn\", float('nan'))"), **POINTS)
    out = three_saes / "out"
    assert main(["run", str(suite(three_saes, "fair")), "--out", str(out)]) == 1
    assert read_runs(out)["error"].str.contains("drawn: the value is nan").all()
    assert len(read_results(out)) == 0


def test_a_damaged_record_is_set_aside_and_made_again(three_saes: Path, plugin: Callable[..., Path]):
    site, out = plugin(EVALS, **POINTS), three_saes / "out"
    path = suite(three_saes, "fair")
    main(["run", str(path), "--out", str(out)])
    first = read_results(out)
    victim = sorted((out / "records").rglob("*.json"))[0]
    victim.write_text(victim.read_text()[:100])
    assert main(["run", str(path), "--out", str(out)]) == 0
    assert len(computed(site)) == 4 and victim.with_suffix(".damaged").exists()
    pd.testing.assert_frame_equal(read_results(out), first)


def test_dry_run_limit_and_only_do_what_they_say(
    three_saes: Path, plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    site, out = plugin(EVALS, **POINTS), three_saes / "out"
    path = suite(three_saes, "fair, together")
    assert main(["run", str(path), "--out", str(out), "--dry-run"]) == 0
    shown = capfd.readouterr().out
    assert shown.count("to do    fair on") == shown.count("to do    together on") == 3 and not out.exists()
    assert "6 runs: 6 to do; 4 jobs for 1 worker" in shown and "time unknown: 3 runs of fair" in shown
    assert main(["run", str(path), "--out", str(out), "--only", "fair", "--limit", "2"]) == 0
    assert (
        "2 of 3 runs ok (0 were done before), 0 cannot be measured, 0 failed, 1 still to do" in capfd.readouterr().err
    )
    assert len(computed(site)) == 2
    assert main(["run", str(path), "--out", str(out), "--only", "fiar"]) == 2


def test_two_workers_make_the_same_table_as_one(three_saes: Path, plugin: Callable[..., Path]):
    plugin(EVALS, **POINTS)
    path = suite(three_saes, "fair", seeds="[0, 1]")
    for out, workers in (("one", "1"), ("two", "2")):
        assert main(["run", str(path), "--out", str(three_saes / out), "--workers", workers]) == 0
    pd.testing.assert_frame_equal(read_results(three_saes / "one"), read_results(three_saes / "two"))


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(three_saes: Path, plugin: Callable[..., Path]):
    plugin(EVALS.replace("CURSE()", "time.sleep(1000)"), **POINTS)
    command = [
        sys.executable,
        "-m",
        "hedgebench.cli",
        "run",
        str(suite(three_saes, "cursed")),
        "--out",
        str(three_saes / "out"),
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    deadline = time.time() + 300
    while not list((three_saes / "out").rglob("records/*/*.json")) and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "goes on from there" in err and "Traceback" not in err
    assert len(list(read_records(three_saes / "out"))) >= 1


def kill_and_resume(folder: Path, site: Path, path: Path, moments: list[str]) -> None:
    """Kill `hedgebench run` at each moment in turn, each time after starting from the last; then finish, and compare."""
    main(["run", str(path), "--out", str(folder / "whole")])
    (site / "computed.log").unlink()
    out, killed, seen = folder / "out", 0, 0
    for moment in [*moments, "never"]:
        runs = read_runs(out) if out.exists() else pd.DataFrame({"sae": [], "seed": []})
        done = {f"{sae} {seed}" for sae, seed in zip(runs["sae"], runs["seed"], strict=True)}
        process = forked_runs.start("run", str(path), "--out", str(out), log=folder / "messages", dies=moment)
        process.join(120)
        killed += process.exitcode == -signal.SIGKILL
        assert not done & set(computed(site)[seen:]), "a finished run was computed again"
        seen = len(computed(site))
    assert killed == len(moments)
    pd.testing.assert_frame_equal(read_results(out), read_results(folder / "whole"))


def test_after_kills_around_a_records_rename_and_before_the_table_the_result_is_that_of_an_unbroken_run(
    three_saes: Path, plugin: Callable[..., Path]
):
    site = plugin(EVALS, **POINTS)
    kill_and_resume(three_saes, site, suite(three_saes, "fair"), ["before 1", "after 1", "after 2", "at scores.csv"])


@pytest.mark.slow
def test_twenty_kills_at_twenty_moments_change_nothing(three_saes: Path, plugin: Callable[..., Path]):
    site = plugin(EVALS, **POINTS)
    moments = [m for _ in range(8) for m in ("before 1", "after 1")] + [
        "at scores.csv",
        "at scores.parquet",
        "at runs.csv",
        "at scores.csv",
    ]
    assert len(moments) >= 20
    kill_and_resume(three_saes, site, suite(three_saes, "fair", seeds="[0, 1, 2]"), moments)
