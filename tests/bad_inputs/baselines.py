"""`check`, `baseline` and `export`: scores tables, rules, READMEs. `tests/test_scores_table.py` has more tables that are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bad_inputs.cases import Case

ROOM = "tables, baselines and exports"
CHECK = ["check", "here.csv", "--baseline", "before.csv"]
EXPORT = ["export", "here.csv", "--model-card", "--out", "README.md"]


def _tables(here: Path) -> None:
    from known_scores import alone, table

    for name in ("here", "before"):
        table(alone("a", [1.0, 2.0]) + alone("b", [3.0, 4.5])).to_csv(here / f"{name}.csv", index=False)


def case(what: str, args: Sequence[str], spoil: Callable[[Path], object], said: str) -> Case:
    """Two good tables, then something is done."""

    def make(here: Path) -> Sequence[str]:
        _tables(here)
        spoil(here)
        return args

    return Case(ROOM, what, make, said)


def baseline(what: str, content: bytes | Callable[[bytes], bytes], said: str, name: str = "before.csv") -> Case:
    """Another baseline."""

    def spoil(here: Path) -> None:
        made = content((here / "before.csv").read_bytes()) if callable(content) else content
        (here / name).write_bytes(made)

    return case(f"baseline {name}: {what}", [*CHECK[:-1], name], spoil, said)


def rules(text: str, said: str, what: str | None = None) -> Case:
    """A config of checks."""
    content = text.encode("utf-8", "surrogateescape")
    return case(
        what or f"rules: `{text}`".replace("\n", " "),
        [*CHECK, "--config", "check.yaml"],
        lambda here: (here / "check.yaml").write_bytes(content),
        said,
    )


def readme(what: str, content: bytes, said: str = "README.md: its metadata cannot be read") -> Case:
    """A README to write the numbers into."""
    return case(
        f"README.md: {what}", [*EXPORT, "--sae", "a"], lambda here: (here / "README.md").write_bytes(content), said
    )


def _instead(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


def _parquet(cut: float) -> Callable[[Path], object]:
    def spoil(here: Path) -> None:
        import pandas as pd

        file = here / "before.parquet"
        pd.read_csv(here / "before.csv").to_parquet(file)
        file.write_bytes(file.read_bytes()[: int(cut * file.stat().st_size)])

    return spoil


def _odd_rows(change: Callable[[Any], Any]) -> Callable[[Path], object]:
    def spoil(here: Path) -> None:
        from known_scores import alone, table

        change(table(alone("a", [1.0, 2.0]))).to_csv(here / "before.csv", index=False)

    return spoil


LAUGHS = "\n".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9) if i else 'ha'}]" for i in range(12))
CASES = [
    baseline("no byte", b"", "before.csv: no scores table can be read"),
    baseline("a text", b"hello", "it has no column 'sae'"),
    baseline("bytes", bytes(range(256)), "before.csv: no scores table"),
    baseline("not UTF-8", _instead(b"an_eval", b"an_\xff"), "no scores table can be read"),
    baseline("half a line", lambda data: data[: len(data) - 30], "before.csv: no scores table: its last line ends halfway; write or copy it again"),
    baseline("a line of more cells", _instead(b"\n", b"\n1,2,3\n"), "before.csv: row 1 has no slice_by"),
    baseline("a value that is a word", _instead(b",1.0,", b",e,"), "value is 'e' in row 1, not a finite number; leave the row out"),
    baseline("a value that is infinite", _instead(b",1.0,", b",inf,"), "value is 'inf' in row 1"),
    baseline("a value that is missing", _instead(b",1.0,", b",,"), "row 1 has no value"),
    baseline("a value of 400 digits", _instead(b",1.0,", b"," + b"9" * 400 + b","), "row 1, not a finite number"),
    baseline("no column `metric`", _instead(b",metric,", b",measure,"), "it has no column 'metric'"),
    baseline("a column twice", _instead(b",params,", b",metric,"), "it has 2 columns 'metric'"),
    baseline("another suffix", b"x", "no such results folder", "before.txt"),
    baseline("Excel's", b"PK\x03\x04", "no such results folder", "before.xlsx"),
    baseline("a Parquet file that is a text", b"hello", "no scores table can be read", "before.parquet"),
    case("baseline before.parquet: half a file", [*CHECK[:-1], "before.parquet"], _parquet(0.5), "before.parquet: no scores table can be read"),
    case("baseline before.parquet: all but the end", [*CHECK[:-1], "before.parquet"], _parquet(0.99), "before.parquet: no scores table can be read"),
    case("baseline before.csv: a folder", CHECK, lambda here: ((here / "before.csv").unlink(), (here / "before.csv").mkdir()), "before.csv: no scores table can be read"),
    case("baseline before.csv: a link to itself", CHECK, lambda here: ((here / "before.csv").unlink(), (here / "before.csv").symlink_to("before.csv")), "before.csv: no scores table can be read"),
    case("baseline: no rows", CHECK, _odd_rows(lambda t: t[:0]), "before.csv: there is no number to compare"),
    case("baseline: SAEs of other names", CHECK, _odd_rows(lambda t: t.assign(sae="z", digest="z")), "nothing to compare"),
    case("baseline: a name for two SAEs", CHECK, _odd_rows(lambda t: t.assign(digest=["x", "y"])), "digest of sae 'a' is 'x' in row 1 and 'y' in row 2; give two SAEs two names"),
    case("a results folder without records", ["check", "empty", "--baseline", "before.csv"], lambda here: (here / "empty").mkdir(), "there is no number to compare"),
    case("`--markdown` is a folder", [*CHECK, "--markdown", "m"], lambda here: (here / "m").mkdir(), "cannot write m"),
    case("`--junit` below a file", [*CHECK, "--junit", "here.csv/j.xml"], lambda here: None, "cannot write here.csv/j.xml"),
    case("`baseline --out x.txt`", ["baseline", "here.csv", "--out", "x.txt"], lambda here: None, "x.txt: a table is written as .csv or .parquet"),
    case("`table --stats summary` of a table that is none", ["table", "x.csv", "--stats", "summary"], lambda here: (here / "x.csv").write_text("a,b\n1,2\n"), "x.csv: no scores table: it has no column 'sae'"),
    case("`plot --format gif`", ["plot", "here.csv", "--out", "out", "--format", "gif"], lambda here: None, "unknown format 'gif': a figure is written as png, svg, pdf"),
    case("`leaderboard --out x.txt`", ["leaderboard", "here.csv", "--out", "x.txt"], lambda here: None, "x.txt: a leaderboard is written as .html, .md or .csv"),
    # rules
    rules("judge: recipe", "check.yaml:1: 'judge' is 'recipe'; did you mean 'recipes'?"),
    rules("judge: [recipes]", "'judge' is ['recipes']"),
    rules("tolerance: 1", "a config of checks has no key 'tolerance'; did you mean 'float_tolerance'?"),
    rules("float_tolerance: -1", "'float_tolerance' must be a number from 0, not -1"),
    rules("float_tolerance: .nan", "'float_tolerance' must be a number from 0, not nan"),
    rules("float_tolerance: true", "'float_tolerance' must be a number from 0, not True"),
    rules(f"float_tolerance: 1{'0' * 400}", "'float_tolerance' must be a number from 0", "rules: `float_tolerance` of 400 digits"),
    rules("match: [a]", "'match' is a mapping from names of SAEs here to their names in the baseline"),
    rules("match: {a: 1}", "'a' is the name of an SAE in the baseline, not 1"),
    rules("match: {a: a, b: a}", "'a' of the baseline is matched twice"),
    rules("match: {c: a}", "no SAE here is called 'c'"),
    rules("match: {a: c}", "no SAE in the baseline is called 'c'"),
    rules("metrics: 3", "'metrics' is a mapping from `eval.metric` to what holds for it, not 3"),
    rules("metrics: {an_eval.quality: 1}", "'an_eval.quality' is a mapping such as `{tolerance: 0.01}`, not 1"),
    rules("metrics: {an_eval.qualty: {tolerance: 1}}", "no metric is called 'an_eval.qualty'; did you mean 'an_eval.quality'?"),
    rules("metrics: {an_eval.quality: {tol: 1}}", "a metric has no key 'tol'; did you mean 'tolerance'?"),
    rules("metrics: {an_eval.quality: {tolerance: much}}", "'tolerance' must be a number from 0 or a share such as 2%, not 'much'"),
    rules("metrics: {an_eval.quality: {tolerance: .inf}}", "'tolerance' must be a number from 0 or a share"),
    rules(f"metrics: {{an_eval.quality: {{tolerance: {'9' * 400}%}}}}", "'tolerance' must be a number from 0 or a share", "rules: a share of 400 digits"),
    rules("metrics: {an_eval.quality: {better: up}}", "'better' is 'up'; known: higher, lower"),
    rules("metrics: {an_eval.quality: {ignore: 1}}", "'ignore' is true or false, not 1"),
    rules("- a", "check.yaml: a config of checks is a mapping of keys and values"),
    rules("a: 1\na: 2", "check.yaml:2: not valid YAML: key 'a' is given twice"),
    rules("judge: \udcff", "check.yaml: cannot read a config of checks: it is not UTF-8", "rules: not UTF-8"),
    rules(LAUGHS, "check.yaml: it stands for more than 100000 values", "rules: anchors that stand for 9^11 texts"),
    case("rules: no such file", [*CHECK, "--config", "none.yaml"], lambda here: None, "none.yaml: cannot read a config of checks"),
    # export
    case("`export` of two SAEs without --sae", EXPORT, lambda here: None, "--sae says whose numbers: one of a, b"),
    case("`export --sae c`", [*EXPORT, "--sae", "c"], lambda here: None, "no SAE is called 'c'"),
    case("`export` of a table that is none", ["export", "x.csv", "--model-card"], lambda here: (here / "x.csv").write_text("a,b\n1,2\n"), "x.csv: no scores table: it has no column 'sae'"),
    case("`export --out` is a folder", [*EXPORT, "--sae", "a"], lambda here: (here / "README.md").mkdir(), "cannot read README.md: Is a directory"),
    readme("metadata that is a list", b"---\n- a\n---\n"),
    readme("metadata that is no YAML", b"---\na: [\n---\n"),
    readme("a model index that is a number", b"---\nmodel-index: 1\n---\n"),
    readme("results that are numbers", b"---\nmodel-index:\n- name: a\n  results: [1]\n---\n"),
    readme("not UTF-8", b"\xff\xfe"),
    readme("a tag that would run code", b"---\na: !!python/object/apply:os.system ['touch code-was-run']\n---\n"),
]  # fmt: skip
