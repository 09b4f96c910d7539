"""What the source documents claim of language models, claim by claim: `python results/claims.py` writes claims.md beside it from the tables of the reference run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hedgebench.markdown import markdown_table
from hedgebench.records import write_text
from hedgebench.verdicts import Claim, listed

HERE = Path(__file__).parent


class Part(NamedTuple):
    """The tables of a part of the reference run, the page that tells them, and the class there that has its claims."""

    words: str
    folder: str
    teller: str
    figures: tuple[str, ...]
    page: str = "page"
    tables: tuple[str, ...] = ("scores.parquet",)
    told: str = "README.md"


PARTS = (
    Part(
        "The loss, Matryoshka levels and balance (rows 15 to 17)",
        "losses",
        "Found",
        ("saebench_core-l0_vs_explained_variance.png", "saebench_against_l0.png"),
        tables=("scores.parquet", "grown.parquet"),
    ),
    Part("A growing SAE (rows 18 and 19, and 21 of L1)", "growth", "Grown", ("grow_delta-share-against-width.png", "decoder_bias-norm_against_width.png")),
    Part("The decoder bias against width (rows 19 and 20)", "widths", "Widths", ("decoder_bias-norm_against_width.png",)),
    Part("The hedging degree by width, L0 and layer (row 21)", "growth", "Where", ("where/grow_delta-degree-against-width.png",), "where", ("where.parquet",), "where.md"),
    Part("What training seeds share (row 22)", "seeds", "Seeds", ("seed_overlap-shared_vs_width.png",)),
)  # fmt: skip
HEAD = """# What the sources claim of language models, claim by claim

The post and the paper on feature hedging (arXiv 2505.11756) and the paper on training seeds (arXiv 2501.16615) measured SAEs of larger models. Here is what SAEs of
SmolLM2-135M say, at the scale that two CPU cores give, with 95 % intervals over training seeds; within one training no text is read twice (SAEs that grow once they are trained read the same texts again, in another order). Toy worlds, where the true features are known, have [a page of their own](toy/README.md) (rows 1 to 15).

    python results/claims.py        # this page, from the tables that the pages below name the commands of

**The terms.** A sparse autoencoder (SAE) writes a model's activation as a sum of few of its *decoder rows*, one for each *latent* that fires. It *hedges* where it is too narrow for a feature that goes with one it has, and mixes that feature into the latent that it has.

