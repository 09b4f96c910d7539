"""What is made once is whole, made by one process only, and made again where a process was killed."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from hedgebench.once import make_once, store_tensors
from hedgebench.types import BadInput

REPOSITORY = Path(__file__).parent.parent
SLOWLY = """
import sys, time
from pathlib import Path
from hedgebench.once import make_once

target, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def make(part):
    with log.open("a") as lines:
        print("made", file=lines)
    part.mkdir()
    (part / "first").write_text("1")
    time.sleep(pause)
    (part / "second").write_text("2")

make_once(target, make)
print(sorted(f.name for f in target.iterdir()))
"""


def start(target: Path, log: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOWLY, str(target), str(log), str(pause)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_several_processes_at_once_make_it_once_and_all_find_it_whole(tmp_path: Path) -> None:
    processes = [start(tmp_path / "made", tmp_path / "log", 0.5) for _ in range(4)]
    assert {process.communicate()[0].strip() for process in processes} == {"['first', 'second']"}
    assert (tmp_path / "log").read_text() == "made\n"


def test_what_a_killed_process_left_is_made_again(tmp_path: Path) -> None:
    killed = start(tmp_path / "made", tmp_path / "log", 60)
    while not (tmp_path / "made.part" / "first").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "made").exists()
    assert start(tmp_path / "made", tmp_path / "log", 0).communicate()[0].strip() == "['first', 'second']"
    assert (tmp_path / "log").read_text() == "made\nmade\n"
    assert not (tmp_path / "made.part").exists()


def test_a_failure_leaves_nothing_and_the_next_call_tries_again(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        part.write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        make_once(tmp_path / "made", fail)
    assert not (tmp_path / "made").exists()
    assert make_once(tmp_path / "made", lambda part: part.write_text("whole") and None).read_text() == "whole"


def test_a_folder_that_cannot_be_written_says_which_setting_helps(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="set HEDGEBENCH_CACHE to a folder with room"):
        make_once(tmp_path / "file" / "made", lambda part: None)


def test_tensors_are_stored_whole_with_what_is_said_of_them(tmp_path: Path):
    file, numbers = tmp_path / "new" / "t.safetensors", torch.arange(6.0).reshape(2, 3)
    store_tensors(file, {"turned": numbers.T.requires_grad_()}, {"how": "turned"})
    with safe_open(file, "pt") as stored:
        assert torch.equal(stored.get_tensor("turned"), numbers.T) and stored.metadata() == {"how": "turned"}
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_tensors_that_do_not_fit_leave_nothing_behind_and_what_was_there_stays(tmp_path: Path):
    file = tmp_path / "t.safetensors"
    file.write_text("of before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError):
            store_tensors(file, {"much": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_text() == "of before" and list(tmp_path.iterdir()) == [file]
