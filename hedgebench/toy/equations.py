"""One training step of many SAEs of equal shape at once: SAELens's losses, and their gradients written out.

Per SAE, with x a sample, a the active latents' pre-activations and D the decoder (SAELens's classes of the same names):

    a = act((x - b_dec) W_enc + b_enc)        out_m = b_dec + the latents of level m, a[:w_m] D[:w_m]        e_m = out_m - x
    loss = sum over levels m of multiplier_m * mean over samples of (|e_m|^2 or |e_m|)
         + rescale * (l1 * mean of sum_j a_j |D_j|  or  the auxiliary loss for dead latents)

The TopK classes choose latents by a_j |D_j|, and the reconstruction then divides by |D_j| again, so that D enters it as above.

Written for speed, since autograd would keep and reread one error per sample, level and SAE several times: latents come before samples in memory
([R, width, B]), so that SAEs on the same samples form one matrix, and b_dec is the decoder's first row, on for every sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from hedgebench.toy.recipes import Recipe
from hedgebench.toy.weights import Batch, Weights
from hedgebench.training.losses import LossRatio

_RATIO_DECAY = LossRatio().decay
_THRESHOLD_RATE = 0.01
"""SAELens's `topk_threshold_lr`."""


class Equations:
    """The gradients of SAEs of one shape, and what their losses remember from step to step."""

    def __init__(self, recipes: Sequence[Recipe], d_in: int, device: str, dtype: torch.dtype) -> None:
        """For these recipes, one per SAE: of one architecture family, width and levels; all else may differ."""
        first = recipes[0]
        self.width, self.d_in = first.width, d_in
        self.tied, self.top_k, self.over_batch = (part in first.architecture for part in ("tied", "topk", "batchtopk"))
        self.levels = [slice(a, b) for a, b in itertools.pairwise((0, *first.all_levels))]
        """Each level's own latents."""

        def column(values: Sequence[float], kind: torch.dtype = dtype) -> Tensor:
            return torch.tensor(values, dtype=kind, device=device).view(-1, 1, 1)

        self.l1 = column([r.l1 for r in recipes])
        self.any_l1 = any(r.l1 for r in recipes)
        self.multipliers = torch.stack([column(m) for m in zip(*(r.multipliers for r in recipes), strict=True)])
        self.attached, self.any_detached = column([not r.detach for r in recipes]), any(r.detach for r in recipes)
        self.with_b_dec = column([r.decoder_bias and not self.tied for r in recipes])
        switches = [r.schedule.switch_step for r in recipes]
        never = max(r.steps for r in recipes) + 1
        l2_from = [{"mse": never, "l2": 0}.get(r.loss, at) for r, at in zip(recipes, switches, strict=True)]
        self.l2_from, self.first_l2 = column(l2_from), min(l2_from)
        self.frozen_from = column(switches)
        self.rescales = column([r.loss != "mse" and r.rescale_with_loss and not self.tied for r in recipes], torch.bool)
        self.any_rescales = bool(self.rescales.any())
        self.k = [r.k for r in recipes]
        self.dead_after = column([r.dead_after for r in recipes], torch.long)
        self.ratio_of = torch.zeros(2, len(recipes), 1, 1, dtype=torch.float64, device=device)
        """Running means of l2 and mse."""
        self.loss_rescale = torch.ones(len(recipes), 1, 1, dtype=torch.float64, device=device)
        self.threshold = torch.zeros(len(recipes), 1, 1, dtype=torch.float64, device=device)
        self.silent_for = torch.zeros(len(recipes), self.width, 1, dtype=torch.long, device=device)
        self.pre = torch.empty(0, device=device, dtype=dtype)

    def gradients(self, weights: Weights, out: Weights, batch: Batch, step: int) -> None:
        """Write the gradients of all weights at one step (from 0) into `out`, unclipped."""
        enc, dec, b_enc = weights
        (x, share), rows = batch, dec[:, 1:]
        streams, size = len(x), x.shape[1]
        norms = rows.norm(dim=2, keepdim=True)
        if self.pre.shape[2:] != (size,):
            self._make_room(len(enc), size, x)
        self.pre.copy_(b_enc - enc @ dec[:, :1].mT)
        self.pre.view(streams, -1, size).baddbmm_(enc.reshape(streams, -1, self.d_in), x.mT)
        acts = self._switch_on(norms)
        errors = self._find_errors(dec, x)

        dead = self.silent_for > self.dead_after
        self._remember_firing(acts, norms, share)
        is_l2 = self.l2_from <= step if step >= self.first_l2 else None
        lengths = None
        if is_l2 is not None:
            lengths = torch.stack([torch.linalg.vector_norm(error, dim=2) for error in errors]).unsqueeze(2)
        rescale = self._rescale(errors[-1], None if lengths is None else lengths[-1], share, is_l2, step)
        auxiliary = None
        if self.top_k and bool(dead.any()):
            auxiliary = self._auxiliary(rows, norms, errors[-1], dead, rescale, share)

        self._through_levels(dec, out.dec, self._slopes(lengths, is_l2, share))
        penalty = None
        if self.any_l1:
            weight = rescale * self.l1
            penalty = weight * norms * share
            mean = acts @ share.mT if isinstance(share, Tensor) else acts.sum(dim=2, keepdim=True) * share
            out.dec[:, 1:] += weight * mean * (rows / norms).nan_to_num()
        grad = self._gated(acts, penalty)
        if auxiliary is not None:
            grad += auxiliary[0]
            out.dec[:, 1:] += auxiliary[1]

        out.enc.copy_(torch.bmm(grad.view(streams, -1, size), x).view_as(enc))
        torch.sum(grad, dim=2, keepdim=True, out=out.b_enc)
        out.enc.sub_(out.b_enc * dec[:, :1])  # the encoder reads x - b_dec
        out.dec[:, :1] -= out.b_enc.mT @ enc
        out.dec[:, :1] *= self.with_b_dec
        if self.tied:
            _tie(out, rows)

    def _make_room(self, runs: int, size: int, like: Tensor) -> None:
        """What every step writes anew: taking so much memory from the system costs more than to fill it."""
        self.pre = like.new_empty(runs, self.width, size)
        self.gate = torch.empty_like(self.pre)
        self.on = like.new_ones(runs, 1 + self.width, size)
        """The activations, after a row of ones for the bias."""
        self.errors = [like.new_empty(runs, size, self.d_in) for _ in self.levels]
        self.grads = [like.new_empty(runs, own.stop - own.start, size) for own in self.levels]

    def _switch_on(self, norms: Tensor) -> Tensor:
        """[R, width, B]: the activations, a view of `self.on`."""
        acts = self.on[:, 1:]
        if not self.top_k:
            return torch.clamp_min(self.pre, 0, out=acts)
        strength = self.pre * norms
        if self.over_batch:
            counts = [int(k * strength.shape[2]) for k in self.k]
            chosen = largest(strength.relu().flatten(1), counts).view_as(strength)
        else:
            chosen = largest(strength.mT, [int(k) for k in self.k]).mT
        return torch.mul(self.pre, chosen, out=acts).clamp_min_(0)

    def _find_errors(self, dec: Tensor, x: Tensor) -> list[Tensor]:
        """[R, B, d_in] per level, innermost first."""
        first, acts = self.errors[0], self.on.mT
        first.view(len(x), -1, *x.shape[1:]).copy_(x.unsqueeze(1))
        inner = 1 + self.levels[0].stop  # with the bias
        first.baddbmm_(acts[:, :, :inner], dec[:, :inner], beta=-1)
        for before, error, own in zip(self.errors, self.errors[1:], self.levels[1:], strict=False):
            rows = slice(1 + own.start, 1 + own.stop)
            torch.baddbmm(before, acts[:, :, rows], dec[:, rows], out=error)
        return self.errors

    def _slopes(self, lengths: Tensor | None, is_l2: Tensor | None, share: Tensor | float) -> Tensor:
        """[levels, R, 1, B or 1]: what a sample's error is multiplied by in the gradient: 2, or 1 / its norm (0 at zero error), weighted."""
        weights = self.multipliers * share
        if lengths is None or is_l2 is None:
            return 2 * weights
        return torch.where(is_l2, torch.where(lengths > 0, 1 / lengths, 0.0), 2.0) * weights

    def _through_levels(self, dec: Tensor, grad_dec: Tensor, slopes: Tensor) -> None:
        """Gradients of all levels' losses: the activations' into `self.grads`, the decoder's into `grad_dec`. The errors are used up."""
        outer: Tensor | None = None
        for own, error, grad, slope in reversed(list(zip(self.levels, self.errors, self.grads, slopes, strict=True))):
            if outer is None:
                error *= slope.mT
            else:  # a latent is part of every larger level, unless levels are detached
                if self.any_detached:
                    outer *= self.attached
                torch.addcmul(outer, error, slope.mT, out=error)
            rows = slice(1 + own.start, 1 + own.stop)
            torch.bmm(dec[:, rows], error.mT, out=grad)
            rows = slice(rows.start if own.start else 0, rows.stop)  # the bias is of the innermost level
            # Assigned: into `out=`, which is no whole tensor, torch would multiply SAE by SAE.
            grad_dec[:, rows] = self.on[:, rows] @ error
            outer = error

    def _gated(self, acts: Tensor, penalty: Tensor | None) -> Tensor:
        """[R, width, B]: the gradients of the pre-activations, in their place."""
        torch.sign(acts, out=self.gate)
        for own, grad in zip(self.levels, self.grads, strict=True):
            if penalty is not None:
                grad += penalty[:, own]
            torch.mul(grad, self.gate[:, own], out=self.pre[:, own])
        return self.pre

    def _rescale(
        self, error: Tensor, length: Tensor | None, share: Tensor | float, is_l2: Tensor | None, step: int
    ) -> Tensor:
        """[R, 1, 1]: the factor of the other loss terms, after the running means have seen this batch (`LossRatio`)."""
        one = torch.ones_like(self.l1)
        if not self.any_rescales:
            return one
        seen = self.rescales & ((step < self.frozen_from) | (self.ratio_of[1] == 0))
        if bool(seen.any()):
            length = torch.linalg.vector_norm(error, dim=2).unsqueeze(1) if length is None else length
            now = torch.stack([(values * share).sum(dim=2, keepdim=True) for values in (length, length.square())])
            self.ratio_of += seen * (1 - _RATIO_DECAY) * (now - self.ratio_of)
        if is_l2 is None:
            return one
        l2, mse = self.ratio_of
        applied = self.rescales & is_l2
        self.loss_rescale = torch.where(applied, torch.where(mse > 0, l2 / mse, 1.0), self.loss_rescale)
        return torch.where(applied, self.loss_rescale.to(one.dtype), one)

    def _remember_firing(self, acts: Tensor, norms: Tensor, share: Tensor | float) -> None:
        """Steps since each latent fired, and BatchTopK's running threshold."""
        if not self.top_k:
            return
        on = acts > 0
        fired = (on & (share > 0) if isinstance(share, Tensor) else on).any(dim=2, keepdim=True)
        self.silent_for += 1
        self.silent_for.masked_fill_(fired, 0)
        if self.over_batch:
            least = torch.where(on, acts * norms, torch.inf).amin(dim=(1, 2), keepdim=True).double()
            moved = (1 - _THRESHOLD_RATE) * self.threshold + _THRESHOLD_RATE * least
            self.threshold = torch.where(least < torch.inf, moved, self.threshold)

    def _auxiliary(
        self,
        rows: Tensor,
        norms: Tensor,
        error: Tensor,
        dead: Tensor,
        rescale: Tensor,
        share: Tensor | float,
    ) -> tuple[Tensor, Tensor]:
        """Gradients, of pre-activations and decoder rows, of the loss by which dead latents learn what is left over.

        SAELens's `calculate_topk_aux_loss`: the d_in / 2 strongest of the dead latents, whatever their sign, should reconstruct minus the error.
        """
        count = dead.sum(dim=1, keepdim=True)
        most = max(self.d_in // 2, 1)
        weight = 2 * rescale * (count / most).clamp(max=1)
        strength = torch.where(dead, self.pre * norms, -torch.inf).mT
        chosen = dead & largest(strength, count.clamp(max=most).flatten().tolist()).mT
        acts = self.pre * chosen
        left = torch.baddbmm(error, acts.mT, rows)  # the error is a constant here
        return (rows @ left.mT) * chosen * weight * share, (acts * share @ left) * weight

    def after_step(self, weights: Weights) -> None:
        """What holds for the weights whatever the optimiser did."""
        if self.tied:
            rows = weights.dec[:, 1:]
            rows /= rows.norm(dim=2, keepdim=True)
            weights.enc.copy_(rows)


def _tie(out: Weights, rows: Tensor) -> None:
    """One unit row per latent, read and written: both gradients are its own, and only what turns it counts."""
    own = out.dec[:, 1:]
    own += out.enc
    own -= rows * (own * rows).sum(dim=2, keepdim=True)
    out.enc.zero_()
    out.b_enc.zero_()


def largest(values: Tensor, k: Sequence[int]) -> Tensor:
    """Where the k[i] largest values of each row in values[i] lie.

    Args:
        values: [R, ..., n].
        k: R numbers from 0 to n.

    Returns:
        [R, ..., n] bool. Ties are settled as `torch.topk` settles them.
    """
    most, equal = max(k), len(set(k)) == 1
    indices = values.topk(most, dim=-1, sorted=not equal).indices
    found = torch.zeros_like(values, dtype=torch.bool)
    if equal:
        return found.scatter_(-1, indices, True)
    counts = torch.tensor(k, device=values.device).view(-1, *[1] * (values.dim() - 1))
    wanted = torch.arange(most, device=values.device) < counts
    return found.scatter_(-1, indices, wanted.expand(indices.shape))
