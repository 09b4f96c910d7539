"""What an eval is: subclass `Eval`, declare needs, metrics and a frozen `Config`, and yield scores from `run`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from hedgebench.types import CannotMeasure, Checkpoint, Metric, Score

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from matplotlib.axes import Axes
    from pandas import DataFrame
    from sae_lens import SAE

    from hedgebench.artifacts import Artifacts
    from hedgebench.labelled import LabelledData
    from hedgebench.toy.worlds import World

__all__ = [
    "NEEDS",
    "OPTIONAL",
    "ActivationBatch",
    "CannotMeasure",
    "Eval",
    "EvalContext",
    "Figure",
    "Metric",
    "Score",
    "TextConfig",
    "at_least",
]

NEEDS = frozenset({"sae", "control", "siblings", "activations", "model", "data", "features"})
"""What an eval may ask for. `activations` and `model` bring the language model; without them none is loaded."""
OPTIONAL = NEEDS | {"second_control"}
"""What an eval may use where it can be had."""


class ActivationBatch(NamedTuple):
    """One batch of the language model's activations at the SAE's hook point."""

    tokens: torch.Tensor
    """[batch, context], int64."""
    acts: torch.Tensor
    """[batch, context, d_in]."""
    mask: torch.Tensor
    """[batch, context], True at ordinary tokens: beginning-, end-of-text and padding are False."""


notice = logging.getLogger("hedgebench.notice")
"""For the few words that a user should see before a run goes on, such as what it will cost: they reach the terminal out of a worker, too."""


def _no_progress(_fraction: float) -> None:
    """Progress nobody watches."""


@dataclass
class EvalContext:
    """What the harness hands to one run. Fields that the eval did not ask for, in `needs` or `may_use`, are None."""

    sae: SAE
    """Folded to unit decoder rows, cast, frozen, on `device`. A copy, and still not to be changed. Of a group: its first."""
    checkpoint: Checkpoint
    generator: torch.Generator
    """On the CPU, seeded with the run's seed: the only source of randomness an eval may use."""
    device: str = "cpu"
    seed: int | None = None
    model: Any = None
    """A TransformerLens `HookedTransformer` in inference mode."""
    data: Any = None
    """A token source, see `tokens`."""
    control: SAE | None = None
    """The SAE that this one is compared with; of a grown SAE, its parent trained on for as long. Its shape may be any."""
    second_control: SAE | None = None
    """The control again, trained in another order of the data."""
    siblings: Sequence[SAE] = ()
    """SAEs that differ in training seed only, in its order: for an eval that needs them the whole group, two at least;
    for one that may use them the others of this SAE's group, perhaps none. Their shapes may be any."""
    sibling_cards: Sequence[Checkpoint] = ()
    """The cards of `siblings`, in their order."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """What of `may_use` is not there, each with the reason."""
    features: World | None = None
    """The true features, and samples of what they make; on the CPU."""
    labelled: Sequence[LabelledData] = ()
    """The labelled texts that the eval's setting `data` names, for evals with `labelled_sets`."""
    artifacts: Artifacts | None = None
    """Made once for all SAEs of this model, hook point and seed, and kept on disk: `ctx.artifacts.get(name, settings, make)`."""
    cache: Path | None = None
    """A folder the eval may keep other SAE-independent files in."""
    activation_source: Any = None
    progress: Callable[[float], None] = _no_progress
    """Tell the fraction done, from 0 to 1."""
    missing: dict[str, str] = field(default_factory=dict)
    """Metrics this run leaves blank, each with the reason."""
    details: dict[str, Any] = field(default_factory=dict)
    """SAEBench's own fields (`eval_result_metrics`, `eval_result_details`, `eval_config`, ...) for the record, where an eval has them."""

    def tokens(self, n_batches: int, batch_size: int = 16, context_size: int = 128) -> Iterator[torch.Tensor]:
        """The first `n_batches` of this seed's evaluation tokens, each [batch_size, context_size]; a longer call starts with the same."""
        yield from self.data.batches(n_batches, batch_size, context_size)

    def activations(
        self, n_batches: int, batch_size: int = 16, context_size: int = 128, start: int = 0
    ) -> Iterator[ActivationBatch]:
        """The activations of `tokens(...)[start:n_batches]` at the SAE's hook point: one pass of the model for all SAEs there, cached on disk."""
        yield from self.activation_source.batches(n_batches, batch_size, context_size, start=start)

    def leave_blank(self, metric: str, why: str) -> None:
        """Record why one metric has no number in this run, while the others do."""
        self.missing[metric] = why


class Figure(NamedTuple):
    """A figure an eval knows how to draw from its own rows of the scores table."""

    name: str
    draw: Callable[[DataFrame, Axes], None]
    """From the whole scores table to axes; draws what concerns this eval."""
    table: Callable[[DataFrame], DataFrame] | None = None
    """From the whole scores table to the numbers that the figure shows; they are written beside it."""
    caption: Callable[[DataFrame], str] | None = None
    """From the whole scores table to what the figure says, in a sentence or two."""
    panel: str = ""
    """Figures of one panel, of whatever evals, are drawn side by side in one picture of that name, too."""
    how: str = ""
    """How the figure is read, in a sentence or two that hold for any table: what a point is, and a bar."""


@dataclass(frozen=True)
class NoConfig:
    """No settings."""


