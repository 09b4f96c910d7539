"""Artifacts: made once, found again by all that decides them, and by nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hedgebench import activations
from hedgebench.artifacts import Artifact, Artifacts, Memory
from hedgebench.cache import cache_limit, rooms, trim
from hedgebench.types import BadInput

WHERE = {"model": "m@1", "hook": "blocks.1.hook_resid_post", "seed": 0}


class Maker:
    """Makes an artifact and counts how often."""

    def __init__(self, value: float = 1.0) -> None:
        self.value, self.times = value, 0

    def __call__(self) -> Artifact:
        self.times += 1
        return Artifact({"x": torch.full((2, 3), self.value), "n": torch.arange(4)}, {"words": ["a", "é"], "f1": 0.5})


def test_an_artifact_comes_back_from_disk_as_it_was_made(tmp_path: Path):
    make = Maker()
    made = Artifacts(WHERE, tmp_path).get("words", {"size": 3}, make)
    again = Artifacts(WHERE, tmp_path).get("words", {"size": 3}, make)
    assert make.times == 1
    assert all(torch.equal(made.tensors[name], again.tensors[name]) for name in ("x", "n"))
    assert again.facts == {"words": ["a", "é"], "f1": 0.5}


@pytest.mark.parametrize(
    ("identity", "name", "settings"),
    [
        ({**WHERE, "seed": 1}, "words", {"size": 3}),
        ({**WHERE, "hook": "blocks.0.hook_resid_post"}, "words", {"size": 3}),
        ({**WHERE, "model": "m@2"}, "words", {"size": 3}),
        (WHERE, "probes", {"size": 3}),
        (WHERE, "words", {"size": 4}),
        (WHERE, "words", {"size": 3, "data": "other"}),
    ],
)
def test_whatever_decides_an_artifact_tells_it_apart(tmp_path: Path, identity: Any, name: str, settings: Any):
    Artifacts(WHERE, tmp_path).get("words", {"size": 3}, Maker())
    make = Maker(2.0)
    assert Artifacts(identity, tmp_path).get(name, settings, make).tensors["x"][0, 0] == 2.0
    assert make.times == 1


def test_another_version_of_a_package_makes_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Artifacts(WHERE, tmp_path).get("words", {}, Maker())
    monkeypatch.setattr("hedgebench.artifacts.package_version", lambda name: "999" if name == "sae-bench" else "1")
    make = Maker()
    Artifacts(WHERE, tmp_path).get("words", {}, make)
    assert make.times == 1


@pytest.mark.parametrize("damage", [b"", b"not safetensors at all", None])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes | None):
    Artifacts(WHERE, tmp_path).get("words", {}, Maker())
    (file,) = (tmp_path / "words").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-7] if damage is None else damage)
    make = Maker(3.0)
    assert Artifacts(WHERE, tmp_path).get("words", {}, make).tensors["x"][0, 0] == 3.0
    assert Artifacts(WHERE, tmp_path).get("words", {}, make).tensors["x"][0, 0] == 3.0
    assert make.times == 1


def test_what_fails_while_it_is_made_leaves_nothing_behind(tmp_path: Path):
    def fail() -> Artifact:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Artifacts(WHERE, tmp_path).get("words", {}, fail)
    make = Maker()
    Artifacts(WHERE, tmp_path).get("words", {}, make)
    assert make.times == 1


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "words").write_text("a file where the folder should be")
    make = Maker()
    artifacts = Artifacts(WHERE, tmp_path)
    assert artifacts.get("words", {}, make).tensors["x"][0, 0] == 1.0
    assert "kept in memory only" in caplog.text
    artifacts.get("words", {}, make)
    assert make.times == 1


def test_bad_input_found_while_it_is_made_is_told_once(tmp_path: Path):
    times = []

    def fail() -> Artifact:
        times.append(1)
        raise BadInput("no such hook point")

    with pytest.raises(BadInput, match="no such hook point"):
        Artifacts(WHERE, tmp_path).get("words", {}, fail)
    assert len(times) == 1


def test_memory_keeps_the_most_recently_used_within_its_budget():
    one = Artifact({"x": torch.zeros(100)})  # 400 bytes
    memory = Memory(budget=1000)
    memory.keep("a", one)
    memory.keep("b", one)
    assert memory.get("a") is one
    memory.keep("c", one)
    assert memory.get("b") is None and memory.get("a") is one and memory.get("c") is one
    memory.keep("too large", Artifact({"x": torch.zeros(1000)}))
    assert memory.get("too large") is None and memory.get("c") is one


SLOW = """
import sys, time
from pathlib import Path
import torch
from hedgebench.artifacts import Artifact, Artifacts

