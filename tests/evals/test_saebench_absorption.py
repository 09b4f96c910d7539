"""Absorption against SAEBench itself, run for real in a process of its own, and everything it must survive."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contexts import make_context
from hedgebench_evals.saebench.absorption import SAEBenchAbsorption
from hedgebench_evals.saebench.absorption_frames import f1_by_letter, k_sparse, settled
from hedgebench_evals.saebench.absorption_probe import find_probe, recorded_model
from hedgebench_evals.saebench.absorption_words import draw, find_words, fixed_vocabulary

from hedgebench.eval import EvalContext
from hedgebench.isolation import upstream
from hedgebench.records import build_record, score_row
from hedgebench.types import BadInput, CannotMeasure, Run, Score

LETTERS = "abcdefghijklmnopqrstuvwxyz"
D_MODEL, HOOK = 32, "blocks.0.hook_resid_post"
TEMPLATE = "{word} has the first letter:"
ENDINGS = [a + b for a in "bdfk" for b in "aeiou"]
SETTINGS = {"max_k_value": 3, "min_feats_for_eval": 5, "min_GT_probe_f1": 0.5, "k_sparse_probe_num_epochs": 20}
"""Small, and otherwise SAEBench's own."""
FEW = {"words_per_letter": 10, "min_GT_probe_f1": 0.1}
"""Few words make poor probes."""


# --- a model that knows first letters, and SAEs that do ------------------------------------------------------------------------


