"""How much memory there is, and one clear line where something would not fit."""

from __future__ import annotations

import os
from pathlib import Path

from hedgebench.types import BadInput


def available_memory(device: str = "cpu") -> int:
    """Bytes that can still be taken on a torch device."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # no Linux: all there is


def check_memory(what: str, needed: float, advice: str, device: str = "cpu") -> None:
    """Refuse what does not fit.

    Args:
        what: What takes the memory, the line's subject.
        needed: Bytes.
        advice: What to do, the line's end.
        device: Torch device it is needed on.

    Raises:
        BadInput: It needs more than is available.
    """
    if needed > (available := available_memory(device)):
        raise BadInput(f"{what} takes {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are available: {advice}")
