"""A stand-in for the language model where upstream asks for the activations of prompts: it stops at the hook point, and asks only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch


class RecordedModel:
    """Gives upstream the activations of prompts at one hook point and position: recorded ones, or those of a pass up to that point.

    It has what SAEBench's absorption uses of a `HookedTransformer`, and nothing else. A batch is answered from the record when all its
    prompts are there. The activations of a batch equal those of the whole model on the same batch.

    Args:
        model: A `HookedTransformer`.
        hook: `blocks.N....`.
        position: Token that is read, from the end of the prompts.
        tokenizer: What upstream sees as the model's tokenizer.
        record: Activation [d] by prompt, on the CPU; passes add to it. None: nothing is kept.
        length: Tokens of each recorded prompt, where that is known.
        seen: Told after each pass how many prompts have been read.
    """

    def __init__(
        self,
        model: Any,
        hook: str,
        position: int,
        tokenizer: Any,
        record: dict[str, torch.Tensor] | None = None,
        length: int | None = None,
        seen: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._model, self._hook, self._position, self._length = model, hook, position, length
        self._layers = int(hook.split(".")[1]) + 1
        self._seen, self._n_seen = seen, 0
        self.record = record
        self.tokenizer = tokenizer
        self.cfg = SimpleNamespace(model_name="model", d_model=model.cfg.d_model)

    def to_tokens(self, prompt: str) -> torch.Tensor:
        """[1, length]: upstream counts them; a recorded prompt's are zeros."""
        if self._length is not None and self.record is not None and prompt in self.record:
            return torch.zeros(1, self._length, dtype=torch.long)
        tokens: torch.Tensor = self._model.to_tokens(prompt)
        return tokens

    def run_with_cache(self, prompts: Sequence[str], names_filter: Sequence[str]) -> tuple[None, dict[str, AtPosition]]:
        """No logits, and the activations at the hook point."""
        if list(names_filter) != [self._hook]:
            raise LookupError(f"only {self._hook} is here, not {list(names_filter)}")
        known = [self.record[p] for p in prompts if p in self.record] if self.record is not None else []
        if len(known) == len(prompts):
            acts = torch.stack(known).to(self._model.cfg.device)
        else:
            acts = self._pass(prompts)
            if self.record is not None:
                self.record.update(zip(prompts, acts.cpu(), strict=True))
        return None, {self._hook: AtPosition(acts, self._position)}

    def _pass(self, prompts: Sequence[str]) -> torch.Tensor:
        _, cache = self._model.run_with_cache(list(prompts), names_filter=[self._hook], stop_at_layer=self._layers)
        acts: torch.Tensor = cache[self._hook][:, self._position, :].contiguous()
        self._n_seen += len(prompts)
        self._seen(self._n_seen)
        return acts


class AtPosition:
    """Activations [batch, d] at one position, indexed like [batch, position, d] as `acts[:, position, :]`."""

    def __init__(self, acts: torch.Tensor, position: int) -> None:
        self.acts, self.position = acts, position

    def __getitem__(self, key: tuple[slice, int, slice]) -> torch.Tensor:
        batch, position, width = key
        if position != self.position:
            raise LookupError(f"only position {self.position} is here, not {position}")
        return self.acts[batch, width]
