"""Make the table of docs/bad-input.md again: `cd tests && python -m bad_inputs`."""

from __future__ import annotations

import tempfile
from itertools import groupby
from pathlib import Path

from bad_inputs.cases import carry_out
from bad_inputs.catalog import CASES, row

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
MARK = "<!-- below: made by `cd tests && python -m bad_inputs` -->\n"


def main() -> None:
    """Carry out every case, and write the rows."""
    parts = [PAGE.read_text().partition(MARK)[0], MARK]
    with tempfile.TemporaryDirectory() as folder:
        for room, cases in groupby(CASES, key=lambda case: case.room):
            rows = [row(case, carry_out(case, Path(folder) / f"{room}{i}")) for i, case in enumerate(cases)]
            parts.append(
                f"\n## {room[0].upper()}{room[1:]} ({len(rows)})\n\n| input | line shown | exit code |\n|---|---|---|\n"
            )
            parts += [f"{line}\n" for line in rows]
    PAGE.write_text("".join(parts))


if __name__ == "__main__":
    main()
