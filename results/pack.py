"""A results folder's records and cards in one file: `python results/pack.py out/widths/results results/widths/records.tar.xz`; the same records give the same bytes.

What `tar xJf results/widths/records.tar.xz -C DIR` unpacks is a results folder again: `hedgebench table DIR` makes its tables.
"""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path


def pack(results: Path, file: Path) -> None:
    """Write `records/` and `checkpoints/` of a results folder to a tar archive, in the order of their names, without owners and clocks; whole or not at all.

    Raises:
        SystemExit: There are no records.
    """
    found = sorted(results.glob("records/*/*.json"))
    if not found:
        raise SystemExit(f"{results}: no records there; `hedgebench run` leaves them")
    temporary = file.with_name(f".{file.name}.part")
    with tarfile.open(temporary, "w:xz", preset=9) as archive:
        for one in [*found, *sorted(results.glob("checkpoints/*.json"))]:
            entry = tarfile.TarInfo(one.relative_to(results).as_posix())
            entry.size, entry.mode = one.stat().st_size, 0o644
            with one.open("rb") as content:
                archive.addfile(entry, content)
    temporary.replace(file)


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS", help="a folder of `hedgebench run`")
    parser.add_argument("file", type=Path, metavar="FILE.tar.xz")
    args = parser.parse_args()
    pack(args.results, args.file)


if __name__ == "__main__":
    main()