def make():
    with open(sys.argv[2], "a") as file:
        file.write("x")
    time.sleep(1)
    return Artifact({"x": torch.ones(1)})

print(Artifacts({"seed": 0}, Path(sys.argv[1])).get("words", {}, make).tensors["x"].item())
"""


def test_two_processes_that_want_one_make_it_once(tmp_path: Path):
    counter = tmp_path / "counter"
    command = [sys.executable, "-c", SLOW, str(tmp_path), str(counter)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["1.0", "1.0"]
    assert counter.read_text() == "x"


# --- the size of the cache -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a file of some size and age into a room of the cache."""
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path))

    def put(name: str, size: int, age: float) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"0" * size)
        os.utime(file, (time.time() - age, time.time() - age))
        return file

    return put


def test_over_the_limit_the_least_recently_used_go(fill: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    old = fill("evals/words/old.safetensors", 600, 30)
    older = fill("activations/k/older.safetensors", 600, 40)
    new = fill("evals/words/new.safetensors", 600, 1)
    model = fill("models/m/model.safetensors", 10_000, 100)
    monkeypatch.setenv("HEDGEBENCH_CACHE_LIMIT", "1300")
    assert trim() == 600
    assert not older.exists() and old.exists() and new.exists() and model.exists()
    assert trim() == 0
    assert {room.name: size for room, size in rooms()} == {"activations": 0, "evals": 1200, "models": 10_000}


def test_activations_that_are_written_make_room_too(
    fill: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old = fill("evals/words/old.safetensors", 600, 30)
    monkeypatch.setenv("HEDGEBENCH_CACHE_LIMIT", "700")
    tokens, acts = torch.arange(6).view(2, 3), torch.rand(2, 3, 4)
    file = tmp_path / "activations" / "k" / "000000.safetensors"
    activations._write(file, tokens, acts)
    assert not old.exists()
    assert torch.equal(activations._read(file, tokens), acts)


def test_what_is_wanted_now_stays_however_old(fill: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    wanted = fill("evals/words/old.safetensors", 600, 30)
    other = fill("evals/words/new.safetensors", 600, 1)
    monkeypatch.setenv("HEDGEBENCH_CACHE_LIMIT", "100")
    trim(spare=wanted)
    assert wanted.exists() and not other.exists()


def test_reading_an_artifact_counts_as_use(fill: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "evals"
    Artifacts(WHERE, folder).get("words", {}, Maker())
    (file,) = (folder / "words").glob("*.safetensors")
    os.utime(file, (0, 0))
    fill("evals/words/other.safetensors", 600, 30)
    Artifacts(WHERE, folder).get("words", {}, Maker())
    monkeypatch.setenv("HEDGEBENCH_CACHE_LIMIT", str(file.stat().st_size + 10))
    trim()
    assert file.exists() and not (folder / "words" / "other.safetensors").exists()


@pytest.mark.parametrize(("text", "size"), [("1300", 1300), ("2K", 2048), ("1.5 GiB", 3 * 2**29), ("20gb", 20 * 2**30)])
def test_the_limit_is_read_as_a_size(text: str, size: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEDGEBENCH_CACHE_LIMIT", text)
    assert cache_limit() == size


def test_a_limit_that_is_no_size_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEDGEBENCH_CACHE_LIMIT", "lots")
    with pytest.raises(BadInput, match="HEDGEBENCH_CACHE_LIMIT is 'lots'"):
        cache_limit()
