"""Text: two parts that share nothing, an order the seed decides; tokens: as SAELens's own store makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_stand_in import serve

from hedgebench.data import StoredText, TokenSource, open_text
from hedgebench.texts import PREFIX, part_of
from hedgebench.types import BadInput

REPOSITORY = Path(__file__).parent.parent
WORDS = [f"w{i}" for i in range(3, 60)]


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * (j + 3) + j) % len(WORDS)] for j in range(5 + i % 20)) + f" n{i}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three hundred texts in files of each kind, some of them twice."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [sentence(i) for i in range(300)]
    root = tmp_path / "texts"
    (root / "inner").mkdir(parents=True)
    (root / "a.txt").write_text("\n\n".join(texts[:110]))
    (root / "b.jsonl").write_text(
        "\n".join(json.dumps({"text": text, "id": 1}) for text in [*texts[100:200], "  "]) + "\n"
    )
    pq.write_table(pa.table({"text": [*texts[190:], None], "n": range(111)}), root / "inner" / "c.parquet")
    (root / "README.md").write_text("not text")
    return root


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, **{word: i for i, word in enumerate(WORDS, 3)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_the_two_parts_of_a_folder_share_no_text_and_lose_none(folder: Path) -> None:
    train, evaluation = (list(open_text(str(folder), split).texts(0)) for split in ("train", "eval"))
    assert not set(train) & set(evaluation)
    assert sorted(train + evaluation) == sorted(sentence(i) for i in range(300))
    assert 0.1 < len(evaluation) / 300 < 0.3


def test_texts_that_begin_alike_are_in_the_same_part() -> None:
    passage = "A long time ago, when humans still lived in cities, " * 4
    assert len({part_of(passage[:PREFIX] + f" question {i}") for i in range(50)}) == 1
    assert {part_of(sentence(i)) for i in range(50)} == {"train", "eval"}


def test_the_order_is_a_shuffle_that_the_seed_decides_and_the_data_set_has_the_same(folder: Path) -> None:
    source = open_text(str(folder), "train")
    first = list(source.texts(7))
    assert list(open_text(str(folder), "train").texts(7)) == first
    assert source.dataset(7)["text"] == first
    assert list(source.texts(8)) != first
    assert sorted(source.texts(8)) == sorted(first)


def test_identity_is_the_content_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    before = open_text(str(folder), "eval").identity
    assert before != open_text(str(folder), "train").identity
    moved = folder.rename(tmp_path / "moved")
    assert open_text(str(moved), "eval").identity == before
    (moved / "d.txt").write_text("\n\n".join(f"more {i}" for i in range(50)))
    assert open_text(str(moved), "eval").identity != before


def test_a_single_file_is_a_source_too(folder: Path) -> None:
    assert set(open_text(str(folder / "b.jsonl"), "train").texts(0)) < {sentence(i) for i in range(100, 200)}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": ', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b'{"body": "x"}\n', r"a\.jsonl:1: expected an object with a string 'text'"),
        ("a.jsonl", b'["x"]\n', r"a\.jsonl:1: expected an object"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"a\.jsonl:1: half a surrogate pair"),
        ("a.txt", b"\xff\xfe\xfa", r"a\.txt: cannot be read as text"),
        ("a.parquet", b"PAR1 or not", r"a\.parquet: not a readable parquet file"),
        ("a.csv", b"text\nx\n", r"no text here; expected \.txt, \.jsonl, \.parquet files"),
        ("a.txt", b"\n\n \n\n", "0 distinct texts, and none of them falls in the eval part"),
    ],
)
def test_a_broken_file_is_told_in_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(BadInput, match=words) as caught:
            open_text(str(source))
        assert "\n" not in str(caught.value)


def test_a_parquet_file_without_the_column_names_those_it_has(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"content": ["x"], "id": [1]}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="no column 'text'; it has content, id"):
        open_text(str(tmp_path))


@pytest.mark.parametrize("name", ["ofline", "./none", "/none/at/all", "a b", "", "org/name:a:b:c"])
def test_an_unknown_source_says_what_can_be_given(name: str) -> None:
    with pytest.raises(BadInput, match="use 'offline', a file or folder of text, or a hub data set"):
        open_text(name)
    if name == "ofline":
        with pytest.raises(BadInput, match="did you mean 'offline'"):
            open_text(name)


def test_the_offline_texts_are_distinct_mixed_and_in_two_parts_without_a_common_row() -> None:
    train, evaluation = open_text("offline", "train"), open_text("offline", "eval")
    assert isinstance(train, StoredText)
    assert isinstance(evaluation, StoredText)
    left, right = set(train.texts(0)), set(evaluation.texts(1))
    assert len(left) == len(train) > 200_000
    assert len(right) == len(evaluation) > 50_000
    assert not left & right
    first = list(islice(evaluation.texts(0), 300))
    assert sum("{" in text and ";" in text for text in first) >= 3, "no code among the first texts"
    assert sum(len(text) > 500 for text in first) >= 10, "no prose among the first texts"
    assert open_text().identity == evaluation.identity


# --- tokens -----------------------------------------------------------------------------------------------------------------


def test_batches_are_those_of_saelens_own_store(folder: Path, tokenizer: Any) -> None:
    """The reference is `ActivationsStore` itself, on a TransformerLens model, with its default settings."""
    from sae_lens import ActivationsStore
    from transformer_lens import HookedTransformer

    sizes = {"n_layers": 1, "d_model": 8, "n_ctx": 32, "d_head": 4, "d_vocab": 60, "act_fn": "relu"}
    model = HookedTransformer(sizes, tokenizer=tokenizer)
    source = open_text(str(folder), "train")
    store = ActivationsStore(
        model=model,
        dataset=source.dataset(3),
        streaming=False,
        hook_name="blocks.0.hook_resid_post",
        hook_head_index=None,
        context_size=24,
        d_in=8,
        n_batches_in_buffer=2,
        total_training_tokens=1000,
        store_batch_size_prompts=4,
        train_batch_size_tokens=8,
        prepend_bos=True,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
    )
    for ours in TokenSource(source, model.tokenizer, 3).batches(10, 4, 24):
        assert torch.equal(ours, store.get_batch_tokens(4))
        assert (ours[:, 0] == 1).all()


def test_the_first_batches_do_not_depend_on_how_many_are_asked_for(folder: Path, tokenizer: Any) -> None:
    source = TokenSource(open_text(str(folder), "train"), tokenizer, seed=5)
    few, many = list(source.batches(4, 3, 16)), list(source.batches(8, 3, 16))
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=False))
    assert {batch.shape for batch in many} == {(3, 16)}
    assert many[0].dtype == torch.long
    other = next(TokenSource(source.text, tokenizer, seed=6).batches(1, 3, 16))
    assert not torch.equal(other, many[0])


def test_no_more_text_is_tokenised_than_asked_for(folder: Path, tokenizer: Any) -> None:
    seen = []

    class Counting:
        bos_token_id, eos_token_id, pad_token_id = 1, 2, 2

        def __call__(self, text: str, **kwargs: Any) -> Any:
            seen.append(text)
            return tokenizer(text, **kwargs)

    next(TokenSource(open_text(str(folder), "train"), Counting()).batches(8, 1, 16))
    assert len(seen) <= 5


def test_special_ids_are_bos_eos_and_pad(folder: Path, tokenizer: Any) -> None:
    assert TokenSource(open_text(str(folder)), tokenizer).special_ids == {1, 2}


def test_text_that_runs_out_says_after_how_many_batches(folder: Path, tokenizer: Any) -> None:
    batches = TokenSource(open_text(str(folder), "eval"), tokenizer).batches(1000, 4, 32)
    with pytest.raises(BadInput, match=r"the eval part ends after \d+ of 1000 batches of 4 x 32 tokens"):
        list(batches)


# --- the hub ----------------------------------------------------------------------------------------------------------------


def test_a_hub_data_set_is_streamed_at_one_commit_with_the_same_two_parts(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [{"text": sentence(i), "body": f"body {i}", "n": i} for i in range(200)]
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"text": None}]))
    code = """
        import json
        from hedgebench.data import open_text
        from hedgebench.types import BadInput

        def told(name):
            try:
                return next(open_text(name).texts(0))
            except BadInput as error:
                return str(error)

        train, evaluation = open_text("org/texts", "train"), open_text("org/texts", "eval")
        print(json.dumps({
            "identity": train.identity,
            "train": list(train.texts(0)),
            "again": list(train.texts(0)),
            "dataset": [row["text"] for row in train.dataset(0)],
            "other": list(train.texts(1)),
            "eval": list(evaluation.texts(0)),
            "body": told("org/texts::body"),
            "column": told("org/texts::nope"),
            "config": told("org/texts:nope"),
            "repo": told("org/nope"),
        }))
    """
    with serve() as hub:
        hub.datasets["org/texts"] = tmp_path / "data"
        home = str(tmp_path / "home")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
            env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": home, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["identity"] == f"hub:org/texts@{'0123456789abcdef' * 2}01234567::text:train"
    assert sorted(found["train"] + found["eval"]) == sorted(row["text"] for row in rows)
    assert {part_of(text) for text in found["train"]} == {"train"}
    assert found["train"] == found["again"] == found["dataset"] != found["other"]
    assert found["body"].startswith("body ")
    assert "no column 'nope'; it has text, body, n" in found["column"]
    assert "'org/texts:nope' cannot be read" in found["config"]
    assert "neither a local path nor a data set the hub gives" in found["repo"]
