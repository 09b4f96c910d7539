"""Where a command begins: signals are heard before anything is imported that takes time. The commands are in `hedgebench.cli_commands`."""

from __future__ import annotations

import sys

from hedgebench.stopping import stoppable
from hedgebench.streams import Forgiving

TYPE_CHECKING = False  # as in `hedgebench`
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return stoppable(lambda: _command(argv))


def process() -> NoReturn:
    """The command of this process, which ends with it."""
    # nobody has to hear of progress; results that cannot be written are an error, unless their reader has seen enough
    sys.stdout, sys.stderr = Forgiving(sys.stdout, BrokenPipeError), Forgiving(sys.stderr, OSError)
    sys.exit(stoppable(lambda: _command(None), last=True))


def _command(argv: Sequence[str] | None) -> int:
    from hedgebench.cli_commands import command

    return command(argv)


if __name__ == "__main__":
    process()
