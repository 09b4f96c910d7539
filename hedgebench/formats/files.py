"""Opening files that somebody else wrote: bounded, never unpickled, and one line where they are not what they should be."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.memory import check_memory
from hedgebench.paths import is_file, is_there
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import torch

MAX_CONFIG_BYTES = 16 * 2**20
"""A config larger than this is refused unread."""
FLOATS = ("F16", "BF16", "F32", "F64")

Shapes = Mapping[str, tuple[int, ...]]


def printable(text: object) -> str:
    """A text of somebody else's as one line without control characters, such as the colours that torch writes."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(text))
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())


def one_line(error: BaseException) -> str:
    """An exception as one short line."""
    text = printable(error)
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        BadInput: It cannot be read, is too large, or holds something else.
    """
    if is_there(file) and not is_file(file):
        raise BadInput(f"{file}: no file, but a folder, a pipe or a device")
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise BadInput(f"{file}: larger than {MAX_CONFIG_BYTES // 2**20} MiB; that is no SAE config")
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{file}: not valid JSON: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{file}: expected a JSON object, found {type(found).__name__}")
    return found


def positive(config: Mapping[str, Any], key: str, file: Path) -> int:
    """A whole number from 1 out of a config.

    Raises:
        BadInput: It is not there, or is something else.
    """
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**63:
        raise BadInput(f"{file}: {key} must be a whole number from 1, found {value!r:.60}")
    return value


def number(config: Mapping[str, Any], key: str, file: Path, *, above: float | None = None) -> float:
    """A finite number out of a config, above `above` where that is given.

    Raises:
        BadInput: It is not there, or is something else.
    """
    value = config.get(key)
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if not good or (above is not None and not value > above):  # type: ignore[operator]
        more = "" if above is None else f" above {above:g}"
        raise BadInput(f"{file}: {key} must be a number{more}, found {value!r:.60}")
    return float(value)  # type: ignore[arg-type]


def check_shapes(file: Path, found: Shapes, wanted: Shapes, source: str) -> None:
    """Refuse weights that are not there, or of another shape than their config or each other ask for.

    Raises:
        BadInput: Names the tensor, and what was found and wanted.
    """
    for name in wanted:
        if name not in found:
            raise BadInput(f"{file}: no {name} in it; found {_list(found)}")
    for name, shape in wanted.items():
        if tuple(found[name]) != tuple(shape):
            raise BadInput(f"{file}: {name} has shape {list(found[name])}, but {source} asks for {list(shape)}")


def safetensors_header(file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shapes of the tensors in a safetensors file, and its notes; no tensor is read.

    Raises:
        BadInput: It is not whole, or holds other than floating-point numbers.
    """
    from safetensors import SafetensorError, safe_open

    if is_there(file) and not is_file(file):
        raise BadInput(f"{file}: no file, but a folder, a pipe or a device")
    try:
        with safe_open(file, framework="numpy") as weights:
            notes = dict(weights.metadata() or {})
            shapes = {}
            for name in weights.keys():  # noqa: SIM118 - it is no mapping
                held = weights.get_slice(name)
                if held.get_dtype() not in FLOATS:
                    raise BadInput(f"{file}: {name} holds {held.get_dtype()} numbers; weights are floating-point")
                shapes[name] = tuple(held.get_shape())
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{file}: not a whole safetensors file ({one_line(error)}); download or copy it again") from None
    check_fits(file, shapes)
    return shapes, notes


def check_fits(file: Path, shapes: Shapes) -> None:
    """Refuse weights that would not fit into memory in float32, before any is read.

    Raises:
        BadInput: They do not.
    """
    needed = 4 * sum(math.prod(shape) for shape in shapes.values())
    check_memory(str(file), needed, "take a machine with more, or an SAE with fewer latents")


def read_safetensors(file: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, in float32 or wider. Call `safetensors_header` and check it first."""
    import torch
    from safetensors import safe_open

    with safe_open(file, framework="pt") as weights:
        stored = {name: weights.get_tensor(name) for name in names}
    return {name: t.to(torch.promote_types(t.dtype, torch.float32)) for name, t in stored.items()}


def _list(names: Iterable[str]) -> str:
    shown = sorted(map(printable, names))
    return (", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")) or "nothing"
