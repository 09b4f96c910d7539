"""What absorption needs of the language model, made once for all SAEs of a hook point and seed.

The words, the ground-truth probe with its activations, and the activations of the prompts of the second part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hedgebench.artifacts import Artifact
from hedgebench.isolation import upstream
from hedgebench.types import CannotMeasure

from .absorption_frames import EVAL_BATCH, second_part, tables
from .absorption_words import find_words, fixed_vocabulary, require_one_length, split_prompts
from .class_acts import layer_of
from .recorded import RecordedModel

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext

    from .absorption_config import AbsorptionConfig

RECIPE = 1
"""Raise when what is stored changes."""
BATCH, EPOCHS, RATE = 64, 50, 1e-2
"""Of the ground-truth probe's training, and words per pass of the model: the defaults of SAEBench's `train_and_save_probes`."""
SET_UP = 0.8
"""Share of a first run's time, for the progress bar, that the probe's prompts take."""


@dataclass(frozen=True)
class Probe:
    """The linear probe for first letters [26, d], the activations it was trained and tested on [words, d], and their words."""

    weight: torch.Tensor
    bias: torch.Tensor
    train: torch.Tensor
    train_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor
    train_words: list[str]
    test_words: list[str]
    vocabulary: list[str]
    """All words, in the tokenizer's order."""
    position: int
    """Token of the prompts that is read, from the end."""

    def module(self, device: str) -> Any:
        """SAEBench's own probe. Making it draws from torch's generator."""
        from sae_bench.evals.absorption.common import DEFAULT_DTYPE
        from sae_bench.evals.absorption.probing import LinearProbe

        probe = LinearProbe(self.weight.shape[1], self.weight.shape[0])
        probe.load_state_dict({"fc.weight": self.weight, "fc.bias": self.bias})
        return probe.to(device, DEFAULT_DTYPE)

    @torch.no_grad()
    def test_scores(self, device: str) -> np.ndarray:
        """[test words, 26]: SAEBench's `score_probe_...`, computed in its batches."""
        from sae_bench.evals.absorption.common import DEFAULT_DTYPE

        weight, bias = self.weight.to(device, DEFAULT_DTYPE), self.bias.to(device, DEFAULT_DTYPE)
        batches = self.test.to(device, DEFAULT_DTYPE).split(EVAL_BATCH)
        return torch.cat([torch.nn.functional.linear(batch, weight, bias).float().cpu() for batch in batches]).numpy()


def find_probe(ctx: EvalContext, cfg: AbsorptionConfig, hook: str) -> Probe:
    """The ground-truth probe of this model, hook point and seed, with its data.

    Raises:
        BadInput: The template does not suit the tokenizer.
        CannotMeasure: The tokenizer has too few words.
    """
    made = _artifacts(ctx).get("absorption_probe", _settings(cfg), lambda: _make_probe(ctx, cfg, hook))
    return Probe(**made.tensors, **made.facts)


def _artifacts(ctx: EvalContext) -> Any:
    if ctx.artifacts is None:
        raise ValueError("absorption needs a context with artifacts")
    return ctx.artifacts


def _settings(cfg: AbsorptionConfig) -> dict[str, Any]:
    return {
        "words_per_letter": cfg.words_per_letter,
        "template": cfg.prompt_template,
        "position": cfg.prompt_token_pos,
        "recipe": RECIPE,
    }


