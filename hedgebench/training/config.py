"""What to train, from a YAML file. Every mistake is one line with its place and the nearest right word.

A list given for `architecture`, `loss`, `train_seed`, `width`, `k`, `l1`, `balance`, `detach` or `snap_at` stands for one SAE per value; several lists
stand for every combination. An entry with `grow:` stands for one SAE per width, and their second controls.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from string import Formatter
from typing import Any

from hedgebench.lines import LineMap, read_yaml
from hedgebench.paths import is_there
from hedgebench.spelling import nearest
from hedgebench.training.grow_config import Growing, check_starts, read_growing
from hedgebench.training.losses import LOSSES, LossName
from hedgebench.training.typed import typed_values
from hedgebench.types import BadInput

_OF_ARCHITECTURE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "batchtopk": (("k",), ()),
    "matryoshka_batchtopk": (("k", "levels"), ("balance", "detach")),
    "topk": (("k",), ()),
    "standard": (("l1",), ("l1_warm_up",)),
}
"""Architecture -> the fields it must have and the further ones it may have, of those that not every architecture has."""
_SPECIAL = {name for needed, allowed in _OF_ARCHITECTURE.values() for name in (*needed, *allowed)}
_GRID = ("architecture", "loss", "train_seed", "width", "k", "l1", "balance", "detach", "snap_at")
_ABOVE_0 = (
    *("tokens", "context_size", "sequences_per_pass", "buffer_sequences", "batch_tokens"),
    *("lr", "norm_batches", "dead_after_tokens", "threshold_lr"),
)
_SAVE_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class SAERecipe:
    """One SAE to train."""

    architecture: str
    """`batchtopk`, `matryoshka_batchtopk`, `topk` or `standard`, as SAELens calls them."""
    width: int
    """Number of latents."""
    loss: LossName = "mse"
    """Reconstruction loss."""
    train_seed: int = 0
    """Seed of the start: equal seeds start equal, whatever the loss."""
    name: str = "{architecture}-{loss}-s{train_seed}"
    """Folder of the checkpoint; `{field}` stands for any field of this recipe."""
    snap_at: float = 0.5
    """Fraction of training at which `snap` turns to `l2`, and at which the weight of the other loss terms is frozen for `l2` too."""
    k: float = 0.0
    """Latents per sample; on average, for the BatchTopK kinds."""
    levels: tuple[int, ...] = ()
    """Widths of the Matryoshka levels, the last being the full width."""
    balance: float = 1.0
    """Matryoshka: level m of n counts balance^(n-m) times."""
    detach: bool = False
    """Matryoshka: every latent learns from the smallest level it is in alone."""
    l1: float = 0.0
    """Weight of the L1 penalty (standard)."""
    l1_warm_up: float = 0.0
    """Fraction of training over which the L1 penalty grows to its weight."""
    grow: Growing | None = None
    """For an SAE of a growing series: the series. `width` is the width it stays at."""
    reordered: bool = False
    """For a second control: trained on another order of the data since the SAE it repeats grew."""


@dataclass(frozen=True)
class TrainConfig:
    """SAEs that share one pass of a model over one stream of text."""

    model: str
    """Any name or folder that `hedgebench.models.load_model` takes."""
    hook: str
    """Hook point whose activations are reconstructed."""
    tokens: int
    """Training tokens, special tokens not counted."""
    saes: tuple[SAERecipe, ...]
    data: str = "offline"
    """Text source; its training part is used."""
    data_seed: int = 0
    """Order of the texts and of the activations; independent of every `train_seed`."""
    context_size: int = 128
    """Tokens per sequence."""
    sequences_per_pass: int = 16
    """Sequences per pass of the model."""
    buffer_sequences: int = 256
    """Sequences whose activations are mixed before they are used."""
    batch_tokens: int = 1024
    """Tokens per training step."""
    lr: float = 3e-3
    """Learning rate of Adam."""
    lr_warm_up: float = 0.05
    """Fraction of training over which the learning rate grows to `lr`."""
    lr_decay: float = 0.2
    """Fraction of training, at its end, over which the learning rate falls to 0."""
    normalize: bool = True
    """Scale the activations to a mean norm of sqrt(d_in) while training; the scale is folded into the saved weights."""
    norm_batches: int = 8
    """Batches that the scale is estimated on."""
    dead_after_tokens: int = 50_000
    """A latent that has not fired for so many tokens is dead: the auxiliary loss tries to revive it."""
    threshold_lr: float = 0.03
    """Share of a step's smallest activation in the running threshold (BatchTopK kinds)."""
    saes_at_once: int = 0
    """SAEs that are trained and saved together, the others after them on the same batches, which are kept on disk meanwhile; 0: all."""
    save_dtype: str = "float32"
    """Precision of the weight matrices in the file; the SAE loads as float32 either way."""

    @property
    def steps(self) -> int:
        """Training steps: as many full batches as hold `tokens`."""
        return -(-self.tokens // self.batch_tokens)


def read_config(path: str | Path) -> TrainConfig:
    """Read and check a training config. A `model` or `data` that exists beside the file is taken from there.

    Raises:
        BadInput: No such file, not YAML, or any unknown, missing or wrong key or value.
    """
    path = Path(path)
    data = read_yaml(path, "a training config")
    entries = data.get("saes")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, LineMap) for e in entries):
        line = data.lines.get("saes", data.line)
        raise BadInput(f"{path}:{line}: 'saes' must be a list of mappings such as `architecture: batchtopk`")
    if isinstance(data.get("hook"), (list, dict)):
        line = data.lines["hook"]
        raise BadInput(
            f"{path}:{line}: 'hook' is one hook point; crosscoders and transcoders, of several, are not trained"
        )
    values = typed_values(path, data, TrainConfig, given={"saes": ()})
    values["saes"] = tuple(recipe for entry in entries for recipe in _recipes(path, entry, data))
    for key in ("model", "data"):
        if is_there(beside := path.parent / values.get(key, "offline")):
            values[key] = str(beside.resolve())
    config = TrainConfig(**values)
    _check_config(path, data, config)
    return config


