"""`hedgebench run`: from the command's options to a suite, through it, and to what is printed."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.one_line import one_line
from hedgebench.paths import is_folder
from hedgebench.types import BadInput
from hedgebench.world_files import stands_for_world

if TYPE_CHECKING:
    from hedgebench.places import Place
    from hedgebench.plan import Plan
    from hedgebench.runner import Summary
    from hedgebench.suite import Suite
    from hedgebench.types import Run

MAX_WORKERS = 1024
"""Processes that one command starts at most."""
LONGEST = 1000
"""Letters of a line that tells of a mistake; of a longer one the beginning and the end are shown."""


def run_parser(sub: argparse.ArgumentParser) -> None:
    """The options of `hedgebench run`."""
    sub.add_argument("suite", metavar="SUITE", nargs="?", help="a YAML file")
    sub.add_argument(
        "--sae",
        metavar="REF",
        action="append",
        default=[],
        help="without a suite: a path, a pattern of paths in quotes (*, **), or release:sae_id (repeatable)",
    )
    sub.add_argument(
        "--eval", metavar="NAME[:key=value,...]", action="append", default=[], help="without a suite (repeatable)"
    )
    sub.add_argument("--model", metavar="M", help="language model, where the SAE names none or another is wanted")
    sub.add_argument("--data", metavar="D", help="without a suite: text (default offline)")
    sub.add_argument("--world", metavar="DIR", help="without a suite: true features that do not lie beside the SAE")
    sub.add_argument("--control", metavar="REF", help="without a suite: the SAE that the others are compared with")
    sub.add_argument("--second-control", metavar="REF", help="without a suite: the control in another order of data")
    sub.add_argument("--group", metavar="NAME", help="without a suite: the SAEs differ in their training seed only")
    sub.add_argument("--seeds", metavar="0,1", help="without a suite: evaluation seeds (default 0)")
    sub.add_argument("--out", metavar="DIR", help="results folder (default out/SUITE)")
    sub.add_argument("--device", default="cpu", metavar="D", help="torch device (default cpu)")
    sub.add_argument(
        "--executor",
        choices=["local", "ray"],
        default="local",
        help="where runs are carried out: processes of this machine, or actors of a Ray cluster (`ray:` in the suite, RAY_ADDRESS)",
    )
    sub.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="worker processes (default 1), or Ray actors (default: all that fit)",
    )
    sub.add_argument("--only", metavar="EVAL", action="append", default=[], help="only this eval (repeatable)")
    sub.add_argument("--limit", type=count, metavar="N", help="at most N runs now")
    sub.add_argument("--dry-run", action="store_true", help="print the plan: runs, what is done, time by past records")
    sub.add_argument("--retry-failed", action="store_true", help="run again what failed or is incomplete")
    sub.add_argument("--force", action="store_true", help="run again everything")


def count(text: str) -> int:
    """A whole number from 1, as an option's type."""
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def _workers(text: str) -> int:
    if (n := count(text)) > MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_WORKERS}, not {text!r}")
    return n


