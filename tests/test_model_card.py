"""`hedgebench export --model-card`: what huggingface_hub reads of it again."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from known_scores import alone, table

from hedgebench.cli import main
from hedgebench.model_card import eval_results, with_results
from hedgebench.one_line import one_line
from hedgebench.results import write_table
from hedgebench.types import BadInput

MADE = {"made_with": '{"dtype": "float32"}'}
ROWS = [
    *alone("a", [1.0, 3.0], **MADE),
    *alone("a", [9.0], metric="density", params="quantile=0.5", higher_is_better=None, **MADE),
    *alone("a", [5.0], slice_by="letter", slice_value="x", **MADE),
    {"sae": "a", "eval": "still", "metric": "norm", "value": 2.0, "data": None},
    *alone("a/random", [0.0], architecture="random_control"),
]


def read(text: str) -> list[EvalResult]:
    found = ModelCard(text).data.eval_results
    assert found is not None
    return found


@pytest.mark.filterwarnings("error")
def test_numbers_made_with_different_packages_stand_beside_each_other_without_a_warning():
    rows = [*alone("a", [1.0, 3.0], **MADE), *alone("a", [2.0], metric="other", higher_is_better=None)]
    assert len(eval_results(table(rows))[1]) == 2


def test_each_metric_is_a_mean_over_seeds_with_what_is_known_of_it():
    name, results = eval_results(table(ROWS))
    assert name == "a"
    quality, density, norm = read(with_results(b"", "", name, results))
    assert (quality.task_type, quality.dataset_name, quality.dataset_config) == ("an_eval", "a-text", "{}")
    assert (quality.metric_name, quality.metric_value) == ("quality", 2.0)
    assert quality.metric_args == {
        "seeds": 2,
        "interval_95": pytest.approx([2 - 12.7062, 2 + 12.7062], rel=1e-5),
        "higher_is_better": True,
        "eval_version": 1,
        "model": "a-model",
        "hook": "blocks.8.hook_resid_post",
        "made_with": '{"dtype": "float32"}',
    }
    assert (density.metric_type, density.metric_name) == ("density", "density[quantile=0.5]")
    assert density.metric_args["seeds"] == 1 and "interval_95" not in density.metric_args
    assert "higher_is_better" not in density.metric_args
    assert (norm.dataset_type, norm.metric_args["seeds"]) == ("none", 0)


README = b"---\r\nlicense: mit\r\ntags: [sae]\r\n---\r\n# A card\r\n\r\n---\r\nIts text\r\n"


def test_a_readmes_text_and_other_metadata_stay():
    name, results = eval_results(table(ROWS))
    text = with_results(README, "README.md", name, results)
    card = ModelCard(text)
    assert card.data.license == "mit" and card.data.tags == ["sae"] and len(card.data.eval_results or []) == 3
    assert text.endswith("---\r\n# A card\r\n\r\n---\r\nIts text\r\n")
    assert with_results(text.encode(), "README.md", name, results) == text
    assert with_results(b"# No metadata\n", "README.md", name, results).endswith("---\n# No metadata\n")


def test_results_of_other_models_and_tasks_stay_and_those_of_the_same_task_are_replaced():
    name, results = eval_results(table(ROWS))
    other = with_results(b"", "", "another", results[:1])
    mine = with_results(other.encode(), "", name, results)
    again = with_results(mine.encode(), "", name, eval_results(table(alone("a", [7.0])))[1])
    index = yaml.safe_load(again.split("---")[1])["model-index"]
    assert [entry["name"] for entry in index] == ["a", "another"]
    values = [[metric["value"] for metric in result["metrics"]] for result in index[0]["results"]]
    assert values == [[2.0], [7.0]] and index[1]["results"][0]["metrics"][0]["value"] == 2.0


def named(name: str) -> str:
    rows = alone(name, [1.0], eval=name, metric=name, params=name, data=name, hook=name, config=name)
    return with_results(README, "README.md", *eval_results(table(rows)))


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1))
def test_names_come_back_as_they_are(name: str):
    text = named(name)
    (found,) = read(text)
    assert ModelCard(text).data.model_name == found.metric_type == found.task_type == found.dataset_name == name
    assert found.dataset_config == found.metric_args["hook"] == name
    assert text.endswith("# A card\r\n\r\n---\r\nIts text\r\n")


@pytest.mark.parametrize(
    "name",
    ["a\n---\nb: c", "---\n", "- !!python/object:os.system x", "&a *b {c: [d", "\x1b[31m\x00", "0\x85", "\ud800"],
)
def test_a_hostile_name_stays_on_its_line_and_does_not_end_the_metadata(name: str):
    card = ModelCard(named(name))
    assert len(card.data.eval_results or []) == 1
    assert card.data.model_name == one_line(name) and card.data.license == "mit"
    assert card.text == "# A card\r\n\r\n---\r\nIts text\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"---\n- a\n---\n",
        b"---\na: [\n---\n",
        b"---\nmodel-index: 1\n---\n",
        b"---\nmodel-index: [a]\n---\n",
        b"---\nmodel-index:\n- name: a\n---\n",
        b"---\nmodel-index:\n- name: a\n  results: [1]\n---\n",
        b"\xff\xfe",
    ],
)
def test_metadata_that_cannot_be_read_is_one_line_and_the_file_stays(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
):
    scores, file = write_table(table(ROWS), tmp_path / "scores.csv"), tmp_path / "README.md"
    file.write_bytes(content)
    assert main(["export", str(scores), "--model-card", "--out", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"hedgebench: {file}: its metadata cannot be read: ") and err.count("\n") == 1
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("metadata", "n"),
    [
        ("license: mit\n", 0),
        ("# whose?\nlicense: mit  # ours\n", 2),
        ("a: 'x # y'\nb: x#y\nc: \"#\"\n", 0),
        ("a: |\n  # text\n  more\nb: [1,  # one\n  2]\n", 1),
    ],
)
def test_comments_that_writing_the_metadata_loses_are_told_and_no_others(
    tmp_path: Path, metadata: str, n: int, capsys: pytest.CaptureFixture[str]
):
    scores, file = write_table(table(ROWS), tmp_path / "scores.csv"), tmp_path / "README.md"
    file.write_text(f"---\n{metadata}---\n# A card\n")
    assert main(["export", str(scores), "--model-card", "--out", str(file)]) == 0
    words = {0: "", 1: f"{file}: its metadata has 1 comment (#)", 2: f"{file}: its metadata has 2 comments (#)"}[n]
    err = capsys.readouterr().err
    assert err.startswith(words) and err.count("\n") == (n > 0)


def test_an_sae_that_is_not_there_or_not_named_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scores = write_table(table([*ROWS, *alone("b", [1.0])]), tmp_path / "scores.csv")
    assert main(["export", str(scores), "--model-card"]) == 2
    assert capsys.readouterr().err == "hedgebench: --sae says whose numbers: one of a, b\n"
    assert main(["export", str(scores), "--model-card", "--sae", "bb"]) == 2
    assert capsys.readouterr().err == "hedgebench: no SAE is called 'bb'; did you mean 'b'?\n"
    with pytest.raises(BadInput, match="a: there is no number"):
        eval_results(table(alone("a", [5.0], slice_by="letter", slice_value="x")))
    with pytest.raises(BadInput, match="there is none here"):
        eval_results(table(ROWS[-1:]))


def test_the_command_prints_the_metadata_or_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scores, file = write_table(table(ROWS), tmp_path / "scores.csv"), tmp_path / "README.md"
    assert main(["export", str(scores), "--model-card"]) == 0
    printed = capsys.readouterr().out
    assert main(["export", str(scores), "--model-card", "--out", str(file)]) == 0
    assert capsys.readouterr().out == f"3 numbers of a in {file}\n" and file.read_text() == printed
    (first, *_) = read(printed)
    assert first.metric_value == 2.0
