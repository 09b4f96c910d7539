"""What absorption over several SAEs costs here, and in SAEBench's own loop over SAEs.

Both get the same model object, SAEs, words, prompts and ground-truth probe, which is made beforehand. Of what remains, HedgeBench passes the
prompts of the second part through the model once for all SAEs, up to the hook point; SAEBench passes them through the whole model for each SAE.
Both train the same k-sparse probes for each SAE; SAEBench then fills its tables word by word and computes scores that nothing reads.

    python benchmarks/absorption_sharing.py                          # 1, 4 and 12 SAEs, 8 words per letter: about four minutes
    python benchmarks/absorption_sharing.py --words-per-letter 80    # the more words, the more the model's part counts

SAEBench is run SAE by SAE with its defaults, and every generator is seeded right before each. Prints the times, the ratio, what one more SAE costs,
and how far any shared number differs. Seconds are of the wall clock; those in brackets are of all cores together.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core_sharing import CHECKPOINTS, HOOK, LAYER, MODEL, Seconds, random_sae, timed
from hedgebench_evals.saebench.absorption import SAEBenchAbsorption
from hedgebench_evals.saebench.absorption_config import AbsorptionConfig
from hedgebench_evals.saebench.absorption_probe import Probe, find_probe

from hedgebench.artifacts import Artifacts
from hedgebench.checkpoint import describe
from hedgebench.compat import prepare
from hedgebench.eval import EvalContext
from hedgebench.isolation import upstream
from hedgebench.loaders import load_sae
from hedgebench.models import load_model

SEED = 0
Numbers = dict[tuple[str, str], float]
"""By metric and letter (`all` for means)."""


def context(sae: Any, model: Any, folder: Path) -> EvalContext:
    """What the harness hands to one run, with artifacts in a folder."""
    import torch

    artifacts = Artifacts({"model": MODEL, "hook": HOOK, "seed": SEED}, folder)
    card = describe(sae, name="sae")
    return EvalContext(
        sae=sae, checkpoint=card, generator=torch.Generator(), seed=SEED, model=model, artifacts=artifacts
    )


def hedgebench(saes: Sequence[Any], model: Any, folder: Path, cfg: AbsorptionConfig) -> list[Numbers]:
    """Our runs over these SAEs, the prompts not yet recorded."""
    shutil.rmtree(folder / "absorption_prompts", ignore_errors=True)
    runs = [SAEBenchAbsorption().run(context(sae, model, folder), cfg) for sae in saes]
    return [{(score.metric, score.slice_value): score.value for score in run} for run in runs]


def place_probe(probe: Probe, folder: Path) -> None:
    """The ground-truth probe where SAEBench looks for its own."""
    import pandas as pd
    from sae_bench.evals.absorption.probing import save_probe_and_data

    data = {"X_train": probe.train, "X_test": probe.test, "y_train": probe.train_labels, "y_test": probe.test_labels}
    save_probe_and_data(probe.module("cpu"), data, folder)
    for part, words in (("train", probe.train_words), ("test", probe.test_words)):
        pd.DataFrame({"token": words}).to_csv(folder / f"{part}_df.csv")


def saebench(sae: Any, model: Any, folder: Path, words: list[str], cfg: AbsorptionConfig) -> Numbers:
    """SAEBench's loop body for one SAE, by its own functions; only the vocabulary is given in a fixed order."""
    from sae_bench.evals.absorption import feature_absorption
    from sae_bench.evals.absorption.k_sparse_probing import run_k_sparse_probing_experiment
    from sae_bench.evals.absorption.main import _aggregate_results_df

    feature_absorption.get_alpha_tokens = lambda _tokenizer: list(words)
    common = {
        "model": model,
        "sae": sae,
        "layer": LAYER,
        "sae_name": "sae",
        "max_k_value": cfg.max_k_value,
        "prompt_template": cfg.prompt_template,
        "prompt_token_pos": -6,
        "device": "cpu",
        "probes_dir": folder / "probes",
        "force": True,
    }
    with upstream(SEED):
        first = run_k_sparse_probing_experiment(
            **common,
            experiment_dir=folder / "k_sparse",
            f1_jump_threshold=cfg.f1_jump_threshold,
            k_sparse_probe_l1_decay=cfg.k_sparse_probe_l1_decay,
            k_sparse_probe_batch_size=cfg.k_sparse_probe_batch_size,
            k_sparse_probe_num_epochs=cfg.k_sparse_probe_num_epochs,
        )
        second = feature_absorption.run_feature_absortion_experiment(
            **common,
            experiment_dir=folder / "absorption",
            sparse_probing_experiment_dir=folder / "k_sparse",
            feature_split_f1_jump_threshold=cfg.f1_jump_threshold,
            batch_size=cfg.llm_batch_size,
        )
    f1 = dict(zip(first["letter"], first["f1_probe"], strict=True))
    rows = [row for row in _aggregate_results_df(second).to_dict("records") if f1[row["letter"]] > cfg.min_GT_probe_f1]
    names = {"mean_absorption_fraction": "mean_absorption_fraction_score", "full_absorption_rate": "mean_full_absorption_score", "num_split_feats": "mean_num_split_features"}  # fmt: skip
    found: Numbers = {("probe_f1", letter): value for letter, value in f1.items()}
    for name, mean in names.items():
        found[mean, "all"] = statistics.mean(float(row[name]) for row in rows)
        found |= {(name.replace("feats", "features"), row["letter"]): float(row[name]) for row in rows}
    return found


