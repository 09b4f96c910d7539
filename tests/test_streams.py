"""A command goes on when nobody reads what it prints, and its exit code is its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import known_regressions as known
import pytest
from known_scores import table

from hedgebench.results import read_results, write_table

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs a line of bash in an empty folder; `hb` is the command, and the exit code is that of `hb` wherever it stands in a pipe."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        script = f'hb() {{ "{sys.executable}" -P -m hedgebench.cli "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
        return subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)

    return run


def saved(tmp_path: Path, save_sae: Callable[..., Path]) -> str:
    for i in range(3):
        save_sae(tmp_path / f"saes/{i}", seed=i)
    return "hb run --sae 'saes/*' --eval decoder_bias --out out"


@pytest.mark.parametrize("heard", ["2>&1 | true", "2>/dev/full", ">&-"])
def test_a_batch_is_done_though_nobody_reads_of_it(
    heard: str, shell: Shell, tmp_path: Path, save_sae: Callable[..., Path]
):
    assert shell(f"{saved(tmp_path, save_sae)} {heard}").returncode == 0
    assert read_results(tmp_path / "out")["sae"].nunique() == 3


def test_a_batch_with_a_failed_run_fails_though_nobody_reads_of_it(
    shell: Shell, tmp_path: Path, save_sae: Callable[..., Path]
):
    (tmp_path / "saes/broken").mkdir(parents=True)
    (tmp_path / "saes/broken/cfg.json").write_text("{}")
    (tmp_path / "saes/broken/sae_weights.safetensors").write_text("no weights")
    assert shell(f"{saved(tmp_path, save_sae)} 2>&1 | true").returncode == 1


@pytest.mark.parametrize("heard", ["| true", "2>/dev/full"])
def test_a_regression_is_one_though_nobody_reads_of_it(heard: str, shell: Shell, tmp_path: Path):
    write_table(table(known.drawn()), tmp_path / "before.csv")
    write_table(table(known.drawn(shift=-100.0)), tmp_path / "now.csv")
    assert shell(f"hb check now.csv --baseline before.csv {heard}").returncode == 1


def test_results_that_cannot_be_written_are_told_in_one_line(shell: Shell):
    done = shell("hb cache > /dev/full")
    assert (done.returncode, done.stderr) == (2, "hedgebench: the system says: No space left on device\n")


def test_what_check_finds_is_printed_also_where_its_reports_cannot_be_written(shell: Shell, tmp_path: Path):
    write_table(table(known.drawn()), tmp_path / "before.csv")
    write_table(table(known.drawn(shift=-100.0)), tmp_path / "now.csv")
    done = shell("hb check now.csv --baseline before.csv --markdown /dev/full/report.md")
    assert done.returncode == 2 and "worse" in done.stdout and len(done.stderr.splitlines()) == 1
