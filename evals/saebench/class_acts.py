"""The model's activations on labelled texts, one pass for all SAEs of a hook point: what sparse probing, TPP and SCR begin with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hedgebench.artifacts import Artifact
from hedgebench.compat import prepare
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens import SAE

    from hedgebench.eval import EvalContext

RECIPE = 3
"""Raise when what is stored changes."""
CHUNK = 2**24
"""Latent values held at once while texts are encoded."""


@dataclass(frozen=True)
class ClassActs:
    """The activations on the texts of one class, without those at beginning-, end-of-text and padding."""

    acts: torch.Tensor
    """[tokens, d_in]: the ordinary tokens of all texts, one text after the other."""
    mean: torch.Tensor
    """[texts, d_in]: their mean per text, by SAEBench's `create_meaned_model_activations`."""
    counts: torch.Tensor
    """[texts]: ordinary tokens of each text."""
    padding: torch.Tensor
    """[texts]: the other positions of each text, which SAEBench fills with zero vectors."""
    position: torch.Tensor | None = None
    """[tokens]: where each token stands in its text; None: the ordinary tokens come first."""

    @torch.no_grad()
    def latent_sums(self, sae: SAE) -> torch.Tensor:
        """The SAE's latents summed over the ordinary tokens of each text: [texts, d_sae], on the SAE's device.

        Every ordinary token is encoded once, and no other. They are put back in their places before they are summed, so that the sum is
        SAEBench's to the last bit. Costs tokens x d_in x d_sae; holds at most `CHUNK` latent values, or one text's, beside the result.
        """
        device, length = sae.W_dec.device, int((self.counts + self.padding).max())
        step = max(1, CHUNK // (length * sae.cfg.d_sae))
        ends = self.counts.cumsum(0)
        places = torch.arange(len(self.acts)) - torch.repeat_interleave(ends - self.counts, self.counts)
        places = places if self.position is None else self.position
        sums = torch.zeros(len(self.counts), sae.cfg.d_sae, dtype=torch.float32, device=device)
        for first in range(0, len(self.counts), step):
            counts = self.counts[first : first + step]
            end = int(ends[first + len(counts) - 1])
            begin = end - int(counts.sum())
            latents = sae.encode(self.acts[begin:end].to(device, sae.dtype))
            padded = latents.new_zeros(len(counts), length, sae.cfg.d_sae)
            text = torch.repeat_interleave(torch.arange(len(counts)), counts)
            padded[text.to(device), places[begin:end].to(device)] = latents
            sums[first : first + len(counts)] = padded.sum(1, dtype=torch.float32)
        return sums

    def mean_latents(self, sae: SAE) -> torch.Tensor:
        """The mean latents of each text: [texts, d_sae]; the same numbers as SAEBench's `get_sae_meaned_activations`."""
        return self.latent_sums(sae) / self.counts[:, None].to(sae.W_dec.device)


def class_acts(
    ctx: EvalContext, texts: Mapping[str, list[str]], context_size: int, batch_size: int
) -> Mapping[str, ClassActs]:
    """The activations on texts by class, at the SAE's hook point; made once for all evals and SAEs that read the same texts, class by class.

    A class is read when it is asked for, and not held here: `ctx.artifacts` keeps what fits into its memory, and the disk the rest.
    The texts are cut and padded by the model's tokenizer on the right to `context_size` tokens, as SAEBench does.

    Args:
        ctx: The run's context: model, artifacts, hook point.
        texts: Texts by class.
        context_size: Tokens per text at most.
        batch_size: Texts per pass of the model.

    Raises:
        BadInput: The hook point has a vector per head, or another width than the SAE, or a text has no ordinary token.
    """
    return _ByClass(texts, lambda label: _one_class(ctx, label, texts[label], context_size, batch_size))


class _ByClass(Mapping[str, ClassActs]):
    """Loads a class whenever it is asked for."""

    def __init__(self, labels: Iterable[str], load: Callable[[str], ClassActs]) -> None:
        self._labels, self._load = tuple(labels), load

    def __getitem__(self, label: str) -> ClassActs:
        if label not in self._labels:
            raise KeyError(label)
        return self._load(label)

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)


def _one_class(ctx: EvalContext, label: str, texts: list[str], context_size: int, batch_size: int) -> ClassActs:
    if ctx.artifacts is None:
        raise ValueError("class_acts needs a context with artifacts")
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    settings = {"texts": digest, "context": context_size, "batch": batch_size, "recipe": RECIPE}
    made = ctx.artifacts.get("class_acts", settings, lambda: _collect(ctx, label, texts, context_size, batch_size))
    found = ClassActs(**made.tensors)
    if found.acts.shape[-1] != ctx.sae.cfg.d_in:
        raise BadInput(
            f"the SAE expects vectors of width {ctx.sae.cfg.d_in}, but the model's have {found.acts.shape[-1]}"
        )
    return found


def _collect(ctx: EvalContext, label: str, texts: list[str], context_size: int, batch_size: int) -> Artifact:
    """Batch by batch through SAEBench's own functions, so that no more than a batch is held with its padding."""
    prepare()
    from sae_bench.sae_bench_utils import activation_collection, dataset_utils

    hook = check_hook(ctx)
    tokenizer = ctx.model.tokenizer
    tokens = dataset_utils.tokenize_data_dictionary({label: texts}, tokenizer, context_size, ctx.device)[label]
    rows = tokens["input_ids"]
    acts, means, counts, positions = [], [], [], []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        found = activation_collection.get_llm_activations(
            batch, ctx.model, batch_size, layer_of(hook), hook, mask_bos_pad_eos_tokens=True, show_progress=False
        )
        ordinary = activation_collection.get_bos_pad_eos_mask(batch, tokenizer)
        acts.append(found[ordinary].cpu())
        means.append(activation_collection.create_meaned_model_activations({label: found})[label].cpu())
        counts.append(ordinary.sum(1).cpu())
        positions.append(ordinary.nonzero()[:, 1].cpu())
    count = torch.cat(counts)
    if not bool(count.all()):
        raise BadInput(f"class {label!r}: {int((count == 0).sum())} texts have no ordinary token")
    return Artifact(
        {
            "acts": torch.cat(acts),
            "mean": torch.cat(means),
            "counts": count,
            "padding": rows.shape[1] - count,
            "position": torch.cat(positions),
        }
    )


def check_hook(ctx: EvalContext) -> str:
    """The SAE's hook point, where SAEBench's functions can read it: one vector per token, in a block of the model.

    Raises:
        BadInput: There is none such.
    """
    hook = str(ctx.checkpoint.hook)
    if hook not in ctx.model.hook_dict:
        raise BadInput(f"the model has no hook point {hook!r}")
    if not hook.startswith("blocks.") or ".attn." in hook or ctx.checkpoint.hook_head_index is not None:
        raise BadInput(f"SAEBench's probing evals read one vector per token in a block; {hook!r} has none")
    return hook


def layer_of(hook: str) -> int:
    """The block of a hook point `blocks.N....`."""
    return int(hook.split(".")[1])
