"""How the decoder rows lie to each other and to the activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hedgebench.eval import CannotMeasure, Eval, EvalContext, Metric, Score, TextConfig, at_least

from .decoder_similarity_text import read_text

if TYPE_CHECKING:
    from torch import Tensor

PAPER = "Chanin & Garriga-Alonso 2025, arXiv 2508.16560"
RANK = "Roy & Vetterli 2007"


class DecoderSimilarity(Eval):
    """Whether decoder rows crowd together, how many directions they fill, and whether those are the activations' own.

    An SAE with too low an L0 mixes correlated features into its rows, which then resemble each other: c_dec and s_n are smallest near the right L0.
    Compare them over SAEs of one width at one hook point. All rows count, those of dead latents, too, as they are; a row of zeros has cosine 0.

    Chance is what random unit rows of the same number and dimension have: for c_dec Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)), for max_cosine the mean (or quantile) of
    the largest of d_sae - 1 independent cosines, for pc_share rank / d_in and for pc_alignment m / d_in. Ranks and spectra have no chance level here.

    Activations are those of ordinary tokens, normalised as the SAE normalises them. Principal components are centred: the mean is the bias's business.
    """

    name, version = "decoder_similarity", 1
    needs: ClassVar = frozenset({"sae"})
    may_use: ClassVar = frozenset({"activations"})
    cost = (
        "weights: half a product of d_sae^2 * d_in (a minute of one core at 32k x 2304, a second on a GPU) and one eigendecomposition of d_in^3; with activations: "
        "one shared pass of the model, and one product of tokens * d_sae * d_in with a selection among its values"
    )
    metrics = (
        Metric(
            "c_dec",
            "Mean |cosine| of two decoder rows, over all pairs i < j",
            unit="cosine",
            low=0.0,
            high=1.0,
            paper=PAPER,
        ),
        Metric(
            "max_cosine",
            "Largest cosine of a decoder row with another (`sign=abs`: largest |cosine|); mean over latents, or their quantile `q`",
            unit="cosine",
            low=-1.0,
            high=1.0,
        ),
        Metric(
            "s_n",
            "n-th decoder projection: of z = (x - b_dec) W_dec^T, rows of unit length, over a batch of B tokens, all values in descending order, the one at index n * B; "
            "mean over batches, its stderr over them. Meant for n above the L0 and below d_sae / 2",
            unit="activation norm",
            paper=PAPER,
        ),
        Metric(
            "effective_rank",
            "Exponential of the entropy of the decoder's singular values divided by their sum",
            unit="dimensions",
            low=1.0,
            paper=RANK,
        ),
        Metric(
            "stable_rank", "Sum of the decoder's squared singular values over the largest", unit="dimensions", low=1.0
        ),
        Metric(
            "spectrum_share",
            "Share of the decoder's squared singular values that the `top` largest have",
            unit="share",
            low=0.0,
            high=1.0,
        ),
        Metric(
            "pc_share",
            "Share of the squared length of the activations' `pcs` first principal components (centred) inside the span of the decoder rows; chance is rank / d_in, "
            "and blank at rank d_in",
            unit="share",
            low=0.0,
            high=1.0,
        ),
        Metric(
            "pc_alignment",
            "Share of the squared length of those components inside the span of as many first singular axes of the decoder: it tells something at full rank, too",
            unit="share",
            low=0.0,
            high=1.0,
        ),
    )

    @dataclass(frozen=True)
    class Config(TextConfig):
        """What is asked of the spectra, and how much text is read."""

        n: tuple[int, ...] = ()
        """The n of s_n; none for an eighth, a quarter and three eighths of the width, as far as they are above the SAE's L0."""
        top: tuple[int, ...] = (1, 10, 100)
        """How many singular values `spectrum_share` adds up; those below the rank."""
        pcs: tuple[int, ...] = (1, 10, 100)
        """How many principal components; those below d_in."""
        quantiles: tuple[float, ...] = (0.1, 0.5, 0.9, 0.99)
        """Of the latents' largest cosines."""
        slice_limit: int = 2_000
        """The largest cosine of each latent is reported for SAEs of at most so many."""

        def __post_init__(self) -> None:
            super().__post_init__()
            for field in ("n", "top", "pcs"):
                if any(value < 1 for value in getattr(self, field)):
                    raise ValueError(f"{field!r} counts from 1")
            if not all(0 <= q <= 1 for q in self.quantiles):
                raise ValueError("'quantiles' are from 0 to 1")
            at_least(self, slice_limit=0)

    def run(self, ctx: EvalContext, cfg: Config) -> Iterator[Score]:
        """Measure one SAE.

        Raises:
            CannotMeasure: All decoder rows are zero.
        """
        from hedgebench.geometry import rank_tolerance, singular_axes

        rows = ctx.sae.W_dec
        if not rows.any():
            raise CannotMeasure("all decoder rows are zero")
        yield from _cosines(rows, ctx, cfg)
        ctx.progress(0.5)
        values, axes = singular_axes(rows)
        yield from _spectrum(values, cfg)
        try:
            _check_activations(ctx, cfg)
            ns = choose_n(ctx, cfg)
            text = ctx.activations(*cfg.text)
            found = read_text(ctx.sae, text, ns, lambda done: ctx.progress(0.5 + 0.5 * done / cfg.n_batches))
        except CannotMeasure as why:  # the weights were measured all the same
            for metric in ("s_n", "pc_share", "pc_alignment"):
                ctx.leave_blank(metric, str(why))
            return
        for n, each in zip(ns, found.projections.T, strict=True):
            error = float(each.std(correction=1)) / len(each) ** 0.5 if len(each) > 1 else None
            yield Score("s_n", float(each.mean()), {"n": n}, stderr=error, n=len(each))
        rank = int((values > rank_tolerance(rows) * values[0]).sum())
        yield from _components(found.components, axes, rank, ctx, cfg)


