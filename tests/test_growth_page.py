"""The page of the growing series is its table, and says what the table says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

FOLDER = Path(__file__).parent.parent / "results/growth"


@pytest.fixture(scope="module")
def told() -> ModuleType:
    spec = importlib.util.spec_from_file_location("growth_page", FOLDER / "page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return pd.read_parquet(FOLDER / "scores.parquet")


def with_values(scores: pd.DataFrame, metric: str, params: str, value: float) -> pd.DataFrame:
    """The table with one number of every SAE replaced, a little apart between seeds."""
    changed = scores.copy()
    rows = (changed["eval"] == "grow_delta") & (changed["metric"] == metric) & (changed["params"] == params)
    assert rows.any()
    changed.loc[rows, "value"] = value + 0.001 * changed.loc[rows, "train_seed"].astype(float)
    return changed


def test_the_committed_page_is_that_of_the_committed_table(told, scores):
    assert (FOLDER / "README.md").read_text() == told.page(scores)


def test_the_table_is_of_the_committed_config(scores):
    rows = scores[scores["eval"] == "grow_delta"]
    assert set(rows["width"]) == {128, 192, 256, 320, 384, 448, 512} and rows["train_seed"].nunique() >= 2
    assert set(rows["architecture"]) == {"standard"} and set(rows["hook"]) == {"blocks.8.hook_resid_post"}
    nulls = {p for p in rows["params"] if p.startswith("null=") and "," not in p}
    assert nulls == {"null=isotropic", "null=residual", "null=other_seed", "null=reordered"}


@pytest.mark.parametrize(
    ("value", "verdict", "numbers"),
    [
        (0.2, "holds", "0.201 ["),
        (-0.2, "does not hold", "-0.199 ["),
        (-0.001, "cannot tell", "0.000 ["),
    ],
)
def test_the_verdict_follows_the_numbers(told, scores, value, verdict, numbers):
    first, *_ = told.Grown(with_values(scores, "share_excess", "null=isotropic", value)).claims()
    assert first.verdict == verdict and not first.ours
    assert first.said.startswith(f"{verdict.capitalize()}: the share is ")
    assert f", beyond the random span's 0.111 by {numbers}" in first.said
    claims = told.Grown(with_values(scores, "share_excess", "null=other_seed", value)).claims()
    (other,) = (one for one in claims if "(`other_seed`)" in one.words)
    assert f"{verdict.capitalize()} for the share ({numbers}" in other.said and "the projection g (" in other.said


@pytest.mark.parametrize(("sign", "verdict"), [(1, "holds"), (-1, "does not hold")])
def test_the_bias_goes_with_hedging_where_the_degree_follows_its_norm(told, scores, sign, verdict):
    changed, norms = scores.copy(), scores[(scores["eval"] == "decoder_bias") & (scores["metric"] == "b_dec_norm")]
    norm = norms.set_index([norms["width"] + 64, norms["train_seed"]])["value"]  # before the growth to that width
    rows = (changed["metric"] == "hedging_degree") & (changed["params"] == "") & (changed["slice_by"] == "all")
    keys = zip(changed.loc[rows, "width"], changed.loc[rows, "train_seed"], strict=True)
    noise = 0.01 * changed.loc[rows, "train_seed"] * changed.loc[rows, "width"] / 512
    changed.loc[rows, "value"] = [sign * 0.25 * norm[key] for key in keys] + noise
    (claim,) = (one for one in told.Grown(changed).claims() if "goes with more hedging" in one.words)
    assert claim.verdict == verdict and f" rises by {sign * 0.25:.1f}"[:-1] in claim.said


@pytest.mark.parametrize(("value", "verdict"), [(0.7, "holds"), (0.3, "does not hold"), (0.5, "cannot tell")])
def test_both_sides_change_alike_where_the_symmetry_is_half_at_least(told, scores, value, verdict):
    (claim,) = (
        one
        for one in told.Grown(with_values(scores, "symmetry", "", value - 0.001)).claims()
        if one.words.startswith("Encoder columns change")
    )
    assert claim.verdict == verdict


def test_widths_that_contradict_each_other_are_named_beside_the_average(told, scores):
    changed = with_values(scores, "excess", "null=reordered", 0.1)
    rows = (changed["metric"] == "excess") & (changed["params"] == "null=reordered") & (changed["width"] == 128)
    changed.loc[rows, "value"] -= 0.3
    (line,) = (line for line in told.page(changed).splitlines() if "What hedging predicts" in line)
    assert re.search(
        r"in part for .*the projection g \(0.05\d \[0.05\d, 0.06\d\]; above at 128, 192, 256, 320, 384, 448; below at 64; rises, ",
        line,
    )
    assert line.endswith(f"rises, {told.Grown(changed).per_doubling('excess', 'null=reordered')} per doubling).")


def test_a_null_that_was_not_measured_has_no_column_and_no_verdict(told, scores):
    said = told.page(scores[scores["params"] != "null=other_seed"])
    assert "(`other_seed`).** Cannot tell: not measured." in said
    assert "| null: residual |" in said and "| null: other_seed |" not in said


def test_a_slope_given_the_live_share_leaves_out_what_goes_with_that(told, scores):
    changed = with_values(scores, "delta_share", "", 0.0)
    rows = (changed["eval"] == "grow_delta") & (changed["metric"] == "delta_share") & (changed["params"] == "")
    live = told.Grown(scores).of("live_added")
    keys = zip(changed.loc[rows, "width"], changed.loc[rows, "train_seed"], strict=True)
    changed.loc[rows, "value"] += [0.5 * live[key] for key in keys]
    assert told.Grown(changed).per_doubling("delta_share", given="live_added").mean == pytest.approx(0, abs=1e-9)
    assert abs(told.Grown(changed).per_doubling("delta_share").mean) > 1e-3
