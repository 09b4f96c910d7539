"""What TPP and SCR do with an SAE: find the latents that drive a probe, take them out of the activations, and test the probes again.

SAEBench encodes all texts again for every class, and encodes and decodes them again for every class and number of latents. Here every
ordinary token is encoded once: a probe reads a text's mean activation, decoding is linear, and so taking latents out subtracts their mean
values times their decoder rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from hedgebench.isolation import upstream
from hedgebench.types import CannotMeasure

from .concept_probes import TEST_BATCH, Concepts, Part

if TYPE_CHECKING:
    from sae_lens import SAE

Accuracies = dict[str, dict[int, dict[str, float]]]
"""By concept whose latents are ablated, number of latents, and test: as SAEBench holds them."""


class Latents(NamedTuple):
    """An SAE's latents on a task's texts."""

    train: Mapping[str, torch.Tensor]
    """By group: [texts, 1, d_sae + 1], the mean latents of each text, with a last column of ones."""
    test: torch.Tensor
    """[distinct test texts, d_sae]: the mean latents of each text over its ordinary tokens."""
    test_padded: torch.Tensor
    """The same, with what the SAE says of the zero vector added for each position that is padded: what SAEBench ablates."""


class Correct(NamedTuple):
    """Which test texts our probes tell rightly. Every array is [concept of the test set, text of it, concept of the probe], True or False."""

    clean: torch.Tensor
    ablated: Mapping[tuple[str, int], torch.Tensor]
    """By concept whose latents are ablated, and number of latents."""


def check_sae(sae: SAE) -> None:
    """Refuse an SAE whose output is not linear in its latents, token by token.

    Raises:
        CannotMeasure: It is such a one; SAEBench fails on it, too: there is one decode per encode.
    """
    how = getattr(sae.cfg, "normalize_activations", "none")
    if how in ("layer_norm", "constant_norm_rescale"):
        raise CannotMeasure(f"the SAE rescales its input at run time ({how}), which SAEBench's ablation cannot handle")
    if sae.cfg.architecture() == "temporal":
        raise CannotMeasure("a temporal SAE's latents depend on the tokens before, and not all of its output on them")


@torch.no_grad()
def encode(sae: SAE, found: Concepts) -> Latents:
    """Encode every ordinary token of a task's texts, once.

    Costs tokens x d_in x d_sae. Holds the mean latents of all texts, in float32.

    Raises:
        FloatingPointError: A latent is NaN or infinite.
    """
    train = _mean_latents(found.train, sae)
    marked = torch.cat([train, torch.ones_like(train[:, :1])], dim=1)[:, None]
    test = _mean_latents(found.test, sae)
    of_zero = sae.encode(torch.zeros(1, 1, sae.cfg.d_in, dtype=sae.dtype, device=test.device))[0, 0].float()
    padded = test
    if bool((of_zero != 0).any()):
        padded = test + found.test.padding.to(test)[:, None] * of_zero
    if not all(bool(torch.isfinite(latents).all()) for latents in (train, padded)):
        raise FloatingPointError("some latent is NaN or infinite")
    groups = {group: marked[rows.to(marked.device)] for group, rows in found.train.rows.items()}
    return Latents(groups, test, padded)


def _mean_latents(part: Part, sae: SAE) -> torch.Tensor:
    return torch.cat([acts.mean_latents(sae) for acts in part.acts])


class _MeanLatents:
    """Stands for an SAE where SAEBench encodes texts of one token: here the token is the text's mean latents, already encoded.

    The column of ones keeps SAEBench from taking a text on which no latent fires for padding, and dividing by its length, 0.
    """

    def __init__(self, sae: SAE) -> None:
        self.W_dec = sae.W_dec

    def encode(self, marked: torch.Tensor) -> torch.Tensor:
        return marked[..., :-1]


def _effects(sae: SAE, latents: Latents, probes: Mapping[str, Any], scr: bool) -> dict[str, torch.Tensor]:
    """By concept: [d_sae], how much each latent moves its probe between texts with and without the concept; SAEBench's function."""
    from sae_bench.evals.scr_and_tpp.main import get_all_node_effects_for_one_sae

    found: dict[str, torch.Tensor] = get_all_node_effects_for_one_sae(
        _MeanLatents(sae), dict(probes), list(probes), scr, dict(latents.train), TEST_BATCH
    )
    return found


def _ablate(sae: SAE, means: torch.Tensor, latents: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """[texts, d_in]: mean activations without what the chosen latents write."""
    written: torch.Tensor = latents[:, chosen] @ sae.W_dec[chosen].float()
    return means.float() - written


def upstream_accuracies(sae: SAE, found: Concepts, latents: Latents, n_values: tuple[int, ...]) -> Accuracies:
    """The accuracies that SAEBench measures after ablation, with its probes, its draws and its treatment of padding.

    Draws from torch's generator what SAEBench draws, in its order.
    """
    from sae_bench.evals.scr_and_tpp.main import get_probe_test_accuracy, select_top_n_features

    probes, scr, device = dict(found.upstream_probes), found.task.scr, latents.test.device
    means = found.test.means.to(device)
    effects = _effects(sae, latents, probes, scr)
    accuracies: Accuracies = {concept: {} for concept in probes}
    for concept in probes:
        for n in n_values:
            chosen = select_top_n_features(effects[concept], n, concept)
            ablated = _ablate(sae, means, latents.test_padded, chosen).to(means.dtype)
            groups = {group: ablated[rows.to(device)] for group, rows in found.test.rows.items()}
            accuracies[concept][n] = get_probe_test_accuracy(probes, list(probes), groups, TEST_BATCH, scr)
    return accuracies


@torch.no_grad()
def correct(sae: SAE, found: Concepts, latents: Latents, n_values: tuple[int, ...], seed: int) -> Correct:
    """Which test texts our probes tell rightly, before and after ablation: always the same texts, and no padding in them."""
    from sae_bench.evals.scr_and_tpp.main import select_top_n_features

    probes, device = found.probes, latents.test.device
    means = found.test.means.to(device)
    rows = torch.stack([rows for rows, _ in found.samples.values()]).to(device)
    labels = torch.stack([labels for _, labels in found.samples.values()]).to(device)[..., None] == 1

    def told(acts: torch.Tensor) -> torch.Tensor:
        says = torch.stack([probe(acts) > 0 for probe in probes.values()], dim=-1)
        return (says[rows] == labels).cpu()

    ablated = {}
    with upstream(seed):
        effects = _effects(sae, latents, probes, found.task.scr)
        for concept in probes:
            for n in n_values:
                chosen = select_top_n_features(effects[concept], n, concept)
                ablated[concept, n] = told(_ablate(sae, means, latents.test, chosen))
    return Correct(told(means.float()), ablated)
