"""Sparse probing and sae-probes over K SAEs of one hook point: HedgeBench against SAEBench's own loop, whose cache is warm from the second SAE on.

    python benchmarks/probing_sharing.py        (about three minutes on two cores; `make bench ONLY=probing_sharing`)

Both get the same model, texts, seed and SAEs (SmolLM2-135M, layer 8 of 30; the checkpoints of this repository), and begin with cold caches.
SAEBench keeps the model's activations and probes from its first SAE on, as HedgeBench does; what is left to gain is the part of each SAE. Prints the
times for K SAEs, the ratio, what one more SAE costs, and how far any number differs. SAEBench's first SAE is run once more at the
end, since its scores of sparse probing depend on whether the cache was cold. HedgeBench's part of an SAE holds more than SAEBench's: a second probe on all latents whose epoch is chosen without
the test texts, and the scores on texts that are not among the training texts. Seconds are of the wall clock; those in brackets
are of all cores together.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from core_sharing import CHECKPOINTS, MODEL, Seconds, timed
from hedgebench_evals.saebench.sae_probes import SAEBenchSAEProbes, SAEProbesConfig
from hedgebench_evals.saebench.sparse_probing import SAEBenchSparseProbing, SparseProbingConfig

from hedgebench.artifacts import Artifacts
from hedgebench.checkpoint import describe
from hedgebench.eval import Eval, EvalContext
from hedgebench.isolation import upstream
from hedgebench.labelled import LabelledData
from hedgebench.labelled_sets import open_labelled
from hedgebench.loaders import load_sae
from hedgebench.models import load_model
from hedgebench.saebench_output import read_scores

SEED = 0
Numbers = dict[tuple[str, str, str, str], float]
"""By metric, parameters and subset."""


# --- HedgeBench ----------------------------------------------------------------------------------------------------------------


def hedgebench(eval_: Eval, cfg: Any, model: Any, data: Sequence[LabelledData], artifacts: Artifacts) -> Callable[[Any], Numbers]:  # fmt: skip
    """What runs one SAE and gives its numbers; all SAEs share the artifacts."""

    def run(sae: Any) -> Numbers:
        ctx = EvalContext(
            sae=sae,
            checkpoint=describe(sae, name="sae"),
            generator=torch.Generator(),
            seed=SEED,
            model=model,
            labelled=data,
            artifacts=artifacts,
        )
        return {(s.metric, str(dict(s.params)), s.slice_by, s.slice_value): s.value for s in eval_.run(ctx, cfg)}

    return run


# --- SAEBench ------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sparse_probing(cfg: SparseProbingConfig, model: Any, data: Sequence[LabelledData]) -> Iterator[Callable[[Any], Numbers]]:  # fmt: skip
    """The same by SAEBench's `run_eval_single_sae`, which seeds itself; the texts are handed in where it would ask the hub."""
    from sae_bench.evals.sparse_probing import main
    from sae_bench.evals.sparse_probing.eval_config import SparseProbingEvalConfig
    from sae_bench.sae_bench_utils import dataset_info
    from sae_bench.sae_bench_utils.general_utils import _standardize_sae_cfg

    texts = {one.name: one.train_test(cfg.train_size, cfg.test_size, SEED) for one in data}
    classes = {name: list(train) for name, (train, _) in texts.items()}
    config = SparseProbingEvalConfig(
        random_seed=SEED,
        dataset_names=list(texts),
        probe_train_set_size=cfg.train_size,
        probe_test_set_size=cfg.test_size,
        context_length=cfg.context_size,
        llm_batch_size=cfg.llm_batch_size,
        k_values=list(cfg.k_values),
        model_name=MODEL,
    )

    def run(sae: Any) -> Numbers:
        theirs = copy.deepcopy(sae)
        _standardize_sae_cfg(theirs.cfg)
        _, by_class = main.run_eval_single_sae(config, theirs, model, "cpu", "artifacts")
        return numbers("sparse_probing", {}, [], by_class)

    with (
        mock.patch.dict(dataset_info.chosen_classes_per_dataset, classes),
        mock.patch.object(main.dataset_utils, "get_multi_label_train_test_data", lambda name, *_: texts[name]),
    ):
        yield run


