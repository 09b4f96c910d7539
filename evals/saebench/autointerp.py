"""SAEBench's autointerp: can a language model say what a latent stands for, and then tell on which texts it fires?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hedgebench.eval import Eval, EvalContext, notice
from hedgebench.l0_figures import Shown, l0_figure
from hedgebench.types import BadInput, CannotMeasure, Metric, Score

from .autointerp_config import AutoInterpConfig

if TYPE_CHECKING:
    from .autointerp_examples import Gathered
    from .autointerp_judging import Estimate, Verdict
    from .judge import Judge


_PAPER = "SAEBench (arXiv 2503.09532), after Paulo et al. 2024 (arXiv 2410.13928)"

_METRICS = (
    Metric(
        "autointerp_score",
        "share of a latent's examples that the judge sorts rightly into active and inactive, with nothing but its own "
        "explanation of the latent to go by; mean over latents with a readable answer. Chance: always answering None",
        unit="share",
        higher_is_better=True,
        low=0,
        high=1,
        paper=_PAPER,
    ),
    Metric(
        "autointerp_std_dev",
        "standard deviation (n - 1) of autointerp_score over latents",
        unit="share",
        low=0,
        paper=_PAPER,
    ),
    Metric("n_latents", "latents with a readable answer, over which the score is a mean", unit="latents", low=0),
    Metric(
        "unparsed_share",
        "share of the judge's answers that are no list of numbers or were cut off; they have no score",
        unit="share",
        higher_is_better=False,
        low=0,
        high=1,
    ),
    Metric(
        "failed_share",
        "share of latents about which the judge gave no answer after all attempts",
        unit="share",
        higher_is_better=False,
        low=0,
        high=1,
    ),
    Metric(
        "no_examples_share",
        "share of drawn latents that fire too rarely to take examples from; they have no score",
        unit="share",
        low=0,
        high=1,
    ),
    Metric(
        "dead_share",
        "share of the SAE's latents that fire at no more than dead_latent_threshold tokens; none of them is drawn",
        unit="share",
        higher_is_better=False,
        low=0,
        high=1,
    ),
    Metric(
        "upstream_autointerp_score",
        "autointerp_score as SAEBench computes it: examples from anywhere in the text count as inactive, whatever the latent does there",
        unit="share",
        higher_is_better=True,
        low=0,
        high=1,
        paper=_PAPER,
    ),
    Metric(
        "upstream_autointerp_std_dev",
        "standard deviation (n - 1) of upstream_autointerp_score over latents",
        unit="share",
        low=0,
        paper=_PAPER,
    ),
)


class SAEBenchAutoInterp(Eval):
    """A judge, a language model behind an OpenAI-compatible server, explains latents and is then put to the test.

    For each latent drawn, the judge sees texts of 21 tokens with the active tokens marked, and writes one sentence. Given that sentence
    alone and 14 other texts (2 where the latent is strongest, 2 weaker, 10 from anywhere), it says which the latent fires on. Examples,
    prompts, parsing and scoring are SAEBench's own code; latents and examples are those of SAEBench with the same seed and tokens.

    What differs from a plain run of SAEBench 0.6 (file sae_bench/evals/autointerp/main.py):

    - Texts from anywhere count as inactive there (:485, :508), though a latent may fire in one; a judge that sees it is
      marked down, most for latents that fire often. `autointerp_score` takes what the latent really does there;
      `upstream_autointerp_score` is theirs.
    - The sample answer in the second prompt is drawn when the first answer arrives (:380), so that with one seed the prompts differ from
      run to run. Here it is drawn latent after latent.
    - An answer that cannot be read drops its latent silently (:267); one cut off at the token limit is read as if it were whole. Both
      are `unparsed_share` here, and listed with the answer in `eval_result_details`; theirs still counts the cut ones that parse.
    - One error of the server loses the whole SAE (:224); here it loses one latent (`failed_share`), after retries. The run fails where
      more than half are lost, and `--retry-failed` asks about those alone.
    - Dead latents and latents with too few activations vanish (:174, :454); here they are counted. Sparsity is rescaled by total_tokens
      over all tokens though counted over those of text (:172), and the caller's tensor is written over; the rule is kept, on our own.
    - The judge is fixed there (gpt-4o-mini at temperature 1, :322) and its key lies in a file of the working directory (:790); here the
      judge is a setting, and the key comes from the environment.

    The model runs once for all SAEs of a hook point and seed. Answers are kept on disk by address, judge, question and settings, so
    that a run that is taken up again asks nothing twice; deleting them (`hedgebench cache --clear`) asks anew. The key is read from
    HEDGEBENCH_JUDGE_API_KEY, or OPENAI_API_KEY for OpenAI and for OPENAI_BASE_URL alone, and written nowhere.

    Limits: a score is as good as its judge; compare only rows of one judge. Judges are rarely deterministic at temperature 0: it is the
    kept answers that make a repeated run equal. The standard error takes latents as independent, and says nothing of the judge's own.

    Source: Karvonen et al. 2025, "SAEBench" (arXiv 2503.09532); sae_bench.evals.autointerp.
    """

    name, version = "saebench_autointerp", 1
    needs = frozenset({"sae", "model", "data", "activations"})
    metrics = _METRICS
    figures = (
        l0_figure(
            "score_against_l0",
            Shown("saebench_autointerp", "autointerp_score", "", "autointerp score"),
            panel="saebench_against_l0",
        ),
        l0_figure(
            "upstream_score_against_l0",
            Shown("saebench_autointerp", "upstream_autointerp_score", "", "autointerp score, SAEBench's"),
        ),
    )
    packages = ("sae-bench",)
    cost = "shared: one pass of the model over total_tokens; each SAE: two passes of its encoder, and two questions to the judge per latent"

    Config = AutoInterpConfig

    def run(self, ctx: EvalContext, cfg: AutoInterpConfig) -> Iterator[Score]:
        """Measure one SAE."""
        from hedgebench.compat import prepare

        prepare()
        from .autointerp_examples import gather
        from .autointerp_output import saebench_fields, scores, upstream_config
        from .judge import Judge

        config = upstream_config(ctx, cfg)
        folder = ctx.cache.absolute() / "answers" if ctx.cache is not None else None
        with Judge(cfg, folder) as judge:  # opened first: a judge that is not there is told before the model runs
            gathered = gather(ctx, cfg, config)
            if not gathered.latents:
                raise CannotMeasure(
                    f"none of the {len(gathered.without)} latents drawn gives examples: {_last(gathered)}"
                )
            expected, verdicts = _judged(ctx, judge, gathered)
            _require_most(verdicts)
            ctx.details.update(saebench_fields(config, cfg, gathered, verdicts, judge, expected))
        rows = scores(gathered, verdicts)
        reported = {row.metric for row in rows}
        for name in ("autointerp_std_dev", "upstream_autointerp_std_dev"):
            if name not in reported:
                ctx.leave_blank(name, "a deviation needs two latents with an answer")
        yield from rows


def _judged(ctx: EvalContext, judge: Judge, gathered: Gathered) -> tuple[Estimate, list[Verdict]]:
    """Ask about all latents, if that is within the budget.

    Raises:
        BadInput: It is not.
    """
    from .autointerp_judging import ask_all, estimate

    expected = estimate(judge, gathered)
    words = f"{expected.requests} questions to {judge.cfg.judge} at {judge.cfg.address}: at most {judge.bill.in_words(expected.tokens)}"
    if expected.requests:
        notice.warning("autointerp, %s: %d latents, %s", ctx.checkpoint.name, len(gathered.latents), words)
    cost, budget = judge.bill.cost(expected.tokens), judge.cfg.budget
    if cost is not None and budget is not None and cost > budget:
        raise BadInput(f"{words}, above the budget of ${budget:g}: raise budget, or lower n_latents")
    return expected, ask_all(judge, gathered, ctx.progress)


def _require_most(verdicts: list[Verdict]) -> None:
    """Raise where a number would not be one: the run has failed, and may be tried again, which asks only what has no answer yet."""
    from .judge import JudgeError

    failed = [v for v in verdicts if v.answer is None]
    if len(failed) > len(verdicts) / 2:
        raise JudgeError(
            f"no answer about {len(failed)} of {len(verdicts)} latents, the last because: {failed[-1].error}"
        )
    if not any(v.readable for v in verdicts):
        last = [v.answer for v in verdicts if v.answer is not None][-1]
        kind = "cut off" if last.cut else "no list of numbers"
        raise JudgeError(
            f"none of the judge's answers about {len(verdicts)} latents can be read, the last is {kind}: {last.text[:100]!r}"
        )


def _last(gathered: Gathered) -> str:
    return list(gathered.without.values())[-1]
