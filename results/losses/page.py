"""Rows 15 to 17, told from their tables: `python results/losses/page.py` writes README.md beside it from scores.parquet and grown.parquet, and nothing else decides a word of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hedgebench.markdown import markdown_table
from hedgebench.records import write_text
from hedgebench.stats.differences import difference, level_means, oriented, paired_difference
from hedgebench.stats.effects import effects
from hedgebench.stats.intervals import mean_interval
from hedgebench.stats.tables import control_rows, summary
from hedgebench.training.config import read_config
from hedgebench.verdicts import NOT_MEASURED, Claim, above, below, claim, claim_of_each, listed, so_far

HERE = Path(__file__).parent
LOSSES = ("mse", "l2", "snap")
MATRYOSHKA = "matryoshka_batchtopk"
LEVELS = (MATRYOSHKA, "batchtopk")
PAIRS = (("l2", "mse"), ("snap", "mse"), ("snap", "l2"))
ARCHITECTURES = {"batchtopk": "BatchTopK", "matryoshka_batchtopk": "Matryoshka"}


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
READ = Shown("tokens that are sinks, of those that it reads", "hedging_estimate", "sink_share")
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
POWER = "would be found 4 times in 5:"
"""Before minimal detectable differences."""
DIFFERS = "does not hold"
LITTLE = 4
"""A difference between losses is little that goes so often into the one between the architectures."""


def page(scores: pd.DataFrame) -> str:
    """The page in Markdown."""
    found = Found(scores)
    return "\n".join(
        [
            HEAD.format(**found.facts()),
            "## What holds\n",
            *listed(found.claims()),
            "\n## What the loss does\n",
            LOSS,
            *(found.losses(architecture) for architecture in ARCHITECTURES),
            SEEDS,
            found.shared(),
            "\n## The estimate that needs no growing\n",
            found.estimates(),
            "\n## What Matryoshka levels do\n",
            ARCHITECTURE.format(**found.facts()),
            found.architectures(),
            "\n## What balance does\n",
            BALANCE.format(ks=", ".join(sorted({k for over in found.balance["over"] for k in over.split()}))),
            found.balances(),
            "\n## Beyond controls\n",
            CONTROLS,
            found.controls(),
            "\n" + LIMITS.format(**found.facts()),
        ]
    )


class Found:
    """What the scores table says of losses, levels and balance."""

    def __init__(self, scores: pd.DataFrame) -> None:
        self.estimated, self.read = _only(scores, [ESTIMATE, *CHECKS]), _only(scores, [READ])["n"].max()
        scores = self.scores = _only(_ended(scores), EVERY)
        plain = scores[scores["objective"].fillna("") == ""]
        self.loss = _shown(effects(plain, "loss", "k"))
        self.architecture = _shown(effects(plain, "architecture", "k"))
        self.pooled = _shown(effects(plain, "architecture", ["loss", "k"]))
        balanced = _balanced(scores[scores["loss"] == "mse"])
        self.balance = _shown(effects(balanced, "objective", "k"))
        # what one claim compares is one question: the six panels, the post's two losses of Matryoshka SAEs, all multipliers
        panels = _only(plain, PANELS)
        claimed = panels[(panels["eval"] != SCR.eval) | (panels["k"] >= HIGHER)]
        self.levels = _shown(effects(claimed, "architecture", ["loss", "k"], together=True))
        self.levels_by_loss = _shown(effects(claimed, "architecture", "k"))
        self.apart, self.grown = (
            {
                architecture: _shown(effects(rows[rows["architecture"] == architecture], "loss", "k", together=True))
                for architecture in ARCHITECTURES
            }
            for rows in (panels, _only(plain, GROWN))
        )
        drawn = _only(plain, [VARIANCE])
        self.drawn = _shown(
            effects(drawn[(drawn["architecture"] == MATRYOSHKA) & (drawn["loss"] != "l2")], "loss", "k")
        )
        self.between = _shown(effects(_only(balanced, POST), "objective", "k", together=True))

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

    def claims(self) -> list[Claim]:
        """The sources' findings one by one, then what they ask of toy worlds alone."""
        shown = {shown.words: shown for shown in POST}
        better = "Matryoshka SAEs are better on"
        return [
            self._curves("batchtopk"),
            self._curves(MATRYOSHKA),
            self._levels("Matryoshka SAEs absorb less.", shown["absorption, full"], shown["absorption, fraction"]),
            self._levels(f"{better} TPP.", shown["TPP"]),
            self._levels(f"{better} SCR, at higher L0 (k {HIGHER} and more), as it seems to the post.", SCR),
            self._levels(
                f"{better} sparse probing with one latent, as it appears to the post.", shown["sparse probing, k = 1"]
            ),
            self._levels(f"{better} autointerp (too noisy to tell for the post).", shown["autointerp"], ours=True),
            self._panels(
                "The losses of Matryoshka SAEs cannot be told apart on the six metrics of the post's panels.",
                MATRYOSHKA,
            ),
            self._panels(
                "There is no obvious difference on them between the losses of BatchTopK SAEs (in the post l2 and mse, here snap, too).",
                "batchtopk",
            ),
            self._improved(),
            self._between(),
            self._hedging(
                "L2 and snap hedge less than mse, as in toy worlds (BatchTopK SAEs, when they grow).", "batchtopk"
            ),
            self._hedging(
                "L2 and snap hedge less than mse, as in toy worlds (Matryoshka SAEs whose outermost level grows, which is no measure of what inner levels mix in).",
                MATRYOSHKA,
            ),
        ]

    def _curves(self, architecture: str) -> Claim:
        """Whether losses differ in explained variance, beside what L0 and the architecture do."""
        matryoshka = architecture == MATRYOSHKA
        words = "There is no noticeable difference between losses in the curves of explained variance against L0 ({})."
        rows = self.loss[(self.loss["words"] == VARIANCE.words) & (self.loss["architecture"] == architecture)]
        asked = self.drawn if matryoshka else rows
        found = _differ(words.format("Matryoshka, mse and snap" if matryoshka else "BatchTopK"), asked)
        if asked.empty:
            return found
        beside = self._between_architectures(VARIANCE.words)
        # also where it was not measured (NaN)
        if found.verdict == "holds" and not asked["detectable"].max() <= beside:
            found = _but(found, "cannot tell")
        if found.verdict == DIFFERS and asked["difference"].abs().max() < beside / LITTLE:
            found = _but(found, f"{DIFFERS}, by little")
        said = found.said
        if matryoshka and (l2 := _less(rows, "l2", "mse", digits=4)):
            said += f" L2, which the post does not draw of them: l2 − mse {l2}."
        said += f" {_seed_by_seed(rows)} The largest difference between losses is {rows['difference'].abs().max():.4f}"
        return found._replace(
            said=f"{said}." if np.isnan(beside) else f"{said}; {beside:.3f} lie between the architectures."
        )

    def _panels(self, words: str, architecture: str) -> Claim:
        """Whether losses are alike on the six panels, all differences being one question; and the differences seed by seed."""
        rows = self.apart[architecture]
        found = claim_of_each(words, {str(name): self._alike(of) for name, of in rows.groupby("words", sort=False)})
        return found if rows.empty else found._replace(said=f"{found.said} {_seed_by_seed(rows)}")

    def _alike(self, rows: pd.DataFrame) -> tuple[str, str]:
        """Whether losses are alike on one metric: they are as far as a difference as large as that between the architectures would be found, and a random SAE does worse."""
        name, size = rows["words"].iloc[0], rows["detectable"].max()
        between, blind = self._between_architectures(name), self._blind(next(one for one in POST if one.words == name))
        apart = [f"{_later_first(row)}, told apart" for row in rows[rows["apart"]].itertuples()]
        verdict = DIFFERS if apart else "holds" if size <= between and not blind else "cannot tell"
        beside = "" if np.isnan(between) else f", {between:.3g} lie between the architectures"
        said = [*(apart or ["none told apart"]), f"{POWER} {size:.3g}{beside}", *([blind] if blind else [])]
        return verdict, "; ".join(said)

    def _between_architectures(self, words: str) -> float:
        """How far they are apart on a metric, over all losses and L0s; NaN where that was not measured."""
        found = self.pooled.loc[self.pooled["words"] == words, "difference"].abs()
        return float(found.item()) if len(found) else np.nan

    def _hedging(self, words: str, architecture: str) -> Claim:
        """Whether L2 and snap hedge less than mse: by the degree, and beyond all nulls."""
        rows, found = self.grown[architecture], {}
        for loss in ("l2", "snap") if len(rows) else ():
            pairs = rows[rows[["first", "second"]].isin([loss, "mse"]).all(axis=1)]
            if pairs.empty:
                continue
            change = np.where(pairs["first"] == loss, 1, -1) * pairs["difference"] * pairs["apart"]
            less, more = bool((change < 0).any()), bool((change > 0).any())
            verdict = "holds in part" if less else "does not hold" if more else "cannot tell"
            if (change < 0).all():
                verdict = "holds"
            cells = (f"{name} {_less(of, loss, 'mse')}" for name, of in pairs.groupby("words", sort=False))
            found[f"{loss} − mse"] = (verdict, "; ".join(cells))
        return claim_of_each(words, found, ours=True)

    def _levels(self, words: str, *metrics: Shown, ours: bool = False) -> Claim:
        """Whether Matryoshka SAEs are better than BatchTopK SAEs on some of the panels, over all losses; and loss by loss."""
        found = {}
        for shown in metrics:
            rows = self.levels[self.levels["words"] == shown.words]
            if rows.empty:
                continue
            verdict, apart, blind = "cannot tell", rows["apart"].item(), self._blind(shown)
            if apart and not blind:
                verdict = "holds" if rows[rows["better"].item()].item() == MATRYOSHKA else "does not hold"
            by_loss = self.levels_by_loss[self.levels_by_loss["words"] == shown.words]
            each = ", ".join(f"{row.loss} {oriented(row, MATRYOSHKA).mean:+.3f}" for row in by_loss.itertuples())
            numbers = f"Matryoshka − BatchTopK {_less(rows, *LEVELS)}{', told apart' if apart else ''}; {each}; {POWER} {rows['detectable'].item():.3g}"
            found[shown.words] = verdict, f"{numbers}; {blind}" if blind else numbers
        return claim_of_each(words, found, ours)

    def _improved(self) -> Claim:
        """Whether some multiplier makes Matryoshka SAEs better, and on what."""
        words = "Balanced Matryoshka SAEs (a multiplier below 1) are an improved variant of Matryoshka SAEs."
        found = {}
        for shown in POST:
            rows = self.between[self.between["words"] == shown.words]
            levels = [level for level in self._multipliers if difference(rows, level, "") is not None]
            wins = _wins(rows)
            better = {level for level in levels if (level, "") in wins}
            worse = {level for level in levels if ("", level) in wins}
            if not levels:
                continue
            numbers = "; ".join(f"{level.removeprefix('balance=')} − 1 {_less(rows, level, '')}" for level in levels)
            plain = rows[(rows[["first", "second"]] == "").any(axis=1)]
            numbers += f"; {POWER} {plain['detectable'].max():.3g}"
            if better and {("balance=0", level) for level in better} <= wins:
                numbers += "; but 0, without levels, is better still"
            blind = self._blind(shown)
            verdict = "cannot tell"
            if not blind and (better or worse):
                verdict = "holds in part" if better and worse else "holds" if better else "does not hold"
            found[shown.words] = verdict, f"{numbers}; {blind}" if blind else numbers
        return claim_of_each(words, found)

    def _between(self) -> Claim:
        """On which metrics of the post a multiplier between beats both ends, and what beats it."""
        words = "Some multiplier between BatchTopK (0) and Matryoshka (1) is better than both, as in toy worlds."
        ends, found = ("", "balance=0"), {}
        for shown in POST if self._multipliers else ():
            rows = self.between[self.between["words"] == shown.words]
            wins = _wins(rows)
            both = [level for level in self._multipliers if {(level, end) for end in ends} <= wins]
            best = [end for end in ends if {(end, level) for level in self._multipliers} <= wins]
            if self._blind(shown):
                found[shown.words] = "cannot tell", "a random SAE does as well as some of these"
            elif both:
                found[shown.words] = "holds", ", ".join(level.removeprefix("balance=") for level in both)
            elif best:
                end = best[0].removeprefix("balance=") or "1"
                found[shown.words] = "does not hold", f"{end} is better than all between"
            elif len(rows):
                found[shown.words] = "cannot tell", "none is better than both ends for certain"
        return claim_of_each(words, found, ours=True)

    @property
    def _multipliers(self) -> list[str]:
        """Of balanced Matryoshka SAEs, without the ends."""
        return sorted({*self.between["first"], *self.between["second"]} - {"", "balance=0"})

    def losses(self, architecture: str) -> str:
        """A row for each metric: means over L0s, differences with simultaneous intervals, what would be found; then the same differences seed by seed."""
        rows = self.loss[self.loss["architecture"] == architecture]
        most = next(iter(rows["over"].mode()), "")
        lines, paired = [], []
        for words, of in rows.groupby("words", sort=False):
            means, over = level_means(of), of["over"].iloc[0]
            name = words if over == most else f"{words} (k {', '.join(over.split())})"
            cells = [f"{means[loss]:.3f}" if loss in means else "" for loss in LOSSES]
            cells += [_less(of, *pair, digits=4) for pair in PAIRS]
            real = [f"{row.first} / {row.second}" for row in of[of["apart"]].itertuples()]
            lines.append([name, *cells, ", ".join(real) or "none", f"{of['detectable'].max():.3g}"])
            found = (paired_difference(of, *pair) for pair in PAIRS)
            paired.append([name, *(f"{one:.4f}" if one else "" for one in found)])
        compared = [f"{first} − {second}" for first, second in PAIRS]
        tables = (
            markdown_table(["metric", *LOSSES, *compared, "apart", "found 4 times in 5"], lines),
            markdown_table(["seed by seed", *compared], paired),
        )
        over = f", means over k {', '.join(most.split())}" if most else ""
        return "\n\n".join([f"\n**{ARCHITECTURES[architecture]}{over}**", *tables]) + "\n"

    def estimates(self) -> str:
        """A row for each architecture and loss, over training seeds; then one for each SAE on which the estimate was checked. No comparison: its level ranks no SAEs."""
        if self.estimated.empty:
            return "Not measured."
        checked = self.estimated["run_id"].isin(self.estimated.loc[self.estimated["params"] != "", "run_id"])
        whole = self.estimated[~checked]
        seeds = set.intersection(*whole.groupby("sae")["seed"].agg(set))
        noise = np.sqrt(whole.groupby("sae")["value"].var().mean())
        lines = []
        for (architecture, k, loss), rows in whole[whole["seed"].isin(seeds)].groupby(["architecture", "k", "loss"]):
            means = rows.groupby("sae")["value"].mean()
            lines.append([ARCHITECTURES[str(architecture)], f"{k:.0f}", loss, mean_interval(means)])
        said = ESTIMATED.format(tokens=f"{round(self.read, -3):,.0f}", seeds=len(seeds), noise=f"{noise:.4f}")
        found = [said, markdown_table(["architecture", "k", "loss", "`hedging`"], lines)]
        lines = []
        for sae, rows in self.estimated[checked].groupby("sae"):
            values = (_only(rows, [shown])["value"] for shown in (ESTIMATE, *CHECKS))
            lines.append([f"`{sae}`", *(f"{of.mean():.3f}" if len(of) else "" for of in values)])
        if lines:
            found += [CHECKED, markdown_table(["SAE", "`hedging`", *(shown.words for shown in CHECKS)], lines)]
        return "\n".join(found)

    def architectures(self) -> str:
        """A row for each metric: Matryoshka less BatchTopK, for each loss."""
        lines = []
        for words, rows in self.architecture.groupby("words", sort=False):
            pooled = self.pooled[self.pooled["words"] == words]
            cells = [_less(pooled, *LEVELS), "yes" if pooled["apart"].any() else "no"]
            cells += [_less(rows[rows["loss"] == loss], *LEVELS) for loss in LOSSES]
            real = rows[rows["apart"]]
            better = {
                ARCHITECTURES[row.first if row.better == "first" else row.second]
                for row in [*real.itertuples(), *pooled[pooled["apart"]].itertuples()]
                if row.better
            }
            if any(words == shown.words and (shown in GROWN or self._blind(shown)) for shown in EVERY):
                better = set()
            lines.append([words, *cells, ", ".join(real["loss"]) or "none", ", ".join(sorted(better))])
        return markdown_table(["metric", "all losses", "apart", *LOSSES, "apart for", "better"], lines)

    def balances(self) -> str:
        """A row for each metric: every multiplier less plain Matryoshka (1)."""
        levels = sorted({*self.balance["first"], *self.balance["second"]} - {""})
        lines = []
        for words, rows in self.balance.groupby("words", sort=False):
            cells = [f"{level_means(rows)['']:.3f}", *(_less(rows, level, "") for level in levels)]
            real = [
                f"{row.first or '1'} / {row.second or '1'}".replace("balance=", "")
                for row in rows[rows["apart"]].itertuples()
            ]
            lines.append([words, *cells, ", ".join(real) or "none", f"{rows['detectable'].max():.3g}"])
        compared = [f"{level.removeprefix('balance=')} − 1" for level in levels]
        return markdown_table(["metric", "1 (plain)", *compared, "apart", "found 4 times in 5"], lines)

    def controls(self) -> str:
        """A row for each metric of SAEBench: the variants, and the controls."""
        names, lines = control_rows(self.scores), []
        for shown in [*POST, SAE_PROBES]:
            variants, controls, higher = self._beside[shown]
            if variants.empty:
                continue
            cells = [f"{controls[name]:.3f}" if name in controls else "" for name in names]
            spread = f"{variants.min():.3f} to {variants.max():.3f}"
            no_worse = ", ".join(self._no_worse(shown)) or "none"
            lines.append([shown.words, "higher" if higher else "lower", spread, *cells, no_worse])
        columns = ["metric", "better", "variants", *(name.split("/")[-1] for name in names), "no worse"]
        return markdown_table(columns, lines)

    @cached_property
    def _beside(self) -> dict[Shown, tuple[pd.Series[float], dict[str, float], bool]]:
        """Of each metric of trained SAEs: the means of the variants and of the controls of their k, and whether more is better."""
        return {shown: self._beside_controls(shown) for shown in [*POST, *BESIDE]}

    def _beside_controls(self, shown: Shown) -> tuple[pd.Series[float], dict[str, float], bool]:
        rows, names = _only(self.scores, [shown]), control_rows(self.scores)
        of = set(rows.loc[rows["sae"].isin(names), "k"].dropna())
        table = summary(rows[rows["k"].isin(of)] if of else rows)
        is_control = table["saes"].isin(names)
        return (
            table.loc[~is_control, "mean"],
            table[is_control].set_index("saes")["mean"].to_dict(),
            bool(rows["higher_is_better"].eq(True).any()),
        )

    def _no_worse(self, shown: Shown) -> list[str]:
        """The controls that are as good as the worst variant, or better."""
        variants, controls, higher = self._beside[shown]
        if not len(variants):
            return []
        found = {name.split("/")[-1]: mean for name, mean in controls.items()}
        return [name for name, mean in found.items() if (mean >= variants.min() if higher else mean <= variants.max())]

    def _blind(self, shown: Shown) -> str:
        """How many variants a random SAE is no worse than, in words; empty where it is worse than all."""
        variants, controls, higher = self._beside[shown]
        found = 0
        for name, mean in controls.items():
            if name.endswith("/random"):
                found = int((variants <= mean).sum() if higher else (variants >= mean).sum())
        return f"but a random SAE is no worse than {found} of {len(variants)} variants of its k" if found else ""

    def shared(self) -> str:
        """A row for each architecture and k: the share of latents that other training seeds have, too."""
        rows = _only(self.scores, [SHARED])
        rows = rows[rows["objective"].fillna("") == ""]
        # a group that was measured again when it had grown by a seed is in the table twice
        rows = rows[rows["n"] == rows.groupby(["architecture", "k", "loss"])["n"].transform("max")]
        lines = []
        for (architecture, k), of in rows.groupby(["architecture", "k"], sort=True):
            by_loss = of.groupby("loss")[["value", "stderr"]].mean()
            cells = [
                f"{by_loss['value'][loss]:.3f} ± {by_loss['stderr'][loss]:.3f}" if loss in by_loss.index else ""
                for loss in LOSSES
            ]
            lines.append([ARCHITECTURES[architecture], f"{k:.0f}", *cells])
        return markdown_table(["architecture", "k", *LOSSES], lines)


