"""Absorption's results: as scores, and the way SAEBench writes them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hedgebench.types import Score

if TYPE_CHECKING:
    import pandas as pd

    from hedgebench.eval import EvalContext

    from .absorption_config import AbsorptionConfig

_AGGREGATES = {
    "mean_absorption_fraction": ("mean_absorption_fraction_score", "std_dev_absorption_fraction_score"),
    "full_absorption_rate": ("mean_full_absorption_score", "std_dev_full_absorption_score"),
    "num_split_features": ("mean_num_split_features", "std_dev_num_split_features"),
}
"""A letter's number, and SAEBench's names for its mean and standard deviation over letters."""


@dataclass(frozen=True)
class Letter:
    """SAEBench's numbers of one letter, and the standard error of the absorption fraction over words."""

    first_letter: str
    mean_absorption_fraction: float
    full_absorption_rate: float
    num_full_absorption: int
    num_probe_true_positives: int
    num_split_features: int
    stderr: float | None


def letters(words: pd.DataFrame, f1: Mapping[str, float], min_f1: float) -> list[Letter]:
    """The numbers of every letter whose probe is good enough, by SAEBench's `_aggregate_results_df`.

    Args:
        words: SAEBench's table of its second part, a row per word.
        f1: Of the ground-truth probe, by letter.
        min_f1: A letter counts when its F1 is higher.
    """
    from sae_bench.evals.absorption.main import _aggregate_results_df

    found = []
    for row in _aggregate_results_df(words).to_dict("records"):
        letter = str(row["letter"])
        if f1[letter] > min_f1:
            fractions = [float(x) for x in words.loc[words["letter"] == letter, "absorption_fraction"]]
            found.append(
                Letter(
                    first_letter=letter,
                    mean_absorption_fraction=float(row["mean_absorption_fraction"]),
                    full_absorption_rate=float(row["full_absorption_rate"]),
                    num_full_absorption=int(row["num_full_absorption"]),
                    num_probe_true_positives=int(row["num_probe_true_positives"]),
                    num_split_features=int(row["num_split_feats"]),
                    stderr=_stderr(fractions),
                )
            )
    return found


def _stderr(values: list[float]) -> float | None:
    """The standard error of the mean; None where the values do not vary, which says nothing of the error."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return deviation / math.sqrt(len(values)) or None


def scores(found: list[Letter], f1: Mapping[str, float], n_words: int) -> Iterator[Score]:
    """Every number: means and standard deviations over letters first, then letter by letter."""
    for name, (mean, deviation) in _AGGREGATES.items():
        values = [float(getattr(letter, name)) for letter in found]
        yield Score(mean, statistics.mean(values), stderr=_stderr(values), n=len(values))
        yield Score(deviation, statistics.stdev(values), n=len(values))
    yield Score("num_letters", len(found))
    for letter in found:
        n, rate = letter.num_probe_true_positives, letter.full_absorption_rate
        binomial = math.sqrt(rate * (1 - rate) / n) or None
        at: dict[str, Any] = {"slice_by": "letter", "slice_value": letter.first_letter}
        yield Score("mean_absorption_fraction", letter.mean_absorption_fraction, stderr=letter.stderr, n=n, **at)
        yield Score("full_absorption_rate", rate, stderr=binomial, n=n, **at)
        yield Score("num_full_absorption", letter.num_full_absorption, n=n, **at)
        yield Score("num_probe_true_positives", n, **at)
        yield Score("num_split_features", letter.num_split_features, **at)
    for name, value in f1.items():
        yield Score("probe_f1", value, slice_by="letter", slice_value=name, n=n_words)


def saebench_fields(ctx: EvalContext, cfg: AbsorptionConfig, found: list[Letter]) -> dict[str, Any]:
    """The fields of SAEBench's absorption output that this eval decides. The settings are `settled`."""
    mean: dict[str, float] = {}
    for name, (average, deviation) in _AGGREGATES.items():
        values = [float(getattr(letter, name)) for letter in found]
        mean |= {average: statistics.mean(values), deviation: statistics.stdev(values)}
    rows = [asdict(letter) for letter in found]
    return {
        "eval_type_id": "absorption_first_letter",
        "eval_config": _eval_config(ctx, cfg),
        "eval_result_metrics": {"mean": mean},
        "eval_result_details": [{key: row[key] for key in row if key != "stderr"} for row in rows],
    }


def _eval_config(ctx: EvalContext, cfg: AbsorptionConfig) -> dict[str, Any]:
    from sae_bench.evals.absorption.eval_config import AbsorptionEvalConfig

    ours = asdict(cfg)
    ours.pop("words_per_letter")
    ours |= {
        "model_name": str(ctx.checkpoint.model or ""),
        "llm_dtype": str(ctx.model.cfg.dtype).removeprefix("torch."),
        "random_seed": int(ctx.seed or 0),
    }
    return asdict(AbsorptionEvalConfig(**ours))
