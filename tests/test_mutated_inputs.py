"""Good inputs, mutated at random: whatever comes of it, the exit code is one of the four, there is no traceback and no hang."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from bad_inputs import good, records
from bad_inputs.cases import MEGABYTES, SECONDS, Case, Shown, carry_out
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
MANY = settings(FEW, max_examples=500)
HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *(
        "",
        " ",
        "x" * 5000,
        "../../escape",
        "/dev/zero",
        "~nobody/x",
        "a\x00b",
        "\x1b[31m",
        "\ud800",
        "nan",
        "{0.__class__}",
    ),
    *([], {}, [[]], {"a": {"a": {}}}, [0, "a", None]),
]
SUITE: dict[str, Any] = {
    "name": "s",
    "model": "smollm2-135m",
    "data": "offline",
    "dtype": "float32",
    "time_limit": 60,
    "seeds": [0, 1],
    "saes": [
        {"path": "good", "tags": {"loss": "mse", "k": 3}, "name": "a", "group": "g", "control": "good"},
        {"controls": ["random"], "like": "a"},
    ],
    "evals": ["decoder_bias", {"grow_delta": {"n_null": 5}}],
    "ray": {"num_cpus": 1},
}
RULES: dict[str, Any] = {
    "judge": "checkpoints",
    "float_tolerance": 1e-3,
    "match": {"a": "a"},
    "metrics": {
        "an_eval.quality": {"tolerance": 0.5, "better": "lower"},
        "an_eval.*": {"tolerance": "2%", "ignore": False},
    },
}


@st.composite
def mutated_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes cut away, changed, said twice or put in."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(made)))
        size = draw(st.sampled_from([1, 1, 4, 64]))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            del made[at:]
        elif kind == 1:
            del made[at : at + size]
        elif kind == 2:
            made[at:at] = draw(st.binary(min_size=1, max_size=size))
        elif kind == 3:
            made[at:at] = made[at : at + size]
        elif at < len(made):
            made[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(made)


@st.composite
def mutated_tree(draw: st.DrawFn, tree: Any) -> Any:
    """JSON data with hostile values put in, keys taken away or added, types swapped."""
    made = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, 3))):
        place, key = draw(st.sampled_from(list(_places(made)) or [(None, None)]))
        if place is None:
            return deepcopy(draw(st.sampled_from(HOSTILE)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            del place[key]
        elif kind == 1 and isinstance(place, dict):
            place[draw(st.text(max_size=5))] = deepcopy(place[key])
        else:
            place[key] = deepcopy(draw(st.sampled_from(HOSTILE)))
    return made


def _places(tree: Any) -> list[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in items for place in ((tree, key), *_places(value))]


class Meet:
    """Carries out a command on an input, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.n = folder, 0

    def __call__(self, make: Callable[[Path], list[str]], codes: set[int]) -> Shown:
        self.n += 1
        room = self.folder / str(self.n)
        shown = carry_out(Case("", "", make, ""), room)
        assert shown.code in codes, shown
        assert not shown.made and shown.seconds < SECONDS and shown.megabytes < MEGABYTES
        assert not any("Traceback" in line for line in shown.lines)
        if shown.code == 2:
            assert sum(line.startswith("hedgebench: ") for line in shown.lines) >= 1
        shutil.rmtree(room)
        return shown


@pytest.fixture(scope="module")
def meet(tmp_path_factory: pytest.TempPathFactory) -> Meet:
    return Meet(tmp_path_factory.mktemp("mutated"))


def _dump(tree: Any) -> bytes:
    return json.dumps(tree).encode()  # JSON is YAML


def suite(content: bytes) -> Callable[[Path], list[str]]:
    def make(here: Path) -> list[str]:
        good.sae(here / "good")
        (here / "suite.yaml").write_bytes(content)
        return ["run", "suite.yaml", "--out", "out", "--dry-run"]

    return make


def checkpoint(name: str, content: bytes) -> Callable[[Path], list[str]]:
    def make(here: Path) -> list[str]:
        (good.sae(here / "sae") / name).write_bytes(content)
        return ["inspect", "sae"]

    return make


def record(content: bytes) -> Callable[[Path], list[str]]:
    def make(here: Path) -> list[str]:
        records.results(here)[0].write_bytes(content)
        return ["table", "r"]

    return make


def baseline(content: bytes) -> Callable[[Path], list[str]]:
    def make(here: Path) -> list[str]:
        (here / "here.csv").write_bytes(_baseline())
        (here / "before.csv").write_bytes(content)
        return ["check", "here.csv", "--baseline", "before.csv", "--strict"]

    return make


def rules(content: bytes) -> Callable[[Path], list[str]]:
    def make(here: Path) -> list[str]:
        (here / "scores.csv").write_bytes(_baseline())
        (here / "check.yaml").write_bytes(content)
        return ["check", "scores.csv", "--baseline", "scores.csv", "--config", "check.yaml"]

    return make


def _baseline() -> bytes:
    from known_scores import alone, table

    return table(alone("a", [1.0, 2.0]) + alone("b", [3.0, 4.5])).to_csv(index=False).encode()


def _of_good(name: str) -> bytes:
    return (good.made() / "saelens" / name).read_bytes()


def _record(tmp: Path) -> Any:
    return json.loads(records.results(tmp)[0].read_text())


def each(meet: Meet, tmp: Path, how: settings) -> None:
    """All kinds of input, so many mutations each."""
    config, weights, table, whole = _of_good("cfg.json"), _of_good("sae_weights.safetensors"), _baseline(), _record(tmp)
    trees: list[tuple[Any, Callable[[bytes], Any], set[int]]] = [
        (SUITE, suite, {0, 2}),
        (json.loads(config), lambda content: checkpoint("cfg.json", content), {0, 2}),
        (whole, record, {0}),
        (RULES, rules, {0, 2}),
    ]
    texts: list[tuple[bytes, Callable[[bytes], Any], set[int]]] = [
        (_dump(SUITE), suite, {0, 2}),
        (config, lambda content: checkpoint("cfg.json", content), {0, 2}),
        (weights[:400], lambda head: checkpoint("sae_weights.safetensors", head + weights[400:]), {0, 2}),
        (_dump(whole), record, {0}),
        (table, baseline, {0, 1, 2, 3}),
        (_dump(RULES), rules, {0, 2}),
    ]
    for tree, make, codes in trees:

        @how
        @given(mutated_tree(tree))
        def meet_tree(made: Any) -> None:
            meet(make(_dump(made)), codes)  # noqa: B023 - called before the next round

        meet_tree()
    for text, make, codes in texts:

        @how
        @given(mutated_bytes(text))
        def meet_bytes(made: bytes) -> None:
            meet(make(made), codes)  # noqa: B023 - called before the next round

        meet_bytes()


def test_mutated_inputs_end_with_an_exit_code(meet: Meet, tmp_path: Path):
    each(meet, tmp_path, FEW)


@pytest.mark.slow
def test_many_more_mutated_inputs_end_with_an_exit_code(meet: Meet, tmp_path: Path):
    each(meet, tmp_path, MANY)
