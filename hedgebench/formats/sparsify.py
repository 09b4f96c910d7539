"""EleutherAI's sparsify: a folder of `cfg.json` and `sae.safetensors`, named by the hook point (github.com/EleutherAI/sparsify).

TopK: with f the k largest of relu(encoder(x - b_dec)), the reconstruction is f W_dec + b_dec. SAELens's converter cannot be used for the
weights: it transposes `W_dec`, takes `b_dec` for part of the input only where the decoder is not normalised, and rounds to bfloat16.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hedgebench.formats.files import check_shapes, positive, read_object, read_safetensors, safetensors_header
from hedgebench.formats.layouts import Layout, find_layout
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens import SAE

_BLOCK = re.compile(r"(?:.*\.)?(?:layers|h|blocks)[._](\d+)(?:\.(\w+))?")
_HOOKS = {None: "hook_resid_post", "mlp": "hook_mlp_out"} | dict.fromkeys(
    ("attn", "self_attn", "attention"), "hook_attn_out"
)


def load(ref: str) -> SAE | None:
    """Load a sparsify folder, or its `sae.safetensors`; None where `ref` is neither.

    Raises:
        BadInput: A transcoder, an activation that SAELens does not know, or damaged files.
    """
    if (found := find_layout(ref, "sparsify")) is None:
        return None
    assert found.config is not None
    cfg, file = read_object(found.config), found.config
    _refuse(cfg, ref)
    d_in, k = positive(cfg, "d_in", file), positive(cfg, "k", file)
    d_sae = (
        positive(cfg, "num_latents", file) if cfg.get("num_latents") else d_in * positive(cfg, "expansion_factor", file)
    )
    if k > d_sae:
        raise BadInput(f"{file}: k is {k}, more than the {d_sae} latents")
    shapes, _ = safetensors_header(found.weights)
    if "W_skip" in shapes:
        raise BadInput(f"{ref}: a skip connection makes it no autoencoder; HedgeBench evaluates SAEs only")
    wanted = {"encoder.weight": (d_sae, d_in), "encoder.bias": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    check_shapes(found.weights, shapes, wanted, f"cfg.json (d_in {d_in}, {d_sae} latents)")
    weights = read_safetensors(found.weights, wanted)
    from hedgebench.loaders import build_sae

    config = {"architecture": "topk", "d_in": d_in, "d_sae": d_sae, "k": k, "apply_b_dec_to_input": True}
    return build_sae(
        {**config, "metadata": _metadata(found)},
        {
            "W_enc": weights["encoder.weight"].T.contiguous(),
            "b_enc": weights["encoder.bias"],
            "W_dec": weights["W_dec"],
            "b_dec": weights["b_dec"],
        },
    )


def _refuse(cfg: dict[str, Any], ref: str) -> None:
    if cfg.get("transcode") or cfg.get("skip_connection"):
        raise BadInput(f"{ref}: a transcoder maps one hook point to another; HedgeBench evaluates SAEs only")
    if cfg.get("activation", "topk") != "topk":
        raise BadInput(f"{ref}: activation {cfg['activation']!r} has no counterpart in SAELens; 'topk' has")
    if cfg.get("signed"):
        raise BadInput(f"{ref}: its latents may be negative ('signed'), which SAELens's TopK SAEs cannot be")


def _metadata(found: Layout) -> dict[str, Any]:
    """What the folder's name, and the run's settings in the folder above, say."""
    folder, seed = found.folder, re.fullmatch(r"seed(\d+)", found.folder.name)
    if seed:
        folder = folder.parent
    beside = folder.parent / "config.json"
    run = read_object(beside) if beside.is_file() else {}
    hook = None
    if folder.name == "embed_tokens":
        hook = "hook_embed"
    elif (block := _BLOCK.fullmatch(folder.name)) and block[2] in _HOOKS:
        hook = f"blocks.{block[1]}.{_HOOKS[block[2]]}"
    seeds = run.get("init_seeds")
    only = seeds[0] if isinstance(seeds, list) and len(seeds) == 1 else None
    said = {"hook_name": hook, "model_name": run.get("model"), "train_seed": int(seed[1]) if seed else only}
    return {key: value for key, value in said.items() if value is not None}
