"""Suites."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bad_inputs import good
from bad_inputs.cases import CANARY, Case

ROOM = "suite"
RUN = ["run", "suite.yaml", "--out", "out"]
LAUGHS = "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9) if i else 'ha'}]" for i in range(12))
"""Nine of nine of nine ...: 9^11 texts in a kilobyte."""


def _write(text: str | bytes) -> Callable[[Path], Sequence[str]]:
    def make(here: Path) -> Sequence[str]:
        good.sae(here / "good")
        (here / "suite.yaml").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        return RUN

    return make


def whole(what: str, text: str | bytes, said: str, code: int = 2) -> Case:
    """A suite of this text."""
    return Case(ROOM, what, _write(text), said, code)


def top(line: str, said: str, code: int = 2, what: str | None = None) -> Case:
    """A suite with another line at the top."""
    key = line.partition(":")[0]
    lines = {"saes": "saes: [{path: good}]", "evals": "evals: [decoder_bias]", key: line}
    return whole(what or f"`{line}`", "\n".join(lines.values()) + "\n", said, code)


def entry(line: str, said: str, code: int = 2, what: str | None = None) -> Case:
    """A suite whose entry of `saes:` has a further line, or another `path`."""
    lines = ["path: good"] * (not line.startswith(("path:", "release:", "controls:"))) + line.split("\n")
    text = "evals: [decoder_bias]\nsaes:\n  - " + "\n    ".join(lines) + "\n"
    return whole(what or f"`saes: [{{{', '.join(line.splitlines())}}}]`", text, said, code)


def evals(line: str, said: str, code: int = 2, what: str | None = None) -> Case:
    """A suite with other evals."""
    return top(f"evals: {line}", said, code, what)


def _folder(here: Path) -> Sequence[str]:
    (here / "suite.yaml").mkdir()
    return RUN


def _pipe(here: Path) -> Sequence[str]:
    os.mkfifo(here / "suite.yaml")
    return RUN


def _loop(here: Path) -> Sequence[str]:
    (here / "suite.yaml").symlink_to("suite.yaml")
    return RUN


def _nameless(text: str) -> Callable[[Path], Sequence[str]]:
    def make(here: Path) -> Sequence[str]:
        _write(text)(here)
        return RUN[:2]

    return make


FINE = "saes: [{path: good}]\nevals: [decoder_bias]\n"
CASES = [
    # the file
    Case(ROOM, "no such file", lambda here: ["run", "none.yaml"], "none.yaml: cannot read a suite: No such file or directory"),
    Case(ROOM, "a folder", _folder, "suite.yaml: cannot read a suite: it is a folder"),
    Case(ROOM, "a pipe", _pipe, "suite.yaml: cannot read a suite: it is no file"),
    Case(ROOM, "a device without end", lambda here: ["run", "/dev/zero"], "/dev/zero: cannot read a suite: it is no file"),
    Case(ROOM, "a link to itself", _loop, "suite.yaml: cannot read a suite"),
    Case(ROOM, "a name of 5000 letters", lambda here: ["run", "x" * 5000], "cannot read a suite: File name too long"),
    whole("an empty file", "", "suite.yaml: a suite is a mapping of keys and values"),
    whole("a number", "3", "a suite is a mapping of keys and values"),
    whole("a list", "- a", "a suite is a mapping of keys and values"),
    whole("no YAML", "name: {", "suite.yaml:1: not valid YAML"),
    whole("a tab for indentation", "saes:\n\t- path: good\n", "suite.yaml:2: not valid YAML"),
    whole("two documents", FINE + "---\n" + FINE, "suite.yaml:3: not valid YAML"),
    whole("not UTF-8", b"name: \xff\xfe\n", "suite.yaml: cannot read a suite: it is not UTF-8"),
    whole("a NUL", "name: a\x00b\n", "suite.yaml: not valid YAML"),
    whole("a key given twice", FINE + "evals: [bias_alignment]\n", "suite.yaml:3: not valid YAML: key 'evals' is given twice"),
    whole("brackets 100 000 deep", "[" * 100_000, "suite.yaml: not valid YAML"),
    whole("mappings 1000 deep", "\n".join(" " * i + "a:" for i in range(1000)), "suite.yaml: not valid YAML"),
    whole("2 MiB", FINE + "#" * 2 * 2**20, "suite.yaml: cannot read a suite: larger than 1 MiB"),
    whole("anchors that stand for 9^11 texts", LAUGHS, "suite.yaml: it stands for more than 100000 values, which is no suite"),
    whole("an anchor in itself", "saes: &a [*a]\nevals: [decoder_bias]\n", "suite.yaml:1: not valid YAML: an anchor stands for itself"),
    whole("a mapping in itself", "saes: &a {b: *a}\n", "suite.yaml:1: not valid YAML"),
    whole("a tag that would run code", f"name: !!python/object/apply:os.system ['touch {CANARY}']\n" + FINE, "suite.yaml:1: not valid YAML: could not determine a constructor"),
    whole("a tag that would import", "name: !!python/name:os.system\n" + FINE, "suite.yaml:1: not valid YAML: could not determine a constructor"),
    whole("an unknown tag", "name: !suite x\n" + FINE, "suite.yaml:1: not valid YAML: could not determine a constructor"),
    whole("a number of 5000 digits", f"time_limit: {'9' * 5000}\n" + FINE, "suite.yaml:1: not valid YAML: a value that cannot be read"),
    whole("a date that is none", "name: 2020-13-45\n" + FINE, "suite.yaml:1: not valid YAML: a value that cannot be read"),
    whole("a merge of no mapping", "<<: 3\n" + FINE, "suite.yaml:1: not valid YAML"),
    # the top
    top("sedes: [0]", "suite.yaml:3: a suite has no key 'sedes'; did you mean 'seeds'?"),
    top("zzz: 1", "suite.yaml:3: a suite has no key 'zzz'; known: data, dtype, evals"),
    top(f"? {'k' * 200_000}\n: 1", "a suite has no key 'kkk", what="a key of 200 000 letters"),
    top("1: 2", "a suite has no key '1'"),
    top("name: [a]", "suite.yaml:3: 'name' must be a text, not ['a']"),
    top("name: 3", "'name' must be a text, not 3"),
    top("name: ''", "'name' must be a text, not ''"),
    top("name: !!binary aGk=", "'name' must be a text, not b'hi'"),
    top(f"name: {'[' * 50}{']' * 50}", "'name' must be a text", what="`name` is 50 lists in each other"),
    Case(ROOM, "`name: ../../escape`, without --out", _nameless(FINE + "name: ../../escape\n"), "suite.yaml:3: 'name' is '../../escape', which is no folder name"),
    Case(ROOM, "`name: /tmp/escape`, without --out", _nameless(FINE + "name: /tmp/escape\n"), "'name' is '/tmp/escape', which is no folder name"),
    Case(ROOM, "`name: ..`, without --out", _nameless(FINE + "name: ..\n"), "'name' is '..', which is no folder name"),
    Case(ROOM, "a name of 5000 letters, without --out", _nameless(FINE + f"name: {'x' * 5000}\n"), "cannot write to the results folder out/xxx"),
    top("model: 3", "suite.yaml:3: 'model' must be a text, not 3"),
    top("model: [gpt2]", "'model' must be a text, not ['gpt2']"),
    top("model: gtp2", "unknown model 'gtp2'; did you mean"),
    top("model: ../../etc", "no such folder"),
    top("model: good", "good: not a model's folder, there is no config.json in it"),
    top(f"model: {'x' * 5000}", "unknown model", what="`model` of 5000 letters"),
    top("data: 3", "'data' must be a text, not 3"),
    top("data: {a: b}", "'data' must be a text"),
    top("data: ' '", "'data' must be a text, not ' '"),
    top("saes: good", "suite.yaml:1: 'saes' must be a list with at least one entry"),
    top("saes:", "'saes' must be a list with at least one entry"),
    top("saes: []", "'saes' must be a list with at least one entry"),
    top("saes: {path: good}", "'saes' must be a list with at least one entry"),
    top("saes: [good]", "an entry of 'saes' is a mapping such as `path: FOLDER`, not 'good'"),
    top("saes: [3]", "an entry of 'saes' is a mapping"),
    top("saes: [null]", "an entry of 'saes' is a mapping"),
    top("saes: [[{path: good}]]", "an entry of 'saes' is a mapping"),
    top("saes: [{}]", "an entry of 'saes' has exactly one of 'path', 'release', 'controls'"),
    whole("no `saes`", "evals: [decoder_bias]\n", "'saes' must be a list with at least one entry"),
    whole("no `evals`", "saes: [{path: good}]\n", "'evals' must be a list with at least one entry"),
    top("seeds: 3", "suite.yaml:3: 'seeds' must be a list of different whole numbers from 0, not 3"),
    top("seeds: many", "'seeds' must be a list of different whole numbers from 0, not 'many'"),
    top("seeds: []", "'seeds' must be a list of different whole numbers"),
    top("seeds:", "'seeds' must be a list of different whole numbers from 0, not None"),
    top("seeds: [0, 0]", "'seeds' must be a list of different whole numbers"),
    top("seeds: [-1]", "'seeds' must be a list of different whole numbers"),
    top("seeds: [0.5]", "'seeds' must be a list of different whole numbers"),
    top("seeds: [true]", "'seeds' must be a list of different whole numbers"),
    top("seeds: [.nan]", "'seeds' must be a list of different whole numbers"),
    top("seeds: [9223372036854775808]", "'seeds' must be a list of different whole numbers"),
    top("seeds: [[0]]", "'seeds' must be a list of different whole numbers"),
    top("seeds: {0: 1}", "'seeds' must be a list of different whole numbers"),
    top("dtype: float31", "suite.yaml:3: 'dtype' is 'float31'; did you mean 'float32'?"),
    top("dtype: 32", "'dtype' is 32"),
    top("dtype: [float32]", "'dtype' is ['float32']"),
    top("dtype:", "'dtype' is None"),
    top("time_limit: 0", "suite.yaml:3: 'time_limit' must be a number above 0, not 0"),
    top("time_limit: -1", "'time_limit' must be a number above 0, not -1"),
    top("time_limit: .nan", "'time_limit' must be a number above 0, not nan"),
    top("time_limit: .inf", "'time_limit' must be a number above 0, not inf"),
    top("time_limit: yes", "'time_limit' must be a number above 0, not True"),
    top("time_limit: long", "'time_limit' must be a number above 0, not 'long'"),
    top("time_limit: [1]", "'time_limit' must be a number above 0"),
    top(f"time_limit: 1{'0' * 400}", "'time_limit' must be a number above 0", what="`time_limit` of 400 digits"),
    top("ray: 3", "suite.yaml:3: 'ray' is a mapping such as `num_gpus: 1`, not 3"),
    top("ray: [num_gpus]", "'ray' is a mapping"),
    top("ray: {gpus: 1}", "'ray' has no key 'gpus'; did you mean 'num_gpus'?"),
    top("ray: {address: 3}", "'address' must be a text, not 3"),
    top("ray: {num_cpus: -1}", "'num_cpus' must be a number above 0, not -1"),
    top("ray: {num_cpus: .nan}", "'num_cpus' must be a number above 0, not nan"),
    top("ray: {num_cpus: one}", "'num_cpus' must be a number above 0, not 'one'"),
    top("ray: {num_cpus: true}", "'num_cpus' must be a number above 0, not True"),
    top("ray: {num_gpus: -1}", "'num_gpus' must be a number above 0, not -1"),
    top("ray: {num_gpus: .inf}", "'num_gpus' must be a number above 0, not inf"),
    top("ray: {num_gpus: [1]}", "'num_gpus' must be a number above 0, not [1]"),
    top("ray: {num_cpus: 0, num_gpus: 0}", "'ray' takes no core and no GPU"),
    # an entry of `saes:`
    entry("pat: x", "an entry of 'saes' has no key 'pat'; did you mean 'path'?"),
    entry("path: good\nrelease: r", "an entry of 'saes' has exactly one of 'path', 'release', 'controls'"),
    entry("path: 3", "'path' must be a text, not 3"),
    entry("path:", "must be a text, and nothing is there"),
    entry("path: ''", "'path' must be a text, not ''"),
    entry("path: [good]", "'path' must be a text, not ['good']"),
    entry("path: nowhere", "nowhere: no such folder"),
    entry("path: goo*d*x", "suite.yaml:3: no folder or file of weights matches 'goo*d*x'"),
    entry(f"path: {'x' * 5000}", "no such folder", what="`path` of 5000 letters"),
    entry("path: ~nobody-of-this-name/x", "no such folder"),
    entry('path: "a\\0b"', "a name with control characters, or that is not UTF-8; rename it"),
    entry('path: "\\e[31mred\\n"', "no folder or file of weights matches"),
    entry('path: "\\uD800"', "a name with control characters, or that is not UTF-8; rename it"),
    entry("path: /dev/zero", "/dev/zero: not a folder"),
    entry("path: memory:x", "memory:x: SAELens knows no release 'memory'"),
    entry("release: gpt2-small-res-jb", "a 'release' needs 'ids': one SAE id or a list of them, `*` allowed"),
    entry("release: gpt2-small-res-jb\nids: 3", "a 'release' needs 'ids'"),
    entry("release: gpt2-small-res-jb\nids: []", "a 'release' needs 'ids'"),
    entry("release: gpt2-small-res-jb\nids: [3]", "a 'release' needs 'ids'"),
    entry("release: gpt2-small-res-jb\nids: {a: b}", "a 'release' needs 'ids'"),
    entry("release: gpt2-small-res-jb\nids: ''", "a 'release' needs 'ids'"),
    entry("release: gpt2-small-res-jb\nids: no*thing", "suite.yaml:3: no SAE of release 'gpt2-small-res-jb' matches 'no*thing'"),
    entry("release: gpt2-small-res-jb\nids: ../../../etc/passwd", "release 'gpt2-small-res-jb' has no SAE '../../../etc/passwd'"),
    entry("release: gpt2-smal-res-jb\nids: blocks.7.hook_resid_pre", "SAELens knows no release 'gpt2-smal-res-jb'; did you mean 'gpt2-small-res-jb'?"),
    entry("release: gpt2-smal-res-jb\nids: '*'", "SAELens knows no release 'gpt2-smal-res-jb'; did you mean"),
    entry("release: 3\nids: a", "'release' must be a text, not 3"),
    entry("release:\nids: a", "must be a text, and nothing is there"),
    entry("ids: a", "'ids' goes with 'release', which is not there"),
    entry("controls: random", "'controls' must be a list out of random, permuted, pca, oracle"),
    entry("controls: []", "'controls' must be a list out of random"),
    entry("controls: [randm]", "unknown control 'randm'; did you mean 'random'?"),
    entry("controls: [3]", "unknown control '3'"),
    entry("controls: ['dead=2']", "'dead=2': the amount of a dial is a number above 0 and at most 1"),
    entry("controls: ['dead=nan']", "'dead=nan': the amount of a dial is a number above 0 and at most 1"),
    entry("controls: [random]\ngroup: g", "'group' goes with a 'path' or a 'release', not with 'controls'"),
    entry("controls: [random]\nname: g", "'name' goes with a 'path' or a 'release', not with 'controls'"),
    entry("controls: [random]\nworld: good", "'world' goes with a 'path' or a 'release', not with 'controls'"),
    whole("controls like an SAE that is not there", "saes: [{path: good}, {controls: [random], like: nothing}]\nevals: [decoder_bias]\n", "suite.yaml:1: no SAE of the suite is like 'nothing'"),
    whole("controls like a number", "saes: [{path: good}, {controls: [random], like: 3}]\nevals: [decoder_bias]\n", "'like' must be a text, not 3"),
    whole("controls like a name of 5000 letters", "saes: [{path: good}, {controls: [random], like: %s}]\nevals: [decoder_bias]\n" % ("x" * 5000), "no SAE of the suite is like 'xxx"),
    entry("like: good", "'like' goes with 'controls', which is not there"),
    entry("control: 3", "'control' must be a text, not 3"),
    entry("control: ''", "'control' must be a text, not ''"),
    entry("second_control: [a]", "'second_control' must be a text"),
    whole("an unreadable control", "saes: [{path: good, control: ~nobody-of-this-name/x}]\nevals: [grow_delta]\n", "the control of good: ~nobody-of-this-name/x: no such folder"),
    entry("group: 3", "'group' must be a text, not 3"),
    entry("world: 3", "'world' must be a text, not 3"),
    entry("world: nowhere", "'world' is 'nowhere', and there is no such folder"),
    entry("world: good", "'world' is 'good', which holds no toy world"),
    entry("world: ~nobody-of-this-name/x", "'world' is '~nobody-of-this-name/x', and there is no such folder"),
    entry("tags: [a]", "'tags' must be a mapping from names to plain values"),
    entry("tags: 3", "'tags' must be a mapping from names to plain values"),
    entry("tags: {a: [1]}", "'tags' must be a mapping from names to plain values"),
    entry("tags: {a: {b: c}}", "'tags' must be a mapping from names to plain values"),
    entry("tags: {a: 2020-01-01}", "'tags' must be a mapping from names to plain values"),
    entry("tags: {a: .nan}", "'tags' must be a mapping from names to plain values"),
    entry("tags: {a: !!binary aGk=}", "'tags' must be a mapping from names to plain values"),
    entry("tags: {hook: 3}", "tag 'hook' must be a text, not 3"),
    entry("tags: {model: 3}", "tag 'model' must be a text, not 3"),
    entry("tags: {loss: 3}", "tag 'loss' must be a text, not 3"),
    entry("tags: {architecture: true}", "tag 'architecture' must be a text, not True"),
    entry("tags: {objective: 1}", "tag 'objective' must be a text, not 1"),
    entry("tags: {k: many}", "tag 'k' must be a number, not 'many'"),
    entry("tags: {l0: true}", "tag 'l0' must be a number, not True"),
    entry("tags: {train_seed: 0.5}", "tag 'train_seed' must be a whole number, not 0.5"),
    entry("tags: {train_tokens: 1000000000000000000000}", "tag 'train_tokens' must be a whole number"),
    entry("name: 3", "'name' must be a text, not 3"),
    entry("name: [a]", "'name' must be a text, not ['a']"),
    # evals
    evals("decoder_bias", "suite.yaml:2: 'evals' must be a list with at least one entry"),
    evals("", "'evals' must be a list with at least one entry", what="`evals:` without a value"),
    evals("[]", "'evals' must be a list with at least one entry"),
    evals("{decoder_bias: {}}", "'evals' must be a list with at least one entry"),
    evals("[3]", "an entry of 'evals' is a name or `{name: {setting: value}}`, not 3"),
    evals("[null]", "an entry of 'evals' is a name"),
    evals("[[decoder_bias]]", "an entry of 'evals' is a name"),
    evals("[{decoder_bias: {}, grow_delta: {}}]", "an entry of 'evals' is a name"),
    evals("[{decoder_bias: [a]}]", "an entry of 'evals' is a name"),
    evals("['']", "unknown eval ''"),
    evals("[decoder_bais]", "suite.yaml:2: unknown eval 'decoder_bais'; did you mean 'decoder_bias'?"),
    evals("[../../decoder_bias]", "unknown eval '../../decoder_bias'"),
    evals(f"[{'x' * 100_000}]", "unknown eval 'xxx", what="an eval's name of 100 000 letters"),
    evals("[{saebench_core: {n_batchs: 3}}]", "suite.yaml:2: eval 'saebench_core' has no setting 'n_batchs'; did you mean 'n_batches'?"),
    evals("[{saebench_core: {n_batches: three}}]", "setting 'n_batches' must be int, not 'three'"),
    evals("[{saebench_core: {n_batches: 2.5}}]", "setting 'n_batches' must be int, not 2.5"),
    evals("[{saebench_core: {n_batches: true}}]", "setting 'n_batches' must be int, not True"),
    evals("[{saebench_core: {n_batches: [1]}}]", "setting 'n_batches' must be int, not [1]"),
    evals("[{saebench_core: {n_batches: }}]", "setting 'n_batches' must be int, not None"),
    evals("[{saebench_core: {n_batches: 0}}]", "n_batches must be at least 1, not 0"),
    evals("[{saebench_core: {n_batches: -3}}]", "n_batches must be at least 1, not -3"),
    evals("[{saebench_tpp: {probe_lr: .nan}}]", "setting 'probe_lr' must be float, not nan"),
    evals("[{saebench_tpp: {n_values: 5}}]", "setting 'n_values' must be a list of int, not 5"),
    evals("[{saebench_tpp: {n_values: [a]}}]", "setting 'n_values' must be a list of int"),
    evals("[{saebench_tpp: {data: [nowhere]}}]", "unknown data 'nowhere'"),
    evals("[{saebench_tpp: {data: []}}]", "data names no labelled set"),
    evals("[{saebench_tpp: {data: none.yaml}}]", "none.yaml: cannot read a labelled set"),
]  # fmt: skip
