"""What the command line does, from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.eval import Eval
from hedgebench.identities import IN_MEMORY
from hedgebench.places import Here, check_device
from hedgebench.plan import make_plan
from hedgebench.plugin_rules import InvalidPlugin, check_eval
from hedgebench.results import read_results
from hedgebench.runner import execute, pending_runs
from hedgebench.session import Session
from hedgebench.spelling import nearest
from hedgebench.suite import DTYPES, EvalEntry, SaeEntry, Suite, check_seeds
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame
    from sae_lens import SAE

    from hedgebench.toy.worlds import World


def evaluate(
    saes: Any,
    evals: Any,
    seeds: Sequence[int] = (0,),
    *,
    model: str | None = None,
    data: str = "offline",
    out: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    world: World | str | Path | None = None,
    control: SAE | str | Path | None = None,
    second_control: SAE | str | Path | None = None,
    group: str | None = None,
) -> DataFrame:
    """Evaluate SAEs in this process and return the scores table.

    Args:
        saes: References (a path or `release:sae_id`) or `sae_lens.SAE` objects: one, a sequence, or a mapping from names.
        evals: Names, `Eval` classes, or `{name: {setting: value}}`: one or a sequence.
        seeds: Evaluation seeds.
        model: Language model, where the SAEs do not name theirs.
        data: Text: `offline`, a file or folder, or a hub data set.
        out: Results folder. With it, finished runs are not computed again; without it, nothing is kept.
        device: Torch device.
        dtype: Numeric type of the model and the SAEs.
        world: The true features, where they do not lie beside the checkpoints: a `hedgebench.toy.worlds.World`, or its folder.
        control: The SAE that these are compared with, where their own metadata name none: a reference or an SAE.
        second_control: The control trained in another order of the data, likewise.
        group: The name of all these SAEs together, where they differ in training seed only and do not say so themselves.

    Returns:
        One row per number (see `hedgebench.results.SCORES`). A run that fails has no row; its error is logged, and stands in
        `read_runs(out)`.

    Raises:
        BadInput: A reference, an eval or a setting is wrong, or no run at all succeeded.
    """
    check_device(device)
    check_seeds(seeds, "seeds")
    if dtype not in DTYPES:
        raise BadInput(f"dtype is {dtype!r}{nearest(str(dtype), DTYPES)}")
    objects, entries = _saes(saes)
    worlds, place = _world(world)
    first, second = _control("control", control, objects), _control("second_control", second_control, objects)
    entries = tuple(replace(e, world=place, group=group, control=first, second_control=second) for e in entries)
    classes, wanted = _evals(evals)
    suite = Suite("evaluate", entries, wanted, model, data, tuple(seeds), dtype)
    if not entries or not wanted:
        raise BadInput("give at least one SAE and one eval")
    plan = make_plan(suite, objects, classes)
    if plan.mistakes:
        raise BadInput(plan.mistakes[0])
    cards = [c for r in plan.runs for c in (r.checkpoint, r.control, r.second_control, *r.siblings) if c is not None]
    by_digest = {card.digest: objects[card.name] for card in cards if card.ref is None and not card.members}
    with tempfile.TemporaryDirectory(prefix="hedgebench-") as scratch:
        folder = Path(out) if out is not None else Path(scratch)
        summary = execute(plan, pending_runs(plan, folder), folder, [Here(Session(device, by_digest, classes, worlds))])
        problems = summary.failed + summary.skipped
        if problems and not summary.ok:
            raise BadInput(f"{problems[0][0]}: {problems[0][1]}")
        scores = read_results(folder)
    mine = {run.run_id for run in plan.runs}
    return scores[scores["run_id"].isin(mine)].reset_index(drop=True)


def _saes(given: Any) -> tuple[dict[str, SAE], tuple[SaeEntry, ...]]:
    """SAEs in memory by name, and a suite entry for each SAE."""
    from hedgebench.loaders import check_weights, inference_copy

    if isinstance(given, Mapping):
        named = [(str(name), sae) for name, sae in given.items()]
    elif isinstance(given, Sequence) and not isinstance(given, str):
        named = [(f"sae-{i}", sae) for i, sae in enumerate(given)]
    else:
        named = [("sae-0", given)]
    objects: dict[str, SAE] = {}
    entries = []
    for name, sae in named:
        if isinstance(sae, (str, Path)):
            entries.append(SaeEntry(str(sae), (str(sae),), name if isinstance(given, Mapping) else None))
            continue
        objects[name] = inference_copy(sae)
        check_weights(objects[name], name)
        entries.append(SaeEntry(name, (f"memory:{name}",), name))
    return objects, tuple(entries)


def _control(kind: str, given: Any, objects: dict[str, SAE]) -> str | None:
    """The reference of an SAE that others are compared with; one in memory joins `objects`."""
    from hedgebench.loaders import check_weights, inference_copy

    if given is None or isinstance(given, (str, Path)):
        return None if given is None else str(given)
    name = f"{kind}="  # none that a mapping would have by chance
    objects[name] = inference_copy(given)
    check_weights(objects[name], name)
    return f"{IN_MEMORY}{name}"


def _world(given: Any) -> tuple[dict[str, World], str | None]:
    """A world in memory by its identity, and where runs find it."""
    if given is None or isinstance(given, (str, Path)):
        return {}, None if given is None else str(given)
    from hedgebench.toy.worlds import World

    if not isinstance(given, World):
        raise BadInput(f"a world is a hedgebench.toy.worlds.World or its folder, not {given!r}")
    return {given.identity: given}, IN_MEMORY + given.identity


def _evals(given: Any) -> tuple[dict[str, type[Eval]], tuple[EvalEntry, ...]]:
    """Eval classes that were handed in, and a suite entry for each eval."""
    classes: dict[str, type[Eval]] = {}
    entries = []
    for item in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(item, type) and issubclass(item, Eval):
            name = getattr(item, "name", item.__name__)
            try:
                classes[name] = check_eval(name, item)
            except InvalidPlugin as error:
                raise BadInput(f"eval {name!r}: {error}") from None
            entries.append(EvalEntry(item.name, item.name))
        elif isinstance(item, str):
            entries.append(EvalEntry(item, item))
        elif isinstance(item, Mapping):
            entries.extend(EvalEntry(name, name, config or {}) for name, config in item.items())
        else:
            raise BadInput(f"an eval is a name, an Eval class or {{name: settings}}, not {item!r}")
    return classes, tuple(entries)
