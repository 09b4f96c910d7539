"""Packages that bring an eval or a loader. `tests/test_registry.py` has more of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bad_inputs import good
from bad_inputs.cases import Case

ROOM = "plugin package"
FINE = """
from dataclasses import dataclass
from hedgebench import Eval, Metric, Score

class Answer(Eval):
    name, version, draws = "answer", 1, False
    metrics = (Metric("answer", "the answer"),)

    def run(self, ctx, cfg):
        yield Score("answer", 42.0)
"""


def case(what: str, source: str, said: str, name: str = "answer", point: str = "Answer", group: str = "evals") -> Case:
    """An installed package whose eval (or loader) is asked for."""
    module = f"plugin_{''.join(c if c.isalnum() else '_' for c in what)}"

    def make(here: Path) -> Sequence[str]:
        good.sae(here / "good")
        dist = here / "site" / f"{module}-1.0.dist-info"
        dist.mkdir(parents=True)
        (here / "site" / f"{module}.py").write_text(source)
        (dist / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (dist / "entry_points.txt").write_text(f"[hedgebench.{group}]\n{name} = {module}:{point}\n")
        if group == "loaders":
            return ["inspect", "zoo:x"]
        return ["run", "--sae", "good", "--eval", name, "--out", "out"]

    return Case(ROOM, what, make, said)


def changed(what: str, old: str, new: str, said: str) -> Case:
    """A good eval with one change."""
    assert FINE.count(old) == 1
    return case(what, FINE.replace(old, new), said)


CASES = [
    case("it raises while it is imported", "raise RuntimeError('no GPU here')", "is broken: RuntimeError: no GPU here"),
    case("it exits while it is imported", "import sys; sys.exit('no API key')", "is broken: SystemExit: no API key"),
    case("it interrupts while it is imported", "raise KeyboardInterrupt", "is broken: KeyboardInterrupt"),
    case("it raises what is no Exception", "raise GeneratorExit('over')", "is broken: GeneratorExit: over"),
    case("it imports what is not there", "import no_such_module", "is broken: ModuleNotFoundError: No module named 'no_such_module'"),
    case("it is no Python", "def (", "is broken: SyntaxError"),
    case("its error is of many lines", "raise ValueError('one\\ntwo\\x1b[31m')", "is broken: ValueError: one"),
    case("its class is not there", FINE, "is broken: AttributeError", point="Anser"),
    case("it is a function", "def Answer(): ...", "expected a subclass of hedgebench.Eval, found <function"),
    case("it is a module", "import sys as Answer", "expected a subclass of hedgebench.Eval, found <module"),
    changed("it has another name", '"answer", 1', '"anser", 1', "its `name` is 'anser', but it is registered as 'answer': they must be equal"),
    changed("version 0", '"answer", 1', '"answer", 0', "`version` must be a whole number from 1, found 0"),
    changed("a version that is a text", '"answer", 1', '"answer", "1"', "`version` must be a whole number from 1, found '1'"),
    changed("it needs what there is not", "    metrics =", "    needs = {'gpu'}\n    metrics =", "`needs` must be a set out of"),
    changed("needs that are a text", "    metrics =", "    needs = 'sae'\n    metrics =", "`needs` must be a set out of"),
    changed("needs that are None", "    metrics =", "    needs = None\n    metrics =", "`needs` must be a set out of"),
    changed("no metric", '(Metric("answer", "the answer"),)', "()", "`metrics` must be a tuple of Metric with distinct names, found ()"),
    changed("metrics that are None", '(Metric("answer", "the answer"),)', "None", "`metrics` must be a tuple of Metric with distinct names, found None"),
    changed("a metric twice", '(Metric("answer", "the answer"),)', '(Metric("answer", "a"), Metric("answer", "b"))', "`metrics` must be a tuple of Metric with distinct names"),
    changed("metrics that are texts", '(Metric("answer", "the answer"),)', '("answer",)', "`metrics` must be a tuple of Metric with distinct names"),
    changed("`run` takes too little", "def run(self, ctx, cfg)", "def run(self, ctx)", "`run` must take (self, ctx, cfg), found (self, ctx)"),
    changed("`run` is a number", "def run(self, ctx, cfg):\n        yield", "run = 3\n    def other(self):\n        yield", "`run` must take (self, ctx, cfg)"),
    changed("no `run`", "def run(", "def walk(", "it overrides neither `run(self, ctx, cfg)` nor `run_many(self, ctxs, cfg)`"),
    changed("settings that are a mapping", "    metrics =", "    Config = dict\n    metrics =", "`Config` must be a frozen dataclass"),
    changed("settings that may be changed", "    metrics =", "    @dataclass\n    class Config:\n        a: int = 1\n    metrics =", "`Config` must be frozen: write @dataclass(frozen=True)"),
    changed("a setting without a default", "    metrics =", "    @dataclass(frozen=True)\n    class Config:\n        a: int\n    metrics =", "every field of `Config` needs a default; without one: a"),
    case("a loader that is a number", "load = 3", "expected a function from a reference to an SAE or None, found 3", "zoo", "load", "loaders"),
    case("a loader that raises", "def load(ref): raise KeyError('no such model')", "loader 'zoo' of 'plugin_a_loader_that_raises' failed: KeyError: 'no such model'; zoo:x: SAELens knows no release 'zoo'", "zoo", "load", "loaders"),
    case("a loader that gives no SAE", "def load(ref): return 3", "failed: TypeError: it gave a int, not a sae_lens.SAE", "zoo", "load", "loaders"),
    case("a loader that exits", "import sys\ndef load(ref): sys.exit('no licence')", "failed: SystemExit: no licence; zoo:x: SAELens knows no release 'zoo'", "zoo", "load", "loaders"),
]  # fmt: skip
