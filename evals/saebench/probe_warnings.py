"""What scikit-learn has to say of SAEBench's probes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def known_warnings_silent() -> Iterator[None]:
    """Keep quiet about two things in a block: the argument `penalty`, which goes in scikit-learn 1.10, and probes that have not converged.

    sae-probes silences the second for the whole process when it is imported; inside this block that does not last.
    """
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'penalty' was deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "Inconsistent values: penalty=l1", UserWarning)  # l1 is what is done
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
