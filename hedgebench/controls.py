"""Control SAEs: what a metric says of SAEs that learnt nothing, at the same L0; and of the best there can be, where the truth is known.

`random`: JumpReLU, random unit decoder rows, encoder their transpose, the trained decoder bias, one threshold for all latents set so that L0
equals the trained SAE's. `permuted`: the trained SAE with its decoder rows shuffled: same activations, wrong directions.
After the random and permuted baselines of "Sanity checks for sparse autoencoders" (arXiv 2602.14111).

`pca`: like the random one, but its rows are the activations' principal components, of either sign, and its bias their mean. `oracle`: its rows are
the true features of a toy world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hedgebench.control_cards import CALIBRATION_BATCHES, CALIBRATION_SEED, KINDS, MADE_FROM
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE
    from torch import Tensor

    from hedgebench.toy.worlds import Sample, World

_CHUNK = 1024
"""Tokens that are encoded at a time."""


def make_control(kind: str, sae: SAE, seed: int) -> SAE:
    """Draw a control for a folded SAE, from `seed` alone.

    A random control's threshold is 0 until `match_l0` sets it: evals that read weights alone never need it.

    Args:
        kind: `random`, `permuted`, or a dial with its amount (`hedgebench.dials`).
        sae: Folded; it is left as it is.
        seed: Of all that is drawn.

    Raises:
        LookupError: No kind that is drawn.
    """
    import torch

    from hedgebench.dials import turn

    if "=" in kind:
        return turn(kind, sae, seed)
    generator = torch.Generator().manual_seed(seed)
    if kind == "random":
        return _random(sae, generator)
    if kind == "permuted":
        return _permuted(sae, generator)
    raise LookupError(f"no control {kind!r} is drawn; known: {', '.join(k for k in KINDS if k not in MADE_FROM)}")


def _random(sae: SAE, generator: torch.Generator) -> SAE:
    import torch

    rows = torch.randn(*sae.W_dec.shape, generator=generator)
    rows = (rows / rows.norm(dim=-1, keepdim=True)).to(sae.W_dec)
    return _jumprelu(sae, rows, rows.T, sae.b_dec)


def _jumprelu(sae: SAE, w_dec: Tensor, w_enc: Tensor, b_dec: Tensor, **changes: Any) -> SAE:
    """A JumpReLU SAE at threshold 0 with these weights, on the device and in the dtype of `sae`; it reads what that one does, but for what is changed."""
    import torch

    from hedgebench.loaders import build_sae

    d_sae, d_in = w_dec.shape
    config = {
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "apply_b_dec_to_input": True,
        "normalize_activations": sae.cfg.normalize_activations,
        "reshape_activations": sae.cfg.reshape_activations,
        "metadata": dict(sae.cfg.metadata.to_dict()),
        "dtype": sae.cfg.dtype,
        **changes,
    }
    zeros = torch.zeros(d_sae)
    given = {"W_dec": w_dec, "W_enc": w_enc, "b_dec": b_dec, "b_enc": zeros, "threshold": zeros}
    weights = {name: t.to(sae.W_dec, copy=True).contiguous() for name, t in given.items()}
    return build_sae(config, weights).to(device=sae.W_dec.device).eval().requires_grad_(False)


def _permuted(sae: SAE, generator: torch.Generator) -> SAE:
    import torch

    from hedgebench.loaders import inference_copy

    control = inference_copy(sae).to(device=sae.W_dec.device)
    order = torch.randperm(sae.cfg.d_sae, generator=generator).to(sae.W_dec.device)
    control.W_dec.data = sae.W_dec.data[order].clone()
    return control.eval().requires_grad_(False)


def pca_control(sae: SAE, acts: Tensor) -> SAE:
    """The principal components of the activations as an SAE: decoder rows +v_1, -v_1, +v_2, -v_2, ..., in order of falling variance.

    A latent is one-sided, so that it takes both signs to read a component. The encoder is the decoder's transpose, the decoder bias the mean activation,
    taken off the input; one threshold for all latents is set as by `match_l0`. At threshold 0 and with 2 d_in latents it reconstructs everything.

    Components are of what the SAE reads, so of normalised activations where it normalises them. Directions in which the tokens do not vary (n tokens
    vary in no more than n - 1) mean nothing: they are some orthonormal rows of what is left.

    Args:
        sae: The SAE whose L0 it has; folded. Its width is that SAE's, 2 d_in at most.
        acts: [tokens, d_in].

    Raises:
        CannotMeasure: There are no more tokens than components are asked for, or no components of what the SAE makes of them.
    """
    import torch

    from hedgebench.activations import check_units
    from hedgebench.moments import Moments, principal_components

    check_units(sae)
    d_in = sae.cfg.d_in
    width = min(sae.cfg.d_sae, 2 * d_in)
    n_components = -(-width // 2)
    if len(acts) <= n_components:
        raise CannotMeasure(
            f"{len(acts)} tokens have no {n_components} principal components, as many as the control of this SAE takes: give more text"
        )
    moments = Moments(d_in)
    for x in acts.to(sae.W_dec).split(_CHUNK):
        moments.add(sae.run_time_activation_norm_fn_in(x))
    if not moments.covariance.isfinite().all():
        raise CannotMeasure(
            "what the SAE reads is not finite: does it divide by the norm of activations that may be zero?"
        )
    components = principal_components(moments.covariance).directions[:n_components]
    rows = torch.stack([components, -components], dim=1).flatten(0, 1)[:width]
    control = _jumprelu(sae, rows, rows.T, moments.mean)
    match_l0(control, sae, acts)
    return control


def oracle_control(sae: SAE, world: World) -> SAE:
    """The true features of a toy world as an SAE: a latent for each, the world's constant as decoder bias.

    The encoder is the pseudo-inverse of the decoder, each column scaled so that the latent reads its own feature at its strength. Where the features are linearly
    independent it reads nothing of others, and where they are orthonormal it is the transpose; in superposition no linear encoder does, and this one reads little. One
    threshold for all latents is set so that as many fire as features do: between the weakest feature and what rounding, noise or superposition leaves of a silent one.

    Args:
        sae: The SAE it is beside: of the same d_in, whose device and dtype it takes.
        world: Its true features.
    """
    from hedgebench.toy.recovery import dual_basis

    features, sample = world.features.double(), calibration_sample(world)
    columns = dual_basis(features)
    columns = columns / (features.T * columns).sum(0)
    raw = {"normalize_activations": "none", "reshape_activations": "none"}
    control = _jumprelu(sae, features, columns, world.bias, **raw)
    set_l0(control, sample.activations, int((sample.firings > 0).sum()))
    return control


def calibration_sample(world: World) -> Sample:
    """The samples of a toy world on which controls are matched, and from which they are made."""
    import torch

    return world.sample(CALIBRATION_BATCHES * 16 * 128, torch.Generator().manual_seed(CALIBRATION_SEED))


def match_l0(control: SAE, sae: SAE, acts: Tensor) -> float:
    """Set a control's threshold so that its mean L0 equals `sae`'s on the given activations.

    Args:
        control: At threshold 0, as `make_control("random", ...)` makes it; its threshold is changed.
        sae: The SAE it imitates.
        acts: [tokens, d_in].

    Returns:
        The threshold, see `set_l0`. Cost: one encode of each SAE; memory grows with L0 × tokens.
    """
    from hedgebench.activations import flat_heads

    with flat_heads(sae):
        firing = sum(int((sae.encode(x) != 0).sum()) for x in acts.to(sae.W_dec).split(_CHUNK))
    return set_l0(control, acts, firing)


def set_l0(control: SAE, acts: Tensor, firing: int) -> float:
    """Set the threshold of a JumpReLU SAE so that its latents fire so many times in all on the given activations.

    Args:
        control: At threshold 0, which is changed.
        acts: [tokens, d_in].
        firing: Number of latents that fire, summed over tokens.

    Returns:
        The threshold: halfway between the last pre-activation that fires and the first that does not, 0 at least; twice the largest where none fires.
    """
    import torch

    from hedgebench.activations import flat_heads

    largest = torch.empty(0)
    with flat_heads(control):
        for x in acts.to(control.W_dec).split(_CHUNK):
            merged = torch.cat([largest, control.encode(x).flatten().float().cpu()])
            largest = merged.topk(min(merged.numel(), firing + 1)).values
    threshold = 0.0
    if firing == 0:
        threshold = 2 * float(largest[0])
    elif firing < largest.numel():
        threshold = max(0.0, float((largest[firing - 1] + largest[firing]) / 2))
    control.threshold.data.fill_(threshold)
    return threshold
