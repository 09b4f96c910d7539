"""The nouns of HedgeBench: what a metric, a score, a checkpoint and a run are. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


class BadInput(ValueError):
    """Something the user gave is wrong: one line that says what, where, and what to do. Exit code 2."""


class Unreachable(BadInput):
    """Nothing need be wrong with what the user gave: the place where it is to be had does not answer."""


class CannotMeasure(Exception):
    """An eval's honest "no number": it says why, and the run is recorded as skipped."""


@dataclass(frozen=True)
class Metric:
    """All that is known about one number an eval reports."""

    name: str
    """Plain name, without any parameter in it: parameters are a column."""
    summary: str
    """The formula in words, with its convention."""
    unit: str = ""
    higher_is_better: bool | None = None
    """None where neither direction is better by itself."""
    chance: float | None = None
    """What an SAE that learnt nothing scores, where that is a fixed number."""
    low: float | None = None
    """Smallest possible value; a score below it is a bug and fails the run."""
    high: float | None = None
    """Largest possible value."""
    paper: str = ""
    """Where the definition comes from."""


@dataclass(frozen=True)
class Score:
    """One number, about one subset.

    `stderr` is the standard error of `value` over `n` independent units (sequences, latents, ...), where the eval knows it.
    `chance` replaces the metric's own chance level where that level depends on the SAE.
    """

    metric: str
    value: float
    params: Mapping[str, Any] = field(default_factory=dict)
    slice_by: str = "all"
    slice_value: str = "all"
    stderr: float | None = None
    n: int | None = None
    chance: float | None = None


@dataclass(frozen=True)
class Growth:
    """How an SAE came out of a narrower one. Names are of folders beside its own."""

    parent: str
    parent_width: int
    """Latents of the parent: the first rows of the grown SAE and of its controls."""
    added: int
    """New latents: the rows after those."""
    at_tokens: int
    """Training tokens that the parent had seen."""
    control: str
    """The parent trained on for as long, on the same data, without new latents."""
    control_digest: str
    second_control: str | None = None
    """Like the control, in another order of the data."""
    second_control_digest: str | None = None
    live_added: float | None = None
    """Share of the new latents that fired at the end of training."""


@dataclass(frozen=True)
class Checkpoint:
    """The card of one SAE: what it says of itself, and the digest of what it computes.

    Everything but `digest` comes from the checkpoint's own metadata (or a suite's tags) and is None where it says nothing.
    """

    digest: str
    """Hash of the weights and of the settings that change the output: no name, no path, no clock."""
    name: str
    architecture: str
    """How it was trained: batchtopk and matryoshka_batchtopk are saved as jumprelu, and are still called by their own name."""
    d_in: int
    width: int
    hook: str | None = None
    layer: int | None = None
    model: str | None = None
    loss: str | None = None
    k: float | None = None
    l0: float | None = None
    """Mean L0 at the end of training, as the trainer recorded it."""
    train_seed: int | None = None
    train_tokens: int | None = None
    prefixes: tuple[int, ...] = ()
    """Widths of the Matryoshka levels."""
    decoder_row_norm: float | None = None
    """Mean norm of the decoder rows as stored, before folding."""
    b_dec_norm: float | None = None
    """L2 norm of the decoder bias."""
    dtype: str | None = None
    hook_head_index: int | None = None
    release: str | None = None
    sae_id: str | None = None
    ref: str | None = None
    """Where it was loaded from: a path or `release:sae_id`; None for an object in memory."""
    control_of: str | None = None
    """For a control row (`hedgebench.control_cards.KINDS`): the digest of the SAE it is beside."""
    control_kind: str | None = None
    control_seed: int | None = None
    """None for a kind that draws nothing."""
    objective: str | None = None
    """What weighs the terms of its training loss, as sorted `name=value` pairs: `l1=8`, `balance=0.25`."""
    growth: Growth | None = None
    """For a grown SAE: from what, and which SAEs it is compared with."""
    recipe: str | None = None
    """Hash of all that decided its training but the seed: SAEs that share it differ in their training seed only."""
    group: str | None = None
    """The name (`group:` in a suite) of the SAEs that differ from it in their training seed only."""
    members: tuple[str, ...] = ()
    """For the card of such a group: the digests of its SAEs, in order of training seed."""
    world: str | None = None
    """Where its true features are (`world:` in a suite), where they are not beside it: a folder, or `memory:IDENTITY`."""
    tags: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """This card as plain JSON data."""
        lists = {"prefixes": list(self.prefixes), "members": list(self.members)}
        return {**asdict(self), **lists, "tags": dict(self.tags)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Checkpoint:
        """The inverse of `to_dict`; unknown keys are ignored, so that older programs read newer cards."""
        known = {f.name for f in fields(cls)}
        lists = {key: tuple(data.get(key, ())) for key in ("prefixes", "members")}
        growth = Growth(**data["growth"]) if data.get("growth") else None
        return cls(**{**{k: v for k, v in data.items() if k in known}, **lists, "growth": growth})


@dataclass(frozen=True)
class Run:
    """One execution: this eval, with this config and seed, on this checkpoint. `run_id` names it by content alone."""

    run_id: str
    checkpoint: Checkpoint
    eval: str
    eval_version: int
    config: Mapping[str, Any]
    seed: int | None
    """None for an eval that draws nothing."""
    model: str | None
    """None for an eval that runs no model, and likewise the three below."""
    revision: str | None
    """What the model's name stood for: a package version, a commit, a folder's content."""
    data: str | None
    """What text, labelled texts or true features it reads, by content."""
    data_source: str | None
    """Where the suite's text is opened: a name or a path."""
    dtype: str
    control: Checkpoint | None = None
    labelled: tuple[str, ...] = ()
    """Where the labelled texts are opened: names or paths."""
    world: str | None = None
    """Where the true features are opened: a folder, or `memory:IDENTITY`; what they are is in `data`."""
    second_control: Checkpoint | None = None
    siblings: tuple[Checkpoint, ...] = ()
    """The other SAEs of its group; for a run of the group itself, all of them. In order of training seed."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """What the eval asks for and this SAE does not have, each with the reason."""
    calibration: str | None = None
    """What a control row is made from or matched on, by content, where `data` does not say so."""
