"""TPP and SCR over K SAEs of one hook point: HedgeBench against SAEBench's own loop, whose cache is warm.

    python benchmarks/tpp_scr_sharing.py     (two to three minutes on two cores; `make bench ONLY=tpp_scr_sharing`)

Both get the same texts (the offline stand-ins), activations, probes and SAEs (SmolLM2-135M, layer 8 of 30; the checkpoints of this
repository, and random SAEs of their shape where there are too few). The LLM part, the same for both, is done once and its time is told
apart; SAEBench finds it as its cache. Its time per SAE hardly varies, so it is measured on a few and taken times K. Prints the times, the
ratio, and how far any number differs. Seconds are of the wall clock; those in brackets are of all cores together, which other programs
disturb less.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from core_sharing import CHECKPOINTS, HOOK, MODEL, Seconds, random_sae, timed
from hedgebench_evals.saebench.concept_probes import Concepts, concepts
from hedgebench_evals.saebench.concept_probes_config import ProbeConfig
from hedgebench_evals.saebench.scr import SAEBenchSCR
from hedgebench_evals.saebench.scr_texts import scr_tasks
from hedgebench_evals.saebench.tpp import SAEBenchTPP, tpp_tasks

from hedgebench.artifacts import Artifacts
from hedgebench.checkpoint import describe
from hedgebench.eval import EvalContext
from hedgebench.isolation import upstream
from hedgebench.labelled_sets import open_labelled
from hedgebench.loaders import load_sae
from hedgebench.models import load_model
from hedgebench.saebench_output import our_name

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from plain_scr_tpp import cached, place

SETS = {"tpp": ("stand-in:ag_news", "stand-in:code"), "scr": ("stand-in:reviews",)}
EVALS = {"tpp": SAEBenchTPP, "scr": SAEBenchSCR}
TASKS = {"tpp": tpp_tasks, "scr": scr_tasks}


def context(sae: Any, model: Any, sets: list[Any], artifacts: Artifacts, seed: int = 0) -> EvalContext:
    """What the harness hands to a run."""
    return EvalContext(
        sae=sae,
        checkpoint=describe(sae, name="sae"),
        generator=torch.Generator(),
        seed=seed,
        model=model,
        labelled=sets,
        artifacts=artifacts,
    )


def find_saes(count: int, found: Concepts) -> list[Any]:
    """The repository's checkpoints at this hook point, topped up with random SAEs."""
    folders = sorted(f.parent for f in CHECKPOINTS.glob("*/cfg.json"))[:count]
    print(f"{len(folders)} checkpoints, {count - len(folders)} random SAEs of their shape")
    acts = next(iter(found.train.acts)).acts
    return [load_sae(folder) for folder in folders] + [random_sae(i, acts) for i in range(count - len(folders))]


def hedgebench(name: str, ctx: EvalContext, cfg: ProbeConfig) -> dict[str, float]:
    """One SAE: SAEBench's numbers, by metric, parameters and slice."""
    scores = EVALS[name]().run(ctx, cfg)
    return {f"{s.metric} {dict(s.params)} {s.slice_value}": s.value for s in scores if s.metric.startswith("upstream_")}


def fill_cache(found: list[Concepts], cfg: ProbeConfig, folder: Path) -> None:
    """Our activations and probes where SAEBench looks for its own."""
    from sae_bench.evals.scr_and_tpp import main as theirs
    from sae_bench.sae_bench_utils import dataset_info

    for one in found:
        task, name = one.task, one.task.name.split("_scr_")[0]
        dataset_info.chosen_classes_per_dataset[name] = list(task.concepts)
        theirs.COLUMN2_VALS_LOOKUP[name] = ("", "")
        groups = {"train": list(task.train), "test": list(task.test), "concepts": list(task.concepts)}
        place(folder, task.name, cached(one, cfg.context_size), groups, dict(one.upstream_accuracies))


