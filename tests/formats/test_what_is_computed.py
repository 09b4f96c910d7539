"""An SAE of each format computes what its own project's code computes: encode and decode, written here from that code's definition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import known_formats as known
import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, relu

from hedgebench import load_sae
from hedgebench.loaders import load_raw

Pair = tuple[Tensor, Tensor]
"""Latents and reconstruction."""


def gemma_scope(x: Tensor) -> Pair:
    p = {name: torch.from_numpy(array) for name, array in known.gemma_arrays().items()}
    before = x @ p["W_enc"] + p["b_enc"]
    latents = (before > p["threshold"]) * relu(before)
    return latents, latents @ p["W_dec"] + p["b_dec"]


def sparsify(x: Tensor) -> Pair:
    p = known.sparsify_weights()
    values, indices = relu(linear(x - p["b_dec"], p["encoder.weight"], p["encoder.bias"])).topk(known.K, dim=-1)
    latents = torch.zeros(len(x), known.D_SAE).scatter(-1, indices, values)
    return latents, linear(latents, p["W_dec"].mT) + p["b_dec"]


def plain(x: Tensor) -> Pair:
    p = known.plain_weights()
    latents = relu(x @ p["W_enc"] + p["b_enc"])
    return latents, latents @ p["W_dec"] + p["b_dec"]


def dictionary(kind: str) -> Callable[[Tensor], Pair]:
    p = known.dictionary_weights(kind)

    def encode(x: Tensor) -> Tensor:
        if kind == "AutoEncoder":
            return relu(linear(x - p["bias"], p["encoder.weight"], p["encoder.bias"]))
        if kind == "AutoEncoderNew":
            return relu(linear(x, p["encoder.weight"], p["encoder.bias"]))
        if kind == "GatedAutoEncoder":
            before = linear(x - p["decoder_bias"], p["encoder.weight"])
            return (before + p["gate_bias"] > 0) * relu(p["r_mag"].exp() * before + p["mag_bias"])
        if kind == "JumpReluAutoEncoder":
            before = x @ p["W_enc"] + p["b_enc"]
            return relu(before * (before > p["threshold"]))
        if kind == "MatryoshkaBatchTopKSAE":
            acts = relu((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"])
        else:
            acts = relu(linear(x - p["b_dec"], p["encoder.weight"], p["encoder.bias"]))
        if kind == "AutoEncoderTopK":
            top = acts.topk(known.K, dim=-1)
            return torch.zeros_like(acts).scatter(-1, top.indices, top.values)
        return acts * (acts > p["threshold"])

    def decode(f: Tensor) -> Tensor:
        bias = next(p[name] for name in ("b_dec", "bias", "decoder_bias", "decoder.bias") if name in p)
        return (f @ p["W_dec"] if "W_dec" in p else linear(f, p["decoder.weight"])) + bias

    def compute(x: Tensor) -> Pair:
        return encode(x), decode(encode(x))

    return compute


FORMATS: dict[str, tuple[Callable[[Path], Path], Callable[[Tensor], Pair]]] = {
    "gemma_scope": (known.write_gemma_scope, gemma_scope),
    "sparsify": (lambda path: known.write_sparsify(path / "layers.3"), sparsify),
    "plain": (lambda path: known.write_plain(path / "mine.safetensors"), plain),
}
for _kind in (
    "AutoEncoder",
    "AutoEncoderNew",
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    "MatryoshkaBatchTopKSAE",
):
    FORMATS[_kind] = (lambda path, kind=_kind: known.write_dictionary(path, kind), dictionary(_kind))


@pytest.mark.parametrize("name", FORMATS)
def test_latents_and_reconstruction_are_those_of_the_formats_own_code(name: str, tmp_path: Path):
    write, compute = FORMATS[name]
    sae = load_raw(write(tmp_path / "it"))
    latents, reconstruction = compute(known.inputs())
    assert 0 < (latents > 0).float().mean() < 1, "the inputs must reach both sides of the threshold"
    torch.testing.assert_close(sae.encode(known.inputs()), latents)
    torch.testing.assert_close(sae(known.inputs()), reconstruction)


@pytest.mark.parametrize("name", FORMATS)
def test_folding_to_unit_rows_keeps_which_latents_fire_and_what_comes_out(name: str, tmp_path: Path):
    write, compute = FORMATS[name]
    sae = load_sae(write(tmp_path / "it"))
    latents, reconstruction = compute(known.inputs())
    assert torch.equal(sae.encode(known.inputs()) > 0, latents > 0)
    torch.testing.assert_close(sae(known.inputs()), reconstruction)
    if "topk" not in sae.cfg.architecture():  # SAELens leaves those as they are stored
        torch.testing.assert_close(sae.W_dec.norm(dim=-1), torch.ones(known.D_SAE))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_stored_in_half_precision_are_computed_with_in_single(dtype: torch.dtype, tmp_path: Path):
    sae = load_raw(known.write_sparsify(tmp_path / "layers.3", known.sparsify_weights(dtype)))
    assert sae.W_dec.dtype == sae.W_enc.dtype == torch.float32
    assert torch.equal(sae.W_dec, known.sparsify_weights(dtype)["W_dec"].float())


@pytest.mark.parametrize("unit", [True, False])
def test_llama_scope_computes_what_lm_saes_does_on_loading(unit: bool, tmp_path: Path):
    """lm_saes takes the factor out of the data and into biases and decoder, then makes decoder rows unit, then compares with the threshold."""
    stored = {name: t.float() for name, t in known.llama_weights().items()}
    factor = known.D_IN**0.5 / known.LLAMA["dataset_average_activation_norm"]["in"]
    encoder, bias = stored["encoder.weight"], stored["encoder.bias"] / factor
    decoder, b_dec = stored["decoder.weight"], stored["decoder.bias"] / factor
    if unit:
        norms = decoder.norm(dim=0)
        encoder, bias, decoder = encoder * norms[:, None], bias * norms, decoder / norms
    before = linear(known.inputs(), encoder, bias)
    latents = before.where(before > known.LLAMA["jump_relu_threshold"], torch.zeros(()))
    assert 0 < (latents > 0).float().mean() < 1

    sae = load_sae(known.write_llama_scope(tmp_path / "Llama3_1-8B-Base-L15R-8x", sparsity_include_decoder_norm=unit))
    assert torch.equal(sae.encode(known.inputs()) > 0, latents > 0)
    torch.testing.assert_close(sae(known.inputs()), linear(latents, decoder, b_dec))
    if unit:
        torch.testing.assert_close(sae.encode(known.inputs()), latents)
    assert sae.cfg.normalize_activations == "none"


@pytest.mark.parametrize("before", ["true", "false"])
def test_the_notes_of_a_plain_file_say_what_its_tensors_do_not(before: str, tmp_path: Path):
    p = known.plain_weights()
    x = known.inputs()
    pre = (x - p["b_dec"] if before == "true" else x) @ p["W_enc"] + p["b_enc"]
    threshold = torch.linspace(0, 1, known.D_SAE)
    jump = known.write_plain(tmp_path / "jump.safetensors", {**p, "threshold": threshold}, apply_b_dec_to_input=before)
    torch.testing.assert_close(load_raw(jump).encode(x), relu(pre) * (pre > threshold))
    top = known.write_plain(tmp_path / "top.safetensors", p, apply_b_dec_to_input=before, k="3")
    values, indices = relu(pre).topk(3)
    torch.testing.assert_close(load_raw(top).encode(x), torch.zeros_like(pre).scatter(-1, indices, values))
