"""The page of the known-answer suite is its tables, and its verdicts follow from them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from hedgebench import list_evals
from hedgebench.stats.tables import comparisons, control_rows

FOLDER = Path(__file__).parent.parent / "results/validity"


@pytest.fixture(scope="module")
def told() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))  # where its neighbour `card` is
        spec = importlib.util.spec_from_file_location("validity_page", FOLDER / "page.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


@pytest.fixture(scope="module")
def tables(told: ModuleType) -> tuple[pd.DataFrame, pd.DataFrame]:
    return told.tables()


@pytest.fixture(scope="module")
def found(told: ModuleType, tables: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    return told.cards(tables[0])


def test_the_committed_page_is_that_of_the_committed_tables(told, tables, found):
    assert (FOLDER / "README.md").read_text() == told.page(*tables, found)


def test_what_was_made_to_compare_with_is_a_control_in_every_table(tables):
    scores, _ = tables
    made = {sae for sae in scores["sae"] if "/" in sae}
    assert sum(sae.endswith("/oracle") for sae in made) == 5
    assert set(control_rows(scores)) == made and set(comparisons(scores)["first"]).isdisjoint(made)


def test_every_eval_of_the_registry_is_on_the_page():
    page = (FOLDER / "README.md").read_text()
    assert [e.name for e in list_evals() if e.__module__.startswith("hedgebench_evals") and f"| `{e.name}` |" not in page] == []  # fmt: skip


def test_a_verdict_follows_the_numbers(told, tables, found):
    scores, _ = tables
    core = scores[scores["eval"] == "saebench_core"]
    turned = core.assign(higher_is_better=~core["higher_is_better"].astype("boolean"))
    mirrored = told.cards(turned)
    before, after = (
        card.set_index(["eval", "metric", "params", "case"]).sort_index()["right"] for card in (found, mirrored)
    )
    key = ("saebench_core", "explained_variance", "", "random")
    assert before.loc[key].sum() >= 2 and after.loc[key].sum() == 0
    assert (mirrored.loc[mirrored["metric"] == "explained_variance", "verdict"] != "right").all()


def test_wrong_holds_for_the_card_as_a_whole(told, found):
    wrong, doubtful = (found.loc[found["verdict"] == word, "p_wrong"] for word in ("wrong", "doubtful"))
    assert wrong.max() <= told.FDR * len(wrong) / (found["verdict"] != "same").sum() * 1.0001
    assert doubtful.max() < 0.05 and doubtful.min() > wrong.max()


def test_what_is_known_is_found(tables):
    """Closed forms to a thousandth, samples within their noise; but for SAEBench's loss scores of an SAE that gives nothing, of which the page speaks."""
    _, known = tables
    error = (known["found"] - known["known"]).abs()
    off = known[(error > 1e-3) & ~(error <= 5 * known["stderr"].fillna(0)) & (error > 5e-3)]
    assert set(off["metric"]) <= {"ce_loss_score", "kl_div_score"}
