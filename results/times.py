"""What the reference run took, and takes: `python results/times.py` writes times.md beside it, from the packed records of the evals and from cost.csv, what training costs.

A run's seconds are its share of the job that it was part of: what many SAEs share (a pass of the model, a probe) is spread over them.
"""

from __future__ import annotations

import tarfile
import tempfile
from fnmatch import fnmatch
from pathlib import Path

import claims
import pandas as pd
import reference

from hedgebench.records import write_text
from hedgebench.results import read_runs

HERE = Path(__file__).parent
MODEL = "the model"
HEAD = """# What the reference run took

    OMP_NUM_THREADS=1 python benchmarks/reference_cost.py --out results/cost.csv    # what training costs
    python results/times.py                                                         # this page

The whole run takes {total:.0f} hours of one core, its commands one after another, as the pages have them: {training:.1f} of training, {evals:.1f} of evals. Two commands may run side by side on two cores; what that takes by the clock was not measured.

| part | training, hours | evals, hours |
| --- | --- | --- |
{parts}

What two parts need, such as the SAEs of `widths`, is in the row of each, and once in the whole. The passes of the model are in the first part that needs them: by itself a part takes them, too.

## Evals

By the runs' own clocks, from the packed records: one process a core on two cores (AMD EPYC), often beside other work: upper bounds. A run's seconds are its share of the job that it was part of, so that what SAEs share (a pass of the model, a probe) is spread over them. `grown` is of `losses`. *SAEs* are all that the eval measured: controls, copies that were left behind when an SAE grew, and groups of training seeds count like others.

| part | eval | SAEs | runs | seconds a run, median | minutes in all | largest process, GB |
| --- | --- | --- | --- | --- | --- | --- |
"""
TRAINING = """
## Training

What all SAEs of a config cost on {device} ({threads}, {clock}): seconds of a step, as measured, times the steps that there are; and the passes of the model, told at the first config of those that read the same batches. Writing, and reading batches from the disk, are not in it.

| config | SAEs | steps, minutes | model, minutes | hours in all |
| --- | --- | --- | --- | --- |
"""
STEPS = """
| SAE | latents | tokens a step | seconds a step |
| --- | --- | --- | --- |
"""


def runs() -> pd.DataFrame:
    """The runs of all packed records that measured something, with the part of the reference run that they are of."""
    frames = []
    for archive in sorted(HERE.glob("*/*records.tar.xz")):
        with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
            part = archive.name.removesuffix("records.tar.xz").removesuffix("-") or archive.parent.name
            frames.append(read_runs(folder).assign(part=part, archive=archive.relative_to(HERE.parent).as_posix()))
    found = pd.concat(frames)
    return found[found["status"] == "ok"]


def page(found: pd.DataFrame, costs: pd.DataFrame) -> str:
    """The page in Markdown."""
    training, evals = costs["minutes"].sum() / 60, found["seconds"].sum() / 3600
    head = HEAD.format(total=training + evals, training=training, evals=evals, parts="\n".join(_parts(found, costs)))
    return head + "\n".join([*_evals(found), _training(costs), *_steps(costs)]) + "\n"


def _parts(found: pd.DataFrame, costs: pd.DataFrame) -> list[str]:
    """A row for each part of the reference run: of the configs and the packed records that its page's commands name."""
    lines = []
    for part in claims.PARTS:
        words = [word.replace("$n", "*") for line in reference.commands(part) for word in line.split()]
        trained = [any(fnmatch(f"results/{config}", word) for word in words) for config in costs["config"]]
        training, evals = costs.loc[trained, "minutes"].sum(), found.loc[found["archive"].isin(words), "seconds"].sum()
        lines.append(f"| {reference.named(part)} | {training / 60:.2f} | {evals / 3600:.2f} |")
    return lines


def _evals(found: pd.DataFrame) -> list[str]:
    lines = []
    for (part, name), of in found.groupby(["part", "eval"]):
        seconds = of["seconds"]
        lines.append(
            f"| {part} | {name} | {of['sae'].nunique()} | {len(of)} | {seconds.median():.1f} | {seconds.sum() / 60:.1f} | {of['peak_mb'].max() / 1024:.1f} |"
        )
    for part, of in found.groupby("part"):
        lines.append(f"| {part} | all | | {len(of)} | | {of['seconds'].sum() / 60:.1f} | |")
    return lines


def _training(costs: pd.DataFrame) -> str:
    (device,), (threads,) = costs["device"].unique(), costs["threads"].unique()
    lines = []
    for config, of in costs.groupby("config", sort=False):
        model = of["what"] == MODEL
        lines.append(_cost(str(config), of[~model], of[model]))
    model = costs["what"] == MODEL
    head = TRAINING.format(
        device=device,
        threads="1 thread" if threads == 1 else f"{threads} threads",
        clock="the processor's time" if device == "cpu" else "by the clock",
    )
    return head + "\n".join([*lines, _cost("all", costs[~model], costs[model])])


def _cost(words: str, saes: pd.DataFrame, model: pd.DataFrame) -> str:
    steps, passes = saes["minutes"].sum(), model["minutes"].sum()
    return f"| {words} | {saes['number'].sum():.0f} | {steps:.0f} | {passes:.0f} | {(steps + passes) / 60:.1f} |"


def _steps(costs: pd.DataFrame) -> list[str]:
    kinds = costs[costs["what"] != MODEL].drop_duplicates(["what", "width", "batch_tokens"])
    kinds = kinds.sort_values(["batch_tokens", "what", "width"], ascending=[False, True, True])
    return [
        STEPS
        + "\n".join(
            f"| {row.what} | {int(row.width):,} | {row.batch_tokens:,} | {row.seconds_per_step:.3g} |"
            for row in kinds.itertuples()
        )
    ]


def main() -> None:
    """Write the page."""
    write_text(HERE / "times.md", page(runs(), pd.read_csv(HERE / "cost.csv")))


if __name__ == "__main__":
    main()
