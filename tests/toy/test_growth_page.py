"""What is made of the growth study's table: verdicts that follow the numbers, and a page that says where it came from."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hedgebench.cli import main
from hedgebench.toy import growing
from hedgebench.toy.checks import verdict
from hedgebench.toy.growth_claims import CLAIMS, check_all, steady, usable
from hedgebench.toy.growth_page import draw_growth, growth_page
from hedgebench.toy.growth_settings import SETTINGS
from hedgebench.types import BadInput

FOLLOWS = "The hedging degree follows hedging"
SIDES = "The encoder tells hedging from absorption"
COLUMNS = (
    *(
        "projection",
        "excess",
        "degree",
        "delta_share",
        "excess_residual",
        "excess_other_seed",
        "share_excess",
        "share_excess_residual",
        "symmetry",
        "encoder_degree",
        "encoder_norm",
    ),
    *("null_other_seed", "null_residual", "isotropic", "left", "absorbed", "delta_norm", "drift"),
)


def table(**columns: object) -> pd.DataFrame:
    """A study in which hedging is the dial under MSE, plus a little that differs between worlds, and 0 under snap."""
    rows = []
    for setting in SETTINGS.values():
        for loss in setting.losses:
            for value in setting.points:
                for world in range(3):
                    hedged = (value + 0.001 * world) * (loss == "mse")
                    told = {"setting": setting.name, "loss": loss, "dial": value, "world": world, "train_seed": world}
                    told |= {"hedged": hedged, "taken": hedged, "live": 1.0, "swapped": 0.0}
                    rows.append({**told, **dict.fromkeys(COLUMNS, 0.0)})
    return pd.DataFrame(rows).assign(**columns)


def verdicts(frame: pd.DataFrame) -> dict[str, str]:
    return {title: verdict(checks) for title, checks in check_all(frame).items()}


def test_a_degree_that_follows_is_told_from_one_that_does_not():
    frame = table()
    rising = frame["hedged"] ** 2 + 0.01 * frame["dial"]
    assert verdicts(frame.assign(degree=rising))[FOLLOWS] == "holds"
    assert verdicts(frame.assign(degree=-rising))[FOLLOWS] == "does not hold"
    noise = np.random.default_rng(0).random(len(frame))
    assert verdicts(frame.assign(degree=noise))[FOLLOWS] != "holds"
    assert verdicts(frame)[FOLLOWS] == "not run", "a degree that is the same everywhere has no rank"


def test_what_is_not_alive_or_has_changed_its_feature_says_nothing():
    frame = table()
    frame["degree"] = frame["hedged"] + 0.01 * frame["dial"]
    dead = frame.assign(live=0.4, degree=5.0)
    swapped = frame[frame["setting"] == "pair"].assign(swapped=1.0, degree=5.0)
    assert verdicts(pd.concat([frame, dead, swapped]))[FOLLOWS] == verdicts(frame)[FOLLOWS] == "holds"
    assert len(usable(pd.concat([frame, dead]))) == len(frame)
    assert len(steady(pd.concat([frame, swapped]))) == len(frame)
    crowd = frame[frame["setting"] == "crowd+5"].assign(swapped=0.2)
    assert len(steady(crowd)) == len(crowd), "one of many old latents"


def test_the_sides_are_told_by_symmetry():
    frame = table()
    frame.loc[frame["setting"] == "pair", "symmetry"] = 0.95
    frame.loc[(frame["setting"] == "child") & (frame["loss"] == "mse"), "symmetry"] = 0.5
    frame.loc[frame["setting"] == "child", "encoder_norm"] = 0.2
    assert verdicts(frame)[SIDES] == "holds"
    assert verdicts(frame.assign(symmetry=0.5))[SIDES] == "does not hold"
    assert verdicts(frame.assign(encoder_norm=0.0))[SIDES] == "does not hold"


def test_a_study_of_one_setting_leaves_the_claims_on_others_out_of_the_page():
    frame = table(degree=lambda f: f["hedged"])
    page = growth_page(frame[frame["setting"] == "pair"], "hedgebench toy --study growth --seeds 3")
    assert "    hedgebench toy --study growth --seeds 3\n" in page and "3 worlds" in page
    assert "| ... whatever the sparsity penalty | not run |" in page
    assert "nan" not in page and "crowd+5" not in page


def test_the_page_has_every_claim_with_its_numbers_and_the_figure_every_setting():
    frame = table(degree=lambda f: f["hedged"] + 0.001 * f["dial"])
    page = growth_page(frame, "made by hand")
    for claim in CLAIMS:
        assert f"| {claim.title} | " in page
    assert "| crowd+15 | mse | 0.9 | 3 | 0.901 | 0.901 | 0.000 |" in page
    figure = draw_growth(frame)
    assert [axes.get_title(loc="left") for axes in figure.axes[::3]] == [s.title for s in SETTINGS.values()]


def test_the_study_is_made_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from dataclasses import replace

    pair = SETTINGS["pair"]
    tiny = replace(pair, points=(0.05, 0.15), per_world=2, recipe=replace(pair.recipe, steps=100))
    monkeypatch.setattr(growing, "SETTINGS", {"pair": tiny})
    monkeypatch.setattr(growing, "_STEPS_AFTER", 100)
    assert main(["toy", "--study", "growth", "--seeds", "1", "--out", str(tmp_path)]) == 0
    files = [tmp_path / f"growth.{kind}" for kind in ("csv", "png", "md")]
    assert capsys.readouterr().out.split() == [str(file) for file in files]
    frame = pd.read_csv(files[0])
    assert len(frame) == 8 and not frame[["hedged", "projection", "degree"]].isna().any(axis=None)
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert "hedgebench toy --study growth --seeds 1" in files[2].read_text()
    assert math.isfinite(frame["drift"].max())


def test_a_study_without_seeds_is_refused():
    from hedgebench.toy_study import run_growth_study

    with pytest.raises(BadInput, match="must be at least 1"):
        run_growth_study(0)
