"""Autointerp's questions to the judge: an explanation of each latent, then which examples it fires on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from .autointerp_examples import EXPLANATION, Gathered, LatentExamples
from .judge import Judge, JudgeError, Question
from .judge_bill import Tokens, at_most
from .judge_cache import Answer

logger = logging.getLogger(__name__)

ONE_LINE = r"root ::= [^\n]+"
"""The grammar of an explanation."""


@dataclass(frozen=True)
class Verdict:
    """What the judge said about one latent."""

    examples: LatentExamples
    said: str | None = None
    """Its explanation, in its own words."""
    explanation: str | None = None
    """What SAEBench takes out of these."""
    answer: Answer | None = None
    """Which examples it takes for active, in its own words."""
    predictions: list[int] | None = None
    """Their numbers, from 1; None where SAEBench cannot read the answer."""
    error: str | None = None
    """Why there is no answer."""

    @property
    def readable(self) -> bool:
        """Whether the answer is a whole one. One that was cut off may lack numbers, or end in half of one."""
        return self.predictions is not None and self.answer is not None and not self.answer.cut


@dataclass(frozen=True)
class Estimate:
    """What the questions still open will take at most."""

    requests: int
    tokens: Tokens


def numbers_grammar(n: int) -> str:
    """GBNF of an answer: `None`, or different numbers from 1 to n in rising order, with commas between them."""
    rules = [f'n{i} ::= "{i}" ("," n{i + 1})? | n{i + 1}' for i in range(1, n)]
    return "\n".join(['root ::= "None" | n1', *rules, f'n{n} ::= "{n}"'])


def estimate(judge: Judge, gathered: Gathered) -> Estimate:
    """What the judge is still to be asked about all latents; what it has answered before costs nothing."""
    requests, tokens = 0, Tokens()
    for examples in gathered.latents:
        explain = _explain(gathered.theirs, examples)
        known = judge.known(explain)
        if known is None:
            requests, tokens = requests + 1, tokens.plus(at_most(explain.messages, explain.max_tokens))
            explanation = "    " * explain.max_tokens  # as many tokens as it may have
        else:
            explanation = gathered.theirs.parse_explanation(known.text)
        predict = _predict(gathered.theirs, examples, explanation)
        if known is None or judge.known(predict) is None:
            requests, tokens = requests + 1, tokens.plus(at_most(predict.messages, predict.max_tokens))
    return Estimate(requests, tokens)


def ask_all(judge: Judge, gathered: Gathered, progress: Callable[[float], None]) -> list[Verdict]:
    """The verdicts on all latents, in their order; one that gets no answer loses nothing but itself.

    It runs in threads, so that it works in a notebook, too, where an event loop is running already.

    Raises:
        JudgeStopped: Nothing more can be asked. What was answered is kept.
    """
    with ThreadPoolExecutor(judge.cfg.concurrency, thread_name_prefix="judge") as pool:
        futures = {pool.submit(_ask, judge, gathered.theirs, e): i for i, e in enumerate(gathered.latents)}
        verdicts: list[Any] = [None] * len(futures)
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                verdicts[futures[future]] = future.result()
                progress(done / len(futures))
        except BaseException as error:
            judge.stop(f"stopped by {type(error).__name__}")
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return verdicts


def _ask(judge: Judge, theirs: Any, examples: LatentExamples) -> Verdict:
    said = explanation = None
    try:
        said = judge.ask(_explain(theirs, examples)).text
        explanation = theirs.parse_explanation(said)
        answer = judge.ask(_predict(theirs, examples, explanation))
    except JudgeError as error:
        logger.warning("latent %d: %s", examples.latent, error)
        return Verdict(examples, said, explanation, error=str(error))
    try:
        predictions = theirs.parse_predictions(answer.text)
    except ValueError:  # "②" is a digit to SAEBench, and no number to Python
        predictions = None
    return Verdict(examples, said, explanation, answer, predictions)


def _explain(theirs: Any, examples: LatentExamples) -> Question:
    return Question(examples.explain, theirs.cfg.max_tokens_in_explanation, ONE_LINE)


def _predict(theirs: Any, examples: LatentExamples, explanation: str) -> Question:
    return Question(
        filled(examples.predict, explanation), theirs.cfg.max_tokens_in_prediction, numbers_grammar(len(examples.truth))
    )


def filled(messages: Sequence[dict[str, str]], explanation: str) -> list[dict[str, str]]:
    """A scoring question with the explanation in its place."""
    return [{**m, "content": m["content"].replace(EXPLANATION, explanation, 1)} for m in messages]
