"""What is compared of losses, levels and balance (rows 15 to 17): the metrics, and the differences between SAEs of equal k."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hedgebench.stats.differences import difference
from hedgebench.stats.effects import effects
from hedgebench.stats.tables import control_rows, summary
from hedgebench.training.config import read_config
from hedgebench.verdicts import so_far

HERE = Path(__file__).parent
LOSSES = ("mse", "l2", "snap")
PAIRS = (("l2", "mse"), ("snap", "mse"), ("snap", "l2"))
"""Of losses: the first less the second."""
MATRYOSHKA = "matryoshka_batchtopk"
ARCHITECTURES = {"batchtopk": "BatchTopK", MATRYOSHKA: "Matryoshka"}
LEVELS = (MATRYOSHKA, "batchtopk")
"""SAEs with levels, less SAEs without."""


class Shown(NamedTuple):
    """A metric on the page."""

    words: str
    eval: str
    metric: str
    params: str = ""


POST = [
    Shown("explained variance", "saebench_core", "explained_variance"),
    Shown("absorption, full", "saebench_absorption", "mean_full_absorption_score"),
    Shown("absorption, fraction", "saebench_absorption", "mean_absorption_fraction_score"),
    Shown("TPP", "saebench_tpp", "tpp_total_metric", "n=10"),
    Shown("SCR", "saebench_scr", "scr_metric", "n=10"),
    Shown("sparse probing, k = 1", "saebench_sparse_probing", "sae_top_k_test_accuracy", "k=1"),
    Shown("autointerp", "saebench_autointerp", "autointerp_score"),
]
"""What the post on feature hedging draws: the Pareto picture and six panels."""
SAE_PROBES = Shown("sae-probes, k = 16", "saebench_sae_probes", "sae_top_k_test_accuracy", "k=16")
BESIDE = [
    Shown("L0", "saebench_core", "l0"),
    Shown("loss recovered", "saebench_core", "ce_loss_score"),
    Shown("latents alive", "saebench_core", "frac_alive"),
    SAE_PROBES,
    Shown("decoder bias norm", "decoder_bias", "b_dec_norm"),
    Shown("decoder bias, cosine with the mean activation", "bias_alignment", "cosine_mean"),
    Shown("largest cosine with another decoder row", "decoder_similarity", "max_cosine"),
]
"""What else tells of hedging, and whether SAEs of equal k are alike in L0."""
GROWN = [
    Shown("hedging degree", "grow_delta", "hedging_degree"),
    Shown("hedging beyond rows like the residual", "grow_delta", "excess", "null=residual"),
    Shown("hedging beyond other training seeds' rows", "grow_delta", "excess", "null=other_seed"),
    Shown("hedging beyond no new latents", "grow_delta", "excess"),
]
"""How much the decoder rows give up to new latents when SAEs of this kind grow."""
SHARED = Shown("latents shared with other training seeds", "seed_overlap", "shared", "threshold=0.7")
"""Of all SAEs of a kind at once: it has no training seed."""
ESTIMATE = Shown("the estimate", "hedging_estimate", "hedging")
READ = Shown("sinks among the tokens that it reads", "hedging_estimate", "sink_share")
"""Its `n` is how many tokens it reads."""
CHECKS = [
    Shown("where nothing is owed", "hedging_estimate", "hedging", "null=nothing owed"),
    Shown("AUC of known hedging", "hedging_estimate", "injected_auc", "of=hedging,share=0.3"),
    Shown("AUC of random signs", "hedging_estimate", "random_sign_auc", "of=hedging,share=0.3"),
]
"""What the estimate reads where the answer is known, on an SAE and text of ours."""
EVERY = [*POST, *BESIDE, *GROWN, SHARED]
PANELS = POST[1:]
VARIANCE = POST[0]
SCR = POST[4]
HIGHER = 40
"""The least k of what the post says of SCR, at "higher L0"."""


class Compared:
    """Differences between losses, between architectures and between multipliers, from the scores table; `panels_of_…`: on the six panels, all one question."""

    def __init__(self, scores: pd.DataFrame) -> None:
        self.estimated = only(scores, [ESTIMATE, *CHECKS])
        self.tokens_read = only(scores, [READ])["n"].max()
        scores = self.scores = only(_ended(scores), EVERY)
        plain = scores[scores["objective"].fillna("") == ""]
        balanced = _balanced(scores[scores["loss"] == "mse"])
        self.losses = with_words(effects(plain, "loss", "k"))
        """Losses, metric by metric, for each architecture; likewise `architectures`, for each loss, and `balances`."""
        self.architectures = with_words(effects(plain, "architecture", "k"))
        self.architectures_over_losses = with_words(effects(plain, "architecture", ["loss", "k"]))
        self.balances = with_words(effects(balanced, "objective", "k"))

        # what one claim compares is one question: the post's two losses of Matryoshka SAEs, the six panels, all multipliers
        is_drawn = (plain["architecture"] == MATRYOSHKA) & (plain["loss"] != "l2")
        self.curves_of_matryoshka = with_words(effects(only(plain[is_drawn], [VARIANCE]), "loss", "k"))
        panels = only(plain, PANELS)
        claimed = panels[(panels["eval"] != SCR.eval) | (panels["k"] >= HIGHER)]
        self.panels_of_architectures = with_words(effects(claimed, "architecture", ["loss", "k"], together=True))
        self.panels_of_architectures_by_loss = with_words(effects(claimed, "architecture", "k"))
        self.panels_of_losses, self.grown_of_losses = (
            {architecture: _losses_of(rows, architecture) for architecture in ARCHITECTURES}
            for rows in (panels, only(plain, GROWN))
        )
        self.panels_of_balances = with_words(effects(only(balanced, POST), "objective", "k", together=True))

    def facts(self) -> dict[str, Any]:
        """What was trained."""
        scores = self.scores[self.scores["eval"] != "grow_delta"]
        saes = scores[~scores["sae"].isin(control_rows(scores)) & scores["train_seed"].notna()].drop_duplicates("sae")
        planned = sum(len(read_config(HERE / f"train-{name}.yaml").saes) for name in ("batchtopk", "matryoshka"))
        return {
            "saes": len(saes),
            "so_far": so_far(len(saes), planned),
            "estimated": ", ".join(f"{k:.0f}" for k in sorted(self.estimated["k"].unique())) or "none yet",
            "width": f"{int(saes['width'].iloc[0]):,}",
            "tokens": f"{int(saes['train_tokens'].iloc[0]):,}",
            "seeds": saes["train_seed"].nunique(),
            "eval_seeds": self.scores["seed"].nunique(),
            "ks": ", ".join(f"{k:.0f}" for k in sorted(saes["k"].unique())),
        }

    def between_architectures(self, words: str) -> float:
        """How far they are apart on a metric, over all losses and L0s; NaN where that was not measured."""
        found = self.architectures_over_losses.loc[self.architectures_over_losses["words"] == words, "difference"].abs()
        return float(found.item()) if len(found) else np.nan

    @property
    def multipliers(self) -> list[str]:
        """Of balanced Matryoshka SAEs, without the ends."""
        return sorted({*self.panels_of_balances["first"], *self.panels_of_balances["second"]} - {"", "balance=0"})

    @cached_property
    def beside(self) -> dict[Shown, Beside]:
        """Each metric of trained SAEs, beside controls."""
        return {shown: _beside(only(self.scores, [shown]), control_rows(self.scores)) for shown in [*POST, *BESIDE]}

    def blind(self, shown: Shown) -> str:
        """How many variants a random SAE is no worse than, in words; empty where it is worse than all."""
        beside = self.beside[shown]
        found = beside.no_better_than_random()
        return f"but a random SAE is no worse than {found} of {len(beside.variants)} variants of its k" if found else ""


class Beside(NamedTuple):
    """The mean of each variant on a metric, those of the controls of their k, and whether more is better."""

    variants: pd.Series[float]
    controls: dict[str, float]
    higher: bool

    def no_worse(self) -> list[str]:
        """The controls that are as good as the worst variant, or better."""
        return [name.split("/")[-1] for name, mean in self.controls.items() if self._no_better(mean).any()]

    def no_better_than_random(self) -> int:
        """How many variants are as good as the random SAE, or worse."""
        return sum(int(self._no_better(mean).sum()) for name, mean in self.controls.items() if name.endswith("/random"))

    def _no_better(self, mean: float) -> pd.Series[bool]:
        return self.variants <= mean if self.higher else self.variants >= mean


def _beside(rows: pd.DataFrame, names: Collection[str]) -> Beside:
    of = set(rows.loc[rows["sae"].isin(names), "k"].dropna())
    table = summary(rows[rows["k"].isin(of)] if of else rows)
    is_control = table["saes"].isin(names)
    controls = {
        str(name): float(mean) for name, mean in table.loc[is_control, ["saes", "mean"]].itertuples(index=False)
    }
    return Beside(table.loc[~is_control, "mean"], controls, bool(rows["higher_is_better"].eq(True).any()))


def only(scores: pd.DataFrame, shown: Sequence[Shown]) -> pd.DataFrame:
    """The rows of some metrics; of single latents and words there are thousands of others, a hundred times as much work."""
    metrics, whole = [tuple(one[1:]) for one in shown], scores[scores["slice_by"] == "all"]
    keys = zip(whole["eval"], whole["metric"], whole["params"], strict=True)
    return whole[np.array([key in metrics for key in keys], dtype=bool)]


def minus(rows: pd.DataFrame, first: str, second: str, digits: int = 3) -> str:
    """A cell of a table: one value of a setting less another, empty where they are not compared."""
    found = difference(rows, first, second)
    return format(found, f".{digits}f") if found else ""


def _losses_of(rows: pd.DataFrame, architecture: str) -> pd.DataFrame:
    """The losses of one architecture, all metrics one question."""
    return with_words(effects(rows[rows["architecture"] == architecture], "loss", "k", together=True))


def _ended(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows, SAEs that grew under snap without their objective: it says nothing but when they went over to L2."""
    grown = scores["objective"].fillna("").str.fullmatch(r"snap_at=\S+") & (scores["eval"] == "grow_delta")
    return scores.assign(objective=scores["objective"].mask(grown))


def _balanced(scores: pd.DataFrame) -> pd.DataFrame:
    """BatchTopK SAEs as what they are among balanced ones: Matryoshka SAEs whose lower levels count 0 times in the loss."""
    flat = scores["architecture"] == "batchtopk"
    return scores.assign(
        objective=scores["objective"].mask(flat, "balance=0"),
        architecture=scores["architecture"].mask(flat, MATRYOSHKA),
    )


def with_words(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the page's metrics, in its order, with their words."""
    rows = rows[rows["slice_by"] == "all"]
    keys = list(zip(rows["eval"], rows["metric"], rows["params"], strict=True))
    order = {tuple(shown[1:]): i for i, shown in enumerate(EVERY)}
    words = [shown.words for shown in EVERY]
    places = np.array([order.get(key, -1) for key in keys], dtype=int)
    rows = rows.assign(place=places)[places >= 0].sort_values("place", kind="stable")
    return rows.assign(words=[words[i] for i in rows["place"]])
