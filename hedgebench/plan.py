"""From a suite to a plan: every run that it asks for, each with its identity, before anything is computed."""

from __future__ import annotations

import glob
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.eval import Eval, asked, public_config
from hedgebench.eval_config import make_config
from hedgebench.finished import Stamp
from hedgebench.formats.layouts import display_name, find_layout, find_paths
from hedgebench.identities import Identities
from hedgebench.one_line import one_line
from hedgebench.paths import is_file, is_folder, is_there
from hedgebench.registry import get_eval
from hedgebench.relatives import Family, as_groups, family_of, with_siblings
from hedgebench.spelling import nearest
from hedgebench.suite import EvalEntry, SaeEntry, Suite
from hedgebench.types import BadInput, Checkpoint, Run

if TYPE_CHECKING:
    from sae_lens import SAE

logger = logging.getLogger(__name__)


@dataclass
class Plan:
    """What a suite comes to."""

    name: str
    time_limit: float
    runs: list[Run] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """run_id of each run on an SAE, or with a relative, that cannot be loaded: it fails with this line."""
    mistakes: list[str] = field(default_factory=list)
    """Evals that the suite names and that cannot be had, a line each: the rest of the suite is carried out."""
    shares: dict[str, bool] = field(default_factory=dict)
    """Whether an eval shares work over the SAEs of one hook point."""
    seen: dict[str, Stamp | None] = field(default_factory=dict)
    """By run_id, what lay at the place of its record when that was last looked at."""


def make_plan(suite: Suite, objects: dict[str, SAE] | None = None, evals: dict[str, type[Eval]] | None = None) -> Plan:
    """Work out every run of a suite.

    Args:
        suite: What to run.
        objects: SAEs in memory by name; a suite entry refers to one by `memory:NAME`.
        evals: Eval classes that no package registers, by name.

    Raises:
        BadInput: The suite names an unknown model or text, or settings that an eval does not have.
    """
    if suite.model is not None:
        from hedgebench.models import check_model_name

        check_model_name(suite.model)
    plan = Plan(suite.name, suite.time_limit)
    chosen = list(_evals(suite.evals, evals or {}, plan))
    identities = Identities(suite)
    families, failed = _families(suite, objects or {}, identities)
    seen: set[str] = set()
    for eval_class, config, uses in chosen:
        plan.shares[eval_class.name] = eval_class.shares_work()
        for seed in suite.seeds if eval_class.draws else (None,):
            for family in as_groups(families) if "siblings" in eval_class.needs else families:
                run, problem = identities.run(eval_class, config, seed, family, uses)
                if run.run_id in seen:
                    continue
                seen.add(run.run_id)
                plan.runs.append(run)
                problem = next((failed[d] for d in (family.card.digest, *family.card.members) if d in failed), problem)
                if problem is not None:
                    plan.unreadable[run.run_id] = problem
    return plan


def _evals(
    entries: tuple[EvalEntry, ...], given: dict[str, type[Eval]], plan: Plan
) -> Iterator[tuple[type[Eval], dict[str, Any], frozenset[str]]]:
    """Each eval of a suite, its settings, and what it asks for with them."""
    for entry in entries:
        try:
            eval_class = given.get(entry.name) or get_eval(entry.name)
        except BadInput as error:
            plan.mistakes.append(f"{entry.where}: {error}")
            continue
        try:
            made = make_config(eval_class, dict(entry.config))
            config, uses = dict(public_config(made)), asked(eval_class, made)
            if eval_class.labelled_sets:
                config["data"] = resolve_labelled(
                    eval_class, config["data"], Path(entry.where.rpartition(":")[0]).parent
                )
        except BadInput as error:
            raise BadInput(f"{entry.where}: {error}") from None
        yield eval_class, config, uses


def resolve_labelled(eval_class: type[Eval], names: Sequence[str], base: Path) -> list[str]:
    """The labelled sets that an eval's setting `data` names, short names spelled out.

    Raises:
        BadInput: It names none.
    """
    from hedgebench.labelled_sets import resolve

    if not names:
        raise BadInput(f"eval {eval_class.name!r}: setting 'data' names no labelled set")
    return resolve(names, eval_class.labelled_sets, base)


def _families(suite: Suite, objects: dict[str, SAE], identities: Identities) -> tuple[list[Family], dict[str, str]]:
    """All SAEs and control rows, each with those it is compared with; and the unreadable ones' errors."""

    @cache
    def read(ref: str) -> Checkpoint:
        return _read(ref, SaeEntry(ref), suite, objects)

    cards, failed = _checkpoints(suite, objects, identities)
    families = with_siblings([family_of(card, *named, read) for card, named in cards], failed)
    return families, failed


_Named = tuple[str | None, str | None]
"""The control and the second control that a suite names."""


