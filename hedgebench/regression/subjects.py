"""Which SAEs, or recipes, of two scores tables are compared. No torch.

An SAE here is matched with one of the baseline as the rules say, else by its digest, else by its name. SAEs that are matched, were all trained again and are one variant on both sides are compared as a
recipe: what their training seeds have in common. So are two variants that agree in all that is known of their training, where none of their SAEs is matched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hedgebench.regression.rules import Rules
from hedgebench.stats.grid import VARIANT
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame, Series

By = Literal["config", "digest", "name", "recipe"]


class Subject(NamedTuple):
    """What is compared: one SAE on either side, or several that are one recipe."""

    name: str
    """Here; in the baseline, for one that is missing here."""
    before: tuple[str, ...]
    """SAEs of the baseline; empty for one that is new."""
    here: tuple[str, ...]
    """SAEs here, each beside its own of the baseline where they are matched one by one; empty for one that is missing."""
    by: By | None
    """How they were matched."""

    @property
    def recipe(self) -> bool:
        """Whether several SAEs are compared as one."""
        return len(self.before) > 1


def subjects(
    before: DataFrame, here: DataFrame, variant_before: Series, variant_here: Series, rules: Rules
) -> list[Subject]:
    """Match the SAEs of two scores tables, in the order of the table here; what is missing here comes last.

    Args:
        before: The baseline.
        here: The table that is checked.
        variant_before: The variant of each SAE, by name (`stats.grid.variants`).
        variant_here: Likewise.
        rules: Their `match`, and whether recipes are compared.

    Raises:
        BadInput: SAEs of one digest that nothing tells apart.
    """
    old, new = _digests(before), _digests(here)
    pairs = _pairs(old, new, rules)
    alike = {name for name, (other, _) in pairs.items() if old[other] is not None and old[other] == new[name]}
    found: dict[str, Subject] = {}
    if rules.judge == "recipes":
        for name, members in _members(variant_here).items():
            counterparts = [pairs[sae][0] for sae in members if sae in pairs]
            matched = tuple(sae for sae in members if sae in pairs)
            if len(matched) > 1 and not alike & set(matched) and len(set(variant_before[counterparts])) == 1:
                subject = Subject(name, tuple(counterparts), matched, pairs[matched[0]][1])
                found |= dict.fromkeys(matched, subject)
        found |= _whole(before, here, variant_before, variant_here, pairs)
    for name in new:
        if name not in found:
            other, by = pairs.get(name, (None, None))
            found[name] = Subject(name, (other,) if other is not None else (), (name,), by)
    ordered = list(dict.fromkeys(found[name] for name in new))
    seen = {other for subject in ordered for other in subject.before}
    return ordered + [Subject(name, (name,), (), None) for name in old if name not in seen]


def _digests(scores: DataFrame) -> dict[str, str | None]:
    """The digest of each SAE; None where there is none."""
    saes = scores.drop_duplicates("sae").set_index("sae")["digest"]
    return {str(name): digest if isinstance(digest, str) else None for name, digest in saes.items()}


def _pairs(old: Mapping[str, str | None], new: Mapping[str, str | None], rules: Rules) -> dict[str, tuple[str, By]]:
    """For each SAE here that is matched, its counterpart and how it was found."""
    pairs: dict[str, tuple[str, By]] = {name: (other, "config") for name, other in rules.match.items()}
    left = {name: digest for name, digest in old.items() if name not in rules.match.values()}
    by_digest = _grouped((name, digest) for name, digest in left.items() if digest is not None)
    free = {name: digest for name, digest in new.items() if name not in pairs and digest in by_digest}
    for digest, names in _grouped(free.items()).items():
        others = by_digest[digest]
        named = [name for name in names if name in others]
        names = [name for name in names if name not in named]
        others = [other for other in others if other not in named]
        if names and others and (len(names) > 1 or len(others) > 1):
            raise BadInput(
                f"SAEs of one digest cannot be told apart: {', '.join(names)} here, {', '.join(others)} in the baseline; "
                "say which is which under `match:` in the config"
            )
        pairs |= {name: (name, "digest") for name in named}
        pairs |= {name: (other, "digest") for name, other in zip(names, others, strict=False)}
    taken = {other for other, _ in pairs.values()}
    return pairs | {name: (name, "name") for name in new if name in left and name not in pairs and name not in taken}


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[Any, list[str]]:
    """Names by what they have in common."""
    found: dict[Any, list[str]] = {}
    for name, key in pairs:
        found.setdefault(key, []).append(name)
    return found


def _members(variant: Series) -> dict[str, list[str]]:
    """The SAEs of each variant that has several."""
    return {name: saes for name, saes in _grouped(variant.items()).items() if len(saes) > 1}  # type: ignore[arg-type]


def _whole(
    before: DataFrame, here: DataFrame, variant_before: Series, variant_here: Series, pairs: Mapping[str, Any]
) -> dict[str, Subject]:
    """Recipes that are one by all that is known of their training, and none of whose SAEs is matched."""
    taken = {other for other, _ in pairs.values()}
    old = {_training(before, saes[0]): saes for saes in _members(variant_before).values() if not taken & set(saes)}
    found: dict[str, Subject] = {}
    for name, saes in _members(variant_here).items():
        others = old.get(_training(here, saes[0]))
        if others is not None and not pairs.keys() & set(saes):
            found |= dict.fromkeys(saes, Subject(name, tuple(others), tuple(saes), "recipe"))
    return found


def _training(scores: DataFrame, sae: str) -> tuple[Any, ...]:
    """All that is known of an SAE's training but its seed."""
    import pandas as pd

    row = scores.loc[scores["sae"] == sae].iloc[0]
    return tuple(None if name not in row or pd.isna(row[name]) else row[name] for name in VARIANT)
