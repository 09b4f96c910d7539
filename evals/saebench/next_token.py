"""How far a changed model's next-token predictions are from the untouched model's."""

from __future__ import annotations

import torch

CHUNK_BYTES = {"cpu": 4 * 2**20}
"""Logits compared at a time: on a CPU few enough to stay in its cache, which is several times faster."""
_CHUNK_BYTES_ELSEWHERE = 2**28


class NextToken:
    """The untouched model's predictions for one batch, and the comparison of others with them.

    Every token's numbers are bitwise those of SAEBench's formulas (softmax, then its logarithm; TransformerLens's per-token loss).
    Only where these are not finite, because a probability underflows to zero, does `log_softmax` take their place.

    Args:
        logits: [batch, context, vocabulary] of the untouched model. Its memory is reused.
        tokens: [batch, context].
    """

    def __init__(self, logits: torch.Tensor, tokens: torch.Tensor) -> None:
        self.shape = tokens.shape
        self.targets = tokens.roll(-1, dims=1).reshape(-1, 1)
        rows = logits.reshape(-1, logits.shape[-1])
        budget = CHUNK_BYTES.get(logits.device.type, _CHUNK_BYTES_ELSEWHERE)
        self.chunk = max(2, budget // (rows.shape[-1] * rows.element_size()))
        self.ce = self._per_prediction([_cross_entropy(r, t) for r, t in zip(*self._chunks(rows), strict=True)])
        """[batch, context - 1] cross-entropy of each next token."""
        for row in rows.split(self.chunk):
            row.copy_(torch.softmax(row, dim=-1))
        self.probs, self.log_probs = rows, torch.log(rows)

    def compare(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """KL divergence of a changed model's predictions from the untouched ones, and its cross-entropy.

        Args:
            logits: [batch, context, vocabulary] of the changed model.

        Returns:
            [batch, context] KL(untouched || changed) in nats, and [batch, context - 1] cross-entropy of each next token.
        """
        kl, ce = [], []
        rows, targets = self._chunks(logits.reshape(-1, logits.shape[-1]))
        for i, (row, target) in enumerate(zip(rows, targets, strict=True)):
            here = slice(i * self.chunk, i * self.chunk + len(row))
            ce.append(_cross_entropy(row, target))
            kl.append(_kl(self.probs[here], self.log_probs[here], row))
        return torch.cat(kl).reshape(self.shape), self._per_prediction(ce)

    def _chunks(self, rows: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        return rows.split(self.chunk), self.targets.split(self.chunk)

    def _per_prediction(self, parts: list[torch.Tensor]) -> torch.Tensor:
        # The last position's next token is outside the batch.
        return torch.cat(parts).reshape(self.shape)[:, :-1]


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -torch.log_softmax(logits, dim=-1).gather(-1, targets)[:, 0]


def _kl(probs: torch.Tensor, log_probs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    log_q = torch.softmax(logits, dim=-1).log_()
    kl = torch.sub(log_probs, log_q, out=log_q).mul_(probs).sum(dim=-1)
    if bool(torch.isfinite(kl).all()):
        return kl
    terms = probs * (log_probs - torch.log_softmax(logits, dim=-1))
    exact = torch.where(probs > 0, terms, 0.0).sum(dim=-1)
    return torch.where(torch.isfinite(kl), kl, exact)
