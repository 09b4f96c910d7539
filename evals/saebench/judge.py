"""Ask an OpenAI-compatible server: answers are cached, failures retried, the bill watched. The key comes from the environment and stays there."""

from __future__ import annotations

import logging
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from .judge_bill import Bill, BudgetSpent, Tokens, at_most
from .judge_cache import Answer, Answers, key_of
from .judge_config import JudgeConfig

logger = logging.getLogger(__name__)
T = TypeVar("T")

LONGEST_WAIT = 120.0
"""Seconds: the most that is waited between two attempts, whatever the server asks for."""
GIVE_UP_AFTER = 10
"""Questions in a row without an answer, after which no more are asked: the server is down, or refuses everything."""
_PASSING = (408, 409, 425, 429)
_HOPELESS = (401, 403, 404)


class JudgeError(Exception):
    """One question has no answer; the message says why, in one line and without the key."""


class JudgeStopped(Exception):
    """No further question makes sense: the server refuses us, does not answer any more, or the budget is spent."""


class Question(NamedTuple):
    """One question to the judge."""

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    grammar: str
    """GBNF that holds the answer to its form, for servers that take one."""


class _Failed(Exception):
    """One attempt failed."""

    def __init__(self, why: str, *, passing: bool, billed: bool, wait: float | None = None) -> None:
        super().__init__(why)
        self.passing, self.billed, self.wait = passing, billed, wait


