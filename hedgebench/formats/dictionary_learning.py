"""dictionary_learning: a folder of `ae.pt` and `config.json` (github.com/saprmarks/dictionary_learning; SAEBench's own SAEs).

SAELens's converter reads the weights and says which architecture each class has; it knows all classes but `AutoEncoderNew`, which is
here a standard SAE that does not subtract its bias from the input. Before it, `ae.pt` is opened for tensors alone: a pickle that would run
code is refused, and shapes are compared with the config before memory is taken.
"""

from __future__ import annotations

import json
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.formats.files import check_fits, check_shapes, one_line, positive, printable, read_object
from hedgebench.formats.layouts import find_layout
from hedgebench.spelling import nearest
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE

_LINEAR = {"encoder.weight": "nd", "encoder.bias": "n", "decoder.weight": "dn"}
_PLAIN = {"W_enc": "dn", "b_enc": "n", "W_dec": "nd", "b_dec": "d"}
_GATED = {"encoder.weight": "nd", "decoder.weight": "dn", "decoder_bias": "d"}
CLASSES = {
    "AutoEncoder": _LINEAR | {"bias": "d"},
    "AutoEncoderNew": _LINEAR | {"decoder.bias": "d"},
    "GatedAutoEncoder": _GATED | dict.fromkeys(("r_mag", "gate_bias", "mag_bias"), "n"),
    "JumpReluAutoEncoder": _PLAIN | {"threshold": "n"},
    "AutoEncoderTopK": _LINEAR | {"b_dec": "d"},
    "BatchTopKSAE": _LINEAR | {"b_dec": "d", "threshold": ""},
    "MatryoshkaBatchTopKSAE": _PLAIN | {"threshold": ""},
}
"""What each class of dictionary_learning stores, by shape: n is dict_size, d activation_dim."""
_TRAINED_AS = {"BatchTopKSAE": "batchtopk", "MatryoshkaBatchTopKSAE": "matryoshka_batchtopk"}
_PENALTIES = {"l1_penalty": "l1_coefficient", "sparsity_penalty": "sparsity_penalty", "target_l0": "target_l0"}
_HOOKS = {"resid_post": "hook_resid_post", "mlp_out": "hook_mlp_out", "attn_out": "hook_attn_out"}


def load(ref: str) -> SAE | None:
    """Load a folder of `ae.pt` and `config.json`, or one `ae.pt` or `checkpoints/ae_N.pt` in it; None where `ref` is neither.

    Raises:
        BadInput: A pickle that holds more than tensors, a class that SAELens has no counterpart for, or damaged files.
    """
    if (found := find_layout(ref, "dictionary_learning")) is None:
        return None
    assert found.config is not None
    config = read_object(found.config)
    trainer = config.get("trainer")
    if not isinstance(trainer, dict):
        raise BadInput(f"{found.config}: no 'trainer' in it; dictionary_learning writes its settings there")
    kind = trainer.get("dict_class")
    if not isinstance(kind, str) or kind not in CLASSES:
        raise BadInput(f"{found.config}: dict_class is {kind!r:.60}{nearest(str(kind), CLASSES)}")
    sizes = {"n": positive(trainer, "dict_size", found.config), "d": positive(trainer, "activation_dim", found.config)}
    k = positive(trainer, "k", found.config) if "TopK" in kind else None
    if k is not None and k > sizes["n"]:
        raise BadInput(f"{found.config}: k is {k}, more than the {sizes['n']} latents")
    tensors = read_tensors(found.weights)
    wanted = {name: tuple(sizes[letter] for letter in letters) for name, letters in CLASSES[kind].items()}
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    check_shapes(found.weights, shapes, wanted, f"config.json (activation_dim {sizes['d']}, dict_size {sizes['n']})")
    check_fits(found.weights, shapes)
    for name in wanted:
        if not tensors[name].is_floating_point():
            raise BadInput(f"{found.weights}: {name} holds {tensors[name].dtype} numbers; weights are floating-point")
    if k is not None and "k" in tensors and tensors["k"].numel() == 1 and int(tensors["k"]) != k:
        raise BadInput(f"{found.weights}: its k is {int(tensors['k'])}, but config.json says {k}")
    return _build(kind, config, trainer, found.weights, tensors)