def _checkpoints(
    suite: Suite, objects: dict[str, SAE], identities: Identities
) -> tuple[list[tuple[Checkpoint, _Named]], dict[str, str]]:
    """The cards of all SAEs and control rows, each with the SAEs that it is to be compared with; and the unreadable ones' errors."""
    from hedgebench.checkpoint import label

    cards: list[tuple[Checkpoint, _Named]] = []
    places: dict[str, list[int]] = {}
    failed: dict[str, str] = {}

    def find(card: Checkpoint, same: Callable[[Checkpoint, Checkpoint], bool]) -> int | None:
        return next((i for i in places.get(card.digest, ()) if same(cards[i][0], card)), None)

    def add(card: Checkpoint, named: _Named) -> None:
        places.setdefault(card.digest, []).append(len(cards))
        cards.append((card, named))

    for entry in suite.saes:
        for ref in _expand(entry):
            try:
                card = _read(ref, entry, suite, objects)
            except BadInput as error:
                card = _unreadable(ref, entry)
                failed.setdefault(card.digest, str(error))
            if (again := find(card, _named_again)) is not None:
                known, (control, second) = cards[again]
                if known.group and card.group and known.group != card.group:
                    raise BadInput(
                        f"{entry.where}: {known.name} is in group {known.group!r} already, and can be in one"
                    )
                merged = label(known, card.name, {**known.tags, **card.tags})
                merged = replace(merged, world=card.world or known.world, group=card.group or known.group)
                cards[again] = merged, (entry.control or control, entry.second_control or second)
            elif (twin := find(card, identities.one_truth)) is not None:
                logger.warning(
                    "%s is the same SAE as %s, number for number: it is counted once", card.name, cards[twin][0].name
                )
            else:
                add(card, (entry.control, entry.second_control))
    for entry in suite.saes:
        if not entry.controls:
            continue
        from hedgebench.control_cards import control_card

        bases = [c for c, _ in cards if c.control_of is None and c.digest not in failed and _like(c, entry.like)]
        if not bases and any(_like(c, entry.like) for c, _ in cards if c.digest in failed):
            continue  # that SAE's own line says what is wrong
        if not bases:
            raise BadInput(f"{entry.where}: no SAE of the suite is like {entry.like!r}")
        for base in bases:
            for kind in entry.controls:
                n_features = identities.n_features(base) if kind == "oracle" else None
                card = control_card(kind, base, n_features=n_features)
                if find(card, identities.one_truth) is None:
                    add(replace(card, tags={**card.tags, **entry.tags}), (None, None))
    return cards, failed


def _named_again(known: Checkpoint, card: Checkpoint) -> bool:
    """Whether a suite names one SAE in two lines, which add to each other; with two worlds it is meant twice."""
    one_world = known.world is None or card.world is None or known.world == card.world
    return known.digest == card.digest and known.ref == card.ref and one_world


def _read(ref: str, entry: SaeEntry, suite: Suite, objects: dict[str, SAE]) -> Checkpoint:
    from hedgebench.checkpoint import describe, read_checkpoint

    name = ref.removeprefix("memory:")
    if ref.startswith("memory:") and name in objects:
        card = describe(objects[name], name=name, tags=entry.tags)
    else:
        card = read_checkpoint(ref, name=entry.name if len(entry.refs) == 1 else None, tags=entry.tags)
    return replace(card, model=suite.model or card.model, world=entry.world, group=entry.group)


def _expand(entry: SaeEntry) -> Iterator[str]:
    """The references of an entry, with `*` filled in: in paths from the disk, in SAE ids from SAELens's directory."""
    for ref in entry.refs:
        if glob.has_magic(ref) and not is_there(ref):
            if paths := find_paths(ref):
                yield from paths
                continue
            if ":" not in ref:
                raise BadInput(f"{entry.where}: no folder or file of weights matches {ref!r}")
        release, _, sae_id = ref.partition(":")
        if "*" not in sae_id or is_there(ref):
            yield ref
            continue
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

        directory = get_pretrained_saes_directory()
        if release not in directory:
            raise BadInput(f"{entry.where}: SAELens knows no release {release!r}{nearest(release, directory)[:300]}")
        found = [i for i in directory[release].saes_map if fnmatch(i, sae_id)]
        if not found:
            raise BadInput(f"{entry.where}: no SAE of release {release!r} matches {sae_id!r}")
        yield from (f"{release}:{i}" for i in found)


_BEGINNING = 2**20


def _unreadable(ref: str, entry: SaeEntry) -> Checkpoint:
    """A card for what cannot be loaded, named by the bytes that cannot be read, so that a mended file is another one."""
    h, path = hashlib.sha256(_bytes(ref) if not is_there(ref) else b""), Path(ref)
    found = find_layout(ref)
    inside = sorted(path.glob("*")) if is_folder(path) else [path]
    for file in dict.fromkeys([*(found.files if found else ()), *inside]):
        if is_file(file):
            with file.open("rb") as opened:  # of a huge file the beginning, with the shapes, is enough to know it by
                h.update(_bytes(f"{file.name} {file.stat().st_size} ") + opened.read(_BEGINNING))
        else:
            h.update(_bytes(f"{file.name} is no file, {is_there(file)} "))
    return Checkpoint(
        f"unreadable-{h.hexdigest()[:21]}",
        entry.name or one_line(display_name(ref)),
        "unreadable",
        d_in=0,
        width=0,
        ref=one_line(ref),
        tags=entry.tags,
        group=entry.group,
    )


def _bytes(text: str) -> bytes:
    """Of a name, which need not be UTF-8."""
    return text.encode(errors="surrogatepass")


def _like(card: Checkpoint, like: str | None) -> bool:
    """Whether a card has this name, or lies at this path, or bears this tag."""
    if like is None or like in (card.name, card.ref, *map(str, card.tags.values())):
        return True
    return card.ref is not None and is_there(like) and Path(like).resolve() == Path(card.ref).resolve()