def tell(text: object) -> None:
    """Say what is wrong: one line on standard error, whatever the text holds and however long it is."""
    line = one_line(str(text))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST * 2 // 3]} [...] {line[-LONGEST // 4 :]}"
    print(f"hedgebench: {line}", file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    """Carry out the command and return its exit code."""
    from hedgebench.plan import make_plan
    from hedgebench.runner import pending_runs

    suite = _suite(args)
    out = Path(args.out or f"out/{suite.name}")
    plan = make_plan(suite)
    for mistake in plan.mistakes:
        tell(f"{mistake}{'; the rest goes on' if plan.runs else ''}")
    if not plan.runs:
        return 2
    whole = {run.run_id for run in plan.runs}
    if args.only:
        _check_only(args.only, plan.shares)
        plan.runs = [r for r in plan.runs if r.eval in args.only]
    readable = [r for r in plan.runs if r.run_id not in plan.unreadable]
    if not readable:
        for line in dict.fromkeys(plan.unreadable.values()):
            tell(line)
        return 2
    pending = pending_runs(plan, out, retry_failed=args.retry_failed, force=args.force)
    if args.dry_run:
        _show(plan, pending, args.limit, out, args.workers or 1)
        if args.executor == "ray" and not args.workers:
            print("jobs and time are those of one worker; Ray starts as many as have room, and --workers N plans for N")
        return 2 if plan.mistakes else 0
    if not pending:
        print(f"nothing to do: all {len(plan.runs)} runs are done", file=sys.stderr)
    try:
        with _places(args, suite, out) as places:
            summary = _carry_out(plan, pending[: args.limit], out, places, whole)
    except KeyboardInterrupt:
        n_done = len(plan.runs) - len(pending_runs(plan, out))
        how = "with --force begins anew" if args.force else "goes on from there"
        print(
            f"hedgebench: stopped; {n_done} of {len(plan.runs)} runs are done, and the same command {how}",
            file=sys.stderr,
        )
        return 130
    if plan.mistakes:
        return 2
    return 1 if summary.failed else 0


def _carry_out(plan: Plan, pending: list[Run], out: Path, places: Sequence[Place], whole: Collection[str]) -> Summary:
    """Do the runs, and report on the folder.

    Args:
        plan: The runs that the command is about.
        pending: Those that are done now.
        out: Results folder.
        places: Where they are carried out.
        whole: The run_ids of all that the suite asks for, `--only` or not.

    Raises:
        BadInput: It ends here; the message says that it can go on.
    """
    from hedgebench.claims import Claims
    from hedgebench.runner import execute, summarise

    try:
        summary = execute(plan, pending, out, places)
        with Claims(out) as claims, claims.tables():
            _report(summary, out, {run.run_id for run in plan.runs}, whole)
    except BadInput as error:
        if not pending and _is_closed(error):
            print(f"{out} can only be read: its tables stay as they are", file=sys.stderr)
            summary = summarise(plan, out, len(plan.runs))
            _tell(summary)
            return summary
        raise BadInput(f"{error}; what is finished is kept, and the same command goes on from there") from error
    return summary


def _is_closed(error: BadInput) -> bool:
    """Whether it was raised because nothing may be written there, which is no matter of room or of another moment."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


def _places(args: argparse.Namespace, suite: Suite, out: Path) -> AbstractContextManager[Sequence[Place]]:
    """Where the runs are carried out."""
    if args.executor == "ray":
        from hedgebench.ray_places import ray_places

        return ray_places(args.workers, args.device, suite.ray)
    from hedgebench.worker import worker_places

    return nullcontext(worker_places(args.workers or 1, args.device, out))


def _suite(args: argparse.Namespace) -> Suite:
    from dataclasses import replace

    from hedgebench.suite import EvalEntry, SaeEntry, Suite, read_suite

    if args.suite is not None:
        for option in ("sae", "eval", "data", "seeds", "world", "control", "second-control", "group"):
            if getattr(args, option.replace("-", "_")):
                raise BadInput(f"--{option} goes without a suite; the suite has its own")
        suite = read_suite(args.suite)
        return replace(suite, model=args.model) if args.model else suite
    if not args.sae or not args.eval:
        raise BadInput("give a suite, or --sae REF and --eval NAME")
    if not args.out:
        raise BadInput("without a suite, --out DIR says where the results go")
    if args.world and not is_folder(args.world):
        raise BadInput(f"--world {args.world}: there is no such folder")
    if args.world and not stands_for_world(Path(args.world)):
        raise BadInput(f"--world {args.world}: it holds no toy world")
    relatives = {"control": args.control, "second_control": args.second_control, "group": args.group}
    return Suite(
        name=Path(args.out).name or "run",
        saes=tuple(SaeEntry("--sae", (ref,), world=args.world, **relatives) for ref in args.sae),
        evals=tuple(EvalEntry("--eval", *parse_eval(text)) for text in args.eval),
        model=args.model,
        data=args.data or "offline",
        seeds=_parse_seeds(args.seeds),
    )


def _parse_seeds(text: str | None) -> tuple[int, ...]:
    from hedgebench.suite import check_seeds

    try:
        seeds = tuple(int(part) for part in (text or "0").split(","))
    except ValueError:
        raise BadInput(f"--seeds is a list such as 0,1,2, not {text!r}") from None
    return check_seeds(seeds, "--seeds")


def parse_eval(text: str) -> tuple[str, dict[str, Any]]:
    """`NAME:key=value,...` as a name and settings; values as in YAML."""
    from hedgebench.lines import read_value

    name, _, rest = text.partition(":")
    config: dict[str, Any] = {}
    for part in re.split(r",(?![^\[]*\])", rest) if rest else []:  # commas inside [a, b] are the list's own
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise BadInput(f"--eval {text!r}: write NAME:key=value,key=value")
        if key in config:
            raise BadInput(f"--eval {text!r}: {key!r} is given twice")
        try:
            config[key] = read_value(value)
        except BadInput as error:
            raise BadInput(f"--eval {text!r}: {error}") from None
    return name, config


def _check_only(only: list[str], known: dict[str, bool]) -> None:
    from hedgebench.spelling import nearest

    for name in only:
        if name not in known:
            raise BadInput(f"--only {name}: the suite has no such eval{nearest(name, known)}")


def _show(plan: Plan, pending: list[Run], limit: int | None, out: Path, workers: int) -> None:
    """Print a plan: its runs, what is done of it, and how long the rest may take by the records that are there."""
    from hedgebench.finished import read_finished
    from hedgebench.jobs import make_jobs
    from hedgebench.pace import Pace, kind_of, words
    from hedgebench.records import record_path
    from hedgebench.runner import run_name

    now = pending[:limit]
    state = {run.run_id: "later" for run in pending}
    state |= {run.run_id: "fails" if run.run_id in plan.unreadable else "to do" for run in now}
    for run in plan.runs:
        if run.run_id not in state:
            record = read_finished(record_path(out, run.eval, run.run_id))
            status = record["hedgebench"]["status"] if record else "gone"
            state[run.run_id] = "done" if status == "ok" else status
        print(f"{state[run.run_id]:7}  {run_name(run)}  {run.run_id}")
    for line in dict.fromkeys(plan.unreadable[run.run_id] for run in now if run.run_id in plan.unreadable):
        tell(line)
    readable = [run for run in now if run.run_id not in plan.unreadable]
    jobs = len(make_jobs(readable, plan.shares, workers)) if readable else 0
    counts = ", ".join(f"{n} {word}" for word, n in sorted(Counter(state.values()).items()))
    print(
        f"{len(plan.runs)} runs: {counts}; {jobs} job{'s' if jobs != 1 else ''} for {workers} worker{'s' if workers > 1 else ''}"
    )
    pace = Pace.of_folder(out, {run.eval for run in readable})
    times = [(run.eval, pace.seconds(kind_of(run))) for run in readable]
    known = [seconds for _, seconds in times if seconds is not None]
    if known:
        print(
            f"about {words(sum(known) / workers)} for {len(known)} of them, by {pace.n_records} records of their evals in {out}"
        )
    for name, n in Counter(name for name, seconds in times if seconds is None).items():
        print(
            f"time unknown: {n} run{'s' if n > 1 else ''} of {name}, of which no record with these settings is in {out}"
        )


def _report(summary: Summary, out: Path, run_ids: Collection[str], whole: Collection[str]) -> None:
    """Write the tables of the whole folder, print the headline of these runs, and say how many there are that the whole suite does not have, and what failed."""
    from hedgebench.results import headline, read_results, read_runs, write_table

    scores = read_results(out)
    files = [write_table(scores, out / "scores.csv"), write_table(scores, out / "scores.parquet")]
    runs = read_runs(out)
    files.append(write_table(runs, out / "runs.csv", for_people=True))
    mine = scores[scores["run_id"].isin(run_ids)]
    if len(mine):
        print(headline(mine))
        print()
    print(f"{len(scores)} scores in {files[0]} (and .parquet); every run in {files[2]}")
    if others := int((~runs["run_id"].isin(whole)).sum()):
        few = "1 run is" if others == 1 else f"{others} runs are"
        print(f"{few} of other commands, or of this suite before it was changed: the tables hold them, too")
    _tell(summary)


def _tell(summary: Summary) -> None:
    """How many runs are done, and what failed."""
    counts = f"{summary.ok} of {summary.total} runs ok ({summary.done_before} were done before)"
    left = summary.total - summary.ok - len(summary.skipped) - len(summary.failed)
    counts += f", {len(summary.skipped)} cannot be measured, {len(summary.failed)} failed"
    print(counts + (f", {left} still to do" if left else ""), file=sys.stderr)
    for reason, n in Counter(reason for _, reason in summary.skipped).items():
        print(f"cannot be measured ({n} run{'s' if n > 1 else ''}): {reason}", file=sys.stderr)
    for name, error in summary.failed:
        print(f"failed: {name}: {error}", file=sys.stderr)
    for name, lacking in summary.incomplete:
        print(f"incomplete: {name}: {lacking}", file=sys.stderr)
    if summary.failed or summary.incomplete:
        print("--retry-failed runs them again", file=sys.stderr)
