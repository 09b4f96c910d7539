"""One training step of many SAEs of equal shape at once: SAELens's losses, and their gradients written out.

Per SAE, with x a sample, a the active latents' pre-activations and D the decoder (SAELens's classes of the same names):

    a = act((x - b_dec) W_enc + b_enc)        out_m = b_dec + the latents of level m, a[:w_m] D[:w_m]        e_m = out_m - x
    loss = sum over levels m of multiplier_m * mean over samples of (|e_m|^2 or |e_m|)
         + rescale * (l1 * mean of sum_j a_j |D_j|  or  the auxiliary loss for dead latents)

The TopK classes choose latents by a_j |D_j|, and the reconstruction then divides by |D_j| again, so that D enters it as above. Gradients are written
out because everything else costs more than they do at this size: autograd would keep and reread one error per sample, level and SAE several times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hedgebench.toy.recipes import Recipe

_RATIO_DECAY = 0.98
"""As in `hedgebench.training.losses.LossRatio`."""
_THRESHOLD_RATE = 0.01
"""SAELens's `topk_threshold_lr`."""


class Weights(NamedTuple):
    """Weights, or their gradients, of R SAEs."""

    W_enc: Tensor
    """[R, d_in, width]."""
    W_dec: Tensor
    """[R, width, d_in]."""
    b_enc: Tensor
    """[R, 1, width]."""
    b_dec: Tensor
    """[R, 1, d_in]."""

    @classmethod
    def of(cls, flat: Tensor, d_in: int, width: int) -> Weights:
        """Views of a flat [R, 2 * d_in * width + width + d_in]: one Adam step and one norm are then for all weights at once."""
        R, size = len(flat), d_in * width
        enc, dec, b_enc, b_dec = flat.split([size, size, width, d_in], dim=1)
        return cls(enc.view(R, d_in, width), dec.view(R, width, d_in), b_enc.view(R, 1, width), b_dec.view(R, 1, d_in))


class Batch(NamedTuple):
    """Samples of one step."""

    x: Tensor
    """[R, B, d_in]."""
    share: Tensor | float
    """[R, B, 1], each sample's share of the mean over the batch, sum 1; or 1 / B."""


