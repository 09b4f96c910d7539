"""Gemma Scope: `params.npz` (W_enc, W_dec, b_enc, b_dec, threshold; JumpReLU; Lieberum et al. 2024, arXiv 2408.05147).

`w_enc` and `w_dec`, and a `scaling_factor` that is 1 throughout, are taken too, and no other array: so does SAELens's converter
(`gemma_2_sae_huggingface_loader`), which is not called because it copies each array. The file says nothing of itself: what its folders say by
their names (gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_22) is read as SAELens reads it; what no name says stays unknown.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.formats.files import check_fits, check_shapes, one_line
from hedgebench.formats.layouts import Layout, find_layout
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import numpy as np
    from sae_lens import SAE

NAMES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
FACTOR = "scaling_factor"
"""What SAELens once wrote beside the weights, and what it refuses in a Gemma Scope file where it is not 1."""
MAX_PACKING = 64
"""A compressed array that claims more than so many times its bytes is refused; floating-point weights hardly shrink at all."""
_REPOSITORY = re.compile(r"(?:.*--)?(gemma-scope-(?:2b|9b|27b)-(?:pt|it)-(res|mlp|att|transcoders))")
_CHUNK = 2**24


def load(ref: str) -> SAE | None:
    """Load a `params.npz` or the folder that holds it; None where `ref` is neither.

    Memory: the arrays once (a width of 1M at d_in 2304 is 19.3 GB), and no copy of them.

    Raises:
        BadInput: A transcoder; or a file that is damaged, pickled, lacks an array or holds one twice (`W_enc` and `w_enc`), has a
            `scaling_factor` other than 1, or holds an array of another name, which might change what the SAE computes.
    """
    if (found := find_layout(ref, "gemma_scope")) is None:
        return None
    repository = _repository(found.folder)
    if repository is not None and repository.endswith("transcoders"):
        raise BadInput(f"{ref}: a transcoder maps one hook point to another; HedgeBench evaluates SAEs only")
    import torch

    from hedgebench.loaders import build_sae

    arrays = read_npz(found.weights)
    d_in, d_sae = arrays["W_enc"].shape
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
    config = _config(found, repository, d_in, d_sae)
    if (
        "embedding" in found.folder.parts
    ):  # trained on embeddings before the model scales them: as in SAELens's converter
        weights["W_enc"] /= d_in**0.5
        weights["W_dec"] *= d_in**0.5
    return build_sae(config, weights)


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
    """The five arrays of a Gemma Scope file in float32, under the names in `NAMES`; their shapes are checked before memory is taken.

    Raises:
        BadInput: See `load`.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive, file)
            shapes = {name: _header(archive, member, file)[0] for name, member in members.items()}
            shape = shapes.get("W_enc", ())
            d_in, d_sae = shape if len(shape) == 2 else (0, 0)
            wanted: dict[str, tuple[int, ...]] = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
            wanted |= dict.fromkeys(("b_enc", "threshold"), (d_sae,))
            if not d_in * d_sae and "W_enc" in shapes:
                raise BadInput(f"{file}: W_enc has shape {list(shape)}, not [d_in, d_sae]")
            check_shapes(file, shapes, wanted, f"W_enc {list(shape)}")
            check_fits(file, shapes)
            if FACTOR in members:
                _check_factor(_array(archive, members[FACTOR], file), file)
            return {name: _array(archive, members[name], file) for name in NAMES}
    except BadInput:
        raise
    except Exception as error:
        # the parsers of zip and npy raise whatever they stumble over
        raise BadInput(f"{file}: not a whole .npz file ({one_line(error)}); download or copy it again") from None


def _members(archive: zipfile.ZipFile, file: Path) -> dict[str, zipfile.ZipInfo]:
    """Where each array lies, by its name in `NAMES` or `FACTOR`, with a small w or a capital one."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            continue
        own = member.filename.removesuffix(".npy")
        name = f"W_{own[2:]}" if own.startswith("w_") else own
        if name in found:
            both = " and ".join(repr(m.filename[:80]) for m in (found[name], member))
            raise BadInput(f"{file}: one array is in it twice: {both}")
        found[name] = member
    if unknown := sorted(found.keys() - {*NAMES, FACTOR}):
        raise BadInput(
            f"{file}: {found[unknown[0]].filename[:80]!r} is in it, and what it does is not said; "
            f"a Gemma Scope SAE has {', '.join(NAMES)}"
        )
    return found


def _check_factor(factor: np.ndarray, file: Path) -> None:
    import numpy as np

    if not np.allclose(factor, 1.0):
        raise BadInput(
            f"{file}: {FACTOR} is not 1 throughout; Gemma Scope SAEs are not scaled, and SAELens refuses it too"
        )


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
