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

Claims about hedging in worlds whose true features are known, from the post and the paper on feature hedging (arXiv 2505.11756): {n_run} of {n_claims} trained again.

    {command}

makes this page, its figures and the tables they are drawn from (`scores.parquet`: {n_saes} SAEs{controls}, {n_rows} numbers{minima}). {seeds} training seeds; a number is the
mean over them with its 95 % interval (Student's t). A claim *holds* where every interval lies in the range that the claim is taken to mean, *does not hold*
where one lies outside, and otherwise these seeds *cannot tell*. The ranges are ours: the post gives pictures.

Every latent starts at a feature, in rows 1 to 8, 11 and 12 with a little noise, in the others just there but for scenario `rough` (`hedgebench/toy/scenarios.py` has all settings): what is shown is
what the losses do to a latent that had found its feature, not how it finds one. L2 from there has not far to go, so its good numbers say less than those of snap, which begins with MSE. The L1 weight is
the same for all three losses. The same command on the same machine gives the same digits. Otherwise, or beside other SAEs, sums in another order move numbers of MSE by less than
0.001 and may move single ones of L2 and snap by about 0.01, because the norm has a cusp.

| row | claim | verdict |
| --- | --- | --- |
"""

_MINIMA = """
## Where the trained latents of rows 1 to 5 and 8 sit

The exact expected loss over a two-feature world's four inputs (free encoder, both biases, L1 as trained) has many local minima: `minima.csv` lists those that random
starts find. Shown are the lowest of each, and every one in which a trained SAE sits; distance is in function, the root mean square difference of what the latent
writes and of the bias.

| scenario | loss | exact loss | global | decoder on f0 | on f1 | b_dec on f0 | on f1 | training seeds in it | largest distance |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def toy_page(scores: DataFrame, minima: DataFrame, figures: Collection[str], command: str) -> str:
    """The whole page.

    Args:
        scores: The scores table of a toy study.
        minima: The table of `hedgebench.toy.seats`.
        figures: Names of the figures that lie beside the page as PNG.
        command: What made it.
    """
    table = ToyTable(scores)
    checked = [(claim, _checks(claim, table)) for claim in CLAIMS]
    n_controls = scores.loc[scores["train_seed"].isna(), "sae"].nunique()
    n_seeds = table.rows["train_seed"].nunique()
    n_run = sum(bool(checks) for _, checks in checked)
    text = _HEAD.format(
        n_run=n_run,
        n_claims=len(CLAIMS),
        command=command,
        n_saes=table.rows["digest"].nunique(),
        controls=f" and {n_controls} controls" if n_controls else "",
        n_rows=len(scores),
        seeds=n_seeds,
        minima="; `minima.csv`" if len(minima) else "",
    )
    text += "".join(f"| {c.row} | {c.title} | {verdict(checks)} |\n" for c, checks in checked)
    text += "".join(_section(claim, checks, table, figures) for claim, checks in checked if checks)
    return text + (_minima(minima) if len(minima) else "")


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


def _minima(minima: DataFrame) -> str:
    """The minima of the exact loss that trained SAEs sit in, and the lowest one of each scenario and loss."""
    shown = minima[minima["is_global"] | (minima["train_seeds"].fillna("") != "")]
    lines = [_MINIMA]
    for row in shown.to_dict("records"):
        seeds = row["train_seeds"] if isinstance(row["train_seeds"], str) and row["train_seeds"] else "none"
        far = "" if seeds == "none" else f"{row['largest_distance']:.4f}"
        numbers = [f"{row[key]:.3f}" for key in ("decoder_f0", "decoder_f1", "b_dec_f0", "b_dec_f1")]
        told = [row["scenario"], row["loss"], f"{row['exact_loss']:.5f}", "yes" if row["is_global"] else "no"]
        lines.append("| " + " | ".join([*told, *numbers, seeds, far]) + " |\n")
    return "".join(lines)


_PHASES = """# Where snap stops working

One latent, trained by snap in worlds that differ in two things at a time: how much of its decoder row is left on other features (0: recovered, dark: not), mean over
training seeds. On the solid line theory puts the border: L2, descending from the first principal axis, at which MSE ends, to the feature, meets no uphill
(`hedgebench.toy.margins.snap_margin`; for a parent and one child that never fires alone, and rare, it is p1/p0 = 2/3). Beyond the dashed line the feature alone is no minimum of L2
at all, from wherever one starts. The line knows nothing of time: a switch near the end of training (last panel) leaves L2 too little of it, and one at its beginning meets a
latent that MSE has not yet moved.

    {command}

makes it; `phases.csv` has a row for each SAE.

![phase diagram](phases.png)

| panel | SAEs | recovered by snap | as theory predicts |
| --- | --- | --- | --- |
"""


def phase_page(agreement: DataFrame, command: str) -> str:
    """The page of the phase diagram.

    Args:
        agreement: From `hedgebench.toy.phases.agreement`.
        command: What made it.
    """
    rows = agreement.to_dict("records")
    lines = [f"| {r['panel']} | {r['saes']} | {r['recovered']} | {r['as_predicted']:.1%} |\n" for r in rows]
    return _PHASES.format(command=command) + "".join(lines)