@contextlib.contextmanager
def sae_probes(cfg: SAEProbesConfig, model: Any, data: Sequence[LabelledData]) -> Iterator[Callable[[Any], Numbers]]:
    """The same by SAEBench's `run_eval`, each SAE under a name of its own; the model is handed in where it would load it."""
    from sae_bench.evals.sparse_probing_sae_probes import main
    from sae_bench.evals.sparse_probing_sae_probes.eval_config import SparseProbingSaeProbesEvalConfig
    from transformer_lens import HookedTransformer

    config = SparseProbingSaeProbesEvalConfig(
        model_name=MODEL,
        random_seed=SEED,
        dataset_names=[one.name.removeprefix("sae-probes:") for one in data],
        ks=list(cfg.ks),
        results_path="results",
        model_cache_path="acts",
    )

    def run(sae: Any) -> Numbers:
        name = f"sae{len(list(Path('results').glob('sae*')))}"
        (found,) = main.run_eval(config, [(name, copy.deepcopy(sae))], "cpu", "out").values()
        return numbers("sparse_probing_sae_probes", found["eval_result_metrics"], found["eval_result_details"], None)

    with mock.patch.object(HookedTransformer, "from_pretrained_no_processing", lambda *_, **__: model):
        yield run


def numbers(kind: str, metrics: Mapping[str, Any], details: Sequence[Any], unstructured: Any) -> Numbers:
    """SAEBench's numbers under our names."""
    output = {"eval_type_id": kind, "eval_result_metrics": metrics, "eval_result_details": details}
    scores = read_scores({**output, "eval_result_unstructured": unstructured})
    return {(s.metric, str(dict(s.params)), s.slice_by, s.slice_value): s.value for s in scores}


# --- report --------------------------------------------------------------------------------------------------------------------


def total(times: Sequence[Seconds]) -> Seconds:
    """The sum of durations."""
    return Seconds(*(sum(column) for column in zip(*times, strict=True)))


def report(counts: Sequence[int], ours: Sequence[tuple[Numbers, Seconds]], theirs: Sequence[tuple[Numbers, Seconds]], warm: Numbers) -> None:  # fmt: skip
    """Print times, ratios and the largest difference."""
    print(f"\n{'SAEs':>4}  {'HedgeBench':>18}  {'SAEBench':>18}  ratio")
    for k in counts:
        mine, plain = (total([spent for _, spent in runs[:k]]) for runs in (ours, theirs))
        print(f"{k:4d}  {mine}  {plain}  {plain.over(mine)}")
    if len(ours) > 1:
        later = [total([spent for _, spent in runs[1:]]) for runs in (ours, theirs)]
        mine, plain = (Seconds(s.wall / (len(ours) - 1), s.cpu / (len(ours) - 1)) for s in later)
        print(f"one more SAE: {mine}  {plain}  {plain.over(mine)}")
    worst, compared = (0.0, "none"), 0
    for (mine_, _), other in zip(ours, [warm, *(found for found, _ in theirs[1:])], strict=True):
        for key, value in other.items():
            compared += 1
            worst = max(worst, (abs(mine_[key] - value), " ".join(key)))
    print(f"largest difference of any shared number: {worst[0]:.1e} ({worst[1]}), of {compared}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 4, 12], help="how many SAEs, ascending")
    parser.add_argument("--texts", nargs="+", default=["stand-in:ag_news"], help="labelled sets of sparse probing")
    parser.add_argument("--train-size", type=int, default=240)
    parser.add_argument("--test-size", type=int, default=120)
    parser.add_argument("--context-size", type=int, default=64)
    parser.add_argument("--sets", nargs="+", default=["119_us_state_TX", "124_world_country_United_States"])
    parser.add_argument("--ks", type=int, nargs="+", default=[1, 2, 5])
    args = parser.parse_args()
    logging.disable(logging.WARNING)

    model, counts = load_model(MODEL), sorted(args.counts)
    saes = [load_sae(file.parent) for file in sorted(CHECKPOINTS.glob("*/cfg.json"))[: counts[-1]]]
    counts = [k for k in counts if k <= len(saes)]
    sparse = SparseProbingConfig(
        train_size=args.train_size, test_size=args.test_size, context_size=args.context_size, k_values=tuple(args.ks)
    )
    jobs = (
        (SAEBenchSparseProbing(), sparse, sparse_probing, args.texts),
        (SAEBenchSAEProbes(), SAEProbesConfig(ks=tuple(args.ks)), sae_probes, [f"sae-probes:{s}" for s in args.sets]),
    )
    for eval_, cfg, plain, names in jobs:
        data = [open_labelled(name) for name in names]
        print(f"\n{eval_.name}: {MODEL}, {', '.join(names)}, {torch.get_num_threads()} threads")
        with tempfile.TemporaryDirectory() as folder:
            own = Artifacts({"model": MODEL, "hook": saes[0].cfg.metadata.hook_name, "seed": SEED}, Path(folder))
            run = hedgebench(eval_, cfg, model, data, own)
            ours = [timed(lambda sae=sae, run=run: run(sae)) for sae in saes]
        with upstream(SEED), plain(cfg, model, data) as run:
            theirs = [timed(lambda sae=sae, run=run: run(sae)) for sae in saes]
            warm = run(saes[0])
        report(counts, ours, theirs, warm)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
