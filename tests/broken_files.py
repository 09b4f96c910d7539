"""Files cut short, and what loading them must come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgebench import load_sae
from hedgebench.types import BadInput


def refused(ref: Path, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        load_sae(ref)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def cut(file: Path, share: float = 0.5) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
