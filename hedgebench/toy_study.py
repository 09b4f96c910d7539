"""The toy study: train the scenarios' SAEs, score them with the eval `toy_recovery`, and write what came of it.

Everything lies in one folder: the checkpoints (`saes/`), records and tables as of any run, and, for the post's scenarios, the page that walks through its
claims with its figures. What is finished is not done again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hedgebench.places import Here, check_device
from hedgebench.plan import make_plan
from hedgebench.results import read_results, read_runs, write_table
from hedgebench.runner import Summary, execute, pending_runs
from hedgebench.session import Session
from hedgebench.stats.tables import control_rows
from hedgebench.suite import EvalEntry, SaeEntry, Suite
from hedgebench.types import BadInput, CannotMeasure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from hedgebench.toy.recipes import ToyRun
    from hedgebench.toy.scenarios import NamedRun, Scenario
    from hedgebench.training.losses import LossName

SETTINGS = {"n_samples": 20_000}
"""Settings of `toy_recovery` in the study."""


@dataclass(frozen=True)
class StudyResult:
    """What a study came to."""

    scores: DataFrame
    """The scores table of its SAEs."""
    summary: Summary
    files: tuple[Path, ...]
    """Tables, figures and the page."""
    equal: tuple[tuple[str, str], ...] = ()
    """SAEs whose weights equal another's, number for number, and that other one: they have no rows of their own."""


def run_toy(
    scenarios: Iterable[str | Path | Scenario] | None = None,
    losses: Sequence[LossName] | None = None,
    seeds: int = 5,
    out: str | Path = "out/toy",
    device: str = "cpu",
) -> StudyResult:
    """Train and score toy SAEs.

    Args:
        scenarios: Names of the post's scenarios, scenario files, or scenarios; None: all of the post's.
        losses: Only these; None: each scenario's own.
        seeds: How many training seeds, from 0.
        out: Results folder.
        device: Torch device to train and score on.

    Raises:
        BadInput: An unknown scenario, an impossible world, SAEs that do not fit into memory, or a folder that holds something else.
    """
    from hedgebench.toy.scenarios import SCENARIOS, scenario_runs
    from hedgebench.toy.seats import seats

    _check(seeds, device)
    out = _folder(out)
    scenarios = None if scenarios is None else list(scenarios)
    chosen = list(SCENARIOS.values()) if scenarios is None else [_scenario(s) for s in scenarios]
    runs = scenario_runs(chosen, losses, range(seeds))
    if twice := sorted({run.name for run in runs if sum(other.name == run.name for other in runs) > 1}):
        raise BadInput(f"two SAEs would be called {twice[0]!r}: give the scenarios different names")
    with _one_thread():
        train_missing({out / "saes" / run.name: run.run for run in runs}, device)
        scores, summary, equal = _score(runs, out, device)
        found = seats({out / "saes" / run.name: (run.scenario, run.run) for run in runs})
    files = [write_table(scores, out / "scores.csv"), write_table(scores, out / "scores.parquet")]
    files.append(write_table(read_runs(out), out / "runs.csv", for_people=True))
    if len(found):
        files.append(write_table(found, out / "minima.csv"))
    if any(scenario.rows for scenario in chosen) and len(scores):
        files += write_page(scores, found, out, _command(scenarios, losses, seeds))
    return StudyResult(scores, summary, tuple(files), equal)


def _command(scenarios: Iterable[str | Path | Scenario] | None, losses: Sequence[LossName] | None, seeds: int) -> str:
    """What a shell would be told to do the same."""
    words = [f"--scenario {s if isinstance(s, (str, Path)) else s.name}" for s in scenarios or ()]
    words += [f"--loss {loss}" for loss in losses or ()]
    return " ".join(["hedgebench toy", *words, f"--seeds {seeds}"])


