"""Carry out jobs in this process: load the model and the SAEs, hand each eval its context, and catch what goes wrong.

A session keeps its model, tokens and SAEs between jobs. It writes nothing but caches: outcomes are handed back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hedgebench.eval import Eval, EvalContext
from hedgebench.paths import cache_dir
from hedgebench.records import Outcome, package_version, score_row
from hedgebench.registry import get_eval, make_config
from hedgebench.types import BadInput, CannotMeasure, Checkpoint, Run, Score

if TYPE_CHECKING:
    from sae_lens import SAE

    from hedgebench.activations import ActivationSource

logger = logging.getLogger(__name__)

SAE_BUDGET = 8 * 2**30
"""Bytes of SAE weights kept between jobs."""


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
    control = Checkpoint.from_dict(data["control"]) if data["control"] else None
    return Run(**{**data, "checkpoint": Checkpoint.from_dict(data["checkpoint"]), "control": control})


@dataclass
class _Item:
    """One run of a job while it is carried out."""

    run: Run
    context: EvalContext | None = None
    rows: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    error: Exception | None = None

    def take(self, eval_class: type[Eval], score: Score | Exception) -> None:
        """Check and keep a score; keep the first error, and nothing after it."""
        if self.error is not None:
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
            self.error = error


class Session:
    """Everything a process keeps between jobs.

    Args:
        device: Torch device of the model and the SAEs.
        objects: SAEs in memory, by digest; all others are loaded from their references.
        evals: Eval classes that no package registers, by name.
    """

    def __init__(
        self,
        device: str = "cpu",
        objects: Mapping[str, SAE] | None = None,
        evals: Mapping[str, type[Eval]] | None = None,
    ) -> None:
        self.device, self.objects, self.evals = device, dict(objects or {}), dict(evals or {})
        self._model: tuple[tuple[str, str], Any] | None = None
        self._saes: dict[tuple[str, str], SAE] = {}
        self._texts: dict[str, Any] = {}

    def carry_out(self, job: Job, progress: Callable[[float], None]) -> Iterator[tuple[str, Outcome]]:
        """Run a job and yield (run_id, outcome) for each of its runs. What an eval raises becomes its outcome."""
        from hedgebench.isolation import isolated

        started = time.time()
        items = [_Item(run) for run in job.runs]
        with isolated():
            try:
                self._fill(items, progress)
            except Exception as error:
                # What all runs of the job share has failed: none that was still open has an answer.
                for item in items:
                    item.error = item.error or error
        seconds = (time.time() - started) / len(items)
        for item in items:
            yield item.run.run_id, _outcome(item, seconds, started, self.device)

    def _fill(self, items: Sequence[_Item], progress: Callable[[float], None]) -> None:
        first = items[0].run
        eval_class = self.evals.get(first.eval) or get_eval(first.eval)
        config = make_config(eval_class, dict(first.config))
        for item in items:
            try:
                item.context = self._context(eval_class, item.run, progress)
            except Exception as error:
                item.error = error
        ready = [(item, item.context) for item in items if item.context is not None]
        if ready:
            for i, score in eval_class().run_many([context for _, context in ready], config):
                ready[i][0].take(eval_class, score)

    # --- what an eval is given -------------------------------------------------------------------------------------------------

    def _context(self, eval_class: type[Eval], run: Run, progress: Callable[[float], None]) -> EvalContext:
        import torch

        needs = set(eval_class.needs)
        for need, why in _NOT_YET.items():
            if need in needs:
                raise CannotMeasure(why)
        if "control" in needs and run.control is None:
            raise CannotMeasure(
                "it compares an SAE with another, and this one names none: give `control:` in the suite"
            )
        runs_model = bool(needs & {"activations", "model"})
        model = self._load_model(run) if runs_model else None
        tokens = self._tokens(run, run.seed) if needs & {"activations", "model", "data"} else None
        return EvalContext(
            sae=self._sae(run.checkpoint, run, calibrated=runs_model),
            checkpoint=run.checkpoint,
            generator=torch.Generator().manual_seed(run.seed or 0),
            device=self.device,
            seed=run.seed,
            model=model,
            data=tokens,
            control=self._sae(run.control, run) if "control" in needs and run.control else None,
            cache=cache_dir() / "evals" / run.eval,
            activation_source=self._source(run, tokens, run.seed) if "activations" in needs else None,
            progress=progress,
        )

    def _sae(self, card: Checkpoint, run: Run, *, calibrated: bool = False) -> SAE:
        """The prepared SAE of a card, kept for the next job; a random control comes with its L0 matched where a model runs anyway."""
        key = (card.digest, f"{run.dtype} {calibrated and card.control_kind == 'random'} {run.model} {run.data}")
        if key not in self._saes:
            sae = self._make_sae(card, run, calibrated)
            while self._saes and sum(_size(s) for s in self._saes.values()) + _size(sae) > SAE_BUDGET:
                del self._saes[next(iter(self._saes))]
            self._saes[key] = sae
        return self._saes[key]

    def _make_sae(self, card: Checkpoint, run: Run, calibrated: bool) -> SAE:
        from hedgebench.checkpoint import digest_of
        from hedgebench.controls import make_control
        from hedgebench.loaders import load_raw, prepare

        if card.control_kind is not None:
            base = replace(card, digest=str(card.control_of), control_of=None, control_kind=None, control_seed=None)
            sae = make_control(card.control_kind, self._sae(base, run), card.control_seed or 0)
            if calibrated and card.control_kind == "random":
                self._calibrate(run, sae, self._sae(base, run))
            return sae
        raw = self.objects.get(card.digest)
        if raw is None:
            raw = load_raw(str(card.ref))
            if digest_of(raw) != card.digest:
                raise BadInput(f"{card.ref}: the file changed since the run was planned; run again")
        return prepare(raw, device=self.device, dtype=run.dtype)

    def _calibrate(self, run: Run, control: SAE, sae: SAE) -> None:
        """Match a random control's L0 to its SAE's, on tokens that no evaluation seed draws."""
        import torch

        from hedgebench.controls import CALIBRATION_BATCHES, CALIBRATION_SEED, match_l0

        source = self._source(run, self._tokens(run, CALIBRATION_SEED), CALIBRATION_SEED)
        batches = source.batches(CALIBRATION_BATCHES, context_size=min(128, self._load_model(run).cfg.n_ctx))
        match_l0(control, sae, torch.cat([b.acts[b.mask] for b in batches]))

    def _load_model(self, run: Run) -> Any:
        from hedgebench.models import load_model

        if run.model is None:
            raise BadInput(
                f"{run.checkpoint.name}: the checkpoint names no model; give `model:` in the suite or --model"
            )
        key = (run.model, run.dtype)
        if self._model is None or self._model[0] != key:
            self._model = None  # let go of the old one before the new one takes memory
            self._model = (key, load_model(run.model, device=self.device, dtype=run.dtype))
        return self._model[1]

    def _tokens(self, run: Run, seed: int | None) -> Any:
        from hedgebench.data import TokenSource, open_text

        name = run.data_source or "offline"
        if name not in self._texts:
            self._texts[name] = open_text(name, "eval")
        return TokenSource(self._texts[name], self._load_model(run).tokenizer, seed or 0)

    def _source(self, run: Run, tokens: Any, seed: int | None) -> ActivationSource:
        from hedgebench.activations import ActivationSource

        card = run.checkpoint
        if card.hook is None:
            raise BadInput(f"{card.name}: the checkpoint names no hook point; give `tags: {{hook: ...}}` in the suite")
        folder = cache_dir() / "activations" / _activation_key(run, seed)
        return ActivationSource(self._load_model(run), card.hook, card.hook_head_index, tokens, folder, card.d_in)


_NOT_YET = {
    "features": "it needs the true features, and this checkpoint comes with none",
    "siblings": "it needs a group of SAEs that differ in training seed only, and the suite names none",
}


def _size(sae: SAE) -> int:
    return sum(t.nbytes for t in sae.state_dict().values())


def _activation_key(run: Run, seed: int | None) -> str:
    """Names all that decides the activations at a hook point."""
    identity = {
        "model": run.revision,
        "data": run.data,
        "hook": run.checkpoint.hook,
        "head": run.checkpoint.hook_head_index,
        "seed": seed,
        "dtype": run.dtype,
        "versions": {name: package_version(name) for name in ("torch", "transformer-lens", "transformers")},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _outcome(item: _Item, seconds: float, started: float, device: str) -> Outcome:
    common: dict[str, Any] = {"seconds": seconds, "peak_mb": _peak_mb(), "started_at": started, "device": device}
    error, context = item.error, item.context
    if error is None and context is not None and not item.rows:
        error = ValueError("the eval reported no score: it must yield one, or raise CannotMeasure")
    if error is not None or context is None:
        skipped = isinstance(error, CannotMeasure)
        if not isinstance(error, (CannotMeasure, BadInput)):
            logger.error("%s on %s failed", item.run.eval, item.run.checkpoint.name, exc_info=error)
        return Outcome("skipped" if skipped else "failed", error=error_line(error), **common)
    sae_config = json.loads(json.dumps(context.sae.cfg.to_dict(), default=str))
    return Outcome(
        "ok", None, tuple(item.rows.values()), dict(context.missing), dict(context.details), sae_config, **common
    )


def error_line(error: BaseException | None) -> str:
    """An error as one line; the kind is named where it is not one of ours."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (BadInput, CannotMeasure)) and text else f"{type(error).__name__}: {text}"


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