@dataclass(frozen=True)
class TextConfig:
    """How much text is read, for evals that can also do without."""

    n_batches: int = 8
    """Batches of text; 0 reads none, and needs no model."""
    batch_size: int = 16
    """Sequences per batch."""
    context_size: int = 128
    """Tokens per sequence."""

    def __post_init__(self) -> None:
        at_least(self, n_batches=0, batch_size=1, context_size=1)

    @property
    def text(self) -> tuple[int, int, int]:
        """As `EvalContext.activations` takes it."""
        return self.n_batches, self.batch_size, self.context_size


def at_least(config: Any, **bounds: float) -> None:
    """Refuse settings below their bounds; NaN is below any.

    Raises:
        ValueError: Names the first.
    """
    for name, least in bounds.items():
        if not getattr(config, name) >= least:
            raise ValueError(f"{name!r} must be {least} or more")


class Eval:
    """Base class of every eval. A subclass states, as class attributes, what the harness must know before it runs.

    `run` yields scores; it raises `CannotMeasure` where there is no honest number. It never changes the SAE, and draws random numbers from
    `ctx.generator` alone. An eval that can share work over the SAEs of one hook point may also override `run_many`.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    """Rises whenever a number could change."""
    needs: ClassVar[frozenset[str] | set[str]] = frozenset({"sae"})
    """What a run cannot do without: an SAE that lacks it is skipped. With `siblings`, there is one run for a whole group of SAEs."""
    may_use: ClassVar[frozenset[str] | set[str]] = frozenset()
    """What a run uses where it can be had: of the words of `needs`, and `second_control`. `ctx.absent` says what could not.
    A run that only now cannot have what its identity names is recorded as incomplete, and `--retry-failed` runs it again."""
    draws: ClassVar[bool] = True
    """False: the eval draws nothing and runs once, whatever the suite's seeds."""
    cost: ClassVar[str] = ""
    """What a run costs and what it grows with, in one line: what is shared by the SAEs of a hook point, and what each adds."""
    metrics: ClassVar[tuple[Metric, ...]]
    figures: ClassVar[tuple[Figure, ...]] = ()
    Config: ClassVar[type] = NoConfig
    """Frozen dataclass of the eval's settings, each with a default and a doc string."""
    labelled_sets: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """For an eval that reads labelled texts: what its setting `data` (a tuple of names) means by a short name such as `offline` or `hub`.
    The names of the sets take the place of the short name in records."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages whose version can change the numbers: part of the run's identity (`sae-bench` for SAEBench's evals)."""

    def run(self, ctx: EvalContext, cfg: Any) -> Iterator[Score]:  # noqa: ARG002 - the interface
        """Measure one SAE."""
        raise TypeError(f"eval {type(self).__name__} does not say how to run")

    def run_many(self, ctxs: Sequence[EvalContext], cfg: Any) -> Iterator[tuple[int, Score | Exception | None]]:
        """Measure several SAEs of one hook point, with one seed. One failing SAE fails its own run only.

        Yields (index of the context, score or error); after an error, no more of that index. An eval that is done with one SAE before the
        others may say so: (index, None) has its record written at once, and nothing that happens later can take it along.
        """
        for i, ctx in enumerate(ctxs):
            try:
                for score in self.run(ctx, cfg):
                    yield i, score
            except Exception as error:
                yield i, error
            ctx.progress(1.0)

    @classmethod
    def uses(cls, cfg: Any) -> frozenset[str]:
        """What a run with these settings asks for: no activations where it may use them and is to read no text."""
        text = cls.reads(cfg)
        pointless = {"activations"} - set(cls.needs) if text is not None and text[0] == 0 else frozenset()
        return (frozenset(cls.needs) | frozenset(cls.may_use)) - pointless

    @classmethod
    def reads(cls, cfg: Any) -> tuple[int, int, int] | None:
        """How much text a run with these settings reads, as `ctx.activations` takes it; None where they do not say.

        Where activations are in `may_use` only, the harness makes sure of so much before the run, which goes on without them where they cannot be had.
        """
        n_batches, batch_size, context_size = (
            getattr(cfg, name, None) for name in ("n_batches", "batch_size", "context_size")
        )
        if isinstance(n_batches, int) and isinstance(batch_size, int) and isinstance(context_size, int):
            return n_batches, batch_size, context_size
        return None

    @classmethod
    def metric(cls, name: str) -> Metric:
        """The declared metric of that name.

        Raises:
            LookupError: The eval declares no such metric.
        """
        for metric in cls.metrics:
            if metric.name == name:
                return metric
        raise LookupError(
            f"eval {cls.name!r} reports a metric {name!r} that it does not declare; declared: {', '.join(m.name for m in cls.metrics)}"
        )

    @classmethod
    def shares_work(cls) -> bool:
        """Whether `run_many` is more than a loop over `run`."""
        return cls.run_many is not Eval.run_many


def asked(eval_class: type[Eval], config: Any) -> frozenset[str]:
    """What a run asks for: all that the eval needs, and what of `may_use` it has a use for with these settings."""
    return frozenset(eval_class.needs) | (eval_class.uses(config) & frozenset(eval_class.may_use))


def public_config(config: Any) -> Mapping[str, Any]:
    """A config dataclass as a plain mapping, defaults included."""
    from dataclasses import asdict

    return asdict(config)
