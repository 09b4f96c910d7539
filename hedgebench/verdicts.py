"""What numbers with intervals say of a claim: holds, does not hold, cannot tell. No torch, and no knowledge of any eval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

NOT_MEASURED = "not measured"
_WORDS = ("holds", "holds in part", "does not hold", "cannot tell")


class Claim(NamedTuple):
    """A claim and what was found; as a string, a line of a list in Markdown."""

    words: str
    """The claim."""
    verdict: str
    """In a few words."""
    said: str
    """With numbers, as sentences."""
    ours: bool = False
    """Whether it is a question that the sources do not ask."""

    def __str__(self) -> str:
        return f"- **{self.words}** {self.said}"


def claim(words: str, found: str, numbers: str = "", ours: bool = False) -> Claim:
    """A claim of one verdict, and its numbers."""
    said = f"{found[0].upper()}{found[1:]}"
    return Claim(words, found, f"{said}: {numbers}." if numbers else f"{said}.", ours)


def claim_of_each(words: str, found: Mapping[str, tuple[str, Any]], ours: bool = False) -> Claim:
    """A claim about several series: the verdict on each, by its name, with its numbers."""
    if not found:
        return claim(words, "cannot tell", NOT_MEASURED, ours)
    groups: dict[str, list[str]] = {word: [] for word in _WORDS}
    for name, (word, numbers) in found.items():
        groups.setdefault(word, []).append(f"{name} ({numbers})")
    said = [f"{word[0].upper()}{word[1:]} for {'; '.join(names)}." for word, names in groups.items() if names]
    counts = {word: len(names) for word, names in groups.items() if names}
    each = ", ".join(f"{word} for {n} of {len(found)}" for word, n in counts.items())
    return Claim(words, each if len(counts) > 1 else next(iter(counts)), " ".join(said), ours)


def listed(claims: Sequence[Claim]) -> list[str]:
    """Lines of Markdown: the claims of the sources, then what they do not ask."""
    theirs, ours = ([str(one) for one in claims if one.ours == own] for own in (False, True))
    return [*theirs, *(["\nAsked by us:\n", *ours] if ours else [])]


def so_far(measured: int, planned: int) -> str:
    """A sentence on how many of the planned SAEs are in a table; none where all are."""
    return (
        f"Of the {planned} SAEs that the configs name, {measured} are in the table so far. "
        if measured < planned
        else ""
    )


def verdict(one: Any, holds: Callable[[Any], bool], fails: Callable[[Any], bool]) -> str:
    """What an interval says of a claim that holds where it is on one side, and fails where it is on the other."""
    return "holds" if holds(one) else "does not hold" if fails(one) else "cannot tell"


def judged(
    found: Mapping[str, Any], holds: Callable[[Any], bool], fails: Callable[[Any], bool], per: str = ""
) -> dict[str, tuple[str, str]]:
    """The verdict on each of some intervals, for `claim_of_each`; `per`: what they are, in words."""
    return {name: (verdict(one, holds, fails), f"{one} {per}".rstrip()) for name, one in found.items()}


def in_all(so: Iterable[bool], otherwise: Iterable[bool]) -> str:
    """The verdict on what is claimed of all of some settings: in part, where it is so in some.

    Args:
        so: Whether it is certainly so, setting by setting.
        otherwise: Whether it is certainly not.
    """
    found = list(so)
    if any(found):
        return "holds" if all(found) else "holds in part"
    return "does not hold" if any(otherwise) else "cannot tell"


def below(interval: Any) -> bool:
    """Whether all of an interval lies below 0."""
    return bool(interval.high < 0)


def above(interval: Any) -> bool:
    """Whether all of an interval lies above 0."""
    return bool(interval.low > 0)


def falls(slope: Any, steps: Mapping[str, Any], per: str = "per doubling") -> tuple[str, str]:
    """The verdict on whether something falls, and its numbers, for `claim_of_each`: by the slope over all; in part, where it certainly rises on the way.

    Args:
        slope: The interval of the change over all.
        steps: From each value to the next, by name: the interval of the change.
        per: What the slope is, in words.
    """
    return _goes(slope, steps, per, below, above, "rises")


def rises(slope: Any, steps: Mapping[str, Any], per: str = "per doubling") -> tuple[str, str]:
    """Likewise on whether it rises."""
    return _goes(slope, steps, per, above, below, "falls")


def _goes(
    slope: Any,
    steps: Mapping[str, Any],
    per: str,
    so: Callable[[Any], bool],
    otherwise: Callable[[Any], bool],
    word: str,
) -> tuple[str, str]:
    """The verdict by the slope; in part, where some step certainly goes the other way, which `word` says."""
    numbers = f"{slope} {per}"
    if not so(slope):
        return verdict(slope, so, otherwise), numbers
    numbers += f"; certain at {sum(map(so, steps.values()))} of {len(steps)} steps"
    against = [f"{name} ({step})" for name, step in steps.items() if otherwise(step)]
    return ("holds in part", f"{numbers}, but {word} from {', '.join(against)}") if against else ("holds", numbers)
