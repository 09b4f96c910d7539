"""Language models with hooks: an offline name, a local Hugging Face folder, a TransformerLens name or a hub name."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import io
import logging
import re
import runpy
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hedgebench.compat import prepare
from hedgebench.digest import folder_digest
from hedgebench.offline import OFFLINE_MODELS, offline_folder, offline_revision
from hedgebench.paths import is_file, is_folder, is_there, user_path
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

logger = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16", "float16", "float64")


def load_model(name: str, *, device: str = "cpu", dtype: str = "float32") -> HookedTransformer:
    """Load a frozen model in eval mode, with its tokenizer.

    Nothing is folded, centred or rescaled: the activations and logits are those of the Hugging Face model. The hook points
    have TransformerLens's names, wherever the model comes from. What is already on this machine is read without any
    network call.

    Args:
        name: An offline name (`smollm2-135m`), a local folder as Hugging Face saves it, a name or alias known to
            TransformerLens (`gpt2`), or a Hugging Face name (`org/name`).
        device: Torch device of the result.
        dtype: `float32`, `bfloat16`, `float16` or `float64`.

    Raises:
        BadInput: The name is unknown, a file is missing or broken, TransformerLens cannot express the architecture, or the
            hub cannot be reached.
    """
    check_model_name(name)
    if dtype not in DTYPES:
        raise BadInput(f"unknown dtype {dtype!r}; use one of {', '.join(DTYPES)}")
    prepare()
    from hedgebench.convert import hooked_from_hugging_face

    try:
        folder = offline_folder(name) if name in OFFLINE_MODELS else _folder(name)
        with warnings.catch_warnings():
            # TransformerLens 3 tells every user of HookedTransformer to leave it; SAELens and SAEBench are built on it.
            warnings.simplefilter("ignore", DeprecationWarning)
            if folder is None:
                model = _from_hub(name, device, dtype)
            else:
                label = name if name in OFFLINE_MODELS else folder.resolve().name
                model = hooked_from_hugging_face(str(folder), label, device, dtype)
    except BadInput:
        raise
    except Exception as error:  # upstream raises nearly every type for a file that is missing, cut short or foreign
        near = "" if _is_known(name) else _nearest(name)
        raise BadInput(f"model {name!r} cannot be loaded: {_one_line(error)}{near}") from error
    return model.eval().requires_grad_(False)


def check_model_name(name: str) -> None:
    """Refuse a name that no model can have, at once and without the network.

    Raises:
        BadInput: The name is neither an installed offline name, nor a model's folder, nor known to TransformerLens, nor of
            the form `org/name`. The line names the nearest right ones.
    """
    if name in OFFLINE_MODELS:
        offline_revision(name)
    if _is_known(name):
        return
    if not name:
        raise BadInput(f"unknown model ''{_nearest(name)}")
    path = user_path(name)
    if is_folder(path):
        raise BadInput(f"{name}: not a model's folder, there is no config.json in it")
    if is_there(path):
        raise BadInput(f"{name}: a model is given by its folder, and this is a file")
    if name.startswith((".", "/", "~")):
        raise BadInput(f"{name}: no such folder")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise BadInput(f"unknown model {name!r}{_nearest(name)}")


def model_revision(name: str) -> str:
    """What decides a model's numbers besides its name, for run ids; the model itself is not loaded.

    For an offline model the package version and conversion recipe; for a folder a hash of its contents; for a hub model the
    commit in the local cache, else the hub's present one (the only case that asks the network), else `main`.

    Raises:
        BadInput: As `check_model_name`.
    """
    check_model_name(name)
    if name in OFFLINE_MODELS:
        return offline_revision(name)
    if (folder := _folder(name)) is not None:
        return folder_digest(folder)
    repo = _transformer_lens_names().get(name.lower(), name)
    return _cached_commit(repo) or _hub_commit(repo) or "main"


def _is_known(name: str) -> bool:
    return name in OFFLINE_MODELS or _folder(name) is not None or name.lower() in _transformer_lens_names()


def _folder(name: str) -> Path | None:
    path = user_path(name)
    return path if is_file(path / "config.json") else None


@cache
def _transformer_lens_names() -> dict[str, str]:
    """Every name and alias, in lower case, with the official name it stands for.

    The list is read out of its file: importing TransformerLens takes seconds.
    """
    spec = importlib.util.find_spec("transformer_lens")
    if spec is None or spec.origin is None:
        return {}
    lists = runpy.run_path(str(Path(spec.origin).with_name("supported_models.py")))
    aliases = {alias.lower(): name for name, others in lists["MODEL_ALIASES"].items() for alias in others}
    return {**aliases, **{name.lower(): name for name in lists["OFFICIAL_MODEL_NAMES"]}}


def _nearest(name: str) -> str:
    """A "; did you mean ...?" clause with the nearest name, and those that are nearly as near."""
    known = {**{n.lower(): n for n in OFFLINE_MODELS}, **_transformer_lens_names()}
    best = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.55)
    if best:
        nearly = difflib.SequenceMatcher(None, best[0], name.lower()).ratio() - 0.05
        close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=nearly)
        return f"; did you mean {' or '.join(dict.fromkeys(repr(known[n]) for n in close))}?"
    return "; give a folder, a Hugging Face name (org/name), a TransformerLens name (gpt2) or 'smollm2-135m'"


# --- the hub ----------------------------------------------------------------------------------------------------------------


def _from_hub(name: str, device: str, dtype: str) -> HookedTransformer:
    """The model in the local cache, where there is one: without the network, unless the copy proves incomplete."""
    official = _transformer_lens_names().get(name.lower())

    def load() -> HookedTransformer:
        if official is not None:
            return _from_transformer_lens(official, device, dtype)
        from hedgebench.convert import hooked_from_hugging_face

        return hooked_from_hugging_face(name, name.split("/")[-1], device, dtype)

    if _cached_commit(official or name) is not None:
        try:
            with _without_network():
                return load()
        except (OSError, ValueError, RuntimeError) as error:
            if isinstance(error, BadInput):
                raise
            logger.info("the local copy of %s cannot be read alone, asking the hub: %s", name, error)
    return load()


@contextlib.contextmanager
def _without_network() -> Iterator[None]:
    """The hub's libraries look at this switch before every request."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _cached_commit(repo: str) -> str | None:
    """The commit of a model whose configuration and weights are in the local cache."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo, "config.json")
    if not isinstance(config, str):
        return None
    snapshot = Path(config).parent
    return snapshot.name if any(f.suffix in (".safetensors", ".bin", ".pth") for f in snapshot.rglob("*")) else None


def _hub_commit(repo: str) -> str | None:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repo, timeout=10).sha
    except Exception as error:
        logger.debug("the hub does not tell the commit of %s: %s", repo, error)
        return None


def _from_transformer_lens(official: str, device: str, dtype: str) -> HookedTransformer:
    from transformer_lens import HookedTransformer

    with contextlib.redirect_stdout(io.StringIO()):  # it prints a greeting
        return HookedTransformer.from_pretrained_no_processing(official, device=device, dtype=dtype)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