def _make_probe(ctx: EvalContext, cfg: AbsorptionConfig, hook: str) -> Artifact:
    """SAEBench's `create_and_train_probe` with our model, stopped at the hook point: the same steps in the same order."""
    from sae_bench.evals.absorption.probing import gen_and_save_df_acts_probing, train_linear_probe_for_task
    from sae_bench.evals.absorption.vocab import LETTERS

    seed = int(ctx.seed or 0)
    with upstream(seed) as scratch:
        words = find_words(ctx.model.tokenizer, cfg.prompt_template, cfg.prompt_token_pos)
        prompts = split_prompts(words, cfg.prompt_template, cfg.words_per_letter, seed)
        require_one_length(ctx.model, [prompt.base for part in prompts for prompt, _ in part])
        total = sum(map(len, prompts))
        model = RecordedModel(
            ctx.model, hook, words.position, ctx.model.tokenizer, seen=lambda n: ctx.progress(n / total * SET_UP)
        )
        frames_and_acts = gen_and_save_df_acts_probing(
            model, *prompts, path=scratch, hook_point=hook, batch_size=BATCH, position_idx=words.position
        )
        names = ("train_df", "test_df", "train_activations", "test_activations")
        probe, data = train_linear_probe_for_task(
            **dict(zip(names, frames_and_acts, strict=True)),
            device=torch.device(ctx.device),
            num_classes=len(LETTERS),
            batch_size=BATCH,
            num_epochs=EPOCHS,
            lr=RATE,
        )
        tensors = {
            "weight": probe.weights.detach().cpu(),
            "bias": probe.biases.detach().cpu(),
            "train": data["X_train"].cpu().clone(),
            "train_labels": data["y_train"].cpu().clone(),
            "test": data["X_test"].cpu().clone(),
            "test_labels": data["y_test"].cpu().clone(),
        }
    train_words, test_words = ([prompt.word for prompt, _ in part] for part in prompts)
    used = set(train_words) | set(test_words)
    facts = {
        "train_words": train_words,
        "test_words": test_words,
        "vocabulary": [word for word in words.words if word in used],
        "position": words.position,
    }
    return Artifact(tensors, facts)


def recorded_model(ctx: EvalContext, cfg: AbsorptionConfig, hook: str, probe: Probe) -> RecordedModel:
    """A stand-in for the model that knows the activations of all prompts of SAEBench's second part.

    The words of that part are those the ground-truth probe is right about, and its prompts are drawn with Python's seeded generator: both
    are the same for every SAE. They are recorded by running that part with an SAE whose latents never fire.
    """
    settings = {**_settings(cfg), "batch": cfg.llm_batch_size}
    made = _artifacts(ctx).get("absorption_prompts", settings, lambda: _record(ctx, cfg, hook, probe))
    record = dict(zip(made.facts["prompts"], made.tensors["acts"], strict=True))
    return _stand_in(ctx, hook, probe, record, made.facts["length"])


def _stand_in(
    ctx: EvalContext, hook: str, probe: Probe, record: dict[str, torch.Tensor], length: int | None
) -> RecordedModel:
    return RecordedModel(ctx.model, hook, probe.position, fixed_vocabulary(probe.vocabulary), record, length)


def _record(ctx: EvalContext, cfg: AbsorptionConfig, hook: str, probe: Probe) -> Artifact:
    record: dict[str, torch.Tensor] = {}
    scores = probe.test_scores(ctx.device)
    silent = tables(probe, scores, {1: np.zeros_like(scores)}, {1: [np.zeros(1, dtype=int)] * scores.shape[1]})
    model = _stand_in(ctx, hook, probe, record, None)
    one_latent = replace(cfg, max_k_value=1, prompt_token_pos=probe.position)
    sae, layer, seed = _silent_sae(ctx, probe), layer_of(hook), int(ctx.seed or 0)
    second_part(silent, sae, model, probe, layer, one_latent, ctx.device, seed)
    if not record:
        raise CannotMeasure("the model's probe finds the first letter of no test word")
    length = require_one_length(ctx.model, list(record))
    return Artifact({"acts": torch.stack(list(record.values()))}, {"prompts": list(record), "length": length})


def _silent_sae(ctx: EvalContext, probe: Probe) -> Any:
    """An SAE of ten latents, as few as SAEBench's calculator can do with, that never fire."""
    width = probe.weight.shape[1]
    return SimpleNamespace(
        W_dec=torch.zeros(10, width, device=ctx.device),
        device=ctx.device,
        encode=lambda x: x.new_zeros(len(x), 10),
    )
