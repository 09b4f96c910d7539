"""Which SAEs, or recipes, of two scores tables are compared. No torch.

An SAE here is matched with one of the baseline as the rules say, else by its digest, else by its name. SAEs that are matched, were all trained again and are one variant on both sides are compared as a
recipe: what their training seeds have in common. So are two variants that agree in all that is known of their training, where none of their SAEs is matched. What is left is matched by its tags: by all
that is known of its training, the seed included, where that is one SAE on either side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hedgebench.one_line import one_line
from hedgebench.regression.rules import Rules
from hedgebench.stats.grid import VARIANT, members
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame, Series

By = Literal["config", "digest", "name", "recipe", "tags"]


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


class Tags(NamedTuple):
    """What is known of an SAE's training; None for what is not."""

    seed: int | None
    training: tuple[Any, ...]
    """All but the seed: the values of `VARIANT`."""


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
    old_tags, new_tags = _tags(before), _tags(here)
    pairs = _pairs(old, new, rules)
    alike = {name for name, (other, _) in pairs.items() if old[other] is not None and old[other] == new[name]}
    found: dict[str, Subject] = {}
    if rules.judge == "recipes":
        for name, saes in several(variant_here).items():
            matched = tuple(sae for sae in saes if sae in pairs)
            counterparts = [pairs[sae][0] for sae in matched]
            if len(matched) > 1 and not alike & set(matched) and len(set(variant_before[counterparts])) == 1:
                subject = Subject(name, tuple(counterparts), matched, pairs[matched[0]][1])
                found |= dict.fromkeys(matched, subject)
        found |= _whole(old_tags, new_tags, variant_before, variant_here, pairs)
    taken = {other for other, _ in pairs.values()}.union(*(subject.before for subject in found.values()))
    free = [name for name in new if name not in pairs and name not in found]
    pairs |= _by_tags(
        {name: old_tags[name] for name in old if name not in taken}, {name: new_tags[name] for name in free}
    )
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
                f"SAEs of one digest cannot be told apart: {one_line(', '.join(names))} here, "
                f"{one_line(', '.join(others))} in the baseline; say which is which under `match:` in the config"
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


def several(variant: Series) -> dict[str, list[str]]:
    """The SAEs of each variant that has several, from the variant of each SAE."""
    return {name: saes for name, saes in members(variant).items() if len(saes) > 1}


def _whole(
    before: Mapping[str, Tags],
    here: Mapping[str, Tags],
    variant_before: Series,
    variant_here: Series,
    pairs: Mapping[str, tuple[str, By]],
) -> dict[str, Subject]:
    """Recipes that are one by all that is known of their training, and none of whose SAEs is matched."""
    taken = {other for other, _ in pairs.values()}
    old = {before[saes[0]].training: saes for saes in several(variant_before).values() if not taken & set(saes)}
    found: dict[str, Subject] = {}
    for name, saes in several(variant_here).items():
        others = old.get(here[saes[0]].training)
        if others is not None and not pairs.keys() & set(saes):
            found |= dict.fromkeys(saes, Subject(name, tuple(others), tuple(saes), "recipe"))
    return found


def _by_tags(old: Mapping[str, Tags], new: Mapping[str, Tags]) -> dict[str, tuple[str, By]]:
    """SAEs whose training seed is known and whose tags are those of one SAE on either side."""
    there, now = (_grouped((name, tags) for name, tags in side.items() if tags.seed is not None) for side in (old, new))
    return {
        names[0]: (there[tags][0], "tags") for tags, names in now.items() if len(names) == len(there.get(tags, ())) == 1
    }


def _tags(scores: DataFrame) -> dict[str, Tags]:
    """The tags of each SAE."""
    rows = scores.drop_duplicates("sae")[["sae", "train_seed", *VARIANT]].astype(object)
    known = rows.where(rows.notna(), None).itertuples(index=False, name=None)
    return {str(sae): Tags(seed, tuple(training)) for sae, seed, *training in known}
