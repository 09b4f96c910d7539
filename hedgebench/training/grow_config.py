"""`grow:` in a training config: which widths an SAE passes through while it is trained, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hedgebench.lines import LineMap
from hedgebench.paths import user_path
from hedgebench.spelling import nearest
from hedgebench.types import BadInput

_KEYS = ("from", "add", "to", "every", "second_controls")


@dataclass(frozen=True)
class Growing:
    """An SAE that gets more latents while it trains, and the SAEs it leaves behind at every width.

    At each growth the SAE is copied: one copy stays as it is and is the *control*, the other gets `add` latents. Both train on, on the same
    batches, until all widths have seen the same tokens. Source: the growing SAE of the post on hedging (SEED row 18).
    """

    start: int
    """Width at the beginning."""
    add: int
    """Latents of each growth."""
    to: int
    """Width at the end."""
    every: int
    """Tokens between two growths, each put off to where the next buffer begins. The first is at `every`, or at once where the start is a trained SAE."""
    second_controls: bool = True
    """Train every control a second time, from the growth on, on another order of the same data: how far an SAE moves without any new latent."""
    checkpoint: Path | None = field(default=None, compare=False)
    """The trained SAE to start from; where it lies is not what it is."""
    digest: str | None = None
    """What it is."""
    recipe: str | None = None
    """Its `Checkpoint.recipe`, where it is of this series' training seed: such series differ in that seed only."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Every width on the way, the first and the last included."""
        return tuple(range(self.start, self.to + 1, self.add))

    def born_at(self, width: int) -> int:
        """Tokens after which the SAE first has this width."""
        growths = (width - self.start) // self.add
        return self.every * (max(growths - 1, 0) if self.checkpoint else growths)


def read_growing(path: Path, entry: LineMap, tokens: Any) -> Growing:
    """The `grow:` of an entry of `saes:`.

    Args:
        path: The config file, for messages, and for paths relative to it.
        entry: The entry, of one training seed: `{train_seed}` in `from` stands for it.
        tokens: The config's `tokens`, of which the default of `every` is a sixteenth, as in the post.

    Raises:
        BadInput: A key or value is wrong, or the SAE to start from cannot be read.
    """
    grow = entry["grow"]

    def wrong(key: str, text: str) -> BadInput:
        lines = grow.lines if isinstance(grow, LineMap) else {}
        return BadInput(f"{path}:{lines.get(key, entry.lines['grow'])}: {text}")

    if not isinstance(grow, LineMap):
        raise wrong("", "'grow' is a mapping such as `{from: 64, add: 64, to: 512}`")
    for key in grow:
        if key not in _KEYS:
            raise wrong(key, f"'grow' has no key {key!r}{nearest(key, _KEYS)}")
    for key in ("from", "add", "to"):
        if key not in grow:
            raise wrong("", f"'grow' needs {key!r}")
    if "width" in entry:
        raise BadInput(f"{path}:{entry.lines['width']}: an SAE that grows has its widths from 'grow', and no 'width'")
    checkpoint, digest, recipe, start = None, None, None, grow["from"]
    if isinstance(start, str):
        seed = entry.get("train_seed", 0)
        checkpoint = path.parent / user_path(start.replace("{train_seed}", str(seed)))
        card = _card(checkpoint, wrong)
        digest, start = card.digest, card.width
        recipe = card.recipe if card.train_seed == seed else None
    total = tokens if type(tokens) is int else 0
    every = grow.get("every", max(total // 16, 1))
    numbers = {"from": start, "add": grow["add"], "to": grow["to"], "every": every}
    for key, value in numbers.items():
        if type(value) is not int or value < 1:
            raise wrong(key, f"{key!r} of 'grow' must be a whole number from 1, not {value!r}")
    second = grow.get("second_controls", True)
    if not isinstance(second, bool):
        raise wrong("second_controls", f"'second_controls' must be true or false, not {second!r}")
    growing = Growing(start, grow["add"], grow["to"], every, second, checkpoint, digest, recipe)
    if growing.to <= start or (growing.to - start) % growing.add:
        raise wrong("to", f"'to' must be {start} (from) and some times {growing.add} (add), not {growing.to}")
    if growing.born_at(growing.to) >= total:
        raise wrong(
            "every", f"width {growing.to} comes at {growing.born_at(growing.to)} tokens, and training ends at {total}"
        )
    return growing


def check_starts(series: Iterable[tuple[Growing, int]], wrong: Callable[[str], BadInput]) -> None:
    """Refuse series of several training seeds that begin with one trained SAE: they would pass for independent, and start equal.

    Args:
        series: Each with its training seed.
        wrong: Makes the error.

    Raises:
        BadInput: Two seeds share a start.
    """
    seeds: dict[str, int] = {}
    for growing, seed in series:
        if growing.digest is not None and (other := seeds.setdefault(growing.digest, seed)) != seed:
            raise wrong(
                f"training seeds {other} and {seed} grow from one and the same SAE, {growing.checkpoint}: "
                "give one 'train_seed', or each its own SAE as in `from: \"saes/l1-s{train_seed}\"`"
            )


def _card(checkpoint: Path, wrong: Any) -> Any:
    from hedgebench.checkpoint import read_checkpoint

    try:
        return read_checkpoint(checkpoint)
    except BadInput as error:
        raise wrong("from", f"'from' is neither a width nor an SAE that can be read: {error}") from None
