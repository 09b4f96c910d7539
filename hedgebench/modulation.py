"""How the residual's second and third moments follow each latent: residual second-moment regression (SMR), and what tells hedging from mere variance.

At a least-squares optimum the residual r = x - f C has mean 0 whatever fires, also where a latent's row mixes in a feature that the SAE lacks. But that feature is there on
some tokens where the latent fires and not on others, so that r's variance along it follows the latent. With phi_i the weights of the regression on f (`LatentRegression.weights`;
coefficients are phi.T @ y), N_i = sum_a phi_ai r_a r_a^T [d, d] are the coefficients of r r^T on latent i: a Breusch-Pagan regression for matrices. Norms of N_i are products of
two halves A and B of the tokens, split by document: <N_i^A, N_i^B> has no part from the noise of either, and may be negative.

A closed form: f binary, an outside feature along d1, binary, of size 1, there with probability q1 where f fires and q0 where not. Then C = d0 + h d1, h = q1 - q0, and
N = h (1 - q0 - q1) d1 d1^T. **It is blind where q0 + q1 = 1.** It does not tell what a latent hedges from what it merely modulates: a feature of random sign is in no row,
and gives N = h d1 d1^T.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hedgebench.latent_regression import LatentRegression

PAIRS = 512
_ROWS = 4096
"""Tokens that are worked on at a time."""
_ENTRIES = 2**25
"""Of what is made for all tokens at a time: 256 MB in float64."""
_EXTRA, _STEPS = 8, 4
"""Of the block Lanczos iteration: columns beside those that are wanted, and products."""


class Modulation(NamedTuple):
    """How the residual's covariance follows each of m latents; [m], float64, each a product of two halves and so of either sign."""

    squared: Tensor
    """n_i^2 = |N_i|^2 less its isotropic part, which noise has that is louder in all directions alike."""
    isotropic: Tensor
    """tr(N_i^A) tr(N_i^B) / d, that part."""
    consistent: Tensor | None
    """|N'_i w_i|^2, N'_i = N_i - tr(N_i) / d, w_i = C_i / |C_i|: what is modulated along a direction counts as far as the latent's row has it, too, as one that is hedged does.
    The closed form: (h (1 - q0 - q1))^2 (g^2 (1 - 2 / d) + 1 / d^2), g = h / sqrt(1 + h^2), and g = 0 for a random sign. None where it was not asked for."""


class Directions(NamedTuple):
    """Leading eigenvectors of N_i for l latents, from half A alone."""

    vectors: Tensor
    """[l, k, d], float64, unit, by descending |eigenvalue|; their signs mean nothing."""
    values: Tensor
    """[l, k], float64: the eigenvalues. They are too large: noise has leading directions, too."""
    validated: Tensor
    """[l, k], float64: e^T N_i^B e, what half B says of the same directions; about 0 for noise."""


