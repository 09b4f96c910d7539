"""The GitHub Action: its script is run as the runner would."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from known_scores import table

from hedgebench.results import write_table

ACTION = yaml.safe_load((REPOSITORY / "action.yml").read_text())
STEP, COMMENT = ACTION["runs"]["steps"]


def run(folder: Path, hedgebench: str, **inputs: str) -> tuple[int, dict[str, str], str]:
    """The exit code of the step, its outputs and its summary; what is not given is as the action has it."""
    given = (
        {name: one.get("default", "") for name, one in ACTION["inputs"].items()} | inputs | {"hedgebench": hedgebench}
    )
    environment = {
        key: re.sub(r"\$\{\{ inputs\.(.*?) \}\}", lambda found: given[found[1]], text)
        for key, text in STEP["env"].items()
    }
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        file.write_text("")
    environment |= {name: str(file) for name, file in files.items()} | {
        "RUNNER_TEMP": str(folder),
        "GITHUB_ACTION_PATH": "none",
    }
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", STEP["run"]], env=os.environ | environment, capture_output=True, text=True
    )
    (folder / "log").write_text(done.stdout)
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    return done.returncode, outputs, files["GITHUB_STEP_SUMMARY"].read_text()


def command(folder: Path, script: str) -> str:
    """An executable."""
    file = folder / "hedgebench"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_the_check_is_run_and_its_report_is_the_summary(tmp_path: Path):
    rows = [{"sae": "a", "value": 1.0, "digest": "x"}]
    before = write_table(table(rows), tmp_path / "before.csv")
    here = write_table(table([{**rows[0], "value": 0.5}]), tmp_path / "here.csv")
    ours = command(tmp_path, f'exec "{sys.executable}" -m hedgebench.cli "$@"')
    code, outputs, summary = run(
        tmp_path, ours, results=str(here), baseline=str(before), junit=str(tmp_path / "check.xml")
    )
    assert code == 1 and outputs["exit-code"] == "1" and Path(outputs["report"]).read_text() == summary
    assert summary.startswith("### ❌ hedgebench check: 1 worse") and "<failure" in (tmp_path / "check.xml").read_text()


def test_what_the_check_prints_is_no_command_to_the_runner(tmp_path: Path):
    fake = command(tmp_path, 'echo "  ::error::the name of an SAE"; exit 1')
    assert run(tmp_path, fake, results="r", baseline="b")[0] == 1
    stop, said, again = (tmp_path / "log").read_text().splitlines()
    word = stop.removeprefix("::stop-commands::")
    assert word != stop and (said, again) == ("  ::error::the name of an SAE", f"::{word}::")
    assert run(tmp_path, fake, results="r", baseline="b")[0] == 1
    assert word not in (tmp_path / "log").read_text()  # nobody can know it beforehand


def test_a_wrong_input_of_several_lines_is_one_line(tmp_path: Path):
    assert run(tmp_path, command(tmp_path, ""), results="r", baseline="b", strict="x\n::warning::y")[0] == 2
    assert (tmp_path / "log").read_text() == "::error::strict: is true or false, not x ::warning::y\n"


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_exit_code_is_the_commands_and_inputs_are_words_whatever_they_hold(tmp_path: Path, code: int):
    fake = command(tmp_path, f'printf "%s\\n" "$@" > "{tmp_path}/args"; exit {code}')
    hostile = '$(touch "$RUNNER_TEMP/x"); "a" `b`'
    found, outputs, summary = run(tmp_path, fake, results="-r", baseline=hostile, config="c.yaml", strict="true")
    assert found == code and outputs == {"exit-code": str(code)} and summary == ""
    args = (tmp_path / "args").read_text().splitlines()
    report = str(tmp_path / "hedgebench-check.md")
    assert args == ["check", "--baseline", hostile, "--markdown", report, "--config", "c.yaml", "--strict", "--", "-r"]
    assert not (tmp_path / "x").exists()


def test_a_word_that_is_neither_and_a_command_that_is_not_there_are_bad_usage(tmp_path: Path):
    fake = command(tmp_path, "exit 0")
    assert run(tmp_path, fake, results="r", baseline="b", strict="yes")[:2] == (2, {"exit-code": "2"})
    assert run(tmp_path, str(tmp_path / "none"), results="r", baseline="b")[:2] == (2, {"exit-code": "2"})
    assert run(tmp_path, fake, results="r", baseline="b", strict="True")[0] == 0


GH = """
case "$*" in
  *--paginate*) jq -r "${!#}" "$COMMENTS"; exit ;;
