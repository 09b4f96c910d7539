"""Autointerp's examples: SAEBench's own code takes them, from recorded activations. Import it after `hedgebench.compat.prepare()`."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from sae_bench.evals.autointerp.main import AutoInterp, Example
from sae_bench.sae_bench_utils.activation_collection import collect_sae_activations
from sae_bench.sae_bench_utils.indexing_utils import index_with_buffer

from hedgebench.activations import flat_heads
from hedgebench.isolation import upstream
from hedgebench.types import BadInput, CannotMeasure

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext

    from .autointerp_config import AutoInterpConfig

MEMORY = 2 * 2**30
"""Bytes of latents' activations held at once; more latents are taken in several turns."""
EXPLANATION = "\0explanation\0"
"""Stands in a scoring question until there is an explanation."""


class LatentExamples(NamedTuple):
    """All that is asked about one latent, and the right answers."""

    latent: int
    generation: Any
    """SAEBench's `Examples` that the explanation is made from."""
    scoring: Any
    """The `Examples` to be told apart, as SAEBench sees them: those from anywhere count as inactive, whatever the latent does there."""
    truth: Any
    """The same examples, each with the activations it really has."""
    explain: list[dict[str, str]]
    """The question for an explanation."""
    predict: list[dict[str, str]]
    """The question which examples are active; `EXPLANATION` stands where the explanation goes."""


class Gathered(NamedTuple):
    """Examples of the latents to be judged, and what became of the other latents."""

    latents: list[LatentExamples]
    """Sorted by latent."""
    without: dict[int, str]
    """Drawn latents that gave no examples, with the reason."""
    n_alive: int
    n_latents: int
    """Width of the SAE."""
    theirs: Any
    """SAEBench's `AutoInterp`, for its parsing and scoring."""


def gather(ctx: EvalContext, cfg: AutoInterpConfig, config: Any) -> Gathered:
    """Draw latents and their examples as SAEBench does with this seed.

    The model's activations come from `ctx.activations`, one pass for all SAEs; one batch of them is held at a time. Two passes over them
    encode: one counts how often each latent fires, one keeps the drawn latents' activations (bfloat16, as SAEBench).

    Args:
        ctx: The run's context.
        cfg: The eval's settings.
        config: SAEBench's `AutoInterpEvalConfig` of the same settings.

    Raises:
        CannotMeasure: No latent is alive.
        BadInput: A latent asked for is none of the SAE's.
    """
    with flat_heads(ctx.sae):
        tokens, fired, n_ordinary = _count(ctx, cfg)
        share = fired.to(torch.float32) / n_ordinary
        n_alive = int((share * config.total_tokens > config.dead_latent_threshold).sum())
        if max(config.latents or [0]) >= ctx.sae.cfg.d_sae:
            raise BadInput(
                f"override_latents: the SAE has latents 0 to {ctx.sae.cfg.d_sae - 1}, not {max(config.latents)}"
            )
        if config.latents is None and n_alive == 0:
            raise CannotMeasure(f"no latent fires at more than {config.dead_latent_threshold:g} of {n_ordinary} tokens")
        with upstream(ctx.seed or 0):
            theirs = AutoInterp(config, ctx.model, ctx.sae, tokens, share, ctx.device, api_key="")
            found, without = {}, {}
            for latent, result in _examples(ctx, cfg, theirs):
                if isinstance(result, str):
                    without[latent] = result
                else:
                    found[latent] = result
            latents = [_questions(theirs, latent, *found[latent]) for latent in sorted(found)]
    return Gathered(latents, without, n_alive, len(fired), theirs)


class _Recorded:
    """What SAEBench's functions read of a model and of an SAE: this stands in for either, and answers with what it was given."""

    cfg = SimpleNamespace(hook_layer=0, hook_name="recorded")

    def __init__(self, model: Any, acts: torch.Tensor) -> None:
        self.tokenizer, self.to_str_tokens, self.acts = model.tokenizer, model.to_str_tokens, acts

    def run_with_cache(self, *_: Any, **__: Any) -> tuple[None, dict[str, torch.Tensor]]:
        """The model's part."""
        return None, {"recorded": self.acts}

    def encode(self, acts: torch.Tensor) -> torch.Tensor:
        """The SAE's part: they are encoded already."""
        return acts


@torch.no_grad()
def _count(ctx: EvalContext, cfg: AutoInterpConfig) -> tuple[torch.Tensor, torch.Tensor, int]:
    """All tokens [rows, context], at how many ordinary tokens each latent fires [d_sae], and how many those are."""
    rows, n_ordinary = [], 0
    fired = torch.zeros(ctx.sae.cfg.d_sae, dtype=torch.int64, device=ctx.device)
    for batch in ctx.activations(cfg.n_batches, cfg.batch_size, cfg.context_size):
        latents = ctx.sae.encode(batch.acts.to(ctx.device, ctx.sae.dtype))
        if not bool(torch.isfinite(latents).all()):
            raise FloatingPointError("the SAE's latents are NaN or infinite")
        fired += ((latents > 0) & batch.mask.to(ctx.device)[..., None]).sum((0, 1))
        n_ordinary += int(batch.mask.sum())
        rows.append(batch.tokens)
    if n_ordinary == 0:
        raise CannotMeasure("the text has no token but beginning-of-text, end-of-text and padding")
    return torch.cat(rows).to(ctx.device), fired, n_ordinary


