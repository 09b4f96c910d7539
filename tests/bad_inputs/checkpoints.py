"""SAEs in SAELens's own files."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bad_inputs import good
from bad_inputs.cases import CANARY, Case

ROOM = "SAELens folder"


class Bomb:
    """Unpickling it makes a file."""

    def __reduce__(self) -> Any:
        return (exec, (f"open({CANARY!r}, 'w').write('code from a checkpoint was run')",))


def damaged(what: str, damage: Callable[[Path], object], said: str) -> Case:
    """A folder to which something was done."""

    def make(here: Path) -> Sequence[str]:
        damage(good.sae(here / "sae"))
        return ["inspect", "sae"]

    return Case(ROOM, what, make, said)


def config(said: str, what: str | None = None, **changes: Any) -> Case:
    """Other values in cfg.json; `...` takes a key away."""
    told = ", ".join(f"{key} {'is not there' if value is ... else json.dumps(value)}" for key, value in changes.items())
    return damaged(what or f"cfg.json: {told}", lambda folder: good.edit(folder / "cfg.json", **changes), said)


def text(what: str, content: str | bytes, said: str) -> Case:
    """Something else in cfg.json."""
    as_bytes = content if isinstance(content, bytes) else content.encode()
    return damaged(f"cfg.json {what}", lambda folder: (folder / "cfg.json").write_bytes(as_bytes), said)


def instead(name: str, what: str, make: Callable[[Path], object], said: str) -> Case:
    """Something else in place of a file."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return damaged(f"{name} {what}", damage, said)


def tensors(what: str, change: Callable[[dict[str, Any]], object], said: str) -> Case:
    """Other tensors in the file of weights."""

    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS)

    return damaged(f"weights: {what}", damage, said)


def header(what: str, change: Callable[[dict[str, Any]], object], said: str) -> Case:
    """Another header before the same numbers."""

    def damage(folder: Path) -> None:
        file = folder / WEIGHTS
        raw = file.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        said = json.loads(raw[8 : 8 + size])
        change(said)
        made = json.dumps(said).encode()
        file.write_bytes(len(made).to_bytes(8, "little") + made + raw[8 + size :])

    return damaged(f"weights: {what}", damage, said)


def raw(what: str, change: Callable[[bytes], bytes], said: str = "not a whole safetensors file") -> Case:
    """Other bytes in the file of weights."""

    def damage(folder: Path) -> None:
        file = folder / WEIGHTS
        file.write_bytes(change(file.read_bytes()))

    return damaged(f"weights: {what}", damage, said)


def _poison(name: str, value: float) -> Callable[[dict[str, Any]], object]:
    def change(weights: dict[str, Any]) -> None:
        weights[name].view(-1)[0] = value

    return change


def _giant(folder: Path) -> None:
    """10^9 latents whose 68 GB take no room on the disk."""
    n, d = 10**9, good.D_IN
    good.edit(folder / "cfg.json", d_sae=n)
    shapes = {"W_dec": [n, d], "W_enc": [d, n], "b_dec": [d], "b_enc": [n]}
    said, end = {}, 0
    for name, shape in shapes.items():
        start, size = end, 4
        for k in shape:
            size *= k
        end = start + size
        said[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    made = json.dumps(said).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(len(made).to_bytes(8, "little") + made)
        file.truncate(8 + len(made) + end)


def _pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "sae_weights.pt").write_bytes(pickle.dumps(Bomb()))


