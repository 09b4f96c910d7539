"""What core keeps of each batch: sums per sequence, so that memory does not grow with the vocabulary or the width."""

from __future__ import annotations

import torch

_SMALL_NORM = 1e-4
"""Input norms below this are not divided by, as in SAEBench."""


class SequenceSums:
    """Sums of per-token values over each sequence, in float64."""

    def __init__(self) -> None:
        self._parts: dict[str, list[torch.Tensor]] = {}

    def add(self, mask: torch.Tensor, **values: torch.Tensor) -> None:
        """Add a batch: `mask` and each of `values` are [batch, context]; values outside the mask do not count."""
        for name, value in values.items():
            total = torch.where(mask, value, 0).cpu().double().sum(dim=-1)  # not every device has float64
            self._parts.setdefault(name, []).append(total)

    def __getitem__(self, name: str) -> torch.Tensor:
        """[n_sequences] of one value."""
        return torch.cat(self._parts[name])


class Activations:
    """One batch of activations, with what all SAEs compare their output with.

    Args:
        acts: [batch, context, d_in].
        mask: [batch, context], False at special tokens.
    """

    def __init__(self, acts: torch.Tensor, mask: torch.Tensor) -> None:
        # Half precision is squared and summed in float32: summed as it is, it overflows and loses the variance.
        self.x, self.mask = full_precision(acts), mask
        self.norm = torch.norm(self.x, dim=-1)
        self.divisor = self.norm.masked_fill(self.norm.abs() < _SMALL_NORM, 1)
        self.unit = self.x / torch.norm(self.x, dim=-1, keepdim=True)
        exact = torch.where(mask[..., None], self.x, 0).cpu().double()
        self.square = exact.pow(2).sum(dim=-1)
        self.sum = exact.sum(dim=1)
        """[batch, d_in] sum of each sequence's vectors."""
        self.batch_variance = (self.x - self.x[mask].mean(dim=0)).pow(2).sum(dim=-1)
        """[batch, context] squared distance from this batch's own mean: only for SAEBench's legacy explained variance."""


class Baseline:
    """All that does not depend on the SAE: one for every SAE of the hook point."""

    def __init__(self) -> None:
        self.losses, self.acts = SequenceSums(), SequenceSums()
        self._sums: list[torch.Tensor] = []

    def add_losses(
        self, mask: torch.Tensor, ce_clean: torch.Tensor, kl_ablated: torch.Tensor, ce_ablated: torch.Tensor
    ) -> None:
        """Add a reconstruction batch: losses of the untouched and of the ablated model.

        Raises:
            FloatingPointError: The untouched model's loss is not finite.
        """
        if not bool(torch.isfinite(ce_clean[mask[:, :-1]]).all()):
            raise FloatingPointError("the model's own loss is NaN or infinite; a wider dtype may help")
        self.losses.add(mask, tokens=torch.ones_like(kl_ablated), kl_ablated=kl_ablated)
        self.losses.add(mask[:, :-1], predictions=torch.ones_like(ce_clean), ce_clean=ce_clean, ce_ablated=ce_ablated)

    def add_activations(self, acts: Activations) -> None:
        """Add a sparsity batch."""
        self.acts.add(acts.mask, tokens=torch.ones_like(acts.norm), norm=acts.norm)
        self.acts.add(acts.mask.cpu(), square=acts.square)
        self._sums.append(acts.sum)

    def variance(self) -> torch.Tensor:
        """[n_sequences] each sequence's squared distances from the mean of the whole sample."""
        sums, tokens = torch.cat(self._sums), self.acts["tokens"]
        mean = sums.sum(dim=0) / tokens.sum()
        return self.acts["square"] - 2 * sums @ mean + tokens * mean.pow(2).sum()

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self._sums[0].shape[-1]


class Tally:
    """What one SAE adds.

    Args:
        d_sae: The SAE's width.
        device: Where its latents are.
    """

    def __init__(self, d_sae: int, device: str | torch.device) -> None:
        self.losses, self.acts = SequenceSums(), SequenceSums()
        self.fired = torch.zeros(d_sae, dtype=torch.int64, device=device)
        """[d_sae] tokens on which each latent is not zero."""
        self.positive, self.prompts = torch.zeros_like(self.fired), torch.zeros_like(self.fired)
        """[d_sae] tokens, and sequences, on which each latent is above zero: SAEBench's counts."""

    def add_losses(self, mask: torch.Tensor, kl: torch.Tensor, ce: torch.Tensor) -> None:
        """Add a reconstruction batch: losses of the model that reads the SAE's output."""
        if not bool(torch.isfinite(kl[mask]).all() and torch.isfinite(ce[mask[:, :-1]]).all()):
            raise FloatingPointError("with the SAE's output in place the model's loss is not finite")
        self.losses.add(mask, kl=kl)
        self.losses.add(mask[:, :-1], ce=ce)

    def add_activations(self, acts: Activations, latents: torch.Tensor, output: torch.Tensor) -> None:
        """Add a sparsity batch: `latents` [batch, context, d_sae], `output` [batch, context, d_in]."""
        x, x_hat = acts.x, full_precision(output)
        norm = torch.norm(x_hat, dim=-1)
        residual = (x - x_hat).pow(2).sum(dim=-1)
        nonzero = latents != 0
        self.acts.add(
            acts.mask,
            norm=norm,
            norm_ratio=norm / acts.divisor,
            norm_squared=norm**2,
            dot=(x * x_hat).sum(dim=-1),
            residual=residual,
            legacy=1 - residual / acts.batch_variance,
            cosine=(acts.unit * (x_hat / torch.norm(x_hat, dim=-1, keepdim=True))).sum(dim=-1),
            l0=nonzero.sum(dim=-1).float(),
            l1=full_precision(latents.sum(dim=-1)),
        )
        self._count(nonzero & acts.mask[..., None], (latents > 0) & acts.mask[..., None])

    def _count(self, nonzero: torch.Tensor, positive: torch.Tensor) -> None:
        per_sequence = positive.sum(dim=1)
        self.fired += nonzero.sum(dim=(0, 1))
        self.positive += per_sequence.sum(dim=0)
        self.prompts += (per_sequence > 0).sum(dim=0)


def full_precision(values: torch.Tensor) -> torch.Tensor:
    """At least float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
