"""Two values of a setting, whichever of them a table of effects has first."""

import pandas as pd
import pytest
from known_scores import recipe, table

from hedgebench.stats.differences import Difference, difference, level_means, oriented, paired_difference
from hedgebench.stats.effects import effects


def found(snap_seeds: int = 0) -> pd.DataFrame:
    """Snap is .5 above mse in each of three seeds, mse .1 above l2 on average."""
    values = {"mse": [0.10, 0.12, 0.15], "l2": [0.0, 0.0, 0.07], "snap": [0.60, 0.62, 0.65]}
    rows = [{**row, "loss": loss} for loss, of in values.items() for row in recipe(loss, [[v] for v in of], k=20.0)]
    scores = table(rows)
    snap = scores["loss"] == "snap"
    scores.loc[snap, "train_seed"] = scores.loc[snap, "train_seed"].astype(int) + snap_seeds
    return effects(scores, "loss", "k")


def test_a_difference_is_the_first_less_the_second_in_either_order():
    rows = found()
    forth, back = difference(rows, "mse", "l2"), difference(rows, "l2", "mse")
    assert forth is not None and back is not None
    assert forth.mean == pytest.approx(0.1) and forth.low < 0.1 < forth.high
    assert back == -forth
    (row,) = rows[(rows["first"] == "l2") & (rows["second"] == "mse")].itertuples()
    assert oriented(row, "l2") == back and oriented(row, "mse") == forth


def test_seed_by_seed_what_all_seeds_share_is_certain():
    rows = found()
    paired, apart = paired_difference(rows, "snap", "mse"), difference(rows, "snap", "mse")
    assert paired is not None and apart is not None
    assert paired == pytest.approx((0.5, 0.5, 0.5)) and apart.low < 0.49
    assert paired_difference(rows, "mse", "snap") == -paired


def test_what_is_not_compared_is_none():
    assert difference(found(), "mse", "huber") is None
    assert paired_difference(found(snap_seeds=3), "snap", "mse") is None  # no seed in common
    assert difference(found(snap_seeds=3), "snap", "mse") is not None


def test_means_of_all_values_are_read_from_their_pairs():
    assert level_means(found()) == pytest.approx({"mse": 0.37 / 3, "l2": 0.07 / 3, "snap": 1.87 / 3})


def test_a_difference_is_written_with_its_sign():
    one = Difference(0.12345, -0.5, 0.75)
    assert (str(one), str(-one)) == ("+0.123 [-0.500, 0.750]", "-0.123 [-0.750, 0.500]")
    assert f"{one:.1f}" == "+0.1 [-0.5, 0.8]"
