"""The two traps between working packages, handled once before any of them is imported. Standard library at import."""

from __future__ import annotations

import importlib
import logging
import os
import sys

logger = logging.getLogger(__name__)


def prepare() -> None:
    """Make transformers, SAELens and SAEBench importable and callable in this process.

    Call it before importing any of them; it costs nothing when called again.

    1. A torchvision that is installed but was built for another torch (a CUDA build beside CPU torch, say) fails to import,
       and then transformers cannot import any Llama. Such a torchvision is treated as absent. One that works stays.
    2. Recent beartype refuses some annotations inside `sae_bench`, so jaxtyping's runtime checks are switched off, unless
       the environment variable `JAXTYPING_DISABLE` says otherwise.
    """
    _hide_broken_torchvision()
    _disable_jaxtyping_checks()


def _hide_broken_torchvision() -> None:
    """Import torchvision as transformers would; hide it if that fails.

    The attempt is the test: a broken one fails within milliseconds of torch's own import, and a working one is what
    transformers imports next anyway.
    """
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name == "torchvision":
            return
        _hide_torchvision(error)
    except Exception as error:  # a mismatched build raises RuntimeError, OSError, AttributeError, ...
        _hide_torchvision(error)


def _hide_torchvision(error: Exception) -> None:
    """Leave no half-imported part behind; a None entry makes `importlib.util.find_spec` answer "absent"."""
    logger.debug("torchvision cannot be imported beside this torch and is treated as absent: %s", error)
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]
    sys.modules["torchvision"] = None  # type: ignore[assignment]


def _disable_jaxtyping_checks() -> None:
    """Jaxtyping reads its switch at every call, so this works before and after `sae_bench` is imported."""
    if "JAXTYPING_DISABLE" in os.environ:
        return
    try:
        from jaxtyping import config
    except ImportError:
        return
    config.update("jaxtyping_disable", True)
