"""SAEs in the files of other projects. `tests/formats` has more of them, format by format."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bad_inputs.cases import Case
from bad_inputs.checkpoints import Bomb

ROOM = "other projects' files"


def case(what: str, write: Callable[[Path], object], said: str, ref: str = "sae") -> Case:
    """What a function writes into the folder `sae`."""

    def make(here: Path) -> Sequence[str]:
        (here / "sae").mkdir()
        write(here / "sae")
        return ["inspect", ref]

    return Case(ROOM, what, make, said)


def gemma(what: str, change: Callable[[dict[str, Any]], object], said: str) -> Case:
    """`params.npz` with other arrays."""

    def write(folder: Path) -> None:
        import known_formats as known

        arrays: dict[str, Any] = known.gemma_arrays()
        change(arrays)
        known.write_gemma_scope(folder, arrays)

    return case(f"params.npz: {what}", write, said)


def member(what: str, name: str, data: Callable[[], bytes], said: str, packing: int = zipfile.ZIP_STORED) -> Case:
    """`params.npz` with other bytes in place of an array, or beside them."""

    def write(folder: Path) -> None:
        import known_formats as known

        arrays = known.gemma_arrays()
        arrays.pop(name.removesuffix(".npy"), None)
        file = known.write_gemma_scope(folder, arrays) / "params.npz"
        with zipfile.ZipFile(file, "a", packing) as archive:
            archive.writestr(name, data())

    return case(f"params.npz: {what}", write, said)


def npy(shape: tuple[int, ...], data: bytes = b"", dtype: str = "<f4") -> bytes:
    """An array's file with a header that may claim anything."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def _objects() -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()] * 20, dtype=object), allow_pickle=True)
    return stream.getvalue()


def dictionary(what: str, write: Callable[[Path], object], said: str, kind: str = "BatchTopKSAE") -> Case:
    """`ae.pt` and its config, spoiled."""

    def make(folder: Path) -> None:
        import known_formats as known

        known.write_dictionary(folder, kind)
        write(folder)

    return case(f"ae.pt: {what}", make, said)


def _saved(thing: Any, **how: Any) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        import torch

        torch.save(thing() if callable(thing) else thing, folder / "ae.pt", **how)

    return write


def _expanded() -> dict[str, Any]:
    import torch

    return {"encoder.weight": torch.zeros(1).expand(2**24, 2**20)}


def _trainer(**changes: Any) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["trainer"].update(changes)
        (folder / "config.json").write_text(json.dumps(config))

    return write


def settings(what: str, maker: str, said: str, **changes: Any) -> Case:
    """A whole SAE of `known_formats`, with other settings."""

    def write(folder: Path) -> None:
        import known_formats

        getattr(known_formats, maker)(folder, **changes)

    return case(what, write, said)


def plain(what: str, said: str, change: Callable[[dict[str, Any]], object] = lambda w: None, **notes: str) -> Case:
    """One safetensors file."""

    def write(folder: Path) -> None:
        import known_formats as known

        weights = known.plain_weights()
        change(weights)
        known.write_plain(folder / "it.safetensors", weights, **notes)

    return case(f"plain safetensors: {what}", write, said)


def _two(folder: Path) -> None:
    import known_formats as known

    for name in "ab":
        known.write_plain(folder / f"{name}.safetensors")