class Judge:
    """A judge, open for questions inside a `with` block. Threads may share it.

    Args:
        cfg: Which judge, and how to ask.
        folder: Where answers are kept; None keeps them in memory.

    Raises:
        BadInput: There is no key, and the server needs one.
        JudgeStopped: On entering the block: the server had to be asked what it is, and does not answer.
    """

    def __init__(self, cfg: JudgeConfig, folder: Path | None) -> None:
        from openai import OpenAI

        self.cfg, self.answers = cfg, Answers(folder)
        self.bill = Bill(cfg.price_in, cfg.price_out, cfg.budget)
        self.takes_grammar = cfg.grammar == "llama.cpp"
        self._key = cfg.api_key()
        self._client = OpenAI(base_url=cfg.address, api_key=self._key or "none", timeout=cfg.timeout, max_retries=0)
        self._random = random.Random()  # spreads the attempts of several threads; no number depends on it
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._why, self._in_a_row = "", 0

    def __enter__(self) -> Judge:
        if self.cfg.grammar == "auto" and not self.cfg.is_openai:
            self.takes_grammar = self._is_llama_cpp()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop("it is closed")
        self._client.close()

    def known(self, question: Question) -> Answer | None:
        """The answer, if the question was asked before."""
        return self.answers.get(self._key_of(question))

    def ask(self, question: Question) -> Answer:
        """The answer, from the cache or the server.

        Raises:
            JudgeError: There is none, after all attempts.
            JudgeStopped: No more is asked.
        """
        if (known := self.known(question)) is not None:
            return known
        answer = self._until_answered(lambda: self._chat(question), at_most(question.messages, question.max_tokens))
        self.answers.keep(self._key_of(question), answer)
        return answer

    def stop(self, why: str) -> None:
        """Ask nothing more; the first reason counts. Threads that wait for another attempt give up at once."""
        with self._lock:
            if not self._stop.is_set():
                self._why = why
                self._stop.set()

    def _key_of(self, question: Question) -> str:
        return key_of({"url": self.cfg.address, **self._request(question)})

    def _request(self, question: Question) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.cfg.judge,
            "messages": [dict(m) for m in question.messages],
            "max_tokens": question.max_tokens,
        }
        if self.cfg.temperature is not None:
            request["temperature"] = self.cfg.temperature
        if self.takes_grammar:
            request["extra_body"] = {"grammar": question.grammar}
        return request

    def _until_answered(self, attempt: Callable[[], tuple[T, Tokens | None]], most: Tokens) -> T:
        """Attempt until there is an answer, as often as the settings allow; `most` is what one attempt may take."""
        for tried in range(self.cfg.retries + 1):
            if self._stop.is_set():
                raise JudgeStopped(self._why)
            try:
                answer = self._billed(attempt, most)
            except BudgetSpent as error:
                self.stop(str(error))
                raise JudgeStopped(self._why) from None
            except _Failed as error:
                failed = error
            else:
                self._count(None)
                return answer
            if not failed.passing or tried == self.cfg.retries:
                break
            wait = self.cfg.backoff * 2**tried * self._random.uniform(1, 1.25) if failed.wait is None else failed.wait
            logger.info("judge: %s; attempt %d of %d in %.1f s", failed, tried + 2, self.cfg.retries + 1, wait)
            self._stop.wait(min(wait, LONGEST_WAIT))
        self._count(str(failed))
        raise JudgeError(str(failed))

    def _count(self, failure: str | None) -> None:
        self._in_a_row = 0 if failure is None else self._in_a_row + 1
        if self._in_a_row >= GIVE_UP_AFTER:
            self.stop(f"{self._in_a_row} questions in a row have no answer, the last because: {failure}")

    def _billed(self, attempt: Callable[[], tuple[T, Tokens | None]], most: Tokens) -> T:
        self.bill.reserve(most)
        used = Tokens()
        try:
            answer, counted = attempt()
            used = most if counted is None else counted
        except _Failed as error:
            used = most if error.billed else Tokens()  # a question whose answer got lost may have to be paid for
            raise
        finally:
            self.bill.settle(most, used)
        return answer

    def _chat(self, question: Question) -> tuple[Answer, Tokens | None]:
        result = self._call(lambda: self._client.chat.completions.create(**self._request(question)))
        try:
            choice = result.choices[0]
            text = choice.message.content
        except (AttributeError, IndexError, TypeError):
            text = None
        if not isinstance(text, str) or not text.strip():
            raise _Failed(f"the server's reply holds no answer: {self._clean(result)}", passing=True, billed=True)
        usage = getattr(result, "usage", None)
        counts = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
        used = Tokens(*counts) if all(isinstance(c, int) for c in counts) else None  # type: ignore[arg-type]
        return Answer(self._redacted(text.strip()), getattr(choice, "finish_reason", None) == "length"), used

    def _call(self, request: Callable[[], Any]) -> Any:
        """One request; what goes wrong is told without the key, and without the library's own exception, which may hold it."""
        import openai

        try:
            return request()
        except openai.APIStatusError as error:
            status, why, code = error.status_code, self._clean(error), getattr(error, "code", None)
            wait = _seconds(error.response.headers.get("retry-after"))
        except openai.APIError as error:  # time-outs and broken connections, whose cause says more than they do
            raise _Failed(self._clean(error, error.__cause__), passing=True, billed=True) from None
        except ValueError as error:  # a body that is no JSON
            raise _Failed(f"the server's reply is broken: {self._clean(error)}", passing=True, billed=True) from None
        if status in _HOPELESS or code == "insufficient_quota":
            self.stop(f"the judge at {self.cfg.address} refuses: {why}")
            raise JudgeStopped(self._why)
        raise _Failed(why, passing=status in _PASSING or status >= 500, billed=False, wait=wait)

    def _is_llama_cpp(self) -> bool:
        """Whether the server says so. Asked once per address, and kept: the answers' keys depend on it."""
        key = key_of({"url": self.cfg.address, "what": "the server's kind"})
        if (known := self.answers.get(key)) is None:
            try:
                known = self._until_answered(self._kind, Tokens())
            except JudgeError as error:
                raise JudgeStopped(f"the judge at {self.cfg.address} does not answer: {error}") from None
            self.answers.keep(key, known)
        return known.text == "llamacpp"

    def _kind(self) -> tuple[Answer, Tokens]:
        import openai

        def models() -> Any:
            try:
                return self._client.models.list()
            except (openai.NotFoundError, openai.BadRequestError, openai.APIResponseValidationError):
                return None  # a server that does not list its models
            except openai.APIStatusError as error:
                if error.status_code in (405, 501):
                    return None
                raise

        found = getattr(self._call(models), "data", None) or [None]
        return Answer(str(getattr(found[0], "owned_by", None))), Tokens()

    def _clean(self, *parts: object) -> str:
        """Texts as one short line without the key."""
        text = ": ".join(dict.fromkeys(" ".join(str(p).split()) for p in parts if p))
        return self._redacted(text)[:300]

    def _redacted(self, text: str) -> str:
        if self._key is not None:
            text = text.replace(self._key, "[key]")
        return re.sub(r"\bsk-[\w-]{6,}", "[key]", text)


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if seconds >= 0 else None