WEIGHTS = "sae_weights.safetensors"
UNFIT = "SAELens cannot load it: RuntimeError: Error(s) in loading state_dict for StandardSAE"
NO_JSON = "sae/cfg.json: not valid JSON"
CASES = [
    # cfg.json
    instead("cfg.json", "is not there", lambda file: None, "sae: no cfg.json; a SAELens folder holds cfg.json and sae_weights.safetensors"),
    instead("cfg.json", "is a folder", Path.mkdir, "sae/cfg.json: no file, but a folder, a pipe or a device"),
    instead("cfg.json", "is a pipe", os.mkfifo, "sae/cfg.json: no file"),
    instead("cfg.json", "is a link to a device without end", lambda file: file.symlink_to("/dev/zero"), "sae/cfg.json: no file"),
    instead("cfg.json", "is a link to nothing", lambda file: file.symlink_to("nowhere"), "sae: no cfg.json"),
    text("is empty", "", NO_JSON),
    text("is half a file", '{"d_in": 8, "d_sa', NO_JSON),
    text("is a list", "[]", "sae/cfg.json: expected a JSON object, found list"),
    text("is a number", "3", "sae/cfg.json: expected a JSON object, found int"),
    text("is null", "null", "sae/cfg.json: expected a JSON object, found NoneType"),
    text("is not UTF-8", b'{"d_in": "\xff"}', NO_JSON),
    text("is 100 000 brackets deep", "[" * 100_000, NO_JSON),
    text("has a number of 5000 digits", f'{{"d_in": {"9" * 5000}}}', NO_JSON),
    text("is 17 MiB", " " * 17 * 2**20, "sae/cfg.json: larger than 16 MiB; that is no SAE config"),
    text("is an empty object", "{}", "sae/cfg.json: d_in must be a whole number from 1, found None"),
    *(config(f"sae/cfg.json: d_in must be a whole number from 1, found {shown}", d_in=value) for value, shown in ((..., "None"), ("8", "'8'"), (0, "0"), (-8, "-8"), (8.5, "8.5"), (True, "True"), (float("nan"), "nan"), ([8], "[8]"), (2**63, str(2**63)))),
    *(config(f"sae/cfg.json: d_sae must be a whole number from 1, found {shown}", d_sae=value) for value, shown in ((..., "None"), ("12", "'12'"), (0, "0"), (-1, "-1"), (float("inf"), "inf"), (None, "None"), ({}, "{}"))),
    config("W_dec has shape [12, 8], but cfg.json (d_in 8, d_sae 13) asks for [13, 8]", d_sae=13),
    config("but cfg.json (d_in 9, d_sae 12) asks for", d_in=9),
    config("but cfg.json (d_in 8, d_sae 1000000000) asks for", d_sae=10**9),
    config("unknown architecture 'standrd'; did you mean 'standard'?", architecture="standrd"),
    config("sae/cfg.json: architecture must be a text, found 3", architecture=3),
    config("sae/cfg.json: architecture must be a text, found ['standard']", architecture=["standard"]),
    config("'transcoder' maps one hook point to another; HedgeBench evaluates SAEs only", architecture="transcoder"),
    *(config("k of a topk SAE must be a whole number from 1 to d_sae", architecture="topk", k=value) for value in (..., 0, -1, 13, 2.5, "2", float("nan"), None)),
    config("metadata must be a JSON object, found int", metadata=3),
    config("metadata must be a JSON object, found list", metadata=[]),
    config("metadata must be a JSON object, found NoneType", metadata=None),
    config("sae: SAELens cannot load it: ValueError: Invalid dtype: 3.", dtype=3),
    config("sae: SAELens cannot load it: ValueError: Invalid dtype: float31.", dtype="float31"),
    config("sae: SAELens cannot load it: ValueError: Invalid dtype: int64.", dtype="int64"),
    config("apply_b_dec_to_input must be true or false, found 'perhaps'", apply_b_dec_to_input="perhaps"),
    config("sae: SAELens cannot load it: ValueError: normalize_activations must be none", normalize_activations="perhaps"),
    config("sae: SAELens cannot load it: ValueError: normalize_activations must be none", normalize_activations=3),
    config("reshape_activations must be \"none\" or \"hook_z\", found 'perhaps'", reshape_activations="perhaps"),
    # the weights
    instead(WEIGHTS, "is not there", lambda file: None, "sae: no sae_weights.safetensors"),
    instead(WEIGHTS, "is a folder", Path.mkdir, "no file, but a folder, a pipe or a device"),
    instead(WEIGHTS, "is a pipe", os.mkfifo, "no file, but a folder, a pipe or a device"),
    instead(WEIGHTS, "is a link to a device without end", lambda file: file.symlink_to("/dev/zero"), "no file, but a folder, a pipe or a device"),
    instead(WEIGHTS, "is a link to nothing", lambda file: file.symlink_to("nowhere"), "sae: no sae_weights.safetensors"),
    damaged("weights are pickled, with code in them", _pickled, "no sae_weights.safetensors; sae_weights.pt is pickled and is not opened: convert it to safetensors"),
    raw("no byte", lambda data: b""),
    raw("one byte", lambda data: data[:1]),
    raw("cut in the header", lambda data: data[:60]),
    raw("cut in the numbers", lambda data: data[:-100]),
    raw("a byte too many", lambda data: data + b"\x00"),
    raw("a header of 2^60 bytes", lambda data: (2**60).to_bytes(8, "little") + data[8:]),
    raw("a header that is no JSON", lambda data: data[:8] + b"#" + data[9:]),
    raw("a header that is not UTF-8", lambda data: data[:9] + b"\xff" + data[10:]),
    raw("a pickle with code in it", lambda data: pickle.dumps(Bomb())),
    raw("all bytes zero", lambda data: bytes(len(data))),
    header("numbers beyond the end", lambda said: said["W_dec"].update(data_offsets=[0, 10**12]), "not a whole safetensors file"),
    header("numbers before the beginning", lambda said: said["W_dec"].update(data_offsets=[-8, 0]), "not a whole safetensors file"),
    header("a shape of more numbers than there are", lambda said: said["W_dec"].update(shape=[12, 80]), "not a whole safetensors file"),
    header("a shape of 2^62 by 2^62", lambda said: said["W_dec"].update(shape=[2**62, 2**62]), "not a whole safetensors file"),
    header("a negative shape", lambda said: said["W_dec"].update(shape=[-12, -8]), "not a whole safetensors file"),
    header("an unknown type", lambda said: said["W_dec"].update(dtype="F128"), "not a whole safetensors file"),
    tensors("no W_dec", lambda w: w.pop("W_dec"), "no W_dec in it; found W_enc, b_dec, b_enc"),
    tensors("no W_enc", lambda w: w.pop("W_enc"), f'{UNFIT}: Missing key(s) in state_dict: "W_enc"'),
    tensors("no b_enc", lambda w: w.pop("b_enc"), f'{UNFIT}: Missing key(s) in state_dict: "b_enc"'),
    tensors("no b_dec", lambda w: w.pop("b_dec"), f'{UNFIT}: Missing key(s) in state_dict: "b_dec"'),
    tensors("nothing", lambda w: w.clear(), "no W_dec in it; found nothing"),
    tensors("one tensor too many", lambda w: w.update(extra=w["b_enc"].clone()), f'{UNFIT}: Unexpected key(s) in state_dict: "extra"'),
    tensors("W_dec as whole numbers", lambda w: w.update(W_dec=w["W_dec"].long()), "W_dec holds I64 numbers; weights are floating-point"),
    tensors("W_dec transposed", lambda w: w.update(W_dec=w["W_dec"].T.contiguous()), "W_dec has shape [8, 12], but cfg.json (d_in 8, d_sae 12) asks for [12, 8]"),
    tensors("W_dec in one dimension", lambda w: w.update(W_dec=w["W_dec"].reshape(-1)), "W_dec has shape [96]"),
    tensors("b_enc of another length", lambda w: w.update(b_enc=w["b_enc"][:3].clone()), "b_enc has shape [3]"),
    tensors("b_dec with no number", lambda w: w.update(b_dec=w["b_dec"][:0].clone()), "b_dec has shape [0]"),
    *(tensors(f"{value} in {name}", _poison(name, value), f"1 of {n} values of {name} are NaN or infinite; the checkpoint is damaged") for value in (float("nan"), float("inf"), -float("inf")) for name, n in (("W_enc", 96), ("W_dec", 96), ("b_enc", 12), ("b_dec", 8))),
    damaged("10^9 latents whose weights are there: 68 GB", _giant, "sae/sae_weights.safetensors takes 68.0 GB, and"),
]  # fmt: skip
