"""A scenario of one's own, from a YAML file. Every mistake is one line with its place and the nearest right word.

name: zipf                       # of the SAEs; default: the file's name
world: {d_in: 50, probability: [0.25, 0.2], parents: {1: 0}}       # keys of WorldConfig
synthetic: {num_features: 1024, hidden_dim: 128, ...}              # or: keys of sae_lens's SyntheticModelConfig
sae: {architecture: standard, width: [1, 2], l1: 1e-3}             # keys of Recipe; a list stands for one SAE per value
losses: [mse, snap]              # default: all three
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.lines import LineMap, read_yaml
from hedgebench.spelling import nearest
from hedgebench.toy.recipes import Recipe
from hedgebench.toy.scenarios import Scenario
from hedgebench.toy.world_config import WorldConfig
from hedgebench.training.losses import LOSSES
from hedgebench.training.typed import typed_values
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens.synthetic import SyntheticModelConfig

_KEYS = ("name", "world", "synthetic", "sae", "losses")
_LISTS = ("levels", "init_features")
"""Fields of a recipe whose one value is a list."""


def read_scenario(path: str | Path) -> Scenario:
    """Read and check a scenario file.

    Raises:
        BadInput: No such file, not YAML, or any unknown, missing or wrong key or value.
    """
    path = Path(path)
    data = read_yaml(path, "a scenario")
    for key in data:
        if key not in _KEYS:
            raise BadInput(f"{path}:{data.lines[key]}: there is no key {key!r}{nearest(key, _KEYS)}")
    name = data.get("name", path.stem)
    if not isinstance(name, str) or not name or Path(name).name != name or name.startswith("."):
        raise BadInput(f"{path}:{data.lines.get('name', 1)}: 'name' is {name!r}, which is no folder name")
    world = _world(path, data, name)
    recipes = _recipes(path, data)
    losses = data.get("losses", list(LOSSES))
    if not isinstance(losses, list) or not losses:
        raise BadInput(f"{path}:{data.lines['losses']}: 'losses' must be a list of {', '.join(LOSSES)}")
    for loss in losses:
        if loss not in LOSSES:
            raise BadInput(f"{path}:{data.lines['losses']}: there is no loss {loss!r}{nearest(str(loss), LOSSES)}")
    first = next(iter(recipes.values()))
    variants = {
        variant: {key: value for key, value in vars(recipe).items() if key != "loss"}
        for variant, recipe in recipes.items()
    }
    return Scenario(name, (), f"from {path.name}", world, first, variants, tuple(losses))


def _world(path: Path, data: LineMap, name: str) -> WorldConfig | SyntheticModelConfig:
    given = [key for key in ("world", "synthetic") if key in data]
    if len(given) != 1:
        raise BadInput(
            f"{path}:{data.line}: a scenario has either 'world' or 'synthetic', found {' and '.join(given) or 'neither'}"
        )
    key = given[0]
    where = f"{path}:{data.lines[key]}"
    if not isinstance(data[key], Mapping):
        raise BadInput(f"{where}: {key!r} must be a mapping of keys and values")
    try:
        if key == "world":
            return WorldConfig.from_dict({"name": name, **data[key]})
        from hedgebench.toy.worlds import synthetic_config

        return synthetic_config(data[key])
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def _recipes(path: Path, data: LineMap) -> dict[str, Recipe]:
    """One recipe per combination of the lists in `sae:`, by what the combination adds to the name."""
    entry = data.get("sae")
    if not isinstance(entry, LineMap):
        raise BadInput(
            f"{path}:{data.lines.get('sae', data.line)}: 'sae' must be a mapping such as `architecture: standard`"
        )
    if "loss" in entry:
        raise BadInput(f"{path}:{entry.lines['loss']}: write 'losses' beside 'sae', a list")
    grid = {key: value if isinstance(value, list) and key not in _LISTS else [value] for key, value in entry.items()}
    if empty := [key for key, values in grid.items() if not values]:
        raise BadInput(f"{path}:{entry.lines[empty[0]]}: {empty[0]!r} is an empty list")
    if twice := [key for key, values in grid.items() if any(values.count(value) > 1 for value in values)]:
        raise BadInput(f"{path}:{entry.lines[twice[0]]}: {twice[0]!r} lists a value twice")
    found = {}
    for values in itertools.product(*grid.values()):
        one = LineMap(zip(grid, values, strict=True))
        one.line, one.lines = entry.line, entry.lines
        variant = "-".join(f"{key}{one[key]}" for key in grid if len(grid[key]) > 1)
        arguments: dict[str, Any] = typed_values(path, one, Recipe)
        try:
            found[variant] = Recipe(**arguments)
        except BadInput as error:
            raise BadInput(f"{path}:{entry.line}: {error}") from None
    return found