def modulation(
    halves: tuple[LatentRegression, LatentRegression],
    residuals: tuple[Tensor, Tensor],
    rows: Tensor,
    generator: torch.Generator,
    pairs: int = PAIRS,
    consistent: bool = True,
) -> Modulation:
    """Norms of N_i, from sketches: with u_l, v_l of random signs, <N^A, N^B> is the mean of (u_l^T N^A v_l)(u_l^T N^B v_l), and those are coefficients of (u_l . r)(v_l . r).

    For an N of rank one the sketch's relative error is sqrt(8 / pairs) of the squared norm; `moment_norms` has none. Time: n (d + L0) + m^2
    for each pair; n m (d + L0) + m^3 for `consistent`. Memory: blocks of 256 MB.

    Args:
        halves: Regressions on the latents' activations in the two halves.
        residuals: [n_A, d] and [n_B, d], of the regression on both halves together.
        rows: [m, d], its coefficients C.
        generator: On the CPU.
        pairs: Of random signs.
        consistent: Whether to compute that, too: it takes the weights of all m latents, dear where they come by conjugate gradients.
    """
    import torch

    d = rows.shape[1]
    signs = (torch.randint(2, (2, pairs, d), generator=generator) * 2 - 1).to(residuals[0])
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for u, v in zip(*(side.split(max(1, _ENTRIES // max(map(len, residuals)))) for side in signs), strict=True):
        first, second = (half.coefficients((r @ u.T) * (r @ v.T)) for half, r in zip(halves, residuals, strict=True))
        total += (first * second).sum(dim=1)
    traces = [half.coefficients(r.square().sum(dim=1, keepdim=True)) for half, r in zip(halves, residuals, strict=True)]
    isotropic = (traces[0] * traces[1])[:, 0] / d
    along = _along_rows(halves, residuals, rows, traces) if consistent else None
    return Modulation(total / pairs - isotropic, isotropic, along)


def shuffled(residuals: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The residuals of each half in another order, at random, the generator on the CPU: the null of `modulation`, of which noise about 0 is left."""
    import torch

    first, second = (r[torch.randperm(len(r), generator=generator).to(r.device)] for r in residuals)
    return first, second


def flipped(residuals: tuple[Tensor, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The residuals, each with a sign at random, the generator on the CPU: the null of odd moments, which leaves the even ones as they are.

    Where the variance follows a latent, so does the noise of the third moment, and shuffling, which ends both, leaves too little of it.
    """
    import torch

    signs = [torch.randint(2, (len(r), 1), generator=generator) * 2 - 1 for r in residuals]
    first, second = (r * sign.to(r) for r, sign in zip(residuals, signs, strict=True))
    return first, second


def shares(squared: Tensor, spike: float, rows: Tensor) -> Tensor:
    """sqrt(max(0, n_i^2)) / (spike |C_i|), [m]: with the spikes' size (`atoms.spike_size`), the share of a row that is hedged, were all modulation hedging.

    In the closed form |h| |1 - q0 - q1| sqrt(1 - 1 / d) / sqrt(1 + h^2). Not to be compared across SAEs, whose spikes differ.
    """
    found: Tensor = squared.clamp(min=0).sqrt() / (spike * rows.double().norm(dim=1))
    return found


def moment_norms(r_a: Tensor, r_b: Tensor, phi_a: Tensor, phi_b: Tensor, power: int, block: int = _ROWS) -> Tensor:
    """<T_i^A, T_i^B>, [l], float64, exactly, with T_i = sum_a phi_ai r_a^(x power), the coefficient on latent i of the tensor power of r: sum_ab phi_ai phi_bi (r_a . r_b)^power.

    Of power 2 T_i is N_i, and this less the product of traces over d is `Modulation.squared`. Power 3, the third moment, is odd: a feature whose sign is random leaves it at 0, however much
    its variance follows the latent. In the closed form T = (mu3(q1) - mu3(q0)) d1 (x) d1 (x) d1, mu3(q) = q (1 - q)(1 - 2 q), so this is (mu3(q1) - mu3(q0))^2, which is
    **blind where 1 - 3 (q0 + q1) + 2 (q0^2 + q0 q1 + q1^2) = 0**, as at q0 = 0, q1 = 1/2, and not where power 2 is.

    Time grows as n_A n_B (d + l), in the residuals' type; memory as block^2.

    Args:
        r_a: [n_A, d], residuals of one half.
        r_b: [n_B, d], of the other.
        phi_a: [n_A, l], `LatentRegression.weights` of the one.
        phi_b: [n_B, l], of the other.
        power: Such as 2 or 3.
        block: Tokens of each half at a time.
    """
    import torch

    total = torch.zeros(phi_a.shape[1], dtype=torch.float64, device=r_a.device)
    phi_a, phi_b = phi_a.to(r_a), phi_b.to(r_b)
    for r, phi in zip(r_a.split(block), phi_a.split(block), strict=True):
        reached = torch.zeros_like(phi)
        for other, weights in zip(r_b.split(block), phi_b.split(block), strict=True):
            reached += (r @ other.T).pow_(power) @ weights
        total += (phi * reached).sum(dim=0, dtype=torch.float64)
    return total


def leading_directions(
    residuals: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
    k: int,
    generator: torch.Generator,
    exact: bool = False,
) -> Directions:
    """The k leading eigenvectors of N_i^A for each latent, and whether N_i^B has them, too. With `shuffled` residuals it is the null spectrum.

    By block Lanczos, which takes products of N with a few vectors only (time 36 n (k + 8) d for each latent); or, where d is small or it is asked for, from N itself (2 n d^2 + d^3).

    Args:
        residuals: [n_A, d] and [n_B, d].
        weights: [n_A, l] and [n_B, l], `LatentRegression.weights` of the two halves.
        k: At most d.
        generator: On the CPU; draws where the iteration begins.
        exact: Form N.
    """
    import torch

    (r, other), (phi, phi_other) = residuals, weights
    d, columns = r.shape[1], k + _EXTRA
    form = exact or d <= (_STEPS + 1) * columns
    at_once = max(1, 2048 // (d if form else columns))
    found = []
    for own, its in zip(phi.split(at_once, dim=1), phi_other.split(at_once, dim=1), strict=True):
        shape = own.shape[1], d, columns
        start = torch.eye(d).expand(shape[0], d, d) if form else torch.randn(shape, generator=generator)
        basis = start.double().to(r.device)
        if not form:
            basis = _krylov(r, own, basis)
        small = basis.mT @ _times(r, own, basis)
        values, turns = torch.linalg.eigh((small + small.mT) / 2)
        first = values.abs().argsort(dim=1, descending=True)[:, :k]
        vectors = (basis @ turns).gather(2, first[:, None].expand(-1, d, -1))
        validated = (vectors * _times(other, its, vectors)).sum(dim=1)
        found.append((vectors.mT, values.gather(1, first), validated))
    return Directions(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _krylov(r: Tensor, phi: Tensor, start: Tensor) -> Tensor:
    """An orthonormal basis [l, d, (_STEPS + 1) c] of start [l, d, c], N start, N^2 start, ..."""
    import torch

    basis = torch.linalg.qr(start).Q
    last = basis
    for _ in range(_STEPS):
        new = _times(r, phi, last)
        last = torch.linalg.qr(new - basis @ (basis.mT @ new)).Q
        basis = torch.cat([basis, last], dim=2)
    whole: Tensor = torch.linalg.qr(basis).Q  # again, for a block that was all but in the span of those before
    return whole


def _times(r: Tensor, phi: Tensor, vectors: Tensor) -> Tensor:
    """N_i times vectors [l, d, c] for each of l latents, float64, where N_i = sum_a phi_ai r_a r_a^T; no N_i is formed."""
    import torch

    l, d, c = vectors.shape  # noqa: E741
    side_by_side = vectors.transpose(0, 1).reshape(d, l * c).to(r)
    total = torch.zeros(d, l * c, dtype=torch.float64, device=r.device)
    for own, weights in zip(r.split(_ROWS), phi.to(r).split(_ROWS), strict=True):
        along = (own @ side_by_side).view(-1, l, c) * weights[:, :, None]
        total += own.T @ along.flatten(1)
    return total.view(d, l, c).permute(1, 0, 2)


def _along_rows(
    halves: tuple[LatentRegression, LatentRegression],
    residuals: tuple[Tensor, Tensor],
    rows: Tensor,
    traces: list[Tensor],
) -> Tensor:
    """<N'_i^A w_i, N'_i^B w_i>, [m]: see `Modulation.consistent`."""
    import torch

    d = rows.shape[1]
    units = torch.nn.functional.normalize(rows.double(), dim=1)
    found = []
    for own in torch.arange(len(rows), device=rows.device).split(max(1, _ENTRIES // max(map(len, residuals)))):
        w = units[own]
        first, second = (
            _times(r, half.weights(own), w[:, :, None])[:, :, 0] - trace[own] / d * w
            for half, r, trace in zip(halves, residuals, traces, strict=True)
        )
        found.append((first * second).sum(dim=1))
    return torch.cat(found)