def write_page(scores: DataFrame, minima: DataFrame, out: Path, command: str) -> list[Path]:
    """Draw the figures that the scores have rows for, and write the page of the post's claims beside them.

    Raises:
        BadInput: The folder cannot be written.
    """
    from hedgebench.canvas import save_figure
    from hedgebench.records import write_text
    from hedgebench.toy.figures import FIGURES
    from hedgebench.toy.page import toy_page
    from hedgebench.toy.table import ToyTable

    table, drawn = ToyTable(scores), {}
    for name, draw in FIGURES.items():
        with contextlib.suppress(CannotMeasure):
            drawn[name] = save_figure(draw(table), out / f"{name}.png")
    page = out / "README.md"
    write_text(page, toy_page(scores, minima, drawn.keys(), command))
    return [*drawn.values(), page]


def run_phase_study(seeds: int = 5, out: str | Path = "out/toy", device: str = "cpu") -> tuple[Path, ...]:
    """Sweep what decides whether snap works, and write the table, the phase diagram with theory's line on it, and a page.

    Args:
        seeds: How many training seeds, from 0.
        out: Folder for `phases.csv`, `phases.png` and `phases.md`.
        device: Torch device to train on.

    Raises:
        BadInput: No seed, an unknown device, or a folder that cannot be written.
    """
    from hedgebench.toy.page import phase_page
    from hedgebench.toy.phases import agreement, draw_phases, run_phases

    return _study(
        "phases", seeds, out, device, run_phases, draw_phases, lambda f, command: phase_page(agreement(f), command)
    )


def run_growth_study(seeds: int = 5, out: str | Path = "out/toy", device: str = "cpu") -> tuple[Path, ...]:
    """Let toy SAEs grow, hold the hedging degree against what is known, and write the table, the figure and a page.

    Args:
        seeds: How many worlds of every setting, from 0.
        out: Folder for `growth.csv`, `growth.png` and `growth.md`.
        device: Torch device to train on.

    Raises:
        BadInput: No seed, an unknown device, or a folder that cannot be written.
    """
    from hedgebench.toy.growing import run_growth
    from hedgebench.toy.growth_page import draw_growth, growth_page

    return _study("growth", seeds, out, device, run_growth, draw_growth, growth_page)


def run_hedging_estimate_study(seeds: int = 5, out: str | Path = "out/toy", device: str = "cpu") -> tuple[Path, ...]:
    """Judge estimates of hedging that see one SAE by what is known, and write what every latent and every estimator comes to, the figure and a page.

    Args:
        seeds: How many worlds of every family, from 0.
        out: Folder for `hedging-estimate.parquet` (latents), `hedging-estimate.csv`, `hedging-estimate.png` and `hedging-estimate.md`. In it, as `.hedging-estimate`, lies what an
            interrupted study leaves for the next.
        device: Torch device to train on.

    Raises:
        BadInput: No seed, an unknown device, or a folder that cannot be written.
    """
    from hedgebench.toy.estimate_bars import summarise_sets
    from hedgebench.toy.estimate_page import draw_estimates, estimate_page
    from hedgebench.toy.estimate_study import run_estimate_study

    name = "hedging-estimate"
    _check(seeds, device)
    out = _folder(out)
    with _one_thread():
        frame = run_estimate_study(seeds, out / f".{name}", device)
        summary = summarise_sets(frame)
    latents = write_table(frame, out / f"{name}.parquet")
    page = estimate_page(frame, summary, _study_command(name, seeds))
    files = latents, *_write_study(name, out, summary, draw_estimates(frame, summary), page)
    shutil.rmtree(out / f".{name}")
    return files


def _study(
    name: str,
    seeds: int,
    out: str | Path,
    device: str,
    run: Callable[[int, str], DataFrame],
    draw: Callable[[DataFrame], Figure],
    page: Callable[[DataFrame, str], str],
) -> tuple[Path, ...]:
    """Carry out a study of its own, and write its table, its figure and its page."""
    _check(seeds, device)
    out = _folder(out)
    with _one_thread():
        frame = run(seeds, device)
    return _write_study(name, out, frame, draw(frame), page(frame, _study_command(name, seeds)))


def _study_command(name: str, seeds: int) -> str:
    return f"hedgebench toy --study {name} --seeds {seeds}"


