"""One pass of the model, shared by every SAE at that hook point: cached on disk, one batch at a time in memory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.cache import touch, trim
from hedgebench.eval import ActivationBatch
from hedgebench.once import store_tensors
from hedgebench.paths import cache_dir
from hedgebench.records import package_version
from hedgebench.spelling import nearest
from hedgebench.types import BadInput, CannotMeasure

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE

logger = logging.getLogger(__name__)

_BY_HEAD = ("hook_q", "hook_k", "hook_v", "hook_z")
DISK_BUDGET = 20 * 2**30
"""Bytes one folder of cached activations may hold; batches beyond are computed each time."""


class ActivationSource:
    """The activations of a token source at one hook point of one model.

    Args:
        model: A hooked model.
        hook: The hook point's name.
        head: The attention head, for hook points with one vector per head where the SAE reads a single one.
        tokens: The token source (`hedgebench.data.TokenSource`).
        folder: Where batches are cached, or None. It must be named after all that decides them: see `hedgebench.session`.
        d_in: The width the SAE expects.

    Raises:
        BadInput: The model has no such hook point.
    """

    def __init__(self, model: Any, hook: str, head: int | None, tokens: Any, folder: Path | None, d_in: int) -> None:
        if hook not in model.hook_dict:
            raise BadInput(f"the model has no hook point {hook!r}{nearest(hook, model.hook_dict)[:200]}")
        self.model, self.hook, self.head, self.tokens, self.folder, self.d_in = model, hook, head, tokens, folder, d_in

    def batches(
        self, n_batches: int, batch_size: int = 16, context_size: int = 128, *, start: int = 0
    ) -> Iterator[ActivationBatch]:
        """Batches `start` to `n_batches` of the token source with their activations.

        Raises:
            BadInput: The model's activations have another width than the SAE expects, or the sequences are longer than it takes.
        """
        check_context(self.model, context_size)
        for i, tokens in enumerate(self.tokens.batches(n_batches, batch_size, context_size)):
            if i >= start:
                yield self.one(i, tokens)

    def check(self, n_batches: int, batch_size: int = 16, context_size: int = 128) -> None:
        """Make sure that so many batches can be had: all of the text is read, and the model runs on the first.

        Raises:
            BadInput: As `batches`, or the text ends before.
        """
        check_context(self.model, context_size)
        for i, tokens in enumerate(self.tokens.batches(n_batches, batch_size, context_size)):
            if i == 0:
                self.one(i, tokens)

    def one(self, i: int, tokens: torch.Tensor) -> ActivationBatch:
        """Batch `i` of the token source, whose tokens [batch, context] are given, with its activations.

        Raises:
            BadInput: The model's activations have another width than the SAE expects.
        """
        import torch

        file = self._file(i, tokens.shape)
        acts = _read(file, tokens) if file is not None else None
        if acts is None:
            acts = self.compute(tokens)
            if file is not None:
                _write(file, tokens, acts)
        if acts.shape[-1] != self.d_in:
            raise BadInput(
                f"the SAE expects vectors of width {self.d_in}, but {self.hook} of this model has {acts.shape[-1]}: is it the right model?"
            )
        special = torch.tensor(sorted(self.tokens.special_ids), dtype=torch.long)
        return ActivationBatch(tokens, acts, ~torch.isin(tokens, special))

    def is_cached(self, i: int, shape: Sequence[int]) -> bool:
        """Whether the activations of batch `i`, of `shape` (batch, context), lie on disk."""
        file = self._file(i, shape)
        return file is not None and file.exists()

    def _file(self, i: int, shape: Sequence[int]) -> Path | None:
        return self.folder / f"{shape[0]}x{shape[1]}" / f"{i:06d}.safetensors" if self.folder is not None else None

    def compute(self, tokens: torch.Tensor) -> torch.Tensor:
        """Run the model up to the hook point: [batch, context] to [batch, context, d_in], on the CPU."""
        found: list[torch.Tensor] = []
        layer = _layer(self.hook)
        self.model.run_with_hooks(
            tokens.to(self.model.cfg.device),
            return_type=None,
            prepend_bos=False,
            stop_at_layer=layer + 1 if layer is not None else None,
            fwd_hooks=[(self.hook, lambda act, hook: found.append(act.detach()))],  # noqa: ARG005
        )
        return flatten_heads(found[0], self.hook, self.head).cpu()


def activation_folder(revision: str, text: str, hook: str, head: int | None, seed: int | None, dtype: str) -> Path:
    """Where the activations of a text at a hook point are cached: named by all that decides them.

    Args:
        revision: What the model's name stands for.
        text: The text's identity.
        hook: The hook point.
        head: The attention head, where the SAE reads one.
        seed: The order of the text.
        dtype: Numeric type of the model.
    """
    identity = {
        "model": revision,
        "data": text,
        "hook": hook,
        "head": head,
        "seed": seed,
        "dtype": dtype,
        "versions": {name: package_version(name) for name in ("torch", "transformer-lens", "transformers")},
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    return cache_dir().absolute() / "activations" / key


def check_units(sae: SAE) -> None:
    """Refuse an SAE that reads activations in units which its checkpoint does not tell.

    Raises:
        CannotMeasure: It was trained on activations scaled by factors that are not folded in.
    """
    kind = sae.cfg.normalize_activations
    if kind in ("expected_average_only_in", "covariance_whitening"):
        raise CannotMeasure(
            f"the SAE was trained on activations normalised by {kind!r}, and the checkpoint does not hold the factors"
        )


def check_context(model: Any, context_size: int) -> None:
    """Refuse sequences that the model has no positions for.

    Raises:
        BadInput: They are too long.
    """
    if context_size > model.cfg.n_ctx:
        raise BadInput(f"context_size {context_size} is more than the model takes: {model.cfg.n_ctx} tokens")


def flatten_heads(acts: torch.Tensor, hook: str, head: int | None) -> torch.Tensor:
    """The vectors an SAE reads at a hook point: those of one head, all heads side by side, or the activations as they are."""
    if head is not None:
        return acts[:, :, head]
    return acts.flatten(-2, -1) if any(part in hook for part in _BY_HEAD) else acts


@contextmanager
def flat_heads(sae: SAE) -> Iterator[None]:
    """Let an SAE on hook_z read and write heads side by side, and leave it as it was."""
    on = sae.hook_z_reshaping_mode
    if on:
        sae.turn_off_forward_pass_hook_z_reshaping()
    try:
        yield
    finally:
        if on:
            sae.turn_on_forward_pass_hook_z_reshaping()


def _layer(hook: str) -> int | None:
    parts = hook.split(".")
    return int(parts[1]) if len(parts) > 1 and parts[0] == "blocks" and parts[1].isdigit() else None


def _read(file: Path, tokens: torch.Tensor) -> torch.Tensor | None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.exists():
        return None
    try:
        stored = load_file(file)
    except (SafetensorError, OSError):
        logger.warning("cached activations %s cannot be read; computing them again", file)
        return None
    touch(file)
    return stored["acts"] if torch.equal(stored["tokens"], tokens) else None


def _write(file: Path, tokens: torch.Tensor, acts: torch.Tensor) -> None:
    """Store one batch; a full disk only costs the cache."""
    try:
        used = sum(f.stat().st_size for f in file.parent.iterdir()) if file.parent.exists() else 0
        if used + acts.nbytes > DISK_BUDGET:
            return
        store_tensors(file, {"tokens": tokens, "acts": acts})
        trim(spare=file)
    except OSError as error:
        logger.warning("cannot cache activations in %s: %s", file.parent, error)
