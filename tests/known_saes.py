"""Small SAEs whose right answer is known, on features that are orthonormal directions.

`features` [n, d_in] are unit rows; an activation is a non-negative combination of them. Every builder returns a plain SAELens SAE (architecture
`standard`: ReLU, no threshold), in float64 on the CPU, that shares no memory with its arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor


def orthonormal_features(n: int, d_in: int, generator: torch.Generator) -> Tensor:
    """[n, d_in] random orthonormal rows, n <= d_in."""
    return torch.linalg.qr(torch.randn(d_in, n, generator=generator, dtype=torch.float64)).Q.T.contiguous()


def sparse_activations(features: Tensor, n_tokens: int, p: float, generator: torch.Generator) -> Tensor:
    """[n_tokens, d_in]: every feature fires independently with probability p, with a strength from 1 to 2."""
    shape = n_tokens, len(features)
    fires = torch.rand(shape, generator=generator, dtype=torch.float64) < p
    return (fires * (1 + torch.rand(shape, generator=generator, dtype=torch.float64))) @ features


def build(w_enc: Tensor, w_dec: Tensor, b_enc: Tensor | None = None, b_dec: Tensor | None = None) -> SAE:
    """The SAE with these weights: ReLU((x - b_dec) W_enc + b_enc) W_dec + b_dec, W_enc [d_in, d_sae], W_dec [d_sae, d_in]."""
    from sae_lens import SAE

    d_sae, d_in = w_dec.shape
    metadata = {"hook_name": "blocks.1.hook_resid_post", "model_name": "tiny"}
    config = {"architecture": "standard", "d_in": d_in, "d_sae": d_sae, "dtype": "float64", "metadata": metadata}
    sae = SAE.from_dict(config)
    weights = {
        "W_enc": w_enc,
        "W_dec": w_dec,
        "b_enc": torch.zeros(d_sae) if b_enc is None else b_enc,
        "b_dec": torch.zeros(d_in) if b_dec is None else b_dec,
    }
    sae.load_state_dict({name: weight.to(torch.float64) for name, weight in weights.items()})
    return sae.eval().requires_grad_(False)


def oracle(features: Tensor) -> SAE:
    """One latent per feature, encoder the transpose of the decoder: reconstructs what the features make, and L0 is how many fire."""
    return build(features.T, features)


def identity(d_in: int) -> SAE:
    """Reconstructs any activation exactly, from 2 * d_in latents: one per sign of each coordinate."""
    signs = torch.cat([torch.eye(d_in), -torch.eye(d_in)])
    return build(signs.T, signs)


def dead(d_in: int, d_sae: int, generator: torch.Generator) -> SAE:
    """No latent ever fires: L0 is 0, the reconstruction is zero."""
    rows = unit_rows(d_sae, d_in, generator)
    return build(torch.zeros(d_in, d_sae), rows, b_enc=-torch.ones(d_sae))


def bias_only(b_dec: Tensor, d_sae: int, generator: torch.Generator) -> SAE:
    """No latent ever fires, and every reconstruction is `b_dec` [d_in]."""
    sae = dead(len(b_dec), d_sae, generator)
    return build(sae.W_enc, sae.W_dec, sae.b_enc, b_dec)


def random_rows(d_in: int, d_sae: int, generator: torch.Generator) -> SAE:
    """Random unit decoder rows, encoder their transpose: it has learnt nothing."""
    rows = unit_rows(d_sae, d_in, generator)
    return build(rows.T, rows)


def permuted_decoder(sae: SAE, generator: torch.Generator) -> SAE:
    """The same latents fire, each writing another's direction: no row keeps its place."""
    turn = int(torch.randint(1, sae.cfg.d_sae, (), generator=generator))
    return build(sae.W_enc, sae.W_dec.roll(turn, dims=0), sae.b_enc, sae.b_dec)


def dial(features: Tensor, alpha: float, latent: int = 0, other: int = 1) -> SAE:
    """The oracle, but for one latent whose decoder row is turned towards another feature: features[latent] + alpha * features[other], unit.

    What an eval says of hedging must be least at alpha 0 and rise with alpha. The cosine of the row with the other feature is
    alpha / sqrt(1 + alpha^2).
    """
    rows = features.clone()
    row = features[latent] + alpha * features[other]
    rows[latent] = row / row.norm()
    return build(features.T, rows)


def unit_rows(n: int, d: int, generator: torch.Generator) -> Tensor:
    """[n, d] random unit rows."""
    rows = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=-1, keepdim=True)
