"""What training the reference run costs, config by config, on this machine: seconds of a step of every kind of SAE in it, and of the model's tokens, times how many there are.

    OMP_NUM_THREADS=1 python benchmarks/reference_cost.py --out results/cost.csv       (ten minutes on one core)
    python benchmarks/reference_cost.py --device cuda --configs losses/train-batchtopk.yaml

Steps are SAELens's own, on made-up activations; the batches' way from the disk is not in them. On a CPU the seconds are the processor's, of all cores together, which other programs disturb little; on a GPU they are the clock's. The
model's tokens are counted once for all configs of one stream, as they are computed once.

What grows: a step with batch * width * d_in; the model's share with the layer and the tokens.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from hedgebench.training.config import SAERecipe, TrainConfig, read_config

RESULTS = Path(__file__).parents[1] / "results"
CONFIGS = (
    "losses/train-batchtopk.yaml",
    "losses/train-matryoshka.yaml",
    "losses/grow.yaml",
    "widths/train-batchtopk.yaml",
    "widths/train-l1.yaml",
    "seeds/train.yaml",
    "growth/train.yaml",
    "growth/grow-l0.yaml",
    "hedging_estimate/train-layer8.yaml",
    "hedging_estimate/train-layer12.yaml",
    "growth/layers/train-4.yaml",
    *(f"growth/layers/grow-{n}.yaml" for n in (4, 8, 12)),
)
"""Under `results/`."""
COLUMNS = (
    "config",
    "what",
    "width",
    "batch_tokens",
    "number",
    "steps",
    "seconds_per_step",
    "minutes",
    "device",
    "threads",
)
D_IN = 576
"""Of SmolLM2-135M, which all configs train on."""
AT_LEAST = 3.0
"""Seconds that a step is measured for."""


class Kind(NamedTuple):
    """SAEs whose steps cost the same."""

    architecture: str
    width: int
    batch_tokens: int


def main() -> None:
    """Measure, and write a row for every kind of SAE in every config, and for the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=CONFIGS, metavar="results/CONFIG")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="(default: stdout)")
    args = parser.parse_args()
    seconds: dict[Kind, float] = {}
    streams = set[tuple[Any, ...]]()
    rows = []
    for name in args.configs:
        config, members = planned(RESULTS / name)
        saes, steps = Counter(kind for kind, _, _ in members), Counter[Kind]()
        for kind, recipe, number in members:
            steps[kind] += number
            if kind not in seconds:
                seconds[kind] = step_seconds(config, recipe, args.device)
        for kind in sorted(saes):
            rows.append([name, *kind, saes[kind], steps[kind], seconds[kind]])
        stream = config.hook, config.data_seed, config.batch_tokens, config.buffer_sequences, config.tokens
        if stream not in streams:
            streams.add(stream)
            passes = -(-config.tokens // (config.sequences_per_pass * config.context_size))
            shape = config.sequences_per_pass, config.context_size
            took = pass_seconds(config.model, config.hook, shape, args.device)
            rows.append([name, "the model", "", config.batch_tokens, 1, passes, took])
    with args.out.open("w", newline="") if args.out else sys.stdout as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            minutes = row[-2] * row[-1] / 60
            table.writerow([*row[:-1], f"{row[-1]:.3g}", f"{minutes:.3g}", args.device, torch.get_num_threads()])


def planned(path: Path) -> tuple[TrainConfig, list[tuple[Kind, SAERecipe, int]]]:
    """A config, and its SAEs with the steps of each. Those that grow from an SAE need not find it: each is three, of which two stay behind."""
    data = yaml.safe_load(path.read_text())
    grown = [entry for entry in data["saes"] if isinstance(entry.get("grow", {}).get("from"), str)]
    if not grown:
        config = read_config(path)
        return config, [
            (Kind(recipe.architecture, recipe.width, config.batch_tokens), recipe, config.steps - _born(config, recipe))
            for recipe in config.saes
        ]
    recipes = list[SAERecipe]()
    for entry in grown:
        grow = entry["grow"]
        for _, left in itertools.product(entry["train_seed"], (0, grow["add"], grow["add"])):
            width = grow["to"] - left
            levels = (*entry["levels"][:-1], width) if "levels" in entry else ()
            recipes.append(SAERecipe(entry["architecture"], width=width, k=entry["k"], levels=levels))
    config = TrainConfig(saes=tuple(recipes), **{key: value for key, value in data.items() if key != "saes"})
    return config, [
        (Kind(recipe.architecture, recipe.width, config.batch_tokens), recipe, config.steps) for recipe in recipes
    ]


def _born(config: TrainConfig, recipe: SAERecipe) -> int:
    """The step before which an SAE is made."""
    if recipe.grow is None:
        return 0
    # a second control parts from its control when that one grows
    width = recipe.width + recipe.grow.add * recipe.reordered
    return recipe.grow.born_at(width) // config.batch_tokens


def step_seconds(config: TrainConfig, recipe: SAERecipe, device: str) -> float:
    """Of one training step, after three that are not counted."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    from hedgebench.training.saes import make_sae

    sae = make_sae(config, recipe, D_IN).to(device)
    samples = config.steps * config.batch_tokens
    trainer = SAETrainer(
        cfg=SAETrainerConfig(
            total_training_samples=samples,
            train_batch_size_samples=config.batch_tokens,
            lr=config.lr,
            lr_end=config.lr,
            lr_warm_up_steps=int(config.lr_warm_up * config.steps),
            lr_decay_steps=int(config.lr_decay * config.steps),
            device=device,
            dead_feature_window=math.ceil(config.dead_after_tokens / config.batch_tokens),
            feature_sampling_window=max(1, config.steps // 10),
        ),
        sae=sae,
        data_provider=iter(()),
    )
    batch = torch.randn(config.batch_tokens, D_IN, generator=torch.Generator().manual_seed(0)).to(device)

    def step() -> None:
        trainer.maybe_reset_sparsity()
        trainer.step(batch)
        trainer.n_training_steps += 1

    return mean_seconds(step, device)


@cache
def pass_seconds(name: str, hook: str, shape: tuple[int, int], device: str) -> float:
    """Of one pass of a model up to a hook point, over sequences of tokens."""
    from hedgebench.models import load_model

    model = load_model(name, device=device)
    layer = int(hook.split(".")[1])
    tokens = torch.randint(1000, 10_000, shape, generator=torch.Generator().manual_seed(0)).to(device)

    @torch.no_grad()
    def one() -> None:
        model.run_with_cache(tokens, names_filter=[hook], stop_at_layer=layer + 1, prepend_bos=False)

    return mean_seconds(one, device)


def mean_seconds(work: Callable[[], Any], device: str) -> float:
    """Of a call: of the processor, or on a GPU by the clock until it is done."""
    on_gpu = device.startswith("cuda")
    clock = time.perf_counter if on_gpu else time.process_time

    times = list[float]()
    while len(times) < 9 or times[-1] - times[3] < AT_LEAST:
        if on_gpu:
            torch.cuda.synchronize()
        times.append(clock())
        work()
    return (times[-1] - times[3]) / (len(times) - 4)


if __name__ == "__main__":
    main()
