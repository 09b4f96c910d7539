"""The settings of a judge: which server and model, how patiently, and for how much money."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from hedgebench.types import BadInput

OPENAI = "https://api.openai.com/v1"
KEY_NAMES = ("HEDGEBENCH_JUDGE_API_KEY", "OPENAI_API_KEY")
"""Environment variables that hold the key; the first that is set counts. A key is never a setting."""
GRAMMARS = ("auto", "llama.cpp", "none")


@dataclass(frozen=True)
class JudgeConfig:
    """Which judge to ask, and how. The settings from `concurrency` on do not change a number, but are part of a run's identity."""

    judge: str = "gpt-4o-mini"
    """The judge's model name, as its server calls it. A local llama.cpp server answers to any."""
    base_url: str | None = None
    """Address of an OpenAI-compatible server, such as http://127.0.0.1:8080/v1. None: `OPENAI_BASE_URL` of the environment, else
    OpenAI's own. It is resolved when the run is planned, so that the run's identity and its record name it."""
    temperature: float | None = 0.0
    """Sampling temperature. None leaves it to the server, as SAEBench does (OpenAI's is 1)."""
    grammar: str = "auto"
    """`llama.cpp`: answers are held to a grammar, which llama.cpp's server takes with each request. `none`: free answers, as in
    SAEBench. `auto`: a grammar where the server says that it is llama.cpp's; it is asked once per address."""
    concurrency: int = 10
    """Questions under way at once."""
    retries: int = 5
    """Further attempts after one that failed for a reason that may pass: too many requests, server error, time-out, broken answer."""
    backoff: float = 1.0
    """Seconds before the second attempt, doubled from attempt to attempt, where the server does not say how long to wait."""
    timeout: float = 120.0
    """Seconds without a byte from the server after which an attempt has failed."""
    price_in: float | None = None
    """US dollars per million tokens of questions, for the estimate and the budget. None: tokens are counted, not dollars."""
    price_out: float | None = None
    """US dollars per million tokens of answers."""
    budget: float | None = None
    """US dollars that one run (one SAE, one seed) may cost. A run does not start when its estimate, an upper one, is above, and asks
    nothing more when it is spent; what was answered is kept. Needs both prices."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", _address(self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI))
        if not self.judge:
            raise BadInput("judge is empty: give the model name, such as gpt-4o-mini")
        if self.grammar not in GRAMMARS:
            raise BadInput(f"grammar must be one of {', '.join(GRAMMARS)}, not {self.grammar!r}")
        for name, least in (("concurrency", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise BadInput(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("temperature", "backoff", "price_in", "price_out", "budget"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise BadInput(f"{name} must be at least 0, not {value}")
        if not 0 < self.timeout < math.inf:
            raise BadInput(f"timeout must be above 0 seconds, not {self.timeout}")
        if self.budget is not None and (self.price_in is None or self.price_out is None):
            raise BadInput("a budget needs price_in and price_out, in dollars per million tokens")

    @property
    def address(self) -> str:
        """The server's address."""
        return str(self.base_url)

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own server."""
        return (urlsplit(self.address).hostname or "").endswith("api.openai.com")

    def api_key(self) -> str | None:
        """The key out of the environment; None where there is none and none is needed.

        Raises:
            BadInput: There is none, and the server is OpenAI's own.
        """
        own, openai = KEY_NAMES
        theirs = self.is_openai or self.address == _address(os.environ.get("OPENAI_BASE_URL") or OPENAI)
        for name in (own, openai) if theirs else (own,):  # OpenAI's key goes nowhere else
            if key := os.environ.get(name, "").strip():
                return key
        if self.is_openai:
            raise BadInput(
                f"the judge {self.judge} at {self.address} needs a key: set {' or '.join(KEY_NAMES)} in the environment, "
                "or give base_url for another server"
            )
        return None


def _address(url: str) -> str:
    """The address without a slash at the end.

    Raises:
        BadInput: It is none, or carries a user, a password or a query: records name it, and keep no secret.
    """
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname)
        secret = parts.username is not None or parts.password is not None or bool(parts.query or parts.fragment)
    except ValueError:
        plain, secret = False, False
    if secret or "@" in url:
        raise BadInput(
            f"base_url must be a plain address, without user, password or query; a key goes into {KEY_NAMES[0]}"
        )
    if not plain:
        raise BadInput(f"base_url {url!r} is no address: write it as http://127.0.0.1:8080/v1")
    return url.rstrip("/")
