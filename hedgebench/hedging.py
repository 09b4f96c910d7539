"""What latents of one SAE hedge, as far as activations alone tell: the parts put together, on a sample that is split by document. Pure functions on tensors.

Two halves of the documents never share noise: every squared norm is a product of what one says and what the other says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from hedgebench.latent_regression import LatentRegression
from hedgebench.latent_sample import LatentSample, rows_of
from hedgebench.modulation import Modulation, modulation
from hedgebench.sparse_growth import OWN, UNTOLD, Missing, find_missing, hedged_share, nearest_row, owed, untold
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BATCHES = 8
"""Of sketches, from whose differences the sketch's error is told."""
NOTHING = 1e-6
"""Share of the activations' variance that counts as nothing left over: the ridge leaves so much."""


class Fit(NamedTuple):
    """The best decoder for a sample's latents, on all tokens and on each half of the documents."""

    x: Tensor
    """[n, d]."""
    whole: LatentRegression
    halves: tuple[LatentRegression, LatentRegression]
    tokens: tuple[Tensor, Tensor]
    """The tokens of each half."""
    rows: Tensor
    """[m, d], float64: C, the coefficients of x on all tokens."""
    r: Tensor
    """[n, d], what they leave over."""

    @property
    def residuals(self) -> tuple[Tensor, Tensor]:
        """Of all tokens' fit, in each half."""
        first, second = (self.r[tokens] for tokens in self.tokens)
        return first, second


class Hedging(NamedTuple):
    """What m latents owe to features that are missing."""

    owed: Tensor
    """[m], float64, signed: the share of a row that is owed, as `sparse_growth.hedged_share` has it."""
    missing: Missing
    counted: Tensor
    """[K], bool: the features that count as missing; the others lie with a latent's row, which stands for them, or are told by latents together."""


def fit(sample: LatentSample) -> Fit:
    """Least squares of a sample's activations on its latents, all of which fire in both halves."""
    (first,), (second,) = ((sample.half == half).nonzero(as_tuple=True) for half in (False, True))
    whole = LatentRegression(sample.f)
    halves = LatentRegression(rows_of(sample.f, first)), LatentRegression(rows_of(sample.f, second))
    return Fit(sample.x, whole, halves, (first, second), *whole.fitted(sample.x))


def refit(fitted: Fit, x: Tensor) -> Fit:
    """The same latents on the same tokens, with other activations x [n, d]: no new factors."""
    rows, r = fitted.whole.fitted(x)
    return fitted._replace(x=x, rows=rows, r=r)


def hedging(fitted: Fit, generator: torch.Generator, n_atoms: int) -> Hedging:
    """Look for the features that latents lack, and for what their rows owe to these: see `hedgebench.sparse_growth`.

    Raises:
        CannotMeasure: The SAE leaves nothing over, or nothing sparse.
    """
    if float(fitted.r.square().sum()) <= NOTHING * float((fitted.x - fitted.x.mean(dim=0)).square().sum()):
        raise CannotMeasure("the SAE leaves nothing over: there is no missing feature to find")
    missing = find_missing(fitted.r, fitted.whole, generator, n_atoms)
    far = nearest_row(missing.atoms, fitted.rows) < OWN
    counted = far & (untold(missing.codes, fitted.whole) > UNTOLD)
    return Hedging(owed_share(fitted, missing, counted), missing, counted)


def owing_nothing(fitted: Fit, found: Hedging, generator: torch.Generator) -> Fit:
    """The same latents on activations whose missing features have a sign at random, all those of a token the same: their residual follows the latents as much, and no row owes anything. A null.

    What is missing is the residual with what rows owe given back. Signs on the residual itself would not do: of a feature that a latent hedges, what is too little where the feature is
    there, and too much where it is not, becomes two strengths of one feature, which the latent hedges as much.

    Args:
        fitted: The latents and the activations.
        found: What they owe.
        generator: On the CPU; draws the signs.
    """
    import torch

    codes, counted = found.missing.codes, found.counted
    own = owed(codes, fitted.r, fitted.whole)
    directions = own.directions[counted]
    mean = (codes[:, counted].mean(dim=0, dtype=torch.float64) @ directions).to(fitted.r)
    missing = fitted.r + mean + fitted.whole.explained(own.coefficients[:, counted] @ directions, fitted.r.dtype)
    signs = (torch.randint(2, (len(missing), 1), generator=generator) * 2 - 1).to(missing)
    return refit(fitted, fitted.x + (signs - 1) * missing)


