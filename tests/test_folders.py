"""Results folders that are full, closed, or hold damaged files: one clear line, nothing lost that was done, and the same command goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked_runs
import pandas as pd
import pytest

from hedgebench.board.sources import read_source
from hedgebench.cli import main
from hedgebench.places import Here
from hedgebench.plan import make_plan
from hedgebench.results import read_results, read_runs
from hedgebench.runner import Summary, execute, pending_runs
from hedgebench.session import Session
from hedgebench.suite import read_suite
from hedgebench.types import BadInput

N = 5


@pytest.fixture
def five(tmp_path: Path, save_sae: Callable[..., Path]) -> Path:
    """A suite of five runs."""
    for seed in range(N):
        save_sae(tmp_path / "saes" / f"sae-{seed}", seed=seed)
    (tmp_path / "s.yaml").write_text("saes: [{path: saes/*}]\nevals: [decoder_bias]\n")
    return tmp_path


def run(folder: Path, *options: str, out: Path | None = None) -> int:
    return main(["run", str(folder / "s.yaml"), "--out", str(out or folder / "out"), *options])


def records(out: Path) -> list[Path]:
    return sorted((out / "records").rglob("*.json"))


def complaint(capfd: pytest.CaptureFixture[str]) -> str:
    err = capfd.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("hedgebench:")]
    assert "Traceback" not in err
    return line


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the disk full after so many files of the results folder."""
    sync, left = os.fsync, [0]

    def fsync(fd: int) -> None:
        sync(fd)
        if "/out/" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def make(n_files: int) -> None:
        left[0] = n_files
        monkeypatch.setattr("os.fsync", fsync)

    return make


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_ends_the_batch_with_one_line_and_keeps_what_is_done(
    five: Path, full: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], workers: str
):  # fmt: skip
    full(N + 2)  # the cards and two records
    assert run(five, "--workers", workers) == 2
    line = complaint(capfd)
    assert "No space left on device" in line and "what is finished is kept" in line and "goes on from there" in line
    monkeypatch.undo()
    kept = records(five / "out")
    assert len(kept) == 2 and not list((five / "out").rglob("*.part"))
    before = [path.read_bytes() for path in kept]
    assert run(five) == 0
    assert [path.read_bytes() for path in kept] == before and len(read_runs(five / "out")) == N


def test_a_disk_that_is_full_when_the_tables_are_written_is_told_and_a_later_run_writes_them(
    five: Path, full: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    full(2 * N)
    assert run(five) == 2
    assert "scores.csv: No space left on device" in complaint(capfd)
    assert len(records(five / "out")) == N and not (five / "out/scores.csv").exists()
    monkeypatch.undo()
    assert run(five) == 0 and (five / "out/scores.csv").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True).returncode:
        pytest.skip("mounting takes root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_on_a_small_disk_that_is_really_full_nothing_is_lost(
    five: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
):
    out, filler = small_disk / "out", small_disk / "filler"
    assert run(five, "--limit", "2", out=out) == 0
    before = {path: path.read_bytes() for path in records(out)}
    assert len(before) == 2
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    capfd.readouterr()
    assert run(five, out=out) == 2
    assert "No space left on device" in complaint(capfd)
    assert {path: path.read_bytes() for path in records(out)} == before
    filler.unlink()
    assert run(five, out=out) == 0 and len(read_runs(out)) == N


def test_a_folder_that_can_only_be_read_is_told_before_anything_is_computed(
    five: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
):
    out = small_disk / "out"
    assert run(five, "--limit", "2", out=out) == 0
    first = read_results(out)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    capfd.readouterr()
    assert run(five, out=out) == 2
    assert "Read-only file system" in complaint(capfd)
    pd.testing.assert_frame_equal(read_results(out), first)


