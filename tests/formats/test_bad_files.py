"""Files of other projects are untrusted: what is damaged, lies or would run code is refused in one line, before memory is taken."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import known_formats as known
import numpy as np
import pytest
import torch
from broken_files import cut, refused
from safetensors.torch import load_file, save_file

from hedgebench import load_sae, read_checkpoint
from hedgebench.formats.files import one_line
from hedgebench.types import BadInput


def write_member(file: Path, name: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Put an array's bytes in a Gemma Scope file in place of what is there."""
    with zipfile.ZipFile(file) as old:
        rest = {i.filename: old.read(i) for i in old.infolist() if i.filename != f"{name}.npy"}
    with zipfile.ZipFile(file, "w", compression) as new:
        for key, value in {**rest, f"{name}.npy": data}.items():
            new.writestr(key, value)


def npy(shape: tuple[int, ...], dtype: str = "<f4", data: bytes = b"") -> bytes:
    """An array's file with a header that may claim anything."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def without(name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in known.gemma_arrays().items() if key != name}


def changed(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    return {**known.gemma_arrays(), **arrays}


def poisoned(value: float) -> dict[str, np.ndarray]:
    arrays = known.gemma_arrays()
    arrays["W_enc"][0, 0] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (without("threshold"), r"no threshold in it; found W_dec, W_enc, b_dec, b_enc"),
        (without("W_enc"), r"no W_enc in it"),
        (
            changed(W_dec=known.gemma_arrays()["W_enc"]),
            r"W_dec has shape \[8, 20\], but W_enc \[8, 20\] asks for \[20, 8\]",
        ),
        (changed(b_enc=np.zeros(3, np.float32)), r"b_enc has shape \[3\]"),
        (changed(W_enc=np.zeros((0, 20), np.float32)), r"W_enc has shape \[0, 20\]"),
        (changed(w_enc=known.gemma_arrays()["W_enc"]), r"one array is in it twice: 'W_enc\.npy' and 'w_enc\.npy'"),
        (changed(w_dec=known.gemma_arrays()["W_dec"]), r"one array is in it twice: 'W_dec\.npy' and 'w_dec\.npy'"),
        (changed(scaling_factor=np.full(20, 1.5, np.float32)), "scaling_factor is not 1 throughout"),
        (changed(scaling_factor=np.array([1.0] * 19 + [np.nan])), "scaling_factor is not 1 throughout"),
        (changed(scaling_factor=np.array(2.0)), "scaling_factor is not 1 throughout"),
        (changed(b_gate=np.zeros(20, np.float32)), "'b_gate.npy' is in it, and what it does is not said"),
        (changed(b_dec=np.zeros(8, np.int64)), "b_dec holds int64 numbers"),
        (changed(b_dec=np.array(["x"] * 8)), "b_dec holds <U1 numbers"),
        (
            changed(b_dec=np.array([known] * 8, dtype=object).astype(str).astype(object)),
            "Python objects, which are never unpickled",
        ),
        (poisoned(float("nan")), "1 of 160 values of W_enc are NaN or infinite"),
        (poisoned(float("inf")), "NaN or infinite"),
    ],
)
def test_arrays_that_are_no_sae_are_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path):
    refused(known.write_gemma_scope(tmp_path / "average_l0_22", arrays) / "params.npz", message)


def test_a_truncated_archive_is_refused(tmp_path: Path):
    file = known.write_gemma_scope(tmp_path / "it") / "params.npz"
    cut(file)
    refused(file, r"not a whole \.npz file")


def test_an_archive_with_flipped_bytes_is_refused(tmp_path: Path):
    file = known.write_gemma_scope(tmp_path / "it") / "params.npz"
    data = bytearray(file.read_bytes())
    at = data.index(known.gemma_arrays()["W_enc"].tobytes()[:64])
    data[at : at + 4] = b"\x00\x00\x80\x3f"
    file.write_bytes(data)
    refused(file, r"not a whole \.npz file \(BadZipFile: Bad CRC-32")


HUGE = {"W_enc": npy((2**20, 2**24)), "W_dec": npy((2**24, 2**20)), "b_enc": npy((2**24,)), "b_dec": npy((2**20,))}


@pytest.mark.parametrize("made", [HUGE, HUGE | {"threshold": npy((2**24,))}, {"b_dec": npy((2**40,))}])
def test_a_header_that_claims_a_huge_array_takes_no_memory(made: dict[str, bytes], tmp_path: Path):
    file = known.write_gemma_scope(tmp_path / "it") / "params.npz"
    for name, data in made.items():
        write_member(file, name, data)
    refused(file, r"of shape \[.*\] takes \d+ bytes, but \d+ are there")


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path):
    file = known.write_gemma_scope(tmp_path / "it") / "params.npz"
    size = 2**22
    write_member(file, "b_enc", npy((size,), data=bytes(4 * size)), zipfile.ZIP_DEFLATED)
    refused(file, r"unpacks to \d+ bytes from \d+; that is no array of weights")


@pytest.mark.parametrize("factor", [np.ones(known.D_SAE, np.float32), np.array(1.0)])
def test_a_scaling_factor_of_1_changes_nothing(factor: np.ndarray, tmp_path: Path):
    plain, scaled = (
        known.write_gemma_scope(tmp_path / name, arrays)
        for name, arrays in (("plain", None), ("scaled", changed(scaling_factor=factor)))
    )
    ours, same = load_sae(plain).state_dict(), load_sae(scaled).state_dict()
    assert ours.keys() == same.keys()
    assert all(torch.equal(ours[name], same[name]) for name in ours)


def test_an_honest_compressed_archive_loads(tmp_path: Path):
    stored = load_sae(known.write_gemma_scope(tmp_path / "it"))
    np.savez_compressed(tmp_path / "packed.npz", **known.gemma_arrays())
    assert torch.equal(load_sae(tmp_path / "packed.npz").W_enc, stored.W_enc)


def test_arrays_in_fortran_order_and_half_precision_load(tmp_path: Path):
    arrays = {name: np.asfortranarray(a.astype(np.float16)) for name, a in known.gemma_arrays().items()}
    sae = load_sae(known.write_gemma_scope(tmp_path / "it", arrays))
    torch.testing.assert_close(
        sae.W_dec * sae.W_dec.new_tensor(arrays["W_dec"].astype(np.float32)).norm(dim=1, keepdim=True),
        torch.from_numpy(arrays["W_dec"].astype(np.float32)),
    )


# --- safetensors ---------------------------------------------------------------------------------------------------------------

SAFETENSORS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "sparsify": (lambda path: known.write_sparsify(path / "layers.3"), "sae.safetensors"),
    "llama_scope": (lambda path: known.write_llama_scope(path / "L15R"), "checkpoints/final.safetensors"),
    "plain": (lambda path: known.write_plain(path / "it/sae.safetensors").parent, "sae.safetensors"),
}


@pytest.mark.parametrize("name", SAFETENSORS)
@pytest.mark.parametrize("damage", ["truncated", "missing", "shape", "integers", "nan"])
def test_damaged_safetensors_are_refused(name: str, damage: str, tmp_path: Path):
    write, weights = SAFETENSORS[name]
    folder = write(tmp_path)
    file, tensors = folder / weights, load_file(folder / weights)
    first = sorted(tensors)[-1]
    last = sorted(tensors)[0]
    if damage == "truncated":
        cut(file)
    elif damage == "missing":
        save_file({k: v for k, v in tensors.items() if k != first}, file)
    elif damage == "shape":
        save_file({**tensors, last: torch.zeros(3)}, file)
    elif damage == "integers":
        save_file({**tensors, last: tensors[last].long()}, file)
    else:
        save_file({**tensors, first: torch.full_like(tensors[first], float("nan"))}, file)
    message = {
        "truncated": "not a whole safetensors file",
        "missing": f"no {first} in it",
        "shape": f"{last} has shape \\[3\\], but .* asks for",
        "integers": f"{last} holds I64 numbers",
        "nan": "NaN or infinite",
    }[damage]
    refused(folder, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transcode": True}, "a transcoder maps one hook point to another"),
        ({"skip_connection": True}, "a transcoder"),
        ({"activation": "groupmax"}, "'groupmax' has no counterpart in SAELens"),
        ({"signed": True}, "may be negative"),
        ({"k": 99}, "k is 99, more than the 20 latents"),
        ({"k": 0}, "k must be a whole number from 1"),
        ({"d_in": "8"}, "d_in must be a whole number"),
        ({"num_latents": 0}, r"encoder.weight has shape \[20, 8\], but cfg.json \(d_in 8, 256 latents\)"),
        ({"num_latents": 10**12, "d_in": 10**9}, "encoder.weight has shape"),
    ],
)
def test_sparsify_settings_that_are_no_such_sae_are_refused(changes: dict[str, Any], message: str, tmp_path: Path):
    refused(known.write_sparsify(tmp_path / "layers.3", **changes), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hook_point_out": "blocks.15.hook_mlp_out"}, "maps blocks.15.hook_resid_post to blocks.15.hook_mlp_out"),
        ({"act_fn": "relu"}, "act_fn is 'relu'"),
        ({"use_glu_encoder": True}, "use_glu_encoder"),
        ({"norm_activation": "token-wise"}, "norm_activation is 'token-wise'"),
        ({"dataset_average_activation_norm": None}, "dataset_average_activation_norm must hold"),
        ({"dataset_average_activation_norm": {"in": 0.0}}, "in must be a number above 0"),
        ({"dataset_average_activation_norm": {"in": 1.0, "out": 2.0}}, "another norm"),
        ({"jump_relu_threshold": "0.3"}, "jump_relu_threshold must be a number"),
        ({"jump_relu_threshold": float("nan")}, "jump_relu_threshold must be a number"),
        ({"d_sae": 21}, r"decoder.weight has shape|encoder.weight has shape"),
        ({"hook_point_in": None}, "hook_point_in must be a text"),
    ],
)
def test_llama_scope_settings_that_are_no_such_sae_are_refused(changes: dict[str, Any], message: str, tmp_path: Path):
    refused(known.write_llama_scope(tmp_path / "Llama3_1-8B-Base-L15R-8x", **changes), message)


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ({"apply_b_dec_to_input": "yes"}, "apply_b_dec_to_input is true or false"),
        ({"k": "21"}, "k of an SAE without thresholds is a whole number from 1 to 20"),
        ({"k": "many"}, "k is a number"),
        ({"l0": "nan"}, "l0 is a number"),
        *(({"train_seed": said}, "train_seed is a whole number") for said in ("1e300", "1.5", "inf", "9" * 5000)),
    ],
)
def test_notes_of_a_plain_file_that_make_no_sense_are_refused(notes: dict[str, str], message: str, tmp_path: Path):
    refused(known.write_plain(tmp_path / "it.safetensors", **notes), message)


def test_a_plain_file_with_a_tensor_of_unknown_meaning_is_refused(tmp_path: Path):
    weights = {**known.plain_weights(), "b_gate": torch.zeros(known.D_SAE)}
    refused(known.write_plain(tmp_path / "it.safetensors", weights), "b_gate is in it, and what it does is not said")


def test_a_folder_of_several_plain_files_asks_for_one_of_them(tmp_path: Path):
    files = [known.write_plain(tmp_path / f"{name}.safetensors") for name in ("b", "a")]
    refused(tmp_path, r"2 safetensors files \(a.safetensors, b.safetensors\).*; give one of them by its path")
    assert [load_sae(file).cfg.d_sae for file in files] == [known.D_SAE] * 2


def test_a_gemma_scope_transcoder_is_refused(tmp_path: Path):
    place = tmp_path / "gemma-scope-2b-pt-transcoders/layer_12/width_16k/average_l0_6"
    refused(known.write_gemma_scope(place), "a transcoder maps one hook point to another")


def test_settings_of_a_wrong_kind_are_told_or_as_if_they_were_not_there(tmp_path: Path):
    refused(known.write_dictionary(tmp_path / "list", dict_class=["AutoEncoder"]), r"dict_class is \['AutoEncoder'\]")
    assert read_checkpoint(known.write_dictionary(tmp_path / "model", lm_name=["a", {"b": 1}])).model is None
    assert read_checkpoint(known.write_dictionary(tmp_path / "named", lm_name="org/tiny")).model == "tiny"


def test_seeds_of_a_plain_file_are_exact(tmp_path: Path):
    exact = 10**17 + 1
    assert read_checkpoint(known.write_plain(tmp_path / "it.safetensors", train_seed=str(exact))).train_seed == exact


def test_control_characters_of_a_foreign_message_do_not_reach_the_terminal(tmp_path: Path):
    assert one_line(ValueError("a \x1b[1;31mred\x1b[0m\n\x07 word\x00")) == "ValueError: a red word"
    weights = {**known.dictionary_weights("AutoEncoder"), "k": np.float64(3)}  # torch explains this in colours
    folder = known.write_dictionary(tmp_path / "it", "AutoEncoder", weights=weights)
    with pytest.raises(BadInput, match="more than tensors") as caught:
        load_sae(folder)
    assert str(caught.value).isprintable()
