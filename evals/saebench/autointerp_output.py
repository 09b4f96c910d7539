"""Autointerp's scores, and its results the way SAEBench writes them: its own values, under its own names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from sae_bench.evals.autointerp.eval_config import AutoInterpEvalConfig
from sae_bench.evals.autointerp.main import display_messages

from hedgebench.types import Score

from .autointerp_examples import Gathered
from .autointerp_judging import Estimate, Verdict, filled
from .judge import Judge

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext

    from .autointerp_config import AutoInterpConfig

_SHARED = (
    "dead_latent_threshold",
    "total_tokens",
    "buffer",
    "no_overlap",
    "act_threshold_frac",
    "max_tokens_in_explanation",
    "use_demos_in_explanation",
    "n_top_ex_for_generation",
    "n_iw_sampled_ex_for_generation",
    "n_top_ex_for_scoring",
    "n_random_ex_for_scoring",
    "n_iw_sampled_ex_for_scoring",
)
"""Settings that SAEBench has under the same name."""


def upstream_config(ctx: EvalContext, cfg: AutoInterpConfig) -> Any:
    """SAEBench's config of the same settings."""
    own = cfg.override_latents
    return AutoInterpEvalConfig(
        model_name=str(ctx.checkpoint.model or ""),
        n_latents=None if own else cfg.n_latents,
        override_latents=list(own) if own else None,
        random_seed=ctx.seed or 0,
        dataset_name=ctx.data.text.name,
        llm_context_size=cfg.context_size,
        llm_batch_size=cfg.batch_size,
        llm_dtype=str(ctx.model.cfg.dtype).removeprefix("torch."),
        **{name: getattr(cfg, name) for name in _SHARED},
    )


def scores(gathered: Gathered, verdicts: Sequence[Verdict]) -> list[Score]:
    """All rows, aggregates first. There is at least one readable verdict.

    A standard error is that of the mean over latents.
    """
    ours = [(v, _score(gathered, v, v.examples.truth)) for v in verdicts if v.readable]
    theirs = [(v, _score(gathered, v, v.examples.scoring)) for v in verdicts if v.predictions is not None]
    chance = {v.examples.latent: _chance(v.examples.truth) for v, _ in ours}
    their_chance = {v.examples.latent: _chance(v.examples.scoring) for v, _ in theirs}
    failed, unread = (
        sum(v.answer is None for v in verdicts),
        sum(v.answer is not None and not v.readable for v in verdicts),
    )
    n_answered, n_drawn = len(verdicts) - failed, len(verdicts) + len(gathered.without)
    rows = [
        _mean("autointerp_score", [s for _, s in ours], list(chance.values())),
        *_deviation("autointerp_std_dev", [s for _, s in ours]),
        Score("n_latents", len(ours)),
        Score("unparsed_share", unread / n_answered, stderr=_binomial(unread, n_answered), n=n_answered),
        Score("failed_share", failed / len(verdicts), n=len(verdicts)),
        Score("no_examples_share", len(gathered.without) / n_drawn, n=n_drawn),
        Score("dead_share", 1 - gathered.n_alive / gathered.n_latents, n=gathered.n_latents),
        _mean("upstream_autointerp_score", [s for _, s in theirs], list(their_chance.values())),
        *_deviation("upstream_autointerp_std_dev", [s for _, s in theirs]),
    ]
    for name, found, by_chance in (
        ("autointerp_score", ours, chance),
        ("upstream_autointerp_score", theirs, their_chance),
    ):
        for verdict, score in found:
            latent, n = verdict.examples.latent, len(verdict.examples.truth)
            rows.append(Score(name, score, {}, "latent", str(latent), n=n, chance=by_chance[latent]))
    return rows


