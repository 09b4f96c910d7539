"""Core over K SAEs of one hook point: HedgeBench's shared passes against SAEBench's own functions, called for each SAE.

    python benchmarks/core_sharing.py        (about three minutes on two cores; `make bench ONLY=core_sharing`)

Both get the same model, tokens and SAEs (SmolLM2-135M, layer 8 of 30; the checkpoints of this repository, and random SAEs of their
shape where there are too few), after one unmeasured warm-up each. Prints the times, the ratio, what one more SAE costs beside its floor
(its encode and decode and the layers above the hook point with the unembedding, measured alone), and how far any shared number differs.
Seconds are of the wall clock; those in brackets are of all cores together, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hedgebench_evals.saebench.core import SAEBenchCore
from hedgebench_evals.saebench.core_config import CoreConfig

from hedgebench.activations import ActivationSource
from hedgebench.checkpoint import describe
from hedgebench.data import TokenSource, open_text
from hedgebench.eval import EvalContext
from hedgebench.loaders import load_sae
from hedgebench.models import load_model
from hedgebench.saebench_output import CORE_RENAMED

MODEL, LAYER, WIDTH, L0 = "smollm2-135m", 8, 512, 20
HOOK = f"blocks.{LAYER}.hook_resid_post"
CHECKPOINTS = Path(__file__).parent.parent / "evals" / "checkpoints"


class Seconds(NamedTuple):
    """A duration by the wall clock, and the processor time of all cores in it."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:7.1f} s ({self.cpu:6.1f})"

    def over(self, other: Seconds) -> str:
        """How many times `other` this is, by the wall clock and by processor time."""
        return f"{self.wall / other.wall:5.2f}x ({self.cpu / other.cpu:5.2f}x)"


