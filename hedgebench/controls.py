"""Control SAEs: what a metric says of an SAE that learnt nothing, at the same shape and the same L0.

`random`: JumpReLU, random unit decoder rows, encoder their transpose, the trained decoder bias, one threshold for all latents set so that L0
equals the trained SAE's. `permuted`: the trained SAE with its decoder rows shuffled: same activations, wrong directions.
After the random and permuted baselines of "Sanity checks for sparse autoencoders" (arXiv 2602.14111).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from hedgebench.types import Checkpoint

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE

KINDS = ("random", "permuted")
CALIBRATION_SEED = 2**31 - 1
"""Seed of the tokens on which a random control's L0 is matched: none of the evaluation's own."""
CALIBRATION_BATCHES = 8
"""Batches of 16 × 128 tokens for it."""
_RECIPE = f"1 {CALIBRATION_SEED} {CALIBRATION_BATCHES}"
"""All that decides a control beside its SAE and its seed; part of its digest."""


def control_card(kind: str, base: Checkpoint, seed: int = 0) -> Checkpoint:
    """The card of a control row: like its SAE's, with a digest of its own that is known before any weight is drawn."""
    key = f"control {_RECIPE} {kind} {seed} {base.digest}"
    return replace(
        base,
        digest=hashlib.sha256(key.encode()).hexdigest()[:32],
        name=f"{base.name}/{kind}",
        architecture=f"{kind}_control",
        loss=None,
        train_seed=None,
        train_tokens=None,
        prefixes=(),
        growth=None,
        recipe=None,
        group=None,
        control_of=base.digest,
        control_kind=kind,
        control_seed=seed,
        tags={**base.tags, "control": kind},
    )


def make_control(kind: str, sae: SAE, seed: int) -> SAE:
    """Build a control for a folded SAE, from `seed` alone.

    A random control's threshold is 0 until `match_l0` sets it: evals that read weights alone never need it.

    Raises:
        LookupError: Unknown kind.
    """
    import torch

    if kind not in KINDS:
        raise LookupError(f"unknown control {kind!r}; known: {', '.join(KINDS)}")
    generator = torch.Generator().manual_seed(seed)
    return _random(sae, generator) if kind == "random" else _permuted(sae, generator)


def _random(sae: SAE, generator: torch.Generator) -> SAE:
    import torch

    from hedgebench.loaders import build_sae

    d_sae, d_in = sae.W_dec.shape
    rows = torch.randn(d_sae, d_in, generator=generator)
    rows = (rows / rows.norm(dim=-1, keepdim=True)).to(sae.W_dec)
    config = {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "apply_b_dec_to_input": True,
        "normalize_activations": sae.cfg.normalize_activations,
        "reshape_activations": sae.cfg.reshape_activations,
        "metadata": dict(sae.cfg.metadata.to_dict()),
        "dtype": sae.cfg.dtype,
    }
    zeros = torch.zeros(d_sae).to(sae.W_dec)
    weights = {
        "W_dec": rows,
        "W_enc": rows.T.contiguous(),
        "b_dec": sae.b_dec.clone(),
        "b_enc": zeros,
        "threshold": zeros.clone(),
    }
    control = build_sae(config, weights).to(device=sae.W_dec.device)
    return control.eval().requires_grad_(False)


def _permuted(sae: SAE, generator: torch.Generator) -> SAE:
    import torch

    from hedgebench.loaders import inference_copy

    control = inference_copy(sae).to(device=sae.W_dec.device)
    order = torch.randperm(sae.cfg.d_sae, generator=generator).to(sae.W_dec.device)
    control.W_dec.data = sae.W_dec.data[order].clone()
    return control.eval().requires_grad_(False)


def match_l0(control: SAE, sae: SAE, acts: torch.Tensor) -> float:
    """Set a random control's threshold so that its mean L0 equals `sae`'s on the given activations.

    Args:
        control: Made by `make_control("random", ...)`; its threshold is changed.
        sae: The SAE it imitates.
        acts: [tokens, d_in].

    Returns:
        The threshold: halfway between the last pre-activation that fires and the first that does not, 0 at least.
        Cost: one encode of each SAE; memory grows with L0 × tokens.
    """
    import torch

    from hedgebench.activations import flat_heads

    chunks = acts.to(sae.W_dec).split(1024)
    with flat_heads(sae), flat_heads(control):
        firing = sum(int((sae.encode(x) != 0).sum()) for x in chunks)
        largest = torch.empty(0)
        for x in chunks:
            merged = torch.cat([largest, control.encode(x).flatten().float().cpu()])
            largest = merged.topk(min(merged.numel(), firing + 1)).values
    threshold = 0.0
    if 0 < firing < largest.numel():
        threshold = max(0.0, float((largest[firing - 1] + largest[firing]) / 2))
    control.threshold.data.fill_(threshold)
    return threshold
