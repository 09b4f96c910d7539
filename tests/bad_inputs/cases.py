"""One wrong input, and what HedgeBench does with it."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CANARY = "code-was-run"
"""A file that inputs with code in them would make where they are."""
SECONDS = 30.0
"""Processor time that a refusal may take, imports included."""
MEGABYTES = 1000
"""Memory that a refusal may take beside what is imported."""


@dataclass(frozen=True)
class Case:
    """A wrong input."""

    room: str
    """What kind of input."""
    what: str
    """What is wrong with it."""
    make: Callable[[Path], Sequence[str]]
    """Makes it in a folder and gives the arguments of the command, which is started there."""
    said: str
    """Of the line that is shown: what names the place and what is wanted."""
    code: int = 2

    @property
    def name(self) -> str:
        """Of the test."""
        return f"{self.room}: {self.what}"


@dataclass(frozen=True)
class Shown:
    """What came of it."""

    code: int
    lines: tuple[str, ...]
    """On standard error, paths shortened; of a batch (exit code 1) those of the runs that failed."""
    out: str
    made: tuple[str, ...]
    """Files that were not there before, beside those in `out/`."""
    seconds: float
    megabytes: float


def files(folder: Path) -> set[str]:
    """All that lies in a folder; nothing is followed."""
    return {
        str((Path(place) / name).relative_to(folder))
        for place, below, names in os.walk(folder)
        for name in (*below, *names)
    }


def carry_out(case: Case, room: Path) -> Shown:
    """Make the input of a case in `room/here`, and carry out its command in this process."""
    here = room / "here"
    here.mkdir(parents=True)
    with _there(here):
        args = list(case.make(here))
        importlib.invalidate_caches()  # packages may have come into `site/`
        before, peak, started = files(room), _peak(), time.process_time()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _logged(err), _bounded():
            code = _main(args)
        seconds, megabytes = time.process_time() - started, _peak() - peak
    made = sorted(name for name in files(room) - before if name.split("/")[1:2] != ["out"])
    lines = tuple(line for line in shortened(err.getvalue(), here) if code != 1 or line.startswith("failed: "))
    return Shown(code, lines, out.getvalue(), tuple(made), seconds, megabytes)


def faults(case: Case, shown: Shown) -> list[str]:
    """What came of it, and must not."""
    from hedgebench.cli_run import LONGEST

    line = shown.lines[0] if shown.lines else ""
    head = {0: "WARNING: ", 1: "failed: ", 2: "hedgebench: "}[case.code]
    found = {
        "another exit code": shown.code != case.code,
        "no line": not shown.lines,
        "more than one line": len(shown.lines) > 1,
        "another line": case.said not in line or not line.startswith(head),
        "a traceback": any("Traceback" in line for line in shown.lines),
        "a line that is too long, or that a terminal would obey": not line.isprintable() or len(line) > LONGEST + 100,
        "files where none should be": bool(shown.made),
        "too much time": shown.seconds > SECONDS,
        "too much memory": shown.megabytes > MEGABYTES,
        "the good one's number is not there": case.code == 0 and "\ngood,decoder_bias,b_dec_norm," not in shown.out,
    }
    return [fault for fault, is_there in found.items() if is_there]


def _main(args: list[str]) -> int:
    from hedgebench.cli import main

    try:
        return main(args)
    except SystemExit as end:  # argparse's
        return end.code if isinstance(end.code, int) else 1


def shortened(text: str, here: Path) -> tuple[str, ...]:
    """The lines of what was printed, without what differs from one time to another and the bars of progress."""
    lines = [line.rpartition("\r")[2] for line in text.replace(f"{here}/", "").replace(str(here), "HERE").split("\n")]
    lines = [re.sub(r"[\d.]+ GB (are available|may be taken)", r"... GB \1", line) for line in lines]
    lines = [re.sub(r" at 0x[0-9a-f]+", "", line) for line in lines]
    return tuple(line for line in lines if line.strip() and "run/s" not in line and "s/run" not in line)


@contextlib.contextmanager
def _there(here: Path) -> Iterator[None]:
    """In a folder, with the packages of `site/`."""
    cwd, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    os.chdir(here)
    sys.path.insert(0, str(here / "site"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(here / "site"), environment.get("PYTHONPATH")]))
    try:
        yield
    finally:
        os.chdir(cwd)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)


@contextlib.contextmanager
def _logged(stream: io.StringIO) -> Iterator[None]:
    """Warnings go where the command line puts them."""
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """A hang, or memory without end, ends the case and not the machine."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS:g} s of processor time")

    old = [signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 20 * SECONDS)  # what waits takes no processor time
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    resource.setrlimit(resource.RLIMIT_DATA, (pages * resource.getpagesize() + 8 * 2**30, hard))
    try:
        yield
    finally:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), old, strict=True):
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
