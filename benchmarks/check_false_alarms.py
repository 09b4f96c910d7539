"""Whether `hedgebench check` keeps its word: false alarms where nothing changed, and how often the smallest change that it should find is found.

    python benchmarks/check_false_alarms.py                  (about an hour on a busy core)
    python benchmarks/check_false_alarms.py --runs 200

A run is a table of SAEs and 10 metrics, twice: the baseline, and the same again. A value is SAE + training seed + evaluation seed (the same for all SAEs) + rest. Metrics go together (half of every part is
common to all), and differ in which part is most of the noise; recipes differ in how noisy they are, up to twice, or as a setting says. Heavy tails: Student's t with 5 degrees of freedom, for all metrics of a
seed at once, as a bad seed is. Rare counts: whole numbers, 0 in most seeds and SAEs. The first run of every setting goes through `hedgebench.check`, too, which must say the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from hedgebench.columns import typed_column
from hedgebench.regression.cells import Values
from hedgebench.regression.check import check
from hedgebench.regression.compare import Comparison, Difference, compare
from hedgebench.regression.foresight import Again, Known, known, smallest_change
from hedgebench.regression.noise import Group
from hedgebench.regression.rules import Rule, Rules
from hedgebench.regression.subjects import Subject
from hedgebench.regression.verdicts import Verdict, judge
from hedgebench.results import SCORES

METRICS = 10
PARTS = np.array([[1.0, 1.0, 0.5], [1.0, 0.3, 0.3], [0.3, 1.0, 0.3], [1.0, 3.0, 0.5], [0.5, 0.1, 1.0]] * 2)
"""[metrics, 3]: standard deviations of training seed, evaluation seed and rest."""
COMMON = 0.5
"""Of the variance of every part: what is common to all metrics."""
NOISIEST = 2.0
"""The noisiest recipe, in standard deviations of the least noisy."""
UNLIKE = 3.0
"""Where recipes are unlike, each is so many times as noisy as the median, or the median as it, give or take: a standard deviation of the logarithm."""
RARE = 21.5
"""What is counted of a rare metric lies above this; the mean is 20."""
SEED = 1
"""Of all that is drawn, with the setting's number. `BELIEVED` and `SURE` of `hedgebench.regression.spread` were chosen on other draws."""


class Setting(NamedTuple):
    """What is simulated."""

    what: str
    again: Again | None
    """What the baseline foresees; None: nothing is foreseen of it."""
    recipes: int
    trained: int
    """Training seeds of each recipe, or of the first `several` of them (the others have one)."""
    drawn: int
    """Evaluation seeds."""
    several: int = 12
    shared: bool = True
    """Whether evaluation seeds draw the same on both sides."""
    checkpoints: bool = False
    noisy: Literal["up to twice", "last five times", "unlike"] = "up to twice"
    rare: bool = False


SETTINGS = [
    *(Setting("all drawn again", "drawn", 12, 1, n, shared=False) for n in (1, 3, 5)),
    *(Setting("all trained again", "trained", 12, n, 3) for n in (1, 3, 5)),
    *(Setting("all trained again, few recipes", "trained", 4, n, 3) for n in (3, 5)),
    Setting("all trained again, one evaluation seed", "trained", 4, 3, 1),
    Setting("all trained again, most recipes once", "trained", 12, 3, 3, several=3),
    *(Setting("all trained and drawn again", None, 4, n, n, shared=False) for n in (3, 5)),
    *(Setting("one SAE of each recipe trained again", "one trained", 4, n, 3) for n in (3, 5)),
    *(Setting("other weights, judged as checkpoints", None, 12, 1, n, checkpoints=True) for n in (1, 3, 5)),
]
_HARD = [
    *(Setting("all drawn again", "drawn", 12, 1, n, shared=False) for n in (3, 5)),
    Setting("all trained again", "trained", 12, 3, 3),
    Setting("all trained again, most recipes once", "trained", 12, 3, 3, several=3),
    Setting("all trained and drawn again", None, 4, 3, 3, shared=False),
    Setting("one SAE of each recipe trained again", "one trained", 4, 3, 3),
    Setting("other weights, judged as checkpoints", None, 12, 1, 5, checkpoints=True),
]
SETTINGS += [
    *(one._replace(what=f"{one.what}; one recipe five times as noisy", noisy="last five times") for one in _HARD),
    *(one._replace(what=f"{one.what}; recipes unlike", noisy="unlike") for one in _HARD),
    *(one._replace(what=f"{one.what}; rare counts", rare=True) for one in _HARD),
]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="of each setting (default 1000)")
    runs = parser.parse_args().runs
    print(
        f"{runs} runs of each setting: a share of .01 has a standard error of {np.sqrt(0.01 * 0.99 / runs):.4f}, one of .9 of {np.sqrt(0.9 * 0.1 / runs):.4f}."
    )
    for heavy in (False, True):
        print(f"\n{'Heavy tails' if heavy else 'Normal noise'}\n")
        show(simulated(setting, heavy, runs) for setting in SETTINGS)


