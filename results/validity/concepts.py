"""Trained SAEs that are given the answers: `python results/validity/concepts.py` writes out/validity-saes/NAME-oracle (a minute on one core).

To the trained SAE a latent is added for every class (and second label) of the sets that probing, TPP and SCR read in suite.yaml: it reads how far a token lies from the other classes towards its own, by
Fisher's direction among the texts' mean activations, and writes the difference of the two means. Made from training texts alone. Whatever asks for these concepts must find this SAE at least as good.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hedgebench.labelled_sets import open_labelled
from hedgebench.loaders import build_sae, load_sae
from hedgebench.models import load_model

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor

SETS = ("ag_news", "amazon_stars", "reviews")
NAMES = ("batchtopk-mse-s0", "matryoshka-mse-s0")
SAES, OUT = Path(__file__).parents[2] / "evals" / "checkpoints", Path("out/validity-saes")
LAYER, CONTEXT, TEXTS = 8, 64, 120
RIDGE = 0.1
"""Of the mean variance, added to the covariance within classes."""


def groups() -> Iterator[tuple[list[str], list[str]]]:
    """Training texts with and without each concept."""
    for name in SETS:
        rows, _ = open_labelled(f"stand-in:{name}").frames(seed=0)
        for column in ("label", "second"):
            for value in sorted(rows[column].dropna().unique()):
                has = rows[column] == value
                yield list(rows["text"][has][:TEXTS]), list(rows["text"][~has & rows[column].notna()][:TEXTS])


def means(model: Any, texts: list[str]) -> Tensor:
    """[texts, d_in], the mean activation over the ordinary tokens of each text."""
    tokens = model.to_tokens(texts, truncate=True)[:, :CONTEXT]
    ordinary = (tokens != model.tokenizer.pad_token_id) & (tokens != model.tokenizer.bos_token_id)
    hook = f"blocks.{LAYER}.hook_resid_post"
    acts = torch.cat([model.run_with_cache(part, names_filter=hook, stop_at_layer=LAYER + 1)[1][hook] for part in tokens.split(16)])  # fmt: skip
    return (acts * ordinary[..., None]).sum(1) / ordinary.sum(1, keepdim=True)


def latent(own: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder column [d_in], bias [] and decoder row [d_in] of a concept: 0 at the others' mean, 1 at its own, along Fisher's direction."""
    difference, middle = own.mean(0) - others.mean(0), others.mean(0)
    within = (torch.cov(own.T) + torch.cov(others.T)) / 2
    ridge = RIDGE * within.diagonal().mean() * torch.eye(len(within))
    column = torch.linalg.solve(within + ridge, difference)
    column = column / (column @ difference)
    return column, -(column @ middle), difference


def with_concepts(sae: SAE, concepts: list[tuple[Tensor, Tensor, Tensor]]) -> SAE:
    """The JumpReLU SAE with these latents after its own, which are as they were."""
    columns, biases, rows = (torch.stack(parts) for parts in zip(*concepts, strict=True))
    config = {**sae.cfg.to_dict(), "d_sae": sae.cfg.d_sae + len(rows), "metadata": dict(sae.cfg.metadata.to_dict())}
    offset = sae.b_dec @ columns.T if sae.cfg.apply_b_dec_to_input else torch.zeros(len(rows))
    weights = {
        "W_enc": torch.cat([sae.W_enc, columns.T], dim=1),
        "b_enc": torch.cat([sae.b_enc, biases + offset]),
        "W_dec": torch.cat([sae.W_dec, rows]),
        "b_dec": sae.b_dec.clone(),
        "threshold": torch.cat([sae.threshold, torch.zeros(len(rows))]),
    }
    return build_sae(config, {name: weight.detach().clone() for name, weight in weights.items()})


def main() -> None:
    """Make both SAEs."""
    model = load_model("smollm2-135m")
    concepts = [latent(means(model, own), means(model, others)) for own, others in groups()]
    for name in NAMES:
        with_concepts(load_sae(SAES / name), concepts).save_model(OUT / f"{name}-oracle")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        main()
