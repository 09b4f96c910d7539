"""Training configs. `tests/training/test_config.py` has more of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bad_inputs.cases import Case

ROOM = "training config"
HEAD = "model: smollm2-135m\nhook: blocks.8.hook_resid_post\ntokens: 4000\n"
SAE = "saes:\n  - architecture: batchtopk\n    width: 8\n    k: 2\n"


def case(what: str, text: str | bytes, said: str) -> Case:
    """A config of this text."""
    content = text if isinstance(text, bytes) else text.encode()

    def make(here: Path) -> Sequence[str]:
        (here / "train.yaml").write_bytes(content)
        return ["train", "train.yaml", "--out", "out"]

    return Case(ROOM, what, make, said)


def top(line: str, said: str, what: str | None = None) -> Case:
    """Another line at the top."""
    key = line.partition(":")[0]
    lines = [old for old in HEAD.splitlines() if not old.startswith(f"{key}:")]
    return case(what or f"`{line}`", "\n".join([*lines, line, SAE]), said)


def sae(line: str, said: str, what: str | None = None) -> Case:
    """Another line of its SAE."""
    key = line.partition(":")[0]
    lines = [old for old in SAE.splitlines()[1:] if old.strip(" -").partition(":")[0] != key]
    lines = [f"    {old.strip(' -')}" for old in lines] + [f"    {line}"]
    return case(what or f"an SAE with `{line}`", HEAD + "saes:\n  -" + "\n".join(lines)[3:] + "\n", said)


CASES = [
    Case(ROOM, "no such file", lambda here: ["train", "none.yaml", "--out", "out"], "none.yaml: cannot read a training config"),
    Case(ROOM, "a folder", lambda here: ((here / "t").mkdir(), ["train", "t", "--out", "out"])[1], "t: cannot read a training config: it is a folder"),
    case("an empty file", "", "train.yaml: a training config is a mapping of keys and values"),
    case("not UTF-8", b"model: \xff", "train.yaml: cannot read a training config: it is not UTF-8"),
    case("a tag that would run code", "model: !!python/object/apply:os.system ['touch code-was-run']\n", "train.yaml:1: not valid YAML"),
    case("no `saes`", HEAD, "'saes' must be a list of mappings such as `architecture: batchtopk`"),
    case("no `tokens`", HEAD.replace("tokens: 4000\n", "") + SAE, "'tokens' is missing"),
    top("hok: x", "train.yaml:4: there is no key 'hok'; did you mean 'hook'?"),
    top("model: 3", "'model' must be a text, not 3"),
    top("model: gtp2", "unknown model 'gtp2'; did you mean"),
    top("hook: [a, b]", "'hook' is one hook point"),
    top("tokens: many", "'tokens' must be a whole number, not 'many'"),
    top("tokens: 0", "'tokens' must be above 0, not 0"),
    top("tokens: 1e6", "'tokens' must be a whole number, not 1000000.0"),
    top("data: nowhere", "unknown data 'nowhere'"),
    top("data_seed: -1", "'data_seed' must be a whole number from 0, not -1"),
    top("lr: .nan", "'lr' must be a number, not nan"),
    top(f"lr: 1{'0' * 400}", "'lr' must be a number", "`lr` of 400 digits"),
    top("normalize: maybe", "'normalize' must be true or false, not 'maybe'"),
    top("save_dtype: float61", "'save_dtype' is 'float61'; did you mean 'float16'?"),
    top("context_size: 1", "'context_size' must be at least 2"),
    top("saes_at_once: -1", "'saes_at_once' must be a whole number from 0 (all), not -1"),
    top("batch_tokens: -1", "'batch_tokens' must be above 0, not -1"),
    sae("architecture: batchtop", "'architecture' is 'batchtop'; did you mean 'batchtopk'?"),
    sae("architecture: transcoder", "'transcoder' is no SAE of one hook point"),
    sae("width: 0", "'width' must be above 0, not 0"),
    sae("width: 8.5", "'width' must be a whole number, not 8.5"),
    sae("width: 1000000000000", "training these SAEs at once takes 32000.0 GB, and ... GB are available: train fewer or narrower ones in one config"),
    sae("k: 9", "'k' must be above 0 and at most the width 8, not 9"),
    sae("k: two", "'k' must be a number, not 'two'"),
    sae("loss: mze", "'loss' is 'mze'; did you mean 'mse'?"),
    sae("loss: []", "'loss' is an empty list"),
    sae("train_seed: one", "'train_seed' must be a whole number, not 'one'"),
    sae("train_seed: -1", "'train_seed' must be a whole number from 0, not -1"),
    sae("train_seed: 9223372036854775808", "'train_seed' must be a whole number from 0"),
    sae("snap_at: 1.0", "'snap_at' is a fraction of training between 0 and 1"),
    sae("name: ../escape", "'name' gives '../escape', which is no folder name"),
    sae("name: /tmp/escape", "'name' gives '/tmp/escape', which is no folder name"),
    sae('name: "{width.__class__}"', "'name' has a field that is none"),
    sae('name: "{width:9999999999}"', "'name' has a field that is none: {width:9999999999}"),
    sae('name: "{k"', "'name' has a field that is none"),
    sae("grow: 3", "'grow' is a mapping such as `{from: 64, add: 64, to: 512}`"),
    sae("l1: 1", "'l1' does not apply to batchtopk"),
]  # fmt: skip