def saebench(name: str, sae: Any, ctx: EvalContext, folder: Path) -> dict[str, float]:
    """One SAE by SAEBench's own entry, with the settings of ours: its numbers under our names."""
    from sae_bench.evals.scr_and_tpp import main as theirs
    from sae_bench.evals.scr_and_tpp.eval_config import ScrAndTppEvalConfig
    from sae_bench.sae_bench_utils.general_utils import _standardize_sae_cfg

    one = copy.deepcopy(sae)
    _standardize_sae_cfg(one.cfg)
    config = ScrAndTppEvalConfig(**ctx.details["eval_config"])
    with upstream(0):
        results, classes = theirs.run_eval_single_sae(config, one, ctx.model, "cpu", str(folder))
    groups = {"all": results} | {where: row for where, row in results.items() if isinstance(row, dict)}
    groups |= {f"{s}/{c}": row for s, by_class in classes.items() for c, row in by_class.items()}
    named = {}
    for where, row in groups.items():
        for key, value in row.items():
            if not isinstance(value, dict):
                metric, params = our_name(name, key) or ("", {})
                named[f"{metric} {params} {where.removesuffix('_results').removesuffix('_tpp')}"] = value
    return named


def compare(name: str, counts: list[int], n_measured: int, model: Any, cfg: ProbeConfig) -> None:
    """Measure one eval and print."""
    sets = [open_labelled(ref) for ref in SETS[name]]
    artifacts = Artifacts({"benchmark": name})
    any_sae = load_sae(sorted(CHECKPOINTS.glob("*/cfg.json"))[0].parent)
    ctx = context(any_sae, model, sets, artifacts)
    with upstream(0):  # without progress bars
        found, setup = timed(lambda: [concepts(ctx, cfg, task) for task in TASKS[name](ctx, cfg)])
    texts = sum(len(part.texts) for one in found for part in (one.train, one.test))
    print(f"\n{name.upper()}: {', '.join(SETS[name])}; {texts} texts; LLM part, once: {setup}")
    saes = find_saes(counts[-1], found[0])

    ctxs = [context(sae, model, sets, artifacts) for sae in saes]
    ours = [timed(lambda one=one: hedgebench(name, one, cfg)) for one in ctxs]
    with tempfile.TemporaryDirectory() as scratch:
        fill_cache(found, cfg, Path(scratch))
        theirs = [timed(lambda i=i: saebench(name, saes[i], ctxs[i], Path(scratch))) for i in _spread(len(saes), n_measured)]  # fmt: skip
    mine = [spent for _, spent in ours]
    other = _mean([spent for _, spent in theirs])
    print(f"{'SAEs':>4}  {'HedgeBench':>18}  {'SAEBench':>18}  ratio")
    for k in counts:
        total, plain = Seconds(*(sum(c) for c in zip(*mine[:k], strict=True))), Seconds(*(k * c for c in other))
        print(f"{k:4d}  {total}  {plain}  {plain.over(total)}")
    later = _mean(mine[1:] or mine)
    print(f"one more SAE: {later} against {other} (mean of {len(theirs)}): {other.over(later)}")
    worst = (0.0, "none")
    for i, (numbers, _) in zip(_spread(len(saes), n_measured), theirs, strict=True):
        for key, value in numbers.items():
            worst = max(worst, (abs(ours[i][0][key] - value), key))
    print(f"largest difference: {worst[0]:.1e} ({worst[1]}), of {len(theirs)} x {len(theirs[0][0])} numbers")


def _spread(count: int, few: int) -> list[int]:
    """So many of the first `count` numbers, evenly spread."""
    return sorted({round(i * (count - 1) / max(few - 1, 1)) for i in range(few)})


def _mean(spent: list[Seconds]) -> Seconds:
    return Seconds(*(sum(column) / len(spent) for column in zip(*spent, strict=True)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 4, 12], help="how many SAEs, ascending")
    parser.add_argument("--measured", type=int, default=2, help="how many of them SAEBench runs on")
    parser.add_argument("--train", type=int, default=200, help="training texts per probe")
    parser.add_argument("--test", type=int, default=100, help="test texts per probe")
    parser.add_argument("--context", type=int, default=64, help="tokens per text")
    args = parser.parse_args()
    cfg = ProbeConfig(train_size=args.train, test_size=args.test, context_size=args.context)
    model = load_model(MODEL)
    print(f"{MODEL}, {HOOK}, {args.train} training and {args.test} test texts per probe, {args.context} tokens each, n = {', '.join(map(str, cfg.n_values))}, {torch.get_num_threads()} threads")  # fmt: skip
    for name in EVALS:
        compare(name, sorted(args.counts), args.measured, model, cfg)


if __name__ == "__main__":
    main()
