"""How well an SAE recovers the true features of a toy world."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from hedgebench.eval import Eval, EvalContext, Metric, Score, at_least

if TYPE_CHECKING:
    from torch import Tensor

    from hedgebench.toy.detection import Detection
    from hedgebench.toy.recovery import Recovery

HEDGING = "Chanin et al. 2025, arXiv 2505.11756"
ABSORPTION = "Chanin et al. 2024, arXiv 2409.14507"
SAELENS = "sae_lens.synthetic.eval_sae_on_synthetic_data; arXiv 2602.14687"

PARTS = ("hedged", "absorbed", "unexplained", "asymmetry")
"""What a Matryoshka prefix is asked too."""

_amount = partial(Metric, unit="norm of the row", higher_is_better=False, low=0.0)
_cosine = partial(Metric, unit="cosine", higher_is_better=True, low=-1.0, high=1.0)
_share = partial(Metric, unit="share", higher_is_better=True, low=0.0, high=1.0)


class ToyRecovery(Eval):
    """What each latent tracks of the true features of a toy world, what else it writes, and how well it detects them.

    Live latents (those that fire on some sample) are matched one to one with features by the signed cosine of their unit decoder rows; a latent
    tracks its match, its *own* feature. With row = sum of c_j f_j + rest, *hedged* is |sum of c_j f_j| over the features that no latent tracks,
    *absorbed* the same over those that other latents track. The c_j are unique for linearly independent features (the cosines, for orthonormal
    ones) and those of orthogonal matching pursuit for more features than dimensions: see `hedgebench.toy.recovery`, which gives every definition.
    MCC, uniqueness, precision, recall, F1, explained variance, L0, dead latents and shrinkage are SAELens's own, over all latents, dead ones included.

    Rows about one latent, feature or Matryoshka prefix are slices. A prefix is scored as an SAE of its own: what only outer latents track is tracked
    by none there. Limits: hedging that lives in the decoder bias shows in `b_dec_projection` only, hedging in the encoder alone in `encoder_cosine`
    and `asymmetry`; an encoder is compared with the features themselves, which for correlated directions is not where the best one points.
    """

    name, version = "toy_recovery", 1
    needs: ClassVar = frozenset({"sae", "features"})
    cost = (
        "no model; each SAE: its encoder and decoder on the samples (under a second for 20 features), and one matching and decomposition, which grow "
        "with latents^2 * features (seconds for 1,000 of each; minutes and some 3 GB for 4,096 latents of 16,384 features)"
    )
    metrics = (
        _amount(
            "hedged",
            "Norm of a unit decoder row's part on true features that no latent tracks; mean over live latents",
            paper=HEDGING,
        ),
        _amount(
            "absorbed",
            "Norm of a unit decoder row's part on true features that other latents track; mean over live latents",
            paper=ABSORPTION,
        ),
        _amount(
            "unexplained",
            "Norm of what no true feature explains of a unit decoder row; mean over live latents",
            high=1.0,
        ),
        Metric(
            "asymmetry",
            "1 - cosine of encoder column and decoder row; mean over live latents. Absorption makes it large, hedging does not",
            low=0.0,
            high=2.0,
            paper=HEDGING,
        ),
        _cosine(
            "decoder_cosine",
            "Cosine of the decoder row with the latent's own feature; mean over live latents that have one; "
            "with `feature=j` that with feature j; of one feature the largest of the latents that have it",
        ),
        _cosine(
            "encoder_cosine",
            "Cosine of the encoder column with the latent's own feature; mean over live latents that have one; "
            "with `feature=j` that with feature j",
        ),
        Metric("feature", "Index of the latent's own feature, where it has one", low=0.0),
        _share("tracked", "Share of the true features that some live latent has as its own; of one feature 1 or 0"),
        Metric(
            "b_dec_projection",
            "Coefficient of a true feature in the decoder bias less the world's own: what the bias adds of it to every reconstruction; "
            "of the whole SAE the norm of the bias's part in the span of the features",
            unit="activation norm",
            paper=HEDGING,
        ),
        _share(
            "mcc",
            "Mean |cosine| of decoder rows and true features under their best one-to-one matching",
            unit="cosine",
            paper=SAELENS,
        ),
        _share(
            "uniqueness",
            "Number of different features that decoder rows are nearest to by |cosine|, over the number of latents",
            paper=SAELENS,
        ),
        _share(
            "precision",
            "Of the samples on which a latent fires, those on which the feature fires that its row is nearest to by |cosine|; mean over latents, 0 for dead ones",
            paper=SAELENS,
        ),
        _share(
            "recall",
            "Of the samples on which that feature fires, those on which the latent does; mean over latents",
            paper=SAELENS,
        ),
        _share("f1", "Harmonic mean of a latent's precision and recall; mean over latents", paper=SAELENS),
        Metric(
            "explained_variance",
            "1 - squared error over the variance of the samples; stderr jackknifed over batches",
            unit="share",
            higher_is_better=True,
            high=1.0,
            paper=SAELENS,
        ),
        Metric("l0", "Mean number of latents that fire on a sample; of one latent how often it does", low=0.0),
        Metric(
            "true_l0", "Mean number of true features that fire in a sample; of one feature how often it does", low=0.0
        ),
        _share("dead_latents", "Share of the latents that fire on no sample", higher_is_better=False, paper=SAELENS),
        Metric(
            "shrinkage",
            "Mean norm of the reconstruction over that of the sample, samples of norm 0 left out; 1 is none",
            low=0.0,
            paper=SAELENS,
        ),
    )

    @dataclass(frozen=True)
    class Config:
        """How much is drawn, and how much detail is reported."""

        n_samples: int = 100_000
        """Samples of the world."""
        batch_size: int = 1_000
        """Samples at a time; also the unit over which the error of the explained variance is jackknifed."""
        terms: int = 10
        """True features in one decoder row, at most, where the features are linearly dependent (superposition)."""
        matrix_limit: int = 400
        """The cosines of every latent with every feature are reported where latents * features is at most this."""
        slice_limit: int = 2_000
        """Values of single latents and features are reported for SAEs and worlds of at most so many."""

        def __post_init__(self) -> None:
            at_least(self, n_samples=1, batch_size=1, terms=1, matrix_limit=0, slice_limit=0)

    def run(self, ctx: EvalContext, cfg: Config) -> Iterator[Score]:
        """Measure one SAE.

        Raises:
            CannotMeasure: The SAE was trained on activations scaled by factors that its checkpoint does not hold.
        """
        from hedgebench.activations import check_units
        from hedgebench.toy.detection import detect

        world = ctx.features
        assert world is not None  # the harness says so where there is none
        check_units(ctx.sae)
        found = detect(
            ctx.sae, world, ctx.generator, n_samples=cfg.n_samples, batch_size=cfg.batch_size, progress=ctx.progress
        )
        yield from _on_samples(found, ctx, cfg)
        yield from _in_weights(found.fires > 0, ctx, cfg)


def _on_samples(found: Detection, ctx: EvalContext, cfg: ToyRecovery.Config) -> Iterator[Score]:
    """What the samples say of the whole SAE, of its latents and of the features."""
    width, n = len(found.fires), found.n_samples
    for name in ("l0", "true_l0", "explained_variance"):
        estimate = getattr(found, name)
        if estimate is None:
            ctx.leave_blank(name, "the samples do not vary")
        else:
            yield Score(name, estimate.value, stderr=estimate.stderr, n=n)
    if found.shrinkage is None:
        ctx.leave_blank("shrinkage", "every sample is zero")
    else:
        yield Score("shrinkage", found.shrinkage, n=n)
    yield Score("dead_latents", float((found.fires == 0).double().mean()), n=width)
    yield Score("mcc", found.mcc, n=min(width, len(found.feature_fires)))
    yield Score("uniqueness", found.uniqueness, n=width)
    for name in ("precision", "recall", "f1"):
        yield Score(name, getattr(found, name), n=width)
        yield from _each(name, "latent", getattr(found, f"latent_{name}"), cfg)
    yield from _each("l0", "latent", found.fires, cfg)
    yield from _each("true_l0", "feature", found.feature_fires, cfg)


def _in_weights(fires: Tensor, ctx: EvalContext, cfg: ToyRecovery.Config) -> Iterator[Score]:
    """What the weights say of live latents, and of the decoder bias."""
    import torch

    from hedgebench.toy.recovery import cosines, recover, tracked_features

    assert ctx.features is not None
    features, sae = ctx.features.features, ctx.sae
    rows = sae.W_dec.detach().cpu()
    columns = None if (encoder := getattr(sae, "W_enc", None)) is None else encoder.detach().cpu().T

    def first(width: int) -> Recovery:
        return recover(rows[:width], None if columns is None else columns[:width], features, fires[:width], cfg.terms)

    found = first(len(rows))
    for name in (*PARTS, "decoder_cosine", "encoder_cosine"):
        values = getattr(found, name)
        if not (means := list(_mean(name, values))):
            ctx.leave_blank(name, "there is no live latent that has one" if fires.any() else "no latent fires")
        yield from means
        yield from _each(name, "latent", values, cfg)
    own, tracked = found.own.double(), tracked_features(found.own, len(features)).double()
    yield from _each("feature", "latent", own.where(own >= 0, math.nan), cfg)
    has = found.own >= 0
    best = torch.full_like(tracked, math.nan)
    best.scatter_reduce_(0, found.own[has], found.decoder_cosine[has], "amax", include_self=False)
    yield from _each("decoder_cosine", "feature", best, cfg)
    yield Score("tracked", float(tracked.mean()), n=len(features))
    yield from _each("tracked", "feature", tracked, cfg)
    for width in ctx.checkpoint.prefixes:
        inner = first(width)
        for name in PARTS:
            yield from _mean(name, getattr(inner, name), slice_by="prefix", slice_value=str(width))
    if len(rows) * len(features) <= cfg.matrix_limit:
        yield from _matrix("decoder_cosine", cosines(rows, features))
        if columns is not None:
            yield from _matrix("encoder_cosine", cosines(columns, features))
    yield from _bias(ctx, cfg)


def _bias(ctx: EvalContext, cfg: ToyRecovery.Config) -> Iterator[Score]:
    """The features in the decoder bias."""
    from hedgebench.toy.recovery import dual_basis

    assert ctx.features is not None
    b_dec, kind = getattr(ctx.sae, "b_dec", None), ctx.sae.cfg.normalize_activations
    if b_dec is None:
        ctx.leave_blank("b_dec_projection", "the SAE has no decoder bias")
    elif kind not in (None, "none"):
        ctx.leave_blank("b_dec_projection", f"the SAE's bias lives among activations normalised by {kind!r}")
    else:
        features = ctx.features.features.double()
        inside = (b_dec.detach().cpu().double() - ctx.features.bias.double()) @ dual_basis(features)
        yield Score("b_dec_projection", float((inside @ features).norm()))
        yield from _each("b_dec_projection", "feature", inside, cfg)


def _mean(metric: str, values: Tensor, slice_by: str = "all", slice_value: str = "all") -> Iterator[Score]:
    """The mean over the latents of which something is known, if there are any."""
    known = values[~values.isnan()]
    if len(known):
        yield Score(metric, float(known.mean()), n=len(known), slice_by=slice_by, slice_value=slice_value)


def _each(metric: str, slice_by: str, values: Tensor, cfg: ToyRecovery.Config) -> Iterator[Score]:
    """A row for every latent or feature of which something is known, unless there are too many."""
    if len(values) <= cfg.slice_limit:
        for i, value in enumerate(values.tolist()):
            if not math.isnan(value):
                yield Score(metric, value, slice_by=slice_by, slice_value=str(i))


def _matrix(metric: str, cosine: Tensor) -> Iterator[Score]:
    for latent, row in enumerate(cosine.tolist()):
        for feature, value in enumerate(row):
            yield Score(metric, value, {"feature": feature}, slice_by="latent", slice_value=str(latent))
