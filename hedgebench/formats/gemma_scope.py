"""Gemma Scope: `params.npz` (w_enc, w_dec, b_enc, b_dec, threshold; JumpReLU; Lieberum et al. 2024, arXiv 2408.05147).

The file says nothing of itself. What its folders say by their names (gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_22) is read as
SAELens reads it; what no name says stays unknown. SAELens's own converter is given the weights already read: it would copy each of them.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.formats.files import check_shapes, one_line
from hedgebench.formats.layouts import Layout, find_layout
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import numpy as np
    from sae_lens import SAE

NAMES = ("w_enc", "w_dec", "b_enc", "b_dec", "threshold")
MAX_PACKING = 64
"""A compressed array that claims more than so many times its bytes is refused; floating-point weights hardly shrink at all."""
_REPOSITORY = re.compile(r"(?:.*--)?(gemma-scope-(?:2b|9b|27b)-(?:pt|it)-(res|mlp|att|transcoders))")
_CHUNK = 2**24


def load(ref: str) -> SAE | None:
    """Load a `params.npz` or the folder that holds it; None where `ref` is neither.

    Memory: the arrays once (a width of 1M at d_in 2304 is 19.3 GB), and no copy of them.

    Raises:
        BadInput: A transcoder; or a file that is damaged, pickled, or holds other arrays.
    """
    found = find_layout(ref)
    if found is None or found.format != "gemma_scope":
        return None
    repository = _repository(found.folder)
    if repository is not None and repository.endswith("transcoders"):
        raise BadInput(f"{ref}: a transcoder maps one hook point to another; HedgeBench evaluates SAEs only")
    import torch

    from hedgebench.loaders import build_sae

    arrays = read_npz(found.weights)
    d_in, d_sae = arrays["w_enc"].shape
    weights = {_upstream_name(name): torch.from_numpy(array) for name, array in arrays.items()}
    config = _config(found, repository, d_in, d_sae)
    if (
        "embedding" in found.folder.parts
    ):  # trained on embeddings before the model scales them: as in SAELens's converter
        weights["W_enc"] /= d_in**0.5
        weights["W_dec"] *= d_in**0.5
    return build_sae(config, weights)


def _upstream_name(name: str) -> str:
    return f"W_{name[2:]}" if name.startswith("w_") else name


def _repository(folder: Path) -> str | None:
    """The Gemma Scope repository that a folder says it is of, under its own name or a hub cache's."""
    for part in reversed(folder.parts):
        if match := _REPOSITORY.fullmatch(part):
            return match[1]
    return None


def _config(found: Layout, repository: str | None, d_in: int, d_sae: int) -> dict[str, Any]:
    from hedgebench.compat import prepare

    prepare()
    size = {"d_in": d_in, "d_sae": d_sae}
    if repository is None or "/" not in found.name:
        config: dict[str, Any] = {"architecture": "jumprelu", "apply_b_dec_to_input": False, **size, "metadata": {}}
    else:
        from sae_lens.loading import pretrained_sae_loaders as upstream

        said = upstream.get_gemma_2_config_from_hf(repository, found.name, "cpu", cfg_overrides=size)
        config = upstream.handle_config_defaulting(said)
    if layer := re.search(r"layer_(\d+)", found.name):
        config["metadata"]["layer"] = int(layer[1])
    if l0 := re.search(r"average_l0_(\d+)", found.name):
        config["metadata"]["l0"] = int(l0[1])
    return config


def read_npz(file: Path) -> dict[str, np.ndarray]:
    """The five arrays of a Gemma Scope file in float32, their shapes checked before memory is taken.

    Raises:
        BadInput: See `load`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
            shapes = {name: _header(archive, members[name], file)[0] for name in NAMES if name in members}
            shape = shapes.get("w_enc", ())
            d_in, d_sae = shape if len(shape) == 2 else (0, 0)
            wanted: dict[str, tuple[int, ...]] = {"w_enc": (d_in, d_sae), "w_dec": (d_sae, d_in), "b_dec": (d_in,)}
            wanted |= dict.fromkeys(("b_enc", "threshold"), (d_sae,))
            if not d_in * d_sae and "w_enc" in shapes:
                raise BadInput(f"{file}: w_enc has shape {list(shape)}, not [d_in, d_sae]")
            check_shapes(file, {n: shapes.get(n, ()) for n in members}, wanted, f"w_enc {list(shape)}")
            return {name: _array(archive, members[name], file) for name in NAMES}
    except BadInput:
        raise
    except Exception as error:
        # the parsers of zip and npy raise whatever they stumble over
        raise BadInput(f"{file}: not a whole .npz file ({one_line(error)}); download or copy it again") from None


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and type of an array, of which nothing but the header is read."""
    import numpy as np

    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        start = stream.tell()
    if dtype.kind != "f":
        what = "Python objects, which are never unpickled" if dtype.hasobject else f"{dtype} numbers"
        raise BadInput(f"{file}: {name} holds {what}; weights are floating-point")
    size = start + dtype.itemsize * _product(shape)
    if size != member.file_size:
        raise BadInput(f"{file}: {name} of shape {list(shape)} takes {size} bytes, but {member.file_size} are there")
    if size > MAX_PACKING * member.compress_size + 2**20:
        raise BadInput(
            f"{file}: {name} unpacks to {size} bytes from {member.compress_size}; that is no array of weights"
        )
    return shape, fortran, dtype


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> np.ndarray:
    """An array, read straight to where it stays."""
    import numpy as np

    shape, fortran, dtype = _header(archive, member, file)
    array = np.empty(shape, dtype, order="F" if fortran else "C")
    room = array.reshape(-1, order="A").view(np.uint8)
    with archive.open(member) as stream:
        stream.read(member.file_size - len(room))
        filled = 0
        while filled < len(room):
            if not (part := stream.read(min(_CHUNK, len(room) - filled))):
                raise EOFError(f"{member.filename} ends too early")
            room[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
            filled += len(part)
        stream.read(1)  # to its end: only there is the checksum compared
    return array.astype(np.float32, order="C", copy=False)


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
