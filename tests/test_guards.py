"""The program that takes the guards of bad inputs out: its switches switch, and it finds a case that does not notice."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from bad_inputs.switches import Switches, instrumented

SOURCE = """\
def above(n):
    if n < 1:
        raise ValueError("too small")
    return n

def number(text):
    try:
        return int(text)
    except ValueError:
        raise TypeError("no number") from None

def number_or_none(text):
    try:
        return int(text)
    except ValueError:
        return None

def even(n):
    if n % 2:
        return None
    return n

def known(name) -> bool:
    return name.isalpha() and name != "x"

def heard(logger):
    logger.warning("beware")
"""


def _what(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(
    ("place", "call", "on", "off"),
    [
        ("x.py:3", lambda m: m["above"](0), ValueError, 0),
        ("x.py:10", lambda m: m["number"]("a"), TypeError, ValueError),
        ("x.py:15", lambda m: m["number_or_none"]("a"), None, ValueError),
        ("x.py:20", lambda m: m["even"](3), None, 3),
        ("x.py:24.11", lambda m: m["known"]("7"), False, True),
        ("x.py:24.30", lambda m: m["known"]("x"), False, True),
        ("x.py:27", lambda m: _heard(m), ["beware"], []),
    ],
)
def test_a_statement_can_be_switched_off_and_is_noted(
    place: str,
    call: Callable[[dict[str, object]], object],
    on: object,
    off: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    switches = Switches()
    monkeypatch.setattr(builtins, "_switches_", switches, raising=False)
    module: dict[str, object] = {}
    exec(compile(instrumented(SOURCE, "x.py"), "x.py", "exec"), module)
    switches.journal = tmp_path / "notes"
    assert _what(lambda: call(module)) == on
    assert f'["{place}"' in switches.journal.read_text()
    switches.off = place
    assert _what(lambda: call(module)) == off


def _heard(module: dict[str, object]) -> list[str]:
    heard: list[str] = []
    module["heard"](SimpleNamespace(warning=heard.append))  # type: ignore[operator]
    return heard


TWO_CASES = """
import sys
from bad_inputs import guards
from bad_inputs.cases import Case
sharp = Case("test", "sharp", lambda here: ["inspect", ""], "an empty reference; give a path")
blunt = Case("test", "blunt", lambda here: ["inspect", ""], "")  # content with any line
sys.exit(guards.main([sharp, blunt]))
"""


def test_a_case_that_does_not_notice_that_its_guard_is_gone_is_named():
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", TWO_CASES], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    named, count = done.stdout.splitlines()
    assert named.startswith("passes without hedgebench/loaders.py:") and named.endswith(": test: blunt")
    assert count == "2 cases, 1 guards; cases that fail without their guard: 1; that pass: 1"


@pytest.mark.slow
def test_every_case_notices_that_its_guard_is_gone():
    done = subprocess.run([sys.executable, "-m", "bad_inputs.guards"], cwd=Path(__file__).parent)
    assert done.returncode == 0