def largest_difference(ours: Sequence[Numbers], theirs: Sequence[Numbers]) -> str:
    """The shared number that differs most."""
    worst = max(
        (abs(mine[where] - value), " ".join(where))
        for mine, other in zip(ours, theirs, strict=True)
        for where, value in other.items()
    )
    return f"{worst[0]:.1e} ({worst[1]}), of {sum(map(len, theirs))} numbers"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 4, 12], help="how many SAEs, ascending")
    parser.add_argument("--words-per-letter", type=int, default=8)
    args = parser.parse_args()
    # So few words make poor probes, and this is about time: letters count early.
    cfg = AbsorptionConfig(words_per_letter=args.words_per_letter, min_GT_probe_f1=0.2, min_feats_for_eval=2)

    prepare()
    import torch

    model, counts = load_model(MODEL), sorted(args.counts)
    with tempfile.TemporaryDirectory() as scratch:
        artifacts, theirs_in = Path(scratch) / "ours", Path(scratch) / "theirs"
        folders = sorted(file.parent for file in CHECKPOINTS.glob("*/cfg.json"))[: counts[-1]]
        saes = [load_sae(folder) for folder in folders]
        probe, setup = timed(lambda: find_probe(context(saes[0], model, artifacts), cfg, HOOK))
        place_probe(probe, theirs_in / "probes" / model.cfg.model_name / f"layer_{LAYER}")
        print(f"{len(saes)} checkpoints, {counts[-1] - len(saes)} random SAEs of width {saes[0].cfg.d_sae}")
        saes += [random_sae(seed, probe.train) for seed in range(counts[-1] - len(saes))]
        print(
            f"{MODEL}, {HOOK}, {len(probe.train_words)} words for training and {len(probe.test_words)} for the test, {torch.get_num_threads()} threads"
        )
        print(f"set-up, once: words and ground-truth probe {setup}")

        hedgebench(saes[:1], model, artifacts, replace(cfg, k_sparse_probe_num_epochs=1))  # imports everything
        ours = {k: timed(lambda k=k: hedgebench(saes[:k], model, artifacts, cfg)) for k in counts}
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = [timed(lambda sae=sae: saebench(sae, model, theirs_in, probe.vocabulary, cfg)) for sae in saes]

    print(f"\n{'SAEs':>4}  {'HedgeBench':>18}  {'SAEBench':>18}  ratio")
    for k in counts:
        mine = ours[k][1]
        plain = Seconds(*(sum(column) for column in zip(*(spent for _, spent in theirs[:k]), strict=True)))
        print(f"{k:4d}  {mine}  {plain}  {plain.over(mine)}")
    first, last, more = ours[counts[0]][1], ours[counts[-1]][1], counts[-1] - counts[0]
    if more:
        marginal = Seconds((last.wall - first.wall) / more, (last.cpu - first.cpu) / more)
        plain = Seconds(*(sum(column) / len(theirs) for column in zip(*(spent for _, spent in theirs), strict=True)))
        print(f"one more SAE: {marginal}; in SAEBench {plain}; {plain.over(marginal)}")
    print(f"largest difference of any shared number: {largest_difference(ours[counts[-1]][0], [r for r, _ in theirs])}")


if __name__ == "__main__":
    main()
