"""The rows of a leaderboard: variants of SAEs, with what is known of them. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.board.sources import plain
from hedgebench.control_cards import DIALS, control_kind
from hedgebench.series import Band, split_l0
from hedgebench.stats.grid import COLUMN, PLACE, VARIANT, variants

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from hedgebench.board.sources import Source


class Row(NamedTuple):
    """One variant: SAEs of one recipe that differ in their training seed, or one SAE."""

    name: str
    saes: list[Mapping[str, Any]]
    """Each with its name (`sae`), digest, train_seed, release and sae_id."""
    facts: Mapping[str, Any]
    """What all its SAEs have in common: `VARIANT` and layer; None where not known."""
    control: str | None
    """For a control row, of which kind."""
    l0: float | None
    l0_from: str
    """Who says so: an eval that measured it, `training`, or `k`."""
    band: int | None
    """Which of the bands of like L0 it is in."""

    @property
    def place(self) -> tuple[Any, ...]:
        """What its SAEs read: model and hook point."""
        return tuple(self.facts[key] for key in PLACE)


def make_rows(source: Source) -> tuple[list[Row], list[Band], Series]:
    """The rows in the order of the table, the bands of L0 from the lowest, and the name of the row that each SAE is in (a Series, index: `sae`)."""
    named = variants(source.saes)
    saes: dict[str, list[Mapping[str, Any]]] = {}
    for sae in plain(source.saes):
        saes.setdefault(named[sae["sae"]], []).append(sae)
    measured = _measured(source.scores)
    l0 = {name: _l0(members, measured) for name, members in saes.items()}
    bands = split_l0(value for value, _ in l0.values() if value)
    rows = []
    for name, members in saes.items():
        facts = {key: members[0][key] for key in (*VARIANT, "layer")}
        value, who = l0[name]
        band = next((i for i, found in enumerate(bands) if value and found.low <= value <= found.high), None)
        control = control_kind(str(facts["architecture"] or ""))
        rows.append(Row(name, members, facts, control, value, who, band))
    return rows, bands, named


_CONTROLS = {
    "random": "learnt nothing",
    "permuted": "learnt nothing",
    "pca": "the principal components of the activations, computed and not learnt",
    "oracle": "the true features themselves, or an SAE that was given the answers",
}


def about_controls(rows: Sequence[Row]) -> str:
    """What the control rows are, by kind, in words; empty where there are none."""
    kinds: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.control is not None:
            # `permuted` alone is no dial, with an amount it is one
            dial = row.control in DIALS and "=" in row.name.rpartition("/")[2]
            words = "SAEs made worse by a known amount" if dial else _CONTROLS.get(row.control, "of another kind")
            kinds.setdefault(words, {})[f"{row.control}=…" if dial else row.control] = None
    said = "; ".join(f"{', '.join(names)}: {words}" for words, names in kinds.items())
    return f"Controls are made to compare with ({said})." if said else ""


def _measured(scores: DataFrame) -> dict[str, dict[str, float]]:
    """By who measured it, the L0 of each SAE: means of metrics that are called so, one for each eval, version, setting and data."""
    found: dict[str, dict[str, float]] = {}
    rows = scores[(scores["metric"] == "l0") & (scores["params"] == "")]
    for i, (_, column) in enumerate(rows.groupby(COLUMN, sort=False, dropna=False)):
        who = str(column["eval"].iloc[0])
        means = column.groupby("sae")["value"].mean()
        found[f"{who} ({i + 1})" if who in found else who] = dict(zip(means.index, means, strict=True))
    return found


def _l0(saes: Sequence[Mapping[str, Any]], measured: Mapping[str, Mapping[str, float]]) -> tuple[float | None, str]:
    """The mean L0 of some SAEs: as an eval measured it for all of them, else as training left it, else the k of a TopK."""
    ways = {who: [values.get(sae["sae"]) for sae in saes] for who, values in measured.items()}
    ways["training"] = [sae["l0"] for sae in saes]
    ways["k"] = [sae["k"] if "topk" in str(sae["architecture"]) else None for sae in saes]
    for who, values in ways.items():
        known = [value for value in values if value is not None and math.isfinite(value) and value > 0]
        if len(known) == len(saes):
            return statistics.mean(known), who
    return None, ""
