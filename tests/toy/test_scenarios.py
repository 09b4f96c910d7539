"""Scenarios: the post's by name, one's own from a file, and every mistake one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgebench.toy.scenario_file import read_scenario
from hedgebench.toy.scenarios import SCENARIOS, find_scenario, scenario_runs
from hedgebench.types import BadInput

OWN = """\
world: {d_in: 8, probability: [0.25, 0.2, 0.1], parents: {1: 0}, otherwise: {1: 0.1}}
sae: {architecture: standard, width: [1, 2], l1: 1e-3, steps: 20}
losses: [mse, snap]
"""


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_every_row_of_the_post_has_a_scenario():
    assert {row for scenario in SCENARIOS.values() for row in scenario.rows} == set(range(1, 16))


@pytest.mark.parametrize(
    ("name", "given", "silent"),
    [("independent", 0.2, 0.2), ("hierarchical", 0.2, 0.0), ("correlated", 0.2, 0.1), ("anticorrelated", 0.1, 0.2)],
)
def test_the_two_feature_worlds_are_the_posts(name: str, given: float, silent: float):
    patterns = scenario_runs([SCENARIOS[name]], ["mse"], [0])[0].run.world.patterns()
    p = {tuple(row): float(q) for row, q in zip(patterns.firings.int().tolist(), patterns.probabilities, strict=True)}
    assert p[1, 0] + p[1, 1] == pytest.approx(0.25)
    assert p[1, 1] == pytest.approx(0.25 * given)
    assert p.get((0, 1), 0.0) == pytest.approx(0.75 * silent)


def test_a_parent_that_never_fires_alone():
    world = scenario_runs([SCENARIOS["never-alone"]], ["mse"], [0])[0].run.world
    assert float(world.probabilities[0]) == pytest.approx(1 - 0.98**14)


def test_names_are_different_and_say_scenario_variant_loss_and_seed():
    names = [run.name for run in scenario_runs(SCENARIOS.values(), None, range(2))]
    assert len(set(names)) == len(names)
    assert {"hierarchical-mse-s0", "balanced-balance0.25-snap-s1", "balanced-detach-l2-s0", "tied-0.25-mse-s0"} <= set(
        names
    )


def test_losses_of_one_seed_share_their_world_and_crowds_draw_another_for_every_seed():
    runs = scenario_runs([SCENARIOS["crowd-0.1"], SCENARIOS["hierarchical"], SCENARIOS["absorption"]], None, range(2))
    worlds = {run.name: run.run.world for run in runs}
    assert worlds["crowd-0.1-mse-s0"] is worlds["crowd-0.1-snap-s0"]
    assert worlds["crowd-0.1-mse-s0"].identity != worlds["crowd-0.1-mse-s1"].identity
    assert worlds["hierarchical-mse-s0"] is worlds["hierarchical-snap-s1"] is worlds["absorption-mse-s0"]


def test_an_unknown_scenario_names_the_nearest():
    with pytest.raises(BadInput, match=r"no scenario 'hierarchial'.*hierarchical"):
        find_scenario("hierarchial")


# --- files ---------------------------------------------------------------------------------------------------------------------


def test_a_scenario_from_a_file_stands_for_every_combination_of_its_lists(tmp_path: Path):
    runs = scenario_runs([read_scenario(write(tmp_path, OWN))], None, range(2))
    assert [run.name for run in runs] == [
        f"mine-width{w}-{loss}-s{s}" for w in (1, 2) for loss in ("mse", "snap") for s in (0, 1)
    ]
    assert {run.run.recipe.width for run in runs} == {1, 2}
    assert all(run.run.recipe.l1 == 1e-3 and run.run.recipe.steps == 20 for run in runs)
    assert runs[0].run.world.probabilities.tolist() == pytest.approx([0.25, 0.25 * 0.2 + 0.75 * 0.1, 0.1])


def test_a_synthetic_world_takes_saelens_own_keys(tmp_path: Path):
    text = "synthetic: {num_features: 32, hidden_dim: 16, seed: 1}\nsae: {architecture: topk, k: 2, width: 8, init: random}\n"
    (first, *_) = scenario_runs([read_scenario(write(tmp_path, text))], ["mse"], [0])
    assert (first.name, first.run.world.n_features, first.run.world.d_in) == ("mine-mse-s0", 32, 16)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("losses: [mse, snap]", "losses: [mse, snapp]", r"mine\.yaml:3: there is no loss 'snapp'.*snap"),
        ("losses: [mse, snap]", "losses: mse", r"mine\.yaml:3: 'losses' must be a list"),
        ("losses", "loses", r"mine\.yaml:3: there is no key 'loses'.*losses"),
        ("width: [1, 2]", "width: []", r"mine\.yaml:2: 'width' is an empty list"),
        ("width: [1, 2]", "width: [1, 1]", r"mine\.yaml:2: 'width' lists a value twice"),
        ("width: [1, 2]", "widht: 1", r"mine\.yaml:2: there is no key 'widht'.*width"),
        ("width: [1, 2], ", "", r"mine\.yaml:2: 'width' is missing"),
        ("l1: 1e-3", "l1: often", r"mine\.yaml:2: 'l1' must be a number"),
        ("l1: 1e-3", "l1: -1", r"mine\.yaml:2: toy recipe: 'l1' must be a number from 0 up"),
        ("l1: 1e-3", "loss: mse", r"mine\.yaml:2: write 'losses' beside 'sae'"),
        ("0.25, 0.2, 0.1]", "0.25, 1.2, 0.1]", r"mine\.yaml:1: toy world 'mine': the probability of feature 1 is 1\.2"),
        ("parents: {1: 0}", "parents: {1: 1}", r"mine\.yaml:1: toy world 'mine': .* no cycles"),
        ("world:", "synthetic:", r"mine\.yaml:1: synthetic world: SAELens does not take it"),
        ("world:", "wrold:", r"mine\.yaml:1: there is no key 'wrold'.*world"),
        (OWN, "sae: {architecture: standard, width: 1}", r"either 'world' or 'synthetic', found neither"),
        (OWN, "world: 3\nsae: {}", r"mine\.yaml:1: 'world' must be a mapping"),
        (OWN, "world: {d_in: 2, probability: [0.1]}", r"'sae' must be a mapping"),
        (OWN, "name: ../x\n" + OWN, r"mine\.yaml:1: 'name' is '\.\./x', which is no folder name"),
        (OWN, "[1, 2]", "a scenario is a mapping"),
        (OWN, "a: [", r"mine\.yaml:\d+: not valid YAML"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, message: str):
    assert old in OWN
    with pytest.raises(BadInput, match=message) as error:
        read_scenario(write(tmp_path, OWN.replace(old, new)))
    assert "\n" not in str(error.value)


def test_a_start_at_a_feature_that_the_world_does_not_have(tmp_path: Path):
    scenario = read_scenario(write(tmp_path, OWN.replace("l1: 1e-3", "init_features: [7]")))
    with pytest.raises(BadInput, match="mine-width1-mse-s0: 'init_features' names feature 7 of 3, counted from 0"):
        scenario_runs([scenario], None, [0])


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot read a scenario"):
        read_scenario(tmp_path / "none.yaml")
