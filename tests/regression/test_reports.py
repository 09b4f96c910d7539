"""The reports: text, Markdown, JUnit, JSON; whatever the names are."""

import json
from xml.etree import ElementTree

import pandas as pd
import pytest
from known_scores import alone, table

from hedgebench.one_line import markdown_text
from hedgebench.regression.as_json import as_json
from hedgebench.regression.check import Report, check
from hedgebench.regression.junit import junit
from hedgebench.regression.markdown import markdown
from hedgebench.regression.text import metric, text

HOSTILE = "a|b\n`c` <img src=x> @team [l](http://x) ]]> & \"q\" 'q' \x1b[31m \x00 \ud800 \u202e"


@pytest.fixture(scope="module")
def report() -> Report:
    """One of each verdict, of an SAE and a metric that mean no good."""

    def side(values: dict[str, float]) -> pd.DataFrame:
        rows = [
            {"sae": HOSTILE, "metric": metric, "params": HOSTILE, "value": value, "digest": "x"}
            for metric, value in values.items()
        ]
        return table([*rows, *alone("one|other", [1.0])])

    before = {"worse": 1.0, "better": 1.0, "same": 1.0, "missing": 1.0, HOSTILE: 1.0}
    here = {"worse": 0.5, "better": 2.0, "same": 1.0, "new": 1.0, HOSTILE: 1.0}
    changed = side(here)
    changed.loc[changed["metric"] == HOSTILE, ["data", "run_id"]] = HOSTILE
    found = check(changed, side(before))
    assert found.counts == {"worse": 1, "missing": 1, "cannot tell": 1, "better": 1, "new": 1, "same": 2}
    return found


def test_the_text_says_what_needs_attention_first_and_why(report: Report):
    said = text(report)
    order = [
        "1 worse, 1 missing here, 1 cannot be told, 1 better, 1 new, 2 the same",
        "\nworse:\n",
        "1 -> 0.5 (-0.5); nothing of it is noise",
        "\nbetter:\n",
        "\nmissing here:\n",
        "\ncannot be told: cannot compare: data a-text in the baseline",
        "\nnew:\n",
    ]
    places = [said.index(part) for part in order]
    assert places == sorted(places)
    assert not any(ord(c) < 32 and c != "\n" for c in said) and "\u202e" not in said


def test_what_cannot_be_told_has_its_numbers_and_their_interval_in_every_report():
    before = table([row for seed, value in enumerate([1.0, 1.2, 0.8]) for row in alone("a", [value], seed=seed)])
    here = table([row for seed, value in enumerate([1.5, 1.9, 1.1]) for row in alone("a", [value], seed=seed + 9)])
    found = check(here, before)
    assert found.counts["cannot tell"] == 1
    low, high = found.findings["low"][0], found.findings["high"][0]
    numbers = f"1 -> 1.5 (+0.5, 95 % {low:.2g} to {high:.2g})"
    assert f"  a  {metric(found.findings.iloc[0])}: {numbers}\n" in text(found)
    assert f"| {markdown_text(numbers)} |" in markdown(found)
    for strict, kind in ((False, "skipped"), (True, "failure")):
        (told,) = ElementTree.fromstring(junit(found, strict).encode()).iter(kind)
        assert told.text == numbers


def test_of_what_cannot_be_told_more_than_a_screen_there_are_names_alone():
    before = table([row for i in range(60) for row in alone(f"a{i}", [1.0], metric="m")])
    found = check(before.assign(value=2.0, digest="other"), before)
    assert found.counts["cannot tell"] == 60
    assert "->" not in text(found) and "a0, a1, a10" in text(found) and "<details>" in markdown(found)


def test_markdown_lets_no_name_out_of_its_cell(report: Report):
    said = markdown(report)
    assert said.startswith("### ❌ hedgebench check: 1 worse")
    assert "<img" not in said and "@team" not in said
    inside = [
        line for line in said.splitlines() if not line.startswith("<details><summary>")
    ]  # there nothing is Markdown
    assert not any("[l](" in line or "http://" in line for line in inside)
    tables = [line for line in said.splitlines() if line.startswith("|")]
    widths = {line.replace("\\|", "").count("|") for line in tables}
    assert widths == {6, 3}
    assert said.count("<details>") == said.count("</details>") == 3


def test_a_long_report_is_cut_to_what_a_comment_may_hold():
    names = [f"{'x' * 200}{i}" for i in range(120)]
    rows = [{"sae": name, "value": 1.0, "digest": name} for name in names]
    rows += [
        {**row, "metric": f"{'m' * 200}{i}", "digest": row["sae"]} for i, row in enumerate(rows)
    ]  # each misses one of its own
    report = check(table([{**row, "value": 0.0} for row in rows[: len(names)]]), table(rows))
    said = markdown(report)
    assert "and 70 more worse" in said and "and 70 more lines of this kind" in said
    assert text(report).count("\n") < 120 and "and 70 more lines of this kind" in text(report)
    longer = report.findings.assign(sae=report.findings["sae"] + "y" * 1000)
    said = markdown(Report(longer))
    assert len(said) < 65_536 and "too long for a comment" in said


def test_junit_is_xml_whose_counts_are_those_of_its_tests(report: Report):
    for strict, failures, skipped in ((False, 1, 2), (True, 3, 0)):
        root = ElementTree.fromstring(junit(report, strict).encode())
        assert root.tag == "testsuites" and (root.get("tests"), root.get("failures"), root.get("skipped")) == (
            "7",
            str(failures),
            str(skipped),
        )
        assert len(list(root.iter("testcase"))) == 7 and len(list(root.iter("failure"))) == failures
        for suite in root.iter("testsuite"):
            assert suite.get("tests") == str(len(list(suite.iter("testcase"))))
            assert suite.get("failures") == str(len(list(suite.iter("failure"))))
    (failed,) = ElementTree.fromstring(junit(report).encode()).iter("failure")
    assert failed.get("message") == "worse: nothing of it is noise" and failed.text == "1 -> 0.5 (-0.5)"


def test_json_is_strict_and_holds_every_finding(report: Report):
    def refuse(text: str) -> None:
        raise AssertionError(text)

    found = json.loads(as_json(report), parse_constant=refuse)
    assert found["exit_code"] == 1 and found["counts"] == report.counts
    assert [row["verdict"] for row in found["findings"]] == report.findings["verdict"].tolist()
    assert found["findings"][0]["difference"] == -0.5 and found["findings"][0]["p"] is None
    assert found["findings"][0]["eval_version"] == 1


def test_where_nothing_is_worse_it_is_said_first():
    scores = table(alone("a", [1.0]))
    fine = check(scores, scores)
    assert (
        text(fine) == "nothing is worse: 1 the same\n"
        and markdown(fine) == "### ✅ hedgebench check: nothing is worse: 1 the same\n"
    )
    other = check(scores.assign(value=2.0, digest="other"), scores)
    assert markdown(other).startswith("### ❔ hedgebench check: nothing is worse: 1 cannot be told")
