"""How one toy SAE is trained. Standard library only, but for the world a run names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from hedgebench.spelling import nearest
from hedgebench.training.losses import LOSSES, LossName, LossSchedule
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from hedgebench.toy.worlds import World

Architecture = Literal["tied", "standard", "topk", "batchtopk", "matryoshka_standard", "matryoshka_batchtopk"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
Init = Literal["truth", "random"]
INITS: tuple[Init, ...] = get_args(Init)


@dataclass(frozen=True)
class Recipe:
    """How one toy SAE is trained.

    Raises:
        BadInput: A field's value makes no sense; the line names the field.
    """

    architecture: Architecture
    """`tied`: unit decoder row = encoder column, no bias. `standard`: ReLU and L1. `matryoshka_standard` is the post's, which SAELens does not have."""
    width: int
    """Number of latents."""
    loss: LossName = "mse"
    snap_at: float = 0.5
    """Fraction of training at which `snap` switches from mse to l2, and at which the rescaling of L1 or auxiliary loss is frozen."""
    l1: float = 0.0
    """Weight of the L1 penalty, scaled by decoder norms (SAELens's `l1_coefficient`); of the ReLU architectures."""
    k: float = 0.0
    """Latents per sample (topk: a whole number), or on average over a batch (batchtopk)."""
    levels: tuple[int, ...] = ()
    """Widths of the Matryoshka levels, innermost first; the last is `width`."""
    balance: float = 1.0
    """β: level m of n counts β^(n-m) times, the outermost once."""
    detach: bool = False
    """A latent learns from the smallest level that contains it alone: the limit of large β."""
    steps: int = 2000
    batch_size: int = 500
    lr: float = 3e-3
    lr_warm_up: float = 0.0
    """Fraction of training in which the learning rate rises linearly."""
    lr_decay: float = 0.0
    """Fraction of training, at its end, in which it falls linearly to 0."""
    init: Init = "truth"
    """`truth`: encoder column i is feature i plus noise, decoder its transpose (`sae_lens.synthetic.init_sae_to_match_feature_dict`).
    `random`: SAELens's own start, decoder rows of norm 0.1, encoder the transpose; latents beyond the features start so in either case."""
    init_noise: float = 0.0
    """Standard deviation of the noise on every coordinate of a start at the truth."""
    init_features: tuple[int, ...] = ()
    """The feature that each latent starts at (`feature_ordering` there), in place of its own index; so Matryoshka's inner latents can start at the parents."""
    decoder_bias: bool = True
    """False: b_dec stays 0."""
    rescale_with_loss: bool = True
    """L1 and auxiliary loss keep their weight relative to the reconstruction term when that is l2 (`hedgebench.training`)."""
    dead_after: int = 1000
    """Steps without firing after which a latent is dead (`dead_feature_window`; as in `sae_lens.synthetic.train_toy_sae`); of the TopK architectures."""

    def __post_init__(self) -> None:
        for field, problem in _problems(self):
            raise BadInput(f"toy recipe: {field!r} {problem}")

    @property
    def schedule(self) -> LossSchedule:
        """Which loss applies when."""
        return LossSchedule(self.loss, self.snap_at, self.steps)

    @property
    def samples(self) -> int:
        """How many samples are trained on."""
        return self.steps * self.batch_size

    @property
    def all_levels(self) -> tuple[int, ...]:
        """Widths of the nested reconstructions; of an SAE without levels its width alone."""
        return self.levels or (self.width,)

    @property
    def multipliers(self) -> tuple[float, ...]:
        """What each level's reconstruction loss counts, innermost first."""
        n = len(self.all_levels)
        return tuple(1.0 if self.detach else float(self.balance ** (n - m)) for m in range(1, n + 1))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {**asdict(self), "levels": list(self.levels), "init_features": list(self.init_features)}


class ToyRun(NamedTuple):
    """One SAE to train. Runs on one world with one seed see the same samples, and start alike where their shapes are alike."""

    world: World
    recipe: Recipe
    train_seed: int


def _problems(r: Recipe) -> Iterator[tuple[str, str]]:
    """Everything that is wrong, as field and problem."""
    for field, known in (("architecture", ARCHITECTURES), ("loss", LOSSES), ("init", INITS)):
        if (value := getattr(r, field)) not in known:
            yield field, f"is {value!r}{nearest(str(value), known)}"
    for field in ("width", "steps", "batch_size", "dead_after"):
        if not (_is_whole(value := getattr(r, field)) and value >= 1):
            yield field, f"must be a whole number from 1 up, not {value!r}"
    for field in ("l1", "k", "balance", "init_noise", "lr"):
        if not (_is_number(value := getattr(r, field)) and value >= 0):
            yield field, f"must be a number from 0 up, not {value!r}"
    if r.lr == 0:
        yield "lr", "must be above 0"
    if not (_is_number(r.snap_at) and 0 < r.snap_at < 1):
        yield "snap_at", f"is a fraction of training between 0 and 1, not {r.snap_at!r}"
    for field in ("lr_warm_up", "lr_decay"):
        if not (_is_number(value := getattr(r, field)) and 0 <= value <= 1):
            yield field, f"is a fraction of training from 0 to 1, not {value!r}"
    if r.lr_warm_up + r.lr_decay > 1:
        yield "lr_decay", f"and 'lr_warm_up' are {r.lr_warm_up + r.lr_decay:g} of training together: at most 1"
    if r.init_features and not (
        len(r.init_features) <= r.width and all(_is_whole(f) and f >= 0 for f in r.init_features)
    ):
        yield (
            "init_features",
            f"must be whole numbers, at most one for each of the {r.width} latents, not {r.init_features!r}",
        )
    yield from _wrong_for_architecture(r)


def _wrong_for_architecture(r: Recipe) -> Iterator[tuple[str, str]]:
    top_k, nested = "topk" in r.architecture, r.architecture.startswith("matryoshka")
    if top_k and not 0 < r.k <= r.width:
        yield "k", f"of {r.architecture} must be above 0 and at most the width, {r.width}, not {r.k:g}"
    if r.architecture == "topk" and r.k != int(r.k):
        yield "k", f"of topk must be a whole number, not {r.k:g}; batchtopk takes any"
    if "batchtopk" in r.architecture and int(r.k * r.batch_size) < 1:
        yield "k", f"of {r.k:g} leaves no latent in a batch of {r.batch_size}"
    if r.l1 and (top_k or r.architecture == "tied"):
        yield "l1", f"is {r.l1:g}: {r.architecture} has no L1 penalty"
    if r.k and not top_k:
        yield "k", f"is {r.k:g}: {r.architecture} has no k"
    rising = all(a < b for a, b in zip((0, *r.levels), r.levels, strict=False))
    if nested and not (r.levels and rising and r.levels[-1] == r.width):
        yield "levels", f"must rise and end with the width, {r.width}, not {r.levels!r}"
    if r.levels and not nested:
        yield "levels", f"are {r.levels!r}: {r.architecture} has none"
    if not nested and (r.detach or r.balance != 1):
        yield "detach" if r.detach else "balance", f"is about Matryoshka levels: {r.architecture} has none"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
