"""Many toy SAEs trained at once: every run of equal shape, whatever its world, loss, seed and weights, in one set of batched matrix products.

The steps are those of SAELens's `SAETrainer`: gradients clipped to norm 1 for each SAE by itself, Adam, its schedules of the learning rate.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from hedgebench.toy.batches import batches as make_batches
from hedgebench.toy.batches import start, stream_of, test_samples
from hedgebench.toy.equations import Equations, largest
from hedgebench.toy.grouping import make_parts
from hedgebench.toy.recipes import Recipe, ToyRun
from hedgebench.toy.weights import Batch, Weights
from hedgebench.types import BadInput

_CLIP = 1.0
"""Largest norm of a gradient; fixed in SAELens's trainer."""
_TEST_SAMPLES = 4096


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained toy SAE: its weights as they left the trainer, on the CPU."""

    run: ToyRun
    W_enc: Tensor
    """[d_in, width]."""
    b_enc: Tensor
    """[width]."""
    W_dec: Tensor
    """[width, d_in], not normalised."""
    b_dec: Tensor
    """[d_in]."""
    threshold: Tensor | None
    """BatchTopK only: the running threshold on a latent's activation times its decoder norm, a float64 scalar."""
    loss: float
    """Reconstruction loss that training ended on (mse or l2), over all patterns or over fresh samples. Without L1 and auxiliary loss."""
    l0: float
    """Mean number of active latents on the same."""
    loss_rescale: float
    """What L1 or auxiliary loss were last multiplied by; 1 for mse."""

    @property
    def weights(self) -> Weights:
        """As the trainer holds them, [1, ...] each: a run can start there."""
        dec = torch.cat([self.b_dec[None], self.W_dec])
        return Weights(self.W_enc.T[None], dec[None], self.b_enc[None, :, None])

    def encode(self, x: Tensor) -> Tensor:
        """Activations [n, width] of x [n, d_in], as the SAE is used: BatchTopK by its threshold."""
        recipe = self.run.recipe
        pre = torch.addmm(self.b_enc, x - self.b_dec, self.W_enc)
        strength = pre * self.W_dec.norm(dim=1)
        if self.threshold is not None:
            pre = pre * (strength > self.threshold)
        elif recipe.architecture == "topk":
            pre = pre * largest(strength[None], [int(recipe.k)])[0]
        acts: Tensor = pre.relu()
        return acts

    def decode(self, acts: Tensor) -> Tensor:
        """Reconstructions [n, d_in] from activations [n, width]."""
        x: Tensor = torch.addmm(self.b_dec, acts, self.W_dec)
        return x


