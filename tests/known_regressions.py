"""Scores tables of SAEs that were trained or drawn again, and of which one is worse."""

from __future__ import annotations

from typing import Any

import numpy as np
from known_scores import alone, recipe


def recipes(
    shift: float = 0.0, seed: int = 0, side: str = "", n: int = 3, sd: float = 1.0, **more: Any
) -> list[dict[str, Any]]:
    """Four recipes of n training seeds; the first is shifted."""
    drawn = 100 + sd * np.random.default_rng(seed).normal(size=(4, n))
    drawn[0] += shift
    rows = [row for i in range(4) for row in recipe(f"r{i}", drawn[i][:, None], **more)]
    return [{**row, "digest": row["sae"] + side} for row in rows]


def drawn(shift: float = 0.0, seed: int = 0, n: int = 5, together: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    """Eight SAEs at n evaluation seeds; the first is shifted."""
    rng = np.random.default_rng(seed)
    values = 100 + together * rng.normal(size=n) + 0.2 * rng.normal(size=(8, n))
    values[0] += shift
    return [row for i in range(8) for row in alone(f"sae{i}", values[i], **more)]