class Equations:
    """The gradients of SAEs of one shape, and what their losses remember from step to step."""

    def __init__(self, recipes: Sequence[Recipe], d_in: int, device: str, dtype: torch.dtype) -> None:
        """For these recipes, one per SAE: of one architecture family, width and levels; all else may differ."""
        first = recipes[0]
        self.levels, self.width, self.d_in = first.all_levels, first.width, d_in
        self.tied, self.top_k, self.over_batch = (
            first.architecture == "tied",
            "topk" in first.architecture,
            "batchtopk" in first.architecture,
        )

        def column(values: Sequence[float], kind: torch.dtype = dtype) -> Tensor:
            return torch.tensor(values, dtype=kind, device=device).view(-1, 1, 1)

        self.l1 = column([r.l1 for r in recipes])
        self.any_l1 = any(r.l1 for r in recipes)
        self.multipliers = [column(m) for m in zip(*(r.multipliers for r in recipes), strict=True)]
        self.attached = column([not r.detach for r in recipes])
        self.with_b_dec = column([r.decoder_bias and not self.tied for r in recipes])
        never = max(r.steps for r in recipes) + 1
        self.l2_from = column([{"mse": never, "l2": 0}.get(r.loss, r.schedule.switch_step) for r in recipes])
        self.frozen_from = column([r.schedule.switch_step for r in recipes])
        self.rescales = column([r.loss != "mse" and r.rescale_with_loss and not self.tied for r in recipes]).bool()
        self.any_rescales = bool(self.rescales.any())
        self.first_l2, self.last_mse = int(self.l2_from.min()), int(self.l2_from.max())
        self.k = column([int(r.k * r.batch_size) if self.over_batch else int(r.k) for r in recipes], torch.long)
        self.dead_after = column([r.dead_after for r in recipes], torch.long)
        self.ratio_of = torch.zeros(2, len(recipes), 1, 1, dtype=torch.float64, device=device)
        """Running means of l2 and mse."""
        self.loss_rescale = torch.ones(len(recipes), 1, 1, dtype=torch.float64, device=device)
        self.threshold = torch.zeros(len(recipes), dtype=torch.float64, device=device)
        self.silent_for = torch.zeros(len(recipes), 1, self.width, dtype=torch.long, device=device)

    def gradients(self, weights: Weights, out: Weights, batch: Batch, step: int) -> None:
        """Write the gradients of all weights at one step (from 0) into `out`, unclipped."""
        W_enc, W_dec, b_enc, b_dec = weights
        x, share = batch
        pre = torch.baddbmm(b_enc - b_dec @ W_enc, x, W_enc)
        norms = W_dec.norm(dim=2).unsqueeze(1)
        active = self._active(pre, norms)
        acts = pre * active
        errors = self._errors(acts, W_dec, b_dec - x)

        dead = self.silent_for > self.dead_after if self.top_k else None
        if self.top_k:
            self._remember_firing(acts, norms, share)
        is_l2 = self.l2_from <= step if step >= self.first_l2 else None
        lengths = [e.norm(dim=2, keepdim=True) if is_l2 is not None else None for e in errors]
        rescale = self._rescale(errors[-1], lengths[-1], share, is_l2, step)

        grad_pre = torch.zeros_like(pre)
        if dead is not None and bool(dead.any()):
            self._auxiliary(grad_pre, out, pre * norms, pre, W_dec, errors[-1], dead, rescale, share)
        else:
            out.W_dec.zero_()

        back: Tensor | None = None
        bounds = (0, *self.levels)
        grad_acts = torch.empty_like(pre)
        for m in reversed(range(len(errors))):
            per_sample = self._slope(lengths[m], is_l2) * (share * self.multipliers[m])
            here = errors[m] * per_sample
            back = here if back is None else here.addcmul_(back, self.attached)
            own = slice(bounds[m], bounds[m + 1])
            out.W_dec[:, own] += acts[:, :, own].mT @ back
            grad_acts[:, :, own] = back @ W_dec[:, own].mT
        assert back is not None
        if self.any_l1:
            weight = rescale * self.l1
            grad_acts += weight * norms * share
            total = (acts * share).sum(dim=1).unsqueeze(2)  # [R, width, 1]
            out.W_dec.add_(weight * total * torch.nan_to_num(W_dec / W_dec.norm(dim=2, keepdim=True)))
        grad_pre += grad_acts * active

        torch.sum(grad_pre, dim=1, keepdim=True, out=out.b_enc)
        out.W_enc.copy_(x.mT @ grad_pre)
        out.W_enc.sub_(b_dec.mT @ out.b_enc)
        out.b_dec.copy_(back.sum(dim=1, keepdim=True) - out.b_enc @ W_enc.mT)
        out.b_dec.mul_(self.with_b_dec)
        if self.tied:
            self._tie(out, W_dec)

    def _active(self, pre: Tensor, norms: Tensor) -> Tensor:
        """[R, B, width] bool: which latents are on."""
        positive = pre > 0
        if not self.top_k:
            return positive
        strength = pre * norms
        if self.over_batch:
            chosen = largest(strength.relu().flatten(1), self.k.squeeze(-1)).view(pre.shape)
        else:
            chosen = largest(strength, self.k)
        return positive & chosen

    def _errors(self, acts: Tensor, W_dec: Tensor, error: Tensor) -> list[Tensor]:
        """[R, B, d_in] per level, innermost first."""
        errors, start = [], 0
        for width in self.levels:
            error = torch.baddbmm(error, acts[:, :, start:width], W_dec[:, start:width])
            errors.append(error)
            start = width
        return errors

    def _slope(self, length: Tensor | None, is_l2: Tensor | None) -> Tensor | float:
        """What a sample's error is multiplied by in the gradient of its loss: 2, or 1 / its norm (0 at zero error)."""
        if length is None or is_l2 is None:
            return 2.0
        return torch.where(is_l2, torch.where(length > 0, 1 / length, 0.0), 2.0)

    def _rescale(
        self, error: Tensor, length: Tensor | None, share: Tensor | float, is_l2: Tensor | None, step: int
    ) -> Tensor:
        """[R, 1, 1]: the factor of the other loss terms, after the running means have seen this batch (`LossRatio`)."""
        one = torch.ones_like(self.l1)
        if not self.any_rescales:
            return one
        seen = self.rescales & ((step < self.frozen_from) | (self.ratio_of[1] == 0))
        if bool(seen.any()):
            length = error.norm(dim=2, keepdim=True) if length is None else length
            now = torch.stack([(length * share).sum(dim=(1, 2)), (length.square() * share).sum(dim=(1, 2))])
            self.ratio_of += seen * (1 - _RATIO_DECAY) * (now.view_as(self.ratio_of) - self.ratio_of)
        if is_l2 is None:
            return one
        l2, mse = self.ratio_of
        applied = self.rescales & is_l2
        self.loss_rescale = torch.where(applied, torch.where(mse > 0, l2 / mse, 1.0), self.loss_rescale)
        return torch.where(applied, self.loss_rescale.to(one.dtype), one)

    def _remember_firing(self, acts: Tensor, norms: Tensor, share: Tensor | float) -> None:
        """Steps since each latent fired, and BatchTopK's running threshold."""
        on = acts > 0
        fired = (on & (share > 0) if isinstance(share, Tensor) else on).any(dim=1, keepdim=True)
        self.silent_for += 1
        self.silent_for.masked_fill_(fired, 0)
        if self.over_batch:
            least = torch.where(on, acts * norms, torch.inf).flatten(1).amin(dim=1).double()
            moved = (1 - _THRESHOLD_RATE) * self.threshold + _THRESHOLD_RATE * least
            self.threshold = torch.where(least < torch.inf, moved, self.threshold)

    def _auxiliary(
        self,
        grad_pre: Tensor,
        out: Weights,
        strength: Tensor,
        pre: Tensor,
        W_dec: Tensor,
        error: Tensor,
        dead: Tensor,
        rescale: Tensor,
        share: Tensor | float,
    ) -> None:
        """The loss by which dead latents learn what is left over: SAELens's `calculate_topk_aux_loss`; its gradients begin `grad_pre` and `out.W_dec`."""
        count = dead.sum(dim=2, keepdim=True)
        most = max(self.d_in // 2, 1)
        weight = 2 * rescale * (count / most).clamp(max=1)
        chosen = dead & largest(torch.where(dead, strength, -torch.inf), count.clamp(max=most))
        acts = pre * chosen
        error = torch.baddbmm(error, acts, W_dec) * (weight * share)  # what is left over is a constant here
        torch.bmm(acts.mT, error, out=out.W_dec)
        grad_pre.add_((error @ W_dec.mT) * chosen)

    def _tie(self, out: Weights, rows: Tensor) -> None:
        """One unit row per latent, read and written: both gradients are its own, and only what turns it counts."""
        out.W_dec.add_(out.W_enc.mT)
        out.W_dec.sub_(rows * (out.W_dec * rows).sum(dim=2, keepdim=True))
        out.W_enc.zero_()
        out.b_enc.zero_()

    def after_step(self, weights: Weights) -> None:
        """What holds for the weights whatever the optimiser did."""
        if self.tied:
            weights.W_dec.div_(weights.W_dec.norm(dim=2, keepdim=True))
            weights.W_enc.copy_(weights.W_dec.mT)


def largest(values: Tensor, k: Tensor) -> Tensor:
    """Where the k largest values lie.

    Args:
        values: [..., n].
        k: [..., 1], from 0 to n: how many, of each row.

    Returns:
        [..., n] bool. Ties are settled as `torch.topk` settles them.
    """
    most = int(k.max())
    indices = values.topk(most, dim=-1).indices
    wanted = torch.arange(most, device=values.device) < k
    found: Tensor = torch.zeros_like(values, dtype=torch.bool).scatter_(-1, indices, wanted.expand(indices.shape))
    return found
