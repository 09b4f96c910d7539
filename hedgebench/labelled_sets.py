"""Find labelled texts: hub sets by name, stand-ins that need no network, one set of sae-probes, and sets of one's own in YAML."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.labelled import HubLabels, LabelledData, StoredLabels, reading_hub
from hedgebench.lines import LineMap, read_yaml
from hedgebench.spelling import nearest
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame


def open_labelled(ref: str) -> LabelledData:
    """Open a labelled set.

    Args:
        ref: A stand-in (`stand-in:ag_news`), a hub set by the name SAEBench gives it (`fancyzhx/ag_news`), one set of sae-probes
            (`sae-probes:105_click_bait`), or a YAML file that describes a set of one's own (see `read_own`).

    Raises:
        BadInput: There is no such set, or it cannot be read.
    """
    from hedgebench.standins import RECIPE, STAND_INS, data_version, sae_probes_names, sae_probes_set

    kind, _, name = ref.partition(":")
    if kind == "stand-in":
        if name not in STAND_INS:
            raise BadInput(f"unknown data {ref!r}{nearest(ref, [f'stand-in:{n}' for n in STAND_INS])}")
        about = STAND_INS[name]
        identity = f"{ref} ({data_version()}, recipe {RECIPE})"
        return StoredLabels(ref, identity, about.pairs, about.second_values, load=about.make)
    if kind == "sae-probes":
        (known,) = sae_probes_names(glob.escape(name))
        return StoredLabels(ref, f"{ref} ({data_version()})", load=partial(sae_probes_set, known))
    if ref.endswith((".yaml", ".yml")):
        return read_own(Path(ref))
    return _open_hub(ref)


def _open_hub(name: str) -> HubLabels:
    from hedgebench.data import hub_commit

    known = hub_sets()
    if name not in known:
        from hedgebench.standins import STAND_INS

        raise BadInput(f"unknown data {name!r}{nearest(name, [*known, *(f'stand-in:{n}' for n in STAND_INS)])}")
    if name == "codeparrot/github-code":
        raise BadInput(f"data {name!r} runs code from the hub when it is read, which is refused; use stand-in:code")
    repo, pairs, second = known[name]
    commit = hub_commit(repo)
    return HubLabels(name, f"{name}@{commit}", pairs, second, repo, commit)


@cache
def hub_sets() -> dict[str, tuple[str, tuple[tuple[str, str], ...], tuple[str, str] | None]]:
    """The sets SAEBench knows: repository, SCR's pairs of classes, and the values of the second label."""
    bios, amazon = "LabHC/bias_in_bios", "canrager/amazon_reviews_mcauley_1and5"
    pairs = {
        f"{bios}_class_set1": (
            ("professor", "nurse"),
            ("architect", "journalist"),
            ("surgeon", "psychologist"),
            ("attorney", "teacher"),
        ),
        amazon: (
            ("Books", "CDs_and_Vinyl"),
            ("Software", "Electronics"),
            ("Pet_Supplies", "Office_Products"),
            ("Industrial_and_Scientific", "Toys_and_Games"),
        ),
    }
    second = {f"{bios}_class_set1": ("male", "female"), amazon: ("1.0", "5.0")}
    names = {f"{bios}_class_set{i}": bios for i in (1, 2, 3)}
    names |= {amazon: amazon, f"{amazon}_sentiment": amazon}
    names |= {name: name for name in ("codeparrot/github-code", "fancyzhx/ag_news", "Helsinki-NLP/europarl")}
    return {name: (repo, pairs.get(name, ()), second.get(name)) for name, repo in names.items()}


_OWN = ("name", "file", "hub", "text", "label", "second", "classes", "second_values", "pairs")