def _check_config(path: Path, data: LineMap, config: TrainConfig) -> None:
    def wrong(key: str, text: str) -> BadInput:
        return BadInput(f"{path}:{data.lines.get(key, data.line)}: {text}")

    for key in _ABOVE_0:
        if getattr(config, key) <= 0:
            raise wrong(key, f"{key!r} must be above 0, not {getattr(config, key)}")
    if config.saes_at_once < 0:
        raise wrong("saes_at_once", f"'saes_at_once' must be a whole number from 0 (all), not {config.saes_at_once}")
    if not 0 <= config.data_seed < 2**63:
        raise wrong("data_seed", f"'data_seed' must be a whole number from 0, not {config.data_seed}")
    if config.context_size < 2:
        raise wrong(
            "context_size", "'context_size' must be at least 2: the first token of a sequence is not trained on"
        )
    if min(config.lr_warm_up, config.lr_decay) < 0 or config.lr_warm_up + config.lr_decay > 1:
        raise wrong("lr_warm_up", "'lr_warm_up' and 'lr_decay' are fractions of training that sum to at most 1")
    if config.buffer_sequences * config.context_size < config.batch_tokens:
        raise wrong(
            "buffer_sequences", "the buffer holds less than one batch: raise 'buffer_sequences' or lower 'batch_tokens'"
        )
    buffer = config.buffer_sequences * config.context_size
    for growing in {recipe.grow for recipe in config.saes if recipe.grow is not None}:
        if growing.every < buffer or growing.born_at(growing.to) + buffer > config.tokens:
            raise wrong(
                "buffer_sequences",
                f"an SAE grows where a buffer begins, every {growing.every} tokens, and the buffer holds {buffer}: lower 'buffer_sequences', or grow later or longer",
            )
    check_starts([(r.grow, r.train_seed) for r in config.saes if r.grow is not None], lambda text: wrong("saes", text))
    if config.save_dtype not in _SAVE_DTYPES:
        raise wrong("save_dtype", f"'save_dtype' is {config.save_dtype!r}{nearest(config.save_dtype, _SAVE_DTYPES)}")
    names = [recipe.name for recipe in config.saes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise wrong(
            "saes", f"two SAEs are called {twice[0]!r}; give `name:` a field that tells them apart, such as {{k}}"
        )


def _recipes(path: Path, entry: LineMap, data: LineMap) -> list[SAERecipe]:
    """One recipe per combination of the lists in an entry of `saes:`, or a series of them where it grows."""
    grid = {key: value if isinstance(value, list) else [value] for key, value in entry.items() if key in _GRID}
    if empty := [key for key, values in grid.items() if not values]:
        raise BadInput(f"{path}:{entry.lines[empty[0]]}: {empty[0]!r} is an empty list")
    found = []
    for combination in itertools.product(*grid.values()):
        one = LineMap({**entry, **dict(zip(grid, combination, strict=True))})
        one.line, one.lines = entry.line, entry.lines
        found += _series(path, one, data.get("tokens")) if "grow" in entry else [_recipe(path, one)]
    return found


def _series(path: Path, entry: LineMap, tokens: Any) -> list[SAERecipe]:
    """One recipe per width, each followed by its second control. Of a Matryoshka SAE the outermost level grows."""
    growing = read_growing(path, entry, tokens)
    series = []
    for width in growing.widths:
        values = {"name": "{architecture}-{loss}-{width}-s{train_seed}", **entry, "width": width}
        values.pop("grow")
        if width > growing.start and isinstance(levels := entry.get("levels"), list):
            values["levels"] = [*levels[:-1], width]
        one = LineMap(values)
        one.line, one.lines = entry.line, {"name": entry.line, "width": entry.lines["grow"], **entry.lines}
        recipe = replace(_recipe(path, one), grow=growing)
        series.append(recipe)
        if growing.second_controls and width < growing.to:
            series.append(replace(recipe, reordered=True, name=f"{recipe.name}-reordered"))
    return series


def _recipe(path: Path, entry: LineMap) -> SAERecipe:
    def wrong(key: str, text: str) -> BadInput:
        return BadInput(f"{path}:{entry.lines.get(key, entry.line)}: {text}")

    architecture = entry.get("architecture")
    if any(kind in str(architecture) for kind in ("transcoder", "crosscoder")):
        raise wrong("architecture", f"{architecture!r} is no SAE of one hook point; HedgeBench trains nothing else")
    if "reordered" in entry:
        raise wrong("reordered", "'reordered' is for second controls, which 'grow' makes")
    recipe = SAERecipe(**typed_values(path, entry, SAERecipe))
    if recipe.architecture not in _OF_ARCHITECTURE:
        raise wrong(
            "architecture", f"'architecture' is {architecture!r}{nearest(recipe.architecture, _OF_ARCHITECTURE)}"
        )
    if recipe.loss not in LOSSES:
        raise wrong("loss", f"'loss' is {recipe.loss!r}{nearest(recipe.loss, LOSSES)}")
    needed, allowed = _OF_ARCHITECTURE[recipe.architecture]
    for key in needed:
        if key not in entry:
            raise wrong("architecture", f"{recipe.architecture} needs {key!r}")
    for key in entry:
        if key in _SPECIAL and key not in needed + allowed:
            raise wrong(key, f"{key!r} does not apply to {recipe.architecture}")
    _check_numbers(recipe, wrong)
    try:
        for _, used, spec, _ in Formatter().parse(recipe.name):
            if used is not None and (not used.isidentifier() or re.search(r"\d{3}|[{]", spec or "")):
                raise ValueError(f"{{{used}:{spec}}}")
        name = recipe.name.format_map({f.name: getattr(recipe, f.name) for f in fields(recipe)})
    except (KeyError, ValueError, IndexError) as error:
        raise wrong("name", f"'name' has a field that is none: {error}") from None
    if not name or Path(name).name != name or name.startswith("."):
        raise wrong("name", f"'name' gives {name!r}, which is no folder name")
    return SAERecipe(**{**vars(recipe), "name": name})


def _check_numbers(recipe: SAERecipe, wrong: Any) -> None:
    if not 0 <= recipe.train_seed < 2**63:
        raise wrong("train_seed", f"'train_seed' must be a whole number from 0, not {recipe.train_seed}")
    if recipe.width < 1:
        raise wrong("width", f"'width' must be above 0, not {recipe.width}")
    if not 0 < recipe.snap_at < 1:
        raise wrong("snap_at", f"'snap_at' is a fraction of training between 0 and 1, not {recipe.snap_at}")
    if recipe.architecture != "standard" and not 0 < recipe.k <= recipe.width:
        raise wrong("k", f"'k' must be above 0 and at most the width {recipe.width}, not {recipe.k:g}")
    if recipe.architecture == "topk" and recipe.k != int(recipe.k):
        raise wrong("k", f"'k' of topk must be a whole number, not {recipe.k}")
    if min(recipe.l1, recipe.balance, recipe.l1_warm_up) < 0 or recipe.l1_warm_up > 1:
        raise wrong("l1", "'l1' and 'balance' are from 0 up, 'l1_warm_up' is a fraction of training")
    if recipe.levels and (list(recipe.levels) != sorted({*recipe.levels, recipe.width}) or recipe.levels[0] < 1):
        raise wrong("levels", f"'levels' must rise to the width {recipe.width}, not {list(recipe.levels)}")