def show(rows: Iterator[dict[str, object]]) -> None:
    """Print rows as a Markdown table, each as soon as it is there."""
    for i, row in enumerate(tqdm(rows, total=len(SETTINGS), leave=False)):
        if not i:
            print(f"| {' | '.join(row)} |\n{'| --- ' * len(row)}|")
        print(f"| {' | '.join(str(cell) for cell in row.values())} |", flush=True)


def simulated(setting: Setting, heavy: bool, runs: int) -> dict[str, object]:
    """What comes of a setting."""
    rng, design = np.random.default_rng([SEED, SETTINGS.index(setting), heavy]), Design(setting)
    alarms, same, found, sizes = [], [], [], []
    foretold = setting.again is not None and not setting.rare  # whose noise is nothing that a forecast knows
    for run in range(runs):
        before, here = design.draw(rng, heavy)
        differences = [design.differences(before, here, metric) for metric in range(METRICS)]
        null = design.verdicts(differences)
        if run == 0:
            whole = check(design.table(here, "here"), design.table(before, "before"), config=design.rules)
            assert sorted(whole.findings["verdict"]) == sorted(verdict for of_metric in null for verdict in of_metric)
        said = [verdict for of_metric in null for verdict in of_metric]
        alarms.append("worse" in said or "better" in said)
        same.append(said.count("same") / len(said))
        metric = int(rng.integers(METRICS))
        foreseen = design.foreseen(before, metric)
        if foreseen and foretold:
            at, one, tests = foreseen[int(rng.integers(len(foreseen)))]
            assert setting.again is not None
            size = smallest_change(one, setting.again, tests)
            members = design.comparisons[at].here
            here[metric, [i for i, sae in enumerate(design.saes) if sae in members]] -= size
            differences[metric] = design.differences(before, here, metric)
            found.append(design.verdicts(differences)[metric][at] == "worse")
            sizes.append(size / one.sd)
    once = f"{setting.trained} of {setting.several}, else 1"
    return {
        "": setting.what,
        "recipes": setting.recipes,
        "training seeds": setting.trained if setting.several >= setting.recipes else once,
        "evaluation seeds": setting.drawn,
        "compared": len(said),
        "runs with a false alarm": f"{np.mean(alarms):.4f}",
        "said to be the same": f"{np.mean(same):.2f}",
        "smallest change, in SD": f"{np.median(sizes):.1f}" if sizes else "none" if foretold else "",
        "found": f"{np.mean(found):.3f}" if found else "",
    }


