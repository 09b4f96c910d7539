"""Core's passes: the model runs once per batch for all SAEs of a hook point; each SAE adds its own part and the layers above."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from hedgebench.activations import flat_heads
from hedgebench.types import BadInput

from .core_tally import Activations, Baseline, Tally
from .next_token import NextToken
from .splice import Splice

if TYPE_CHECKING:
    from sae_lens import SAE

    from hedgebench.eval import EvalContext

    from .core_config import CoreConfig


class _Spliced:
    """One reconstruction batch, ready to be rerun with the output of any SAE."""

    def __init__(self, splice: Splice, tokens: torch.Tensor, mask: torch.Tensor, replaced: torch.Tensor) -> None:
        logits = splice.run(tokens)
        self.splice, self.mask, self.replaced = splice, mask, replaced[..., None]
        self.acts = splice.acts
        self.clean = NextToken(logits, tokens)

    def ablated(self) -> tuple[torch.Tensor, torch.Tensor]:
        """KL divergence and cross-entropy with every vector set to zero, special tokens' included (as in SAEBench)."""
        return self.clean.compare(self.splice.rerun(torch.zeros_like(self.acts)))

    def compare(self, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """KL divergence and cross-entropy with an SAE's output in place."""
        return self.clean.compare(self.splice.rerun(torch.where(self.replaced, output, self.acts)))


class _Measured:
    """One SAE on its way through the batches; after an error it takes no more part."""

    def __init__(self, ctx: EvalContext) -> None:
        self.ctx, self.sae = ctx, ctx.sae
        self.tally = Tally(ctx.sae.cfg.d_sae, ctx.device)
        self.error: Exception | None = None

    def add(self, acts: torch.Tensor, batch: Activations | None, spliced: _Spliced | None) -> None:
        """Add a batch to the sparsity part (`batch`), the reconstruction part (`spliced`), or both: encode and decode once."""
        if self.error is not None:
            return
        try:
            latents, output = _reconstruct(self.sae, acts)
            if batch is not None:
                self.tally.add_activations(batch, latents, output)
            del latents
            if spliced is not None:
                self.tally.add_losses(spliced.mask, *spliced.compare(output))
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # they hold tensors the other SAEs need the memory of
            self.error = error


class _Core:
    """The batches of one job: what is shared, and every SAE's part."""

    def __init__(self, ctxs: Sequence[EvalContext], cfg: CoreConfig) -> None:
        ctx = self.ctx = ctxs[0]
        self.cfg = cfg
        self.total, self.done = max(cfg.n_batches, cfg.sparsity_batches), 0
        self.splice = Splice(ctx.model, str(ctx.checkpoint.hook), ctx.checkpoint.hook_head_index)
        self.special = torch.tensor(sorted(ctx.data.special_ids), dtype=torch.long, device=ctx.device)
        self.base, self.saes = Baseline(), [_Measured(c) for c in ctxs]

    def run(self) -> None:
        """Reconstruction batches first; the first of them are sparsity batches, too, as in SAEBench; then what sparsity wants more."""
        sizes = {"batch_size": self.cfg.batch_size, "context_size": self.cfg.context_size}
        for tokens in self.ctx.tokens(self.cfg.n_batches, **sizes):
            self._add_tokens(tokens.to(self.ctx.device))
            # The source of an SAE of the wrong width would refuse the activations that suit the others.
            sound = [sae.ctx for sae in self.saes if sae.error is None]
            if not sound:
                return
        if self.cfg.sparsity_batches > self.cfg.n_batches:
            more = sound[0].activations(self.cfg.sparsity_batches, **sizes, start=self.cfg.n_batches)
            for batch in more:
                self._add(batch.acts.to(self.ctx.device), batch.mask.to(self.ctx.device), None)

    def _add_tokens(self, tokens: torch.Tensor) -> None:
        mask = ~torch.isin(tokens, self.special)
        replaced = mask if self.cfg.exclude_special_tokens_from_reconstruction else torch.ones_like(mask)
        spliced = _Spliced(self.splice, tokens, mask, replaced)
        self.base.add_losses(mask, spliced.clean.ce, *spliced.ablated())
        self._add(spliced.acts, mask, spliced)

    def _add(self, acts: torch.Tensor, mask: torch.Tensor, spliced: _Spliced | None) -> None:
        batch = Activations(acts, mask) if self.done < self.cfg.sparsity_batches else None
        if batch is not None:
            self.base.add_activations(batch)
        for i, sae in enumerate(self.saes):
            sae.add(acts, batch, spliced)
            sae.ctx.progress((self.done + (i + 1) / len(self.saes)) / self.total)
        self.done += 1


@torch.no_grad()
def measure(ctxs: Sequence[EvalContext], cfg: CoreConfig) -> tuple[Baseline, list[Tally | Exception]]:
    """Run core's batches over several SAEs of one hook point.

    Args:
        ctxs: One context per SAE; they share model, tokens and hook point.
        cfg: The eval's settings.

    Returns:
        What does not depend on the SAE, and for each SAE its tally, or the error that ended its part.

    Raises:
        BadInput: The model has no such hook point, or the text ran out.
    """
    core = _Core(ctxs, cfg)
    core.run()
    return core.base, [sae.error or sae.tally for sae in core.saes]


def _reconstruct(sae: SAE, acts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents [batch, context, d_sae] and output [batch, context, d_in].

    Raises:
        BadInput: The SAE expects vectors of another width.
        FloatingPointError: The output is not finite.
    """
    if acts.shape[-1] != sae.cfg.d_in:
        raise BadInput(f"the SAE expects vectors of width {sae.cfg.d_in}, but the model's have {acts.shape[-1]}")
    with flat_heads(sae):
        latents = sae.encode(acts)
        output = sae.decode(latents).to(acts.dtype)
    bad = int((~torch.isfinite(output)).any(dim=-1).sum())
    if bad:
        raise FloatingPointError(f"the SAE's output is NaN or infinite at {bad} of {output[..., 0].numel()} tokens")
    return latents, output
