"""What a judge costs: tokens estimated before, counted after, and a budget that is not passed. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

BYTES_PER_TOKEN = 3
"""For estimates: English has about four bytes per token of a present model, so that this counts too many rather than too few."""
PER_MESSAGE = 8
"""Tokens that a server adds around a message."""


class Tokens(NamedTuple):
    """Tokens of questions and of answers."""

    questions: int = 0
    answers: int = 0

    def plus(self, other: Tokens) -> Tokens:
        """The sum."""
        return Tokens(self.questions + other.questions, self.answers + other.answers)

    def minus(self, other: Tokens) -> Tokens:
        """The difference."""
        return Tokens(self.questions - other.questions, self.answers - other.answers)


class BudgetSpent(Exception):
    """The next question could pass the budget."""


def at_most(messages: Iterable[Mapping[str, str]], max_tokens: int) -> Tokens:
    """An upper estimate of what a question and its answer take."""
    return Tokens(sum(PER_MESSAGE + -(-len(m["content"].encode()) // BYTES_PER_TOKEN) for m in messages), max_tokens)


class Bill:
    """Counts tokens over all threads of a run; while a question is under way, it counts with all it may cost.

    Args:
        price_in: Dollars per million tokens of questions, or None.
        price_out: The same of answers.
        budget: Dollars that may be spent, or None.
    """

    def __init__(self, price_in: float | None, price_out: float | None, budget: float | None) -> None:
        self.price_in, self.price_out, self.budget = price_in, price_out, budget
        self.used, self.attempts = Tokens(), 0
        self._pending = Tokens()
        self._lock = threading.Lock()

    def cost(self, tokens: Tokens) -> float | None:
        """In dollars; None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens.questions * self.price_in + tokens.answers * self.price_out) / 1e6

    def in_words(self, tokens: Tokens) -> str:
        """Such as `1200 + 60 tokens ($0.0012)`."""
        cost = self.cost(tokens)
        return f"{tokens.questions} + {tokens.answers} tokens" + ("" if cost is None else f" (${cost:.4f})")

    def reserve(self, tokens: Tokens) -> None:
        """Before an attempt.

        Raises:
            BudgetSpent: With this one, and all that is under way, the budget could be passed.
        """
        with self._lock:
            cost = self.cost(self.used.plus(self._pending).plus(tokens))
            if self.budget is not None and cost is not None and cost > self.budget:
                raise BudgetSpent(f"the budget of ${self.budget:g} is spent: {self.in_words(self.used)} so far")
            self._pending = self._pending.plus(tokens)
            self.attempts += 1

    def settle(self, reserved: Tokens, used: Tokens) -> None:
        """After the attempt: what it took in the end."""
        with self._lock:
            self._pending = self._pending.minus(reserved)
            self.used = self.used.plus(used)
