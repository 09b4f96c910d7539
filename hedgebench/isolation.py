"""Leave the process as it was found: random state, grad mode, default dtype, working directory, environment."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def isolated() -> Iterator[None]:
    """Run a block with gradients off, and restore every global an eval could have changed, also when it raises."""
    import numpy as np
    import torch

    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    grad, dtype, cwd, environment = torch.is_grad_enabled(), torch.get_default_dtype(), Path.cwd(), dict(os.environ)
    torch.set_grad_enabled(False)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        os.chdir(cwd)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)


@contextmanager
def upstream(seed: int) -> Iterator[Path]:
    """Run somebody else's code: every generator seeded, in a scratch folder that goes afterwards, and as in `isolated`.

    Gradients are on, as such code expects. What it prints goes to the log, its progress bars at debug level. The
    working directory is the scratch folder meanwhile, so nothing may be yielded to a caller from inside the block.

    Args:
        seed: Seed of Python's, numpy's and torch's generators.
    """
    import numpy as np
    import torch

    quiet = (contextlib.redirect_stdout(_Log(logging.INFO)), contextlib.redirect_stderr(_Log(logging.DEBUG)))
    with isolated(), tempfile.TemporaryDirectory(prefix="hedgebench-") as scratch, quiet[0], quiet[1]:
        torch.set_grad_enabled(True)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - it is theirs
        torch.manual_seed(seed)
        os.chdir(scratch)
        yield Path(scratch)


class _Log(io.TextIOBase):
    """A text stream that goes to the log line by line."""

    def __init__(self, level: int) -> None:
        self.level = level

    def write(self, text: str) -> int:
        """Log what is not blank."""
        for line in text.splitlines():
            if line.strip():
                logger.log(self.level, "%s", line.rstrip())
        return len(text)
