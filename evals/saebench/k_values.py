"""How many dimensions a k-sparse probe may choose."""

from __future__ import annotations


def fitting(k_values: tuple[int, ...], width: int) -> tuple[int, ...]:
    """The values of k for which there are so many dimensions to choose from."""
    return tuple(k for k in k_values if k <= width)
