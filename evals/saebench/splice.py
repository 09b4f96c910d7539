"""Run a language model once, then again and again with something else in the place of one activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hedgebench.activations import flatten_heads
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


class Splice:
    """One hook point of a model. `run` records a batch there; `rerun` computes the logits with other values in their place.

    A rerun starts from the last residual stream that the hook point cannot have changed, so it costs only the layers above. The
    logits are bitwise those of a whole pass with a hook.

    Args:
        model: The hooked model.
        hook: The hook point's name.
        head: The one attention head to read and replace, for hook points with a vector per head; None: all, side by side.

    Raises:
        BadInput: The model has no such hook point.
    """

    def __init__(self, model: HookedTransformer, hook: str, head: int | None = None) -> None:
        if hook not in model.hook_dict:
            raise BadInput(f"the model has no hook point {hook!r}")
        self.model, self.hook, self.head = model, hook, head
        self.start, self.restart_hook = _restart(model, hook)
        self._seen: dict[str, torch.Tensor] = {}
        self._tokens: torch.Tensor | None = None

    def run(self, tokens: torch.Tensor) -> torch.Tensor:
        """The untouched model: tokens [batch, context] to logits [batch, context, vocabulary]; remembers the activations."""
        self._seen, self._tokens = {}, tokens
        names = {self.hook, self.restart_hook} - {None}
        return self._with_hooks(tokens, [(name, self._remember) for name in names])

    @property
    def acts(self) -> torch.Tensor:
        """[batch, context, d_in]: the vectors an SAE reads, of the last `run`."""
        return flatten_heads(self._seen[self.hook], self.hook, self.head)

    def rerun(self, acts: torch.Tensor) -> torch.Tensor:
        """Logits of the last `run`'s tokens with `acts` [batch, context, d_in] in the place of its activations."""
        there = self._unflatten(acts)
        if self.start is None:
            return self._with_hooks(self._tokens, [(self.hook, lambda _act, hook: there)])  # noqa: ARG005
        if self.hook == self.restart_hook:
            return self._with_hooks(there, [], start_at_layer=self.start)
        residual = self._seen[str(self.restart_hook)]
        return self._with_hooks(
            residual,
            [(self.hook, lambda _act, hook: there)],  # noqa: ARG005
            start_at_layer=self.start,
        )

    def _with_hooks(self, inputs: Any, hooks: list[Any], **where: Any) -> torch.Tensor:
        logits: torch.Tensor = self.model.run_with_hooks(inputs, return_type="logits", fwd_hooks=hooks, **where)
        return logits

    def _remember(self, act: torch.Tensor, hook: Any) -> None:
        self._seen[hook.name] = act

    def _unflatten(self, acts: torch.Tensor) -> torch.Tensor:
        old = self._seen[self.hook]
        if self.head is None:
            return acts.reshape(old.shape)
        new = old.clone()
        new[:, :, self.head] = acts
        return new


def _restart(model: HookedTransformer, hook: str) -> tuple[int | None, str | None]:
    """The layer a rerun starts at and the hook point of the residual stream that enters it; None: it must start from the tokens."""
    parts = hook.split(".")
    if parts[0] != "blocks" or model.cfg.positional_embedding_type == "shortformer":
        return None, None
    layer = int(parts[1])
    if parts[2] == "hook_resid_post":
        return layer + 1, hook
    return layer, f"blocks.{layer}.hook_resid_pre"
