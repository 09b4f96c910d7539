"""HedgeBench's sources with a switch at every statement that may be a guard: in memory, nothing on the disk is changed.

Switched off,

- a `raise` is passed over; in an `except` block it becomes a bare `raise`, so that the error goes on without our words;
- an `except` block that raises nothing becomes a bare `raise`;
- a warning, or a line on standard error, is not told; in an `except` block it becomes a bare `raise`;
- a `return None` or `return False` below an `if` is passed over, and of a returned `a and b` a part is true.
"""

from __future__ import annotations

import ast
import builtins
import json
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

PACKAGES = {"hedgebench": "hedgebench", "hedgebench_evals": "evals"}
"""Where their sources lie."""


class Note(NamedTuple):
    """A statement that was come by."""

    place: str
    """`file:line`; of a part of a returned `a and b`, `file:line.column`."""
    texts: list[str]
    """Of the error that it raises or answers."""
    below: str | None
    """Where the error that it answers was raised, if by a statement with a switch."""


class Switches:
    """What the instrumented sources call."""

    def __init__(self) -> None:
        self.off = ""
        """The place of the statement that is switched off."""
        self.journal: Path | None = None
        """Takes the notes, those of worker processes too."""

    def on(self, place: str) -> bool:
        """Whether a statement is carried out."""
        return place != self.off

    def error(self, place: str, error: Any) -> BaseException:
        """What a `raise` raises."""
        made: BaseException = error() if isinstance(error, type) else error
        self.note(place, made)
        made.__dict__["place"] = place
        return made

    def part(self, place: str, value: Any) -> Any:
        """A part of a returned `a and b`."""
        if not value:
            self.note(place)
        return value

    def note(self, place: str, error: BaseException | None = None) -> bool:
        """Write down that a statement is come by."""
        if self.journal is not None:
            answered = sys.exc_info()[1]
            said = error or answered
            texts = [str(text) for text in (said, *said.args)] if said else []
            with self.journal.open("a") as file:
                file.write(json.dumps(Note(place, texts, getattr(answered, "place", None))) + "\n")
        return True


SWITCHES = Switches()


def install() -> None:
    """From now on the packages are imported with switches."""
    assert not PACKAGES.keys() & sys.modules.keys(), "HedgeBench was imported before"
    builtins.__dict__["_switches_"] = SWITCHES
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname.partition(".")[0] in PACKAGES else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:  # past the cache of compiled files, which is for the real ones
        package, *inner = fullname.split(".")
        file = Path(PACKAGES[package], *inner[:-1], Path(self.path).name if inner else "__init__.py")
        return compile(instrumented(self.get_data(self.path), str(file)), self.path, "exec", dont_inherit=True)


def instrumented(source: str | bytes, file: str) -> ast.Module:
    """A source with switches, which it finds in the builtin `_switches_`."""
    module = ast.parse(source)
    _Instrument(file).visit(module)
    return ast.fix_missing_locations(module)


class _Instrument(ast.NodeTransformer):
    def __init__(self, file: str) -> None:
        self.file = file
        self.answers = self.below_if = self.says_so = False
        """Whether a statement is in an `except` block, below an `if`, in a function that says yes or no."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        says_so = isinstance(node.returns, ast.Name) and node.returns.id == "bool"
        return self._within(node, answers=False, below_if=False, says_so=says_so)

    def visit_If(self, node: ast.If) -> ast.AST:
        return self._within(node, below_if=True)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        self._within(node, answers=True)
        if not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
            first = _made("if _switches_.on(PLACE): _switches_.note(PLACE)\nelse: raise", PLACE=self._place(node))
            node.body.insert(0, first)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if node.exc is None:
            return node
        place = self._place(node)
        node.exc = _expression("_switches_.error(PLACE, ERROR)", PLACE=place, ERROR=node.exc)
        return self._switched(node, "_switches_.on(PLACE)", place)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if not _tells(node.value):
            return node
        return self._switched(node, "_switches_.on(PLACE) and _switches_.note(PLACE)", self._place(node))

    def visit_Return(self, node: ast.Return) -> ast.AST:
        value = node.value
        if isinstance(value, ast.BoolOp) and isinstance(value.op, ast.And) and self.says_so:
            for i, part in enumerate(value.values):
                place = ast.Constant(f"{self.file}:{part.lineno}.{part.col_offset}")
                value.values[i] = _expression(
                    "not _switches_.on(PLACE) or _switches_.part(PLACE, VALUE)", PLACE=place, VALUE=part
                )
        says_no = isinstance(value, ast.Constant) and (value.value is None or value.value is False)
        if says_no and self.below_if and not self.answers:
            return self._switched(node, "_switches_.on(PLACE) and _switches_.note(PLACE)", self._place(node))
        return node

    def _within(self, node: ast.AST, **now: bool) -> ast.AST:
        before = {key: getattr(self, key) for key in now}
        self.__dict__.update(now)
        self.generic_visit(node)
        self.__dict__.update(before)
        return node

    def _place(self, node: ast.stmt | ast.ExceptHandler) -> ast.Constant:
        return ast.Constant(f"{self.file}:{node.lineno}")

    def _switched(self, node: ast.stmt, condition: str, place: ast.Constant) -> ast.stmt:
        otherwise = "raise" if self.answers else "pass"
        made: ast.stmt = _made(f"if {condition}: STATEMENT\nelse: {otherwise}", PLACE=place, STATEMENT=node)
        return made


def _tells(call: ast.expr) -> bool:
    """Whether this is a warning, or goes to standard error."""
    if not isinstance(call, ast.Call):
        return False
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    to = [ast.unparse(word.value) for word in call.keywords if word.arg == "file"]
    return name in ("warning", "tell") or (name == "print" and to == ["sys.stderr"])


def _made(text: str, **parts: ast.AST) -> Any:
    """A statement in which names stand for parts."""

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return parts.get(node.id, node)

        def visit_Expr(self, node: ast.Expr) -> ast.AST:
            self.generic_visit(node)
            return node.value if isinstance(node.value, ast.stmt) else node

    return Fill().visit(ast.parse(text).body[0])


def _expression(text: str, **parts: ast.AST) -> Any:
    return _made(text, **parts).value
