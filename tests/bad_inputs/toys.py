"""Toy scenarios, and the worlds beside checkpoints. `tests/toy` has more of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bad_inputs import good
from bad_inputs.cases import Case

ROOM = "toy scenario or world"
OWN = "world: {d_in: 8, probability: [0.25, 0.2]}\nsae: {architecture: standard, width: 2, l1: 1e-3, steps: 20}\n"


def case(what: str, text: str | bytes, said: str) -> Case:
    """A scenario of this text."""
    content = text if isinstance(text, bytes) else text.encode()

    def make(here: Path) -> Sequence[str]:
        (here / "mine.yaml").write_bytes(content)
        return ["toy", "--scenario", "mine.yaml", "--out", "out"]

    return Case(ROOM, what, make, said)


def world(line: str, said: str) -> Case:
    """Another world."""
    return case(f"`world: {{{line}}}`", OWN.replace("d_in: 8, probability: [0.25, 0.2]", line), said)


def sae(line: str, said: str) -> Case:
    """Another SAE."""
    return case(f"`sae: {{{line}}}`", OWN.replace("architecture: standard, width: 2, l1: 1e-3, steps: 20", line), said)


def beside(what: str, damage: Callable[[Path], object], said: str) -> Case:
    """A damaged world beside an SAE, which `toy_recovery` asks for."""

    def make(here: Path) -> Sequence[str]:
        from hedgebench.toy.world_config import WorldConfig
        from hedgebench.toy.worlds import make_world

        folder = good.sae(here / "good")
        make_world(WorldConfig("w", good.D_IN, (0.1, 0.1))).save(folder / "world")
        damage(folder / "world")
        return ["run", "--sae", "good", "--eval", "toy_recovery", "--out", "out"]

    return Case(ROOM, f"a world beside an SAE: {what}", make, said, code=1)


CASES = [
    Case(ROOM, "no such file", lambda here: ["toy", "--scenario", "none.yaml", "--out", "out"], "none.yaml: cannot read a scenario"),
    case("an empty file", "", "mine.yaml: a scenario is a mapping of keys and values"),
    case("not UTF-8", b"name: \xff", "mine.yaml: cannot read a scenario: it is not UTF-8"),
    case("no world", OWN.partition("\n")[2], "a scenario has either 'world' or 'synthetic', found neither"),
    case("no SAE", OWN.partition("\n")[0], "'sae' must be a mapping such as `architecture: standard`"),
    case("`losess: [mse]`", OWN + "losess: [mse]\n", "mine.yaml:3: there is no key 'losess'; did you mean 'losses'?"),
    case("`losses: [mze]`", OWN + "losses: [mze]\n", "there is no loss 'mze'; did you mean 'mse'?"),
    case("`losses: []`", OWN + "losses: []\n", "'losses' must be a list of mse, l2, snap"),
    case("`losses: [[mse]]`", OWN + "losses: [[mse]]\n", "there is no loss ['mse']"),
    case("`name: ../escape`", OWN + "name: ../escape\n", "'name' is '../escape', which is no folder name"),
    case("`name: 3`", OWN + "name: 3\n", "'name' is 3, which is no folder name"),
    case("`world: 3`", "world: 3\nsae: {}\n", "'world' must be a mapping of keys and values"),
    world("d_in: 8", "'probability' is missing"),
    world("d_in: eight, probability: [0.1]", "'d_in' must hold whole numbers, not 'eight'"),
    world("d_in: 0, probability: [0.1]", "needs at least one feature and one dimension, found 1 and 0"),
    world("d_in: 8, probability: 0.1", "'probability' must be a list, not 0.1"),
    world("d_in: 8, probability: [1.5]", "the probability of feature 0 is 1.5: it must lie between 0 and 1"),
    world("d_in: 8, probability: [.nan]", "'probability' must hold numbers, not nan"),
    world(f"d_in: 8, probability: [1{'0' * 400}]", "'probability' must hold numbers"),
    world("d_in: 1, probability: [0.1, 0.1]", "2 features cannot be orthonormal in 1 dimensions"),
    world("d_in: 1000000000000, probability: [0.1, 0.1]", "a world of 2 features in 1000000000000 dimensions takes 16000.0 GB"),
    world("d_in: 8, probability: [0.1, 0.1], parents: {1: 1}", "a hierarchy has no cycles"),
    world("d_in: 8, probability: [0.1, 0.1], parents: {1: 7}", "there is no feature 7: there are 2, counted from 0"),
    world("d_in: 8, probability: [0.1], seed: -1", "'seed' must be a whole number from 0, not -1"),
    world("d_in: 8, probabilty: [0.1]", "there is no key 'probabilty'; did you mean 'probability'?"),
    sae("architecture: standrd, width: 2", "did you mean 'standard'?"),
    sae("architecture: standard, width: 0, l1: 1", "'width' must be a whole number from 1 up, not 0"),
    sae("architecture: standard, width: 2, l1: often", "'l1' must be a number, not 'often'"),
    sae("architecture: standard, width: [], l1: 1", "'width' is an empty list"),
    sae("architecture: standard, width: 1000000000000, l1: 1", "a toy SAE of 1000000000000 latents on 8 dimensions takes about 436000.0 GB"),
    sae("architecture: standard, width: 2, l1: 1, steps: -1", "'steps' must be a whole number from 1 up, not -1"),
    sae("architecture: standard, width: 2, l1: 1, init_features: [7]", "'init_features' names feature 7"),
    beside("a description that is half a file", lambda w: (w / "world.json").write_text('{"name": "w"'), "cannot read the toy world"),
    beside("features that are half a file", lambda w: (w / "world.safetensors").write_bytes((w / "world.safetensors").read_bytes()[:60]), "cannot read the toy world"),
]  # fmt: skip
