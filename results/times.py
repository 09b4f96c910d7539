"""What the evals of the reference run took: `python results/times.py` writes times.md beside it, from the packed records.

A run's seconds are its share of the job that it was part of: what many SAEs share (a pass of the model, a probe) is spread over them.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import pandas as pd

from hedgebench.records import write_text
from hedgebench.results import read_runs

HERE = Path(__file__).parent
HEAD = """# What the evals of the reference run took

By the runs' own clocks, one process a core on two cores (AMD EPYC), often beside other work: upper bounds. A run's seconds are its share of the job that it was part of, so that what SAEs share (a pass of the model, a probe) is spread over them.

    python results/times.py                                                         # this page, from the packed records

| part | eval | SAEs | runs | seconds a run, median | minutes in all | largest process, GB |
| --- | --- | --- | --- | --- | --- | --- |
"""


def runs() -> pd.DataFrame:
    """The runs of all packed records that measured something, with the part of the reference run that they are of."""
    frames = []
    for archive in sorted(HERE.glob("*/*records.tar.xz")):
        with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
            part = "where" if archive.name.startswith("where") else archive.parent.name
            frames.append(read_runs(folder).assign(part=part))
    found = pd.concat(frames)
    return found[found["status"] == "ok"]


def page(found: pd.DataFrame) -> str:
    """The page in Markdown."""
    lines = []
    for (part, name), of in found.groupby(["part", "eval"]):
        seconds = of["seconds"]
        lines.append(
            f"| {part} | {name} | {of['sae'].nunique()} | {len(of)} | {seconds.median():.1f} | {seconds.sum() / 60:.1f} | {of['peak_mb'].max() / 1024:.1f} |"
        )
    for part, of in found.groupby("part"):
        lines.append(f"| {part} | all | | {len(of)} | | {of['seconds'].sum() / 60:.1f} | |")
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    write_text(HERE / "times.md", page(runs()))


if __name__ == "__main__":
    main()
