"""Take the guard of every bad input out, and see that its case then fails: `cd tests && python -m bad_inputs.guards [WORDS]`.

With words, only the cases in whose names they stand. Exit code 1: a case does not notice that its guard is gone.

The sources are imported with a switch at every statement that may be a guard (`switches`). First each case is carried out as it is; it must pass, and
every such statement that it comes by is noted. Its guard is the first whose text stands in the line that is shown: where the complaint is born, not
where it is handed on. If that one puts another error of ours into words, the guard is where that error is raised. A complaint that has no words before
it is told ("no whole record") is born at the first such statement that inputs with nothing wrong do not come by.

Then, guard by guard, a process switches it off and carries out its cases. Each must now fail what `tests/test_bad_inputs.py` asserts of it
(`cases.faults`), or end its process, or give no answer.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import pkgutil
import signal
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from bad_inputs import good, records
from bad_inputs.cases import Case, carry_out, faults, shortened
from bad_inputs.catalog import CASES
from bad_inputs.switches import PACKAGES, SWITCHES, Note, install

SECONDS = 60.0
"""In which a case has to give an answer."""
FINE = (
    Case("fine", "an SAE", lambda here: ["inspect", str(good.sae(here / "sae"))], "", 0),
    Case("fine", "a results folder", lambda here: (records.results(here), ["table", "r"])[1], "", 0),
)
"""Nothing is wrong with these."""
FORK = multiprocessing.get_context("fork")


class Answer(NamedTuple):
    """What came of a case."""

    faults: list[str]
    line: str = ""
    notes: Sequence[Note] = ()


def main(cases: Sequence[Case]) -> int:
    """Find the guards, take them out, and report."""
    install()
    import forked_runs
    import warm_imports  # noqa: F401

    for package in map(importlib.import_module, PACKAGES):  # once, and not in every process
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    forked_runs.fork_workers()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ.update(HEDGEBENCH_CACHE=f"{folder}/cache", HF_HUB_OFFLINE="1")  # what has no guard may do anything
        guards = _guards(cases, Path(folder))
        n = 0
        for place, those in tqdm(guards.items(), unit="guard"):
            for case, answer in zip(those, _answers(those, Path(folder), off=place), strict=True):
                if not answer.faults:
                    n += 1
                    tqdm.write(f"passes without {place}: {case.name}")
    print(
        f"{len(cases)} cases, {len(guards)} guards; cases that fail without their guard: {len(cases) - n}; that pass: {n}"
    )
    return int(n > 0)


def _guards(cases: Sequence[Case], folder: Path) -> dict[str, list[Case]]:
    """The cases of every guard."""
    fine = list(_answers(FINE, folder))
    assert all(answer.notes for answer in fine), fine
    usual = {note.place for answer in fine for note in answer.notes}
    guards = defaultdict(list)
    for case, answer in zip(cases, tqdm(_answers(cases, folder), total=len(cases), unit="case"), strict=True):
        if answer.faults:
            sys.exit(f"{case.name}: fails with its guard: {', '.join(answer.faults)}")
        guards[_guard(answer, usual)].append(case)
    return guards


def _guard(answer: Answer, usual: Collection[str]) -> str:
    """Where the complaint of a case is born."""
    for note in answer.notes:
        if any(" " in text and text[:80] in answer.line for text in note.texts):
            return note.below or note.place
    return next((note.place for note in answer.notes if note.place not in usual), "no guard")


def _answers(cases: Sequence[Case], folder: Path, off: str = "") -> Iterator[Answer]:
    """What comes of each case with a guard switched off: in a process, and another one where that ends or does not answer."""
    left = list(cases)
    while left:
        there, here = FORK.Pipe(duplex=False)
        process = FORK.Process(target=_serve, args=(left, folder, off, here))
        process.start()
        assert process.pid is not None
        here.close()
        try:
            while left and there.poll(SECONDS):
                yield there.recv()
                del left[0]
            ended = "no answer"
        except EOFError:
            ended = "its process ended"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
        if left:
            yield Answer([ended])
            del left[0]


def _serve(cases: Sequence[Case], folder: Path, off: str, answers: Connection) -> None:
    os.setsid()
    tqdm.set_lock(threading.RLock())  # its own is shared by all processes, and may be held by one that was killed
    for case in cases:
        room = Path(tempfile.mkdtemp(dir=folder))
        journal = None if off else folder / f"{room.name}.notes"
        SWITCHES.off, SWITCHES.journal = "", None
        try:
            shown = carry_out(replace(case, make=partial(_made, case, off, journal)), room)
        except BaseException as error:  # it would be a traceback
            answers.send(Answer([repr(error)]))
        else:
            answers.send(Answer(faults(case, shown), " ".join(shown.lines), _notes(journal, room / "here")))


def _made(case: Case, off: str, journal: Path | None, here: Path) -> Sequence[str]:
    """The input of a case; it is made with every guard in its place, and unobserved."""
    args = case.make(here)
    SWITCHES.off, SWITCHES.journal = off, journal
    return args


def _notes(journal: Path | None, here: Path) -> list[Note]:
    """What was noted, with texts as they are shown."""
    from hedgebench.one_line import one_line

    notes = map(json.loads, journal.read_text().splitlines()) if journal and journal.exists() else ()
    return [
        Note(place, [one_line(" ".join(shortened(t, here))) for t in texts], below) for place, texts, below in notes
    ]


if __name__ == "__main__":
    words = " ".join(sys.argv[1:])
    sys.exit(main([case for case in CASES if words in case.name]))
