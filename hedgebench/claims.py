"""Which process computes which run of a results folder: several share the work, and none does what another does or has done.

A claim is a lock on one byte of `OUT/.lock`; the system lets it go when its owner ends, however it ends, so that nothing of a dead process
is in the way of the next. Processes on several machines see each other's claims where their file system passes locks on (NFS does, Lustre with `flock`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from hedgebench.types import BadInput

logger = logging.getLogger(__name__)

_PRESENT, _TABLES, _RUNS = 0, 1, 2
"""The bytes: shared by all processes that write to the folder; of the one that writes tables; from there on, one for each run."""


class Claims:
    """The claims of this process on one results folder. One object at a time: closing any lets go of all that the process holds there.

    Raises:
        BadInput: The folder cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.out, self._works = out, True
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._file = (out / ".lock").open("a+b")
        except OSError as error:
            raise BadInput(f"cannot write to the results folder {out}: {error.strerror or error}") from error
        if self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, _PRESENT) and self._works:
            self._sweep()  # nobody else is here: what is half written stays so
        self._lock(fcntl.LOCK_SH, _PRESENT)

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()

    def take(self, run_id: str) -> bool:
        """Claim a run; False where another process has it."""
        return self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, _byte(run_id))

    def let_go(self, run_id: str) -> None:
        """Give up the claim on a run: it is done, or not to be."""
        self._lock(fcntl.LOCK_UN, _byte(run_id))

    @contextmanager
    def tables(self) -> Iterator[None]:
        """Alone read the records and write tables of them: whoever does so last has seen all."""
        self._lock(fcntl.LOCK_EX, _TABLES)
        try:
            yield
        finally:
            self._lock(fcntl.LOCK_UN, _TABLES)

    def _lock(self, how: int, byte: int) -> bool:
        if self._works:
            try:
                fcntl.lockf(self._file, how, 1, byte)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                self._works = False
                logger.warning(
                    "%s lies on a file system without locks (%s): start no second process on it",
                    self.out,
                    error.strerror,
                )
        return True

    def _sweep(self) -> None:
        """Remove the files that processes which were killed left half written."""
        for pattern in ("records/*/.*.part", "checkpoints/.*.part", ".scores.*.part", ".runs.*.part"):
            for part in self.out.glob(pattern):
                with suppress(OSError):
                    part.unlink()


def _byte(run_id: str) -> int:
    return _RUNS + int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:7])