def _build(kind: str, config: dict[str, Any], trainer: dict[str, Any], file: Path, tensors: dict[str, Any]) -> SAE:
    import torch

    from hedgebench.formats.upstream import LocalRepository, converters
    from hedgebench.loaders import build_sae

    buffer = config.get("buffer")
    # what SAELens's converter asks for and a config may lack: training on anything but an activation buffer writes none
    filled = {
        "trainer": {"lm_name": "", "layer": None, **trainer},
        "buffer": {"ctx_len": None, **(buffer if isinstance(buffer, dict) else {})},
    }
    filled["trainer"]["lm_name"] = _model_name(trainer)
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "config.json"
        said.write_text(json.dumps(filled))
        cfg, weights, _ = converters().dictionary_learning_sae_huggingface_loader_1(
            LocalRepository("dictionary_learning", {"config.json": said, "ae.pt": file}), "sae", "cpu"
        )
    if kind == "AutoEncoderNew":
        weights["b_dec"], cfg["apply_b_dec_to_input"] = tensors["decoder.bias"], False
    cfg = converters().handle_config_defaulting(cfg)
    cfg["metadata"] = {**cfg["metadata"], **_metadata(kind, trainer, tensors)}
    wide = {n: t.detach().to(torch.promote_types(t.dtype, torch.float32)) for n, t in weights.items()}
    return build_sae(cfg, {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in wide.items()})


def _model_name(trainer: dict[str, Any]) -> str:
    name = trainer.get("lm_name")
    return printable(name) if isinstance(name, str) else ""


def _metadata(kind: str, trainer: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    """What the trainer's settings say, where SAELens's converter guesses or leaves it out."""
    layer, place = trainer.get("layer"), trainer.get("submodule_name")
    known = next((hook for word, hook in _HOOKS.items() if isinstance(place, str) and place.startswith(word)), None)
    if place is None:
        known = "hook_resid_post"  # as in SAELens: the trainers' `layer` is a place in the residual stream where nothing else is said
    said: dict[str, Any] = {
        "hook_name": f"blocks.{layer}.{known}" if isinstance(layer, int) and known else None,
        "model_name": _model_name(trainer).split("/")[-1] or None,
    }
    if isinstance(trainer.get("seed"), int):
        said["train_seed"] = trainer["seed"]
    if isinstance(layer, int):
        said["layer"] = layer
    said |= {name: trainer[key] for key, name in _PENALTIES.items() if isinstance(trainer.get(key), (int, float))}
    if kind in _TRAINED_AS:
        details: dict[str, Any] = {"k": trainer["k"]}
        groups = tensors.get("group_sizes")
        if kind.startswith("Matryoshka") and groups is not None and groups.ndim == 1:
            details["matryoshka_widths"] = groups.cumsum(0).tolist()
        said |= {"training_architecture": _TRAINED_AS[kind], "training_architecture_details": details}
    return said


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that `torch.save` wrote, mapped and not read; no code in it is run.

    Raises:
        BadInput: It is no such file, holds anything else, or claims more than its own size.
    """
    import torch

    size = file.stat().st_size
    try:
        with zipfile.ZipFile(file) as archive:
            packed = [i.filename for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED]
            claimed = sum(i.file_size for i in archive.infolist())
    except Exception as error:
        # zipfile raises whatever it stumbles over
        raise BadInput(
            f"{file}: not a whole file of torch.save ({one_line(error)}); copy it again, or save it again with torch 1.6 or newer"
        ) from None
    if packed or claimed > size:
        raise BadInput(f"{file}: packed or overlapping parts; torch.save writes neither, so it is not opened")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise BadInput(
            f"{file}: it holds more than tensors and is not opened, since that could run code; save its state dict alone"
        ) from None
    except Exception as error:
        # torch raises whatever its parsers raise on a damaged file
        raise BadInput(f"{file}: torch cannot read it: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{file}: expected named tensors, found {type(found).__name__}")
    for name, tensor in found.items():
        if not isinstance(tensor, torch.Tensor):
            raise BadInput(
                f"{file}: {printable(name):.40} is a {type(tensor).__name__}, not a tensor; it is no finished ae.pt"
            )
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > size:
            raise BadInput(f"{file}: {printable(name):.40} claims more than the file holds")
    return {str(name): tensor for name, tensor in found.items()}
