"""What the source documents claim of language models, claim by claim: `python results/claims.py` writes claims.md beside it from the tables of the reference run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hedgebench.records import write_text

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
 SmolLM2-135M say, at the scale that two CPU cores give: in bold the claim in our words, then the verdict (holds, does not hold, cannot tell), with numbers and 95 % intervals over training seeds. Toy worlds, where the
true features are known, have [a page of their own](toy/README.md) (rows 1 to 15).

    python results/claims.py        # this page, from the tables that the pages below name the commands of
"""


def page(tables: dict[Part, pd.DataFrame]) -> str:
    """The page in Markdown, from the tables that are there."""
    return HEAD + "".join(f"\n## {part.words}\n\n{_section(part, tables.get(part))}\n" for part in PARTS)


def _section(part: Part, scores: pd.DataFrame | None) -> str:
    if scores is None:
        return f"Not measured yet: there is no `results/{part.folder}/{part.table}`."
    script = module(part)
    found = getattr(script, part.teller)(scores)
    limits = script.LIMITS.format(**found.facts()).removeprefix("## Limits").strip().replace("](../", "](")
    figures = [f"![{part.words}]({part.folder}/{figure})" for figure in part.figures]
    told = f"[Tables, commands and what else was seen]({part.folder}/{part.told})."
    return "\n\n".join([*figures, "\n".join(found.claims()), f"*What limits it.* {limits}", told])


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
