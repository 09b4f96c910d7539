"""What the source documents claim of language models, claim by claim: `python results/claims.py` writes claims.md beside it from the tables of the reference run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hedgebench.records import write_text
from hedgebench.verdicts import Claim, listed

HERE = Path(__file__).parent


class Part(NamedTuple):
    """A table of the reference run, the page that tells it, and the class there that has its claims."""

    words: str
    folder: str
    teller: str
    figures: tuple[str, ...]
    page: str = "page"
    table: str = "scores.parquet"
    told: str = "README.md"


PARTS = (
    Part(
        "The loss, Matryoshka levels and balance (rows 15 to 17)",
        "losses",
        "Found",
        ("saebench_core-l0_vs_explained_variance.png", "saebench_against_l0.png"),
    ),
    Part("A growing SAE (row 18)", "growth", "Grown", ("grow_delta-share-against-width.png",)),
    Part("The decoder bias against width (rows 19 and 20)", "widths", "Widths", ("decoder_bias-norm_against_width.png",)),
    Part("The hedging degree by width, L0 and layer (row 21)", "growth", "Where", ("where/grow_delta-degree-against-width.png",), "where", "where.parquet", "where.md"),
    Part("What training seeds share (row 22)", "seeds", "Seeds", ("seed_overlap-shared_vs_width.png",)),
)  # fmt: skip
HEAD = """# What the sources claim of language models, claim by claim

The post and the paper on feature hedging (arXiv 2505.11756) and the paper on training seeds (arXiv 2501.16615) measured SAEs of larger models. Here is what SAEs of
SmolLM2-135M say, at the scale that two CPU cores give, with 95 % intervals over training seeds; no text is read twice in training. Toy worlds, where the true features are known, have [a page of their own](toy/README.md) (rows 1 to 15).

    python results/claims.py        # this page, from the tables that the pages below name the commands of

An SAE *hedges* where it is too narrow for a feature that goes with one it has, and mixes that feature into the latent that it has: squared error (*mse*) rewards it. *l2* is the norm of the error instead of its square, *snap* is mse for the first half of training and l2 after it. *k* is the number of latents that fire for a token on average (L0). *Found four times in five*: a difference
of that size would be found with a chance of .8. *Rows* with a number are those of our list of the sources' experiments, other rows those of the decoder. *Holds in part*: for some of what is named, or (hedging by width) on the whole but not at every step. What a claim on losses and levels compares is tested together; of the other claims each interval is by itself, one of twenty beside the truth. *None found*: no difference is told apart, which is no proof that there is none.
"""


def page(tables: dict[Part, pd.DataFrame]) -> str:
    """The page in Markdown, from the tables that are there."""
    parts = {part: _told(part, tables[part]) if part in tables else None for part in PARTS}
    short = ["\n## In short\n", "| | claim | verdict |", "| --- | --- | --- |"]
    for part, told in parts.items():
        for i, one in enumerate(told.claims if told else ()):
            words = one.words.rstrip(".:") + (" (asked by us)" if one.ours else "")
            short.append(f"| {'' if i else part.words} | {words} | {one.verdict} |")
    sections = (f"\n## {part.words}\n\n{_section(part, told)}\n" for part, told in parts.items())
    return HEAD + "\n".join(short) + "\n" + "".join(sections)


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
        return f"Not measured yet: there is no `results/{part.folder}/{part.table}`."
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
    """The script that tells the table, as a module."""
    file = HERE / part.folder / f"{part.page}.py"
    spec = importlib.util.spec_from_file_location(f"{part.folder}_{part.page}", file)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def tables() -> dict[Part, pd.DataFrame]:
    """The committed tables."""
    return {part: pd.read_parquet(file) for part in PARTS if (file := HERE / part.folder / part.table).is_file()}


def main() -> None:
    """Write the page."""
    write_text(HERE / "claims.md", page(tables()))


if __name__ == "__main__":
    main()
