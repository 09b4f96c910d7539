"""SAEBench's tables of k-sparse probing, as far as its second part reads them, and that second part, run on them.

SAEBench fills its tables word by word in Python, and computes eight scores per letter and k where its second part reads one, the F1. Both cost
more than training the probes. Here the columns that are read are filled batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from hedgebench.isolation import upstream

if TYPE_CHECKING:
    from .absorption_config import AbsorptionConfig
    from .absorption_probe import Probe
    from .recorded import RecordedModel

EVAL_BATCH = 24
"""Words that SAEBench encodes at once when it scores them: its default."""
PRECALC_BYTES = 2**32
"""Latents of the training words up to this size are kept, see `AbsorptionConfig.precalc_k_sparse_probe_sae_acts`."""
_NAME = "sae"


@dataclass(frozen=True)
class KSparse:
    """What SAEBench's second part reads of the first."""

    raw: pd.DataFrame
    """A row per test word: `token`, `answer_letter`, `score_probe_a`, ..., `score_sparse_sae_a_k_1`, ..."""
    metrics: pd.DataFrame
    """A row per letter: `letter`, `f1_sparse_sae_1`, ..., `sparse_sae_k_1_feats`, ..."""


def settled(cfg: AbsorptionConfig, sae: Any, probe: Probe) -> AbsorptionConfig:
    """The settings with nothing left to be found: the position of the word, and whether latents are kept."""
    precalc = cfg.precalc_k_sparse_probe_sae_acts
    if precalc is None:
        precalc = len(probe.train) * sae.cfg.d_sae * sae.W_dec.element_size() <= PRECALC_BYTES
    return replace(cfg, prompt_token_pos=probe.position, precalc_k_sparse_probe_sae_acts=precalc)


def k_sparse(sae: Any, probe: Probe, cfg: AbsorptionConfig, device: str, seed: int) -> KSparse:
    """Train SAEBench's k-sparse probes on the SAE's latents, and score them on the test words. The settings are `settled`."""
    from sae_bench.evals.absorption.common import DEFAULT_DTYPE
    from sae_bench.evals.absorption.k_sparse_probing import train_k_sparse_probes

    with upstream(seed):
        probes = train_k_sparse_probes(
            sae,
            list(zip(probe.train_words, probe.train_labels.tolist(), strict=True)),
            probe.train.to(DEFAULT_DTYPE),
            ks=range(1, cfg.max_k_value + 1),
            l1_decay=cfg.k_sparse_probe_l1_decay,
            batch_size=cfg.k_sparse_probe_batch_size,
            num_epochs=cfg.k_sparse_probe_num_epochs,
            precalc_sae_acts=bool(cfg.precalc_k_sparse_probe_sae_acts),
        )
        scores = _sparse_scores(sae, probes, probe.test.to(DEFAULT_DTYPE))
        latents = {k: [by_letter[i].feature_ids.numpy() for i in sorted(by_letter)] for k, by_letter in probes.items()}
        return tables(probe, probe.test_scores(device), scores, latents)


@torch.no_grad()
def _sparse_scores(sae: Any, probes: Mapping[int, Mapping[int, Any]], acts: torch.Tensor) -> dict[int, np.ndarray]:
    """[words, 26] per k: what each k-sparse probe says of each word, from every word encoded once."""
    from sae_bench.evals.absorption.k_sparse_probing import _get_sae_acts

    parts: dict[int, list[torch.Tensor]] = {k: [] for k in probes}
    for batch in acts.split(EVAL_BATCH):
        latents = _get_sae_acts(sae, batch).float().cpu()
        for k, by_letter in probes.items():
            parts[k].append(torch.stack([by_letter[i](latents) for i in sorted(by_letter)], dim=1))
    return {k: torch.cat(part).numpy() for k, part in parts.items()}


def tables(
    probe: Probe, probe_scores: np.ndarray, scores: Mapping[int, np.ndarray], latents: Mapping[int, Sequence[np.ndarray]]
) -> KSparse:  # fmt: skip
    """SAEBench's two tables.

    Args:
        probe: For the test words and their letters.
        probe_scores: [words, 26], of the ground-truth probe.
        scores: [words, 26] per k, of the k-sparse probes.
        latents: 26 lists of latents per k.
    """
    from sae_bench.evals.absorption.vocab import LETTERS

    labels = probe.test_labels.numpy()
    raw: dict[str, Any] = {"token": probe.test_words, "answer_letter": [LETTERS[i] for i in labels]}
    metrics: dict[str, Any] = {"letter": list(LETTERS)}
    raw |= {f"score_probe_{letter}": probe_scores[:, i] for i, letter in enumerate(LETTERS)}
    for k, score in scores.items():
        raw |= {f"score_sparse_sae_{letter}_k_{k}": score[:, i] for i, letter in enumerate(LETTERS)}
        metrics[f"f1_sparse_sae_{k}"] = f1_by_letter(score > 0, labels)
        metrics[f"sparse_sae_k_{k}_feats"] = list(latents[k])
    return KSparse(pd.DataFrame(raw), pd.DataFrame(metrics))


def f1_by_letter(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """F1 of each column of predictions [words, letters] about words whose letter number is `labels` [words]; 0 where it is 0 / 0."""
    true = labels[:, None] == np.arange(predicted.shape[1])
    hits, both = (predicted & true).sum(0), predicted.sum(0) + true.sum(0)
    return np.divide(2.0 * hits, both, out=np.zeros(len(both)), where=both > 0)


def second_part(
    first: KSparse, sae: Any, model: RecordedModel, probe: Probe, layer: int, cfg: AbsorptionConfig, device: str, seed: int
) -> pd.DataFrame:  # fmt: skip
    """SAEBench's `run_feature_absortion_experiment`: a row per test word that the ground-truth probe is right about. The settings are `settled`."""
    from sae_bench.evals.absorption.feature_absorption import run_feature_absortion_experiment
    from sae_bench.evals.absorption.k_sparse_probing import (
        get_sparse_probing_metrics_filename,
        get_sparse_probing_raw_results_filename,
    )

    with upstream(seed) as scratch:
        tables_in, probes_in = scratch / "k_sparse" / _NAME, scratch / "probes"
        _save_probe(probe.module(device), probes_in / str(model.cfg.model_name) / f"layer_{layer}")
        tables_in.mkdir(parents=True)
        first.raw.to_parquet(tables_in / get_sparse_probing_raw_results_filename(_NAME, layer))
        first.metrics.to_parquet(tables_in / get_sparse_probing_metrics_filename(_NAME, layer))
        rows: pd.DataFrame = run_feature_absortion_experiment(
            model=model,
            sae=sae,
            layer=layer,
            sae_name=_NAME,
            max_k_value=cfg.max_k_value,
            prompt_template=cfg.prompt_template,
            prompt_token_pos=cfg.prompt_token_pos,
            device=device,
            experiment_dir=scratch / "absorption",
            sparse_probing_experiment_dir=tables_in.parent,
            probes_dir=probes_in,
            feature_split_f1_jump_threshold=cfg.f1_jump_threshold,
            batch_size=cfg.llm_batch_size,
        )
        return rows


def _save_probe(probe: Any, folder: Path) -> None:
    """Where SAEBench unpickles it, which is a folder of this run."""
    folder.mkdir(parents=True)
    torch.save(probe, folder / "probe.pth")
