"""YAML whose mappings remember the lines of their keys, so that a mistake can be named with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hedgebench.types import BadInput


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
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        raise BadInput(f"{text!r} is no value") from None


def read_yaml(path: Path, what: str) -> LineMap:
    """The mapping in a YAML file.

    Args:
        path: The file.
        what: What it should hold, for messages: "a suite".

    Raises:
        BadInput: No such file, not YAML, a key given twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot read {what}: {getattr(error, 'strerror', None) or error}") from None
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, LineMap):
        raise BadInput(f"{path}: {what} is a mapping of keys and values")
    return data