@torch.no_grad()
def _latent_acts(ctx: EvalContext, cfg: AutoInterpConfig, latents: list[int]) -> torch.Tensor:
    """Their activations [latents, rows, context] as SAEBench collects them: bfloat16, 0 at tokens that are no text."""
    acts = torch.empty(len(latents), cfg.n_batches * cfg.batch_size, cfg.context_size, dtype=torch.bfloat16)
    for i, batch in enumerate(ctx.activations(cfg.n_batches, cfg.batch_size, cfg.context_size)):
        model = _Recorded(ctx.model, batch.acts.to(ctx.device, ctx.sae.dtype))
        found = collect_sae_activations(
            batch.tokens.to(ctx.device),
            model,
            ctx.sae,
            len(batch.tokens),
            model.cfg.hook_layer,
            model.cfg.hook_name,
            mask_bos_pad_eos_tokens=True,
            selected_latents=latents,
            activation_dtype=torch.bfloat16,
        )
        acts[:, i * cfg.batch_size : (i + 1) * cfg.batch_size] = found.permute(2, 0, 1).cpu()
    return acts


def _examples(ctx: EvalContext, cfg: AutoInterpConfig, theirs: Any) -> Iterator[tuple[int, Any]]:
    """Each drawn latent with its examples (generation, scoring, truth), or with the reason why there are none."""
    rows, context = theirs.tokenized_dataset.shape
    at_once = max(1, MEMORY // (2 * rows * context))
    for start in range(0, len(theirs.latents), at_once):
        latents = theirs.latents[start : start + at_once]
        for latent, acts in zip(latents, _latent_acts(ctx, cfg, latents), strict=True):
            yield latent, _one(ctx, theirs, acts[..., None].to(ctx.device))


def _one(ctx: EvalContext, theirs: Any, acts: torch.Tensor) -> Any:
    """One latent's examples by SAEBench's `gather_data`, which draws latent after latent, so that taking them singly changes nothing.

    Args:
        ctx: The run's context.
        theirs: SAEBench's `AutoInterp` with all tokens.
        acts: The latent's activations, [rows, context, 1].
    """
    single = copy.copy(theirs)
    single.latents, single.cfg = [0], copy.copy(theirs.cfg)
    single.cfg.llm_batch_size = len(acts)
    single.model = single.sae = _Recorded(ctx.model, acts)
    drawn, shuffled = torch.get_rng_state(), random.getstate()
    try:
        generation, scoring = single.gather_data()
    except torch.OutOfMemoryError:
        raise
    except (IndexError, RuntimeError) as error:
        return f"too little text for its examples: {error}"
    if 0 not in scoring:
        return "too few activations for its examples"
    return generation[0], scoring[0], _truth(theirs, acts[..., 0], scoring[0], drawn, shuffled)


def _truth(theirs: Any, acts: torch.Tensor, scoring: Any, drawn: torch.Tensor, shuffled: Any) -> Any:
    """The scoring examples with the activations that those from anywhere really have.

    SAEBench draws their places first of all (main.py:419-429) and shuffles the examples last; both draws are repeated here.

    Raises:
        RuntimeError: The places do not hold the examples' tokens: this SAEBench draws in another order.
    """
    cfg, (rows, context) = theirs.cfg, acts.shape
    generator = torch.Generator().set_state(drawn)
    size = (cfg.n_random_ex_for_scoring,)
    low, high = cfg.buffer, context - cfg.buffer
    places = torch.stack(
        [torch.randint(0, rows, size, generator=generator), torch.randint(low, high, size, generator=generator)], dim=-1
    )
    found = index_with_buffer(acts, places.to(acts.device), buffer=cfg.buffer).tolist()
    tokens = index_with_buffer(theirs.tokenized_dataset, places.to(acts.device), buffer=cfg.buffer).tolist()
    order, replay = list(range(len(scoring))), random.Random()
    replay.setstate(shuffled)
    replay.shuffle(order)

    truth = copy.copy(scoring)
    truth.examples = list(scoring.examples)
    for i, origin in enumerate(order):
        if (j := origin - cfg.n_correct_for_scoring) >= 0:
            example = truth.examples[i]
            if example.toks != tokens[j]:
                raise RuntimeError(
                    "SAEBench's random examples do not lie where they were drawn: its order of draws has changed"
                )
            truth.examples[i] = Example(example.toks, found[j], example.act_threshold, theirs.model)
    return truth


def _questions(theirs: Any, latent: int, generation: Any, scoring: Any, truth: Any) -> LatentExamples:
    """SAEBench's two questions about a latent. The second one's sample answer is drawn here, latent after latent."""
    explain = theirs.get_generation_prompts(generation)
    return LatentExamples(latent, generation, scoring, truth, explain, theirs.get_scoring_prompts(EXPLANATION, scoring))
