"""Whether old latents gave up what new latents took over, when an SAE grew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from hedgebench.eval import CannotMeasure, Eval, EvalContext, Figure, Metric, Score, TextConfig, at_least
from hedgebench.types import BadInput

from .grow_delta_figures import HOW, degree_table, draw_degree, draw_share, read_degree, read_share, share_table
from .grow_delta_nulls import live_share, other_seeds, random_spans, text_is_read
from .grow_delta_rows import estimates, live, symmetry, z

if TYPE_CHECKING:
    from sae_lens import SAE


POST = "growing SAE of the post on feature hedging"
PAPER = "Chanin et al. 2025, arXiv 2505.11756"

_share = partial(Metric, unit="share", higher_is_better=False, low=0.0, high=1.0)


class GrowDelta(Eval):
    """How much of what old latents changed, when the SAE grew, lies in the span of the new rows: what they gave up, they had hedged.

    The control is the same SAE trained on for as long without new latents. For every latent of the control, δ is the difference of the unit decoder row
    (grown less control), and P projects on the span of the new decoder rows, of rank r in d dimensions.

    *Nulls.* Both changes and rows prefer the large directions of the activations, so that a random span (`isotropic`) flatters the metric. Matched to that are:
    what the second control, trained on another order of the data, changed in the same span without any new latent (`reordered`); the new rows of other
    training seeds' grown SAEs (`other_seed`); and random rows with the covariance of the control's residual (`residual`). `excess` is g less that of a null, signed and not clamped: how far
    old latents moved that way, beyond the null. The second control may have moved further or less far. Its rows are therefore turned on or back, the way they went, until they have turned
    outside the span as far as those of the grown SAE (rank by rank; `scale`: how many times as far, on average); giving up what lies in the span turns none there. So a change that is to the new rows what the second
    control's is, whatever its size, has no excess. Far from 1 the scale makes of it an extrapolation.
    The other two nulls know part of the answer: other seeds add some of the same features, and the residual is made of what is missing. So the headline, without a `null`, is over `reordered`, and where
    there is no second control over the strictest of the others. What these measures say where hedging is known: `hedgebench toy --study growth`.
    The share of the change inside, whatever its size, says which way rows moved and not how far.

    With `weights=encoder`, the same of encoder columns, on the same span. Hedging is given up by both sides alike, absorption changes the encoder: `symmetry`.

    New latents that are dead took nothing over, and the metric is blind: their live share stands beside every value, and below `min_live` there is none.
    Errors are bootstrapped over the old latents of this one SAE; they do not hold the difference between training seeds.
    """

    name, version = "grow_delta", 2
    needs: ClassVar = frozenset({"control"})
    may_use: ClassVar = frozenset({"siblings", "second_control", "activations"})
    cost = (
        "weights: one product of the old rows with all spans, d_in * width * r * (n_null + a few); "
        "shared: one pass of the model up to the hook point, unless n_batches is 0"
    )
    metrics = (
        Metric(
            "excess",
            "g less that of a null (`null=...`; spans of another rank less what they hold by chance); without a name the headline: over `reordered`, or else the strictest matched null",
            unit="norm of a unit row",
            higher_is_better=False,
            chance=0.0,
            low=-2.0,
            high=2.0,
        ),
        Metric("live_added", "Share of the new latents that fire", unit="share", low=0.0, high=1.0),
        _share("delta_share", "Mean of |Pδ|² / |δ|² over old latents that moved; of a random span r / d", paper=POST),
        _share(
            "direction_share", "Mean of |Pδ| / |δ| over old latents that moved; of a random span E|Pu|, in closed form"
        ),
        _share("hedging_degree", "max(0, (g - b) / (1 - b))", chance=0.0, paper=PAPER),
        Metric("unclamped_degree", "(g - b) / (1 - b)", unit="share", higher_is_better=False, chance=0.0, paper=PAPER),
        Metric("projection", "g: mean of |Pδ| over old latents, rows being of norm 1", low=0.0, high=2.0, paper=PAPER),
        Metric(
            "baseline",
            "b: the same for a random span of rank r; in closed form |δ| Γ((r+1)/2) Γ(d/2) / (Γ(r/2) Γ((d+1)/2)), or the mean over sampled spans",
            low=0.0,
            high=2.0,
            paper=PAPER,
        ),
        Metric(
            "z",
            "(delta_share - mean) / SD, over sampled random spans; with `null=residual` over spans of that null",
            unit="SD",
            chance=0.0,
        ),
        Metric("null_projection", "g of a null (`null=...`): mean over its spans", low=0.0, high=2.0),
        Metric(
            "scale",
            "How many times as far as those of the second control old rows turned outside the span (`null=reordered`)",
            low=0.0,
        ),
        _share("null_share", "delta_share of a null (`null=...`): mean over its spans"),
        Metric("share_excess", "delta_share less that of a null (`null=...`)", chance=0.0, low=-1.0, high=1.0),
        Metric("delta_norm", "Mean of |δ|, from 0 to 2: how far old latents moved at all", low=0.0, high=2.0),
        Metric("cosine", "Mean cosine of an old latent's row before and after", low=-1.0, high=1.0),
        Metric(
            "symmetry",
            "2 Σ p·q / Σ (|p|² + |q|²), p and q what decoder row and encoder column changed inside the span: 1 where alike (hedging), 0 where one side only (as absorption changes the encoder)",
            chance=0.0,
            low=-1.0,
            high=1.0,
        ),
        Metric("rank", "Rank of the span of the new rows", low=0.0),
    )
    figures = (
        Figure("share-against-width", draw_share, share_table, read_share, how=HOW),
        Figure("degree-against-width", draw_degree, degree_table, read_degree, how=HOW),
    )

    @dataclass(frozen=True)
    class Config(TextConfig):
        """What it is compared with. Text says who fires, and gives the covariance of the residual."""

        baseline: str = "closed_form"
        """b of the hedging degree: `closed_form`, or `sampled` as in the paper, from `n_null` spans."""
        n_null: int = 50
        """Random spans of each null."""
        min_live: float = 0.5
        """Least share of live new latents."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.baseline not in ("closed_form", "sampled"):
                raise ValueError(f"'baseline' is closed_form or sampled, not {self.baseline!r}")
            if not 0 <= self.min_live <= 1:
                raise ValueError(f"'min_live' is a share from 0 to 1, not {self.min_live}")
            at_least(self, n_null=2)

    def run(self, ctx: EvalContext, cfg: Config) -> Iterator[Score]:
        """Measure one grown SAE; the headline comes first.

        Raises:
            BadInput: Its control, or another SAE it is compared with, reads another model or hook point.
            CannotMeasure: It is no wider than its control, grew by as many latents as there are dimensions, or too few new latents are alive.
        """
        order = [metric.name for metric in self.metrics]
        yield from sorted(self._measure(ctx, cfg), key=lambda score: (bool(score.params), order.index(score.metric)))

    def _measure(self, ctx: EvalContext, cfg: Config) -> Iterator[Score]:
        from hedgebench.family import Family
        from hedgebench.growth import movement
        from hedgebench.moments import residual_covariance
        from hedgebench.spans import new_span

        assert ctx.control is not None  # the harness says so where there is none
        _check_place(ctx.sae, {"control": [ctx.control], "second control": [ctx.second_control], "group": ctx.siblings})
        family = Family.of(ctx.control, ctx.sae, ctx.second_control)
        if len(family.members) < 3:
            why = "it has another shape than the control" if ctx.second_control else "the control was trained once"
            ctx.leave_blank("excess null=reordered", ctx.absent.get("second_control", why))
        read = text_is_read(ctx, cfg)
        yield from live(ctx, cfg, family, live_share(ctx, cfg, family.old, ctx.sae, ctx.checkpoint, read))
        basis = new_span(ctx.sae.W_dec[family.old :])
        if not len(basis):
            raise CannotMeasure("all new decoder rows are zero")
        yield Score("rank", len(basis), n=family.added)
        random = random_spans(ctx, cfg, basis, None)
        covariance = residual_covariance(ctx.control, ctx.activations(*cfg.text)) if read else None
        like_residual = random_spans(ctx, cfg, basis, covariance) if read else []
        nulls = {"residual": like_residual, "other_seed": other_seeds(ctx, cfg, family, read)}
        spans = {name: some for name, some in nulls.items() if some}
        for side in family.sides:
            params = {"weights": side} if side != "decoder" else {}
            found = family.movement(side, basis, spans)
            sampled = None
            if cfg.baseline == "sampled":
                sampled = movement(*family.before_and_after(side), basis, {"b": random}).nulls["b"].inside
            if len(family.members) == 3 and "reordered" not in found.nulls:
                ctx.leave_blank(
                    f"excess null=reordered, {side} side", "the second control turned no row outside the span"
                )
            yield from estimates(ctx, found, basis, sampled, params)
            yield from z(found, random, params)
            yield from z(found, like_residual, params | {"null": "residual"})
        yield from symmetry(ctx, family, basis)


def _check_place(sae: SAE, others: Mapping[str, Sequence[SAE | None]]) -> None:
    for role, members in others.items():
        for word, other in product(("model_name", "hook_name"), members):
            here, there = (None if one is None else one.cfg.metadata.get(word) for one in (sae, other))
            if here and there and here != there:
                raise BadInput(f"the SAE's {word} is {here!r} and its {role}'s {there!r}: they are not to be compared")
