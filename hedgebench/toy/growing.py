"""Whether the hedging degree follows hedging that is known: toy SAEs that grow, in worlds whose features fire ever more together.

A narrow SAE is trained. Then one copy, *grown*, gets new latents (random unit rows times 0.1, encoder their transpose, bias 0) and trains on, and another, the
*control*, trains on without, on the same samples; a second control sees others. The dial of a setting is what makes an SAE hedge, and the truth is read off the
control's decoder rows: their part on features that no latent tracks (`recovery.recover`). The measures are those of the eval `grow_delta`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from hedgebench.growth import against, agreement, movement
from hedgebench.growth_estimates import degree, estimates
from hedgebench.spans import covariance_factor, new_span, random_span
from hedgebench.toy.growth_settings import SETTINGS, Setting
from hedgebench.toy.recipes import ToyRun
from hedgebench.toy.recovery import Recovery, cosines, recover
from hedgebench.toy.weights import Weights

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from hedgebench.toy.trainer import Trained
    from hedgebench.training.losses import LossName

MIN_LIVE = 0.5
"""With a smaller share of live new latents, `grow_delta` refuses, and so is the SAE left out here."""
_AGAIN, _OTHERWISE = 1000, 2000
"""Added to a training seed: the samples that a copy trains on, and those of the second control."""
_STEPS_AFTER = 1000
_AFTER: Mapping[str, LossName] = {"mse": "mse", "snap": "l2"}
"""The loss that training goes on with: snap has turned to L2 by then."""
_SAMPLES, _NULL_SPANS = 4096, 30


class Plan(NamedTuple):
    """One SAE that is to grow."""

    setting: Setting
    value: float
    world_seed: int
    run: ToyRun
    """Of the narrow SAE."""


def make_plans(seeds: int, settings: Iterable[Setting]) -> list[Plan]:
    """The SAEs to train: for every setting, loss and value of the dial, some in each of `seeds` worlds."""
    from hedgebench.toy.worlds import World, make_world

    worlds: dict[tuple[object, ...], World] = {}
    found = []
    for setting in settings:
        for loss in setting.losses:
            for value in setting.points:
                for seed in range(seeds):
                    key = (setting.world, value, seed)
                    world = (
                        worlds[key] if key in worlds else worlds.setdefault(key, make_world(setting.world(value, seed)))
                    )
                    recipe = replace(setting.recipe, loss=loss)
                    twins = range(setting.per_world * seed, setting.per_world * (seed + 1))
                    found += [Plan(setting, value, seed, ToyRun(world, recipe, twin)) for twin in twins]
    return found


def grown_start(trained: Trained, added: int) -> Weights:
    """The weights of an SAE with so many new latents: random unit rows times 0.1, encoder their transpose, bias 0. Drawn from its training seed."""
    weights, d = trained.weights, trained.run.world.d_in
    rows = torch.randn(added, d, generator=torch.Generator().manual_seed(trained.run.train_seed))
    rows = (0.1 * rows / rows.norm(dim=1, keepdim=True))[None]
    return Weights(
        torch.cat([weights.enc, rows], 1),
        torch.cat([weights.dec, rows], 1),
        torch.cat([weights.b_enc, torch.zeros(1, added, 1)], 1),
    )


class Family(NamedTuple):
    """What became of one plan."""

    control: Trained
    second: Trained
    grown: Trained


def train_families(plans: Sequence[Plan], device: str = "cpu", progress: bool = True) -> list[Family]:
    """Train narrow SAEs, then their controls, second controls and grown copies. SAEs that several settings begin with are trained once."""
    from hedgebench.toy.trainer import train

    def trained(runs: list[ToyRun], starts: list[Weights] | None) -> list[Trained]:
        return train(runs, device=device, progress=progress, starts=starts)

    begun = list(dict.fromkeys(plan.run for plan in plans))
    narrow = dict(zip(begun, trained(begun, None), strict=True))
    on = [_on(sae, shift, 0) for shift in (_AGAIN, _OTHERWISE) for sae in narrow.values()]
    kept = trained(on, [sae.weights for sae in narrow.values()] * 2)
    controls, seconds = (dict(zip(begun, half, strict=True)) for half in (kept[: len(begun)], kept[len(begun) :]))
    sources = [narrow[plan.run] for plan in plans]
    added = [plan.setting.added for plan in plans]
    grown = trained(
        [_on(sae, _AGAIN, n) for sae, n in zip(sources, added, strict=True)],
        [grown_start(sae, n) for sae, n in zip(sources, added, strict=True)],
    )
    return [Family(controls[p.run], seconds[p.run], sae) for p, sae in zip(plans, grown, strict=True)]


def _on(narrow: Trained, shift: int, added: int) -> ToyRun:
    """How a copy of a narrow SAE trains on."""
    world, recipe, seed = narrow.run
    on = replace(recipe, loss=_AFTER[recipe.loss], width=recipe.width + added, steps=_STEPS_AFTER)
    return ToyRun(world, on, seed + shift)


def run_growth(
    seeds: int = 5, device: str = "cpu", progress: bool = True, settings: Iterable[Setting] | None = None
) -> DataFrame:
    """Train and measure; a minute and a half on one core for five worlds of each setting.

    Args:
        seeds: How many worlds of each setting.
        device: Torch device to train on.
        progress: Show bars on stderr.
        settings: Default: all.

    Returns:
        One row for each grown SAE: setting, loss, dial, world, train_seed, and the columns of `measure`.
    """
    import pandas as pd

    plans = make_plans(seeds, SETTINGS.values() if settings is None else settings)
    families = train_families(plans, device, progress)
    spans = [new_span(f.grown.W_dec[f.control.run.recipe.width :]) for f in families]
    twins: dict[tuple[object, ...], list[int]] = {}
    for i, plan in enumerate(plans):
        twins.setdefault(_beside(plan), []).append(i)
    rows = []
    for i, (plan, family) in enumerate(zip(plans, families, strict=True)):
        others = [spans[j] for j in twins[_beside(plan)] if j != i]
        told = {"setting": plan.setting.name, "loss": plan.run.recipe.loss, "dial": plan.value}
        rows.append(
            {**told, "world": plan.world_seed, "train_seed": plan.run.train_seed, **measure(family, spans[i], others)}
        )
    return pd.DataFrame(rows)


def _beside(plan: Plan) -> tuple[object, ...]:
    return plan.setting.name, plan.run.recipe, plan.run.world.identity


def measure(family: Family, basis: Tensor, others: Sequence[Tensor]) -> dict[str, float]:
    """Truth and measures of one grown SAE.

    Args:
        family: The SAE and its controls.
        basis: [rank, d], of the span of its new rows.
        others: The same of other training seeds in its world.

    Returns:
        `live`: share of the new latents that are alive and track a feature. The truth, means over old latents of norms of parts of their unit rows: `hedged`, what the
        control's hold on features that nobody tracks; `taken`, on features that the new latents track; `left` and `absorbed`, what the grown SAE's hold on features
        that nobody, and that others, track. `swapped`: share of old latents that have come to track another feature. The measures, as in `grow_delta`: `projection` (g), `excess` (g less that of the change between the two controls, drawn out by `scale`), `excess_residual` and `excess_other_seed` (less that in
        those spans), `degree` (unclamped), `delta_share`, the nulls' shares, `share_excess` over the largest of the matched ones and `share_excess_residual` over that one, `encoder_degree`,
        `symmetry`; mean |δ| of decoder (`delta_norm`) and encoder (`encoder_norm`), and `drift`, that between the two controls.
    """
    control, second, grown = family
    old, d = control.run.recipe.width, control.run.world.d_in
    generator = torch.Generator().manual_seed(control.run.train_seed)
    x = control.run.world.sample(_SAMPLES, generator).activations
    before, after = _recovery(control, x), _recovery(grown, x)
    left_over = (x - control.decode(control.encode(x))).double()
    like_residual = covariance_factor(torch.cov(left_over.T))
    drawn = [random_span(len(basis), d, generator, like_residual) for _ in range(_NULL_SPANS)]
    spans = {"residual": drawn} | ({"other_seed": list(others)} if others else {})

    drift = movement(control.W_dec, second.W_dec, basis)
    found = movement(control.W_dec, grown.W_dec[:old], basis, spans)
    found = against(found, control.W_dec, second.W_dec, basis, "reordered")
    columns = control.W_enc.T, grown.W_enc[:, :old].T
    encoder = movement(*columns, basis)
    alike, size = agreement((control.W_dec, grown.W_dec[:old]), columns, basis)
    own = after.own[old:]
    new = [feature for feature in own.unique().tolist() if feature >= 0 and feature not in before.own.tolist()]
    taken = cosines(control.W_dec, control.run.world.features)[:, new]
    estimated = {label: one.value for label, one in estimates(found, generator, resamples=2).items()}
    numbers = defaultdict(lambda: math.nan, estimated)  # no shares where nothing moved
    null_shares = {name: numbers[f"null_share {name}"] for name in found.nulls}
    return {
        "live": float((own >= 0).double().mean()),
        "hedged": _mean(before.hedged),
        "taken": float(taken.norm(dim=1).mean()),
        "left": _mean(after.hedged[:old]),
        "absorbed": _mean(after.absorbed[:old]),
        "swapped": float((after.own[:old] != before.own).double().mean()),
        "projection": numbers["projection"],
        "excess": numbers["excess reordered"],
        "excess_residual": numbers["excess residual"],
        "excess_other_seed": numbers["excess other_seed"],
        "degree": numbers["unclamped_degree"],
        "delta_share": numbers["delta_share"],
        "share_excess": numbers["delta_share"] - max(null_shares.values()),
        "share_excess_residual": numbers["share_excess residual"],
        "isotropic": len(basis) / d,
        **{f"null_{name}": value for name, value in null_shares.items()},
        "encoder_degree": float(degree(encoder.inside.mean(), encoder.by_chance.mean())),
        "symmetry": float(alike.sum() / size.sum()),
        "delta_norm": float(found.norm.mean()),
        "encoder_norm": float(encoder.norm.mean()),
        "drift": float(drift.norm.mean()),
        "scale": found.nulls["reordered"].scale if "reordered" in found.nulls else math.nan,
    }


def _recovery(sae: Trained, x: Tensor) -> Recovery:
    live = (sae.encode(x) > 0).any(dim=0)
    return recover(sae.W_dec, sae.W_enc.T, sae.run.world.features, live)


def _mean(values: Tensor) -> float:
    """Over the latents that are alive; NaN for none."""
    return float(values.nanmean())
