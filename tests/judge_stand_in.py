"""A judge for tests: a local server that speaks as OpenAI's does, answers as it is told, and misbehaves on demand.

Also the words it judges by: a language model whose activations are its tokens, and SAEs whose latents are words.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import torch

Fault = Callable[["_Handler"], None]


class StandIn:
    """The server, inside a `with` block.

    Args:
        answer: From the request's body to the answer's text.
        fault: From (number of the chat request from 1, its body) to what goes wrong with it, or None.
        owned_by: Whose the server says it is, in the list of its models; None: it has no such list.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], str],
        fault: Callable[[int, dict[str, Any]], Fault | None] = lambda n, body: None,
        owned_by: str | None = "stand-in",
    ) -> None:
        self.answer, self.fault, self.owned_by = answer, fault, owned_by
        self.chats: list[dict[str, Any]] = []
        self.asked_kind = 0
        self.keys: set[str] = set()
        self.lock = threading.Lock()
        self.over = threading.Event()

    def __enter__(self) -> StandIn:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stand_in": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def prompts(self, role: str = "user") -> Counter[str]:
        """What was asked, counted."""
        return Counter(m["content"] for body in self.chats for m in body["messages"] if m["role"] == role)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def log_message(self, *_: Any) -> None:
        """Be silent."""

    def do_GET(self) -> None:
        """The list of models."""
        me = self.stand_in
        me.asked_kind += 1
        if me.owned_by is None:
            self.send(404, {"error": {"message": "no such page"}})
        else:
            self.send(200, {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": me.owned_by}]})

    def do_POST(self) -> None:
        """A chat completion."""
        me = self.stand_in
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with me.lock:
            me.chats.append(body)
            me.keys.add(str(self.headers["Authorization"]))
            number = len(me.chats)
        fault = me.fault(number, body)
        (fault or says(me.answer(body)))(self)

    def send(self, status: int, body: Any, length: int | None = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(length or len(data))}
        for name, value in {**given, **{k.replace("_", "-"): v for k, v in headers.items()}}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


# --- what it does -----------------------------------------------------------------------------------------------------------------


def says(text: str | None, finish_reason: str = "stop") -> Fault:
    """An ordinary answer."""

    def act(handler: _Handler) -> None:
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        handler.send(200, {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})

    return act


def status(code: int, message: str = "no", error_code: str | None = None, **headers: str) -> Fault:
    """An error, as OpenAI words it."""
    return lambda handler: handler.send(code, {"error": {"message": message, "code": error_code}}, **headers)


def replies(body: bytes, **headers: str) -> Fault:
    """Status 200 and any body."""
    return lambda handler: handler.send(200, body, **headers)


def hangs(handler: _Handler) -> None:
    """No answer before the client loses patience."""
    handler.stand_in.over.wait(30)
    handler.close_connection = True


def hangs_up(handler: _Handler) -> None:
    """The connection closes without a word."""
    handler.close_connection = True


def breaks_off(handler: _Handler) -> None:
    """The connection closes in the middle of the answer."""
    handler.send(200, b'{"choices": [{"message": {"content": "1, 2', length=500)
    handler.close_connection = True


# --- how it judges ----------------------------------------------------------------------------------------------------------------


def is_scoring(body: dict[str, Any]) -> bool:
    """Whether it is the question which examples are active."""
    return "Here is the explanation" in body["messages"][1]["content"]


def by_keyword(body: dict[str, Any]) -> str:
    """An honest judge: it explains a latent by the word most often marked, and finds the examples with that word."""
    text = body["messages"][1]["content"]
    if not is_scoring(body):
        return f"This neuron activates on {Counter(re.findall(r'<<(w[0-9]+)>>', text)).most_common(1)[0][0]}."
    word = re.search(r"fires on (.*)\.\n", text)[1]  # type: ignore[index]
    found = [n for n, line in re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE) if word in line]
    return ", ".join(found) or "None"


def by_hash(body: dict[str, Any]) -> str:
    """A judge who always says the same to the same examples, and nothing that makes sense."""
    text = body["messages"][1]["content"]
    digest = hashlib.sha256(text.encode()).digest()
    if not is_scoring(body):
        return f"This neuron activates on things like {digest.hex()[:8]}."
    numbers = [n for n in range(1, 15) if digest[n] % 3 == 0]
    return ", ".join(map(str, numbers)) or "None"


# --- what it judges ---------------------------------------------------------------------------------------------------------------

WORDS, CONTEXT = 40, 32
HOOK = "blocks.0.hook_resid_pre"


class WordTokens:
    """A token source of words: w03 at about every fourth place, w04 half as often, and so on; w38 hardly ever, w39 never. BOS first."""

    special_ids = frozenset({1, 2})
    text = SimpleNamespace(name="words", identity="words")

    def __init__(self, n_rows: int = 96, context: int = CONTEXT) -> None:
        weights = torch.tensor([0.0, 0, 0] + [1 / (i + 1) for i in range(WORDS - 3)])
        weights[-2:] = torch.tensor([0.002, 0.0])
        generator = torch.Generator().manual_seed(3)
        self.rows = torch.multinomial(weights, n_rows * context, replacement=True, generator=generator)
        self.rows = self.rows.view(n_rows, context)
        self.rows[:, 0] = 1
        self.rows[::5, 9] = 2

    def batches(self, n_batches: int, batch_size: int, context_size: int) -> Iterator[torch.Tensor]:
        yield from self.rows[: n_batches * batch_size, :context_size].split(batch_size)


def word_model() -> Any:
    """A language model whose activation at `HOOK` is the token's own coordinate, and a hundredth of its place in the sequence in all."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{i:02d}": i for i in range(3, WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    with torch.random.fork_rng():
        model = HookedTransformer(
            HookedTransformerConfig(
                n_layers=1, d_model=WORDS, n_ctx=64, d_head=8, n_heads=5, d_vocab=WORDS, act_fn="gelu", seed=0,
            )
        )  # fmt: skip
    model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    model.W_E.data, model.W_pos.data = torch.eye(WORDS), 0.01 * torch.arange(64.0)[:, None].repeat(1, WORDS)
    return model.eval().requires_grad_(False)


def word_sae(words: list[int]) -> Any:
    """An SAE with one latent per word, which fires where that token stands and nowhere else, later in a sequence more strongly."""
    from sae_lens import SAE

    rows = torch.eye(WORDS)[words]
    metadata = {"hook_name": HOOK, "model_name": "words"}
    sae = SAE.from_dict(
        {"architecture": "standard", "d_in": WORDS, "d_sae": len(words), "dtype": "float32", "metadata": metadata}
    )
    biases = {"b_enc": torch.full((len(words),), -0.5), "b_dec": torch.zeros(WORDS)}
    sae.load_state_dict({"W_enc": rows.T.contiguous(), "W_dec": rows, **biases})
    return sae.eval().requires_grad_(False)


def wait_for(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
