"""Training configs: what a file stands for, and one line with its place for every mistake in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hedgebench.training.config import read_config
from hedgebench.types import BadInput

HEAD = "model: m\nhook: blocks.0.hook_resid_post\ntokens: 4_000\n"
SAE = "saes:\n  - architecture: batchtopk\n    width: 8\n    k: 2\n"
GOOD = HEAD + SAE  # the mistakes below are written on line 4 before `saes:`, or on lines after line 7


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def _write(text: str) -> Path:
        path = tmp_path / "train.yaml"
        path.write_text(text)
        return path

    return _write


def sae(text: str) -> str:
    """A config whose only SAE is `text`, which begins on line 5."""
    first, *rest = text.split("\n")
    return HEAD + "saes:\n" + "\n".join([f"  - {first}", *(f"    {line}" for line in rest)])


def test_a_file_gives_its_values_and_the_defaults(write):
    config = read_config(write(GOOD + "lr: 1e-3\nsave_dtype: float16\n"))
    assert (config.model, config.hook, config.tokens, config.lr) == ("m", "blocks.0.hook_resid_post", 4000, 1e-3)
    assert (config.data, config.data_seed, config.save_dtype, config.steps) == ("offline", 0, "float16", 4)
    (recipe,) = config.saes
    assert (recipe.name, recipe.width, recipe.k, recipe.loss) == ("batchtopk-mse-s0", 8, 2.0, "mse")


def test_lists_stand_for_every_combination_in_the_order_of_the_file(write):
    text = 'architecture: [topk, batchtopk]\nname: "{architecture}-{k:g}-{loss}-{train_seed}"\nwidth: 8\nk: [2, 3]\n'
    config = read_config(write(sae(text + "loss: [mse, l2, snap]\ntrain_seed: [0, 5]")))
    names = [recipe.name for recipe in config.saes]
    assert len(names) == len(set(names)) == 2 * 2 * 3 * 2
    assert names[:3] == ["topk-2-mse-0", "topk-2-mse-5", "topk-2-l2-0"]
    assert all(r.name == f"{r.architecture}-{r.k:g}-{r.loss}-{r.train_seed}" for r in config.saes)


def test_several_entries_follow_each_other_and_levels_are_no_grid(write):
    more = "  - architecture: matryoshka_batchtopk\n    width: 8\n    k: 2\n    levels: [2, 4, 8]\n    balance: [0.5, 2]\n    name: m{balance}\n"
    config = read_config(write(GOOD + more))
    assert [r.name for r in config.saes] == ["batchtopk-mse-s0", "m0.5", "m2.0"]
    assert {r.levels for r in config.saes[1:]} == {(2, 4, 8)}


def test_a_model_or_text_beside_the_file_is_found_from_any_folder(write, tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    (tmp_path / "texts").mkdir()
    path = write(GOOD + "data: texts\n")
    seen = []
    for folder, name in ((tmp_path, "train.yaml"), (tmp_path.parent, path)):
        monkeypatch.chdir(folder)
        seen.append(read_config(name))
    assert seen[0] == seen[1]
    assert (Path(seen[0].model), Path(seen[0].data)) == (tmp_path / "m", tmp_path / "texts")


def test_the_config_of_the_repositorys_checkpoints_gives_twelve_saes():
    config = read_config(Path(__file__).parents[2] / "evals/checkpoints/train.yaml")
    assert sorted(r.name for r in config.saes) == sorted(
        f"{kind}-{loss}-s{seed}"
        for kind in ("batchtopk", "matryoshka")
        for loss in ("mse", "l2", "snap")
        for seed in (0, 1)
    )
    assert config.tokens >= 1_000_000
    assert {(r.width, r.k) for r in config.saes} == {(512, 20.0)}


MISTAKES = [
    # the whole
    (GOOD.replace("hook:", "hok:"), 2, "there is no key 'hok'; did you mean 'hook'?"),
    (GOOD.replace("tokens: 4_000\n", ""), 1, "'tokens' is missing"),
    (GOOD.replace("4_000", "many"), 3, "'tokens' must be a whole number, not 'many'"),
    (GOOD.replace("4_000", "1e6"), 3, "'tokens' must be a whole number, not 1000000.0"),
    (GOOD.replace("4_000", "0"), 3, "'tokens' must be above 0, not 0"),
    (GOOD.replace("model: m", "model: 3"), 1, "'model' must be a text, not 3"),
    (GOOD.replace("hook: ", "hook: [a, b] #"), 2, "'hook' is one hook point; crosscoders and transcoders, of several,"),
    (GOOD.replace("hook: ", "hook: {a: b} #"), 2, "'hook' is one hook point; crosscoders and transcoders, of several,"),
    (GOOD + "lr: fast\n", 8, "'lr' must be a number, not 'fast'"),
    (GOOD + "lr: .nan\n", 8, "'lr' must be a number, not nan"),
    (GOOD + "lr: -1\n", 8, "'lr' must be above 0, not -1.0"),
    (GOOD + "normalize: maybe\n", 8, "'normalize' must be true or false, not 'maybe'"),
    (GOOD + "context_size: 1\n", 8, "'context_size' must be at least 2"),
    (GOOD + "batch_tokens: 0\n", 8, "'batch_tokens' must be above 0"),
    (GOOD + "sequences_per_pass: 0\n", 8, "'sequences_per_pass' must be above 0"),
    (GOOD + "norm_batches: 0\n", 8, "'norm_batches' must be above 0"),
    (GOOD + "saes_at_once: -1\n", 8, "'saes_at_once' must be a whole number from 0 (all), not -1"),
    (GOOD + "dead_after_tokens: 0\n", 8, "'dead_after_tokens' must be above 0"),
    (GOOD + "threshold_lr: 0\n", 8, "'threshold_lr' must be above 0"),
    (GOOD + "buffer_sequences: 2\n", 8, "the buffer holds less than one batch: raise 'buffer_sequences'"),
    (GOOD + "lr_warm_up: 0.7\nlr_decay: 0.7\n", 8, "'lr_warm_up' and 'lr_decay' are fractions"),
    (GOOD + "save_dtype: float61\n", 8, "'save_dtype' is 'float61'; did you mean 'float16'?"),
    (GOOD + "tokens: 5\n", 8, "not valid YAML: key 'tokens' is given twice"),
    (HEAD, 1, "'saes' must be a list of mappings"),
    (HEAD + "saes: []\n", 4, "'saes' must be a list of mappings"),
    (HEAD + "saes: [batchtopk]\n", 4, "'saes' must be a list of mappings"),
    (GOOD + SAE.removeprefix("saes:\n"), 4, "two SAEs are called 'batchtopk-mse-s0'; give `name:` a field"),
    (GOOD.replace("k: 2", "k: [2, 3]"), 4, "two SAEs are called 'batchtopk-mse-s0'; give `name:` a field"),
    # one SAE
    (sae("width: 8\nk: 2"), 5, "'architecture' is missing"),
    (sae("architecture: batchtopk\nwidth: 8"), 5, "batchtopk needs 'k'"),
    (sae("architecture: batchtopk\nk: 2"), 5, "'width' is missing"),
    (sae("architecture: batchtop\nwidth: 8\nk: 2"), 5, "'architecture' is 'batchtop'; did you mean 'batchtopk'?"),
    (sae("architecture: transcoder\nwidth: 8\nk: 2"), 5, "'transcoder' is no SAE of one hook point"),
    (sae("architecture: jumprelu_skip_transcoder\nwidth: 8"), 5, "'jumprelu_skip_transcoder' is no SAE of one hook"),
    (sae("width: 8\narchitecture: [topk, crosscoder]\nk: 2"), 6, "'crosscoder' is no SAE of one hook point"),
    (sae("architecture: autoencoder\nwidth: 8"), 5, "'architecture' is 'autoencoder'; known: batchtopk, "),
    (sae("architecture: topk\nwidth: 8\nk: 2\nlosss: l2"), 8, "there is no key 'losss'; did you mean 'loss'?"),
    (sae("architecture: topk\nwidth: 8\nk: 2\nloss: snapp"), 8, "'loss' is 'snapp'; did you mean 'snap'?"),
    (sae("architecture: topk\nwidth: 8\nk: 2\nloss: [mse, 3]"), 8, "'loss' must be a text, not 3"),
    (sae("architecture: topk\nwidth: 8\nk: 2\ntrain_seed: [0, one]"), 8, "'train_seed' must be a whole number"),
    (sae("architecture: topk\nwidth: 8\nk: 2\nloss: []"), 8, "'loss' is an empty list"),
    (sae("architecture: topk\nwidth: 8\nk: 2.5"), 7, "'k' of topk must be a whole number, not 2.5"),
    (sae("architecture: topk\nwidth: 8\nk: 9"), 7, "'k' must be above 0 and at most the width 8, not 9"),
    (sae("architecture: topk\nwidth: 8\nk: two"), 7, "'k' must be a number, not 'two'"),
    (sae("architecture: topk\nk: 2\nwidth: 0"), 7, "'width' must be above 0, not 0"),
    (sae("architecture: topk\nwidth: 8\nk: 2\nl1: 3"), 8, "'l1' does not apply to topk"),
    (sae("architecture: topk\nwidth: 8\nk: 2\nsnap_at: 1.0"), 8, "'snap_at' is a fraction of training between 0 and 1"),
    (sae("architecture: topk\nwidth: 8\nk: 2\nname: a/b"), 8, "'name' gives 'a/b', which is no folder name"),
    (sae("architecture: topk\nwidth: 8\nk: 2\nname: .."), 8, "'name' gives '..', which is no folder name"),
    (sae('architecture: topk\nwidth: 8\nk: 2\nname: "{seed}"'), 8, "'name' has a field that is none: 'seed'"),
    (sae('architecture: topk\nwidth: 8\nk: 2\nname: "{k"'), 8, "'name' has a field that is none"),
    (sae("architecture: standard\nwidth: 8"), 5, "standard needs 'l1'"),
    (sae("architecture: standard\nwidth: 8\nl1: -1"), 7, "'l1' and 'balance' are from 0 up"),
    (sae("architecture: matryoshka_batchtopk\nwidth: 8\nk: 2"), 5, "matryoshka_batchtopk needs 'levels'"),
    (
        sae("architecture: matryoshka_batchtopk\nwidth: 8\nk: 2\nlevels: [2, 4]"),
        8,
        "'levels' must rise to the width 8, not [2, 4]",
    ),
    (sae("architecture: matryoshka_batchtopk\nwidth: 8\nk: 2\nlevels: 4"), 8, "'levels' must be a list of whole"),
]


@pytest.mark.parametrize(("text", "line", "message"), MISTAKES, ids=[message[:60] for *_, message in MISTAKES])
def test_a_mistake_is_one_line_with_its_place(write, text, line, message):
    path = write(text)
    with pytest.raises(BadInput) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}:{line}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="cannot read a training config: No such file"):
        read_config(tmp_path / "none.yaml")
