"""Which SAEs belong together: those that differ in their training seed only, and the controls that grown ones are compared with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import takewhile
from pathlib import Path

from hedgebench.paths import is_there
from hedgebench.types import BadInput, CannotMeasure, Checkpoint

LONE = "it needs a group of SAEs that differ in training seed only, and none is named: give `group:` in the suite, or --group"
ABSENT = {
    "control": "it compares an SAE with another, and this one names none: give `control:` in the suite, or --control",
    "second_control": "this SAE names no second control: give `second_control:` in the suite, or --second-control",
    "siblings": "no other SAE here differs from this one in training seed only: give `group:` in the suite, or --group",
}
"""Why an SAE has no such relative, where nothing else is known."""


@dataclass(frozen=True)
class Family:
    """An SAE (or a group of them) and those it is compared with."""

    card: Checkpoint
    control: Checkpoint | None = None
    second_control: Checkpoint | None = None
    siblings: tuple[Checkpoint, ...] = ()
    absent: Mapping[str, str] = field(default_factory=lambda: dict(ABSENT))
    """Why there is no control, second control or sibling, where there is none."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Of these reasons, the mistakes: whatever needs that relative fails, and is not just skipped."""


# --- controls ------------------------------------------------------------------------------------------------------------------


def family_of(
    card: Checkpoint, control: str | None, second_control: str | None, read: Callable[[str], Checkpoint]
) -> Family:
    """An SAE with its controls: those that the suite names, else those that its own metadata name, beside it.

    Args:
        card: The SAE.
        control: Reference of the control that the suite names.
        second_control: Likewise.
        read: From a reference to its card; raises `BadInput`.
    """
    growth = card.growth if control is None and card.control_of is None else None
    wanted: dict[str, tuple[str | None, str | None]] = {
        "control": (growth.control if growth else None, growth.control_digest if growth else None),
        "second_control": (growth.second_control if growth else None, growth.second_control_digest if growth else None),
    }
    found: dict[str, Checkpoint] = {}
    absent, problems = dict(ABSENT), {}
    for kind, ref in (("control", control), ("second_control", second_control)):
        name, digest = wanted[kind] if ref is None else (None, None)
        try:
            if name is not None:
                found[kind] = read(_beside(card, kind, name))
                if found[kind].digest != digest:
                    del found[kind]
                    raise BadInput(f"{name} beside it is not the SAE it was grown with: its weights are others")
            elif ref is not None:
                found[kind] = read(ref)
        except CannotMeasure as why:
            absent[kind] = str(why)
        except BadInput as error:
            absent[kind] = problems[kind] = f"the {kind.replace('_', ' ')} of {card.name}: {error}"
    return Family(
        card,
        found.get("control"),
        found.get("second_control"),
        absent={kind: why for kind, why in absent.items() if kind not in found},
        problems=problems,
    )


def _beside(card: Checkpoint, kind: str, name: str) -> str:
    """The folder of that name beside an SAE's own.

    Raises:
        CannotMeasure: There is none.
    """
    what = f"its {kind.replace('_', ' ')} {name!r}"
    if card.ref is None:
        raise CannotMeasure(f"{what} lies beside the file it was loaded from, and the SAE is in memory: name it")
    if not is_there(place := Path(card.ref).resolve().parent / name):
        raise CannotMeasure(f"{what} is not beside it")
    return str(place)


# --- groups --------------------------------------------------------------------------------------------------------------------


def with_siblings(families: Sequence[Family], unreadable: Collection[str]) -> list[Family]:
    """Each SAE with the other members of its group that can be read, in order of training seed.

    Args:
        families: All SAEs and control rows.
        unreadable: The digests of those that cannot be read.
    """
    groups = _groups_by_digest(families)
    found = []
    for family in families:
        group = groups.get(family.card.digest, ())
        others = tuple(c for c in group if c.digest != family.card.digest and c.digest not in unreadable)
        absent = {kind: why for kind, why in family.absent.items() if kind != "siblings" or not others}
        found.append(replace(family, siblings=others, absent=absent))
    return found