- *The loss*: squared error (*mse*) rewards hedging; *l2* is the norm of the error instead of its square; *snap* is mse for the first half of training and l2 after it.
- *The SAE*: *BatchTopK* lets the k largest latents fire for a token, on average over a batch, *TopK* for every token; *L1* pays for what fires, by a *weight*. *Matryoshka* SAEs are BatchTopK SAEs whose first latents have to reconstruct by themselves, too, at several *levels*; a *multiplier* says how much inner levels count beside the outermost (*balance*: once for each level further in). *k* and *L0*: how many latents fire for a token; *width*: how many there are; *d_model*: the dimensions of the activations (576 here).
- *The metrics*: *explained variance* of the activations; SAEBench's *absorption* (lower is better: how far a latent for a first letter leaves out words that others took over; *full*, the post's rate, counts words that others took over wholly, *fraction* also those that they took in part), *TPP* (higher is better: whether few latents stand for one class and for it alone) and *SCR* (higher is better: whether few latents, taken out, free a classifier of a spurious cue), both of 10 latents, *sparse probing* (accuracy of a class read from k latents) and *autointerp* (higher is better: whether a judge can tell from a description where a latent fires).
- *Growth*: latents are added to an SAE, while it trains (rows 18 and 19) or after (row 21); a copy that trains on without them is the control. *g*, the projection: how much of an old decoder row went into the new rows' span; the paper's *hedging degree* is g beyond a random span, *excess* g beyond no new latents (what the same new rows' span holds of the change of a control on another order of the data), *share* how much of the change lies in that span. Harder nulls than a random span are *rows like the residual* (drawn like what the control leaves over) and *other training seeds' rows*. *Symmetry*: 1 where encoder columns give up as much as decoder rows, 0 where one side alone changes. New latents *live* where they fire. Widths are those before growth, but of the decoder bias; figures of growth have the width after it. *Per doubling*: the slope on log2 of the width, or of k; *exponent of the width*: the slope of the logarithm on the logarithm of the width.
- *Training seeds*: a latent is *shared* where the best pairings by encoder and by decoder give it the same counterpart, both cosines being .7 at least.
- *Verdicts*: *holds* or *does not hold* where the interval, or the test, says so; else *cannot tell*. That things cannot be told apart *holds* where no difference is found, and one as large as that between the architectures, BatchTopK and Matryoshka, would be (and a random SAE does worse): *would be found 4 times in 5* says how large one has to be to be found with a chance of .8. *Falls* and *the narrower, the larger*: the slope over all widths is on one side of 0; *holds in part*: but at some step it certainly goes the other way, or it is so only for some of what is named. *Certainly*: the whole of one 95 % interval, by itself, is on that side. *Holds for 2 of 6*: of six metrics, settings or kinds of SAE, which the section names. *By little*: by less than a quarter of the difference between BatchTopK and Matryoshka. A *random SAE* has random rows, and has learnt nothing.
- *Intervals* hold 95 %. Those of losses, levels and balance are simultaneous, over all that is compared for a claim (Holm's test finds a little more than they show); all others stand by themselves, and one in twenty misses. Bands in figures are these intervals, too, but in the six panels one standard deviation over training seeds, as in the post.
- *Rows 15 to 22* number what the sources tried: the multiplier of balanced Matryoshka SAEs (15), explained variance against L0 (16) and SAEBench's metrics (17) under several losses, an SAE that grows (18), the decoder bias against width (19) and that of Gemma Scope's SAEs (20), the hedging degree (21), training seeds (22). All other rows are the decoder's.

What the sources claim comes first, here and in every section; *asked by us* is what they do not say.

## In short

"""


def page(tables: dict[Part, pd.DataFrame]) -> str:
    """The page in Markdown, from the tables that are there."""
    parts = {part: _told(part, tables[part]) if part in tables else None for part in PARTS}
    short = []
    for part, told in parts.items():
        theirs = [one for one in told.claims if not one.ours] if told else []
        short += [("" if i else part.words, one.words.rstrip("."), one.verdict) for i, one in enumerate(theirs)]
    sections = (f"\n## {part.words}\n\n{_section(part, told)}\n" for part, told in parts.items())
    return f"{HEAD}{markdown_table(('', 'claim of the sources', 'verdict'), short)}\n{''.join(sections)}"


class _Told(NamedTuple):
    """What a part's page says."""

    claims: list[Claim]
    limits: str


def _told(part: Part, scores: pd.DataFrame) -> _Told:
    script = module(part)
    found = getattr(script, part.teller)(scores)
    return _Told(found.claims(), script.LIMITS.format(**found.facts()))


def _section(part: Part, told: _Told | None) -> str:
    if told is None:
        files = " and ".join(f"`results/{part.folder}/{name}`" for name in part.tables)
        return f"Not measured yet: {files} would have it."
    limits = (
        told.limits.removeprefix("## Limits")
        .strip()
        .replace("](../", "](")
        .replace("](README.md)", f"]({part.folder}/README.md)")
    )
    figures = [f"![{part.words}]({part.folder}/{figure})" for figure in part.figures]
    leads = f"[Tables, commands and what else was seen]({part.folder}/{part.told})."
    return "\n\n".join([*figures, "\n".join(listed(told.claims)), f"*What limits it.* {limits}", leads])


def module(part: Part) -> Any:
    """The script that tells the table, as a module; it finds its neighbours as if it were run."""
    folder = HERE / part.folder
    spec = importlib.util.spec_from_file_location(f"{part.folder}_{part.page}", folder / f"{part.page}.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(script)
    finally:
        sys.path.remove(str(folder))
    return script


def tables() -> dict[Part, pd.DataFrame]:
    """The committed tables, those of a part as one."""
    files = {part: [HERE / part.folder / name for name in part.tables] for part in PARTS}
    return {
        part: pd.concat([pd.read_parquet(file) for file in names], ignore_index=True)
        for part, names in files.items()
        if all(file.is_file() for file in names)
    }


def main() -> None:
    """Write the page."""
    write_text(HERE / "claims.md", page(tables()))


if __name__ == "__main__":
    main()
