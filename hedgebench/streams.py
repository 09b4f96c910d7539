"""Standard output and error whose reader goes away, as under `| head`: a command goes on all the same, and its exit code is its own. Imports next to nothing, for it comes first."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in `hedgebench`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO


class Forgiving:
    """A text stream that drops what it cannot write, from the first failure on.

    Args:
        stream: Where to write; None (closed by whoever started the process): nowhere.
        forgives: Failures that do not matter. Others are raised once, and what comes later is dropped.
    """

    def __init__(self, stream: TextIO | None, forgives: type[OSError]) -> None:
        self._stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115, PTH123 - as long as the process
        self._forgives = forgives

    def write(self, text: str) -> int:
        """See `io.TextIOBase`."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """See `io.IOBase`."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[..., Any], *args: Any) -> None:
        try:
            act(*args)
        except OSError as error:
            # also for what is still in the stream's buffer, which Python flushes as it ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if not isinstance(error, self._forgives):
                raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
