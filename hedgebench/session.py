"""Carry out jobs in this process: load the model and the SAEs, hand each eval its context, and catch what goes wrong.

It writes nothing but caches: outcomes are handed back.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hedgebench.eval import Eval, EvalContext, asked
from hedgebench.eval_config import make_config
from hedgebench.paths import cache_dir
from hedgebench.records import Outcome, score_row
from hedgebench.registry import get_eval
from hedgebench.shelf import Shelf
from hedgebench.types import BadInput, CannotMeasure, Checkpoint, Run, Score

if TYPE_CHECKING:
    from sae_lens import SAE

    from hedgebench.activations import ActivationSource
    from hedgebench.toy.worlds import World

logger = logging.getLogger(__name__)

_OF_MODEL = {
    "model": frozenset({"activations", "model"}),
    "data": frozenset({"activations", "data"}),
    "activation_source": frozenset({"activations"}),
}
"""The fields of a context that come of the language model, and who of `needs` and `may_use` brings them."""


@dataclass(frozen=True)
class Job:
    """Runs that are carried out together: one eval, config, seed, model and hook point; several SAEs."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run that stands for what all runs of the job have in common."""
        return self.runs[0]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {"runs": [asdict(r) for r in self.runs]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """The inverse of `to_dict`."""
        return cls(tuple(_run_from_dict(r) for r in data["runs"]))


def _run_from_dict(data: Mapping[str, Any]) -> Run:
    cards = {key: Checkpoint.from_dict(data[key]) for key in ("checkpoint", "control", "second_control") if data[key]}
    siblings = tuple(Checkpoint.from_dict(card) for card in data["siblings"])
    return Run(**{**data, **cards, "siblings": siblings, "labelled": tuple(data["labelled"])})


@dataclass
class _Item:
    """One run of a job while it is carried out."""

    run: Run
    context: EvalContext | None = None
    rows: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    error: Exception | SystemExit | None = None
    finished: bool = False
    """Nothing that comes after it counts."""

    def take(self, eval_class: type[Eval], score: Score | Exception | None) -> None:
        """Check and keep a score. An error finishes the run, and so does None: it has all its scores."""
        if score is None:
            self.finished = True
            return
        try:
            if isinstance(score, Exception):
                raise score
            row = score_row(eval_class, score)
            key = (row["metric"], row["params"], row["slice_by"], row["slice_value"])
            if key in self.rows:
                raise ValueError(f"reported twice: {' '.join(key)}")
            self.rows[key] = row
        except Exception as error:
            self.error, self.finished = error, True


class Session:
    """Carries out jobs, and keeps what they share.

    Args:
        device: Torch device of the model and the SAEs.
        objects: SAEs in memory, by digest; all others are loaded from their references.
        evals: Eval classes that no package registers, by name.
        worlds: Toy worlds in memory, by identity; all others are loaded from their folders.
    """

    def __init__(
        self,
        device: str = "cpu",
        objects: Mapping[str, SAE] | None = None,
        evals: Mapping[str, type[Eval]] | None = None,
        worlds: Mapping[str, World] | None = None,
    ) -> None:
        self.device, self.evals = device, dict(evals or {})
        self.shelf = Shelf(device, objects, worlds)

    def carry_out(self, job: Job, progress: Callable[[float], None]) -> Iterator[tuple[str, Outcome]]:
        """Run a job and yield (run_id, outcome) for each of its runs, as they finish. What an eval raises becomes its outcome.

        Where the work that several runs share fails, those not finished have no outcome: each may yet succeed alone.
        """
        from hedgebench.isolation import isolated

        started = since = time.time()
        left = {run.run_id: _Item(run) for run in job.runs}
        with isolated():
            try:
                for item in self._fill(list(left.values()), progress):
                    del left[item.run.run_id]
                    yield item.run.run_id, _outcome(item, time.time() - since, started, self.device)
                    since = time.time()
            except (Exception, SystemExit) as error:
                if len(job.runs) > 1 and not isinstance(error, (BadInput, CannotMeasure)):
                    logger.error("%s failed on %d SAEs together", job.first.eval, len(left), exc_info=error)
                    return
                for item in left.values():
                    item.error = item.error or error
        seconds = (time.time() - since) / max(1, len(left))
        for run_id, item in left.items():
            yield run_id, _outcome(item, seconds, started, self.device)

    def _fill(self, items: Sequence[_Item], progress: Callable[[float], None]) -> Iterator[_Item]:
        """Measure the items together; yield those that are finished before the others are."""
        first = items[0].run
        eval_class = self.evals.get(first.eval) or get_eval(first.eval)
        config = make_config(eval_class, dict(first.config))
        ready: list[tuple[_Item, EvalContext]] = []
        for item in items:
            try:
                item.context = self._context(eval_class, config, item.run, progress)
                ready.append((item, item.context))
            except Exception as error:
                item.error = error
                yield item
        try:
            if ready:
                for i, score in eval_class().run_many([context for _, context in ready], config):
                    item, context = ready[i]
                    if not item.finished:
                        item.take(eval_class, score)
                        if item.finished:
                            self._look_at_saes(item, context)
                            yield item
        finally:
            self.shelf.release_hooks()
            for item, context in ready:
                if not item.finished:
                    self._look_at_saes(item, context)

    def _look_at_saes(self, item: _Item, context: EvalContext) -> None:
        """A run that changed what it was given has failed, and the next gets a fresh one."""
        given = (context.sae, context.control, context.second_control, *context.siblings)
        if any([self.shelf.drop_if_changed(sae) for sae in given if sae is not None]):  # each is looked at
            item.error = ValueError("the eval changed the SAE it was given, or one beside it: it must work on a copy")

    def _context(self, eval_class: type[Eval], config: Any, run: Run, progress: Callable[[float], None]) -> EvalContext:
        import torch

        if hopeless := [why for word, why in run.absent.items() if word in {"sae", *eval_class.needs}]:
            raise CannotMeasure(hopeless[0])
        uses = asked(eval_class, config) - run.absent.keys()
        of_model, lacking = self._of_model(eval_class, config, uses, run)
        runs_model = bool((uses - lacking.keys()) & _OF_MODEL["model"])
        calibrated = (runs_model or run.world is not None) and "activations" not in lacking
        first = run.siblings[0] if run.checkpoint.members else run.checkpoint
        return EvalContext(
            features=self.shelf.world(run) if run.world is not None and "features" in uses else None,
            sae=self.shelf.sae(first, run, calibrated=calibrated),
            checkpoint=run.checkpoint,
            generator=torch.Generator().manual_seed(run.seed or 0),
            device=self.device,
            seed=run.seed,
            labelled=self.shelf.labelled(run.labelled),
            artifacts=self.shelf.artifacts(run) if runs_model else None,
            control=self.shelf.sae(run.control, run) if run.control else None,
            second_control=self.shelf.sae(run.second_control, run) if run.second_control else None,
            siblings=tuple(self.shelf.sae(card, run) for card in run.siblings),
            sibling_cards=run.siblings,
            absent={**run.absent, **lacking},
            cache=cache_dir() / "evals" / run.eval,
            progress=progress,
            **of_model,
        )

    def _of_model(
        self, eval_class: type[Eval], config: Any, uses: frozenset[str], run: Run
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """What comes of the language model, by the context's fields, and what of `may_use` cannot be had, with the reasons.

        Raises:
            BadInput: The eval cannot do without one that cannot be had.
        """
        makers: dict[str, Callable[[], Any]] = {
            "model": lambda: self.shelf.model(run),
            "data": lambda: None if run.labelled else self.shelf.tokens(run, run.seed),
            "activation_source": lambda: self._activations(eval_class, config, run),
        }
        found: dict[str, Any] = {}
        lacking: dict[str, str] = {}
        for name, words in _OF_MODEL.items():
            try:
                if words & uses - lacking.keys():
                    found[name] = makers[name]()
            except BadInput as why:
                if words & eval_class.needs:
                    raise
                lacking |= dict.fromkeys(sorted(words & uses), error_line(why))
        return {name: thing for name, thing in found.items() if _OF_MODEL[name] & uses - lacking.keys()}, lacking

    def _activations(self, eval_class: type[Eval], config: Any, run: Run) -> ActivationSource:
        """The activations; where the eval can do without, they are tried first, so that it never finds out halfway."""
        source = self.shelf.activations(run, run.seed)
        if "activations" not in eval_class.needs:
            if (text := eval_class.reads(config)) is not None:
                source.check(*text)
            if run.checkpoint.control_kind is not None:  # it may be made from activations, or matched on them
                self.shelf.sae(run.checkpoint, run, calibrated=True)
        return source


def _outcome(item: _Item, seconds: float, started: float, device: str) -> Outcome:
    common: dict[str, Any] = {"seconds": seconds, "peak_mb": _peak_mb(), "started_at": started, "device": device}
    error, context = item.error, item.context
    if context is not None:  # what is lacking for good is the identity's, the rest may be there another time
        lacking = {word: why for word, why in context.absent.items() if word not in item.run.absent}
        common["incomplete"] = lacking
        for word, why in lacking.items():
            logger.warning("%s on %s went on without %s: %s", item.run.eval, item.run.checkpoint.name, word, why)
    if error is None and context is not None and not item.rows:
        error = ValueError("the eval reported no score: it must yield one, or raise CannotMeasure")
    if error is not None or context is None:
        skipped = isinstance(error, CannotMeasure)
        if not isinstance(error, (CannotMeasure, BadInput)):
            logger.error("%s on %s failed", item.run.eval, item.run.checkpoint.name, exc_info=error)
        return Outcome("skipped" if skipped else "failed", error=error_line(error), **common)
    try:
        json.dumps(context.details, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as wrong:
        return Outcome("failed", error=f"its details are not plain JSON: {error_line(wrong)}", **common)
    return Outcome(
        "ok",
        scores=tuple(item.rows.values()),
        missing=dict(context.missing),
        details=dict(context.details),
        sae_config=plain_json(context.sae.cfg.to_dict()),
        **common,
    )


def plain_json(data: Any) -> Any:
    """Any config as strict JSON data: what JSON has no word for becomes a text, a number that is not finite becomes None."""

    def finite(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: finite(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [finite(value) for value in tree]
        return None if isinstance(tree, float) and not math.isfinite(tree) else tree

    return finite(json.loads(json.dumps(data, default=str)))


def error_line(error: BaseException | None) -> str:
    """An error as one line that any file can hold; the kind is named where it is not one of ours."""
    text = " ".join(str(error).split()).encode(errors="backslashreplace").decode()  # half a surrogate pair is none
    return text if isinstance(error, (BadInput, CannotMeasure)) and text else f"{type(error).__name__}: {text}"


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
