"""A judge for autointerp that reads words alone: `python results/validity/judge.py --port 8090` answers as an OpenAI-compatible server, without network and without a language model.

It explains a latent by the three tokens most often marked, and takes an example for active where one of them stands in it. So it can tell latents that follow a token from latents that follow nothing; of
meaning it knows nothing, and a latent that stands for a concept of many words looks to it as if it stood for none.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKENS = 3


def reply(question: str) -> str:
    """The answer to SAEBench's question for an explanation, or which examples are active."""
    asked = re.search(r"this neuron fires on (\[.*\])\.\n", question)
    if asked is None:
        marked = Counter(re.findall(r"<<(.*?)>>", question))
        return f"This neuron activates on {json.dumps([token for token, _ in marked.most_common(TOKENS)])}"
    tokens = json.loads(asked[1])
    examples = re.findall(r"^(\d+)\. (.*)$", question[asked.end() :], re.MULTILINE)
    return ", ".join(number for number, text in examples if any(token in text for token in tokens)) or "None"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """The list of models."""
        self._send({"object": "list", "data": [{"id": "words", "object": "model", "owned_by": "hedgebench"}]})

    def do_POST(self) -> None:
        """A chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": reply(body["messages"][-1]["content"])}
        self._send({"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})  # fmt: skip

    def _send(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Be silent."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8090)
    ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), _Handler).serve_forever()
