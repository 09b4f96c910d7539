"""A suite means what it says, and every mistake in one is told with its line and the nearest right word."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgebench.cli_run import parse_eval
from hedgebench.suite import read_suite
from hedgebench.types import BadInput

GOOD = """\
name: losses
model: smollm2-135m
saes:
  - path: checkpoints/*
    tags: {loss: snap}
  - release: gemma-scope-2b-pt-res
    ids: layer_12/width_16k/average_l0_*
  - path: grown
    control: parent
    second_control: gemma-scope-2b-pt-res:other
    group: seeds
  - controls: [random, permuted]
    like: snap
evals: [decoder_bias, {saebench_core: {n_batches: 8}}]
seeds: [0, 1, 2]
"""


def write(tmp_path: Path, text: str) -> Path:
    for name in ("checkpoints/a", "checkpoints/b", "grown", "parent"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "checkpoints" / "README.md").write_text("not an SAE")
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    return path


def test_a_suite_is_read_whole(tmp_path: Path):
    suite = read_suite(write(tmp_path, GOOD))
    assert (suite.name, suite.model, suite.data, suite.seeds) == ("losses", "smollm2-135m", "offline", (0, 1, 2))
    globbed, release, grown, controls = suite.saes
    assert globbed.refs == (str(tmp_path / "checkpoints/a"), str(tmp_path / "checkpoints/b")) and globbed.tags == {
        "loss": "snap"
    }
    assert release.refs == ("gemma-scope-2b-pt-res:layer_12/width_16k/average_l0_*",)
    assert (grown.control, grown.second_control) == (str(tmp_path / "parent"), "gemma-scope-2b-pt-res:other")
    assert (grown.group, globbed.group, globbed.control) == ("seeds", None, None)
    assert (controls.controls, controls.like) == (("random", "permuted"), "snap")
    assert [(e.name, dict(e.config)) for e in suite.evals] == [
        ("decoder_bias", {}),
        ("saebench_core", {"n_batches": 8}),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds:", "sedes:", r"suite.yaml:15: a suite has no key 'sedes'; did you mean 'seeds'\?"),
        ("    control: parent", "    contrl: parent", r"suite.yaml:9: .* no key 'contrl'; did you mean 'control'\?"),
        (
            "[random, permuted]",
            "[random, permutd]",
            r"suite.yaml:12: unknown control 'permutd'; did you mean 'permuted'\?",
        ),
        ("[random, permuted]", "[]", "suite.yaml:12: 'controls' must be a list out of random, permuted, pca, oracle"),
        ("[0, 1, 2]", "[0, 1, one]", "suite.yaml:15: 'seeds' must be a list of different whole numbers"),
        ("[0, 1, 2]", "[0, 0]", "different whole numbers"),
        ("group: seeds", "group: [seeds]", "suite.yaml:11: 'group' must be a text"),
        (
            "    like: snap",
            "    group: mine",
            "suite.yaml:13: 'group' goes with a 'path' or a 'release', not with 'controls'",
        ),
        ("[0, 1, 2]", "[-1]", "whole numbers from 0"),
        ("[0, 1, 2]", "3", "'seeds' must be a list"),
        ("checkpoints/*", "chekpoints/*", "suite.yaml:4: no folder or file of weights matches 'chekpoints/"),
        ("tags: {loss: snap}", "tags: {loss: [snap]}", "'tags' must be a mapping"),
        ("name: losses", "name: losses\nname: again", "key 'name' is given twice"),
        ("name: losses", "name: [losses]", "'name' must be a text"),
        ("name: losses", "dtype: float31", r"'dtype' is 'float31'; did you mean 'float32'\?"),
        ("name: losses", "time_limit: 0", "'time_limit' must be a number above 0"),
        ("name: losses", "name: {", "not valid YAML"),
        ("{saebench_core: {n_batches: 8}}", "{saebench_core: 8}", "an entry of 'evals' is a name or"),
        ("  - path: grown", "  - 3\n  - path: grown", "an entry of 'saes' is a mapping"),
        ("    ids: layer_12/width_16k/average_l0_*", "    tags: {}", "a 'release' needs 'ids'"),
        ("  - path: grown", "  - path: grown\n    release: x", "exactly one of"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, message: str):
    assert GOOD.count(old) == 1
    with pytest.raises(BadInput, match=message) as caught:
        read_suite(write(tmp_path, GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "- a",
        "saes: []\nevals: [decoder_bias]",
        "saes: [{path: grown}]\nevals: []",
        "\x00",
        "!!python/object:os.system {}",
    ],
)
def test_what_is_no_suite_is_refused(tmp_path: Path, text: str):
    with pytest.raises(BadInput):
        read_suite(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "number"), [("1e-4", 1e-4), ("2E6", 2e6), ("-1.5e3", -1500.0), (".5e1", 5.0), ("1.0e-4", 1e-4)]
)
def test_a_number_with_an_exponent_is_a_number(tmp_path: Path, text: str, number: float):
    suite = read_suite(write(tmp_path, GOOD.replace("n_batches: 8", f"tolerance: {text}")))
    assert suite.evals[1].config == {"tolerance": number}
    assert parse_eval(f"e:tolerance={text}") == ("e", {"tolerance": number})


@pytest.mark.parametrize("text", ["1e", "e4", "1e4x", "x1e4", "'1e4'", "1e-4-5"])
def test_what_only_looks_like_a_number_is_a_text(tmp_path: Path, text: str):
    assert read_suite(write(tmp_path, GOOD.replace("n_batches: 8", f"a: {text}"))).evals[1].config == {
        "a": text.strip("'")
    }


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot read a suite"):
        read_suite(tmp_path / "none.yaml")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutilated_suite_raises_anything_but_bad_input(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 12)))
    text = GOOD[:start] + data.draw(st.text(max_size=8)) + GOOD[end:]
    path = write(tmp_path_factory.getbasetemp(), "x")
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        read_suite(path)
    except BadInput as error:
        assert "\n" not in str(error)
