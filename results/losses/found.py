"""What the sources claim of losses, levels and balance (rows 15 to 17), and what is found of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from compared import HIGHER, LEVELS, LOSSES, MATRYOSHKA, PAIRS, POST, SCR, VARIANCE, Compared, Shown, minus

from hedgebench.stats.differences import difference, oriented, paired_difference
from hedgebench.verdicts import NOT_MEASURED, Claim, above, below, claim, claim_of_each

POWER = "would be found 4 times in 5:"
"""Before minimal detectable differences."""
LITTLE = 4
"""A difference between losses is little that goes so often into the one between the architectures."""


class Found(Compared):
    """What is compared, and what it says of the claims."""

    def claims(self) -> list[Claim]:
        """The sources' findings one by one, then what we ask: of autointerp, and of what they find in toy worlds alone."""
        shown = {shown.words: shown for shown in POST}
        better = "Matryoshka SAEs are better on"
        return [
            self._curves("batchtopk"),
            self._curves(MATRYOSHKA),
            self._levels(
                "Matryoshka SAEs absorb less (the post: much).",
                shown["absorption, full"],
                shown["absorption, fraction"],
            ),
            self._levels(f"{better} TPP (the post: much).", shown["TPP"]),
            self._levels(
                f"{better} SCR, at higher L0 (our reading: k {HIGHER} and more), as it seems to the post, which sums up that SCR is too noisy.",
                SCR,
            ),
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
            claim(
                "Hedging in language models is very large, or too small to be noticeable (as snap helps in toy worlds where there is little of it).",
                "cannot tell",
                "how much is very large has no measure here; what the loss does to hedging is asked below",
            ),
            claim(
                "Matryoshka SAEs are particularly susceptible to hedging, for their narrow inner levels.",
                "cannot tell",
                "no eval here measures what inner levels mix in: SAEs grow at their outermost level",
            ),
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
        rows = self.losses[(self.losses["words"] == VARIANCE.words) & (self.losses["architecture"] == architecture)]
        asked = self.curves_of_matryoshka if matryoshka else rows
        words = words.format("Matryoshka, mse and snap" if matryoshka else "BatchTopK")
        if asked.empty:
            return claim(words, "cannot tell", NOT_MEASURED)
        apart = [f"{row.words}, {_later_first(row)}" for row in asked[asked["apart"]].itertuples()]
        of = f"{len(asked)} difference{'s' if len(asked) > 1 else ''}"
        numbers = f"none found among {of}"
        if apart:
            is_are = "is" if len(apart) == 1 else "are"
            numbers = f"{len(apart)} of {of} {is_are} real: {'; '.join(apart)}" if len(asked) > 1 else apart[0]
        beside, size = self.between_architectures(VARIANCE.words), asked["detectable"].max()
        # `beside` is NaN where the architectures were not compared: then it is neither
        is_little, would_be_found = asked["difference"].abs().max() < beside / LITTLE, size <= beside
        if apart:
            verdict = "does not hold, by little" if is_little else "does not hold"
        else:
            verdict = "holds" if would_be_found else "cannot tell"
        found = claim(words, verdict, numbers)
        said = f"{found.said} {POWER[0].upper()}{POWER[1:]} {size:.3g}."
        if matryoshka and (l2 := minus(rows, "l2", "mse", digits=4)):
            said += f" L2, which the post does not draw of them: l2 − mse {l2}."
        said += f" {_seed_by_seed(rows)} The largest difference between losses is {rows['difference'].abs().max():.4f}"
        return found._replace(
            said=f"{said}." if np.isnan(beside) else f"{said}; {beside:.3f} lie between the architectures."
        )

    def _panels(self, words: str, architecture: str) -> Claim:
        """Whether losses are alike on the six panels, all differences being one question; and the differences seed by seed."""
        rows = self.panels_of_losses[architecture]
        found = claim_of_each(words, {str(name): self._alike(of) for name, of in rows.groupby("words", sort=False)})
        return found if rows.empty else found._replace(said=f"{found.said} {_seed_by_seed(rows)}")

    def _alike(self, rows: pd.DataFrame) -> tuple[str, str]:
        """Whether losses are alike on one metric: they are as far as a difference as large as that between the architectures would be found, and a random SAE does worse."""
        name, size = rows["words"].iloc[0], rows["detectable"].max()
        between, blind = self.between_architectures(name), self.blind(next(one for one in POST if one.words == name))
        apart = [f"{_later_first(row)}, told apart" for row in rows[rows["apart"]].itertuples()]
        verdict = "does not hold" if apart else "holds" if size <= between and not blind else "cannot tell"
        beside = "" if np.isnan(between) else f", {between:.3g} lie between the architectures"
        said = [*(apart or ["none told apart"]), f"{POWER} {size:.3g}{beside}", *([blind] if blind else [])]
        return verdict, "; ".join(said)

    def _hedging(self, words: str, architecture: str) -> Claim:
        """Whether L2 and snap hedge less than mse: by the degree, and beyond all nulls."""
        rows, found = self.grown_of_losses[architecture], {}
        for loss in ("l2", "snap") if len(rows) else ():
            pairs = rows[rows[["first", "second"]].isin([loss, "mse"]).all(axis=1)]
            if pairs.empty:
                continue
            change = np.where(pairs["first"] == loss, 1, -1) * pairs["difference"] * pairs["apart"]
            less, more = bool((change < 0).any()), bool((change > 0).any())
            verdict = "holds in part" if less else "does not hold" if more else "cannot tell"
            if (change < 0).all():
                verdict = "holds"
            cells = (f"{name} {minus(of, loss, 'mse')}" for name, of in pairs.groupby("words", sort=False))
            found[f"{loss} − mse"] = (verdict, "; ".join(cells))
        return claim_of_each(words, found, ours=True)

    def _levels(self, words: str, *metrics: Shown, ours: bool = False) -> Claim:
        """Whether Matryoshka SAEs are better than BatchTopK SAEs on some of the panels, over all losses; and loss by loss."""
        found = {}
        for shown in metrics:
            rows = self.panels_of_architectures[self.panels_of_architectures["words"] == shown.words]
            if rows.empty:
                continue
            verdict, apart, blind = "cannot tell", rows["apart"].item(), self.blind(shown)
            if apart and not blind:
                verdict = "holds" if rows[rows["better"].item()].item() == MATRYOSHKA else "does not hold"
            by_loss = self.panels_of_architectures_by_loss[self.panels_of_architectures_by_loss["words"] == shown.words]
            each = ", ".join(f"{row.loss} {oriented(row, MATRYOSHKA).mean:+.3f}" for row in by_loss.itertuples())
            numbers = f"Matryoshka − BatchTopK {minus(rows, *LEVELS)}{', told apart' if apart else ''}; {each}; {POWER} {rows['detectable'].item():.3g}"
            found[shown.words] = verdict, f"{numbers}; {blind}" if blind else numbers
        return claim_of_each(words, found, ours)

    def _improved(self) -> Claim:
        """Whether some multiplier makes Matryoshka SAEs better, and on what."""
        words = "Balanced Matryoshka SAEs (a multiplier below 1) are an improved variant of Matryoshka SAEs."
        found = {}
        for shown in POST:
            rows = self.panels_of_balances[self.panels_of_balances["words"] == shown.words]
            levels = [level for level in self.multipliers if difference(rows, level, "") is not None]
            wins = _wins(rows)
            better = {level for level in levels if (level, "") in wins}
            worse = {level for level in levels if ("", level) in wins}
            if not levels:
                continue
            numbers = "; ".join(f"{level.removeprefix('balance=')} − 1 {minus(rows, level, '')}" for level in levels)
            plain = rows[(rows[["first", "second"]] == "").any(axis=1)]
            numbers += f"; {POWER} {plain['detectable'].max():.3g}"
            if better and {("balance=0", level) for level in better} <= wins:
                numbers += "; but 0, without levels, is better still"
            blind = self.blind(shown)
            verdict = "cannot tell"
            if not blind and (better or worse):
                verdict = "holds in part" if better and worse else "holds" if better else "does not hold"
            found[shown.words] = verdict, f"{numbers}; {blind}" if blind else numbers
        return claim_of_each(words, found)

    def _between(self) -> Claim:
        """On which metrics of the post a multiplier between beats both ends, and what beats it."""
        words = "Some multiplier between BatchTopK (0) and Matryoshka (1) is better than both, as in toy worlds."
        ends, found = ("", "balance=0"), {}
        for shown in POST if self.multipliers else ():
            rows = self.panels_of_balances[self.panels_of_balances["words"] == shown.words]
            wins = _wins(rows)
            both = [level for level in self.multipliers if {(level, end) for end in ends} <= wins]
            best = [end for end in ends if {(end, level) for level in self.multipliers} <= wins]
            if self.blind(shown):
                found[shown.words] = "cannot tell", "a random SAE does as well as some of these"
            elif both:
                found[shown.words] = "holds", ", ".join(level.removeprefix("balance=") for level in both)
            elif best:
                end = best[0].removeprefix("balance=") or "1"
                found[shown.words] = "does not hold", f"{end} is better than all between"
            elif len(rows):
                found[shown.words] = "cannot tell", "none is better than both ends for certain"
        return claim_of_each(words, found, ours=True)


def _later_first(row: Any) -> str:
    """A difference between two losses, mse last."""
    first, second = sorted((row.first, row.second), key=LOSSES.index, reverse=True)
    return f"{first} − {second} {oriented(row, first):.4f}"


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