def timed(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    """Run something; its result and how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Seconds(time.perf_counter() - wall, time.process_time() - cpu)


# --- what is compared ----------------------------------------------------------------------------------------------------------


def find_saes(count: int, source: ActivationSource, cfg: CoreConfig) -> list[Any]:
    """The repository's checkpoints at this hook point, topped up with random SAEs."""
    folders = sorted(f.parent for f in CHECKPOINTS.glob("*/cfg.json"))[:count]
    saes = [load_sae(folder) for folder in folders]
    print(f"{len(saes)} checkpoints, {count - len(saes)} random SAEs of width {WIDTH}")
    acts = next(source.batches(1, cfg.batch_size, cfg.context_size))
    return saes + [random_sae(seed, acts.acts[acts.mask]) for seed in range(count - len(saes))]


def random_sae(seed: int, acts: torch.Tensor) -> Any:
    """Random unit rows that read what they write, with the threshold that gives `L0` on these activations."""
    from sae_lens import SAE

    d_in = acts.shape[1]
    metadata = {"hook_name": HOOK, "model_name": MODEL, "context_size": 128, "prepend_bos": True}
    sae = SAE.from_dict({"architecture": "jumprelu", "d_in": d_in, "d_sae": WIDTH, "metadata": metadata})
    rows = torch.randn(WIDTH, d_in, generator=torch.Generator().manual_seed(seed))
    rows /= rows.norm(dim=1, keepdim=True)
    mean, zeros = acts.mean(0), torch.zeros(WIDTH)
    threshold = torch.quantile((acts[:500] - mean) @ rows.T, 1 - L0 / WIDTH)
    weights = {"W_dec": rows, "W_enc": rows.T, "b_dec": mean, "b_enc": zeros, "threshold": zeros + threshold}
    sae.load_state_dict(weights)
    return sae.eval().requires_grad_(False)


def hedgebench(saes: Sequence[Any], model: Any, source: ActivationSource, cfg: CoreConfig) -> list[dict]:
    """One run of core over all SAEs: their SAEBench fields."""
    ctxs = [
        EvalContext(
            sae=sae,
            checkpoint=describe(sae, name=str(i)),
            generator=torch.Generator(),
            model=model,
            data=source.tokens,
            activation_source=source,
        )
        for i, sae in enumerate(saes)
    ]
    results: list[dict] = [{} for _ in saes]
    for i, score in SAEBenchCore().run_many(ctxs, cfg):
        if isinstance(score, Exception):
            raise score
        results[i][score.metric] = score.value
    return results


def saebench(sae: Any, model: Any, rows: torch.Tensor, cfg: CoreConfig) -> dict[str, float]:
    """SAEBench's core of one SAE by its own functions, on these token rows: its metrics under our names."""
    from datasets import Dataset
    from sae_bench.evals.core.eval_config import CoreEvalConfig
    from sae_bench.evals.core.main import calculate_misc_metrics, run_evals
    from sae_bench.sae_bench_utils.general_utils import _standardize_sae_cfg
    from sae_lens import ActivationsStore

    class Rewinding(ActivationsStore):
        def reset_input_dataset(self) -> None:
            """As SAEBench means it: this SAELens resets an iterator that nothing reads any more."""
            super().reset_input_dataset()
            self.iterable_sequences = self._iterate_tokenized_sequences()

    theirs = copy.deepcopy(sae)
    _standardize_sae_cfg(theirs.cfg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that so small a data set would be repeated: it is not
        store = Rewinding.from_sae(
            model, theirs, Dataset.from_dict({"tokens": rows.tolist()}), context_size=rows.shape[1]
        )
    eval_config = CoreEvalConfig(
        batch_size_prompts=cfg.batch_size,
        n_eval_reconstruction_batches=cfg.n_batches,
        n_eval_sparsity_variance_batches=cfg.sparsity_batches,
        exclude_special_tokens_from_reconstruction=cfg.exclude_special_tokens_from_reconstruction,
        **{name: True for name in vars(CoreEvalConfig()) if name.startswith("compute_")},
    )
    tokenizer = model.tokenizer
    ignore = {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups, per_latent = run_evals(theirs, store, model, eval_config, ignore_tokens=ignore)
    flat = {
        name: value for group, metrics in groups.items() if group != "token_stats" for name, value in metrics.items()
    }
    return {CORE_RENAMED.get(name, name): value for name, value in (flat | calculate_misc_metrics(per_latent)).items()}


@torch.no_grad()
def floor(saes: Sequence[Any], model: Any, source: ActivationSource, cfg: CoreConfig) -> Seconds:
    """What no SAE can go without: encode, decode and the layers above, on ready activations; the mean over the SAEs."""
    batches = [b.acts for b in source.batches(cfg.n_batches, cfg.batch_size, cfg.context_size)]

    def work() -> None:
        for sae in saes:
            for acts in batches:
                model(sae.decode(sae.encode(acts)), start_at_layer=LAYER + 1, return_type="logits")

    _, spent = timed(work)
    return Seconds(spent.wall / len(saes), spent.cpu / len(saes))


# --- report --------------------------------------------------------------------------------------------------------------------


def largest_difference(ours: Sequence[dict], theirs: Sequence[dict]) -> str:
    """The shared number that differs most, relative to its size."""
    worst = (0.0, "none")
    for mine, other in zip(ours, theirs, strict=True):
        for name, value in other.items():
            relative = abs(mine[name] - value) / max(abs(value), 1e-9)
            worst = max(worst, (relative, f"{name}: {mine[name]:.9g} and {value:.9g}"))
    return f"{worst[0]:.1e} relative ({worst[1]}), of {len(theirs) * len(theirs[0])} numbers"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 4, 12], help="how many SAEs, ascending")
    parser.add_argument("--n-batches", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    cfg = CoreConfig(n_batches=args.n_batches, batch_size=args.batch_size)

    model = load_model(MODEL)
    tokens = TokenSource(open_text("offline", "eval"), model.tokenizer, seed=0)
    source = ActivationSource(model, HOOK, None, tokens, None, model.cfg.d_model)
    rows = torch.cat(list(tokens.batches(cfg.n_batches, cfg.batch_size, cfg.context_size)))
    counts = sorted(args.counts)
    saes = find_saes(counts[-1], source, cfg)
    print(
        f"{MODEL}, {HOOK}, {cfg.n_batches} batches of {cfg.batch_size} x {cfg.context_size} tokens, {torch.get_num_threads()} threads"
    )

    small = replace(cfg, n_batches=1)
    hedgebench(saes[:1], model, source, small)
    saebench(saes[0], model, rows[: cfg.batch_size], small)

    ours = {k: timed(lambda k=k: hedgebench(saes[:k], model, source, cfg)) for k in counts}
    alone = floor(saes, model, source, cfg)
    theirs = [timed(lambda sae=sae: saebench(sae, model, rows, cfg)) for sae in saes]

    print(f"\n{'SAEs':>4}  {'HedgeBench':>18}  {'SAEBench':>18}  ratio")
    for k in counts:
        mine = ours[k][1]
        plain = Seconds(*(sum(column) for column in zip(*(spent for _, spent in theirs[:k]), strict=True)))
        print(f"{k:4d}  {mine}  {plain}  {plain.over(mine)}")
    first, last = ours[counts[0]][1], ours[counts[-1]][1]
    more = counts[-1] - counts[0]
    if more:
        marginal = Seconds((last.wall - first.wall) / more, (last.cpu - first.cpu) / more)
        print(f"one more SAE: {marginal}; its floor: {alone}; {marginal.over(alone)} the floor")
    print(f"largest difference of any shared number: {largest_difference(ours[counts[-1]][0], [r for r, _ in theirs])}")


if __name__ == "__main__":
    main()
