"""Labelled texts: stand-ins, sets of one's own, and the hub's sets as SAEBench draws them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from contexts import labels
from hub_stand_in import COMMIT, serve

from hedgebench.cli import main
from hedgebench.identities import Identities
from hedgebench.labelled import MIN_TEXTS
from hedgebench.labelled_sets import hub_sets, open_labelled, resolve
from hedgebench.records import read_records
from hedgebench.results import read_results
from hedgebench.standins import STAND_INS, sae_probes_names
from hedgebench.suite import SaeEntry, Suite
from hedgebench.texts import part_of
from hedgebench.types import BadInput

REPOSITORY = Path(__file__).parent.parent


def rows(n: int, label: str, second: str | None = None) -> list[tuple[str, ...]]:
    return [(f"{label} {second} text number {i}", label) + ((second,) if second else ()) for i in range(n)]


# --- drawing -------------------------------------------------------------------------------------------------------------------


def test_every_class_gets_as_many_texts_and_no_text_is_in_both_parts():
    data = labels(rows(300, "a") + rows(200, "b"))
    train, test = data.train_test(100, 40, seed=0)
    assert {k: len(v) for k, v in train.items()} == {"a": 50, "b": 50}
    assert {k: len(v) for k, v in test.items()} == {"a": 20, "b": 20}
    for label in "ab":
        assert not set(train[label]) & set(test[label]) and len(set(train[label])) == 50
        assert all(text.startswith(label) for text in train[label] + test[label])
        assert {part_of(text) for text in test[label]} == {"eval"}


def test_the_seed_decides_which_texts_and_the_same_seed_gives_the_same():
    data = labels(rows(300, "a") + rows(200, "b"))
    assert data.train_test(60, 40, seed=1) == data.train_test(60, 40, seed=1)
    assert set(data.train_test(60, 40, seed=1)[0]["a"]) != set(data.train_test(60, 40, seed=2)[0]["a"])


def test_a_size_beyond_the_smallest_class_is_cut_down_for_all_with_a_warning(caplog: pytest.LogCaptureFixture):
    train, _ = labels(rows(300, "a") + rows(60, "b")).train_test(400, 20, seed=0)
    assert len(train["a"]) == len(train["b"]) < 60
    assert f"{len(train['b'])} training texts of each class and second label, not 200" in caplog.text


def test_a_second_label_is_balanced_within_every_class():
    made = rows(200, "x", "m") + rows(60, "x", "f") + rows(80, "y", "m") + rows(90, "y", "f") + rows(50, "y", "other")
    train, _ = labels(made, second_values=("m", "f")).train_test(80, 40, seed=0)
    for texts in train.values():
        assert sum(" m " in t for t in texts) == sum(" f " in t for t in texts) == 20


def test_a_class_with_too_few_texts_is_named_with_its_count():
    with pytest.raises(BadInput, match=rf"class b has \d training texts, of at least {MIN_TEXTS} needed .50 asked for"):
        labels(rows(300, "a") + rows(6, "b")).train_test(100, 40, seed=0)


def test_a_size_too_small_to_probe_with_is_told_with_the_least():
    with pytest.raises(BadInput, match="a test size of 20 is too small; ask for at least 32"):
        labels([row for c in "ab" for s in "xy" for row in rows(90, c, s)], second_values=("x", "y")).train_test(
            64, 20, 0
        )


def test_a_class_without_one_value_of_the_second_label_is_named():
    with pytest.raises(BadInput, match="class b x has 0 training texts"):
        labels(rows(90, "a", "x") + rows(90, "a", "y") + rows(90, "b", "y"), second_values=("x", "y")).train_test(
            64, 64, 0
        )


# --- stand-ins -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_is_openly_named_and_has_the_shape_of_what_it_stands_for(name: str):
    data = open_labelled(f"stand-in:{name}")
    assert data.identity.startswith(f"stand-in:{name} (sae-probes ")
    train, test = data.train_test(80, 40, seed=0)
    sizes = {len(texts) for texts in train.values()}, {len(texts) for texts in test.values()}
    assert len(train) >= 2 and all(len(of_all) == 1 for of_all in sizes)
    assert STAND_INS[name].stands_for in hub_sets()


def test_stand_ins_for_scr_have_both_labels_in_every_quadrant():
    for name in ("reviews", "persons"):
        data = open_labelled(f"stand-in:{name}")
        frame = pd.concat(data.frames(0))
        counts = frame.groupby(["label", "second"]).size()
        assert data.pairs and all(counts[c, v] >= 70 for pair in data.pairs for c in pair for v in data.second_values)


def test_agnews_has_its_four_classes_and_persons_have_one_occupation_each():
    news = open_labelled("stand-in:ag_news").rows
    assert news["label"].value_counts().to_dict() == dict.fromkeys("0123", 2000)
    assert not open_labelled("stand-in:persons").rows["text"].duplicated().any()


def test_every_binary_set_of_sae_probes_can_be_chosen_by_name_and_by_pattern():
    names = resolve(["sae-probes:*"], {}, Path())
    assert len(names) == 113 == len(sae_probes_names())
    assert resolve(["sae-probes:16[123]_*"], {}, Path()) == [f"sae-probes:{160 + i}_agnews_{i - 1}" for i in (1, 2, 3)]
    assert len(open_labelled("sae-probes:105_click_bait").rows) > 1000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stand-in:ag_new", "unknown data 'stand-in:ag_new'; did you mean 'stand-in:ag_news'"),
        ("fancyzhx/ag_newz", "unknown data 'fancyzhx/ag_newz'; did you mean 'fancyzhx/ag_news'"),
        ("sae-probes:105_clickbait", "no binary set '105_clickbait'; did you mean '105_click_bait'"),
        ("codeparrot/github-code", "runs code from the hub when it is read, which is refused; use stand-in:code"),
        ("nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_a_set_that_does_not_exist_is_told_with_the_nearest_that_does(name: str, message: str):
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        open_labelled(name)


# --- sets of one's own ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Path]:
    """A small table beside a YAML file that describes it."""
    frame = pd.DataFrame(rows(90, "sport", "m") + rows(80, "news", "f") + rows(70, "other", "m"))
    frame.columns = ["body", "topic", "gender"]
    frame["stars"] = [float(i % 2) for i in range(len(frame))]
    frame.to_csv(tmp_path / "topics.csv", index=False)
    frame.to_parquet(tmp_path / "topics.parquet")
    frame.to_json(tmp_path / "topics.jsonl", orient="records", lines=True)

    def write(text: str) -> Path:
        file = tmp_path / "topics.yaml"
        file.write_text(textwrap.dedent(text))
        return file

    return write


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_set_of_ones_own_takes_a_few_lines(own: Callable[..., Path], suffix: str):
    data = open_labelled(str(own(f"file: topics.{suffix}\ntext: body\nlabel: topic\nclasses: [sport, news]")))
    assert data.name == "topics" and set(data.rows["label"]) == {"sport", "news"} and len(data.rows) == 170


def test_a_set_of_ones_own_can_serve_scr(own: Callable[..., Path]):
    data = open_labelled(
        str(own("file: topics.csv\ntext: body\nlabel: topic\nsecond: stars\npairs: [[sport, news]]\nname: mine"))
    )
    assert data.name == "mine" and data.pairs == (("sport", "news"),) and data.second_values == ("0", "1")


def test_its_identity_is_its_content_not_its_place(own: Callable[..., Path], tmp_path: Path):
    text = "file: topics.csv\ntext: body\nlabel: topic"
    first = open_labelled(str(own(text))).identity
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "topics.yaml").write_text(text)
    (elsewhere / "topics.csv").write_bytes((tmp_path / "topics.csv").read_bytes())
    assert open_labelled(str(elsewhere / "topics.yaml")).identity == first
    (elsewhere / "topics.csv").write_text((tmp_path / "topics.csv").read_text().replace("number 3,", "number three,"))
    assert open_labelled(str(elsewhere / "topics.yaml")).identity != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file: topics.csv\ntext: body\nlabel: topic\nclases: [a]",
            "topics.yaml:4: a labelled set has no key 'clases'",
        ),
        ("file: topics.csv\ntext: bodi\nlabel: topic", "topics.yaml:2: no column 'bodi'; did you mean 'body'"),
        ("file: topics.csv\ntext: body", "'label' must name a column"),
        ("text: body\nlabel: topic", "give either 'file' or 'hub'"),
        ("file: gone.csv\ntext: body\nlabel: topic", "gone.csv cannot be read"),
        ("file: topics.xls\ntext: body\nlabel: topic", "topics.xls: expected one of .csv"),
        ("file: topics.csv\ntext: body\nlabel: topic\nclasses: [spurt]", "no text has the class 'spurt'"),
        ("file: topics.csv\ntext: body\nlabel: topic\nsecond: topic", "'second' must name another column than 'topic'"),
        ("file: topics.csv\ntext: body\nlabel: topic\nsecond: body", "'second' must name another column"),
        ("file: topics.csv\ntext: body\nlabel: topic\nsecond: gender\npairs: [[a, b]]", "is no pair of classes"),
        ("file: topics.csv\ntext: body\nlabel: topic\nsecond: stars\npairs: [[sport, sport]]", "is no pair of classes"),
        ("file: topics.csv\ntext: body\nlabel: topic\nsecond: stars\npairs: 5", "'pairs' must be a list, not 5"),
        ("file: topics.csv\ntext: body\nlabel: topic\nclasses: sport", "'classes' must be a list, not 'sport'"),
        ("file: topics.csv\ntext: body\nlabel: topic\npairs: [[sport, news]]", "need 'second'"),
        ("file: topics.csv\ntext: body\nlabel: topic\nsecond: [gender]", "'second' must name a column"),
        ("file: topics.csv\ntext: body\nlabel: body", "'label' must name another column than 'body'"),
        (
            "file: topics.csv\ntext: body\nlabel: topic\nname: stand-in:ag_news",
            "cannot be the name of a set of one's own",
        ),
        ("file: topics.csv\ntext: body\nlabel: topic\nname: [a]", "cannot be the name of a set of one's own"),
    ],
)
def test_every_mistake_in_it_is_one_line_with_its_place(own: Callable[..., Path], text: str, message: str):
    with pytest.raises(BadInput, match=message):
        open_labelled(str(own(text)))


# --- the hub -------------------------------------------------------------------------------------------------------------------

DRAW = """
import json, random
from hedgebench.labelled_sets import open_labelled
news, bios = open_labelled("fancyzhx/ag_news"), open_labelled("LabHC/bias_in_bios_class_set1")
train, test = news.train_test(40, 20, 7)
from sae_bench.sae_bench_utils import dataset_utils
plain = dataset_utils.get_multi_label_train_test_data("fancyzhx/ag_news", 40, 20, 7)
frame = bios.frames(3)[0]
print(json.dumps({
    "same": [train, test] == list(plain),
    "identity": news.identity,
    "bios": {k: len(v) for k, v in bios.train_test(40, 16, 0)[0].items()},
    "columns": sorted(map(str, frame.columns)), "label": sorted(set(frame["label"])), "second": sorted(set(frame["second"])),
}))
"""


def test_hub_sets_are_read_by_name_as_saebench_draws_them(tmp_path: Path):
    news = tmp_path / "news"
    bios = tmp_path / "bios"
    for folder in (news, bios):
        folder.mkdir()
    for split, n in (("train", 60), ("test", 30)):
        frame = pd.DataFrame({"text": [f"{split} {i}" for i in range(4 * n)], "label": [i % 4 for i in range(4 * n)]})
        frame.to_parquet(news / f"{split}.parquet")
        people = [(f"{split} {i}", i % 28, (i // 28) % 2) for i in range(28 * 2 * (n // 2))]
        pd.DataFrame(people, columns=["hard_text", "profession", "gender"]).to_parquet(bios / f"{split}.parquet")
    with serve() as hub:
        hub.datasets = {"fancyzhx/ag_news": news, "LabHC/bias_in_bios": bios}
        home = str(tmp_path / "home")
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": home, "PYTHONPATH": str(REPOSITORY)}
        ran = subprocess.run([sys.executable, "-c", DRAW], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)  # and nothing else was printed there
    assert found["same"] and found["identity"] == f"fancyzhx/ag_news@{COMMIT}"
    assert found["bios"] == dict.fromkeys(("0", "1", "2", "6", "9"), 20)
    assert found["columns"] == ["label", "second", "text"]
    assert {"professor", "nurse"} <= set(found["label"]) and found["second"] == ["female", "male"]


def test_two_sets_of_one_name_are_refused(own: Callable[..., Path], tmp_path: Path):
    own("file: topics.csv\ntext: body\nlabel: topic")
    (tmp_path / "other.yaml").write_text("file: topics.jsonl\ntext: body\nlabel: topic\nname: topics")
    suite = Suite("s", (SaeEntry("s:1", ("memory:a",)),), ())
    found = Identities(suite).labelled((str(tmp_path / "topics.yaml"), str(tmp_path / "other.yaml")))
    assert "two labelled sets are called 'topics'" in str(found)


# --- in a batch ----------------------------------------------------------------------------------------------------------------

PROBE = """
    from dataclasses import dataclass
    from hedgebench import Eval, Metric, Score

    class Count(Eval):
        "Counts the texts of each labelled set."
        name, version, needs = "count", 1, {"sae", "data"}
        metrics = (Metric("texts", "texts"),)
        labelled_sets = {"offline": ("stand-in:yelp_stars", "stand-in:amazon_stars")}

        @dataclass(frozen=True)
        class Config:
            data: tuple[str, ...] = ("offline",)

        def run(self, ctx, cfg):
            for data in ctx.labelled:
                yield Score("texts", len(data.rows), slice_by="dataset", slice_value=data.name)
