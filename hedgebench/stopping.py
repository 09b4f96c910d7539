"""Ctrl-C, SIGTERM and SIGHUP stop a command at any moment: one line, and exit code 130. Imports next to nothing, for it comes first."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

TYPE_CHECKING = False  # as in `hedgebench`
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

STOPPED = 130
"""The exit code of a command that was stopped."""
MESSAGE = "hedgebench: stopped; what is finished is kept, and the same command goes on from there"
_DEFAULTS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
"""The signals, and how a process hears each at first. One that was started otherwise (`nohup`, `&`) goes on so."""
_ENOUGH = 1.0
"""Seconds in which a further signal adds nothing to the one that is stopping the command."""


def stoppable(command: Callable[[], int], last: bool = False) -> int:
    """Carry out a command that the signals stop, and return its exit code.

    A signal raises KeyboardInterrupt, but where that would get lost, or end in an abort: in the middle of an import, and where Python tells of exceptions and
    goes on. There the process ends at once, which leaves no more behind than `kill -9` does.

    Args:
        command: Returns its exit code.
        last: Nothing comes after it but the end of the process, which signals do not disturb.
    """
    here = threading.current_thread() is threading.main_thread()
    before = {number: usual for number, usual in _DEFAULTS.items() if here and signal.getsignal(number) is usual}
    raised_at, tell = -_ENOUGH, sys.unraisablehook

    def hear(_: int, frame: FrameType | None) -> None:
        nonlocal raised_at
        if _in_import(frame):
            _end()
        if time.monotonic() - raised_at >= _ENOUGH:
            raised_at = time.monotonic()
            raise KeyboardInterrupt

    def tell_or_end(what: sys.UnraisableHookArgs) -> None:
        if what.exc_type is KeyboardInterrupt:
            _end()
        tell(what)

    for number in before:
        signal.signal(number, hear)
    sys.unraisablehook = tell_or_end
    try:
        return command()
    except KeyboardInterrupt:
        sys.stderr.write(f"{MESSAGE}\n")
        return STOPPED
    finally:
        for number, usual in before.items():
            signal.signal(number, signal.SIG_IGN if last else usual)
        sys.unraisablehook = tell


def _in_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _end() -> NoReturn:
    try:
        os.write(2, f"{MESSAGE}\n".encode())
    finally:
        os._exit(STOPPED)
