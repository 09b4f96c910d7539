"""The arrows between the rooms: imports run one way, and the reading side knows no torch."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    f"{package}.{path.relative_to(ROOT / folder).with_suffix('').as_posix().replace('/', '.')}".removesuffix(
        ".__init__"
    ): path
    for folder, package in (("hedgebench", "hedgebench"), ("evals", "hedgebench_evals"))
    for path in sorted((ROOT / folder).rglob("*.py"))
}
READING = (
    "results",
    "records",
    "finished",
    "columns",
    "scores_table",
    "saebench_output",
    "saebench_rows",
    "plots",
    "figures",
    "l0_figures",
    "reading",
    "overview_figures",
    "looks",
    "letters",
    "canvas",
    "series",
    "stats.intervals",
    "stats.grid",
    "stats.answers",
    "stats.components",
    "stats.both_seeds",
    "stats.discriminability",
    "stats.pairwise",
    "stats.power",
    "stats.tables",
    "stats.validity",
    "stats.ways",
    "board.sources",
    "board.rows",
    "board.columns",
    "board.blanks",
    "board.board",
    "board.page_data",
    "board.html",
    "board.markdown",
    "board.csv_rows",
    "board.write",
    "regression.check",
    "regression.foresight",
    "regression.text",
    "regression.markdown",
    "regression.junit",
    "regression.as_json",
    "testing",
    "cli_check",
    "model_card",
    "registry",
    "eval_config",
    "plugin_rules",
    "spelling",
    "types",
    "eval",
    "suite",
)
FOR_EVALS = {
    "eval",
    "types",
    "geometry",
    "figures",
    "l0_figures",
    "reading",
    "looks",
    "series",
    "stats",
    "toy",
    "isolation",
    "compat",
    "saebench_output",
    "activations",
    "artifacts",
    "cosines",
    "family",
    "firing",
    "latent_regression",
    "latent_sample",
    "atoms",
    "modulation",
    "sparse_growth",
    "hedging",
    "injection",
    "growth",
    "growth_estimates",
    "moments",
    "spans",
    "matching",
    "overlap",
    "pair_graph",
}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Modules a file imports, absolute ones; those under TYPE_CHECKING are not imports."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(n)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for n in ast.walk(node)
    }
    if top_level_only:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                hidden |= {id(n) for n in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in MODULES}
    return found


def reach(module: str, **kwargs: bool) -> set[str]:
    """All that a module imports, through modules of ours."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in MODULES:
            waiting += imports(MODULES[name], **kwargs)
    return seen


def test_the_harness_never_imports_an_eval():
    for name, path in MODULES.items():
        if name.startswith("hedgebench."):
            assert not any(i.startswith("hedgebench_evals") for i in imports(path)), name


def test_evals_import_only_the_rooms_that_are_for_them_and_never_each_other():
    for name, path in MODULES.items():
        if name.startswith("hedgebench_evals"):
            ours = {i.split(".")[1] for i in imports(path) if i.startswith("hedgebench.")}
            assert ours <= FOR_EVALS, name
            assert not any(i.startswith("hedgebench_evals") for i in imports(path)), (
                f"{name}: imports inside are relative"
            )


def test_formats_never_import_each_other():
    common = {f"hedgebench.formats.{name}" for name in ("files", "layouts", "upstream")}
    for name, path in MODULES.items():
        if name.startswith("hedgebench.formats."):
            found = {i for i in imports(path) if i.startswith("hedgebench.formats.") and i in MODULES}
            assert found <= common - {name}, name


@pytest.mark.parametrize("module", READING)
def test_the_reading_side_never_imports_torch(module: str):
    heavy = {i.split(".")[0] for i in reach(f"hedgebench.{module}")}
    assert not heavy & {"torch", "sae_lens", "transformers", "transformer_lens", "safetensors", "sae_bench"}


def test_importing_hedgebench_imports_nothing_heavy():
    heavy = {i.split(".")[0] for i in reach("hedgebench", top_level_only=True)}
    assert not heavy & {"torch", "pandas", "numpy", "sae_lens", "transformers", "matplotlib", "yaml"}


def test_no_two_modules_of_the_harness_import_each_other():
    arrows = {name: {i for i in imports(path) if i in MODULES} for name, path in MODULES.items()}
    mutual = {
        (a, b)
        for a, targets in arrows.items()
        for b in targets
        if a < b and a in arrows[b] and "hedgebench" not in (a, b)
    }
    assert not mutual


def test_imports_among_our_modules_never_run_in_a_circle():
    arrows = {
        name: {i for i in imports(path) if i in MODULES and i not in ("hedgebench", name)}
        for name, path in MODULES.items()
    }
    for name in arrows:
        assert name not in set().union(*(reach_of(arrows, target) for target in arrows[name])), name


def reach_of(arrows: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += arrows[name]
    return seen


def test_files_stay_small_enough_to_read():
    long = {name: n for name, path in MODULES.items() if (n := len(path.read_text().splitlines())) > 330}
    assert not long
