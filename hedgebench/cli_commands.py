"""The commands. Exit 0: fine; 1: something failed; 2: bad usage. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hedgebench.cli_check import baseline, baseline_parser, check, check_parser
from hedgebench.cli_run import count, run, run_parser, tell
from hedgebench.cli_toy import toy
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame


def command(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        code: int = args.command(args)
        sys.stdout.flush()  # what cannot be written is told now
        return code
    except BadInput as error:
        tell(error)
        return 2
    except OSError as error:
        tell(f"{error.filename or 'the system says'}: {error.strerror or error}")
        return 2


class _Parser(argparse.ArgumentParser):
    """Tells of a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`."""
        tell(f"{message}; see `{self.prog} --help`")
        self.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hedgebench", description="Can this sparse autoencoder be trusted?")
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

    run_parser(command("run", run, "evaluate SAEs: a suite, or one SAE with --sae and --eval"))

    sub = command("table", _table, "the scores table of a results folder, or what its seeds say")
    sub.add_argument("dir", metavar="DIR", help="a results folder; with --stats also a scores table (.csv, .parquet)")
    sub.add_argument("--out", metavar="FILE.csv|.parquet", help="write it there")
    kind = sub.add_mutually_exclusive_group()
    kind.add_argument("--runs", action="store_true", help="the runs table: status, errors, times")
    kind.add_argument(
        "--stats",
        choices=["summary", "noise", "comparisons"],
        help="instead of scores: means with intervals and ranks; what moves each metric, and the differences that seeds would find; "
        "which differences are real, and how many seeds the others need",
    )

    sub = command(
        "leaderboard", _leaderboard, "a page of SAEs and metrics, with intervals and ranks; or a text, or a table"
    )
    sub.add_argument("dir", metavar="DIR", help="a results folder, or a scores table (.csv, .parquet)")
    sub.add_argument("--out", metavar="FILE.html|.md|.csv", required=True)
    sub.add_argument("--title", metavar="T", help="heading (default the folder's name)")

    sub = command("plot", _plot, "draw the figures that the evals of a results folder, or of a scores table, declare")
    sub.add_argument("dir", metavar="DIR", help="a results folder, or a scores table (.csv, .parquet)")
    sub.add_argument("--out", metavar="DIR", required=True)
    sub.add_argument(
        "--format", metavar="png,svg,pdf", default="png,svg", help="one or more, by commas (default png,svg)"
    )

    check_parser(command("check", check, "is anything worse than in a baseline, beyond noise?"))
    baseline_parser(
        command("baseline", baseline, "keep what a later check needs of a scores table, in a file fit for git")
    )

    sub = command("export", _export, "what is known of an SAE, for its README on the Hugging Face hub")
    sub.add_argument("dir", metavar="DIR", help="a results folder, or a scores table (.csv, .parquet)")
    sub.add_argument(
        "--model-card", action="store_true", required=True, help="its numbers as `model-index` metadata (YAML)"
    )
    sub.add_argument("--sae", metavar="NAME", help="which SAE, where there are several")
    sub.add_argument(
        "--out",
        metavar="README.md",
        help="write it there; the file's text and other metadata stay, but for YAML comments",
    )

    sub = command("train", _train, "train SAE checkpoints from a config")
    sub.add_argument("config", metavar="CONFIG.yaml")
    sub.add_argument("--out", metavar="DIR", required=True)
    sub.add_argument("--device", default="cpu", metavar="D")

    sub = command(
        "toy", toy, "train SAEs on toy worlds whose features are known, score them, and check the post's claims"
    )
    sub.add_argument(
        "--scenario",
        metavar="S",
        action="append",
        help="only this: a name, or a YAML file of one's own (repeatable; default: all of the post's)",
    )
    sub.add_argument("--loss", metavar="L", action="append", help="only this: mse, l2 or snap (repeatable)")
    sub.add_argument("--seeds", type=count, default=5, metavar="N", help="training seeds 0 to N-1 (default 5)")
    sub.add_argument(
        "--study",
        metavar="NAME",
        help="instead of scenarios: phases, where snap stops working; growth, whether the hedging degree follows hedging; "
        "hedging-estimate, how well estimates that see one SAE tell what it hedges",
    )
    sub.add_argument("--out", default="out/toy", metavar="DIR", help="results folder (default out/toy)")
    sub.add_argument("--device", default="cpu", metavar="D", help="torch device (default cpu)")
    sub.add_argument("--list", action="store_true", help="say what scenarios there are")

    sub = command("cache", _cache, "what HedgeBench keeps that it can make again: models, texts, activations")
    sub.add_argument("--clear", action="store_true", help="delete it")
    return parser


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
                "may_use": sorted(p.object.may_use),
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
        uses = f"  may use {', '.join(sorted(p.object.may_use))}" if p.object.may_use else ""
        print(
            f"{p.name}  v{p.object.version}  needs {', '.join(sorted(p.object.needs))}{uses}"
            f"  [{p.package} {p.package_version}]"
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


# --- table, leaderboard, plot, train, cache --------------------------------------------------------------------------------------


def _table(args: argparse.Namespace) -> int:
    from hedgebench.results import csv_text, read_results, read_runs, write_table
    from hedgebench.stats import tables

    if args.stats:
        frame = getattr(tables, args.stats)(_scores(args.dir))
    else:
        frame = read_runs(args.dir) if args.runs else read_results(args.dir)
    for_people = bool(args.stats or args.runs)  # a scores table is read back
    if args.out:
        print(f"{len(frame)} rows in {write_table(frame, args.out, for_people)}")
    else:
        sys.stdout.write(csv_text(frame, for_people))
    return 0


def _scores(place: str) -> DataFrame:
    """The scores table of a results folder, or of a file."""
    from hedgebench.results import read_results, read_table
    from hedgebench.scores_table import scores_table

    if place.endswith((".csv", ".parquet")):
        return read_table(place)
    return scores_table(read_results(place), f"the table of {place}")


def _export(args: argparse.Namespace) -> int:
    from hedgebench.model_card import eval_results, n_comments, with_results
    from hedgebench.records import write_text

    name, results = eval_results(_scores(args.dir), args.sae)
    if args.out is None:
        sys.stdout.write(with_results(b"", "", name, results))
        return 0
    file = Path(args.out)
    try:
        readme = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from error
    text = with_results(readme, str(file), name, results)
    if n := n_comments(readme):
        print(
            f"{file}: its metadata has {n} comment{'s' if n > 1 else ''} (#), which YAML's writer drops",
            file=sys.stderr,
        )
    write_text(file, text)
    print(f"{len(results)} numbers of {name} in {file}")
    return 0


def _leaderboard(args: argparse.Namespace) -> int:
    from hedgebench.board.write import leaderboard

    print(leaderboard(args.dir, args.out, args.title))
    return 0


def _plot(args: argparse.Namespace) -> int:
    from hedgebench.plots import draw_figures

    files = draw_figures(_scores(args.dir), args.out, args.format.split(","))
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