def saebench_fields(
    config: Any,
    cfg: AutoInterpConfig,
    gathered: Gathered,
    verdicts: Sequence[Verdict],
    judge: Judge,
    expected: Estimate,
) -> dict[str, Any]:
    """The fields of SAEBench's autointerp output that this eval decides, its deviation over one latent -1.

    SAEBench leaves `eval_result_details` empty and its readers pass over what is there: it holds what the judge was expected to take and
    took, and each drawn latent without a score, with the reason.
    """
    theirs = [_score(gathered, v, v.examples.scoring) for v in verdicts if v.predictions is not None]
    values = torch.tensor(theirs)
    deviation = values.std().item() if len(theirs) > 1 else -1.0
    eval_config = asdict(config)
    if eval_config["override_latents"] is not None:
        eval_config["n_latents"] = None  # SAEBench sets it, and then cannot read its own output
    return {
        "eval_type_id": "autointerp",
        "eval_config": eval_config,
        "eval_result_metrics": {
            "autointerp": {"autointerp_score": values.mean().item(), "autointerp_std_dev": deviation}
        },
        "eval_result_details": [_bill(judge, expected), *_unscored(gathered, verdicts)],
        "eval_result_unstructured": {
            str(v.examples.latent): _result(gathered, v, cfg.logs) for v in verdicts if v.predictions is not None
        },
    }


def _score(gathered: Gathered, verdict: Verdict, examples: Any) -> float:
    return float(gathered.theirs.score_predictions(verdict.predictions, examples))


def _chance(examples: Any) -> float:
    """What the answer "None" scores: the share of inactive examples."""
    return sum(not e.is_active for e in examples) / len(examples)


def _mean(name: str, values: list[float], chance: list[float]) -> Score:
    """As SAEBench computes it, in float32."""
    found, n = torch.tensor(values), len(values)
    stderr = found.std().item() / math.sqrt(n) if n > 1 else None
    return Score(name, found.mean().item(), stderr=stderr, n=n, chance=sum(chance) / n)


def _deviation(name: str, values: list[float]) -> list[Score]:
    return [Score(name, torch.tensor(values).std().item(), n=len(values))] if len(values) > 1 else []


def _binomial(k: int, n: int) -> float:
    return math.sqrt(k / n * (1 - k / n) / n)


def _active(examples: Any) -> list[int]:
    return [i for i, example in enumerate(examples, start=1) if example.is_active]


def _result(gathered: Gathered, verdict: Verdict, logs: bool) -> dict[str, Any]:
    """SAEBench's result of one latent; `active seqs` are those that are, `correct seqs` those it takes for correct."""
    examples = verdict.examples
    result = {
        "latent": examples.latent,
        "explanation": verdict.explanation,
        "predictions": verdict.predictions,
        "correct seqs": _active(examples.scoring),
        "active seqs": _active(examples.truth),
        "score": _score(gathered, verdict, examples.scoring),
    }
    return result | {"logs": _log(verdict)} if logs else result


def _log(verdict: Verdict) -> str:
    """SAEBench's log of one latent."""
    examples, answer = verdict.examples, verdict.answer.text if verdict.answer else ""
    explain = [*examples.explain, {"role": "assistant", "content": verdict.said}]
    predict = [*filled(examples.predict, str(verdict.explanation)), {"role": "assistant", "content": answer}]
    parts = [
        f"Generation phase\n{display_messages(explain)}\n{examples.generation.display()}",
        f"Scoring phase\n{display_messages(predict)}\n{examples.scoring.display(verdict.predictions)}",
    ]
    return "\n".join(parts)


def _bill(judge: Judge, expected: Estimate) -> dict[str, Any]:
    bill = judge.bill
    return {
        "judge": judge.cfg.judge,
        "base_url": judge.cfg.address,
        "grammar": "llama.cpp" if judge.takes_grammar else "none",
        "estimated": {
            "requests": expected.requests,
            **expected.tokens._asdict(),
            "dollars": bill.cost(expected.tokens),
        },
        "used": {"requests": bill.attempts, **bill.used._asdict(), "dollars": bill.cost(bill.used)},
    }


def _unscored(gathered: Gathered, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"latent": latent, "status": "no examples", "reason": why} for latent, why in sorted(gathered.without.items())
    ]
    for v in verdicts:
        about = {"latent": v.examples.latent, "explanation": v.explanation}
        if v.answer is None:
            rows.append({**about, "status": "failed", "reason": v.error})
        elif not v.readable:
            status = "cut off" if v.answer.cut else "unparsed"
            rows.append({**about, "status": status, "answer": v.answer.text})
    return rows
