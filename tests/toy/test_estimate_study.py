"""The study of hedging estimates as a whole: parts that are kept, verdicts that follow the numbers, and what the command writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from hedgebench.cli import main
from hedgebench.toy import estimate_bars, estimate_study, rivals
from hedgebench.toy.estimate_bars import BARS, counted, read_numbers, summarise_sets
from hedgebench.toy.estimate_families import CONTROLS, DEVELOPMENT, HEDGED, HELD_OUT, Family, Kind
from hedgebench.toy.estimate_page import draw_estimates, estimate_page
from hedgebench.toy.estimate_study import run_estimate_study
from hedgebench.toy.estimate_summary import SAE, summarise
from hedgebench.toy.estimating import Estimator, Given
from hedgebench.types import BadInput

SIMPLE = ("c_dec", "bias_norm", "kmeans_growth")
KINDS = get_args(Kind)


# --- parts ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A study of four tiny families, an SAE each, of which one has three prefixes; and how many latents the judged estimator was asked of, each time."""
    found: list[int] = []

    def hedging(given: Given, seed: int) -> dict[str, torch.Tensor]:
        found.append(len(given.W_dec))
        told = torch.arange(float(len(given.W_dec))) + seed
        return {"hedging": told, "owed": 2 * told}

    def tiny(family: Family, recipe: int) -> Family:
        return replace(family, recipes=(replace(family.recipes[recipe], steps=30),))

    by_name = {family.name: family for family in (*DEVELOPMENT, *HELD_OUT)}
    monkeypatch.setattr(estimate_study, "DEVELOPMENT", (tiny(by_name["pairs"], 7), tiny(by_name["apart"], 3)))
    monkeypatch.setattr(estimate_study, "HELD_OUT", (tiny(by_name["pairs_2"], 1), tiny(by_name["signs_2"], 0)))
    monkeypatch.setattr(estimate_study, "N_SAMPLES", 4000)
    monkeypatch.setattr(rivals, "ESTIMATORS", _estimators(hedging), raising=False)
    monkeypatch.setattr(rivals, "METHOD", "tests", raising=False)
    return found


def _estimators(hedging: Estimator) -> dict[str, Estimator]:
    """With rivals that cost nothing, but for one whose time is known."""

    def slow(given: Given, seed: int) -> torch.Tensor:
        time.sleep(0.01)
        return rivals.c_dec(given, seed)

    return {"hedging": hedging, "c_dec": rivals.c_dec, "bias_norm": rivals.bias_norm, "kmeans_growth": slow}


def study(folder: Path, seeds: int = 2) -> pd.DataFrame:
    return run_estimate_study(seeds, folder, progress=False)


def test_every_family_is_judged_in_a_world_of_every_seed_by_every_estimator(asked: list[int], tmp_path: Path):
    state = torch.random.get_rng_state()
    frame = study(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state) and torch.is_grad_enabled()
    units = frame[SAE].drop_duplicates()
    assert units.groupby(["family", "world_seed"], sort=False).size().to_dict() == {
        (name, seed): 3 if name == "pairs" else 1
        for name in ("pairs", "apart", "pairs_2", "signs_2")
        for seed in (0, 1)
    }
    assert len(asked) == len(units) == 12 and sum(asked) == len(frame)
    assert frame.loc[frame["latent"] == 0, "hedging"].tolist() == frame.loc[frame["latent"] == 0, "world_seed"].tolist()
    assert frame["owed"].equals(2 * frame["hedging"])  # one estimator may say several things
    assert frame[[*SIMPLE]].notna().all(axis=None)
    assert frame.attrs["samples"] == 4000 and list(frame.attrs["seconds"]) == list(rivals.ESTIMATORS)
    assert 0 < frame.attrs["seconds"]["hedging"] < 0.12 <= frame.attrs["seconds"]["kmeans_growth"]


