"""The rows of `grow_delta`, from what became of the old latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hedgebench.eval import CannotMeasure, EvalContext, Score

from .grow_delta_nulls import NO_TEXT

if TYPE_CHECKING:
    from torch import Tensor

    from hedgebench.family import Family
    from hedgebench.growth import Movement

    from .grow_delta import GrowDelta


def live(ctx: EvalContext, cfg: GrowDelta.Config, family: Family, share: float | None) -> Iterator[Score]:
    """Tell the share of live new latents.

    Raises:
        CannotMeasure: It is too small, or nobody knows.
    """
    if share is None:
        why = f"whether the new latents are alive is not known: {ctx.absent.get('activations', NO_TEXT)}"
        if cfg.min_live > 0:
            raise CannotMeasure(f"{why}; let it read text, or set min_live to 0 to go without")
        ctx.leave_blank("live_added", why)
    elif share < cfg.min_live:
        raise CannotMeasure(
            f"{share:.0%} of the {family.added} new latents are alive, less than min_live {cfg.min_live:.0%}: dead ones took nothing over"
        )
    else:
        yield Score("live_added", share, n=family.added)


def estimates(
    ctx: EvalContext, found: Movement, basis: Tensor, sampled: Tensor | None, side: dict[str, str]
) -> Iterator[Score]:
    """Everything that is a mean over old latents."""
    from hedgebench.growth_estimates import estimates as means_over_latents
    from hedgebench.spans import expected_norm

    rank, d = basis.shape
    numbers = means_over_latents(found, ctx.generator, sampled)
    chance = {"delta_share": rank / d, "direction_share": expected_norm(rank, d)}
    for label, (value, stderr, n) in numbers.items():
        metric, _, null = label.partition(" ")
        params = side | ({"null": null} if null else {})
        yield Score(metric, value, params, stderr=stderr, n=n, chance=chance.get(metric))
    if "delta_share" in numbers:
        share = numbers["delta_share"]
        isotropic = side | {"null": "isotropic"}
        yield Score("null_share", rank / d, isotropic)
        yield Score("share_excess", share.value - rank / d, isotropic, stderr=share.stderr, n=share.n)
    else:
        ctx.leave_blank("delta_share", "no old latent moved")
    if "reordered" in found.nulls:
        yield Score("scale", found.nulls["reordered"].scale, side | {"null": "reordered"})
    if found.nulls:
        strictest = min(found.nulls, key=lambda name: numbers[f"excess {name}"].value)
        value, stderr, n = numbers[f"excess {'reordered' if 'reordered' in found.nulls else strictest}"]
        yield Score("excess", value, side, stderr=stderr, n=n)
    else:
        ctx.leave_blank("excess", "there is no matched null: no second control, no other training seed, no text")


def z(found: Movement, spans: list[Tensor], params: dict[str, str]) -> Iterator[Score]:
    """The share in the span of the new rows, in standard deviations of that in random spans."""
    from hedgebench.spans import span_shares

    if spans and found.moved.any():
        shares = span_shares(found.second_moment, spans)
        share = found.share.square()[found.moved].mean()
        yield Score("z", float((share - shares.mean()) / shares.std()), params, n=len(spans))


def symmetry(ctx: EvalContext, family: Family, basis: Tensor) -> Iterator[Score]:
    """Whether both sides gave up the same."""
    from hedgebench.growth import agreement
    from hedgebench.stats.units import bootstrap

    if "encoder" not in family.sides:
        ctx.leave_blank("symmetry", "the SAE has no encoder matrix")
        return
    twice, sizes = agreement(family.before_and_after("decoder"), family.before_and_after("encoder"), basis)
    if not float(sizes.sum()) > 0:
        ctx.leave_blank("symmetry", "no old latent changed inside the span")
        return
    values, stderrs, n = bootstrap(lambda p, q: (p / q)[..., None], twice, sizes, generator=ctx.generator)
    yield Score("symmetry", float(values[0]), stderr=None if stderrs is None else float(stderrs[0]), n=n)
