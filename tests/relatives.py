"""Evals that ask for other SAEs than the one they measure, folders of SAEs that belong together, and plans of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hedgebench import Eval, Metric, Score
from hedgebench.checkpoint import read_checkpoint
from hedgebench.plan import Plan, make_plan
from hedgebench.session import Job, Session
from hedgebench.suite import EvalEntry, SaeEntry, Suite, read_suite

SETTINGS = {"lr": 0.003, "data_seed": 0, "width": 12}


@dataclass(frozen=True)
class Batches:
    """One setting."""

    n_batches: int = 0


class Group(Eval):
    """What the SAEs of a group have as biases."""

    name, version, draws, needs = "group", 1, False, frozenset({"sae", "siblings"})
    metrics = (Metric("first_is_own", "1 where the SAE is the first of the group"), Metric("bias", "first bias entry"))

    def run(self, ctx, cfg):
        assert len(ctx.siblings) == len(ctx.sibling_cards) == len(ctx.checkpoint.members) >= 2
        assert [c.digest for c in ctx.sibling_cards] == list(ctx.checkpoint.members)
        yield Score("first_is_own", float(ctx.sae is ctx.siblings[0]))
        for i, sae in enumerate(ctx.siblings):
            yield Score("bias", float(sae.b_dec[0]), {"i": i})


class Free(Eval):
    """Goes on with what there is."""

    name, version, draws = "free", 1, False
    may_use = frozenset({"control", "second_control", "siblings", "activations", "features"})
    metrics = (Metric("n", "how many of each there are"), Metric("tells", "1 where a reason is told"))
    Config = Batches

    @classmethod
    def uses(cls, cfg):
        return frozenset(cls.needs) | (cls.may_use if cfg.n_batches else cls.may_use - {"activations"})

    def run(self, ctx, cfg):
        found = {"control": ctx.control, "second_control": ctx.second_control, "activations": ctx.activation_source}
        for what, thing in found.items():
            yield Score("n", float(thing is not None), {"what": what})
        yield Score("n", len(ctx.siblings), {"what": "siblings"})
        for what in sorted(self.may_use):
            yield Score("tells", float(what in ctx.absent), {"what": what})


class Pair(Eval):
    """Compares an SAE with its control."""

    name, version, draws, needs = "pair", 1, False, frozenset({"sae", "control"})
    metrics = (Metric("bias", "first bias entry of the control"),)

    def run(self, ctx, cfg):
        yield Score("bias", float(ctx.control.b_dec[0]))


CLASSES: dict[str, type[Eval]] = {"group": Group, "free": Free, "pair": Pair}


def plan_of(suite: Suite | Path) -> Plan:
    return make_plan(read_suite(suite) if isinstance(suite, Path) else suite, evals=CLASSES)


def suite_of(*entries: SaeEntry, evals: tuple[EvalEntry, ...] = (EvalEntry("s:9", "group"),)) -> Suite:
    return Suite("s", entries, evals)


def entries_of(*folders: Path, **more: Any) -> tuple[SaeEntry, ...]:
    return tuple(SaeEntry(f"s:{i}", (str(folder),), **more) for i, folder in enumerate(folders))


def carry_out(plan: Plan) -> list[Any]:
    session = Session(evals=CLASSES)
    return [
        o for r in plan.runs if r.run_id not in plan.unreadable for _, o in session.carry_out(Job((r,)), lambda _: None)
    ]


def numbers(outcome: Any) -> dict[str, float]:
    assert outcome.status == "ok", outcome.error
    return {f"{s['metric']} {s['params']}".strip(): s["value"] for s in outcome.scores}


def save_seeds(tmp_path: Path, save_sae: Callable[..., Path]) -> list[Path]:
    """Three training seeds of one recipe, saved in another order than theirs."""
    settings = {**SETTINGS, "architecture": "batchtopk"}
    return [
        save_sae(
            tmp_path / f"topk-s{seed}",
            seed=seed,
            train_seed=seed,
            train_settings={**settings, "train_seed": seed, "name": f"topk-s{seed}"},
        )
        for seed in (2, 10, 1)
    ]


def save_family(tmp_path: Path, save_sae: Callable[..., Path]) -> dict[str, Path]:
    """A grown SAE with both its controls beside it."""
    found = {name: save_sae(tmp_path / name, seed=i) for i, name in enumerate(("control", "again"))}
    growth = {
        **{"parent": "parent", "parent_width": 12, "added": 4, "at_tokens": 1000, "live_added": 1.0},
        **{"control": "control", "control_digest": read_checkpoint(found["control"]).digest},
        **{"second_control": "again", "second_control_digest": read_checkpoint(found["again"]).digest},
    }
    return {**found, "grown": save_sae(tmp_path / "grown", seed=5, d_sae=16, growth=growth)}


def bias(folder: Path) -> float:
    from hedgebench.loaders import load_sae

    return float(load_sae(folder).b_dec[0])