def test_an_interrupted_study_computes_nothing_twice(asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = study(tmp_path / "whole")
    asked.clear()

    def stopped(given: Given, seed: int) -> dict[str, torch.Tensor]:
        if len(asked) == 7:  # three prefixes of two worlds, and the first of the next family
            raise KeyboardInterrupt
        return hedging(given, seed)

    hedging = rivals.ESTIMATORS["hedging"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rivals, "ESTIMATORS", _estimators(stopped))
        study(tmp_path / "parts")
    assert len(list((tmp_path / "parts").iterdir())) == 3

    trained: list[tuple[str, tuple[int, ...]]] = []

    def train(families: list[Family], seeds: list[int], *args: object, **kwargs: object) -> object:
        trained.append((families[0].name, tuple(seeds)))
        return train_families(families, seeds, *args, **kwargs)

    train_families = estimate_study.train_families
    monkeypatch.setattr(estimate_study, "train_families", train)
    asked.clear()
    resumed = study(tmp_path / "parts")
    assert trained == [("apart", (1,)), ("pairs_2", (0, 1)), ("signs_2", (0, 1))] and len(asked) == 5
    pd.testing.assert_frame_equal(resumed, whole, rtol=1e-3, atol=1e-3)

    trained.clear(), asked.clear()
    again = study(tmp_path / "parts")
    assert not trained and not asked
    pd.testing.assert_frame_equal(again, resumed)
    assert again.attrs == resumed.attrs


@pytest.mark.parametrize("what", ["recipe", "world", "kind", "samples", "estimators", "method"])
def test_a_part_is_computed_again_where_anything_that_decides_it_has_changed(
    what: str, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    family = estimate_study.DEVELOPMENT[1]
    monkeypatch.setattr(estimate_study, "HELD_OUT", ())
    monkeypatch.setattr(estimate_study, "DEVELOPMENT", (family,))
    study(tmp_path, 1)
    changed = {
        "recipe": replace(family, recipes=(replace(family.recipes[0], lr=1e-3),)),
        "world": replace(family, world=lambda seed: replace(family.world(seed), noise=0.01)),
        "kind": replace(family, kind="mixed"),
    }
    monkeypatch.setattr(estimate_study, "DEVELOPMENT", (changed.get(what, family),))
    if what == "samples":
        monkeypatch.setattr(estimate_study, "N_SAMPLES", 4001)
    if what == "estimators":
        monkeypatch.setattr(rivals, "ESTIMATORS", {**rivals.ESTIMATORS, "smr": rivals.c_dec})
    if what == "method":
        monkeypatch.setattr(rivals, "METHOD", "another")
    asked.clear()
    study(tmp_path, 1)
    assert len(asked) == 1


# --- verdicts --------------------------------------------------------------------------------------------------------------------


def invented() -> pd.DataFrame:
    """Latents with a known truth, 8 in each of 4 SAEs of a family of each kind, and an estimator that has .8 of it and a little noise; for both sets."""
    rng, rows = np.random.default_rng(5), []  # by whose noise estimates do not happen to follow absorption
    for held_out, kind, sae in product((False, True), KINDS, range(4)):
        about = {"family": f"{kind}_2" if held_out else kind, "kind": kind, "held_out": held_out}
        about |= {"world_seed": sae % 2, "recipe": f"r{sae // 2}", "absorb": rng.random()}
        mean = rng.uniform(0.1, 0.5) * (kind not in CONTROLS)
        rows += [about | {"latent": i, "hedge": mean * (i + 1) / 4.5} for i in range(8)]
    same = {"architecture": "standard", "width": 8, "k": 0.0, "prefix": 8, "best_cosine": 0.95, "density": 0.1}
    frame = pd.DataFrame(rows).assign(**same, own=0)
    noise = rng.standard_normal((3, len(frame)))
    frame = frame.assign(hedging=0.8 * frame["hedge"] + 0.01 * noise[0], c_dec=noise[1], bias_norm=1.0)
    frame["kmeans_growth"] = 0.5 * frame["hedge"] + 0.2 * noise[2]
    frame.attrs = {"samples": 1000, "seconds": {"hedging": 128.0, "c_dec": 6.4, "bias_norm": 0.0, "kmeans_growth": 1.0}}
    return frame


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimate_bars, "summarise", partial(summarise, resamples=3))


def verdicts(frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    frame = frame[frame["held_out"]]
    numbers = read_numbers(counted(frame), estimate_bars.summarise(frame).assign(set="held out"), "held out")
    return {(bar.measure, bar.meant): bar.verdict(numbers) for bar in BARS}


def mean_of_sae(frame: pd.DataFrame) -> pd.Series:
    return frame.groupby(SAE)["hedging"].transform("mean")


def shifted(frame: pd.DataFrame, of: pd.Series, by: float) -> pd.DataFrame:
    return frame.assign(hedging=frame["hedging"] + by * of)


WORSE: dict[tuple[str, str], Callable[[pd.DataFrame], pd.DataFrame]] = {
    ("SAEs", "at least 20"): lambda f: f[f["recipe"] == "r0"],
    ("families", "at least 4"): lambda f: f[f["kind"].isin(KINDS[:3])],
    ("across", "at least 0.9"): lambda f: shifted(f, mean_of_sae(f), -2),
    ("within_median", "at least 0.85"): lambda f: shifted(f, f["hedging"] - mean_of_sae(f), -2),
    ("within_p10", "at least 0.65"): lambda f: shifted(f, (f["hedging"] - mean_of_sae(f)) * (f["kind"] == "sizes"), -2),
    ("control zero", "at most 0.03"): lambda f: shifted(f, f["kind"] == "zero", 0.05),
    ("control hetero_noise", "at most 0.03"): lambda f: shifted(f, f["kind"] == "hetero_noise", 0.05),
    ("control random_sign", "at most 0.03"): lambda f: shifted(f, f["kind"] == "random_sign", 0.05),
    ("partial_absorb", "-0.3 to 0.3"): lambda f: shifted(f, f["absorb"], 0.1),
    **{
        (measure, f"above {rival}"): lambda f, rival=rival: f.assign(**{rival: f["hedge"]})
        for rival in SIMPLE
        for measure in ("across", "within_median")
    },
}


def test_an_estimator_that_follows_the_truth_meets_every_bar():
    assert verdicts(invented()) == dict.fromkeys(WORSE, "met")


@pytest.mark.parametrize("bar", WORSE, ids=" ".join)
def test_a_bar_is_not_met_once_its_number_is_worse(bar: tuple[str, str]):
    assert verdicts(WORSE[bar](invented()))[bar] == "not met"


def test_where_there_is_no_number_no_bar_is_met():
    found = verdicts(invented().assign(hedging=0.02))
    assert found["across", "at least 0.9"] == found["within_median", "above bias_norm"] == "no number"
    assert found["control zero", "at most 0.03"] == "met"


def test_prefixes_of_one_sae_are_one_sae_and_merged_saes_are_none():
    frame = invented()
    twice = pd.concat([frame, frame.assign(prefix=4)])
    twice.loc[twice["family"] == "zero_2", "best_cosine"] = 0.7
    numbers = read_numbers(counted(twice), summarise_sets(twice), "held out")
    assert numbers["hedging", "SAEs"].value == 28 and numbers["hedging", "SAEs"].n == 56
    assert numbers["hedging", "families"].value == 7


# --- page ------------------------------------------------------------------------------------------------------------------------


def page_of(frame: pd.DataFrame) -> str:
    return estimate_page(frame, summarise_sets(frame), "made by hand")


def rows_of(page: str, start: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith(f"| {start} |")]


def test_the_page_has_every_bar_with_its_numbers_of_both_sets():
    frame = invented()
    frame.loc[~frame["held_out"], "hedging"] *= 0.5
    page = page_of(frame)
    assert "    made by hand\n" in page and "## Bar by bar: 15 of 15 are met" in page
    for bar in BARS:
        (row,) = (row for row in rows_of(page, bar.measure) if row[1] == bar.meant)
        assert row[4] == "met"
    assert rows_of(page, "SAEs")[0] == ["SAEs", "at least 20", "32", "32", "met", "32", "32"]
    levels = [row[4].split(" ", 1) for row in rows_of(page, "hedging")[:2]]
    assert [float(level) for level, _ in levels] == pytest.approx([0.8, 0.4], abs=0.01)
    assert all(interval.startswith("[") for _, interval in levels)
    assert "against none" in next(row for row in rows_of(page, "within_median") if row[1] == "above bias_norm")[2]
    assert "nan" not in page
    assert rows_of(page, "0.8 to 0.9")[0][1:] == ["held-out families", "0", "none", "none"]
    assert rows_of(page, "0.9 to 1")[0][2:] == ["20", "1.000", "1.000"]


def test_only_the_held_out_families_decide():
    frame = invented()
    unhedged = frame["kind"] == "zero"
    assert "## Bar by bar: 15 of 15 are met" in page_of(shifted(frame, unhedged & ~frame["held_out"], 0.05))
    assert "## Bar by bar: 14 of 15 are met" in page_of(shifted(frame, unhedged & frame["held_out"], 0.05))


def test_the_page_says_what_was_judged_and_what_was_left_out():
    frame = invented()
    frame.loc[frame["family"] == "zero_2", "best_cosine"] = 0.7
    page = page_of(frame)
    assert "512 latents" in page and "64 SAEs" in page and "in 32 worlds" in page and "1,000 samples" in page
    assert "4 of the 64 are left out" in page
    for kind in KINDS:
        assert rows_of(page, kind)[0][2:] == [f"{kind}_2", kind]


def test_controls_are_shown_by_kind_and_the_cost_for_each_sae():
    frame = invented()
    frame["hedging"] = 0.8 * frame["hedge"] + 0.05 * (frame["kind"] == "random_sign") * (frame["latent"] < 4)
    page = page_of(frame)
    shown = [row for row in rows_of(page, "random_sign") if row[1] == "held-out families"]
    assert shown == [["random_sign", "held-out families", "4", "0.000", "0.025", "0.025", "0.025"]]
    assert rows_of(page, "hedging")[-1] == ["hedging", "2"] and rows_of(page, "c_dec")[-1] == ["c_dec", "0.1"]


def test_the_factor_is_frozen_on_development_and_applied_to_what_is_held_out():
    frame = invented()
    frame["hedging"] = 0.5 * frame["hedge"] + 0.1 * frame["held_out"]
    page = page_of(frame)
    assert "`hedging` is 0.500 of the truth" in page
    (row,) = rows_of(page, "kinds that hedge")
    truth = frame.loc[frame["held_out"] & frame["kind"].isin(HEDGED), "hedge"].mean()
    assert row[1:3] == ["16", f"{truth:.3f}"]
    assert float(row[4]) == pytest.approx(0.1 - truth / 2, abs=1e-3) and row[5:] == ["0.200", "0.200"]


def test_the_figure_shows_every_sae_hollow_or_filled_and_every_estimator():
    frame = invented()
    frame.loc[frame["family"] == "zero_2", "best_cosine"] = 0.7
    figure = draw_estimates(frame, summarise_sets(frame))
    figure.draw_without_rendering()
    left, right = figure.axes
    assert figure.get_figwidth() <= 7  # a paper's page, on which letters of 6 points can be read
    assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 6
    shown = {False: 0, True: 0}
    for marks in left.collections:
        shown[len(marks.get_facecolors()) > 0] += len(marks.get_offsets())
    assert shown == {False: 32, True: 28}
    assert [label.get_text() for label in right.get_yticklabels()] == ["hedging", *SIMPLE]
    across = next(line for line in right.lines if line.get_label() == "across")
    assert across.get_xdata()[0] > 0.9


# --- command -----------------------------------------------------------------------------------------------------------------------


def test_the_study_is_made_from_the_command_line(asked: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    threads = torch.get_num_threads()
    assert main(["toy", "--study", "hedging-estimate", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert torch.get_num_threads() == threads
    files = [tmp_path / f"hedging-estimate.{kind}" for kind in ("parquet", "csv", "png", "md")]
    assert capsys.readouterr().out.split() == [str(file) for file in files]
    assert set(tmp_path.iterdir()) == set(files), "finished parts are removed"
    latents, summary = pd.read_parquet(files[0]), pd.read_csv(files[1])
    assert len(latents) == sum(asked) and latents.attrs["samples"] == 4000
    assert list(summary.columns) == ["set", "estimator", "measure", "value", "low", "high", "n"]
    assert set(summary["set"]) == {"development", "held out"} and set(summary["estimator"]) == {
        "hedging",
        "owed",
        *SIMPLE,
    }
    assert files[2].read_bytes().startswith(b"\x89PNG")
    page = files[3].read_text(encoding="utf-8")
    assert "    hedgebench toy --study hedging-estimate --seeds 1\n" in page and "| not met |" in page


def test_a_study_without_seeds_is_refused(tmp_path: Path):
    from hedgebench.toy_study import run_hedging_estimate_study

    with pytest.raises(BadInput, match="must be at least 1"):
        run_hedging_estimate_study(0, tmp_path)