def owed_share(fitted: Fit, missing: Missing, counted: Tensor) -> Tensor:
    """[m]: `Hedging.owed` for missing features that are given, whose `codes` are of the same tokens."""
    parts, rows = [], []
    for tokens, half in zip(fitted.tokens, fitted.halves, strict=True):
        coefficients, r = half.fitted(fitted.x[tokens])
        own = owed(missing.codes[tokens], r, half)
        parts.append(own.coefficients[:, counted] @ own.directions[counted])
        rows.append(coefficients)
    return hedged_share(parts[0], parts[1], (rows[0], rows[1]))


def hedging_of(owed: Tensor, consistent: Tensor) -> Tensor:
    """[m], signed: what latents hedge by two witnesses. The mean is that of `owed`; latents have of it as both say.

    The one witness finds features and solves for them; the other finds none and asks whether the residual varies more along what is in the row, and more where the latent fires. They
    are wrong about different latents. For one feature of coefficient h on the latent the one grows as h, the other as h², so that the cube root of their product grows as h.
    A latent for which either says nothing hedges nothing; where `owed` is negative, it stays (so that the mean is without bias where nothing is hedged).

    Args:
        owed: [m], of a row, signed (`Hedging.owed`).
        consistent: [m], |N_i w_i| / |C_i|, signed roots, in any unit (`modulation.Modulation.consistent`); NaN counts as 0.
    """
    both = (owed.clamp(min=0) * consistent.nan_to_num().clamp(min=0)).pow(1 / 3)
    if not float(both.sum()) > 0:
        return owed
    return both * (owed.clamp(min=0).sum() / both.sum()) + owed.clamp(max=0)


def sketched(
    fitted: Fit,
    residuals: tuple[Tensor, Tensor],
    generator: torch.Generator,
    pairs: int,
    consistent: bool = False,
) -> tuple[Modulation, Tensor]:
    """`modulation` of residuals, and the standard error [m] that the sketch leaves in its `squared`.

    Args:
        fitted: Of the latents.
        residuals: Those of the fit, or shuffled ones.
        generator: On the CPU.
        pairs: Of random signs, in all.
        consistent: Whether to compute that, too.
    """
    import torch

    each = max(1, pairs // BATCHES)
    found = [
        modulation(fitted.halves, residuals, fitted.rows, generator, each, consistent=consistent and batch == 0)
        for batch in range(BATCHES)
    ]
    squares = torch.stack([one.squared for one in found])
    return found[0]._replace(squared=squares.mean(dim=0)), squares.std(dim=0) / BATCHES**0.5


def signed_root(squared: Tensor) -> Tensor:
    """The root of what may be negative by noise, with its sign."""
    found: Tensor = squared.sign() * squared.abs().sqrt()
    return found


def jackknife(sample: LatentSample, statistic: Callable[[Tensor], Tensor], groups: int, generator: torch.Generator) -> Tensor:  # fmt: skip
    """The standard error [...] of a statistic, from leaving out one of some groups of documents at a time, each with as many documents of either half.

    Args:
        sample: Whose documents they are.
        statistic: From the tokens that are left, [r], int64, ascending, to numbers [...].
        groups: How many; at least 2.
        generator: On the CPU; deals the documents out.

    Raises:
        CannotMeasure: A half has fewer documents than there are groups.
    """
    import torch

    document = sample.document
    mixed = torch.randperm(int(document[-1]) + 1, generator=generator)
    second = torch.zeros(len(mixed), dtype=torch.bool)
    second[document[sample.half].cpu()] = True
    dealt = torch.empty_like(mixed)
    for half in (False, True):
        documents = mixed[second[mixed] == half]
        if len(documents) < groups:
            raise CannotMeasure(f"half of the text is {len(documents)} documents, and {groups} must be: give more text")
        dealt[documents] = torch.arange(len(documents)) % groups
    own = dealt.to(document.device)[document]
    found = torch.stack([statistic((own != group).nonzero()[:, 0]) for group in range(groups)])
    spread: Tensor = (found - found.mean(dim=0)).square().sum(dim=0)
    return (spread * (groups - 1) / groups).sqrt()
