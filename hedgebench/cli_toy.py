"""`hedgebench toy`: from the command's options to a study, and what is printed of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hedgebench.registry import nearest
from hedgebench.types import BadInput

if TYPE_CHECKING:
    import argparse


def toy(args: argparse.Namespace) -> int:
    """Carry out the command and return its exit code."""
    from hedgebench.training.losses import LOSSES

    if args.list:
        return _list()
    for loss in args.loss or ():
        if loss not in LOSSES:
            raise BadInput(f"--loss {loss}: there is no such loss{nearest(loss, LOSSES)}")

    from hedgebench.results import headline
    from hedgebench.toy_study import run_toy

    result = run_toy(args.scenario, args.loss, args.seeds, args.out, args.device)
    if len(result.scores):
        print(headline(result.scores[result.scores["slice_by"] == "all"]))
        print()
    for file in result.files:
        print(file)
    summary = result.summary
    print(f"{summary.ok} of {summary.total} SAEs scored ({summary.done_before} were done before)", file=sys.stderr)
    for name, error in summary.failed + summary.skipped:
        print(f"failed: {name}: {error}", file=sys.stderr)
    return 1 if summary.failed or summary.skipped else 0


def _list() -> int:
    from hedgebench.toy.scenarios import SCENARIOS

    for scenario in SCENARIOS.values():
        rows = ", ".join(map(str, scenario.rows))
        print(f"{scenario.name:18} rows {rows:8} {scenario.about}")
    return 0
