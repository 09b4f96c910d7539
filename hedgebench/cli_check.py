"""`hedgebench check` and `hedgebench baseline`: from the commands' options to what is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_AGAIN = {"drawn": "evaluated again", "one trained": "one SAE trained again", "trained": "all trained again"}


def check_parser(sub: argparse.ArgumentParser) -> None:
    """The options of `hedgebench check`."""
    sub.add_argument("dir", metavar="DIR", help="a results folder, or a scores table (.csv, .parquet)")
    sub.add_argument("--baseline", metavar="DIR|FILE", required=True, help="what it is compared with, likewise")
    sub.add_argument("--config", metavar="FILE", help="tolerances, better ends and names (YAML)")
    sub.add_argument("--markdown", metavar="FILE", help="write a report there, for a comment on a pull request")
    sub.add_argument("--junit", metavar="FILE", help="write JUnit's XML there")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument("--strict", action="store_true", help="exit with 3 where something is undecided or missing")


def check(args: argparse.Namespace) -> int:
    """Carry out `hedgebench check` and return its exit code."""
    from hedgebench.records import write_text
    from hedgebench.regression.as_json import as_json
    from hedgebench.regression.check import check
    from hedgebench.regression.junit import junit
    from hedgebench.regression.markdown import markdown
    from hedgebench.regression.text import text

    report = check(args.dir, args.baseline, config=args.config)
    sys.stdout.write(as_json(report, args.strict) if args.json else text(report))
    sys.stdout.flush()  # before files that may not be writable
    if args.markdown:
        write_text(Path(args.markdown), markdown(report))
    if args.junit:
        write_text(Path(args.junit), junit(report, args.strict))
    return report.code(args.strict)


def baseline_parser(sub: argparse.ArgumentParser) -> None:
    """The options of `hedgebench baseline`."""
    sub.add_argument("dir", metavar="DIR", help="a results folder, or a scores table (.csv, .parquet)")
    sub.add_argument("--out", metavar="FILE.csv|.parquet", required=True, help="write it there")


def baseline(args: argparse.Namespace) -> int:
    """Carry out `hedgebench baseline` and return its exit code."""
    from hedgebench.regression.foresight import foreseen
    from hedgebench.regression.frozen import freeze
    from hedgebench.results import write_table

    frozen = freeze(args.dir)
    print(f"{len(frozen)} numbers of {frozen['sae'].nunique()} SAEs in {write_table(frozen, args.out)}")
    found = foreseen(frozen)
    if len(found):
        print(
            "\nThe smallest change that a check against it finds 9 times of 10 (of the middle SAE; blank: the noise is not known):\n"
        )
        shown = found.rename(columns=_AGAIN).map(lambda cell: f"{cell:.2g}" if isinstance(cell, float) else cell)
        print(shown.replace("nan", "").to_string(index=False))
    return 0
