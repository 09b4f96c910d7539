"""What the latents of one given SAE hedge, estimated from activations: no SAE is grown, nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from hedgebench.eval import CannotMeasure, Eval, EvalContext, Metric, Score, TextConfig, at_least, notice

from .hedging_estimate_controls import controls, directions, nothing_owed, repeatability
from .hedging_estimate_doubts import doubts
from .hedging_estimate_rows import LEAST, measure, one_by_one, standard_errors, totals, weights

if TYPE_CHECKING:
    from torch import Tensor

    from hedgebench.latent_sample import LatentSample

HEADLINE = "hedging", "injected_rise", "random_sign_rise", "injected_auc", "repeatability", "doubts"
"""What is seen first."""

POST = "open problem of the post on feature hedging"
SMR = "residual second-moment regression; this project"
_share = partial(Metric, unit="share of the row")
_probability = partial(Metric, unit="probability", chance=0.5, low=0.0, high=1.0)


class HedgingEstimate(Eval):
    """What latents owe to features that the SAE lacks, as far as activations tell. An estimate, uncalibrated on language models: never rank SAEs, widths or prefixes by it.

    Let C be the decoder that fits the SAE's latents best, by least squares, and r what it leaves over. A row that hedges is C_i = d_i + Σ_j h_ij d_j, with features j that the SAE lacks. They are
    looked for in r as sparse nonnegative codes of unknown directions, fitted in turns with what latents say of them (`hedgebench.sparse_growth`); what the rows would give up to them in a joint fit is
    the part P that is owed, and `owed` says how far it turns the row. It is a product of two halves of the documents, so that noise adds nothing, and signed: below 0 it is noise.
    `modulation` is how the covariance of r follows a latent (SMR: it sees hedging and mere variance alike), and `consistent` what of that lies in the row, too. `hedging` has the mean of `owed`, dealt
    out over latents by `owed` and `consistent` together (`hedgebench.hedging.hedging_of`): the two are wrong about different latents.

    Beside them stands `virtual_growth`, the same question asked of k-means atoms (a second opinion). A feature of random sign modulates and is not hedged; what each estimate makes of both on this
    very SAE and text is measured (`injected_rise`, `random_sign_rise`, `injected_auc`, `random_sign_auc`); and what each reads where all that is missing has a sign at random, and nothing is owed (`null=nothing owed`).

    `modulation` and `leading_strength` are divided by `spike`, the typical size of what is missed, which differs from SAE to SAE; `modulation_unscaled` is not.
    Sinks (tokens of norms above `sink` times the median) are left out. Latents that fire on too few tokens of either half are left out, too: `live_share`.
    Known failures: SAEs whose latents have merged several features; features that are there more often than not when a latent fires; missing features no larger than other residuals.
    What it says where hedging is known, and on a language model: `results/hedging_estimate/`.
    The record holds, for the latents that hedge most, the directions of what they hedge (`eval_result_unstructured`).
    """

    name, version = "hedging_estimate", 2
    needs: ClassVar = frozenset({"activations"})
    cost = (
        "one shared pass of the model; per SAE, five times over with `inject` and once more for each prefix: tokens * d_in * (n_atoms + 2 * latents, 2048 at most) * 20 operations, latents^3, and tokens * latents * (d_in + L0); "
        "beyond 16,384 live latents by conjugate gradients, hours on a CPU; memory tokens * (d_in + n_atoms + 2048) * 4 bytes and latents^2 * 40 bytes. Minutes on two cores at 100k tokens of 576 dimensions"
    )
    metrics = (
        _share(
            "hedging",
            "The mean of `owed` over live latents, each of which has of it as the cube root of owed * consistent; signed; with `null=nothing owed`, this and every estimate where missing features (the residual with what rows owe given back) have a sign at random, one for each token",
            chance=0.0,
            paper=POST,
        ),
        _share(
            "owed",
            "Sine of the angle between C_i and C_i - P, P = H G what a row owes to missing features, squares being products of two halves of the documents; signed; mean over live latents",
            low=-1.0,
            high=1.0,
            chance=0.0,
            paper=POST,
        ),
        _share(
            "modulation",
            "sqrt(n_i^2) / (spike |C_i|), signed, n_i^2 = |N_i|^2 less its isotropic part, N_i the coefficients of r r^T on the latent; mean over live latents; "
            "with `null=shuffled` of residuals in another order",
            paper=SMR,
        ),
        Metric("modulation_unscaled", "The same without the division by spike", unit="activation norm", paper=SMR),
        _share(
            "leading_strength",
            "e^T N_i e / (spike |C_i|), e the leading eigenvector of N_i on one half of the documents and N_i that of the other; "
            "of the latents that hedge most, and its mean over them; with `null=shuffled` of residuals in another order",
            paper=SMR,
        ),
        _share(
            "consistent",
            "sqrt(|N_i w_i|^2) / (spike |C_i|), signed, w_i = C_i / |C_i|, N_i less its mean eigenvalue",
            paper=SMR,
        ),
        _share(
            "virtual_growth",
            "|C_i - C'_i| / |C_i|, C' the best rows beside k-means atoms of r as latents; a second opinion, not of two halves",
        ),
        Metric("spike", "Median over atoms of E[p^4] / E[p^3], p = max(0, r . atom)", unit="activation norm", low=0.0),
        Metric("c_dec", "Mean |cosine| of two decoder rows, for comparison (`decoder_similarity`)", low=0.0, high=1.0),
        Metric("b_dec_norm", "L2 norm of the decoder bias, for comparison (`decoder_bias`)", low=0.0),
        Metric(
            "row_cosine",
            "Cosine of the SAE's own decoder row with C_i, the row that fits best; mean over live latents: all estimates are of C",
            low=-1.0,
            high=1.0,
        ),
        Metric("density", "Share of tokens on which a live latent fires", unit="share", low=0.0, high=1.0),
        Metric("live_share", "Share of latents that fire often enough in both halves", unit="share", low=0.0, high=1.0),
        Metric("sink_share", "Share of ordinary tokens left out as sinks", unit="share", low=0.0, high=1.0),
        Metric(
            "two_sided",
            "Share of missing features whose opposite is missing, too: variance without a sign, or latents that fire for either of two features",
            unit="share",
            low=0.0,
            high=1.0,
        ),
        _share(
            "injected_rise",
            "Mean rise of an estimate (`of=`) on latents that were made to hedge `share` of their row; less than that where they hedged before, since squares add",
        ),
        _share(
            "random_sign_rise",
            "The same where the added features have a random sign, and nothing is hedged",
            chance=0.0,
        ),
        _probability(
            "injected_auc",
            "How often an estimate (`of=`) is higher for a latent that was made to hedge `share` of its row than for another that might have been, or (`than=live`) for any other, or (`than=before`) than for the same latents before, or (`than=itself`) than for itself before",
        ),
        _probability("random_sign_auc", "The same where the added features have a random sign, and nothing is hedged"),
        Metric(
            "repeatability",
            "Rank correlation of an estimate (`of=`) over latents between two halves of the documents, each estimated by itself, with half the tokens",
            low=-1.0,
            high=1.0,
            chance=0.0,
        ),
        Metric("doubts", "How many reasons there are to mistrust this estimate; they are named in the record", low=0.0),
    )

    @dataclass(frozen=True)
    class Config(TextConfig):
        """How much is read, and how closely it is looked at."""

        n_batches: int = 64
        """Batches of text."""
        min_firings: int = 50
        """A latent is measured that fires on so many tokens of each half of the documents."""
        sink: float = 3.0
        """A token is left out whose norm is above so many times the median."""
        n_atoms: int = 384
        """Clusters of residuals where missing features are looked for, beside the latents' own directions."""
        pairs: int = 512
        """Of random signs, in the sketch of the second moment; eight batches of as many."""
        groups: int = 8
        """Groups of documents for the standard error."""
        inject: float = 0.3
        """Share of a row that latents are made to hedge as a control; 0 for no control of any kind, and no look at halves of the text."""
        directions: int = 16
        """Latents whose directions are told, those that hedge most."""
        slice_limit: int = 2_000
        """Latents are reported one by one for SAEs of at most so many."""

        def __post_init__(self) -> None:
            super().__post_init__()
            at_least(
                self, n_batches=1, min_firings=10, sink=1, n_atoms=1, pairs=8, groups=2, directions=0, slice_limit=0
            )
            if not 0 <= self.inject < 1:
                raise ValueError(f"'inject' is a share from 0 to below 1, not {self.inject}")

    def run(self, ctx: EvalContext, cfg: Config) -> Iterator[Score]:
        """Measure one SAE, and the prefixes of a Matryoshka SAE, each with its own residual.

        Raises:
            CannotMeasure: The text is a single document or too short, or the SAE leaves nothing over.
        """
        from hedgebench.activations import check_units
        from hedgebench.latent_sample import gather, live, restricted

        check_units(ctx.sae)
        width = len(ctx.sae.W_dec)
        sample = gather(ctx.sae, ctx.activations(*cfg.text), ctx.generator, cfg.sink)
        alive = live(sample, cfg.min_firings)
        if len(alive) < LEAST:
            raise CannotMeasure(
                f"{len(alive)} of {width} latents fire on {cfg.min_firings} tokens of each half of the text, and {LEAST} must: give more text (n_batches)"
            )
        whole = measure(restricted(sample, alive), ctx.generator, cfg)
        errors = standard_errors(whole, ctx.generator, cfg)
        ctx.progress(0.3)
        checked = [*controls(whole, ctx, cfg), *repeatability(whole, ctx, cfg)] if cfg.inject else None
        named = list(directions(whole, alive, ctx, cfg))
        if checked is not None:
            checked += nothing_owed(whole, alive, ctx, cfg)
        reasons = doubts(whole, alive, width, errors, checked)
        ctx.details["eval_result_unstructured"]["doubts"] = reasons
        scores = [
            *totals(whole, errors=errors),
            *(checked or ()),
            Score("doubts", len(reasons)),
            Score("live_share", len(alive) / width, n=width),
            Score("sink_share", sample.sink_share, n=sample.n_tokens),
            *weights(ctx.sae),
            *one_by_one(whole, alive, ctx.sae, cfg, errors),
            *named,
        ]
        yield from sorted(scores, key=_place)
        yield from self._prefixes(sample, alive, ctx, cfg)
        notice.warning("%s: hedging is an estimate without a calibrated level: rank no SAEs by it", ctx.checkpoint.name)
        if width > cfg.slice_limit:
            notice.warning("%s: %d latents: not told one by one (slice_limit)", ctx.checkpoint.name, width)
        for reason in reasons:
            notice.warning("%s: %s", ctx.checkpoint.name, reason)

    def _prefixes(self, sample: LatentSample, alive: Tensor, ctx: EvalContext, cfg: Config) -> Iterator[Score]:
        """Of a Matryoshka SAE, each with its own residual; one that cannot be measured is left blank."""
        from hedgebench.latent_sample import restricted

        for prefix in (p for p in ctx.checkpoint.prefixes if p < len(ctx.sae.W_dec)):
            some = alive[alive < prefix]
            try:
                if len(some) < LEAST:
                    raise CannotMeasure(f"{len(some)} of its latents fire often enough, and {LEAST} must")
                yield from totals(measure(restricted(sample, some), ctx.generator, cfg), "prefix", str(prefix))
            except CannotMeasure as why:
                ctx.leave_blank(f"prefix {prefix}", str(why))


def _place(score: Score) -> int:
    """What is to be seen first: the estimate, and beside it what it reads where nothing is owed, and what it makes of known hedging and of random signs on this text."""
    one = score.metric, score.params.get("of", "hedging"), score.slice_by
    first = [(metric, "hedging", "all") for metric in HEADLINE]
    return first.index(one) if one in first and "than" not in score.params else len(first)
