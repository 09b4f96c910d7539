"""What a user says of metrics and SAEs: read, applied, and every mistake one line with its place."""

from pathlib import Path

import pytest

from hedgebench.regression.rules import Rule, Rules, read_rules
from hedgebench.types import BadInput


def rules(tmp_path: Path, text: str) -> Rules:
    file = tmp_path / "check.yaml"
    file.write_text(text)
    return read_rules(file)


def test_of_several_entries_that_match_the_last_one_counts_key_by_key(tmp_path: Path):
    found = rules(
        tmp_path,
        "metrics:\n  core.*: {tolerance: 0.1, better: higher}\n  core.mse: {better: lower}\n"
        "  'core.density[quantile=0.5]': {ignore: true}\n  core.ev: {tolerance: 2%}\n",
    )
    assert found.rule("core", "mse", "") == Rule(0.1, False, False, None)
    assert found.rule("core", "density", "quantile=0.5") == Rule(0.1, False, True, True)
    assert found.rule("core", "density", "quantile=0.9").ignore is None
    assert found.rule("bias", "mse", "") == Rule()
    assert found.rule("core", "ev", "").allowed(-3.0) == pytest.approx(0.06)
    assert found.rule("core", "mse", "").allowed(-3.0) == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("judge: recipe", ":1: 'judge' is 'recipe'; did you mean 'recipes'?"),
        ("judge: [a]", ":1: 'judge' is ['a']"),
        ("tolerance: 1", ":1: a config of checks has no key 'tolerance'; did you mean 'float_tolerance'?"),
        ("float_tolerance: -1", ":1: 'float_tolerance' must be a number from 0, not -1"),
        ("float_tolerance: true", ":1: 'float_tolerance' must be a number from 0, not True"),
        ("match: [a]", ":1: 'match' is a mapping from names of SAEs here to their names in the baseline, not ['a']"),
        ("match:\n  a: 1", ":2: 'a' is the name of an SAE in the baseline, not 1"),
        ("match:\n  a: x\n  b: x", ":3: 'x' of the baseline is matched twice"),
        ("metrics:", ":1: 'metrics' is a mapping from `eval.metric` to what holds for it, not None"),
        ("metrics:\n  a.b: 0.1", ":2: 'a.b' is a mapping such as `{tolerance: 0.01}`, not 0.1"),
        ("metrics:\n  a.b: {tol: 1}", ":2: a metric has no key 'tol'; did you mean 'tolerance'?"),
        (
            "metrics:\n  a.b:\n    tolerance: much",
            ":3: 'tolerance' must be a number from 0 or a share such as 2%, not 'much'",
        ),
        ("metrics:\n  a.b:\n    tolerance: .inf", ":3: 'tolerance' must be a number"),
        ("metrics:\n  a.b:\n    tolerance: -2%", ":3: 'tolerance' must be a number"),
        ("metrics:\n  a.b:\n    tolerance:", ":3: 'tolerance' must be a number"),
        ("metrics:\n  a.b: {better: up}", ":2: 'better' is 'up'; known: higher, lower"),
        ("metrics:\n  a.b: {better: [up]}", ":2: 'better' is ['up']"),
        ("metrics:\n  a.b: {ignore: 1}", ":2: 'ignore' is true or false, not 1"),
        ("- a", ": a config of checks is a mapping of keys and values"),
        ("a: 1\na: 2", ":2: not valid YAML: key 'a' is given twice"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(tmp_path: Path, text: str, message: str):
    with pytest.raises(BadInput) as error:
        rules(tmp_path, text)
    assert f"check.yaml{message}" in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(BadInput, match="cannot read a config of checks"):
        read_rules(tmp_path / "none.yaml")
