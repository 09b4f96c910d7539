"""Labelled texts out of the installed sae-probes package: real data of the shape of SAEBench's hub sets, and openly named as stand-ins."""

from __future__ import annotations

import fnmatch
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from hedgebench.spelling import nearest
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame

RECIPE = 1
"""Raise when a stand-in's rows, or their order, change."""


@dataclass(frozen=True)
class StandIn:
    """One stand-in: how its rows are made, what it stands for, and for SCR its pairs of classes and the second label's values."""

    make: Callable[[], DataFrame]
    stands_for: str
    pairs: tuple[tuple[str, str], ...] = ()
    second_values: tuple[str, str] | None = None


def data_version() -> str:
    """What decides the rows of stand-ins and sae-probes sets: the version of the package they are taken from.

    Raises:
        BadInput: It is not installed.
    """
    try:
        return f"sae-probes {version('sae-probes')}"
    except PackageNotFoundError as error:
        raise BadInput("the stand-ins need the package sae-probes: pip install sae-probes") from error


def sae_probes_names(pattern: str = "*") -> list[str]:
    """The 113 binary sets of sae-probes whose name fits a pattern, such as `105_click_bait`, in its own order.

    Raises:
        BadInput: None fits.
    """
    master = _read("probing_datasets_MASTER")
    binary = master.loc[master["Data type"] == "Binary Classification", "Dataset save name"]
    names = [name.split("/")[-1].split(".")[0] for name in binary]
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise BadInput(f"sae-probes has no binary set {pattern!r}{nearest(pattern, names)}")
    return found


def sae_probes_set(name: str) -> DataFrame:
    """All rows of one set of sae-probes: columns `text`, `label`, `second` (None)."""
    rows = _read(f"cleaned_data/{name}")
    return _frame(rows["prompt"].astype(str), rows["target"].astype(str))


# --- the stand-ins -------------------------------------------------------------------------------------------------------------


def _ag_news() -> DataFrame:
    """AG News: three classes by their own files; what is in none of them, among the texts beside them, is the fourth."""
    import pandas as pd

    parts = [_read(f"cleaned_data/{161 + i}_agnews_{i}") for i in range(3)]
    known = [part.loc[part["target"] == 1, "prompt"] for part in parts]
    seen = set().union(*known)
    others = pd.concat([part.loc[part["target"] == 0, "prompt"] for part in parts]).drop_duplicates()
    texts = [*known, others[~others.isin(seen)]]
    return pd.concat([_frame(text, str(i)) for i, text in enumerate(texts)], ignore_index=True)


def _code() -> DataFrame:
    import pandas as pd

    parts = {name: _read(f"cleaned_data/{n}_code_{name}") for n, name in ((158, "C"), (159, "Python"), (160, "HTML"))}
    return pd.concat([_frame(p.loc[p["target"] == 1, "prompt"], name) for name, p in parts.items()], ignore_index=True)


def _amazon() -> DataFrame:
    rows = _read("cleaned_data/157_amazon_5star")
    return _frame(rows["prompt"], rows["target"].map({0: "low", 1: "high"}))


def _yelp() -> DataFrame:
    rows = _read("cleaned_data/111_yelp_data")
    rows = rows[rows["target"].isin([0, 4])]
    return _frame(rows["prompt"], rows["target"].map({0: "low", 4: "high"}))


def _movies() -> DataFrame:
    rows = _read("cleaned_data/113_movie_sent")
    return _frame(rows["prompt"], rows["target"].map({0: "low", 1: "high"}))


def _reviews() -> DataFrame:
    """Where a review was written, and whether its author was pleased: the shape of Amazon's category and rating."""
    import pandas as pd

    sources = {"amazon": _amazon(), "movies": _movies(), "yelp": _yelp()}
    parts = [_frame(rows["text"], name, rows["label"]) for name, rows in sources.items()]
    return pd.concat(parts, ignore_index=True)


def _persons() -> DataFrame:
    """Texts about one person: occupation, joined with sex or gender on the text: the shape of bias in bios."""
    import pandas as pd

    gender = _read("cleaned_data/56_wikidatasex_or_gender").drop_duplicates("prompt").set_index("prompt")["target"]
    parts = []
    for number, name in ((59, "journalist"), (61, "actor"), (62, "politician"), (63, "singer")):
        rows = _read(f"cleaned_data/{number}_wikidata_occupation_is{name}")
        texts = rows.loc[rows["target"] == 1, "prompt"].drop_duplicates()
        parts.append(_frame(texts, name, texts.map(gender)))
    rows = pd.concat(parts, ignore_index=True).dropna()
    return rows[~rows["text"].duplicated(keep=False)].reset_index(drop=True)  # one occupation each


STAND_INS = {
    "ag_news": StandIn(_ag_news, "fancyzhx/ag_news"),
    "code": StandIn(_code, "codeparrot/github-code"),
    "amazon_stars": StandIn(_amazon, "canrager/amazon_reviews_mcauley_1and5_sentiment"),
    "yelp_stars": StandIn(_yelp, "canrager/amazon_reviews_mcauley_1and5_sentiment"),
    "reviews": StandIn(
        _reviews,
        "canrager/amazon_reviews_mcauley_1and5",
        (("amazon", "yelp"), ("movies", "yelp"), ("amazon", "movies")),
        ("low", "high"),
    ),
    "persons": StandIn(_persons, "LabHC/bias_in_bios_class_set1", (("actor", "journalist"),), ("male", "female")),
}
"""By name. For other sets of SAEBench (europarl) the package holds nothing of the kind."""


def _frame(text: object, label: object, second: object = None) -> DataFrame:
    import pandas as pd

    return pd.DataFrame({"text": text, "label": label, "second": second}).reset_index(drop=True)


@cache
def _folder() -> Path:
    data_version()
    spec = importlib.util.find_spec("sae_probes")
    if spec is None or spec.origin is None:
        raise BadInput("the package sae-probes is damaged: install it again")
    return Path(spec.origin).parent / "data"


def _read(name: str) -> DataFrame:
    import pandas as pd

    file = _folder() / f"{name}.csv.zst"
    if not file.is_file():
        raise BadInput(f"sae-probes has no file {file.name}: it has another version than HedgeBench knows")
    return pd.read_csv(file, compression="zstd")