def _cosines(rows: Tensor, ctx: EvalContext, cfg: DecoderSimilarity.Config) -> Iterator[Score]:
    """How much the rows resemble each other, beside random ones."""
    import numpy as np

    from hedgebench.cosines import largest_random_cosine, largest_random_quantile, pairs, random_cosine

    width, d_in = rows.shape
    if width < 2:
        for metric in ("c_dec", "max_cosine"):
            ctx.leave_blank(metric, "a single latent has no other to resemble")
        return
    found, plane = pairs(rows), d_in > 1
    yield Score("c_dec", found.mean_abs, n=width, chance=random_cosine(d_in))
    kinds: tuple[tuple[dict[str, Any], Tensor], ...] = (({}, found.largest), ({"sign": "abs"}, found.largest_abs))
    for params, values in kinds:
        absolute = bool(params)
        chance = largest_random_cosine(width - 1, d_in, absolute=absolute) if plane else None
        yield Score("max_cosine", float(values.double().mean()), params, n=width, chance=chance)
        wide = values.double().cpu().numpy()
        for q in cfg.quantiles:
            chance = float(largest_random_quantile(width - 1, d_in, q, absolute=absolute)) if plane else None
            yield Score("max_cosine", float(np.quantile(wide, q)), params | {"q": q}, n=width, chance=chance)
        if width <= cfg.slice_limit:
            for i, value in enumerate(wide.tolist()):
                yield Score("max_cosine", value, params, "latent", str(i))


def _spectrum(values: Tensor, cfg: DecoderSimilarity.Config) -> Iterator[Score]:
    """The decoder's singular values in a few numbers."""
    from hedgebench.geometry import effective_rank

    squares = values.square()
    yield Score("effective_rank", effective_rank(values))
    yield Score("stable_rank", float(squares.sum() / squares[0]))
    for top in cfg.top:
        if top < len(values):
            yield Score("spectrum_share", float(squares[:top].sum() / squares.sum()), {"top": top})


def _check_activations(ctx: EvalContext, cfg: DecoderSimilarity.Config) -> None:
    from hedgebench.activations import check_units

    check_units(ctx.sae)
    if not cfg.n_batches:
        raise CannotMeasure("no text was to be read: n_batches is 0")
    if ctx.activation_source is None:
        raise CannotMeasure(ctx.absent.get("activations", "there are no activations"))


def choose_n(ctx: EvalContext, cfg: DecoderSimilarity.Config) -> tuple[int, ...]:
    """The n that s_n is reported for; why there is none for some stands in the context."""
    width, card = len(ctx.sae.W_dec), ctx.checkpoint
    l0 = card.l0 if card.l0 is not None else card.k
    if cfg.n:
        chosen = tuple(n for n in cfg.n if n < width / 2)
        if left := [str(n) for n in cfg.n if n >= width / 2]:
            ctx.leave_blank("s_n", f"n = {', '.join(left)} is not below half the width, {width / 2:g}")
        return chosen
    chosen = tuple(n for n in sorted({width // 8, width // 4, 3 * width // 8}) if n > (l0 or 0))
    if not chosen:
        ctx.leave_blank("s_n", f"no n is above the SAE's L0, {l0 or 0:g}, and well below half its width, {width / 2:g}")
    return chosen


def _components(
    components: Tensor, axes: Tensor, rank: int, ctx: EvalContext, cfg: DecoderSimilarity.Config
) -> Iterator[Score]:
    """How much of the activations' principal components the decoder spans."""
    from hedgebench.geometry import span_share

    axes, d_in = axes.cpu(), components.shape[1]
    if not len(components):
        for metric in ("pc_share", "pc_alignment"):
            ctx.leave_blank(metric, "the activations do not vary")
    elif rank == d_in:
        ctx.leave_blank("pc_share", f"the decoder rows span all {d_in} dimensions, so any component is inside")
    for m in cfg.pcs:
        if m < d_in and m <= len(components):
            if rank < d_in:
                share = span_share(components[:m], axes[:rank]).mean()
                yield Score("pc_share", float(share), {"pcs": m}, chance=rank / d_in)
            if m <= rank:
                share = span_share(components[:m], axes[:m]).mean()
                yield Score("pc_alignment", float(share), {"pcs": m}, chance=m / d_in)