class Design:
    """The SAEs of a setting, and what is compared with what."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.rules = Rules(judge="checkpoints" if setting.checkpoints else "recipes")
        sizes = [setting.trained if i < setting.several else 1 for i in range(setting.recipes)]
        self.recipe = np.repeat(np.arange(setting.recipes), sizes)
        self.train_seed = np.concatenate([np.arange(size) for size in sizes])
        self.saes = [f"r{i}-s{j}" for i, j in zip(self.recipe, self.train_seed, strict=True)]
        self.noisy = np.linspace(1.0, NOISIEST, setting.recipes)[self.recipe]
        if setting.noisy == "last five times":
            self.noisy = np.where(self.recipe == setting.recipes - 1, 5.0, 1.0)
        members = {
            f"r{i}": [s for s, r in zip(self.saes, self.recipe, strict=True) if r == i] for i in range(len(sizes))
        }
        self.alike: dict[str, Sequence[str]] = {name: saes for name, saes in members.items() if len(saes) > 1}
        self.trained_again = np.full(len(self.saes), setting.shared)
        if setting.again == "one trained":
            self.trained_again = self.train_seed == 0
        if setting.again is None:
            self.trained_again[:] = True
        groups = {Group("before", name): saes for name, saes in self.alike.items()}
        subjects: dict[str, tuple[str, ...]] = {sae: (sae,) for sae in self.saes}
        if self.trained_again.all() and not setting.checkpoints:
            subjects = {name if len(saes) > 1 else saes[0]: tuple(saes) for name, saes in members.items()}
            groups |= {Group("here", name): saes for name, saes in self.alike.items()}
        self.groups = groups
        self.subjects = {name: Subject(name, saes, saes, "name") for name, saes in subjects.items()}
        other = dict(zip(self.saes, self.trained_again.tolist(), strict=True))
        first = setting.drawn if setting.again is None and not setting.shared else 0
        self.seeds = {"before": tuple(range(setting.drawn)), "here": tuple(range(first, first + setting.drawn))}
        self.comparisons = [
            Comparison(one, one.before, one.here, not other[one.here[0]], {}, {}) for one in self.subjects.values()
        ]

    def draw(self, rng: np.random.Generator, heavy: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[metrics, SAEs, evaluation seeds], twice."""
        setting, n = self.setting, len(self.saes)
        if setting.noisy == "unlike":
            self.noisy = UNLIKE ** rng.normal(size=setting.recipes)[self.recipe]
        training, again = (parts(rng, (n, 1), heavy) * self.noisy[:, None] for _ in range(2))
        evaluation, other = (parts(rng, (1, setting.drawn), heavy) for _ in range(2))
        rest, another = (parts(rng, (n, setting.drawn), heavy) * self.noisy[:, None] for _ in range(2))
        changed = self.trained_again[:, None]
        before = self.values(training, evaluation, rest)
        if setting.shared:
            kept = training if setting.checkpoints else np.where(changed, again, training)
            return before, self.values(kept, evaluation, np.where(changed, another, rest))
        return before, self.values(again if setting.again is None else training, other, another)

    def values(
        self, training: NDArray[np.float64], evaluation: NDArray[np.float64], rest: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """[metrics, SAEs, evaluation seeds], from its parts."""
        scale = PARTS[:, :, None, None]
        found: NDArray[np.float64] = 20 + scale[:, 0] * training + scale[:, 1] * evaluation + scale[:, 2] * rest
        return np.maximum(np.round(found - RARE), 0) if self.setting.rare else found

    def sides(self, before: NDArray[np.float64], here: NDArray[np.float64], metric: int) -> tuple[Values, Values]:
        """One metric in the baseline, and here."""
        names = {sae: i for i, sae in enumerate(self.saes)}
        return Values(names, self.seeds["before"], before[metric]), Values(names, self.seeds["here"], here[metric])

    def differences(self, before: NDArray[np.float64], here: NDArray[np.float64], metric: int) -> list[Difference]:
        """Of each subject."""
        checkpoints, float_tolerance = self.setting.checkpoints, self.rules.float_tolerance
        return compare(self.comparisons, *self.sides(before, here, metric), self.groups, checkpoints, float_tolerance)

    def verdicts(self, differences: Sequence[Sequence[Difference]]) -> list[list[Verdict]]:
        """Of each metric and subject, all judged together."""
        n = len(self.comparisons)
        judged = judge(list(chain(*differences)), [Rule()] * n * METRICS, [True] * n * METRICS)
        return [[one.verdict for one in judged[i * n : (i + 1) * n]] for i in range(METRICS)]

    def foreseen(self, before: NDArray[np.float64], metric: int) -> list[tuple[int, Known, int]]:
        """Subjects of which something will have been done again, what is known of the metric's noise, and how many things will be compared: from the baseline alone."""
        if self.setting.again is None:
            return []
        found = known(self.sides(before, before, metric)[0], self.alike, self.setting.again)
        return [
            (i, found[one.subject.name], METRICS * len(found))
            for i, one in enumerate(self.comparisons)
            if one.subject.name in found and (self.setting.again == "drawn" or not one.weights)
        ]

    def table(self, values: NDArray[np.float64], side: str) -> pd.DataFrame:
        """The scores table."""
        rows: list[dict[str, Any]] = [
            {
                "sae": sae,
                "eval": "simulated",
                "metric": f"metric{metric}",
                "params": "",
                "slice_by": "all",
                "slice_value": "all",
                "value": values[metric, i, at],
                "higher_is_better": True,
                "seed": seed,
                "loss": f"r{self.recipe[i]}",
                "train_seed": int(self.train_seed[i]),
                "digest": f"{sae} {side if self.trained_again[i] else ''}",
                "eval_version": 1,
                "run_id": f"{sae} {seed}",
            }
            for metric in range(METRICS)
            for i, sae in enumerate(self.saes)
            for at, seed in enumerate(self.seeds[side])
        ]
        return pd.DataFrame({name: typed_column(name, [row.get(name) for row in rows]) for name in SCORES})


def parts(rng: np.random.Generator, shape: tuple[int, int], heavy: bool) -> NDArray[np.float64]:
    """[metrics, *shape]: of variance 1, and as alike between metrics as `COMMON` has it."""
    found: NDArray[np.float64] = np.sqrt(COMMON) * rng.normal(size=shape) + np.sqrt(1 - COMMON) * rng.normal(
        size=(METRICS, *shape)
    )
    if heavy:
        found /= np.sqrt(rng.chisquare(5, shape) / 5) * np.sqrt(5 / 3)
    return found


if __name__ == "__main__":
    main()
