"""What a batch costs beside its evals: weight-only evals over many small checkpoints, and whether the cost grows with their number alone.

    OMP_NUM_THREADS=1 python benchmarks/batch_throughput.py        (two minutes of processor time, or `make bench ONLY=batch_throughput`; with more threads idle ones spin)

The checkpoints (JumpReLU, 16 to 64) are made in a temporary folder. Each is measured by `decoder_bias` and by `decoder_similarity` without text, in one
worker process, as `hedgebench run` does it. Prints, for each number of checkpoints:

- *runs/s*: runs that get their record in a second, from the first record to the last, so without the worker's start of some seconds;
- *ms a run* and *of that the evals'*: the same, beside the seconds that the records hold; the rest is the harness: loading the SAE, the way to the worker
  and back, the record, which is synced to the disk;
- *CPU ms a run*: processor time of both processes for each run, less that of a batch of one checkpoint.

The last three are processor time of the command itself, in ms for each run, so that other work on the machine hardly shows:

- *plan*: reading and digesting all weights, and finding what is done;
- *tables*: reading all records and writing the three tables;
- *again*: the same command once more, with nothing to do.

A cost that grew faster than the number of runs would make the columns in ms grow.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from hedgebench.compat import prepare
from hedgebench.plan import make_plan
from hedgebench.results import read_results, read_runs, write_table
from hedgebench.runner import execute, pending_runs
from hedgebench.suite import read_suite
from hedgebench.worker import worker_places

EVALS = "[decoder_bias, {decoder_similarity: {n_batches: 0}}]"


class Cost(NamedTuple):
    """Seconds, but for the first; processor time where nothing else is said."""

    runs: int
    plan: float
    run: float
    """From the first record to the last, by the clock."""
    evals: float
    """By the clock."""
    tables: float
    again: float
    cpu: float


def save_saes(folder: Path, n: int, d_in: int = 16, width: int = 64) -> None:
    """Save `n` SAEs with random weights."""
    prepare()
    from sae_lens import SAE

    config = {"architecture": "jumprelu", "d_in": d_in, "d_sae": width}
    shapes = {
        "W_dec": (width, d_in),
        "W_enc": (d_in, width),
        "b_dec": (d_in,),
        "b_enc": (width,),
        "threshold": (width,),
    }
    for seed in range(n):
        generator = torch.Generator().manual_seed(seed)
        sae = SAE.from_dict({**config, "metadata": {"hook_name": "blocks.0.hook_resid_post", "model_name": "none"}})
        sae.load_state_dict({name: torch.rand(shape, generator=generator) for name, shape in shapes.items()})
        sae.save_model(folder / f"sae-{seed:04d}")


def batch(suite: Path, out: Path) -> tuple[float, float, int]:
    """What `hedgebench run` does; this process's seconds for the plan and for the tables, and the number of runs that were to do."""
    start = time.process_time()
    plan = make_plan(read_suite(suite))
    pending = pending_runs(plan, out)
    planned = time.process_time()
    execute(plan, pending, out, worker_places(1, "cpu", out))
    executed = time.process_time()
    scores = read_results(out)
    for table, name in ((scores, "scores.csv"), (scores, "scores.parquet"), (read_runs(out), "runs.csv")):
        write_table(table, out / name)
    return planned - start, time.process_time() - executed, len(pending)


def cpu_seconds() -> float:
    """Processor time of this process and of all that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def measure(n: int) -> Cost:
    """The cost of a batch over `n` checkpoints, with an empty cache."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch), Path(scratch) / "out"
        os.environ["HEDGEBENCH_CACHE"] = str(folder / "cache")
        save_saes(folder / "saes", n)
        suite = folder / "suite.yaml"
        suite.write_text(f"saes: [{{path: saes/*}}]\nevals: {EVALS}\n")
        cpu = cpu_seconds()
        plan, tables, n_runs = batch(suite, out)
        cpu = cpu_seconds() - cpu
        written = [path.stat().st_mtime for path in (out / "records").glob("*/*.json")]
        evals = float(read_runs(out)["seconds"].sum())
        start = time.process_time()
        _, _, left = batch(suite, out)
        assert left == 0 and n_runs == len(written) == 2 * n
        return Cost(n_runs, plan, max(written) - min(written), evals, tables, time.process_time() - start, cpu)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoints", type=int, nargs="+", default=[50, 100, 200, 500], metavar="N")
    sizes = parser.parse_args().checkpoints
    measure(1)  # what is imported and compiled once
    one = measure(1)
    print("| checkpoints | runs | runs/s | ms a run | of that the evals' | CPU ms a run | plan | tables | again |")
    print("|---:" * 9 + "|")
    for n in sizes:
        cost = measure(n)
        a_run, evals = 1000 * cost.run / (cost.runs - 1), 1000 * cost.evals / cost.runs
        cpu = 1000 * (cost.cpu - one.cpu) / (cost.runs - one.runs)
        ours = " | ".join(f"{1000 * seconds / cost.runs:.1f}" for seconds in (cost.plan, cost.tables, cost.again))
        print(
            f"| {n} | {cost.runs} | {1000 / a_run:.0f} | {a_run:.1f} | {evals:.1f} | {cpu:.1f} | {ours} |", flush=True
        )


if __name__ == "__main__":
    main()
