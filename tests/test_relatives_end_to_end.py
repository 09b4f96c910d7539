"""Groups and controls from a suite, from options, and from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from relatives import Free, Group, Pair, bias

from hedgebench import evaluate
from hedgebench.checkpoint import digest_of, read_checkpoint
from hedgebench.cli import main
from hedgebench.records import read_cards, read_records
from hedgebench.results import read_results, read_runs
from hedgebench.types import BadInput

# --- from the command line and from Python -------------------------------------------------------------------------------------------

SOURCE = """
    from hedgebench import Eval, Metric, Score

    class Near(Eval):
        "The group."
        name, version, draws, needs = "near", 1, False, frozenset({"sae", "siblings"})
        metrics = (Metric("n", "how many"),)
        def run(self, ctx, cfg):
            yield Score("n", len(ctx.siblings))

    class Against(Eval):
        "The control, and the second where there is one."
        name, version, draws, needs = "against", 1, False, frozenset({"sae", "control"})
        may_use = frozenset({"second_control"})
        metrics = (Metric("n", "how many"),)
        def run(self, ctx, cfg):
            yield Score("n", 1 + (ctx.second_control is not None))
"""


def test_a_suite_of_groups_and_controls_is_run_from_the_command_line(
    tmp_path: Path,
    family: dict[str, Path],
    seeds: list[Path],
    plugin: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
):
    plugin(SOURCE, near="Near", against="Against")
    (tmp_path / "suite.yaml").write_text(
        "saes:\n"
        "  - {path: topk-s*, group: mine, control: control}\n"
        "  - {path: grown}\n"
        "  - {path: control, group: mine, control: again, second_control: grown}\n"
        "evals: [near, against]\n"
    )  # fmt: skip
    out = tmp_path / "out"
    assert main(["run", str(tmp_path / "suite.yaml"), "--out", str(out)]) == 0
    table = read_results(out).set_index(["eval", "sae"])["value"].to_dict()
    assert table == {
        ("near", "mine"): 4, ("against", "topk-s1"): 1, ("against", "topk-s2"): 1, ("against", "topk-s10"): 1,
        ("against", "grown"): 2, ("against", "control"): 2,
    }  # fmt: skip
    runs = read_runs(out).set_index(["eval", "sae"])["status"]
    assert runs["near", "grown"] == "skipped"
    cards = read_cards(out)
    (group,) = [c for c in cards.values() if c.members]
    assert {cards[digest].name for digest in group.members} == {"topk-s1", "topk-s2", "topk-s10", "control"}
    told = {
        r["hedgebench"]["digest"]: r["hedgebench"] for r in read_records(out) if r["hedgebench"]["eval"] == "against"
    }
    grown = told[read_checkpoint(family["grown"]).digest]
    assert grown["second_control_digest"] == read_checkpoint(family["again"]).digest and grown["absent"] == {}
    assert "second_control" in told[read_checkpoint(seeds[0]).digest]["absent"]
    assert main(["run", str(tmp_path / "suite.yaml"), "--out", str(out)]) == 0
    assert "nothing to do: all 7 runs are done" in capfd.readouterr().err


def test_the_members_of_a_group_have_cards_though_no_run_of_their_own(
    tmp_path: Path, seeds: list[Path], plugin: Callable[..., Path]
):
    plugin(SOURCE, near="Near", against="Against")
    saes = [part for folder in seeds for part in ("--sae", str(folder))]
    assert main(["run", *saes, "--eval", "near", "--out", str(tmp_path / "out")]) == 0
    cards = read_cards(tmp_path / "out")
    (group,) = [card for card in cards.values() if card.members]
    assert [cards[digest].name for digest in group.members] == ["topk-s1", "topk-s2", "topk-s10"]
    assert group.name == "topk-s*" and len(cards) == 4


def test_without_a_suite_options_name_the_group_and_the_controls(
    tmp_path: Path, family: dict[str, Path], plugin: Callable[..., Path], capfd: pytest.CaptureFixture[str]
):
    plugin(SOURCE, near="Near", against="Against")
    saes = ["--sae", str(family["control"]), "--sae", str(family["again"]), "--group", "both"]
    relatives = ["--control", str(family["again"]), "--second-control", str(family["grown"])]
    out = tmp_path / "out"
    assert main(["run", *saes, *relatives, "--eval", "near", "--eval", "against", "--out", str(out)]) == 0
    table = read_results(out).set_index(["eval", "sae"])["value"].to_dict()
    assert table == {("near", "both"): 2, ("against", "control"): 2, ("against", "again"): 2}
    for option in ("--control", "--second-control", "--group"):
        assert main(["run", "suite.yaml", option, "x"]) == 2
        assert f"{option} goes without a suite" in capfd.readouterr().err


def test_python_takes_controls_in_memory_or_by_reference(family: dict[str, Path], make_sae: Callable[..., Any]):
    from hedgebench.loaders import load_raw

    raw = load_raw(family["control"])
    for control in (raw, family["control"], str(family["control"])):
        assert list(evaluate(make_sae(seed=3), Pair, control=control)["value"]) == [bias(family["control"])]
    both = evaluate(make_sae(seed=3), Free, control=raw, second_control=make_sae(seed=4)).set_index(
        ["metric", "params"]
    )["value"]
    assert both["n", "what=control"] == both["n", "what=second_control"] == 1
    with pytest.raises(BadInput, match="the control of sae-0: nowhere"):
        evaluate(make_sae(seed=3), Pair, control="nowhere")
    grown = load_raw(family["grown"])
    with pytest.raises(
        BadInput, match="its control 'control' lies beside the file it was loaded from, and the SAE is in memory"
    ):
        evaluate(grown, Pair)


def test_python_names_a_group(make_sae: Callable[..., Any]):
    table = evaluate({"a": make_sae(seed=1), "b": make_sae(seed=2)}, Group, group="mine")
    assert set(table["sae"]) == {"mine"} and len(table) == 3
    one, two = (make_sae(seed=s, train_seed=s) for s in (1, 2))
    assert digest_of(one) != digest_of(two)
    assert set(evaluate([one, two], Group)["sae"]) == {"sae-*"}
