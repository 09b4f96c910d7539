"""How much of what an SAE learnt another training seed learnt, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar

from hedgebench.eval import CannotMeasure, Eval, EvalContext, Figure, Metric, Score, TextConfig, at_least, notice
from hedgebench.types import BadInput

from .seed_overlap_figures import (
    HOW_DENSITY,
    HOW_THRESHOLD,
    HOW_WIDTH,
    draw_against_density,
    draw_against_threshold,
    draw_against_width,
    read_against_density,
    read_against_threshold,
    read_against_width,
    width_table,
)
from .seed_overlap_rows import Group

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.overlap import Overlap

PAPER = "Paulo & Belrose 2025, arXiv 2501.16615"
MCC = "sae_lens.synthetic.mean_correlation_coefficient; arXiv 2505.20254"


class SeedOverlap(Eval):
    """Which latents of SAEs that differ in their training seed only have a counterpart in each other.

    The latents of two SAEs are paired one to one so that the sum of signed cosines is largest, once by their encoder columns and once by their decoder
    rows. A latent is *shared* where both pair it with the same counterpart and both cosines are at least the threshold. Dead latents count like all
    others, and a row of zeros has cosine 0. Values are means over all pairs of seeds; each pair is a slice, named by its training seeds (by their
    places in order of seed where those are not known).

    Errors: pairs of seeds that have a seed in common are not independent, so the standard error is a jackknife over seeds, known from three on. The
    latents of one pair compete for counterparts and were trained together: no error is made of them.
    Chance is what the first pair scores when the second SAE is turned as a whole by a random rotation, which keeps all that its latents are to each other. It
    is an isotropic null: two unrelated SAEs that both prefer the activations' large directions score somewhat more.
    Beyond `exact_up_to` latents the pairing is approximate (`approximate=True` stands in the params of every row that comes of it), and `matching_gap` says by how
    much the exact one's mean cosine can be above it, at most.
    """

    name, version = "seed_overlap", 1
    needs: ClassVar = frozenset({"siblings"})
    may_use: ClassVar = frozenset({"activations"})
    cost = (
        "each pair of seeds (and one more for chance): three pairings; up to 16k latents each a matrix product of d_sae^2 * d_in and a solver of one to two minutes "
        "and 2 GB at 16k; beyond three to six such products, on a GPU where there is one; deciles: one shared pass of the model, and one encoding per SAE"
    )
    metrics = (
        Metric(
            "shared",
            "Share of latents whose best counterpart is the same by encoder and by decoder, with both cosines at least `threshold`; mean over pairs of seeds; "
            "by firing density, of the latents of each decile of those that fire, and of those that never do",
            unit="share",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            paper=PAPER,
        ),
        Metric(
            "shared_by_all",
            "Share of latents that are shared with every other seed, of `seeds`; mean over SAEs. It falls with the number of seeds",
            unit="share",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            paper=PAPER,
        ),
        Metric(
            "matched_cosine",
            "Mean signed cosine of decoder rows (`side=encoder`: of encoder columns) with their counterparts under the pairing by that side",
            unit="cosine",
            higher_is_better=True,
            low=-1.0,
            high=1.0,
            paper=PAPER,
        ),
        Metric(
            "mcc",
            "Mean |cosine| of decoder rows under the one-to-one pairing in which it is largest",
            unit="cosine",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            paper=MCC,
        ),
        Metric(
            "matching_gap",
            "By how much the exact pairing's mean cosine (`of=decoder`, `encoder`, `mcc`) can be above that of the approximate one, at most; largest of all pairs",
            unit="cosine",
            higher_is_better=False,
            low=0.0,
        ),
        Metric(
            "density",
            "Mean share of the ordinary tokens on which the latents of a decile fire; mean over SAEs",
            unit="share",
            low=0.0,
            high=1.0,
        ),
    )
    figures = (
        Figure("shared_vs_threshold", draw_against_threshold, caption=read_against_threshold, how=HOW_THRESHOLD),
        Figure("shared_vs_width", draw_against_width, width_table, read_against_width, how=HOW_WIDTH),
        Figure("shared_vs_density", draw_against_density, caption=read_against_density, how=HOW_DENSITY),
    )

    @dataclass(frozen=True)
    class Config(TextConfig):
        """What counts as shared, how the pairing is found, and how much text is read."""

        threshold: float = 0.7
        """Both cosines of a shared latent are at least this: the paper's."""
        curve: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
        """Further thresholds, for the whole only."""
        exact_up_to: int = 16_384
        """The widest SAE whose pairing is exact; memory grows as its square."""
        candidates: int = 64
        """How many counterparts of each latent the approximation begins with."""
        tolerance: float = 1e-4
        """How far from the best one the approximation's mean cosine is to be at most. Where it gives up before, a line says so; `matching_gap` holds how far it can be."""
        chance: bool = True
        """Measure what an unrelated SAE scores, at the cost of one more pair."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if not all(-1 < t <= 1 for t in (self.threshold, *self.curve)):
                raise ValueError("'threshold' and 'curve' are cosines, above -1 and up to 1")
            at_least(self, exact_up_to=1, candidates=1, tolerance=0)

    def run(self, ctx: EvalContext, cfg: Config) -> Iterator[Score]:
        """Measure one group.

        Raises:
            BadInput: The SAEs are of different shapes or hook points.
            CannotMeasure: There are fewer than two.
        """
        saes = ctx.siblings
        _check_comparable(saes)
        counts, n_tokens = _firing(ctx, cfg)
        pairs = list(combinations(range(len(saes)), 2))
        found = []
        for i, j in pairs:
            found.append(_compare(saes[i], saes[j], cfg))
            ctx.progress(len(found) / (len(pairs) + cfg.chance))
        unrelated = _compare(saes[0], saes[1], cfg, _rotation(ctx)) if cfg.chance else None
        _say_how_far(ctx, [*found, *([unrelated] if unrelated else [])], cfg.tolerance)
        group = Group(len(saes), pairs, _pair_names(ctx, pairs), found, unrelated)
        has_encoder = found[0].encoder is not None
        # what a user is to see first comes first: the headline shows the first few
        if has_encoder:
            yield from group.shares(cfg.threshold)
        else:
            for metric in ("shared", "shared_by_all"):
                ctx.leave_blank(metric, "the SAEs have no encoder matrix")
        yield from group.cosines()
        if has_encoder:
            yield from group.curve(cfg.threshold, cfg.curve)
        if not n_tokens:
            ctx.leave_blank("density", ctx.absent.get("activations", "no text was to be read: n_batches is 0"))
        elif has_encoder:
            yield from group.deciles(counts, n_tokens, cfg.threshold)


def _compare(one: SAE, other: SAE, cfg: SeedOverlap.Config, turn: Tensor | None = None) -> Overlap:
    """Pair the latents of two SAEs, of which the second is turned first where `turn` [d_in, d_in] is given."""
    from hedgebench.overlap import overlap

    others, columns, other_columns = other.W_dec, _columns(one), _columns(other)
    if turn is not None:
        others = others @ turn.to(others)
        other_columns = None if other_columns is None else other_columns @ turn.to(others)
    how = {"exact_up_to": cfg.exact_up_to, "candidates": cfg.candidates, "tolerance": cfg.tolerance}
    return overlap(one.W_dec, others, columns, other_columns, **how)


def _say_how_far(ctx: EvalContext, found: Sequence[Overlap], tolerance: float) -> None:
    """Tell the user where a pairing is not as near the best as was asked."""
    from hedgebench.pair_graph import ROUNDING

    gap = max(kind.gap for one in found for kind in one if kind is not None)
    if gap > max(tolerance, ROUNDING):
        notice.warning(
            "seed_overlap, %s and its other training seeds: mean cosines of the approximate pairing can be up to %.2g below the best ones, more than the tolerance of %g; "
            "with more `candidates` they come nearer",
            ctx.checkpoint.name,
            gap,
            tolerance,
        )


def _columns(sae: SAE) -> Tensor | None:
    """Encoder columns as rows, [d_sae, d_in]."""
    w_enc = getattr(sae, "W_enc", None)
    return None if w_enc is None else w_enc.T


def _rotation(ctx: EvalContext) -> Tensor:
    """A random rotation (or reflection) of the space the SAEs read, [d_in, d_in]."""
    import torch

    d_in = ctx.siblings[0].W_dec.shape[1]
    rotation: Tensor = torch.linalg.qr(torch.randn(d_in, d_in, generator=ctx.generator)).Q
    return rotation


def _check_comparable(saes: Sequence[SAE]) -> None:
    if len(saes) < 2:
        raise CannotMeasure("one SAE has no other training seed to be compared with")
    first, *others = saes
    for what, of in {
        "d_sae x d_in": lambda sae: " x ".join(map(str, sae.W_dec.shape)),
        "hook point": lambda sae: sae.cfg.metadata.hook_name,
        "hook_head_index": lambda sae: sae.cfg.metadata.hook_head_index,
        "model": lambda sae: sae.cfg.metadata.model_name,
    }.items():
        for other in others:
            if of(first) != of(other):
                raise BadInput(
                    f"the SAEs of a group differ in training seed only, but these differ in {what}: {of(first)} and {of(other)}; "
                    "put them in groups of their own"
                )


def _firing(ctx: EvalContext, cfg: SeedOverlap.Config) -> tuple[list[Tensor], int]:
    """On how many tokens each latent of each SAE fires, and how many were read; none where there are no activations."""
    from hedgebench.firing import firing_counts

    if ctx.activation_source is None or not cfg.n_batches:
        return [], 0
    counted = [firing_counts(sae, ctx.activations(*cfg.text)) for sae in ctx.siblings]
    return [counts for counts, _ in counted], counted[0][1]


def _pair_names(ctx: EvalContext, pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Pairs by their training seeds, where all are known and differ; else by their places."""
    seeds = [card.train_seed for card in ctx.sibling_cards]
    if len(seeds) < len(ctx.siblings) or None in seeds or len(set(seeds)) < len(seeds):
        seeds = list(range(len(ctx.siblings)))
    return [f"{seeds[i]}-{seeds[j]}" for i, j in pairs]
