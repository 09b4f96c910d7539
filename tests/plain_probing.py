"""A plain run of SAEBench's two probing evals, in a process of its own: `python plain_probing.py EVAL FOLDER`.

FOLDER holds `sae/` (as SAELens saves it) and `job.json`, and takes SAEBench's caches. The answer goes to `FOLDER/answer.json`. Nothing of HedgeBench
runs here but what makes SAEBench importable; SAEBench is patched only where it would ask the network for a data set or a model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))


def sparse_probing(folder: Path, job: dict[str, Any], sae: Any, model: Any) -> dict[str, Any]:
    """SAEBench's numbers of one SAE with a cold cache, and again with the cache that the first run left."""
    from sae_bench.evals.sparse_probing import main
    from sae_bench.evals.sparse_probing.eval_config import SparseProbingEvalConfig
    from sae_bench.sae_bench_utils import dataset_info
    from sae_bench.sae_bench_utils.general_utils import _standardize_sae_cfg

    _standardize_sae_cfg(sae.cfg)
    config = SparseProbingEvalConfig(**job["config"])
    chosen = {name: list(texts[0]) for name, texts in job["texts"].items()}
    with (
        mock.patch.dict(dataset_info.chosen_classes_per_dataset, chosen),
        mock.patch.object(
            main.dataset_utils, "get_multi_label_train_test_data", lambda name, *_: tuple(job["texts"][name])
        ),
    ):
        runs = [main.run_eval_single_sae(config, sae, model, "cpu", "artifacts") for _ in range(2)]
    return dict(zip(("cold", "warm"), ({"means": means, "classes": classes} for means, classes in runs), strict=True))


def sae_probes(folder: Path, job: dict[str, Any], sae: Any, model: Any) -> dict[str, Any]:
    """SAEBench's output for one SAE by seed, and for the last seed once more where the first one's results lie."""
    from sae_bench.evals.sparse_probing_sae_probes import main
    from sae_bench.evals.sparse_probing_sae_probes.eval_config import SparseProbingSaeProbesEvalConfig
    from transformer_lens import HookedTransformer

    def run(seed: int, results: str, out: str) -> Any:
        own = {"results_path": results, "model_cache_path": "acts", "random_seed": seed}
        config = SparseProbingSaeProbesEvalConfig(**job["config"], **own)
        (answer,) = main.run_eval(config, [("plain", sae)], "cpu", out).values()
        return answer

    seeds = job["seeds"]
    with mock.patch.object(HookedTransformer, "from_pretrained_no_processing", lambda *_, **__: model):
        answers = {str(seed): run(seed, f"results-{seed}", f"out-{seed}") for seed in seeds}
        return {**answers, "stale": run(seeds[-1], f"results-{seeds[0]}", "out-stale")}


def main() -> None:
    from hedgebench.compat import prepare

    prepare()
    import torch
    from char_model import char_model
    from sae_lens import SAE

    kind, folder = sys.argv[1], Path(sys.argv[2])
    os.chdir(folder)
    torch.set_num_threads(1)
    job = json.loads(Path("job.json").read_text())
    if "model" in job:
        from hedgebench.models import load_model

        model = load_model(job["model"])
    else:
        model = char_model()
    run = {"sparse_probing": sparse_probing, "sae_probes": sae_probes}[kind]
    answer = run(folder, job, SAE.load_from_disk("sae"), model)
    Path("answer.json").write_text(json.dumps(answer, default=str))


if __name__ == "__main__":
    main()
