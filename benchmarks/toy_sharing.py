"""Many toy SAEs at once: HedgeBench's batched trainer against `sae_lens.synthetic.train_toy_sae`, called for each SAE.

    python benchmarks/toy_sharing.py        (about two minutes on two cores; `make bench ONLY=toy_sharing`)

The runs are those of `hedgebench toy`, cut to some hundred steps: every seed with mse, L2 and snap. Both get the same samples per SAE, batch size and
threads. SAELens trains on mse only, its cheapest; it is measured on a few SAEs, and a batch of n is taken to cost n times one of them, which favours it
in nothing: it shares nothing among SAEs. Three kinds of runs:

    patterns     one latent on two features in 50 dimensions, batches of 500: only four inputs are possible, and they are trained on with their counts
    sampled      5 latents on 20 correlated features in 20 dimensions, batches of 250, another world for every seed
    matryoshka   levels of 3, 12 and 20 latents on 20 features, ReLU and L1, batches of 250. SAELens has no such class: its standard class with the
                 inner levels' losses added stands for it

Milliseconds are per step of one SAE, by the wall clock; those in brackets are of all cores together, which other programs disturb less. Each is the
better of two measurements. The start and the final test of every SAE are in ours; SAELens's SAEs are made beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from core_sharing import Seconds, timed

from hedgebench.toy.batches import start
from hedgebench.toy.recipes import ToyRun
from hedgebench.toy.scenarios import find_scenario, scenario_runs
from hedgebench.toy.trainer import train
from hedgebench.training.losses import LOSSES
from hedgebench.training.saes import HedgeStandard, HedgeStandardConfig

KINDS = {"patterns": "hierarchical", "sampled": "crowd-0.1", "matryoshka": "matryoshka"}
"""What is measured, and the scenario it is."""


def some_runs(kind: str, count: int, steps: int) -> list[ToyRun]:
    """Runs of a scenario: the losses of the first seed, then of the next."""
    seeds = range(-(-count // len(LOSSES)))
    found = [named.run for named in scenario_runs([find_scenario(KINDS[kind])], LOSSES, seeds)]
    found.sort(key=lambda run: run.train_seed)
    return [run._replace(recipe=replace(run.recipe, steps=steps)) for run in found[:count]]


class WithLevels(HedgeStandard):
    """SAELens's standard class, and the loss of every inner level."""

    levels: tuple[int, ...] = ()

    def training_forward_pass(self, step_input: Any) -> Any:
        """The class's own pass, and one more reconstruction per level."""
        output = super().training_forward_pass(step_input)
        for width in self.levels[:-1]:
            inner = output.feature_acts[:, :width] @ self.W_dec[:width] + self.b_dec
            output.loss = output.loss + self.mse_loss_fn(inner, step_input.sae_in).sum(dim=-1).mean()
        return output


def make_sae(run: ToyRun) -> Any:
    """An SAE of SAELens's for a run, at the same start."""
    config = HedgeStandardConfig(d_in=run.world.d_in, d_sae=run.recipe.width, l1_coefficient=run.recipe.l1)
    sae, weights = WithLevels(config), start(run)
    sae.levels = run.recipe.levels
    with torch.no_grad():
        sae.W_enc.copy_(weights.enc[0].T)
        sae.W_dec.copy_(weights.dec[0, 1:])
    return sae


def saelens(run: ToyRun, sae: Any) -> None:
    """One SAE by SAELens's own loop."""
    from sae_lens.synthetic import train_toy_sae

    recipe = run.recipe
    with contextlib.redirect_stderr(io.StringIO()):
        train_toy_sae(
            sae,
            run.world.feature_dict,
            run.world.activation_generator,
            training_samples=recipe.samples,
            batch_size=recipe.batch_size,
            lr=recipe.lr,
            lr_decay_steps=round(recipe.lr_decay * recipe.steps),
        )


def better(work: Callable[[], Any]) -> Seconds:
    """How long something takes: the better of two measurements, each by its own clock."""
    first, second = timed(work)[1], timed(work)[1]
    return Seconds(min(first.wall, second.wall), min(first.cpu, second.cpu))


def per_step(spent: Seconds, steps: int) -> Seconds:
    """Milliseconds per step of one SAE, of the time that `steps` of them took."""
    return Seconds(1000 * spent.wall / steps, 1000 * spent.cpu / steps)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 15, 60, 240], help="how many SAEs")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--peers", type=int, default=2, help="how many SAEs SAELens trains")
    parser.add_argument("--threads", type=int, default=1, help="of both")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"{args.steps} steps, {args.threads} threads; SAELens measured on {args.peers} SAEs")
    for kind in args.kinds:
        run = some_runs(kind, 1, 20)[0]
        train([run], progress=False)
        saelens(run, make_sae(run))
        peers = [(run, make_sae(run)) for run in some_runs(kind, 3 * args.peers, args.steps)[::3]]
        spent = better(lambda peers=peers: [saelens(run, sae) for run, sae in peers])
        theirs = per_step(spent, args.peers * args.steps)
        print(
            f"\n{kind}: SAELens {theirs.wall:.3f} ms ({theirs.cpu:.3f})\n{'SAEs':>4}  {'HedgeBench':>19}  times faster"
        )
        for count in args.counts:
            runs = some_runs(kind, count, args.steps)
            spent = better(lambda runs=runs: train(runs, progress=False))
            ours = per_step(spent, count * args.steps)
            print(f"{count:4d}  {ours.wall:8.4f} ms ({ours.cpu:6.4f})  {theirs.over(ours)}", flush=True)


if __name__ == "__main__":
    main()
