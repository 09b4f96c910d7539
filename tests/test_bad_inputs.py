"""Whatever is wrong with an input, one line says what, where and what to do: no traceback, no hang, no code run, nothing written where nothing should be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from bad_inputs import checkpoints, formats, good, records
from bad_inputs.__main__ import MARK, PAGE
from bad_inputs.cases import CANARY, Case, carry_out, faults, files
from bad_inputs.catalog import CASES, row

from hedgebench.cli import main
from hedgebench.results import read_results, read_runs


@pytest.fixture(scope="session", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is imported once is no cost of a case."""
    case = Case("warm", "nothing", lambda here: ["inspect", str(good.sae(here / "sae"))], "", 0)
    assert carry_out(case, tmp_path_factory.mktemp("warm")).code == 0


@pytest.fixture(scope="module")
def rows() -> set[str]:
    return set(PAGE.read_text().partition(MARK)[2].splitlines())


@pytest.mark.parametrize("case", CASES, ids=[case.name[:90] for case in CASES])
def test_a_bad_input_is_one_line_and_an_exit_code(case: Case, tmp_path: Path, rows: set[str]):
    shown = carry_out(case, tmp_path)
    assert not faults(case, shown), shown
    assert row(case, shown) in rows, "docs/bad-input.md is older than the cases: cd tests && python -m bad_inputs"


def test_the_page_has_a_row_for_every_case_and_no_other():
    made = [line for line in PAGE.read_text().partition(MARK)[2].splitlines() if line.startswith("| ")]
    assert len(made) - sum(line.startswith("| input ") for line in made) == len(CASES) >= 200
    assert max(Counter(case.name for case in CASES).values()) == 1


ALONE = (
    "suite: a pipe",
    "suite: a tag that would run code",
    "results folder: a record: a link to a device without end",
    "other projects' files: ae.pt: code beside the tensors",
    "plugin package: it exits while it is imported",
)


@pytest.mark.parametrize("name", ALONE)
def test_a_process_of_its_own_says_the_same(name: str, tmp_path: Path):
    (case,) = [case for case in CASES if case.name == name]
    args = [str(arg) for arg in case.make(tmp_path)]
    before = files(tmp_path)
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "hedgebench.cli", *args],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == case.code
    assert case.said in done.stderr and done.stderr.count("\n") == 1
    assert {name for name in files(tmp_path) - before if not name.startswith("out")} == set()


def test_the_code_in_these_inputs_is_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import pickle

    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(checkpoints.Bomb()))
    assert (tmp_path / CANARY).exists()


def test_damaged_saes_fail_alone_and_the_good_one_beside_them_has_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    good.sae(tmp_path / "good")
    said = {}
    for i, case in enumerate([*checkpoints.CASES, *formats.CASES]):
        here = tmp_path / f"bad{i}"
        here.mkdir()
        said[f"bad{i}/{case.make(here)[-1]}"] = case.said
    lines = "".join(f"- path: {path}\n  name: {path.replace('/', '-')}\n" for path in ("good", *said))
    (tmp_path / "suite.yaml").write_text(f"saes:\n{lines}evals: [decoder_bias]\n")
    started = time.monotonic()
    assert main(["run", "suite.yaml", "--out", "out"]) == 1
    assert time.monotonic() - started < 300
    err = capfd.readouterr().err
    assert "Traceback" not in err and not list(tmp_path.rglob(CANARY))
    assert set(read_results("out")["sae"]) == {"good"}
    runs = read_runs("out")
    errors = "\n".join(runs.loc[runs["status"] == "failed", "error"])
    assert not [words for words in said.values() if words.removeprefix("sae/").removeprefix("sae: ") not in errors]
    assert err.count("failed: decoder_bias on ") == len(runs) - 1 > 100


def test_damaged_records_are_told_one_by_one_and_the_good_ones_number_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    records.results(tmp_path)
    (tmp_path / "r/records/decoder_bias/bad.json").unlink()
    damaged = [case for case in records.CASES if ": a record: " in case.name]
    for i, case in enumerate(damaged):
        case.make(tmp_path / f"made{i}")
        made = (tmp_path / f"made{i}/r/records/decoder_bias").glob("*.json")
        (bad,) = (file for file in made if file.stem != "good")
        shutil.move(bad, f"r/records/decoder_bias/bad{i}.json")
    scores = read_results("r")
    assert scores["sae"].tolist() == ["good"] and scores["value"].tolist() == [1.5]
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert all(told.count(f"bad{i}.json ") == 1 for i in range(len(damaged)))
    pd.testing.assert_frame_equal(
        read_runs("r")[["sae", "status"]], pd.DataFrame({"sae": ["good"], "status": ["ok"]}), check_dtype=False
    )
