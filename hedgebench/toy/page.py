"""The page that walks through the post's claims: claim, our number with its interval, verdict. Markdown, from the scores table alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from hedgebench.toy.checks import Check, verdict
from hedgebench.toy.claims import CLAIMS, Claim
from hedgebench.toy.table import ToyTable
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from pandas import DataFrame

_HEAD = """# Toy worlds: the post's claims

Fifteen claims about hedging in worlds whose true features are known, from the post and the paper on feature hedging (arXiv 2505.11756), each trained again.

    {command}

makes this page, its figures and the table they are drawn from (`scores.parquet`: {n_saes} SAEs, {n_rows} numbers). {seeds} training seeds; a number is the
mean over them with its 95 % interval (Student's t). A claim *holds* where every interval lies in the range that the claim is taken to mean, *does not hold*
where one lies outside, and otherwise these seeds *cannot tell*.

| row | claim | verdict |
| --- | --- | --- |
"""


def toy_page(scores: DataFrame, figures: Collection[str], command: str) -> str:
    """The whole page.

    Args:
        scores: The scores table of a toy study.
        figures: Names of the figures that lie beside the page as PNG.
        command: What made it.
    """
    table = ToyTable(scores)
    checked = [(claim, _checks(claim, table)) for claim in CLAIMS]
    n_seeds = table.rows["train_seed"].nunique()
    text = _HEAD.format(command=command, n_saes=scores["digest"].nunique(), n_rows=len(scores), seeds=n_seeds)
    text += "".join(f"| {c.row} | {c.title} | {verdict(checks)} |\n" for c, checks in checked)
    return text + "".join(_section(claim, checks, table, figures) for claim, checks in checked)


def _checks(claim: Claim, table: ToyTable) -> list[Check]:
    try:
        return list(claim.checks(table))
    except CannotMeasure:
        return []


def _section(claim: Claim, checks: list[Check], table: ToyTable, figures: Collection[str]) -> str:
    lines = [f"\n## {claim.row}. {claim.title}: {verdict(checks)}\n\n{claim.text}\n"]
    if checks:
        lines.append("\n| number | mean [95 %] | the claim means | verdict |\n| --- | --- | --- | --- |\n")
        lines += [f"| {check.what} | {check.found} | {check.meant} | {check.verdict} |\n" for check in checks]
        if claim.why is not None:
            lines.append(f"\n{claim.why(table)}\n")
    lines += [f"\n![{name}]({name}.png)\n" for name in claim.figures if name in figures]
    return "".join(lines)
