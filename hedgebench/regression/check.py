"""Is anything worse than in the baseline? All of a check, for two scores tables. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgebench.regression.cells import Key
from hedgebench.regression.compare import Comparison, Difference, compare
from hedgebench.regression.frozen import Table, differing, open_table, told_together
from hedgebench.regression.layout import Layout, Side, groups, lay_out
from hedgebench.regression.rules import Rules, read_rules
from hedgebench.regression.subjects import Subject, subjects
from hedgebench.regression.verdicts import UNDECIDED, VERDICTS, Judged, Verdict, judge
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from pandas import DataFrame

FINDINGS = [
    "verdict",
    "sae",
    "eval",
    "metric",
    "params",
    "baseline",
    "here",
    "difference",
    "low",
    "high",
    "margin",
    "detectable",
    "p",
    "reason",
    "saes",
    "baseline_saes",
    "matched_by",
    "seeds",
    "eval_version",
    "data",
    "config",
    "made_with",
    "model",
    "hook",
]
"""Columns of `Report.findings`."""


@dataclass(frozen=True)
class Report:
    """What came of a check."""

    findings: DataFrame
    """A row for each metric of each SAE or recipe, what needs attention first: `verdict`, `sae` (or the recipe's name), `eval`, `metric`, `params`; `baseline`, `here` (means) and their `difference` with its 95 % interval `low` to `high`;
    `margin` (`same`: the interval is within it), `detectable` (a change of this size is found 9 times of 10), `p` (adjusted for all rows), `reason`; `saes` and `baseline_saes` (names), `matched_by`, `seeds` (evaluation seeds; 0: nothing drawn), and how the numbers were made."""
    notes: tuple[str, ...] = ()
    """What is true of the whole check: other versions, what was left out."""

    @property
    def counts(self) -> dict[Verdict, int]:
        """How often each verdict was given."""
        found = Counter(self.findings["verdict"])
        return {verdict: found[verdict] for verdict in VERDICTS}

    @property
    def undecided(self) -> int:
        """How many rows cannot be told or are missing."""
        return sum(self.counts[verdict] for verdict in UNDECIDED)

    def code(self, strict: bool = False) -> int:
        """The exit code: 1 where something is worse, 3 where `strict` and something is undecided or missing, else 0."""
        if self.counts["worse"]:
            return 1
        return 3 if strict and self.undecided else 0


def check(
    results: DataFrame | str | Path, baseline: DataFrame | str | Path, *, config: Rules | str | Path | None = None
) -> Report:
    """Compare results with a baseline: is anything worse, beyond noise?

    Args:
        results: A scores table, its file (.csv, .parquet), or a results folder.
        baseline: Likewise; what `hedgebench baseline` writes is such a file.
        config: Tolerances, better ends and names: a YAML file (docs/check.md), or what `read_rules` made of one.

    Returns:
        A verdict on each metric of each SAE. Numbers about subsets (slices) and rows of controls take no part.

    Raises:
        BadInput: Something cannot be read, the config speaks of what is not there, or there is nothing to compare.
    """
    rules = config if isinstance(config, Rules) else Rules() if config is None else read_rules(config)
    here, before = open_table(results, "results"), open_table(baseline, "baseline")
    before, here = told_together(before, here)
    old, new = Side.of(before.scores), Side.of(here.scores)
    rules.check_names(old.names | new.names, new.runs, old.runs)
    matched = subjects(before.scores, here.scores, old.variant, new.variant, rules)
    if not any(subject.by for subject in matched):
        raise BadInput(
            f"nothing to compare: no SAE of {here.place} is in {before.place}, by digest, name or tags; "
            "`match:` in a config says which is which"
        )
    layout = lay_out(matched, old, new, rules)
    if not layout.settled and not layout.pending:
        raise BadInput("nothing to compare: the config ignores every metric that is there")
    return Report(_frame(layout, _compared(layout, old, new, rules)), _notes(before, here, matched))


def _compared(
    layout: Layout, before: Side, here: Side, rules: Rules
) -> list[tuple[Comparison, Key, Difference, Judged]]:
    """What came of everything that is compared, judged together."""
    found: list[tuple[Comparison, Key, Difference]] = []
    for key, comparisons in layout.pending.items():
        differences = compare(
            comparisons,
            before.numbers(key),
            here.numbers(key),
            groups(before, comparisons),
            rules.judge == "checkpoints",
            rules.float_tolerance,
        )
        found += [(one, key, difference) for one, difference in zip(comparisons, differences, strict=True)]
    said = [rules.rule(key.eval, key.metric, key.params) for _, key, _ in found]
    directions = [
        _first(rule.better, before.direction(key), here.direction(key))
        for (_, key, _), rule in zip(found, said, strict=True)
    ]
    judged = judge([difference for _, _, difference in found], said, directions)
    return [(*one, verdict) for one, verdict in zip(found, judged, strict=True)]


def _first(*ways: bool | None) -> bool | None:
    """The first better end that is known: the user's, then the baseline's, which what is checked cannot turn."""
    return next((way for way in ways if way is not None), None)


def _frame(layout: Layout, compared: list[tuple[Comparison, Key, Difference, Judged]]) -> DataFrame:
    """The findings, what needs attention first."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for one in layout.settled:
        rows.append({**_named(one.subject, one.key), "verdict": one.verdict, "reason": one.reason})
    for comparison, key, difference, judged in compared:
        subject = comparison.subject._replace(before=comparison.before, here=comparison.here)
        numbers = {"baseline": difference.before, "here": difference.here, "difference": difference.value}
        rows.append({**_named(subject, key), **numbers, "seeds": difference.seeds, **judged._asdict()})
    frame = pd.DataFrame(rows, columns=FINDINGS)
    numeric = ["baseline", "here", "difference", "low", "high", "margin", "detectable", "p"]
    frame = frame.astype(dict.fromkeys(numeric, "float64") | dict.fromkeys(["seeds", "eval_version"], "Int64"))
    order = frame.assign(rank=frame["verdict"].map(VERDICTS.index))
    order = order.sort_values(["rank", "p", "sae", "eval", "metric", "params"], kind="stable", na_position="last")
    return frame.loc[order.index].reset_index(drop=True)


def _named(subject: Subject, key: Key) -> dict[str, Any]:
    names = {"sae": subject.name, "saes": " ".join(subject.here), "baseline_saes": " ".join(subject.before)}
    made = {name: value for name, value in key._asdict().items() if name in FINDINGS}
    return {**names, "matched_by": subject.by, **made}


def _notes(before: Table, here: Table, matched: Sequence[Subject]) -> tuple[str, ...]:
    notes = differing(before.versions, here.versions)
    notes += [
        f"{', '.join(one.here)} here is compared with {', '.join(one.before)} of the baseline, matched by {one.by}"
        for one in matched
        if one.by in ("recipe", "tags")
    ]
    if here.controls:
        notes.append(f"{here.controls} controls take no part")
    if here.slices:
        notes.append(f"{here.slices} numbers about subsets take no part")
    return tuple(notes)
