"""Whether the statistics over seeds keep their word: coverage of intervals, false differences, and power, on simulated values whose truth is known.

    python benchmarks/seed_statistics.py                    (some minutes on one core)
    python benchmarks/seed_statistics.py --tables 500

Values are variant + training seed + evaluation seed + rest, all normal (but for the last table, where they are rounded).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hedgebench.stats.both_seeds import over_both
from hedgebench.stats.components import noise_floor, over_evaluation, over_training
from hedgebench.stats.intervals import ratio_interval
from hedgebench.stats.pairwise import ALPHA, Pairs, compare, compare_paired
from hedgebench.stats.power import detectable, power, seeds_needed

SPREADS = (
    (1.0, 0.0, 0.3),
    (0.0, 1.0, 0.3),
    (1.0, 1.0, 0.3),
    (1.0, 1.0, 1.0),
    (1.0, 0.3, 1.0),
    (0.0, 0.0, 1.0),
    (1.0, 0.5, 0.05),
)
"""Standard deviations: training seed, evaluation seed, rest."""
NOISES = {"equal": (1.0, 1.0), "half four times as noisy": (0.5, 4.0), "one ten times as noisy": (0.0, 10.0)}
"""Which share of the variants is noisier (at least one, where the factor is not 1), and how much."""
POOLED = {"asked first": None, "always": True, "never": False}
Simulate = Callable[[np.random.Generator, NDArray[np.float64], NDArray[np.float64], int, bool | None], Pairs]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000, help="simulated for each setting (default 2000)")
    n, rng = parser.parse_args().tables, np.random.default_rng(0)
    error = np.sqrt(0.05 * 0.95 / n)
    print(f"Of {n} simulated tables each: a share of .95 or .05 has a standard error of {error:.3f}.")
    print("\nCoverage of 95 % intervals\n")
    show(coverage(rng, n))
    print("\nOf these, where the interval over both is narrower than half of the wider over one\n")
    show(where_narrow(np.random.default_rng(0), n))
    print("\nRecipes told apart by their training seeds\n")
    show(differences(rng, n, recipes, POOLED))
    print("\nRecipes of unequally many training seeds, none of which is better\n")
    show(unequal_seeds(rng, n))
    print("\nSAEs told apart at shared evaluation seeds, which move all alike by an SD of 5\n")
    show(differences(rng, n, at_shared_seeds, {"asked first": None}))
    print("\nPower: one of the variants lies apart from the others by the minimal detectable difference; SD 1\n")
    show(found_as_predicted(rng, n))
    print("\nPower where two variants are not as noisy as each other, and are known not to be\n")
    show(found_by_noise(rng, n))
    print("\nPower of SAEs at shared evaluation seeds, which move all alike by an SD of 5; SD of the rest 1\n")
    show(found_at_shared_seeds(rng, n))
    print("\nA metric that comes in steps, of equal variants whose SD is 1\n")
    show(in_steps(rng, n))
    print("\nCoverage of 95 % intervals over evaluation seeds, of accuracies over few texts\n")
    show(of_accuracies(np.random.default_rng(0), n))
    print("\nCoverage of the 95 % intervals of shares of the way to the best, of those that are given\n")
    show(of_shares(np.random.default_rng(0), n))


def show(rows: Iterator[dict[str, object]]) -> None:
    """Print rows as a Markdown table, each as soon as it is there."""
    for i, row in enumerate(tqdm(rows, leave=False)):
        if not i:
            print(f"| {' | '.join(row)} |\n{'| --- ' * len(row)}|")
        cells = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row.values())
        print(f"| {' | '.join(cells)} |", flush=True)


def coverage(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """How often an interval holds what it is of."""
    for (a, b), spread in itertools.product(
        ((2, 2), (2, 10), (3, 2), (5, 2), (3, 3), (5, 3), (5, 5), (10, 5)), SPREADS
    ):
        held = np.zeros(4)
        for _ in range(tables):
            training, evaluation = rng.normal(size=(a, 1)) * spread[0], rng.normal(size=(1, b)) * spread[1]
            values = training + evaluation + rng.normal(size=(a, b)) * spread[2]
            found = over_training(values), over_evaluation(values), over_both(values), noise_floor(values)
            floor = float(np.hypot(spread[1], spread[2]))
            truths = (
                evaluation.mean(),
                training.mean(),
                0.0,
                floor,
            )  # where seeds without end would lie, the others held
            held += [one.low <= truth <= one.high for one, truth in zip(found, truths, strict=True)]
        names = ("over training", "over evaluation", "over both", "noise floor")
        shares = dict(zip(names, map(float, held / tables), strict=True))
        sd = " / ".join(f"{s:g}" for s in spread)
        yield {"training seeds": a, "evaluation seeds": b, "SD of training / evaluation / rest": sd, **shares}


def where_narrow(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """How often the interval over both is narrower than half of the wider of the two over one kind of seeds, and holds the mean there, all `SPREADS` together."""
    for n in (2, 3, 5):
        narrow, drawn = list[bool](), SPREADS * -(-tables // len(SPREADS))
        for spread in drawn:
            training, evaluation = rng.normal(size=(n, 1)) * spread[0], rng.normal(size=(1, n)) * spread[1]
            values = training + evaluation + rng.normal(size=(n, n)) * spread[2]
            one, other, both = over_training(values), over_evaluation(values), over_both(values)
            if both.high - both.low < max(one.high - one.low, other.high - other.low) / 2:
                narrow.append(both.low <= 0 <= both.high)
        held = float(np.mean(narrow)) if narrow else ""
        yield {"seeds of each": n, "share of tables": len(narrow) / len(drawn), "held there": held}


def recipes(
    rng: np.random.Generator, means: NDArray[np.float64], sds: NDArray[np.float64], n: int, pooled: bool | None
) -> Pairs:
    """Variants [v] of n training seeds each."""
    return compare(list(means[:, None] + sds[:, None] * rng.normal(size=(len(means), n))), pooled)


def at_shared_seeds(
    rng: np.random.Generator, means: NDArray[np.float64], sds: NDArray[np.float64], n: int, pooled: bool | None
) -> Pairs:
    """SAEs [v] at n evaluation seeds."""
    return compare_paired(
        means[:, None] + sds[:, None] * rng.normal(size=(len(means), n)) + 5 * rng.normal(size=n), pooled
    )


def differences(
    rng: np.random.Generator, tables: int, simulate: Simulate, ways: dict[str, bool | None]
) -> Iterator[dict[str, object]]:
    """Differences that are found where there are none, and where every other variant is 4 SD better (of the noisier's SD)."""
    for v, n, noise, way in itertools.product((4, 12), (2, 3, 5), NOISES, ways):
        share, factor = NOISES[noise]
        sds = np.where(np.arange(v) >= v - max(1, int(v * share)), factor, 1.0)
        better = np.arange(v) % 2 * 4 * sds.max()
        equal = [told(simulate(rng, np.zeros(v), sds, n, ways[way]), np.zeros(v)) for _ in range(tables)]
        found = [told(simulate(rng, better, sds, n, ways[way]), better) for _ in range(tables)]
        yield {
            "variants": v,
            "seeds": n,
            "noise": noise,
            "pooled": way,
            "tables with a false difference, none real": float(np.mean([false > 0 for false, _, _ in equal])),
            "the same, half better": float(np.mean([false > 0 for false, _, _ in found])),
            "share of differences that are false": float(np.mean([false / max(1, all_) for false, all_, _ in found])),
            "share of real ones found": float(np.mean([real for _, _, real in found])),
        }


def unequal_seeds(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """Differences that are found where there are none, between recipes of few seeds and of many."""
    for seeds, factor in itertools.product(
        ((2, 2, 10), (2, 10, 10, 10), (2,) * 6 + (10,) * 2, (3,) * 6 + (10,) * 2), (1.0, 4.0)
    ):
        sds = [factor if n < max(seeds) else 1.0 for n in seeds]
        drawn = ([rng.normal(0, sd, n) for sd, n in zip(sds, seeds, strict=True)] for _ in range(tables))
        false = [bool((compare(groups).adjusted < ALPHA).any()) for groups in drawn]
        noise = "equal" if factor == 1 else f"those of fewer seeds {factor:g} times as noisy"
        yield {
            "seeds": " ".join(map(str, seeds)),
            "noise": noise,
            "tables with a false difference": float(np.mean(false)),
        }


def told(pairs: Pairs, means: NDArray[np.float64]) -> tuple[int, int, float]:
    """How many differences are false, how many there are in all, and which share of the real ones is among them (0 where none is)."""
    apart = pairs.adjusted < ALPHA
    real = means[pairs.first] != means[pairs.second]
    return int((apart & ~real).sum()), int(apart.sum()), float(apart[real].mean()) if real.any() else 0.0


def found_by_noise(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """How often the minimal detectable difference between two variants of unequal noise is found."""
    for ratio, n in itertools.product((1.0, 4.0), (2, 3, 5, 10)):
        sds = np.array([ratio, 1.0])
        difference = detectable((ratio, 1.0), n)
        pairs = [recipes(rng, np.array([difference, 0.0]), sds, n, False) for _ in range(tables)]
        yield {
            "SDs": f"{ratio:g} and 1",
            "seeds": n,
            "minimal detectable difference": difference,
            "power, predicted": power(difference, (ratio, 1.0), n),
            "found": float(np.mean([p.adjusted[0] < ALPHA for p in pairs])),
            "seeds needed for it": seeds_needed(difference, (ratio, 1.0)),
        }


def found_as_predicted(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """How often the difference between two of the variants is found."""
    for v, n in itertools.product((2, 6, 12), (2, 3, 5, 10)):
        difference = detectable(1.0, n, v)
        means, ones = np.eye(v)[0] * difference, np.ones(v)
        pairs = [recipes(rng, means, ones, n, None) for _ in range(tables)]
        found = {way: [bool(p.adjusted[0] < ALPHA) for p in pairs if p.pooled is way] for way in (True, False)}
        yield {
            "variants": v,
            "seeds": n,
            "minimal detectable difference": difference,
            "power, predicted": power(difference, 1.0, n, v),
            "found": float(np.mean([*found[True], *found[False]])),
            "found where pooled": float(np.mean(found[True])),
            "found where not": float(np.mean(found[False])),
            "not pooled": len(found[False]) / tables,
            "seeds needed for it": seeds_needed(difference, 1.0, v),
        }


def found_at_shared_seeds(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """How often the difference between two of the SAEs is found."""
    for v, n in itertools.product((2, 6, 12), (2, 3, 5, 10)):
        difference = detectable(1.0, n, v, paired=True)
        means, ones = np.eye(v)[0] * difference, np.ones(v)
        found = [at_shared_seeds(rng, means, ones, n, None).adjusted[0] < ALPHA for _ in range(tables)]
        yield {
            "SAEs": v,
            "evaluation seeds": n,
            "minimal detectable difference": difference,
            "power, predicted": power(difference, 1.0, n, v, paired=True),
            "found": float(np.mean(found)),
            "seeds needed for it": seeds_needed(difference, 1.0, v, paired=True),
        }


def in_steps(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """How often equal variants, or SAEs, are told apart where values are rounded to steps."""
    for step, v, n in itertools.product((0.2, 0.5, 1.0, 2.0), (2, 4, 12), (2, 3, 5)):
        ways: dict[str, list[bool]] = {"recipes": [], "SAEs at shared evaluation seeds": []}
        for _ in range(tables):
            own, shared = rng.normal(size=(v, n)), 5 * rng.normal(size=n)
            ways["recipes"].append(bool((compare(list(np.round(own / step))).adjusted < ALPHA).any()))
            paired = compare_paired(np.round((own + shared) / step))
            ways["SAEs at shared evaluation seeds"].append(bool((paired.adjusted < ALPHA).any()))
        shares = {f"tables with a false difference, {way}": float(np.mean(found)) for way, found in ways.items()}
        yield {"step (SDs)": step, "variants": v, "seeds": n, **shares}


def of_accuracies(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """How often an interval over evaluation seeds holds a true accuracy of .9, and has no width, where each seed asks of a few texts."""
    for texts, n in itertools.product((10, 20, 100, 400), (2, 3, 5)):
        found = [over_evaluation(rng.binomial(texts, 0.9, (1, n)) / texts) for _ in range(tables)]
        held = float(np.mean([one.low - 1e-12 <= 0.9 <= one.high + 1e-12 for one in found]))
        yield {
            "texts": texts,
            "seeds": n,
            "held": held,
            "no width": float(np.mean([one.low == one.high for one in found])),
        }


def of_shares(rng: np.random.Generator, tables: int) -> Iterator[dict[str, object]]:
    """Intervals of shares of the way from random controls as good as chance, or from the better of the two, to an oracle `away` standard deviations above them; and to a best that is chosen.

    How often those that are given hold the true share, and how many are given. The chosen best is that of twelve equally good SAEs as they came out, taken for an oracle.
    """
    for away, share, n in itertools.product((3.0, 10.0), (0.0, 0.5, 1.0), (2, 3, 5, 10)):
        held: dict[str, list[bool]] = {"control": [], "better": [], "chosen": []}
        for _ in range(tables):
            one, oracle, control = rng.normal(size=(3, n)) + np.array([[share * away], [away], [0.0]])
            better = control if control.mean() > 0 else np.zeros(n)
            twelve = sorted(rng.normal(size=(12, n)) + away, key=np.mean)
            other = twelve[rng.integers(11)]  # of the best itself the share is 1, whatever comes out
            ways = {"control": (one - control, oracle - control), "better": (one - better, oracle - better)}
            for name, way in {**ways, "chosen": (other, twelve[-1])}.items():
                found, truth = ratio_interval(*way), 1.0 if name == "chosen" else share
                held[name] += [] if np.isnan(found.low) else [found.low <= truth <= found.high]
        yield {
            "SDs from start to best": away,
            "true share": share,
            "evaluation seeds": n,
            "given": len(held["control"]) / tables,
            "from controls": float(np.mean(held["control"])),
            "from the better": float(np.mean(held["better"])),
            "to a chosen best (true share 1)": float(np.mean(held["chosen"])),
        }


if __name__ == "__main__":
    main()
