"""`hedgebench toy`: from the command's options to a study, and what is printed of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hedgebench.spelling import nearest
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import argparse

    from pandas import DataFrame

_METRICS = ("hedged", "absorbed", "asymmetry", "mcc", "f1", "explained_variance")


def toy(args: argparse.Namespace) -> int:
    """Carry out the command and return its exit code."""
    from hedgebench.training.losses import LOSSES

    if args.list:
        return _list()
    if args.study is not None:
        return _study(args)
    for loss in args.loss or ():
        if loss not in LOSSES:
            raise BadInput(f"--loss {loss}: there is no such loss{nearest(loss, LOSSES)}")

    from hedgebench.toy_study import run_toy

    losses = list(dict.fromkeys(args.loss)) if args.loss else None
    result = run_toy(args.scenario, losses, args.seeds, args.out, args.device)
    if len(result.scores):
        print(_headline(result.scores))
        print()
    for file in result.files:
        print(file)
    summary = result.summary
    total = summary.total + len(result.equal)
    print(f"{summary.ok} of {total} SAEs scored ({summary.done_before} were done before)", file=sys.stderr)
    for name, twin in result.equal:
        print(f"{name} is the same SAE as {twin}, number for number: it has no rows of its own", file=sys.stderr)
    for name, error in summary.failed + summary.skipped:
        print(f"failed: {name}: {error}", file=sys.stderr)
    return 1 if summary.failed or summary.skipped else 0


def _study(args: argparse.Namespace) -> int:
    from hedgebench.toy_study import run_growth_study, run_hedging_estimate_study, run_phase_study

    studies = {"phases": run_phase_study, "growth": run_growth_study, "hedging-estimate": run_hedging_estimate_study}
    if args.study not in studies:
        raise BadInput(f"--study {args.study}: there is no such study{nearest(args.study, studies)}")
    if args.scenario or args.loss:
        raise BadInput(f"--study {args.study} has its own worlds and losses: leave out --scenario and --loss")
    for file in studies[args.study](args.seeds, args.out, args.device):
        print(file)
    return 0


def _headline(scores: DataFrame) -> str:
    """The main metrics of every scenario and loss: mean over training seeds, ± their standard deviation."""
    from hedgebench.toy.table import ToyTable

    rows = ToyTable(scores).rows
    rows = rows[(rows["slice_by"] == "all") & (rows["params"] == "") & rows["metric"].isin(_METRICS)]
    groups = rows.groupby(["scenario", "loss", "metric"], sort=False)["value"].agg(["mean", "std"])
    cells = groups.apply(lambda c: f"{c['mean']:.3f}" + (f" ±{c['std']:.3f}" if c["std"] == c["std"] else ""), axis=1)
    table = cells.unstack("metric").reindex(columns=_METRICS).fillna("")  # noqa: PD010 - nothing is aggregated
    table.columns.name = None
    n = rows["train_seed"].nunique()
    return f"toy_recovery (mean ± SD over {n} training seeds)\n{table.to_string()}"


def _list() -> int:
    from hedgebench.toy.scenarios import SCENARIOS

    for scenario in SCENARIOS.values():
        rows = ", ".join(map(str, scenario.rows))
        print(f"{scenario.name:18} rows {rows:8} {scenario.about}")
    return 0