def train(
    runs: Sequence[ToyRun],
    *,
    device: str = "cpu",
    progress: bool = True,
    batches: Iterable[Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    memory: int | None = None,
    starts: Sequence[Weights] | None = None,
) -> list[Trained]:
    """Train toy SAEs: what `train_parts` yields, in the order given."""
    found = train_parts(
        runs, device=device, progress=progress, batches=batches, dtype=dtype, memory=memory, starts=starts
    )
    done = dict(found)
    return [done[i] for i in range(len(runs))]


def train_parts(
    runs: Sequence[ToyRun],
    *,
    device: str = "cpu",
    progress: bool = True,
    batches: Iterable[Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    memory: int | None = None,
    starts: Sequence[Weights] | None = None,
) -> Iterator[tuple[int, Trained]]:
    """Train toy SAEs, and yield those that were trained together as soon as they are done.

    Args:
        runs: What to train.
        device: Torch device.
        progress: Show a bar on stderr, over the work of all runs.
        batches: Samples to train on instead of the runs' worlds, one [batch, d_in] per step, the same for every run.
        dtype: Precision of training.
        memory: Bytes that may be taken at a time. Default: most of what is free on the device.
        starts: The weights of each run before its first step, [1, ...] each, such as another run ended with (`Trained.weights`). Default: a
            start of their own, from the training seed. Adam, the learning rate and BatchTopK's threshold begin anew.

    Yields:
        (index of the run, what it came to). What a run gives depends on it alone, but for rounding.

    Raises:
        BadInput: One SAE does not fit into memory, or there are fewer batches than steps.
    """
    given = None if batches is None else list(batches)
    parts = make_parts(runs, memory, device, dtype.itemsize, None if given is None else len(given[0]))
    with tqdm(
        total=sum(part.steps * part.step_work for part in parts),
        disable=not progress,
        file=sys.stderr,
        desc=f"{len(runs)} toy SAEs",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
    ) as bar:
        for part in parts:
            tick = partial(bar.update, part.step_work)
            before = [start(runs[i]) if starts is None else starts[i] for i in part.members]
            trained = _train_part([runs[i] for i in part.members], before, given, device, dtype, tick)
            yield from zip(part.members, trained, strict=True)


@torch.no_grad()
def _train_part(
    runs: Sequence[ToyRun],
    starts: Sequence[Weights],
    given: Sequence[Tensor] | None,
    device: str,
    dtype: torch.dtype,
    tick: Callable[[], object],
) -> list[Trained]:
    """Train runs of one shape; `tick` is called after every step."""
    recipe, d_in = runs[0].recipe, runs[0].world.d_in
    equations = Equations([run.recipe for run in runs], d_in, device, dtype)
    flat = torch.cat([weights.flat() for weights in starts]).to(device, dtype)
    flat.grad = torch.zeros_like(flat)
    weights, gradients = (Weights.of(tensor, d_in, recipe.width) for tensor in (flat, flat.grad))
    equations.after_step(weights)
    adam = torch.optim.Adam([flat], lr=recipe.lr, fused=True)
    schedule = _learning_rate(adam, recipe)
    stream = make_batches(runs, device, dtype) if given is None else _repeat(given, runs, device, dtype)
    for step in range(recipe.steps):
        equations.gradients(weights, gradients, next(stream), step)
        flat.grad.mul_((_CLIP / (flat.grad.norm(dim=1, keepdim=True) + 1e-6)).clamp_(max=1.0))
        adam.step()
        if schedule is not None:
            schedule.step()
        equations.after_step(weights)
        tick()
    return _collect(runs, weights, equations)


def _learning_rate(adam: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LRScheduler | None:
    """SAELens's schedule; None for a constant rate."""
    from sae_lens.training.optim import get_lr_scheduler

    warm_up, decay = (round(part * recipe.steps) for part in (recipe.lr_warm_up, recipe.lr_decay))
    if not (warm_up or decay):
        return None
    return get_lr_scheduler(  # type: ignore[no-any-return]
        "constant",
        optimizer=adam,
        training_steps=recipe.steps,
        lr=recipe.lr,
        warm_up_steps=warm_up,
        decay_steps=decay,
        lr_end=recipe.lr,
        num_cycles=1,
    )


def _repeat(given: Sequence[Tensor], runs: Sequence[ToyRun], device: str, dtype: torch.dtype) -> Iterator[Batch]:
    """The batches a caller brought, for all runs alike."""
    if len(given) < runs[0].recipe.steps:
        raise BadInput(f"{len(given)} batches were given for {runs[0].recipe.steps} steps")
    for x in given:
        yield Batch(x.to(device, dtype)[None], 1 / len(x))


def _collect(runs: Sequence[ToyRun], weights: Weights, equations: Equations) -> list[Trained]:
    enc, dec, b_enc = (tensor.cpu() for tensor in weights)
    threshold = equations.threshold.flatten().cpu() if equations.over_batch else [None] * len(runs)
    rescale = equations.loss_rescale.flatten().tolist()
    blank = {"loss": math.nan, "l0": math.nan}
    tests = {
        stream: test_samples(run, _TEST_SAMPLES, enc.dtype) for stream, run in {stream_of(r): r for r in runs}.items()
    }
    return [
        _tested(
            Trained(
                run,
                W_enc=enc[i].T.contiguous(),
                b_enc=b_enc[i, :, 0].clone(),
                W_dec=dec[i, 1:].clone(),
                b_dec=dec[i, 0].clone(),
                threshold=threshold[i],
                loss_rescale=rescale[i],
                **blank,
            ),
            *tests[stream_of(run)],
        )
        for i, run in enumerate(runs)
    ]


def _tested(sae: Trained, x: Tensor, weight: Tensor) -> Trained:
    """With its loss and L0 on samples [n, d_in] that it was not trained on, and their weights [n]."""
    acts = sae.encode(x)
    squared = (sae.decode(acts) - x).square().sum(dim=1)
    ends_on_l2 = sae.run.recipe.schedule.is_l2(sae.run.recipe.steps - 1)
    losses, active = squared.sqrt() if ends_on_l2 else squared, (acts != 0).sum(dim=1)
    return replace(sae, loss=float((losses * weight).sum()), l0=float((active * weight).sum()))