def _write_study(name: str, out: Path, table: DataFrame, figure: Figure, page: str) -> tuple[Path, ...]:
    from hedgebench.canvas import save_figure
    from hedgebench.records import write_text

    files = [write_table(table, out / f"{name}.csv"), save_figure(figure, out / f"{name}.png")]
    write_text(out / f"{name}.md", page)
    return (*files, out / f"{name}.md")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from further threads, and on a busy machine the waiting for each other costs many times the work."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):  # numpy's
            yield
    finally:
        torch.set_num_threads(before)


def _folder(out: str | Path) -> Path:
    """The results folder, made before anything is computed for it.

    Raises:
        BadInput: It cannot be written.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror or error}") from None
    return out


def _check(seeds: int, device: str) -> None:
    check_device(device)
    if seeds < 1:
        raise BadInput(f"the number of seeds must be at least 1, not {seeds}")


def _scenario(given: str | Path | Scenario) -> Scenario:
    from hedgebench.toy.scenario_file import read_scenario
    from hedgebench.toy.scenarios import find_scenario

    if not isinstance(given, (str, Path)):
        return given
    return read_scenario(given) if Path(given).suffix in (".yaml", ".yml") else find_scenario(str(given))


def train_missing(runs: dict[Path, ToyRun], device: str = "cpu") -> None:
    """Train the SAEs whose folders are not there yet. Every SAE is saved as soon as those that are trained beside it are done.

    Raises:
        BadInput: A folder holds something else, or an SAE cannot be trained or written.
    """
    from hedgebench.toy.checkpoints import save
    from hedgebench.toy.trainer import train_parts

    missing = {folder: run for folder, run in runs.items() if not is_trained(folder, run)}
    if not missing:
        return
    folders = list(missing)
    for i, trained in train_parts(list(missing.values()), device=device):
        save(trained, folders[i])


def is_trained(folder: Path, run: ToyRun) -> bool:
    """Whether a folder holds the SAE of this run.

    Raises:
        BadInput: It holds something else.
    """
    from hedgebench.training.saving import read_metadata
    from hedgebench.world_files import WORLD_FOLDER, world_identity

    if not folder.exists():
        return False
    recipe, seed = read_metadata(folder, toy_recipe=dict, train_seed=int)
    found = recipe, seed, world_identity(folder / WORLD_FOLDER)
    if found != (json.loads(json.dumps(run.recipe.to_dict())), run.train_seed, run.world.identity):
        raise BadInput(
            f"{folder} was trained with another recipe or on another world; remove it or choose another --out"
        )
    return True


def _score(runs: Sequence[NamedRun], out: Path, device: str) -> tuple[DataFrame, Summary, tuple[tuple[str, str], ...]]:
    """Run `toy_recovery` on every SAE, in this process, and read the table of their scores, and of their controls where the folder has any; and which SAEs are equal to another."""
    from hedgebench.checkpoint import read_checkpoint

    entries = tuple(SaeEntry(run.name, (str(out / "saes" / run.name),), run.name) for run in runs)
    plan = make_plan(Suite("toy", entries, (EvalEntry("toy", "toy_recovery", SETTINGS),)))
    summary = execute(plan, pending_runs(plan, out), out, [Here(Session(device))])
    scores = read_results(out)
    names = {run.run_id: run.checkpoint.name for run in plan.runs}
    controls = set(control_rows(scores))
    beside = {sae for sae in controls if sae.rpartition("/")[0] in names.values()}
    scores = scores[scores["run_id"].isin(names) | scores["sae"].isin(beside)].reset_index(drop=True)
    # An SAE that was lost and trained again differs in its last digits: the record of the lost one still bears its name.
    scored = {(run.checkpoint.digest, run.data): run.checkpoint.name for run in plan.runs}
    twins = {r.name: scored.get((read_checkpoint(out / "saes" / r.name).digest, r.run.world.identity)) for r in runs}
    equal = tuple((name, twin) for name, twin in twins.items() if twin is not None and twin != name)
    return scores.assign(sae=scores["run_id"].map(names).fillna(scores["sae"])), summary, equal