esac
[ -z "$FORK" ] || { echo "HTTP 403: Resource not accessible by integration" >&2; exit 1; }
file=${!#}
{ echo "$@"; cat "${file#body=@}"; } >> "$COMMENTS.log"
"""
MARK = "<!-- hedgebench check -->"


@pytest.fixture
def comment(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """What the second step prints, and what it tells GitHub, of a pull request with these comments, each (id, author, body)."""

    def run(*there: tuple[int, str, str], fork: bool = False) -> tuple[str, str]:
        said = [{"id": n, "user": {"login": author}, "body": body} for n, author, body in there]
        (tmp_path / "comments").write_text(json.dumps(said))
        (tmp_path / "report.md").write_text("### worse\n")
        (tmp_path / "gh").write_text(f"#!/bin/bash\n{GH}")
        (tmp_path / "gh").chmod(0o755)
        given = {"GH_REPO": "o/r", "NUMBER": "7", "REPORT": str(tmp_path / "report.md"), "RUNNER_TEMP": str(tmp_path)}
        given |= {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "COMMENTS": str(tmp_path / "comments"),
            "FORK": "1" * fork,
        }
        command = ["bash", "-eo", "pipefail", "-c", COMMENT["run"]]
        done = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=True)
        log = tmp_path / "comments.log"
        return done.stdout, log.read_text() if log.exists() else ""

    return run


BOT = "github-actions[bot]"
OTHERS = [
    (1, BOT, "coverage: 90 %"),
    (2, "somebody", f"{MARK}\na stranger's"),
    (4, BOT, f"about {MARK}"),
]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq stands for what is in gh")
def test_the_comment_is_made_once_then_replaced_and_no_other_is_touched(comment: Callable[..., tuple[str, str]]):
    printed, told = comment(*OTHERS)
    assert printed == "" and told.startswith("api --method POST repos/o/r/issues/7/comments --field body=@")
    assert told.endswith(f"\n{MARK}\n### worse\n")
    printed, told = comment(*OTHERS, (3, BOT, f"{MARK}\n### better"), (5, BOT, f"{MARK}\n### later"))
    assert printed == "" and "api --method PATCH repos/o/r/issues/comments/3 --field body=@" in told
    assert told.count("--method") == 2


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq stands for what is in gh")
def test_a_fork_that_may_not_comment_gets_a_warning_and_the_job_goes_on(comment: Callable[..., tuple[str, str]]):
    printed, told = comment(fork=True)
    assert printed.startswith("::warning::the report could not be put on the pull request") and told == ""


def test_every_input_is_used_and_no_script_holds_one():
    used = set(re.findall(r"inputs\.([a-z-]+)", str(ACTION["runs"])))
    assert used == set(ACTION["inputs"])
    assert not any("${{" in step["run"] for step in (STEP, COMMENT))


@pytest.mark.parametrize("file", ["examples/sae-regression.yml", ".github/workflows/ci.yml"])
def test_workflows_give_the_action_what_it_takes(file: str):
    (job,) = yaml.safe_load((REPOSITORY / file).read_text())["jobs"].values()
    (given,) = [
        step["with"] for step in job["steps"] if "hedgebench" in str(step.get("uses")) or step.get("uses") == "./"
    ]
    assert set(given) <= set(ACTION["inputs"])
    assert {name for name, one in ACTION["inputs"].items() if one.get("required")} <= set(given)
