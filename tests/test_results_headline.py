"""What is printed after a run."""

from __future__ import annotations

import pandas as pd

from hedgebench.results import headline


def rows(data: str, value: float, params: str = "", config: str = "{}") -> dict[str, object]:
    return {"eval": "e", "sae": "a", "metric": "m", "params": params, "slice_by": "all", "value": value, "seed": 0, "data": data, "config": config}  # fmt: skip


def test_numbers_on_different_data_or_settings_have_blocks_of_their_own():
    text = headline(pd.DataFrame([rows("sea", 0.25), rows("sky", 0.75)]))
    assert "e on sea (1 evaluation seed)" in text and "e on sky" in text
    assert "0.25" in text and "0.75" in text and "±" not in text
    text = headline(pd.DataFrame([rows("sea", 0.25, config="{n: 1}"), rows("sea", 0.75, config="{n: 2}")]))
    assert "e with {n: 1}" in text and "e with {n: 2}" in text


def test_a_metric_is_shown_with_its_parameters():
    text = headline(pd.DataFrame([rows("sea", 0.25, "n=2"), rows("sea", 0.75, "n=5")]))
    assert "m n=2" in text and "m n=5" in text and " on " not in text