"""


def run(folder: Path, evals: str, out: str = "out") -> tuple[int, list[dict[str, Any]]]:
    (folder / "suite.yaml").write_text(f"saes: [{{path: sae}}]\nevals: [{evals}]\n")
    code = main(["run", str(folder / "suite.yaml"), "--out", str(folder / out)])
    return code, [record["hedgebench"] for record in read_records(folder / out)]


def test_records_name_the_sets_and_numbers_on_different_data_never_meet(
    own: Callable[..., Path], tmp_path: Path, plugin: Callable[..., Path], save_sae: Callable[..., Path]
):
    save_sae(tmp_path / "sae")
    plugin(PROBE, count="Count")
    own("file: topics.csv\ntext: body\nlabel: topic")
    assert run(tmp_path, "count")[0] == 0
    code, records = run(tmp_path, "count: {data: [topics.yaml]}")
    assert code == 0 and len({r["run_id"] for r in records}) == 2
    configs = [r["config"]["data"] for r in records]
    assert sorted(configs) == [["stand-in:yelp_stars", "stand-in:amazon_stars"], ["topics"]]
    table = read_results(tmp_path / "out")
    assert set(table["data"]) == {r["data"] for r in records} and table["data"].nunique() == 2
    assert "stand-in:yelp_stars (sae-probes" in " ".join(table["data"])
    assert str(tmp_path) not in json.dumps(records)


def test_a_set_that_cannot_be_had_fails_its_runs_and_the_others_go_on(
    tmp_path: Path, plugin: Callable[..., Path], save_sae: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    save_sae(tmp_path / "sae")
    plugin(PROBE, count="Count")
    code, records = run(tmp_path, "count: {data: [stand-in:nothing]}, decoder_bias")
    assert code == 1 and {r["eval"]: r["status"] for r in records} == {"count": "failed", "decoder_bias": "ok"}
    assert "unknown data 'stand-in:nothing'" in capfd.readouterr().err


def test_data_that_is_no_list_of_names_is_told_with_its_line(
    tmp_path: Path, plugin: Callable[..., Path], save_sae: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    save_sae(tmp_path / "sae")
    plugin(PROBE, count="Count")
    assert run(tmp_path, "count: {data: [3]}")[0] == 2
    assert "suite.yaml:2: eval 'count': setting 'data' must be a list of str, not [3]" in capfd.readouterr().err
    assert run(tmp_path, "count: {data: []}")[0] == 2
    assert "setting 'data' names no labelled set" in capfd.readouterr().err