def _only(scores: pd.DataFrame, shown: Sequence[Shown]) -> pd.DataFrame:
    """The rows of some metrics; of single latents and words there are thousands of others, a hundred times as much work."""
    metrics = [tuple(one[1:]) for one in shown]
    keys = zip(scores["eval"], scores["metric"], scores["params"], strict=True)
    return scores[(scores["slice_by"] == "all") & np.array([key in metrics for key in keys], dtype=bool)]


def _ended(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows, SAEs that grew under snap without their objective: it says nothing but when they went over to L2."""
    grown = scores["objective"].fillna("").str.fullmatch(r"snap_at=\S+") & (scores["eval"] == "grow_delta")
    return scores.assign(objective=scores["objective"].mask(grown))


def _balanced(scores: pd.DataFrame) -> pd.DataFrame:
    """BatchTopK SAEs as what they are among balanced ones: Matryoshka SAEs whose lower levels count 0 times in the loss."""
    flat = scores["architecture"] == "batchtopk"
    return scores.assign(
        objective=scores["objective"].mask(flat, "balance=0"),
        architecture=scores["architecture"].mask(flat, "matryoshka_batchtopk"),
    )


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the page's metrics, in its order, with their words."""
    rows = rows[rows["slice_by"] == "all"]
    keys = list(zip(rows["eval"], rows["metric"], rows["params"], strict=True))
    order = {tuple(shown[1:]): i for i, shown in enumerate(EVERY)}
    words = [shown.words for shown in EVERY]
    places = np.array([order.get(key, -1) for key in keys], dtype=int)
    rows = rows.assign(place=places)[places >= 0].sort_values("place", kind="stable")
    return rows.assign(words=[words[i] for i in rows["place"]])


def _differ(words: str, rows: pd.DataFrame) -> Claim:
    """A claim that losses do not differ, from differences that are one question: it holds as far as none is found."""
    if rows.empty:
        return claim(words, "cannot tell", NOT_MEASURED)
    apart = [f"{row.words}, {_later_first(row)}" for row in rows[rows["apart"]].itertuples()]
    of = f"{len(rows)} difference{'s' if len(rows) > 1 else ''}"
    found = f"none found among {of}"
    if apart:
        is_are = "is" if len(apart) == 1 else "are"
        found = f"{len(apart)} of {of} {is_are} real: {'; '.join(apart)}" if len(rows) > 1 else apart[0]
    least = f"{POWER[0].upper()}{POWER[1:]} {rows['detectable'].max():.3g}."
    said = claim(words, DIFFERS if apart else "holds", found)
    return said._replace(said=f"{said.said} {least}")


def _but(found: Claim, verdict: str) -> Claim:
    """The same with another verdict, whose words its sentence begins with."""
    return found._replace(verdict=verdict, said=found.said.replace(found.verdict.capitalize(), verdict.capitalize(), 1))


def _later_first(row: Any) -> str:
    """A difference between two losses, mse last."""
    first, second = sorted((row.first, row.second), key=LOSSES.index, reverse=True)
    return f"{first} − {second} {oriented(row, first):.4f}"


def _less(rows: pd.DataFrame, first: str, second: str, digits: int = 3) -> str:
    """A cell of a table: one value of a setting less another, empty where they are not compared."""
    found = difference(rows, first, second)
    return format(found, f".{digits}f") if found else ""


def _wins(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Of the pairs that are told apart: which value is better than which."""
    ends = [(row.first, row.second, row.better) for row in rows[rows["apart"]].itertuples()]
    return {(one, other) if better == "first" else (other, one) for one, other, better in ends if better}


def _seed_by_seed(rows: pd.DataFrame) -> str:
    """A sentence on which differences lie on one side of 0 within training seeds, each by itself."""
    found = {
        f"{words}, {first} − {second}": paired_difference(pairs, first, second)
        for words, pairs in rows.groupby("words", sort=False)
        for first, second in PAIRS
    }
    known = {name: one for name, one in found.items() if one}
    apart = [f"{name} {one:.4f}" for name, one in known.items() if above(one) or below(one)]
    return f"Seed by seed, each by itself, {len(apart)} of {len(known)} {'lies' if len(apart) == 1 else 'lie'} on one side of 0{': ' if apart else ''}{'; '.join(apart)}."


HEAD = """# Losses (rows 15 to 17)

BatchTopK and Matryoshka BatchTopK SAEs of the residual stream of SmolLM2-135M after layer 8, under MSE, L2 and snap loss, after the post on feature hedging: {saes} SAEs of {width} latents,
{tokens} tokens each, k {ks}, {seeds} training seeds, {eval_seeds} evaluation seeds. Losses of one training seed start from the same weights and see the same batches.

    OMP_NUM_THREADS=1 hedgebench train results/losses/train-batchtopk.yaml --out out/losses/saes
    OMP_NUM_THREADS=1 hedgebench train results/losses/train-matryoshka.yaml --out out/losses/saes
    OMP_NUM_THREADS=1 hedgebench train results/losses/grow.yaml --out out/losses/grown
    python results/validity/judge.py --port 8090 &
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite.yaml --out out/losses/results
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite-estimate.yaml --out out/losses/results
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite-checks.yaml --out out/losses/results
    OMP_NUM_THREADS=1 hedgebench run results/losses/suite-grown.yaml --out out/losses/grown-results
    hedgebench table out/losses/results --out results/losses/scores.parquet
    hedgebench table out/losses/grown-results --out results/losses/grown.parquet
    python results/pack.py out/losses/results results/losses/records.tar.xz
    python results/pack.py out/losses/grown-results results/losses/grown-records.tar.xz
    hedgebench plot results/losses/scores.parquet --out results/losses
    hedgebench plot results/losses/grown.parquet --out results/losses/grown
    python results/losses/page.py                                                  # this page, from those tables

![Pareto](saebench_core-l0_vs_explained_variance.png)

![six panels](saebench_against_l0.png)
"""
LOSS = """Differences have simultaneous 95 % intervals over the pairs of a line (`hedgebench.stats.effects`), each training seed counted once. *Apart*: told apart when the pairs of its line are tested together at 5 % (Holm, who finds a little more than these intervals show): of lines without any difference, one in twenty has one. *Found 4 times in 5*: the smallest difference that such a test finds with a chance of .8. The claims above test more together (Limits).

*Seed by seed*: the differences within training seeds, with intervals each by itself, of which one in twenty misses. SAEs of one seed start from the same weights and see the same batches under every loss, so that they may vary alike, most of all mse and snap, which is mse for the first half of training.
That is why no noise is pooled here: each interval has two degrees of freedom, and all are too wide to be tested together. The tests above take SAEs of one seed as independent, and find less for it.

Hedging is of the SAEs of `grow.yaml`, which grow by 64 latents after their training: how far the old rows' change reaches into the new rows' span (`hedgebench list`, eval `grow_delta`; [figures](grown/figures.md)). Of Matryoshka SAEs the outermost level grows: what rows of inner levels mix in because they have to do alone,
new latents do not take from them, so that these numbers are no measure of it.
"""
SEEDS = """Latents that other training seeds have, too (both cosines .7 at least), ± the jackknife's standard error over seeds:
"""
ESTIMATED = """`hedging_estimate` of the SAEs as they are, on about {tokens} tokens, [95 %] by Student's t over training seeds; of each SAE the mean over the evaluation seeds that all have ({seeds}), which move one number by {noise} (standard deviation). What it is worth has [a page of its own](../hedging_estimate/README.md): its level has no calibration on a language model, part of it is variance and not hedging, and nobody may rank SAEs, or losses, by it. So nothing is compared here.
"""
CHECKED = """
What it reads on two of these SAEs where the answer is known: where what is missing has a sign at random and no row owes anything (0 would be right), and how often it is higher for a latent that was made to hedge .3 of its row than for another (1 would be right), or for one that follows a feature of random sign (.5 would be right).
"""
ARCHITECTURE = """Matryoshka less BatchTopK at equal k, means over L0s: first over all losses, too, where each training seed counts once ({seeds} against {seeds}), then each loss by itself; 95 % intervals, each by itself. *Apart*: told apart at 5 %, each by itself.
Which is *better* is left blank where a random SAE does as well as some of these, and of hedging, which growth does not measure in Matryoshka SAEs (above).
"""
BALANCE = """Level m of n counts balance^(n − m) times in the loss: 1 is plain Matryoshka, 0 is BatchTopK; k {ks}. *Apart*: told apart when the pairs of its line are tested together at 5 %.
"""
CONTROLS = """Of one BatchTopK SAE (k 40, mse): random unit rows at its L0 (`random`), its decoder rows shuffled (`permuted`: on metrics of activations alone, such as probing, that SAE itself), and principal components in place of latents (`pca`); beside them the variants of that k. *No worse*: controls as good as the worst variant, or better: where `random` is among
them, a metric says little of these SAEs. On which metrics the answer is known and found, or not, has [a page of its own](../validity/README.md).
"""
LIMITS = """## Limits

{so_far}One model of 135M parameters, one layer, k {ks} (the post: 20 to 80), {tokens} tokens (the post: 300M and 500M), {width} latents (the post: 8,192 to 32k) and {seeds} training seeds (the post: 5). SAEBench's evals are run with small sizes on texts that need no network (`suite.yaml`),
and autointerp's judge reads words alone and is no language model: of autointerp as the post ran it nothing is said. Of the hedging evals, `grow_delta` is of SAEs that grow once, by 64 latents, after their training, under the loss that they end with; `hedging_estimate` is of SAEs of k {estimated}, and holds none to another;
`toy_recovery` needs known features, and is not among these. Intervals hold training seeds; evaluation seeds are averaged, the same for all SAEs. What is tested together: of the claims on Matryoshka levels, all six panels; of each claim on losses and on balance, all pairs of its metrics, also those that it does not name;
in the tables, a line: a table may tell apart what a claim does not.
"""


def main() -> None:
    """Write the page."""
    tables = [pd.read_parquet(HERE / f"{name}.parquet") for name in ("scores", "grown")]
    write_text(HERE / "README.md", page(pd.concat(tables, ignore_index=True)))


if __name__ == "__main__":
    main()
