"""The reference run can be made again: one command runs what the pages name, and the packed records give the committed tables."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import os
import re
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY

from hedgebench.results import read_results

ARCHIVES = sorted((REPOSITORY / "results").glob("*/*records.tar.xz"))
assert ARCHIVES


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "results")
    script = importlib.import_module("reference")
    monkeypatch.setattr(script, "TIMES", tmp_path / "times.csv")
    return script


@cache
def dry(*parts: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "results/reference.py", "--dry-run", *parts]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def looped(line: str) -> list[str]:
    """The commands of a loop over `$n`; of any other line, itself."""
    numbers = re.match(r"for n in ([\d ]+);", line)
    return [line.replace("$n", n) for n in numbers[1].split()] if numbers else [line]


def configs(lines: list[str]) -> list[str]:
    """The configs and scripts that commands name."""
    commands = itertools.chain.from_iterable(map(looped, lines))
    return [name for command in commands for name in re.findall(r"results/\S+\.(?:yaml|py)", command)]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_packed_records_give_the_committed_table(archive: Path, tmp_path: Path):
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    name = archive.name.removesuffix("records.tar.xz").removesuffix("-") or "scores"
    table = archive.with_name(f"{name}.parquet")
    pd.testing.assert_frame_equal(read_results(tmp_path), pd.read_parquet(table), check_like=True)


def test_what_the_run_took_is_that_of_the_packed_records_and_of_the_measured_costs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(REPOSITORY / "results")
    times = importlib.import_module("times")
    costs = pd.read_csv(REPOSITORY / "results/cost.csv")
    assert (REPOSITORY / "results/times.md").read_text() == times.page(times.runs(), costs)


def test_costs_are_of_every_config_and_of_all_its_saes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    cost = importlib.import_module("reference_cost")
    trained = [line for line in dry().stdout.splitlines() if "hedgebench train" in line]
    assert sorted(cost.CONFIGS) == sorted(name.removeprefix("results/") for name in configs(trained))
    measured = pd.read_csv(REPOSITORY / "results/cost.csv").query("what != 'the model'").groupby("config")
    for name in cost.CONFIGS:
        config, members = cost.planned(REPOSITORY / "results" / name)
        assert (len(members), sum(steps for *_, steps in members)) == tuple(
            measured.get_group(name)[["number", "steps"]].sum()
        )
        assert all(0 < steps <= config.steps for *_, steps in members)


def test_the_same_records_pack_to_the_same_bytes(tmp_path: Path):
    for number, place in enumerate(("a", "b")):
        record = tmp_path / place / "records/decoder_bias/1.json"
        record.parent.mkdir(parents=True)
        record.write_text('{"status": "ok"}')
        os.utime(record, (number, number))  # clocks do not count
        command = [sys.executable, "results/pack.py", str(tmp_path / place), str(tmp_path / f"{place}.tar.xz")]
        subprocess.run(command, cwd=REPOSITORY, check=True)
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()


def test_a_packed_card_names_its_sae_by_its_place_in_the_repository(tmp_path: Path):
    places = {"a": f"{REPOSITORY}/results/widths/../../out/saes/one", "b": "/elsewhere/one", "c": None}
    for digest, place in places.items():
        for file, content in (("records/an_eval/1.json", {}), (f"checkpoints/{digest}.json", {"ref": place, "k": 8.0})):
            (tmp_path / "run" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "run" / file).write_text(json.dumps(content))
    command = [sys.executable, "results/pack.py", str(tmp_path / "run"), str(tmp_path / "run.tar.xz")]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    with tarfile.open(tmp_path / "run.tar.xz") as packed:
        packed.extractall(tmp_path / "again", filter="data")
    found = {card.stem: json.loads(card.read_text()) for card in (tmp_path / "again/checkpoints").iterdir()}
    assert found == {
        "a": {"ref": "out/saes/one", "k": 8.0},
        "b": {"ref": "/elsewhere/one", "k": 8.0},
        "c": {"ref": None, "k": 8.0},
    }


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_packed_card_names_a_place_on_a_machine(archive: Path):
    with tarfile.open(archive) as packed:
        cards = [json.loads(packed.extractfile(one).read()) for one in packed if one.name.startswith("checkpoints/")]
    assert cards and not [card["ref"] for card in cards if str(card["ref"]).startswith("/")]


def test_of_seeds_that_are_measured_together_a_table_has_one_group():
    for name in ("losses", "seeds"):
        scores = pd.read_parquet(REPOSITORY / f"results/{name}/scores.parquet")
        groups = scores[(scores["eval"] == "seed_overlap") & (scores["metric"] == "shared")]
        assert len(groups) and groups.groupby("recipe")["digest"].nunique().eq(1).all()


def test_a_folder_without_records_is_not_packed(tmp_path: Path):
    command = [sys.executable, "results/pack.py", str(tmp_path), str(tmp_path / "r.tar.xz")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == f"{tmp_path}: no records there; `hedgebench run` leaves them\n"
    assert list(tmp_path.iterdir()) == []


def test_one_command_runs_what_the_pages_name_in_their_order():
    lines = dry().stdout.splitlines()
    assert len(lines) == len(set(lines))
    for page in ("losses/page", "growth/page", "widths/page", "growth/where", "seeds/page"):
        script = (REPOSITORY / f"results/{page}.py").read_text()
        named = re.findall(r"^    ((?:OMP_NUM_THREADS|hedgebench|python|for) ?.*?)(?: +#.*)?$", script, re.MULTILINE)
        named = [line for line in named if "results/" in line]
        assert len(named) > 4 and [line for line in lines if line in named] == named
    assert lines[-1] == "python results/claims.py"


def test_every_config_that_the_commands_name_is_there():
    files = configs(dry().stdout.splitlines())
    assert len(files) > 20 and all((REPOSITORY / name).is_file() for name in files)


def test_what_grows_grows_from_what_an_earlier_command_of_its_part_trains(reference: ModuleType):
    grown = 0
    for part in reference.claims.PARTS:
        trained = list[Path]()
        for command in itertools.chain.from_iterable(map(looped, reference.commands(part))):
            if (found := re.search(r"hedgebench train (results/\S+) --out (\S+?)(?:;|$)", command)) is None:
                continue
            config = REPOSITORY / found[1]
            for entry in yaml.safe_load(config.read_text())["saes"]:
                if isinstance(start := entry.get("grow", {}).get("from"), str):
                    grown += 1
                    assert (config.parent / start).resolve().parent in trained, f"{part.folder}: {command}"
            trained.append(REPOSITORY / found[2])
    assert grown > 20


def test_a_part_may_be_named_and_no_other_word():
    assert "results/losses" not in dry("widths").stdout
    wrong = dry("width")
    assert wrong.returncode == 2 and wrong.stderr.splitlines()[-1] == (
        "reference.py: error: no part is called 'width'; there are losses, growth, widths, where, seeds"
    )


def test_each_command_leaves_its_seconds_and_one_that_fails_ends_the_run(reference: ModuleType, tmp_path: Path):
    servers: list[subprocess.Popen[bytes]] = []
    reference.run(f"python -c 'import sys; print(sys.executable)' > {tmp_path}/python", servers)
    assert Path((tmp_path / "python").read_text().strip()).parent == Path(sys.executable).parent
    reference.run("sleep 60 &", servers)
    assert servers[0].poll() is None
    servers[0].terminate()
    servers[0].wait()
    with pytest.raises(SystemExit, match=r"^false: ended with 1; what was done stays"):
        reference.run("false", servers)
    with reference.TIMES.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["returned"] for row in rows] == ["0", "1"] and float(rows[0]["seconds"]) >= 0
