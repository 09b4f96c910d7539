"""The card of all metrics: what each says in each case, judged together, and its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from hedgebench.looks import OKABE_ITO, PAGE
from hedgebench.stats.validity import dial_card, report_card

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CASES = {
    "random": "the same shape with random rows",
    "permuted": "its decoder rows shuffled",
    "oracle": "beside the true features of a toy world, or beside itself with a latent for each of TPP's concepts added: these must be at least as good",
    "permuted, dial": "some, then all of its rows shuffled",
    "dead, dial": "some, then most or all of its latents dead",
    "mixed, dial": "each row mixed with another",
    "noise, dial": "encoder and decoder turned at random",
}
FDR = 0.05
SIGNS = {"right": "✓", "wrong": "✗", "doubtful": "(✗)", "cannot tell": "?", "same": "="}
COLOURS = {"right": OKABE_ITO[0], "wrong": OKABE_ITO[1], "doubtful": "#F3C9A8", "cannot tell": "0.87", "same": "1.0"}
METRIC = ["eval", "metric", "params"]


def cards(scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each metric and case, of both kinds of card. `verdict` is `wrong` where that holds for the card as a whole (Benjamini and Hochberg), `doubtful` where it holds for the row alone."""
    whole = scores[scores["slice_by"] == "all"]
    controls, dials = report_card(whole), dial_card(whole)
    found = pd.concat([controls.assign(case=controls["kind"]), dials.assign(case=dials["dial"] + ", dial")])
    found = found[[*METRIC, "case", "n_saes", "amounts", "right", "wrong", "same", "unknown", "steps", "first", "gap", "p_wrong", "verdict"]]  # fmt: skip
    tested = found["verdict"] != "same"
    false = pd.Series(1.0, index=range(len(found)))
    found = found.reset_index(drop=True)
    false[tested.to_numpy()] = false_discovery_control(found.loc[tested.to_numpy(), "p_wrong"].astype(float).fillna(1.0))  # fmt: skip
    found.loc[(found["verdict"] == "wrong") & (false > FDR), "verdict"] = "doubtful"
    return found


def overall(found: pd.DataFrame) -> pd.Series:
    """Of each metric with its params: `wrong` or `doubtful` on any case, else `right` on all that test it, else `cannot tell`; `same` where no case tests it."""

    def one(verdicts: pd.Series) -> str:
        words = set(verdicts) - {"same"}
        return next((word for word in ("wrong", "doubtful", "cannot tell", "right") if word in words), "same")

    return found.groupby(METRIC, sort=False)["verdict"].agg(one)


def together(verdicts: pd.Series) -> str:
    """What several verdicts on one case come to: the worst where any is wrong or doubtful, else what most of them are."""
    return next((word for word in ("wrong", "doubtful") if (verdicts == word).any()), str(verdicts.mode().iloc[0]))


def by_metric(found: pd.DataFrame) -> pd.DataFrame:
    """[metric, case]: the verdict over a metric's params, and how many of them are right."""
    groups = found.groupby(["eval", "metric", "case"], sort=False)["verdict"]
    return pd.DataFrame(
        {"verdict": groups.agg(together), "right": groups.agg(lambda w: (w == "right").sum()), "n": groups.size()}
    ).reset_index()


def draw(found: pd.DataFrame) -> Figure:
    """Metrics by cases, coloured by the verdict; a number says on how many of a metric's params it is right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    table = by_metric(found)
    rows = list(dict.fromkeys(zip(table["eval"], table["metric"], strict=True)))
    cases = [case for case in CASES if case in set(table["case"])]
    figure = FigureCanvasAgg(Figure(figsize=(PAGE, 1.3 + 0.19 * len(rows)), layout="constrained")).figure
    axes = figure.subplots()
    for cell in table.itertuples():
        x, y = cases.index(cell.case), rows.index((cell.eval, cell.metric))
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=COLOURS[cell.verdict], edgecolor="white", linewidth=1.5))
        some = f" {cell.right}/{cell.n}" if cell.n > 1 and cell.verdict != "same" else ""
        ink = "white" if cell.verdict in ("right", "wrong") else "black"
        axes.text(x + 0.5, y + 0.5, SIGNS[cell.verdict] + some, ha="center", va="center", color=ink, fontsize=6.5)
    for i, (own, before) in enumerate(zip(rows, [None, *rows], strict=False)):
        if before is not None and own[0] != before[0]:
            axes.axhline(i, color="black", linewidth=1)
    names = [f"{name.removeprefix('saebench_')}: {metric}" for name, metric in rows]
    axes.set(xlim=(0, len(cases)), ylim=(len(rows), 0))
    axes.set_yticks(np.arange(len(rows)) + 0.5, names, fontsize=6.5)
    axes.set_xticks(np.arange(len(cases)) + 0.5, [case.replace(", ", "\n") for case in cases], fontsize=7)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    words = {word: f"{SIGNS[word]}  {word}" for word in SIGNS}
    handles = [Patch(facecolor=COLOURS[word], edgecolor="0.6", label=label) for word, label in words.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=7)
    return figure
