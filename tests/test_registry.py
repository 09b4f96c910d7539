"""Evals come in by entry point; what is wrong with one is said in a line and stays with it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hedgebench import registry
from hedgebench.cli import main
from hedgebench.eval import Eval
from hedgebench.eval_config import make_config
from hedgebench.plugin_rules import InvalidPlugin, check_eval
from hedgebench.registry import find_evals, get_eval
from hedgebench.types import BadInput, Metric

GOOD = """
    from dataclasses import dataclass
    from hedgebench import Eval, Metric, Score

    class Answer(Eval):
        name, version, draws = "answer", 1, False
        metrics = (Metric("answer", "the answer"),)

        def run(self, ctx, cfg):
            yield Score("answer", 42.0)
"""


NOTED = """
    from pathlib import Path
    with (Path(__file__).parent / "log").open("a") as log:
        log.write("imported ")
"""


class Fine(Eval):
    name, version = "fine", 1
    metrics = (Metric("a", "a"),)

    def run(self, ctx, cfg):
        yield from ()


def test_the_built_in_evals_are_found_and_none_is_broken():
    evals, broken = find_evals()
    assert {"decoder_bias", "bias_alignment", "saebench_core"} <= set(evals)
    assert not broken
    assert all(evals[n].package == "hedgebench" for n in ("decoder_bias", "saebench_core"))


def test_a_third_party_package_adds_an_eval(plugin: Callable[..., Path]):
    plugin(GOOD, answer="Answer")
    assert get_eval("answer").version == 1


def test_a_plugin_that_fails_to_import_is_listed_with_its_package_and_error_and_breaks_nothing_else(
    plugin: Callable[..., Path],
):
    plugin("raise RuntimeError('no GPU here')", shaky="Nothing")
    evals, broken = find_evals()
    (found,) = [b for b in broken if b.name == "shaky"]
    assert "no GPU here" in found.error and found.package.startswith("plugin_")
    assert "decoder_bias" in evals
    with pytest.raises(BadInput, match="is broken: RuntimeError: no GPU here"):
        get_eval("shaky")


def test_two_packages_with_one_name_the_second_is_broken_and_says_whose_the_name_is(plugin: Callable[..., Path]):
    plugin(GOOD, answer="Answer")
    plugin(GOOD, answer="Answer")
    evals, broken = find_evals()
    assert "answer" in evals
    assert any(b.name == "answer" and "taken by package" in b.error for b in broken)


def test_an_unknown_eval_gets_the_nearest_right_name():
    with pytest.raises(BadInput, match="did you mean 'decoder_bias'"):
        get_eval("decoder_bais")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "registered as 'fine'"),
        ({"version": 0}, "whole number from 1"),
        ({"version": True}, "whole number from 1"),
        ({"needs": {"sae", "gpu"}}, "'gpu'"),
        ({"needs": {"sae", "second_control"}}, "`needs` must be a set out of"),
        ({"may_use": {"gpu"}}, "`may_use` must be a set out of .*'second_control'.*'gpu'"),
        ({"may_use": "control"}, "`may_use` must be a set"),
        ({"metrics": ()}, "tuple of Metric"),
        ({"metrics": (Metric("a", "x"), Metric("a", "y"))}, "distinct names"),
        ({"run": Eval.run}, "overrides neither"),
        ({"run": lambda self, ctx: iter(())}, r"must take \(self, ctx, cfg\), found \(self, ctx\)"),
        ({"Config": dict}, "frozen dataclass"),
    ],
)
def test_a_malformed_eval_is_refused_with_what_was_found(changes: dict[str, object], message: str):
    with pytest.raises(InvalidPlugin, match=message):
        check_eval("fine", type("Bad", (Fine,), changes))


def test_a_config_must_be_frozen_and_have_defaults():
    @dataclass
    class Loose:
        a: int = 1

    @dataclass(frozen=True)
    class Bare:
        a: int

    with pytest.raises(InvalidPlugin, match="must be frozen"):
        check_eval("fine", type("Bad", (Fine,), {"Config": Loose}))
    with pytest.raises(InvalidPlugin, match="needs a default; without one: a"):
        check_eval("fine", type("Bad", (Fine,), {"Config": Bare}))


def test_settings_are_checked_by_name_and_type():
    core = get_eval("saebench_core")
    assert make_config(core, {"n_batches": 3}).n_batches == 3
    with pytest.raises(BadInput, match="did you mean 'n_batches'"):
        make_config(core, {"n_batchs": 3})
    with pytest.raises(BadInput, match="'n_batches' must be int, not 'three'"):
        make_config(core, {"n_batches": "three"})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_values": [2.5]}, r"'n_values' must be a list of int, not \[2.5\]"),
        ({"n_values": [True]}, "must be a list of int"),
        ({"n_values": 5}, "must be a list of int, not 5"),
        ({"probe_lr": float("nan")}, "'probe_lr' must be float, not nan"),
        ({"probe_lr": "1e-3"}, "'probe_lr' must be float"),
        ({"data": [1]}, "'data' must be a list of str"),
    ],
)
def test_lists_and_numbers_of_a_setting_are_checked_one_by_one(setting: dict[str, object], message: str):
    with pytest.raises(BadInput, match=message):
        make_config(get_eval("saebench_tpp"), dict(setting))


def test_one_labelled_set_need_not_be_a_list():
    assert make_config(get_eval("saebench_tpp"), {"data": "hub"}).data == ("hub",)


def test_listing_needs_neither_torch_nor_pandas():
    code = (
        "import sys\n"
        "for name in ('torch', 'pandas', 'sae_lens', 'sae_bench', 'transformers', 'numpy'): sys.modules[name] = None\n"
        "from hedgebench.cli import main\n"
        "sys.exit(main(['list']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "saebench_core" in done.stdout and "BROKEN" not in done.stdout


def test_what_an_eval_may_use_is_listed(plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]):
    plugin(
        GOOD.replace("draws =", "may_use, draws =").replace('"answer", 1,', '"answer", 1, {"siblings", "control"},'),
        answer="Answer",
    )
    assert main(["list"]) == 0
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("answer ")]
    assert "needs sae  may use control, siblings  [" in line
    assert main(["list", "--json"]) == 0
    listed = {e["name"]: e for e in json.loads(capfd.readouterr().out)["evals"]}
    assert listed["answer"]["may_use"] == ["control", "siblings"] and listed["decoder_bias"]["may_use"] == []


def test_a_package_cannot_take_the_name_of_a_built_in_eval(plugin: Callable[..., Path]):
    plugin(GOOD.replace('"answer", 1', '"decoder_bias", 1'), decoder_bias="Answer")
    evals, broken = find_evals()
    assert evals["decoder_bias"].package == "hedgebench"
    assert any(b.name == "decoder_bias" and "taken by package 'hedgebench'" in b.error for b in broken)


def test_a_plugin_that_exits_while_it_is_imported_is_broken_and_nothing_else(plugin: Callable[..., Path]):
    plugin("import sys; sys.exit('no API key')", rude="X")
    _, broken = find_evals()
    assert any(b.name == "rude" and "no API key" in b.error for b in broken)


@pytest.fixture
def hears() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, as in a notebook, whatever the tests were started with."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_command_that_names_its_evals_imports_no_other(
    tmp_path: Path, plugin: Callable[..., Path], save_sae: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    site, out = plugin(NOTED, unnamed="X"), str(tmp_path / "out")
    sae = str(save_sae(tmp_path / "alice"))
    (tmp_path / "s.yaml").write_text(f"saes: [{{path: {sae}}}]\nevals: [decoder_bias]\n")
    assert main(["run", "--sae", sae, "--eval", "decoder_bias", "--out", out]) == 0
    assert main(["run", str(tmp_path / "s.yaml"), "--out", out]) == 0
    assert main(["run", "--sae", sae, "--eval", "unnamd", "--out", out]) == 2
    assert "unknown eval 'unnamd'; did you mean 'unnamed'?" in capfd.readouterr().err
    assert main(["leaderboard", out, "--out", str(tmp_path / "board.html")]) == 0
    assert main(["plot", out, "--out", str(tmp_path / "figures")]) == 0
    assert not (site / "log").exists()
    assert main(["list"]) == 0
    assert (site / "log").exists()


def test_nothing_is_imported_twice_not_even_what_fails(plugin: Callable[..., Path]):
    site = plugin(NOTED + "    raise RuntimeError('no GPU here')", one="One", two="Two")
    for _ in range(2):
        assert [b.error for b in find_evals()[1] if b.name in ("one", "two")] == ["RuntimeError: no GPU here"] * 2
        with pytest.raises(BadInput, match="no GPU here"):
            get_eval("two")
    assert (site / "log").read_text() == "imported "


def test_an_import_that_takes_long_is_told_in_a_line_and_goes_on(
    plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    site = plugin("    import time\n    time.sleep(1)\n" + GOOD, answer="Answer")
    monkeypatch.setattr(registry, "SLOW", 0.2)
    with caplog.at_level(logging.WARNING):
        assert get_eval("answer").version == 1
    package = next(site.glob("*.py")).stem
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"importing 'answer' from package '{package}' takes long; it goes on, and Ctrl-C stops"]


def test_an_import_that_is_quick_is_not_told(
    plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    import time

    plugin(GOOD, answer="Answer")
    monkeypatch.setattr(registry, "SLOW", 2.0)
    assert get_eval("answer").version == 1
    time.sleep(2.2)
    assert not caplog.records


@pytest.mark.usefixtures("hears")
@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit('over')", "GeneratorExit: over"),
        ("class Odd(BaseException): ...\nraise Odd('odd')", "Odd: odd"),
    ],
)
def test_whatever_a_plugin_raises_while_it_is_imported_is_its_own_failure(
    source: str, error: str, plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str], tmp_path: Path
):
    plugin(source, rude="X")
    assert main(["list"]) == 0
    shown = capfd.readouterr().out
    assert error in next(line for line in shown.splitlines() if "BROKEN" in line) and "decoder_bias" in shown
    assert main(["run", "--sae", "none", "--eval", "rude", "--out", str(tmp_path / "out")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "eval 'rude' of package" in line and line.endswith(f"is broken: {error}")


@pytest.mark.usefixtures("hears")
def test_ctrl_c_during_an_import_interrupts_a_notebook(plugin: Callable[..., Path]):
    plugin(f"import os, time\nos.kill({os.getpid()}, 2)\ntime.sleep(5)", slow="X")
    with pytest.raises(KeyboardInterrupt):
        find_evals()


@pytest.mark.usefixtures("hears")
def test_ctrl_c_while_a_command_looks_at_what_it_has_imported_stops_it(
    plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    plugin(
        "import os, time\n"
        "from hedgebench import Eval\n"
        "class Slow(type(Eval)):\n"
        "    @property\n"
        "    def version(self):\n"
        f"        os.kill({os.getpid()}, 2)\n"
        "        time.sleep(5)\n"
        "class X(Eval, metaclass=Slow):\n"
        "    name = 'slow'\n",
        slow="X",
    )
    assert main(["list"]) == 130
    assert "hedgebench: stopped" in capfd.readouterr().err
