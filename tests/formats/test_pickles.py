"""dictionary_learning's files are pickles: nothing but tensors is taken out of them, and they are believed in nothing."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import known_formats as known
import pytest
import torch
from broken_files import cut, refused

from hedgebench import load_sae


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (exec, (f"open({str(self.trace)!r}, 'w').write('code from a checkpoint was run')",))


def test_the_bomb_is_a_real_one(tmp_path: Path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("place", ["alone", "among the tensors", "bare pickle", "old format"])
def test_a_pickle_that_would_run_code_is_refused_and_no_code_runs(place: str, tmp_path: Path):
    bomb = Bomb(tmp_path / "trace")
    folder = known.write_dictionary(tmp_path / "trainer_0")
    file = folder / "ae.pt"
    if place == "alone":
        torch.save(bomb, file)
    elif place == "among the tensors":
        torch.save({**known.dictionary_weights("BatchTopKSAE"), "extra": bomb}, file)
    elif place == "bare pickle":
        file.write_bytes(pickle.dumps(bomb))
    else:
        torch.save({"encoder.weight": bomb}, file, _use_new_zipfile_serialization=False)
    code = f"from hedgebench import load_sae\nfrom hedgebench.types import BadInput\ntry:\n    load_sae({str(file)!r})\nexcept BadInput as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert not bomb.trace.exists(), "code from a checkpoint was run"
    assert "more than tensors" in done.stdout or "not a whole file of torch.save" in done.stdout, done.stderr


def expanded() -> dict[str, Any]:
    """Tensors that claim terabytes out of one number."""
    n, d = 2**24, 2**20
    made = {"W_enc": (d, n), "b_enc": (n,), "W_dec": (n, d), "b_dec": (d,), "threshold": (n,)}
    return {name: torch.zeros(1).expand(*shape) for name, shape in made.items()}


@pytest.mark.parametrize(
    ("kind", "weights", "trainer", "message"),
    [
        ("BatchTopKSAE", {"step": 3, "ae": {}}, {}, "step is a int, not a tensor; it is no finished ae.pt"),
        ("BatchTopKSAE", [torch.zeros(3)], {}, "expected named tensors, found list"),
        ("BatchTopKSAE", {}, {}, "no encoder.weight in it; found nothing"),
        ("AutoEncoder", known.dictionary_weights("BatchTopKSAE"), {}, "no bias in it"),
        ("BatchTopKSAE", None, {"dict_class": "CrossCoder"}, "dict_class is 'CrossCoder'; "),
        ("BatchTopKSAE", None, {"dict_class": "BatchTopKSEA"}, "did you mean 'BatchTopKSAE'"),
        ("BatchTopKSAE", None, {"dict_size": 21}, r"encoder.weight has shape \[20, 8\], but config.json"),
        ("BatchTopKSAE", None, {"activation_dim": None}, "activation_dim must be a whole number"),
        ("AutoEncoderTopK", None, {"k": None}, "k must be a whole number"),
        ("AutoEncoderTopK", None, {"k": 6}, "its k is 5, but config.json says 6"),
        ("AutoEncoderTopK", None, {"k": 600}, "k is 600, more than the 20 latents"),
        (
            "JumpReluAutoEncoder",
            expanded(),
            {"dict_size": 2**24, "activation_dim": 2**20},
            "claims more than the file holds",
        ),
        (
            "AutoEncoder",
            {k: v.long() for k, v in known.dictionary_weights("AutoEncoder").items()},
            {},
            "holds torch.int64 numbers",
        ),
    ],
)
def test_dictionaries_that_lie_or_are_none_are_refused(
    kind: str, weights: Any, trainer: dict[str, Any], message: str, tmp_path: Path
):
    refused(known.write_dictionary(tmp_path / "trainer_0", kind, weights=weights, **trainer), message)


def test_a_truncated_dictionary_is_refused(tmp_path: Path):
    folder = known.write_dictionary(tmp_path / "trainer_0")
    cut(folder / "ae.pt")
    refused(folder, r"not a whole file of torch.save")


def test_a_packed_dictionary_is_refused(tmp_path: Path):
    file = known.write_dictionary(tmp_path / "trainer_0") / "ae.pt"
    with zipfile.ZipFile(file) as old:
        parts = {i.filename: old.read(i) for i in old.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in parts.items():
            new.writestr(name, data)
    refused(file, "packed or overlapping parts")


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "{}", '{"trainer": 3}', "[" * 100_000])
def test_settings_that_are_no_settings_are_refused(text: str, tmp_path: Path):
    folder = known.write_dictionary(tmp_path / "trainer_0")
    (folder / "config.json").write_text(text)
    refused(folder, "not valid JSON|expected a JSON object|no 'trainer' in it")


@pytest.mark.parametrize("name", ["ae.pt", "model.pt", "weights.bin", "sae.pkl"])
def test_other_pickled_files_are_not_opened(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    refused(tmp_path / name, "pickled weights are not opened")
    assert not (tmp_path / "trace").exists()


def test_a_config_may_lack_what_only_some_data_have(tmp_path: Path):
    folder = known.write_dictionary(tmp_path / "trainer_0")
    config = known.dictionary_config("BatchTopKSAE")
    del config["buffer"], config["trainer"]["lm_name"], config["trainer"]["layer"]
    (folder / "config.json").write_text(json.dumps(config))
    meta = load_sae(folder).cfg.metadata
    assert (meta.hook_name, meta.model_name) == (None, None)
