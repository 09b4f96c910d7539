"""A results folder's records and cards in one file: `python results/pack.py out/widths/results results/widths/records.tar.xz`; the same records give the same bytes. Cards name SAEs by their place in this repository, whatever it is called on this machine.

What `tar xJf results/widths/records.tar.xz -C DIR` unpacks is a results folder again: `hedgebench table DIR` makes its tables.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


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
            content = _anywhere(one) if one.parent.name == "checkpoints" else one.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    temporary.replace(file)


def _anywhere(card: Path) -> bytes:
    """A card whose SAE is named by its place in the repository, and not on this machine."""
    settings = json.loads(card.read_text())
    place = Path(os.path.normpath(settings["ref"])) if settings.get("ref") else None
    if place is not None and place.is_relative_to(REPOSITORY):
        settings["ref"] = place.relative_to(REPOSITORY).as_posix()
    return f"{json.dumps(settings, indent=1)}\n".encode()


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS", help="a folder of `hedgebench run`")
    parser.add_argument("file", type=Path, metavar="FILE.tar.xz")
    args = parser.parse_args()
    pack(args.results, args.file)


if __name__ == "__main__":
    main()