def test_in_a_folder_that_can_only_be_read_what_is_all_done_is_fine_and_what_is_not_is_told(
    five: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    assert run(five) == 0
    before = {path: path.stat().st_mtime_ns for path in (five / "out").rglob("*")}
    opened = Path.open

    def only_read(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "out" in self.parts and mode[0] != "r":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", only_read)
    capfd.readouterr()
    assert run(five) == 0
    assert capfd.readouterr().err.splitlines() == [
        "nothing to do: all 5 runs are done",
        f"{five / 'out'} can only be read: its tables stay as they are",
        "5 of 5 runs ok (5 were done before), 0 cannot be measured, 0 failed",
    ]
    assert {path: path.stat().st_mtime_ns for path in (five / "out").rglob("*")} == before
    assert run(five, "--force") == 2
    assert "Read-only file system" in complaint(capfd)


CHANGING = """
    from dataclasses import dataclass
    from pathlib import Path
    from hedgebench import Eval, Metric, Score

    @dataclass(frozen=True)
    class Size:
        n: int = 1

    class One(Eval):
        name, version, Config = "one", 1, Size
        metrics = (Metric("size", "a number"),)
        def run(self, ctx, cfg):
            with (Path(__file__).parent / "log").open("a") as log:
                log.write("x")
            yield Score("size", float(cfg.n))

    class Two(One):
        name = "two"
"""


def test_of_a_suite_that_was_changed_only_what_is_new_is_computed_and_what_is_old_is_told(
    tmp_path: Path,
    save_sae: Callable[..., Path],
    plugin: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
):
    site = plugin(CHANGING, one="One", two="Two")
    for seed, name in enumerate("abc"):
        save_sae(tmp_path / "saes" / name, seed=seed)

    def then(saes: str, evals: str, seeds: str, *options: str) -> tuple[int, str]:
        """How many runs are computed, and what is said of others in the folder."""
        (site / "log").write_text("")
        places = ", ".join(f"{{path: saes/{name}}}" for name in saes)
        (tmp_path / "s.yaml").write_text(f"saes: [{places}]\nevals: [{evals}]\nseeds: [{seeds}]\n")
        assert run(tmp_path, *options) == 0
        said = [line for line in capfd.readouterr().out.splitlines() if "of other commands" in line]
        return len((site / "log").read_text()), said[0].partition(" of other")[0] if said else ""

    assert then("ab", "one, two", "0, 1") == (8, "")
    assert then("ab", "one, two", "0, 1", "--only", "one", "--limit", "1") == (0, "")
    assert then("ab", "one", "0, 1") == (0, "4 runs are")  # an eval is removed,
    assert then("ab", "one: {n: 2}", "0, 1") == (4, "8 runs are")  # a setting is another,
    assert then("abc", "one: {n: 2}", "0, 1") == (2, "8 runs are")  # there is one more SAE,
    assert then("abc", "one: {n: 2}", "0") == (0, "11 runs are")  # and fewer seeds
    scores = read_results(tmp_path / "out")
    assert len(scores) == len(read_runs(tmp_path / "out")) == 14
    of_one = scores[scores["eval"] == "one"]
    assert of_one.groupby("config")["value"].unique().map(list).to_dict() == {'{"n": 1}': [1.0], '{"n": 2}': [2.0]}


def test_what_failed_is_tried_again_by_two_workers_and_counts_once(
    tmp_path: Path, save_sae: Callable[..., Path], plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    failing = CHANGING.replace("yield Score", "if (Path(__file__).parent / ctx.checkpoint.name).exists(): raise ValueError('ill')\n            yield Score")  # fmt: skip
    site = plugin(failing, one="One", two="Two")
    for seed, name in enumerate("abc"):
        save_sae(tmp_path / "saes" / name, seed=seed)
    (tmp_path / "s.yaml").write_text("saes: [{path: saes/*}]\nevals: [one, two]\n")
    for name in "bc":
        (site / name).touch()
    assert run(tmp_path, "--workers", "2") == 1
    (site / "b").unlink()
    capfd.readouterr()
    assert run(tmp_path, "--workers", "2", "--retry-failed") == 1
    err = capfd.readouterr().err
    assert "4 of 6 runs ok (2 were done before), 0 cannot be measured, 2 failed" in err
    assert err.count("failed: ") == 2 and "--retry-failed runs them again" in err
    assert (site / "log").read_text() == "x" * (6 + 4)
    runs = read_runs(tmp_path / "out")
    assert runs.groupby("sae")["status"].unique().map(list).to_dict() == {"a": ["ok"], "b": ["ok"], "c": ["failed"]}
    assert len(read_results(tmp_path / "out")) == 4


def test_a_folder_that_is_somebody_elses_is_told(five: Path, capfd: pytest.CaptureFixture[str]):
    (five / "out").mkdir(mode=0o500)
    if os.access(five / "out", os.W_OK):
        pytest.skip("root may write anywhere")
    assert run(five) == 2
    assert "Permission denied" in complaint(capfd)


@pytest.mark.parametrize("place", ["out", "out/records", "out/checkpoints", "out/logs", "out/records/decoder_bias"])
def test_a_file_where_a_folder_should_be_is_told(five: Path, place: str, capfd: pytest.CaptureFixture[str]):
    (five / place).parent.mkdir(parents=True, exist_ok=True)
    (five / place).write_text("in the way")
    assert run(five) == 2
    assert str(five / "out") in complaint(capfd) and (five / place).read_text() == "in the way"


# --- damaged records ---------------------------------------------------------------------------------------------------------


def _score(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        record = json.loads(path.read_text())
        record["hedgebench"]["scores"][0] |= changes
        path.write_text(json.dumps(record))

    return damage


def _part(**changes: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        record = json.loads(path.read_text())
        record["hedgebench"] |= changes
        path.write_text(json.dumps(record))

    return damage


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


DAMAGE: dict[str, Callable[[Path], object]] = {
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "no text": lambda path: path.write_bytes(bytes(range(256))),
    "no UTF-8": lambda path: path.write_bytes(path.read_bytes().replace(b"decoder", b"deco\xffer")),
    "a list": lambda path: path.write_text("[]"),
    "null": lambda path: path.write_text("null"),
    "another's": lambda path: path.write_text('{"hedgebench": 3}'),
    "deep": lambda path: path.write_text("[" * 100_000),
    "of another run": lambda path: shutil.copy(next(p for p in path.parent.iterdir() if p != path), path),
    "no scores": _part(scores=None),
    "scores of another kind": _part(scores=[3]),
    "a status of another kind": _part(status="fine"),
    "incomplete of another kind": _part(incomplete=["data"]),
    "error of another kind": _part(status="failed", error=3),
    "seconds of another kind": _part(seconds="long"),
    "versions of another kind": _part(versions=None),
    "a value that is a text": _score(value="much"),
    "a value that is not finite": _score(value=float("nan")),
    "a value that is true": _score(value=True),
    "no value": _score(value=None),
    "a metric of another kind": _score(metric=3),
    "params of another kind": _score(params={"k": 1}),
    "stderr of another kind": _score(stderr="small"),
    "a folder": _replaced(lambda path: path.mkdir()),
    "a folder with a file": _replaced(lambda path: (path.mkdir(), (path / "x").write_text("x"))),
    "a link to itself": _replaced(lambda path: path.symlink_to(path.name)),
    "a link to nothing": _replaced(lambda path: path.symlink_to("nowhere")),
    "a pipe": _replaced(lambda path: os.mkfifo(path)),
}


def carry_out(folder: Path) -> Summary:
    """In this process."""
    plan, out = make_plan(read_suite(folder / "s.yaml")), folder / "out"
    return execute(plan, pending_runs(plan, out), out, [Here(Session())])


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_record_is_set_aside_with_a_warning_and_made_again(
    name: str, five: Path, caplog: pytest.LogCaptureFixture
):
    out = five / "out"
    assert carry_out(five).ok == N
    first, others = read_results(out), {path: path.stat().st_mtime_ns for path in records(out)}
    victim = records(out)[2]
    del others[victim]
    DAMAGE[name](victim)
    damaged = victim.lstat().st_ino
    caplog.clear()
    summary = carry_out(five)
    assert (summary.ok, summary.done_before) == (N, N - 1)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert f"{victim} is no whole record: set aside as {victim.stem}.damaged" in warning
    assert victim.with_suffix(".damaged").lstat().st_ino == damaged
    assert {path: path.stat().st_mtime_ns for path in records(out) if path != victim} == others
    pd.testing.assert_frame_equal(read_results(out), first)


def test_a_record_that_was_copied_to_another_name_counts_once_and_is_told(five: Path, caplog: pytest.LogCaptureFixture):
    carry_out(five)
    out = five / "out"
    scores, runs = read_results(out), read_runs(out)
    victim = records(out)[0]
    copy = victim.with_name("a copy.json")
    copy.write_text(victim.read_text().replace('"value": ', '"value": 1'))
    pd.testing.assert_frame_equal(read_runs(out), runs)
    pd.testing.assert_frame_equal(read_results(out), scores)
    warning = f"{copy} is left out: it is the record of a run whose place is {victim.parent.name}/{victim.name}"
    assert [record.getMessage() for record in caplog.records] == [warning] * 2
    assert len(read_source(out).runs) == N


def test_a_record_damaged_again_and_again_leaves_all_its_pieces(five: Path):
    carry_out(five)
    victim = records(five / "out")[0]
    for i in range(3):
        DAMAGE["a folder with a file" if i else "half"](victim)
        assert carry_out(five).ok == N
    assert len(list(victim.parent.glob("*.damaged"))) == 3


def test_a_dry_run_sets_nothing_aside_and_counts_a_damaged_record_as_to_do(
    five: Path, capfd: pytest.CaptureFixture[str]
):
    carry_out(five)
    victim = records(five / "out")[0]
    DAMAGE["half"](victim)
    before = sorted((five / "out").rglob("*"))
    assert run(five, "--dry-run") == 0
    assert "5 runs: 4 done, 1 to do; 1 job for 1 worker" in capfd.readouterr().out
    assert sorted((five / "out").rglob("*")) == before


def test_a_record_that_may_be_whole_but_cannot_be_read_is_left_alone(five: Path):
    carry_out(five)
    victim = records(five / "out")[0]
    victim.chmod(0)
    if os.access(victim, os.R_OK):
        pytest.skip("root may read anything")
    with pytest.raises(BadInput, match=f"cannot read {victim}: permission denied"):
        carry_out(five)


def test_what_a_killed_process_left_half_written_is_swept_away_but_not_what_another_is_writing(five: Path):
    carry_out(five)
    out = five / "out"
    left = [out / place / f".{name}.0123.part" for place, name in (
        ("records/decoder_bias", "r.json"), ("checkpoints", "c.json"), ("", "scores.csv"), ("", "runs.csv"))]  # fmt: skip
    others = [out / ".leaderboard.html.0123.part", out / "notes.part"]
    other = forked_runs.hold(out)
    for path in [*left, *others]:
        path.write_text("half")
    try:
        carry_out(five)
        assert all(path.exists() for path in [*left, *others])
    finally:
        other.kill()
        other.join()
    carry_out(five)
    assert not any(path.exists() for path in left) and all(path.exists() for path in others)


def test_on_a_file_system_without_locks_a_batch_goes_on_and_warns_once(
    five: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", lockf)
    (five / "out/checkpoints").mkdir(parents=True)
    (five / "out/checkpoints/.c.json.0123.part").write_text("whose?")
    assert carry_out(five).ok == N
    assert caplog.text.count("without locks (No locks available): start no second process on it") == 1
    assert (five / "out/checkpoints/.c.json.0123.part").exists()
