"""Leave the process as it was found: random state, grad mode, default dtype, working directory, environment."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