def read_own(path: Path) -> StoredLabels:
    """Read a labelled set that a YAML file describes.

        name: topics                    # the file's name if left out
        file: topics.csv                # .csv, .csv.zst, .tsv, .jsonl, .parquet, beside the YAML file; or `hub: org/name`
        text: body                      # column of the texts
        label: topic                    # column of the classes
        classes: [sport, politics]      # which of them; all if left out
        second: gender                  # for SCR: a second label ...
        second_values: [male, female]   # ... two values of it ...
        pairs: [[sport, politics]]      # ... and the pairs of classes to tell apart

    Raises:
        BadInput: A key is unknown or missing, or a file, column or class is not there.
    """
    data = read_yaml(path, "a labelled set")

    def wrong(key: str, text: str) -> BadInput:
        return BadInput(f"{path}:{data.lines.get(key, data.line)}: {text}")

    for key in data:
        if key not in _OWN:
            raise wrong(key, f"a labelled set has no key {key!r}{nearest(key, _OWN)}")
    for key in ("text", "label", "second"):
        if not isinstance(data.get(key), str) and (key in data or key != "second"):
            raise wrong(key, f"{key!r} must name a column")
    for key in ("classes", "pairs", "second_values"):
        if not isinstance(data.get(key, []), list):
            raise wrong(key, f"{key!r} must be a list, not {data[key]!r}")
    name = data.get("name", path.stem)
    if not isinstance(name, str) or not name or ":" in name or name in hub_sets():
        raise wrong(
            "name", f"{name!r} cannot be the name of a set of one's own: a text without ':', and no hub set's name"
        )
    if data["label"] == data["text"]:
        raise wrong("label", f"'label' must name another column than {data['label']!r}")
    if ("file" in data) == ("hub" in data):
        raise wrong("file", "give either 'file' or 'hub'")
    if "second" not in data and ("pairs" in data or "second_values" in data):
        raise wrong("pairs", "pairs and second_values need 'second', the column of the second label")
    if data.get("second") in (data["text"], data["label"]):
        raise wrong("second", f"'second' must name another column than {data['second']!r}")
    table = _own_table(path, data, wrong)
    columns = {data["text"]: "text", data["label"]: "label"} | ({data["second"]: "second"} if "second" in data else {})
    for column, meaning in columns.items():
        if column not in table:
            raise wrong(meaning, f"no column {column!r}{nearest(column, list(map(str, table.columns)))}")
    rows = table[list(columns)].rename(columns=columns).dropna()
    rows = rows.assign(text=rows["text"].astype(str), label=rows["label"].map(_label))
    rows["second"] = rows["second"].map(_label) if "second" in rows else None
    classes = [_label(c) for c in data.get("classes") or sorted(rows["label"].unique())]
    if lost := [c for c in classes if c not in set(rows["label"])]:
        raise wrong("classes", f"no text has the class {lost[0]!r}{nearest(lost[0], sorted(rows['label'].unique()))}")
    rows = rows[rows["label"].isin(classes)]
    if rows.empty:
        raise wrong("file", "no row has both a text and a class")
    pairs, values = _own_pairs(data, rows, wrong)
    digest = hashlib.sha256(f"{pairs} {values}".encode())
    for row in rows.itertuples(index=False):
        digest.update("\0".join(map(str, (row.text, row.label, row.second))).encode() + b"\1")
    return StoredLabels(name, f"{name}@{digest.hexdigest()[:12]}", pairs, values, load=lambda: rows)


def _own_table(path: Path, data: LineMap, wrong: Any) -> DataFrame:
    import pandas as pd

    if "hub" in data:
        import datasets

        with reading_hub(str(data["hub"])):
            repo, _, config = str(data["hub"]).partition(":")
            parts = datasets.load_dataset(repo, config or None)
            return pd.concat([pd.DataFrame(part) for part in parts.values()], ignore_index=True)
    file = path.parent / str(data["file"])
    suffix = "".join(file.suffixes[-2:]) if file.suffix == ".zst" else file.suffix
    readers: dict[str, Callable[..., DataFrame]] = {
        ".csv": pd.read_csv,
        ".csv.zst": pd.read_csv,
        ".parquet": pd.read_parquet,
    }
    readers |= {".tsv": lambda f: pd.read_csv(f, sep="\t"), ".jsonl": lambda f: pd.read_json(f, lines=True)}
    if suffix not in readers:
        raise wrong("file", f"{file.name}: expected one of {', '.join(readers)}")
    try:
        return readers[suffix](file)
    except Exception as error:  # pandas raises many types for what is missing or broken
        raise wrong("file", f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _own_pairs(
    data: LineMap, rows: DataFrame, wrong: Any
) -> tuple[tuple[tuple[str, str], ...], tuple[str, str] | None]:
    if "second" not in data:
        return (), None
    values = [_label(v) for v in data.get("second_values") or sorted(rows["second"].unique())]
    if len(values) != 2 or not set(values) <= set(rows["second"]):
        raise wrong("second_values", f"SCR needs two values of the second label, found {', '.join(values[:5])}")
    given = data.get("pairs") or []
    for pair in given:
        two = {_label(c) for c in pair} if isinstance(pair, list) else set()
        if len(two) != 2 or not two <= set(rows["label"]):
            raise wrong("pairs", f"{pair!r} is no pair of classes")
    return tuple((_label(a), _label(b)) for a, b in given), (values[0], values[1])


def _label(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def resolve(names: Sequence[str], sets: Mapping[str, tuple[str, ...]], base: Path) -> list[str]:
    """The references behind names: short names are spelled out, YAML files are taken from beside the suite first.

    Args:
        names: As given in the eval's setting.
        sets: What the eval's short names mean.
        base: Folder of the suite.
    """
    from hedgebench.standins import sae_probes_names

    def one(name: str) -> Iterator[str]:
        if name in sets:
            yield from (ref for each in sets[name] for ref in one(each))
        elif name.endswith((".yaml", ".yml")) and (base / name).exists():
            yield str((base / name).resolve())
        elif name.startswith("sae-probes:") and "*" in name:
            yield from (f"sae-probes:{found}" for found in sae_probes_names(name.partition(":")[2]))
        else:
            yield name

    return list(dict.fromkeys(ref for name in names for ref in one(str(name))))
