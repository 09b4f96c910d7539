"""YAML whose mappings remember the lines of their keys, so that a mistake can be named with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hedgebench.paths import is_file, is_there
from hedgebench.types import BadInput

MAX_BYTES = 2**20
"""Of a YAML file: a larger one is not read."""
MAX_VALUES = 100_000
"""Values that a YAML file may hold, those that anchors stand for counted wherever they stand."""


class LineMap(dict[str, Any]):
    """A YAML mapping that knows the line it begins on and the line of every key."""

    line: int = 0
    lines: dict[str, int]


class _Loader(yaml.SafeLoader):
    """SafeLoader whose mappings are `LineMap`s and that refuses a key given twice."""


def _construct_map(loader: _Loader, node: yaml.MappingNode) -> LineMap:
    loader.flatten_mapping(node)
    found = LineMap()
    found.line, found.lines = node.start_mark.line + 1, {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        if key in found:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        found[key] = loader.construct_object(value_node, deep=True)
        found.lines[key] = key_node.start_mark.line + 1
    return found


_Loader.add_implicit_resolver(
    # YAML 1.1, which PyYAML reads, takes 1e-4 for a text: here it is a number, as in YAML 1.2
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+\Z"),
    list("-+.0123456789"),
)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_map)


def read_value(text: str) -> Any:
    """A value as it may stand in a YAML file.

    Raises:
        BadInput: It is none.
    """
    try:
        return _load(text)
    except (yaml.YAMLError, RecursionError, _TooMuch):
        raise BadInput(f"{text!r} is no value") from None


class _TooMuch(ValueError):
    """More values than are read."""


def _load(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: It is none.
        _TooMuch: It stands for more than `MAX_VALUES` values.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        try:
            return loader.construct_document(node)
        except (ValueError, OverflowError) as error:  # a date that is none, a number of thousands of digits
            what = f"a value that cannot be read: {str(error).partition('; use sys')[0]}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[yaml.Node, int], above: set[yaml.Node]) -> int:
    """How many values a node stands for; an anchor's count wherever it is used."""
    if node in above:
        raise yaml.constructor.ConstructorError(None, None, "an anchor stands for itself", node.start_mark)
    if node not in known:
        above.add(node)
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for each in inner for part in (each if isinstance(each, tuple) else (each,))]
        known[node] = 1 + sum(_count(part, known, above) for part in parts)
        above.discard(node)
    if known[node] > MAX_VALUES:
        raise _TooMuch
    return known[node]


def read_yaml(path: Path, what: str) -> LineMap:
    """The mapping in a YAML file.

    Args:
        path: The file.
        what: What it should hold, for messages: "a suite".

    Raises:
        BadInput: No such file, too large, not YAML, a key given twice, or not a mapping.
    """
    text = _text(path, what)
    try:
        data = _load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except _TooMuch:
        raise BadInput(f"{path}: it stands for more than {MAX_VALUES} values, which is no {what.split()[-1]}") from None
    except RecursionError:
        raise BadInput(f"{path}: not valid YAML: nested too deeply") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, LineMap):
        raise BadInput(f"{path}: {what} is a mapping of keys and values")
    return data


def _text(path: Path, what: str) -> str:
    """The text in a file, of which neither a pipe nor a device is one: reading those may never end.

    Raises:
        BadInput: There is none, it is too large, or it is no UTF-8.
    """

    def wrong(why: str) -> BadInput:
        return BadInput(f"{path}: cannot read {what}: {why}")

    if is_there(path) and not is_file(path):
        raise wrong("it is a folder" if path.is_dir() else "it is no file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise wrong(getattr(error, "strerror", None) or str(error)) from None
    if len(content) > MAX_BYTES:
        raise wrong(f"larger than {MAX_BYTES // 2**20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong(f"it is not UTF-8, byte {error.start + 1}") from None
