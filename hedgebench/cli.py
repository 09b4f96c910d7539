"""The command line. Exit 0: fine; 1: something failed; 2: bad usage. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.types import BadInput

if TYPE_CHECKING:
    from hedgebench.runner import Summary
    from hedgebench.suite import Suite


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        code: int = args.command(args)
        return code
    except BadInput as error:
        print(f"hedgebench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hedgebench: stopped; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader (head, less) has seen enough
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hedgebench", description="Can this sparse autoencoder be trusted?")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=function)
        return sub

    sub = command("list", _list, "evals, what they need and report, and which package brings them")
    sub.add_argument("--json", action="store_true", help="as JSON")

    sub = command("inspect", _inspect, "what a checkpoint is")
    sub.add_argument("ref", metavar="REF", help="a path, or release:sae_id")
    sub.add_argument("--json", action="store_true", help="as JSON")

    sub = command("run", _run, "evaluate SAEs: a suite, or one SAE with --sae and --eval")
    sub.add_argument("suite", metavar="SUITE", nargs="?", help="a YAML file")
    sub.add_argument(
        "--sae",
        metavar="REF",
        action="append",
        default=[],
        help="without a suite: a path, or release:sae_id (repeatable)",
    )
    sub.add_argument(
        "--eval", metavar="NAME[:key=value,...]", action="append", default=[], help="without a suite (repeatable)"
    )
    sub.add_argument("--model", metavar="M", help="language model, where the SAE names none or another is wanted")
    sub.add_argument("--data", metavar="D", help="without a suite: text (default offline)")
    sub.add_argument("--seeds", metavar="0,1", help="without a suite: evaluation seeds (default 0)")
    sub.add_argument("--out", metavar="DIR", help="results folder (default out/SUITE)")
    sub.add_argument("--device", default="cpu", metavar="D", help="torch device (default cpu)")
    sub.add_argument("--executor", choices=["local"], default="local", help="where runs are carried out")
    sub.add_argument("--workers", type=_count, default=1, metavar="N", help="worker processes (default 1)")
    sub.add_argument("--only", metavar="EVAL", action="append", default=[], help="only this eval (repeatable)")
    sub.add_argument("--limit", type=_count, metavar="N", help="at most N runs now")
    sub.add_argument("--dry-run", action="store_true", help="say what would run")
    sub.add_argument("--retry-failed", action="store_true", help="run again what failed")
    sub.add_argument("--force", action="store_true", help="run again everything")

    sub = command("table", _table, "the scores table of a results folder")
    sub.add_argument("dir", metavar="DIR")
    sub.add_argument("--out", metavar="FILE.csv|.parquet", help="write it there")
    sub.add_argument("--runs", action="store_true", help="the runs table: status, errors, times")

    sub = command("plot", _plot, "draw the figures that the evals of a results folder declare")
    sub.add_argument("dir", metavar="DIR")
    sub.add_argument("--out", metavar="DIR", required=True)

    sub = command("train", _train, "train SAE checkpoints from a config")
    sub.add_argument("config", metavar="CONFIG.yaml")
    sub.add_argument("--out", metavar="DIR", required=True)
    sub.add_argument("--device", default="cpu", metavar="D")

    sub = command("cache", _cache, "what HedgeBench keeps that it can make again: models, texts, activations")
    sub.add_argument("--clear", action="store_true", help="delete it")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


# --- list, inspect -------------------------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from hedgebench.registry import find_evals

    evals, broken = find_evals()
    if args.json:
        shown = [
            {
                "name": p.name,
                "version": p.object.version,
                "package": p.package,
                "package_version": p.package_version,
                "needs": sorted(p.object.needs),
                "draws": p.object.draws,
                "cost": p.object.cost,
                "metrics": [asdict(m) for m in p.object.metrics],
            }
            for p in evals.values()
        ]
        print(json.dumps({"evals": shown, "broken": [asdict(b) for b in broken]}, indent=1))
        return 0
    for p in evals.values():
        about = (p.object.__doc__ or "").strip().splitlines()
        print(
            f"{p.name}  v{p.object.version}  needs {', '.join(sorted(p.object.needs))}  [{p.package} {p.package_version}]"
        )
        if about:
            print(f"    {about[0]}")
        if p.object.cost:
            print(f"    cost: {p.object.cost}")
        print(f"    metrics: {', '.join(m.name for m in p.object.metrics)}")
    for b in broken:
        print(f"{b.name}  BROKEN  [{b.package}]  {b.error}")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from hedgebench.checkpoint import read_checkpoint

    facts = read_checkpoint(args.ref).to_dict()
    if args.json:
        print(json.dumps(facts, default=str, indent=1))
        return 0
    for key, value in facts.items():
        if value not in (None, {}, []):
            print(f"{key:18} {value if not isinstance(value, float) else f'{value:.6g}'}")
    return 0


# --- run -----------------------------------------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    from hedgebench.plan import make_plan
    from hedgebench.runner import execute, pending_runs, run_name, worker_places

    suite = _suite(args)
    out = Path(args.out or f"out/{suite.name}")
    plan = make_plan(suite)
    for mistake in plan.mistakes:
        print(f"hedgebench: {mistake}{'; the rest goes on' if plan.runs else ''}", file=sys.stderr)
    if not plan.runs:
        return 2
    if args.only:
        _check_only(args.only, plan.shares)
        plan.runs = [r for r in plan.runs if r.eval in args.only]
    readable = [r for r in plan.runs if r.run_id not in plan.unreadable]
    if not readable:
        for line in dict.fromkeys(plan.unreadable.values()):
            print(f"hedgebench: {line}", file=sys.stderr)
        return 2
    pending = pending_runs(plan, out, retry_failed=args.retry_failed, force=args.force)
    if args.dry_run:
        for run in pending[: args.limit]:
            print(f"{run_name(run)}  {run.run_id}")
        print(f"{len(pending)} of {len(plan.runs)} runs to do", file=sys.stderr)
        return 2 if plan.mistakes else 0
    if not pending:
        print(f"nothing to do: all {len(plan.runs)} runs are done", file=sys.stderr)
    summary = execute(plan, pending[: args.limit], out, worker_places(args.workers, args.device, out))
    _report(summary, out, {run.run_id for run in plan.runs})
    if plan.mistakes:
        return 2
    return 1 if summary.failed else 0


def _suite(args: argparse.Namespace) -> Suite:
    from dataclasses import replace

    from hedgebench.suite import EvalEntry, SaeEntry, Suite, read_suite

    if args.suite is not None:
        for option in ("sae", "eval", "data", "seeds"):
            if getattr(args, option):
                raise BadInput(f"--{option} goes without a suite; the suite has its own")
        suite = read_suite(args.suite)
        return replace(suite, model=args.model) if args.model else suite
    if not args.sae or not args.eval:
        raise BadInput("give a suite, or --sae REF and --eval NAME")
    if not args.out:
        raise BadInput("without a suite, --out DIR says where the results go")
    return Suite(
        name=Path(args.out).name or "run",
        saes=tuple(SaeEntry("--sae", (ref,)) for ref in args.sae),
        evals=tuple(EvalEntry("--eval", *_parse_eval(text)) for text in args.eval),
        model=args.model,
        data=args.data or "offline",
        seeds=_parse_seeds(args.seeds),
    )


def _parse_seeds(text: str | None) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in (text or "0").split(","))
    except ValueError:
        raise BadInput(f"--seeds is a list such as 0,1,2, not {text!r}") from None
    if any(seed < 0 for seed in seeds):
        raise BadInput(f"--seeds are whole numbers from 0, not {text!r}")
    return seeds


def _parse_eval(text: str) -> tuple[str, dict[str, Any]]:
    """`NAME:key=value,...` as a name and settings; values as in YAML."""
    import yaml

    name, _, rest = text.partition(":")
    config: dict[str, Any] = {}
    for part in rest.split(",") if rest else []:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise BadInput(f"--eval {text!r}: write NAME:key=value,key=value")
        try:
            config[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise BadInput(f"--eval {text!r}: {value!r} is no value") from None
    return name, config


def _check_only(only: list[str], known: dict[str, bool]) -> None:
    from hedgebench.registry import nearest

    for name in only:
        if name not in known:
            raise BadInput(f"--only {name}: the suite has no such eval{nearest(name, known)}")


def _report(summary: Summary, out: Path, run_ids: set[str]) -> None:
    """Write the tables of the whole folder, print the headline of these runs, and say what failed."""
    from hedgebench.results import headline, read_results, read_runs, write_table

    scores = read_results(out)
    files = [write_table(scores, out / "scores.csv"), write_table(scores, out / "scores.parquet")]
    files.append(write_table(read_runs(out), out / "runs.csv"))
    mine = scores[scores["run_id"].isin(run_ids)]
    if len(mine):
        print(headline(mine))
        print()
    print(f"{len(scores)} scores in {files[0]} (and .parquet); every run in {files[2]}")
    counts = f"{summary.ok} of {summary.total} runs ok ({summary.done_before} were done before)"
    left = summary.total - summary.ok - len(summary.skipped) - len(summary.failed)
    counts += f", {len(summary.skipped)} cannot be measured, {len(summary.failed)} failed"
    print(counts + (f", {left} still to do" if left else ""), file=sys.stderr)
    for name, error in summary.failed:
        print(f"failed: {name}: {error}", file=sys.stderr)
    if summary.failed:
        print("--retry-failed runs them again", file=sys.stderr)


# --- table, plot, train, cache -------------------------------------------------------------------------------------------------


def _table(args: argparse.Namespace) -> int:
    from hedgebench.results import read_results, read_runs, write_table

    frame = read_runs(args.dir) if args.runs else read_results(args.dir)
    if args.out:
        print(f"{len(frame)} rows in {write_table(frame, args.out)}")
    else:
        sys.stdout.write(frame.to_csv(index=False))
    return 0


def _plot(args: argparse.Namespace) -> int:
    from hedgebench.plots import draw_figures
    from hedgebench.results import read_results

    files = draw_figures(read_results(args.dir), args.out)
    for file in files:
        print(file)
    if not files:
        print("no figure could be drawn from the evals in this folder", file=sys.stderr)
    return 0


def _train(args: argparse.Namespace) -> int:
    from hedgebench.training.runner import train

    for folder in train(args.config, args.out, device=args.device):
        print(folder)
    return 0


def _cache(args: argparse.Namespace) -> int:
    import shutil

    from hedgebench.cache import cache_limit, rooms, trim
    from hedgebench.paths import cache_dir

    if not args.clear:
        trim()
    found = rooms()
    for room, size in found:
        print(f"{room}  {size / 2**20:.0f} MiB{'  deleted' if args.clear else ''}")
        if args.clear:
            shutil.rmtree(room)
    if not found:
        print(f"{cache_dir()} is empty")
    print(f"activations and artifacts are kept up to {cache_limit() / 2**20:.0f} MiB (HEDGEBENCH_CACHE_LIMIT)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