def tokenizer_of(words: list[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["<unk>", "<s>", "</s>", *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def word_list() -> list[str]:
    return [
        "has",
        "the",
        "first",
        "letter:",
        *LETTERS.upper(),
        *(letter + end for letter in LETTERS for end in ENDINGS),
    ]


def letter_model(tokenizer: Any = None, *, knows: bool = True, n_ctx: int = 96) -> Any:
    """Three layers over words; the embedding of a word is its first letter's direction, and noise."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformers import PreTrainedTokenizerFast

    config = HookedTransformerConfig(
        n_layers=3, d_model=D_MODEL, n_ctx=n_ctx, d_head=8, n_heads=4, act_fn="gelu", normalization_type="RMS", positional_embedding_type="rotary", seed=3, initializer_range=0.03, model_name="letters",
    )  # fmt: skip
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        (tokenizer or tokenizer_of(word_list())).save_pretrained(folder)
        model = HookedTransformer(config, PreTrainedTokenizerFast.from_pretrained(folder))
    embedding = 0.2 * torch.randn(model.W_E.shape, generator=torch.Generator().manual_seed(1))
    for token, i in model.tokenizer.get_vocab().items():
        letter = token.strip("▁")[:1].lower()
        if knows and letter and letter in LETTERS:
            embedding[i, LETTERS.index(letter)] += 3.0
    model.embed.W_E.data = embedding
    return model.eval().requires_grad_(False)


def letter_sae(seed: int = 0, hook: str = HOOK, d_in: int = D_MODEL, d_sae: int = 78, **metadata: Any) -> Any:
    """Three latents near each letter's direction, each of which fires for some of its words: letters split and are absorbed."""
    from sae_lens import SAE

    from hedgebench.loaders import prepare

    generator = torch.Generator().manual_seed(seed)
    rows = torch.eye(d_in)[torch.arange(d_sae) % min(26, d_in)] + 0.35 * torch.randn(d_sae, d_in, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    metadata = {"hook_name": hook, "hook_layer": 0, "model_name": "letters", **metadata}
    sae = SAE.from_dict({"architecture": "jumprelu", "d_in": d_in, "d_sae": d_sae, "metadata": metadata})
    zeros = torch.zeros(d_sae)
    weights = {"W_dec": rows, "W_enc": rows.T, "b_dec": torch.zeros(d_in), "b_enc": zeros, "threshold": zeros + 1}
    sae.load_state_dict(weights)
    return prepare(sae)


@pytest.fixture(scope="module")
def model() -> Any:
    return letter_model()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of all tests that use the same model."""
    return tmp_path_factory.mktemp("artifacts")


def settings(**more: Any) -> Any:
    return SAEBenchAbsorption.Config(**{**SETTINGS, **more})


def measure(ctx: EvalContext, **config: Any) -> dict[str, float]:
    return {key(s): s.value for s in SAEBenchAbsorption().run(ctx, settings(**config))}


def key(score: Score) -> str:
    return score.metric if score.slice_by == "all" else f"{score.metric} {score.slice_value}"


class Passes:
    """Counts the passes of a model through its first and its last block."""

    def __init__(self, model: Any) -> None:
        self.model, self.first, self.last = model, 0, 0

    def __enter__(self) -> Passes:
        self.model.add_hook("blocks.0.hook_resid_pre", lambda act, hook: self._count("first"), is_permanent=True)
        self.model.add_hook("blocks.2.hook_resid_post", lambda act, hook: self._count("last"), is_permanent=True)
        return self

    def _count(self, which: str) -> None:
        setattr(self, which, getattr(self, which) + 1)

    def __exit__(self, *_: object) -> None:
        self.model.reset_hooks(including_permanent=True)


# --- equality with SAEBench ----------------------------------------------------------------------------------------------------

PLAIN = """
import json, random, sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
from hedgebench.compat import prepare
prepare()
import numpy as np, torch
import sae_bench.evals.absorption.common as common
import sae_bench.evals.absorption.feature_absorption as feature_absorption
import sae_bench.evals.absorption.main as main
from sae_bench.evals.absorption.vocab import get_alpha_tokens

{make}

# The only changes: no model hub, no files in its own package, and a vocabulary whose order is not another at every call.
main.HookedTransformer.from_pretrained_no_processing = lambda *args, **kwargs: model
common.get_alpha_tokens = feature_absorption.get_alpha_tokens = lambda tokenizer: list(words)
folders = dict(probes_dir=Path("probes").resolve())
main.run_k_sparse_probing_experiment = partial(main.run_k_sparse_probing_experiment, experiment_dir=Path("ks").resolve(), **folders)
main.run_feature_absortion_experiment = partial(main.run_feature_absortion_experiment, experiment_dir=Path("fa").resolve(), sparse_probing_experiment_dir=Path("ks").resolve(), **folders)

config = main.AbsorptionEvalConfig(model_name=model.cfg.model_name, **{settings!r})
Path("out").mkdir()
for turn, name in {turns!r}:
    random.seed({seed}); np.random.seed({seed}); torch.manual_seed({seed})
    main.run_eval(config, [(name, saes[name])], "cpu", "out", force_rerun=True)
    Path("out", name + "_custom_sae_eval_results.json").rename(turn + ".json")
"""


def run_plain(folder: Path, make: str, turns: list[tuple[str, str]], seed: int, **config: Any) -> dict[str, Any]:
    """SAEBench's `run_eval`, SAE after SAE, in a process of its own; each SAE's part right after seeding. Its output by turn."""
    folder.mkdir(exist_ok=True)
    script = PLAIN.format(
        tests=str(Path(__file__).parent),
        make=textwrap.dedent(make),
        settings=config,
        turns=turns,
        seed=seed,
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {turn: json.loads((folder / f"{turn}.json").read_text()) for turn, _ in turns}


TINY = """
from test_saebench_absorption import letter_model, letter_sae
model = letter_model()
words = sorted(get_alpha_tokens(model.tokenizer), key=model.tokenizer.get_vocab().get)
saes = {"a": letter_sae(0)}
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """An SAE with nothing cached, and once more with SAEBench's probe cached."""
    folder = tmp_path_factory.mktemp("plain")
    turns = [("cold", "a"), ("warm", "a")]
    return run_plain(folder, TINY, turns, seed=7, prompt_token_pos=-5, **SETTINGS), folder


def same(ours: dict[str, float], theirs: dict[str, Any]) -> None:
    mean = theirs["eval_result_metrics"]["mean"]
    assert {name: ours[name] for name in mean} == mean
    letters = [row["first_letter"] for row in theirs["eval_result_details"]]
    assert [name.split()[1] for name in ours if name.startswith("full_absorption_rate ")] == letters
    for row in theirs["eval_result_details"]:
        for name, value in row.items():
            if name != "first_letter":
                assert ours[f"{name} {row['first_letter']}"] == value, (name, row)


def test_every_number_equals_a_plain_run_of_saebench(
    model: Any, shared: Path, plain: tuple[dict[str, Any], Path]
) -> None:
    ours = measure(make_context(letter_sae(), model, seed=7, folder=shared))
    theirs = plain[0]["warm"]
    assert len(theirs["eval_result_details"]) >= 15
    assert 0.05 < theirs["eval_result_metrics"]["mean"]["mean_absorption_fraction_score"] < 0.95
    assert theirs["eval_result_metrics"]["mean"]["mean_num_split_features"] > 1
    same(ours, theirs)


def test_saebench_itself_gives_another_number_while_nothing_is_cached(plain: tuple[dict[str, Any], Path]) -> None:
    cold, warm = (plain[0][turn]["eval_result_metrics"]["mean"] for turn in ("cold", "warm"))
    assert cold["mean_absorption_fraction_score"] != warm["mean_absorption_fraction_score"]


def test_the_ground_truth_probe_is_the_one_that_saebench_trains(
    model: Any, shared: Path, plain: tuple[dict[str, Any], Path]
) -> None:
    probe = find_probe(make_context(letter_sae(), model, seed=7, folder=shared), settings(), HOOK)
    folder = plain[1] / "probes" / "letters" / "layer_0"
    theirs = torch.load(folder / "probe.pth", weights_only=False)
    data = np.load(folder / "data.npz")
    assert torch.equal(probe.weight, theirs.weights)
    assert torch.equal(probe.bias, theirs.biases)
    assert np.array_equal(probe.train, data["X_train"])
    assert np.array_equal(probe.test, data["X_test"])
    assert np.array_equal(probe.test_labels, data["y_test"])


def test_our_tables_equal_those_that_saebench_fills_word_by_word(model: Any, shared: Path) -> None:
    from sae_bench.evals.absorption import k_sparse_probing as theirs

    sae = letter_sae()
    ctx = make_context(sae, model, seed=7, folder=shared)
    probe = find_probe(ctx, settings(), HOOK)
    cfg = settled(settings(), sae, probe)
    ours = k_sparse(sae, probe, cfg, "cpu", 7)
    with upstream(7):
        labels = list(zip(probe.train_words, probe.train_labels.tolist(), strict=True))
        k_probes = theirs.train_k_sparse_probes(sae, labels, probe.train, [1, 2, 3], num_epochs=20)
        test = list(zip(probe.test_words, probe.test_labels.tolist(), strict=True))
        raw = theirs.eval_probe_and_sae_k_sparse_raw_scores(sae, probe.module("cpu"), k_probes, test, probe.test)
        metadata = theirs.sae_k_sparse_metadata(sae, probe.module("cpu"), k_probes, "sae", 0)
        metrics = theirs.build_metrics_df(raw, metadata, max_k_value=3)
    for name in ours.raw:
        if name.startswith("score_sparse"):
            assert np.allclose(ours.raw[name], raw[name], rtol=1e-5, atol=1e-6), name
            assert np.array_equal(ours.raw[name] > 0, raw[name] > 0), name
        else:
            assert ours.raw[name].tolist() == raw[name].tolist(), name
    for name in ours.metrics:
        assert all(np.array_equal(x, y) for x, y in zip(ours.metrics[name], metrics[name], strict=True)), name
    assert (
        metrics["f1_probe"].tolist() == f1_by_letter(probe.test_scores("cpu") > 0, probe.test_labels.numpy()).tolist()
    )


def test_f1_is_that_of_scikit_learn_also_where_nothing_is_there() -> None:
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(0)
    labels = generator.integers(0, 20, 150)  # letters 20 to 25 have no word
    predicted = generator.random((150, 26)) < 0.1
    predicted[:, 25] = False  # 0 / 0
    want = [f1_score(labels == i, predicted[:, i], zero_division=0.0) for i in range(26)]
    assert f1_by_letter(predicted, labels).tolist() == want


@pytest.mark.parametrize("sae_seed", [0, 1])
def test_words_encoded_once_or_at_every_step_give_the_same_numbers(model: Any, shared: Path, sae_seed: int) -> None:
    once, always = (
        measure(
            make_context(letter_sae(sae_seed), model, seed=7, folder=shared), precalc_k_sparse_probe_sae_acts=precalc
        )
        for precalc in (True, False)
    )
    assert once == always


# --- the model works once for all SAEs, and no further than the hook point -----------------------------------------------------


def test_recorded_activations_are_bitwise_those_of_the_whole_model(model: Any, shared: Path) -> None:
    ctx, cfg = make_context(letter_sae(), model, seed=7, folder=shared), settings()
    probe = find_probe(ctx, cfg, HOOK)
    recorded = recorded_model(ctx, cfg, HOOK, probe)
    assert recorded.record is not None
    by_letter: dict[str, list[str]] = {}
    for prompt in recorded.record:
        by_letter.setdefault(prompt.split("\n")[-1][0].lower(), []).append(prompt)
    batch = next(own for own in by_letter.values() if 1 < len(own) <= cfg.llm_batch_size)
    whole = model.run_with_cache(batch, names_filter=[HOOK])[1][HOOK][:, -5, :]
    assert torch.equal(recorded.run_with_cache(batch, names_filter=[HOOK])[1][HOOK][:, -5, :], whole)
    assert recorded.to_tokens(batch[0]).shape == model.to_tokens(batch[0]).shape

    fresh = copy.copy(recorded)
    fresh.record = None
    with Passes(model) as passes:
        assert torch.equal(fresh.run_with_cache(batch, names_filter=[HOOK])[1][HOOK][:, -5, :], whole)
    assert (passes.first, passes.last) == (1, 0)


def test_a_record_is_not_read_at_another_place(model: Any, shared: Path) -> None:
    ctx = make_context(letter_sae(), model, seed=7, folder=shared)
    recorded = recorded_model(ctx, settings(), HOOK, find_probe(ctx, settings(), HOOK))
    prompt = [next(iter(recorded.record or {}))]
    with pytest.raises(LookupError, match="only position -5"):
        recorded.run_with_cache(prompt, names_filter=[HOOK])[1][HOOK][:, -6, :]
    with pytest.raises(LookupError, match="only blocks"):
        recorded.run_with_cache(prompt, names_filter=["blocks.1.hook_resid_post"])


def test_the_model_works_once_for_all_saes_and_stops_at_the_hook_point(model: Any, tmp_path: Path) -> None:
    with Passes(model) as first:
        alone = measure(make_context(letter_sae(0), model, folder=tmp_path), **FEW)
    assert first.first > 0
    assert first.last == 0
    with Passes(model) as second:
        again = measure(make_context(letter_sae(0), model, folder=tmp_path), **FEW)
        other = measure(make_context(letter_sae(1), model, folder=tmp_path), **FEW)
    assert second.first == 0
    assert again == alone  # read from disk: to the last digit
    assert other != alone
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} <= {".safetensors", ".lock"}


def test_a_retrained_sae_of_the_same_name_gets_its_own_number(model: Any, shared: Path) -> None:
    contexts = [make_context(letter_sae(seed), model, name="mine", seed=7, folder=shared) for seed in (0, 1)]
    assert (
        measure(contexts[0])["mean_absorption_fraction_score"] != measure(contexts[1])["mean_absorption_fraction_score"]
    )


def test_the_seed_decides_words_prompts_and_probes(model: Any, tmp_path: Path) -> None:
    results = [measure(make_context(letter_sae(), model, seed=s, folder=tmp_path), **FEW) for s in (0, 1)]
    assert results[0]["mean_absorption_fraction_score"] != results[1]["mean_absorption_fraction_score"]
    assert results[0]["probe_f1 a"] != results[1]["probe_f1 a"] or results[0]["probe_f1 b"] != results[1]["probe_f1 b"]


def test_random_state_model_sae_and_folders_stay_as_they_were(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sae_bench

    def files() -> set[Path]:
        package = Path(next(iter(sae_bench.__path__)))
        return {f for f in package.rglob("*") if "__pycache__" not in f.parts} | set(Path.cwd().rglob("*"))

    monkeypatch.chdir(tmp_path)
    sae = letter_sae()
    before = {name: value.clone() for name, value in [*sae.state_dict().items(), *model.state_dict().items()]}
    tokenizer = model.tokenizer.padding_side, model.tokenizer.truncation_side, dict(model.tokenizer.init_kwargs)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy(), files()  # noqa: NPY002
    torch.set_grad_enabled(False)
    try:
        scores = SAEBenchAbsorption().run(make_context(sae, model), settings(**FEW))
        next(scores)
        assert not torch.is_grad_enabled()
        list(scores)
    finally:
        torch.set_grad_enabled(True)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert files() == states[3]
    after = {name: value for name, value in [*sae.state_dict().items(), *model.state_dict().items()]}
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert tokenizer == (
        model.tokenizer.padding_side,
        model.tokenizer.truncation_side,
        dict(model.tokenizer.init_kwargs),
    )


# --- words and prompts ---------------------------------------------------------------------------------------------------------


def test_words_come_in_the_order_of_the_vocabulary_though_the_tokenizers_own_changes() -> None:
    from sae_bench.evals.absorption.vocab import get_alpha_tokens

    tokenizer = tokenizer_of(word_list())
    theirs = [get_alpha_tokens(tokenizer) for _ in range(5)]
    assert any(order != theirs[0] for order in theirs[1:])  # so no seed can repeat a run of SAEBench
    words = find_words(tokenizer, TEMPLATE).words
    assert words == [word for word in word_list() if word.isalpha()]
    assert sorted(words) == sorted(theirs[0])
    assert get_alpha_tokens(fixed_vocabulary(words)) == words


@pytest.mark.parametrize(
    ("template", "position"),
    [(TEMPLATE, -5), ("{word}", -1), ("the letter: first {word} has", -2), ("{word} first {word} letter:", -2)],
)
def test_the_position_of_the_word_is_found(template: str, position: int) -> None:
    assert find_words(tokenizer_of(word_list()), template).position == position


def test_a_position_that_is_given_is_honoured(model: Any, shared: Path, tmp_path: Path) -> None:
    found = measure(make_context(letter_sae(), model, seed=7, folder=shared))
    ctx = make_context(letter_sae(), model, seed=7, folder=shared)
    assert measure(ctx, prompt_token_pos=-5) == found
    assert ctx.details["eval_config"]["prompt_token_pos"] == -5
    # Four from the end is "has", which knows nothing of the word; six from the end, as SAEBench says, is the answer before it.
    with pytest.raises(CannotMeasure, match="for 0 of 26 letters"):
        measure(make_context(letter_sae(), model, folder=tmp_path), words_per_letter=10, prompt_token_pos=-4)
    with pytest.raises(BadInput, match="the line that asks has 5 tokens"):
        measure(make_context(letter_sae(), model), prompt_token_pos=-6)


def test_a_template_that_hides_the_word_is_refused() -> None:
    tokenizer = tokenizer_of(["A", "has", "letter:"])  # every other word is <unk>
    with pytest.raises(BadInput, match="do not depend on the word"):
        find_words(tokenizer, "has letter:{word}")


def pieces_tokenizer() -> Any:
    """A byte-pair tokenizer with a Llama-2-like decoder; it has the word `xyz`, but no merge that makes it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["▁" + letter + end for letter in LETTERS for end in ENDINGS]
    parts = ["▁", "\n", ":", *LETTERS, *LETTERS.upper()]
    vocabulary, merges = {part: i for i, part in enumerate(["<unk>", "<s>", "</s>", *parts])}, []
    for word in [*words, "▁has", "▁the", "▁first", "▁letter", *("▁" + letter for letter in LETTERS.upper())]:
        for i in range(1, len(word)):
            vocabulary.setdefault(word[: i + 1], len(vocabulary))
            merges.append((word[:i], word[i]))
    vocabulary["xyz"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, list(dict.fromkeys(merges)), unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(":", "isolated"),
            pre_tokenizers.Split("▁", "merged_with_next"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_words_that_the_tokenizer_cuts_differently_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = pieces_tokenizer()
    found = find_words(tokenizer, TEMPLATE)
    assert found.position == -6
    assert "xyz" not in found.words
    assert " xba" in found.words
    assert "left out" in caplog.text
    lengths = {len(tokenizer(f"\n{TEMPLATE.format(word=word)}")["input_ids"]) for word in found.words}
    assert len(lengths) == 1


def test_a_word_keeps_the_space_that_some_tokenizers_decode_away(tmp_path: Path) -> None:
    from sae_bench.evals.absorption.common import _parse_probe_data_split

    tokenizer = pieces_tokenizer()
    ctx = make_context(letter_sae(), letter_model(tokenizer, n_ctx=128), folder=tmp_path)
    scores = measure(ctx, **FEW)
    assert ctx.details["eval_config"]["prompt_token_pos"] == -6
    assert scores["num_letters"] >= 5

    import pandas as pd

    probe = find_probe(ctx, settings(**FEW), HOOK)
    assert any(word.startswith(" ") for word in probe.test_words)
    table = pd.DataFrame({"token": probe.test_words})
    _, theirs = _parse_probe_data_split(tokenizer, probe.test, probe.test_labels.tolist(), table)
    assert not any(word.startswith(" ") for word, _ in theirs)  # what SAEBench would ask about
    recorded = recorded_model(ctx, settings(**FEW), HOOK, probe)
    asked = {prompt.split("\n")[-1].removesuffix(" has the first letter:") for prompt in recorded.record or {}}
    assert asked <= set(probe.test_words)


def test_every_letter_keeps_words_for_training_and_test_however_few_are_drawn() -> None:
    words = find_words(tokenizer_of(word_list()), TEMPLATE).words
    for n in (2, 5, 6, 21, 100):
        train, test = draw(words, n, seed=3)
        assert {w[0].lower() for w in train} == {w[0].lower() for w in test} == set(LETTERS)
        assert not set(train) & set(test)
        per_letter = [sum(w[0].lower() == letter for w in train + test) for letter in LETTERS]
        assert max(per_letter) <= n
        assert n > 20 or set(per_letter) == {n}
    assert draw(words, 6, seed=3) == draw(words, 6, seed=3) != draw(words, 6, seed=4)
    train, test = draw(["xa", "ya", "yb"], 5, seed=0)
    assert "xa" in train
    assert len(test) == 1


# --- where there is no honest number -------------------------------------------------------------------------------------------


def test_a_model_whose_probes_are_poor_is_skipped_with_their_f1(tmp_path: Path) -> None:
    blind = letter_model(knows=False)
    for seed in (0, 1):  # the second SAE is told so too: SAEBench's loop ends at the first
        with pytest.raises(
            CannotMeasure,
            match=r"F1 above 0.5 for \d of 26 letters, and 5 are needed .*: a \d\.\d\d, b .*, z \d\.\d\d$",
        ):
            measure(make_context(letter_sae(seed), blind, folder=tmp_path), words_per_letter=6)


def test_letters_below_the_threshold_do_not_count(model: Any, shared: Path) -> None:
    ours = measure(make_context(letter_sae(), model, seed=7, folder=shared), min_GT_probe_f1=0.8)
    counted = {name.split()[1] for name in ours if name.startswith("num_split_features ")}
    f1 = {name.split()[1]: value for name, value in ours.items() if name.startswith("probe_f1 ")}
    assert len(f1) == 26
    assert counted == {letter for letter, value in f1.items() if value > 0.8}
    assert 5 <= len(counted) == ours["num_letters"] < 26


def test_a_vocabulary_without_some_letter_or_with_too_few_words_is_told() -> None:
    without_q = [word for word in word_list() if word[0].lower() != "q"]
    with pytest.raises(CannotMeasure, match="no training word begins with q"):
        measure(make_context(letter_sae(), letter_model(tokenizer_of(without_q))), words_per_letter=6)
    few = ["has", "the", "first", "letter:", *LETTERS]
    with pytest.raises(CannotMeasure, match="too few for SAEBench's prompts"):
        measure(make_context(letter_sae(), letter_model(tokenizer_of(few))))
    with pytest.raises(CannotMeasure, match="no word of letters"):
        measure(make_context(letter_sae(), letter_model(tokenizer_of(["12", ":"]))))


def test_prompts_longer_than_the_model_reads_are_told() -> None:
    with pytest.raises(CannotMeasure, match="have 66 tokens, and the model reads 64"):
        measure(make_context(letter_sae(), letter_model(n_ctx=64)), words_per_letter=6)


@pytest.mark.parametrize(
    "hook", ["blocks.0.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z", "hook_embed"]
)
def test_hook_points_that_saebench_would_not_read_are_refused(model: Any, hook: str) -> None:
    with pytest.raises(BadInput, match="and no other hook point; this SAE's is"):
        measure(make_context(letter_sae(hook=hook), model))


def test_saes_that_do_not_fit_are_refused(model: Any) -> None:
    with pytest.raises(BadInput, match="the model has no hook point"):
        measure(make_context(letter_sae(hook="blocks.9.hook_resid_post"), model))
    with pytest.raises(BadInput, match="width 16, but the model's have 32"):
        measure(make_context(letter_sae(d_in=16), model))
    with pytest.raises(CannotMeasure, match="top 10 latents, and this SAE has 8"):
        measure(make_context(letter_sae(d_sae=8), model))


def test_settings_that_make_no_sense_are_refused() -> None:
    wrong = {
        "words_per_letter": 1,
        "prompt_template": "first letter:",
        "prompt_token_pos": 3,
        "max_k_value": 0,
        "min_feats_for_eval": 1,
        "llm_batch_size": 0,
        "k_sparse_probe_l1_decay": -1.0,
        "f1_jump_threshold": -0.1,
        "min_GT_probe_f1": 7.0,
    }
    for name, value in wrong.items():
        with pytest.raises(BadInput, match=name):
            SAEBenchAbsorption.Config(**{name: value})
    with pytest.raises(BadInput, match="at most the 26 letters"):
        SAEBenchAbsorption.Config(min_feats_for_eval=27)
    with pytest.raises(BadInput, match="no other braces"):
        SAEBenchAbsorption.Config(prompt_template="{word} {letter}:")


def test_the_defaults_are_saebenchs() -> None:
    from dataclasses import asdict

    from sae_bench.evals.absorption.eval_config import AbsorptionEvalConfig

    theirs, ours = asdict(AbsorptionEvalConfig()), asdict(SAEBenchAbsorption.Config())
    found_here = {"prompt_token_pos", "precalc_k_sparse_probe_sae_acts", "words_per_letter"}
    assert {name: theirs[name] for name in ours if name not in found_here} == {
        name: value for name, value in ours.items() if name not in found_here
    }


# --- rows and records ----------------------------------------------------------------------------------------------------------


def test_the_record_is_one_that_saebench_reads_with_the_numbers_of_the_rows(model: Any, shared: Path) -> None:
    from pydantic import TypeAdapter
    from sae_bench.evals.absorption.eval_output import AbsorptionEvalOutput

    from hedgebench.records import Outcome
    from hedgebench.saebench_output import read_scores

    ctx = make_context(letter_sae(), model, seed=7, folder=shared)
    scores = list(SAEBenchAbsorption().run(ctx, settings()))
    rows = tuple(score_row(SAEBenchAbsorption, score) for score in scores)
    run = Run("x", ctx.checkpoint, "saebench_absorption", 1, {}, 7, "letters", "r", None, None, "float32")
    record = build_record(run, Outcome("ok", None, rows, details=ctx.details))
    output = TypeAdapter(AbsorptionEvalOutput).validate_json(json.dumps(record, allow_nan=False))
    assert output.eval_config.random_seed == 7
    assert output.eval_config.prompt_token_pos == -5

    ours = {(s.metric, s.slice_by, s.slice_value): s.value for s in scores}
    read = {(s.metric, s.slice_by, s.slice_value): s.value for s in read_scores(record)}
    assert len(read) == 6 + 5 * int(ours["num_letters", "all", "all"])
    assert {where: ours[where] for where in read} == read
    assert {metric for metric, _, _ in ours.keys() - read.keys()} == {"num_letters", "probe_f1"}


def test_errors_are_those_over_letters_and_words(model: Any, shared: Path) -> None:
    scores = {
        key(s): s
        for s in SAEBenchAbsorption().run(make_context(letter_sae(), model, seed=7, folder=shared), settings())
    }
    mean = scores["mean_full_absorption_score"]
    rates = [s.value for name, s in scores.items() if name.startswith("full_absorption_rate ")]
    assert mean.n == len(rates)
    assert mean.value == pytest.approx(np.mean(rates))
    assert mean.stderr == pytest.approx(np.std(rates, ddof=1) / math.sqrt(len(rates)))
    one = next(s for name, s in scores.items() if name.startswith("full_absorption_rate ") and 0 < s.value < 1)
    words = scores[f"num_probe_true_positives {one.slice_value}"].value
    assert one.n == words
    assert one.value == scores[f"num_full_absorption {one.slice_value}"].value / words
    assert one.stderr == pytest.approx(math.sqrt(one.value * (1 - one.value) / words))


# --- a real model --------------------------------------------------------------------------------------------------------------

SMOL = """
from pathlib import Path
import pandas as pd
from contexts import make_context
from hedgebench.artifacts import Artifacts
from hedgebench.loaders import load_sae
from hedgebench.models import load_model
from hedgebench_evals.saebench.absorption_probe import find_probe
from hedgebench_evals.saebench.absorption import SAEBenchAbsorption
from sae_bench.evals.absorption.probing import save_probe_and_data
model = load_model("smollm2-135m")
saes = {name: load_sae(Path(CHECKPOINTS) / name) for name in ("batchtopk-mse-s0", "matryoshka-snap-s0")}
for sae in saes.values():
    sae.cfg.metadata.hook_layer = 8
# our artifacts, placed as SAEBench's cache
cfg = SAEBenchAbsorption.Config(words_per_letter=20)
probe = find_probe(make_context(saes["batchtopk-mse-s0"], model, seed=5, folder=Path(ARTIFACTS)), cfg, "blocks.8.hook_resid_post")
words = probe.vocabulary
folder = Path("probes") / model.cfg.model_name / "layer_8"
save_probe_and_data(probe.module("cpu"), {"X_train": probe.train, "X_test": probe.test, "y_train": probe.train_labels, "y_test": probe.test_labels}, folder)
pd.DataFrame({"token": probe.train_words}).to_csv(folder / "train_df.csv")
pd.DataFrame({"token": probe.test_words}).to_csv(folder / "test_df.csv")
"""


@pytest.mark.slow
def test_on_a_real_model_every_number_equals_a_plain_run_of_saebench(tmp_path: Path) -> None:
    from hedgebench.loaders import load_sae
    from hedgebench.models import load_model

    checkpoints, artifacts = Path(__file__).parents[2] / "evals" / "checkpoints", tmp_path / "artifacts"
    model, names = load_model("smollm2-135m"), ("batchtopk-mse-s0", "matryoshka-snap-s0")
    config = {"min_feats_for_eval": 8, "min_GT_probe_f1": 0.5}
    ours = {}
    for name in names:
        ctx = make_context(load_sae(checkpoints / name), model, seed=5, folder=artifacts)
        scores = SAEBenchAbsorption().run(ctx, SAEBenchAbsorption.Config(words_per_letter=20, **config))
        ours[name] = {key(s): s.value for s in scores}
        assert ctx.details["eval_config"]["prompt_token_pos"] == -6
    make = f"CHECKPOINTS, ARTIFACTS = {str(checkpoints)!r}, {str(artifacts)!r}\n{SMOL}"
    theirs = run_plain(tmp_path / "plain", make, [(name, name) for name in names], seed=5, **config)
    for name in names:
        same(ours[name], theirs[name])
