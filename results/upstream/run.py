"""Run SAEBench itself, as its own users do, and keep the files that it writes: `python results/upstream/run.py results/upstream` (some minutes).

It is patched in two places, where it would ask a hub: for the language model and for AG News; and TPP is told that AG News, unlike the sets it knows, has no second label. What comes back is read by HedgeBench like any folder of SAEBench's output:

    hedgebench leaderboard results/upstream --out results/upstream/leaderboard.md
    hedgebench plot results/upstream --out results/upstream/figures
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from sae_lens import SAE
    from transformer_lens import HookedTransformer

CHECKPOINTS = Path(__file__).parents[2] / "evals" / "checkpoints"
NAMES = [f"{name}-s{seed}" for name in ("batchtopk-mse", "matryoshka-mse") for seed in (0, 1)]
MODEL, TOPICS = "smollm2-135m", "fancyzhx/ag_news"
N_TEXTS = 600


def run_saebench(
    out: Path,
    saes: Mapping[str, SAE],
    model: HookedTransformer,
    texts: Sequence[str],
    topics: Any,
    sizes: Mapping[str, int],
) -> None:
    """Run SAEBench's core, sparse probing and TPP on some SAEs of one model; a folder for each eval is left in `out`.

    Args:
        out: The folder, which exists.
        saes: By the name that SAEBench is to know them by.
        model: Their model, which stands for any that SAEBench asks for.
        texts: What core reads.
        topics: What the others read: AG News, or rows like it, as `datasets.load_dataset` gives it.
        sizes: context (tokens), batch (sequences), batches (of each part of core), train and test (texts of each data set).
    """
    from sae_bench.evals.core.main import multiple_evals
    from sae_bench.evals.scr_and_tpp import main as tpp
    from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig
    from sae_bench.evals.sparse_probing import main as probing
    from sae_bench.evals.sparse_probing.eval_config import SparseProbingEvalConfig
    from sae_bench.sae_bench_utils import dataset_utils
    from transformer_lens import HookedTransformer

    selected = list(saes.items())
    common: dict[str, Any] = {
        "model_name": model.cfg.model_name,
        "dataset_names": [TOPICS],
        "llm_batch_size": sizes["batch"],
        "llm_dtype": "float32",
        "context_length": sizes["context"],
    }
    out = out.resolve()
    with (
        tempfile.TemporaryDirectory() as scratch,
        chdir(scratch),  # SAEBench writes its caches, and the place of its texts, relative to where it runs
        mock.patch.object(HookedTransformer, "from_pretrained_no_processing", lambda *_, **__: model),
        mock.patch.object(dataset_utils, "load_dataset", lambda *_, **__: topics),
        mock.patch.dict(tpp.COLUMN2_VALS_LOOKUP, {TOPICS: ()}),
    ):
        Path("texts").mkdir()
        Path("texts/all.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        multiple_evals(
            selected,
            n_eval_reconstruction_batches=sizes["batches"],
            n_eval_sparsity_variance_batches=sizes["batches"],
            eval_batch_size_prompts=sizes["batch"],
            compute_featurewise_density_statistics=True,  # as its command line does: without both there is no output
            compute_featurewise_weight_based_metrics=True,
            exclude_special_tokens_from_reconstruction=True,
            dataset="texts",
            context_size=sizes["context"],
            output_folder=str(out / "core"),
            device="cpu",
        )
        config = SparseProbingEvalConfig(
            **common, probe_train_set_size=sizes["train"], probe_test_set_size=sizes["test"]
        )
        probing.run_eval(config, selected, "cpu", str(out / "sparse_probing"))
        of_tpp = ScrAndTppEvalConfig(
            **common, perform_scr=False, train_set_size=sizes["train"], test_set_size=sizes["test"]
        )
        tpp.run_eval(of_tpp, selected, "cpu", str(out))


def topics() -> Any:
    """Rows of AG News, out of the installed sae-probes package, as the hub's set has them."""
    from datasets import Dataset, DatasetDict

    from hedgebench.standins import STAND_INS

    rows = STAND_INS["ag_news"].make()[["text", "label"]].astype({"label": int})
    test = rows.groupby("label").head(N_TEXTS)
    parts = {"train": rows.drop(test.index), "test": test}
    return DatasetDict({name: Dataset.from_pandas(part, preserve_index=False) for name, part in parts.items()})


def main() -> None:
    """Run it on SAEs of the offline model."""
    from hedgebench.models import load_model
    from hedgebench.texts import offline_texts

    model, texts = load_model(MODEL), offline_texts("eval")[:N_TEXTS].to_pylist()
    from sae_lens import SAE  # once the model's import has made it importable

    saes = {name: SAE.load_from_disk(CHECKPOINTS / name) for name in NAMES}
    for sae in saes.values():
        sae.fold_W_dec_norm()
    sizes = {"context": 32, "batch": 16, "batches": 2, "train": 200, "test": 100}
    run_saebench(Path(sys.argv[1]), saes, model, texts, topics(), sizes)


if __name__ == "__main__":
    main()
