"""Where an SAE comes from, as its own metadata say: what it has grown out of, what it was trained to do, and the recipe it shares with SAEs of other training seeds.

Metadata are untrusted: where any part is of the wrong kind, it is as if nothing were there.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from hedgebench.types import Growth

_FOLDER = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*")
"""A plain folder name: no path, nothing hidden, no way up."""
_DIGEST = re.compile(r"[0-9a-f]{32}")


def read_growth(metadata: Mapping[str, Any]) -> Growth | None:
    """What a grown SAE says of its family (`growth`), or None."""
    found = metadata.get("growth")
    if not isinstance(found, Mapping):
        return None
    values: dict[str, Any] = {key: found.get(key) for key in (*_NEEDED, *_OPTIONAL)}
    good = all(fits(values[key]) for key, fits in _NEEDED.items()) and all(
        values[key] is None or fits(values[key]) for key, fits in _OPTIONAL.items()
    )
    paired = (values["second_control"] is None) == (values["second_control_digest"] is None)
    return Growth(**values) if good and paired else None


def read_recipe(metadata: Mapping[str, Any]) -> str | None:
    """Hash of all that decided the training but the seed and the name (`train_settings`; of a toy SAE, its recipe and world), or None.

    SAEs that have grown from trained ones differ in their seed only if each began with the SAE of its own seed, and those in their seed only.
    """
    settings, toy = metadata.get("train_settings"), metadata.get("toy_recipe")
    if isinstance(settings, Mapping):
        told = {str(key): value for key, value in settings.items() if key not in ("train_seed", "name")}
        grow = told.get("grow")
        if isinstance(grow, Mapping) and grow.get("digest") is not None:
            alone = grow.get("recipe") is None
            told |= {"train_seed": settings.get("train_seed")} if alone else {"grow": {**grow, "digest": None}}
    elif isinstance(toy, Mapping):
        told = {"toy_recipe": toy, "toy_world": metadata.get("toy_world")}
    else:
        return None
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:32]


def read_objective(metadata: Mapping[str, Any]) -> str | None:
    """What weighs the terms of the training loss, as sorted `name=value` pairs (`l1=8`, `balance=0.25`), or None where nothing is said. What is left at its plain value is not named.

    It tells SAEs apart that have one architecture, loss and k; of an SAE with a penalty it is what its L0 comes from.
    """
    details = metadata.get("training_architecture_details")
    told = {**(details if isinstance(details, Mapping) else {}), **metadata}
    found = {}
    for name, (key, plain) in _WEIGHTS.items():
        value = told.get(key)
        if isinstance(value, (bool, int, float)) and abs(value) < math.inf and value != plain:
            found[name] = f"{value:g}" if not isinstance(value, bool) else str(value).lower()
    return " ".join(f"{name}={value}" for name, value in sorted(found.items())) or None


_WEIGHTS: Mapping[str, tuple[str, float | None]] = {
    "balance": ("balance", 1.0),
    "detach": ("detach_levels", False),
    "l0": ("l0_coefficient", None),
    "l1": ("l1_coefficient", None),
    "snap_at": ("snap_at", 0.5),
    "sparsity": ("sparsity_penalty", None),
    "target_l0": ("target_l0", None),
}
"""Each by its name: the key of SAELens, of dictionary_learning or ours, and the value that goes without saying."""


def _is_folder(value: Any) -> bool:
    return isinstance(value, str) and _FOLDER.fullmatch(value) is not None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


_NEEDED: Mapping[str, Callable[[Any], bool]] = {
    "parent": _is_folder,
    "parent_width": _is_count,
    "added": _is_count,
    "at_tokens": _is_count,
    "control": _is_folder,
    "control_digest": _is_digest,
}
_OPTIONAL: Mapping[str, Callable[[Any], bool]] = {
    "second_control": _is_folder,
    "second_control_digest": _is_digest,
    "live_added": _is_share,
}