def as_groups(families: Sequence[Family]) -> Iterator[Family]:
    """One family for each group, its siblings being all members; an SAE that is in no group stands alone."""
    groups = _groups_by_digest(families)
    seen: set[str] = set()
    for family in families:
        members = groups.get(family.card.digest)
        if members is None:
            why = LONE if family.card.control_of is None else "control rows are in no group of SAEs"
            yield Family(family.card, absent={**ABSENT, "siblings": why})
        elif members[0].digest not in seen:
            seen.add(members[0].digest)
            yield Family(
                group_card(members), siblings=members, absent={k: ABSENT[k] for k in ABSENT if k != "siblings"}
            )


def _groups_by_digest(families: Sequence[Family]) -> dict[str, tuple[Checkpoint, ...]]:
    return {card.digest: group for group in find_groups([f.card for f in families]) for card in group}


def find_groups(cards: Sequence[Checkpoint]) -> list[tuple[Checkpoint, ...]]:
    """The groups of two and more SAEs that differ in their training seed only.

    Those of one `group`; of all others, those that tell the same recipe, or no recipe and otherwise the same of themselves, and each another
    training seed. Control rows are in no group: random ones of one seed have the same rows whatever SAE they imitate.
    """
    sets: dict[tuple[object, ...], dict[str, Checkpoint]] = {}
    for card in cards:
        if card.control_of is None and (key := _kind(card)) is not None:
            sets.setdefault(key, {}).setdefault(card.digest, card)
    return [
        in_order(members.values())
        for key, members in sets.items()
        if len(members) > 1 and (key[0] == "named" or _seeds_differ(members.values()))
    ]


def _kind(card: Checkpoint) -> tuple[object, ...] | None:
    """What the members of a group share; None for an SAE that does not say enough of itself."""
    if card.group is not None:
        return "named", card.group
    if card.train_seed is None:
        return None
    if card.recipe is not None:
        return "recipe", card.recipe, card.d_in, card.width, card.model, card.hook, card.world
    told = (card.architecture, card.loss, card.k, card.objective, card.prefixes, card.train_tokens)
    return "told", *told, card.d_in, card.width, card.model, card.hook, card.hook_head_index, card.world


def _seeds_differ(members: Collection[Checkpoint]) -> bool:
    """Two SAEs of one seed differ in something that they do not tell."""
    return len({card.train_seed for card in members}) == len(members)


def in_order(members: Collection[Checkpoint]) -> tuple[Checkpoint, ...]:
    """In order of training seed, whatever order a suite names them in."""
    return tuple(sorted(members, key=lambda c: (c.train_seed is None, c.train_seed or 0, c.name, c.digest)))


def group_card(members: Sequence[Checkpoint]) -> Checkpoint:
    """The card of a group: what its SAEs have in common, and their mean L0."""
    first, *others = members
    shared = {f.name: getattr(first, f.name) for f in fields(Checkpoint)}
    told = {key: value for key, value in shared.items() if all(getattr(c, key) == value for c in others)}
    l0s = [card.l0 for card in members if card.l0 is not None]
    digests = [card.digest for card in members]
    return Checkpoint(
        **{
            "architecture": "mixed",
            "d_in": first.d_in,
            "width": first.width,
            **told,
            "digest": hashlib.sha256(" ".join(["group", *sorted(digests)]).encode()).hexdigest()[:32],
            "name": first.group or group_name([card.name for card in members]),
            "l0": sum(l0s) / len(l0s) if len(l0s) == len(members) else None,
            "train_seed": None,
            "ref": None,
            "growth": None,
            "members": tuple(digests),
        }
    )


def group_name(names: Sequence[str]) -> str:
    """What the names share, with `*` for the part in which they differ: `topk-s0`, `topk-s10` give `topk-s*`."""
    start = _shared_start(names)
    end = _shared_start([name[len(start) :][::-1] for name in names])[::-1]
    # a number is one part, whatever digits it shares
    return re.sub(r"\d+$", "", start) + "*" + re.sub(r"^\d+", "", end)


def _shared_start(texts: Sequence[str]) -> str:
    return "".join(column[0] for column in takewhile(lambda c: len(set(c)) == 1, zip(*texts, strict=False)))