HUGE = 2**31
CASES = [
    case("params.npz: no byte", lambda folder: (folder / "params.npz").touch(), "sae/params.npz: not a whole .npz file"),
    case("params.npz: a text", lambda folder: (folder / "params.npz").write_text("hello"), "not a whole .npz file"),
    case("params.npz: a pickle with code in it", lambda folder: (folder / "params.npz").write_bytes(pickle.dumps(Bomb())), "not a whole .npz file"),
    gemma("no threshold", lambda a: a.pop("threshold"), "no threshold in it; found W_dec, W_enc, b_dec, b_enc"),
    gemma("no W_enc", lambda a: a.pop("W_enc"), "no W_enc in it"),
    gemma("W_dec transposed", lambda a: a.update(W_dec=a["W_enc"]), "W_dec has shape [8, 20], but W_enc [8, 20] asks for [20, 8]"),
    gemma("an array of unknown meaning", lambda a: a.update(b_gate=a["b_enc"]), "'b_gate.npy' is in it, and what it does is not said"),
    gemma("whole numbers", lambda a: a.update(b_enc=a["b_enc"].astype("int64")), "b_enc holds int64 numbers; weights are floating-point"),
    gemma("texts", lambda a: a.update(b_enc=a["b_enc"].astype("U9")), "b_enc holds <U9 numbers"),
    gemma("NaN", lambda a: a.update(b_enc=a["b_enc"] * float("nan")), "20 of 20 values of b_enc are NaN or infinite"),
    gemma("a factor that is not 1", lambda a: a.update(scaling_factor=2 * a["b_enc"] ** 0), "scaling_factor is not 1 throughout"),
    member("Python objects with code in them", "b_enc.npy", _objects, "b_enc holds Python objects, which are never unpickled"),
    member("a zip bomb: 64 MB of zeros in 64 kB", "W_enc.npy", lambda: npy((8, 2**21), bytes(2**26)), "unpacks to", zipfile.ZIP_DEFLATED),
    member("an array that claims 2^31 x 2^31 numbers", "W_enc.npy", lambda: npy((HUGE, HUGE)), "takes 18446744073709551744 bytes, but 128 are there"),
    member("an array of a negative shape", "W_enc.npy", lambda: npy((-8, -20)), "sae/params.npz: W_enc of shape [-8, -20] takes 768 bytes, but 128 are there"),
    member("an array that is cut", "W_enc.npy", lambda: npy((8, 20), bytes(10)), "W_enc of shape [8, 20] takes"),
    member("an array without a header", "W_enc.npy", lambda: b"hello", "not a whole .npz file"),
    member("an array twice", "w_enc.npy", lambda: npy((8, 20), bytes(640)), "one array is in it twice: 'W_enc.npy' and 'w_enc.npy'"),
    member("an array that would leave the folder", "../../escape.npy", lambda: npy((1,), bytes(4)), "'../../escape.npy' is in it, and what it does is not said"),
    # dictionary_learning
    dictionary("code beside the tensors", _saved({"x": Bomb()}), "it holds more than tensors and is not opened, since that could run code"),
    dictionary("code alone", _saved(Bomb()), "it holds more than tensors and is not opened"),
    dictionary("code in a bare pickle", lambda folder: (folder / "ae.pt").write_bytes(pickle.dumps(Bomb())), "not a whole file of torch.save"),
    dictionary("code in torch's old format", _saved({"x": Bomb()}, _use_new_zipfile_serialization=False), "not a whole file of torch.save"),
    dictionary("half a file", lambda folder: (folder / "ae.pt").write_bytes((folder / "ae.pt").read_bytes()[:900]), "not a whole file of torch.save"),
    dictionary("a list", _saved([1, 2]), "expected named tensors, found list"),
    dictionary("a number", _saved({"step": 3}), "step is a int, not a tensor; it is no finished ae.pt"),
    dictionary("nothing", _saved({}), "no encoder.weight in it; found nothing"),
    dictionary("terabytes out of one number", _saved(_expanded), "claims more than the file holds"),
    dictionary("a class of another project", _trainer(dict_class="CrossCoder"), "dict_class is 'CrossCoder'"),
    dictionary("a class that is a list", _trainer(dict_class=["AutoEncoder"]), "dict_class is ['AutoEncoder']"),
    dictionary("another width", _trainer(dict_size=21), "encoder.weight has shape [20, 8], but config.json"),
    dictionary("a width of -1", _trainer(dict_size=-1), "dict_size must be a whole number from 1, found -1"),
    dictionary("no d_in", _trainer(activation_dim=None), "activation_dim must be a whole number from 1, found None"),
    dictionary("k above the width", _trainer(k=600), "k is 600, more than the 20 latents"),
    dictionary("a config without a trainer", lambda folder: (folder / "config.json").write_text("{}"), "no 'trainer' in it; dictionary_learning writes its settings there"),
    dictionary("a config that is a list", lambda folder: (folder / "config.json").write_text("[]"), "expected a JSON object, found list"),
    case("pickled weights of nobody's", lambda folder: (folder / "model.pt").write_bytes(pickle.dumps(Bomb())), "pickled weights are not opened, but for dictionary_learning's ae.pt with its config.json", "sae/model.pt"),
    # sparsify, Llama Scope, plain safetensors
    settings("sparsify: a transcoder", "write_sparsify", "a transcoder maps one hook point to another", transcode=True),
    settings("sparsify: k above the width", "write_sparsify", "k is 99, more than the 20 latents", k=99),
    settings("sparsify: d_in is a text", "write_sparsify", "d_in must be a whole number from 1, found '8'", d_in="8"),
    settings("sparsify: 10^12 latents", "write_sparsify", "encoder.weight has shape [20, 8], but cfg.json", num_latents=10**12),
    settings("sparsify: an unknown activation", "write_sparsify", "activation 'groupmax' has no counterpart in SAELens; 'topk' has", activation="groupmax"),
    settings("Llama Scope: a transcoder", "write_llama_scope", "it maps blocks.15.hook_resid_post to blocks.15.hook_mlp_out", hook_point_out="blocks.15.hook_mlp_out"),
    settings("Llama Scope: no norm of the data", "write_llama_scope", "dataset_average_activation_norm must hold the norm 'in', found None", dataset_average_activation_norm=None),
    settings("Llama Scope: a norm of 0", "write_llama_scope", "in must be a number above 0, found 0.0", dataset_average_activation_norm={"in": 0.0}),
    settings("Llama Scope: a threshold that is NaN", "write_llama_scope", "jump_relu_threshold must be a number, found nan", jump_relu_threshold=float("nan")),
    settings("Llama Scope: another width", "write_llama_scope", "asks for", d_sae=21),
    plain("no W_dec", "no W_dec in it; found W_enc, b_dec, b_enc", lambda w: w.pop("W_dec")),
    plain("a tensor of unknown meaning", "b_gate is in it, and what it does is not said", lambda w: w.update(b_gate=w["b_enc"].clone())),
    plain("W_enc in one dimension", "W_enc has shape [160], not [d_in, d_sae]", lambda w: w.update(W_enc=w["W_enc"].reshape(-1))),
    plain("no latents", "W_enc has shape [8, 0], not [d_in, d_sae]", lambda w: w.update(W_enc=w["W_enc"][:, :0].contiguous())),
    plain("infinite weights", "20 of 20 values of b_enc are NaN or infinite", lambda w: w["b_enc"].fill_(float("inf"))),
    plain("a note `k` that is no number", "k is a number, not 'many'", k="many"),
    plain("a note `k` above the width", "k of an SAE without thresholds is a whole number from 1 to 20", k="21"),
    plain("a note `l0` that is NaN", "l0 is a number, not 'nan'", l0="nan"),
    plain("a note `train_seed` of 5000 digits", "train_seed is a whole number", train_seed="9" * 5000),
    plain("a note `apply_b_dec_to_input` that is neither true nor false", "apply_b_dec_to_input is true or false, not 'yes'", apply_b_dec_to_input="yes"),
    case("plain safetensors: two in one folder", _two, "2 safetensors files (a.safetensors, b.safetensors) and no cfg.json"),
]  # fmt: skip
