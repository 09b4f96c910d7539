"""What is carried out together, in which order, and how long it is said to take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hedgebench.cli import main
from hedgebench.jobs import JOB_RUNS, Agenda, make_jobs
from hedgebench.pace import Bar, Pace, kind_of, words
from hedgebench.types import Checkpoint, Run


def run_of(name: str = "a", model: str | None = "m", hook: str | None = "h", seed: int = 0, eval_name: str = "e", **more: Any) -> Run:  # fmt: skip
    card = Checkpoint(name, name, "batchtopk", d_in=8, width=12, hook=hook, ref=f"saes/{name}")
    given = {"eval_version": 1, "config": {}, "revision": None, "data": "d", "data_source": None, "dtype": "float32"}
    return Run(f"{eval_name} {name} {model} {hook} {seed}", card, eval_name, seed=seed, model=model, **given | more)


def taken(agenda: Agenda, *places: int) -> list[str]:
    """The names of the jobs that the places take in turn."""
    return [job.first.run_id if (job := agenda.take(place)) else "-" for place in places]


# --- jobs ---------------------------------------------------------------------------------------------------------------------


def test_runs_share_a_job_where_eval_config_seed_model_text_and_hook_point_are_one():
    one = [run_of(name) for name in "abc"]
    others = [run_of(seed=1), run_of(hook="i"), run_of(model="n"), run_of(eval_name="f"), run_of(config={"n": 1})]
    jobs = make_jobs([*one, *others], {"e": True, "f": True})
    assert sorted(len(job.runs) for job in jobs) == [1] * len(others) + [3]
    assert all(len(job.runs) == 1 for job in make_jobs(one, {"e": False}))


@pytest.mark.parametrize(("n", "places", "sizes"), [
    (10, 1, [10]), (10, 2, [5, 5]), (10, 3, [4, 4, 2]), (2, 4, [1, 1]), (JOB_RUNS + 1, 1, [17, 16]), (100, 1, [25] * 4)])  # fmt: skip
def test_a_shared_job_is_cut_evenly_into_what_one_place_is_to_do(n: int, places: int, sizes: list[int]):
    jobs = make_jobs([run_of(str(i)) for i in range(n)], {"e": True}, places)
    assert [len(job.runs) for job in jobs] == sizes


def test_where_there_are_jobs_enough_for_all_places_none_is_cut():
    runs = [run_of(name, seed=seed) for name in "abcd" for seed in range(4)]
    assert [len(job.runs) for job in make_jobs(runs, {"e": True}, 4)] == [4] * 4


def test_a_place_does_all_runs_of_a_hook_point_and_text_before_it_goes_to_the_next():
    runs = [run_of(name, hook=hook, seed=seed) for seed in (0, 1) for name in "ab" for hook in "hi"]
    agenda = Agenda(make_jobs(runs, {}))
    hooks = [name.split()[3] for name in taken(agenda, *[0] * 8)]
    assert hooks == ["h"] * 4 + ["i"] * 4


def test_a_place_does_all_evals_that_run_no_model_on_one_sae_while_it_is_loaded():
    runs = [run_of(name, model=None, eval_name=e) for e in ("e", "f", "g") for name in "ab"]
    agenda = Agenda(make_jobs(runs, {}))
    assert [name.split()[1] for name in taken(agenda, *[0] * 6)] == ["a"] * 3 + ["b"] * 3


def test_places_spread_over_hook_points_and_then_help_where_most_is_left():
    runs = [run_of(name, hook=hook) for hook, names in {"h": "ab", "i": "abcdef"}.items() for name in names]
    agenda = Agenda(make_jobs(runs, {}))
    assert [name.split()[3] for name in taken(agenda, 0, 1, 0, 1)] == ["h", "i", "h", "i"]
    assert [name.split()[3] for name in taken(agenda, 0, 1, 0, 1)] == ["i"] * 4
    assert agenda.take(0) is None and agenda.take(1) is None


def test_what_is_put_back_comes_next():
    agenda = Agenda(make_jobs([run_of(name) for name in "abc"], {}))
    job = agenda.take(0)
    assert job is not None
    agenda.put_back(job)
    assert agenda.take(0) == job


def test_thousands_of_jobs_are_put_together_and_handed_out_at_once():
    import time

    runs = [run_of(str(i), model=None) for i in range(5000)] + [run_of(str(i)) for i in range(5000)]
    started = time.process_time()
    agenda = Agenda(make_jobs(runs, {"e": True}, 2))
    while agenda.take(0) or agenda.take(1):
        pass
    assert time.process_time() - started < 3


# --- times --------------------------------------------------------------------------------------------------------------------


def test_the_mean_of_an_eval_with_its_settings_is_what_a_run_takes():
    pace = Pace()
    assert pace.seconds(kind_of(run_of())) is None
    for seconds in (1.0, 3.0):
        pace.add(kind_of(run_of(seed=int(seconds))), seconds)
    assert pace.seconds(kind_of(run_of("other"))) == 2.0
    assert (
        pace.seconds(kind_of(run_of(config={"n": 1}))) is None and pace.seconds(kind_of(run_of(eval_name="f"))) is None
    )


def test_a_time_is_told_in_the_unit_that_fits():
    assert [words(s) for s in (0.05, 12.3, 99, 100, 3600, 9000)] == [
        "0.05 s",
        "12 s",
        "99 s",
        "2 min",
        "60 min",
        "2.5 h",
    ]


def bar(runs: list[Run], pace: Pace, n_places: int = 1, at: float = 0.0) -> Bar:
    shown = Bar("b", runs, pace, n_places)
    shown.start_t -= at
    return shown


def test_the_time_left_goes_by_what_past_records_say_and_not_by_the_number_of_runs():
    quick, slow = run_of("q", eval_name="quick"), [run_of(str(i), eval_name="slow") for i in range(3)]
    pace = Pace()
    pace.add(kind_of(quick), 1.0)
    pace.add(kind_of(slow[0]), 100.0)
    for n_places, left in ((1, 301.0), (2, 150.5)):
        shown = bar([quick, *slow], pace, n_places)
        drawn = shown.format_dict
        assert (drawn["total"] - drawn["n"]) / drawn["rate"] == pytest.approx(left, rel=0.02)
    shown = bar([quick, *slow], pace, at=1.0)
    shown.count(quick, 1.0)
    drawn = shown.format_dict
    assert (drawn["total"] - drawn["n"]) / drawn["rate"] == pytest.approx(300.0, rel=0.05)
    for run in slow[:2]:
        shown.count(run, 100.0)
    shown.start_t -= 600.0  # three times as long as the records say
    drawn = shown.format_dict
    assert 200 < (drawn["total"] - drawn["n"]) / drawn["rate"] < 300


def test_where_nothing_is_known_no_time_is_told_until_a_run_is_done():
    runs = [run_of(str(i)) for i in range(4)]
    shown = bar(runs, Pace(), at=10.0)
    assert not shown.format_dict["rate"]
    shown.under_way(0, runs[0], 0.5)
    assert (4 - 0.5) / shown.format_dict["rate"] == pytest.approx(70.0, rel=0.02)
    shown.under_way(0, runs[0], 0.0)
    shown.count(runs[0], 10.0)
    assert 3 / shown.format_dict["rate"] == pytest.approx(30.0, rel=0.05)


def test_a_dry_run_shows_every_run_what_is_done_and_the_time_by_the_records_of_the_folder(
    tmp_path: Path, save_sae: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    for seed in range(4):
        save_sae(tmp_path / "saes" / f"sae-{seed}", seed=seed)
    (tmp_path / "s.yaml").write_text(
        "saes: [{path: saes/*}]\nevals: [decoder_bias, {decoder_similarity: {n_batches: 0}}]\n"
    )
    command = ["run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out")]
    assert main([*command, "--only", "decoder_bias", "--limit", "2"]) == 0
    capfd.readouterr()
    before = sorted((tmp_path / "out").rglob("*"))
    assert main([*command, "--dry-run", "--workers", "2", "--limit", "4"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:8]] == ["done"] * 2 + ["to"] * 4 + ["later"] * 2
    assert lines[8] == "8 runs: 2 done, 2 later, 4 to do; 4 jobs for 2 workers"
    assert (
        lines[9].startswith("about ")
        and f"for 2 of them, by 2 records of their evals in {tmp_path / 'out'}" in lines[9]
    )
    assert lines[10:] == [f"time unknown: 2 runs of decoder_similarity, of which no record with these settings is in {tmp_path / 'out'}"]  # fmt: skip
    one_worker = "jobs and time are those of one worker; Ray starts as many as have room, and --workers N plans for N"
    for options, said in ((["--executor", "ray"], True), (["--executor", "ray", "--workers", "2"], False), ([], False)):
        assert main([*command, "--dry-run", *options]) == 0
        assert (one_worker in capfd.readouterr().out.splitlines()) is said
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_a_dry_run_shows_what_cannot_be_read_as_failing_with_the_words_of_the_real_run(
    tmp_path: Path, save_sae: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    save_sae(tmp_path / "good")
    (tmp_path / "s.yaml").write_text(
        "saes: [{path: good}, {path: goood}, {path: gone}]\nevals: [decoder_bias, {decoder_similarity: {n_batches: 0}}]\n"
    )
    command = ["run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out")]
    assert main([*command, "--dry-run"]) == 0
    dry = capfd.readouterr()
    assert [line.split()[0] for line in dry.out.splitlines()[:6]] == ["to", "fails", "fails"] * 2
    assert "\n6 runs: 4 fails, 2 to do; 2 jobs for 1 worker\n" in dry.out
    told = [line.removeprefix("hedgebench: ") for line in dry.err.splitlines()]
    assert main(command) == 1
    real = [line for line in capfd.readouterr().err.splitlines() if line.startswith("failed: decoder_bias")]
    assert len(told) == 2 and [line.partition(": ")[2].partition(": ")[2] for line in real] == told
    assert main([*command, "--dry-run"]) == 0
    dry = capfd.readouterr()
    assert "6 runs: 2 done, 4 failed; 0 jobs" in dry.out and not dry.err, "their records say so"
    assert main([*command, "--dry-run", "--force", "--only", "decoder_bias", "--limit", "2"]) == 0
    dry = capfd.readouterr()
    assert "3 runs: 1 fails, 1 later, 1 to do; 1 job for" in dry.out and dry.err.splitlines() == [
        f"hedgebench: {told[0]}"
    ]


def test_options_add_to_each_other(tmp_path: Path, save_sae: Callable[..., Path], plugin: Callable[..., Path]):
    site = plugin(
        """
        from pathlib import Path
        from hedgebench import Eval, Metric, Score
        HERE = Path(__file__).parent
        class Odd(Eval):
            name, version, draws = "odd", 1, False
            metrics = (Metric("sum", "a sum"),)
            def run(self, ctx, cfg):
                with (HERE / "log").open("a") as log:
                    log.write(f"{self.name} {ctx.checkpoint.name}\\n")
                if (HERE / "broken").exists() and ctx.checkpoint.name == "b":
                    raise ValueError("broken")
                yield Score("sum", 1.0)
        class Even(Odd):
            name = "even"
        """,
        odd="Odd",
        even="Even",
    )
    for seed, name in enumerate("abc"):
        save_sae(tmp_path / "saes" / name, seed=seed)
    (tmp_path / "s.yaml").write_text("saes: [{path: saes/*}]\nevals: [odd, even]\n")

    def done(*options: str, code: int = 0) -> list[str]:
        (site / "log").unlink(missing_ok=True)
        assert main(["run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out"), *options]) == code
        return (site / "log").read_text().splitlines() if (site / "log").exists() else []

    (site / "broken").touch()
    assert done("--only", "odd", code=1) == ["odd a", "odd b", "odd c"]
    assert done("--only", "odd", code=1) == []
    assert done("--retry-failed", "--only", "odd", code=1) == ["odd b"]
    (site / "broken").unlink()
    assert done("--limit", "1", code=1) == ["even a"]
    assert done("--retry-failed", "--limit", "1") == ["odd b"]
    assert done("--only", "odd", "--only", "even", "--limit", "1") == ["even b"]
    assert done("--force", "--only", "odd", "--limit", "2") == ["odd a", "odd b"]
    assert done("--force", "--retry-failed", "--only", "even") == ["even a", "even b", "even c"]
    assert done("--force") == [f"{e} {name}" for name in "abc" for e in ("even", "odd")]
