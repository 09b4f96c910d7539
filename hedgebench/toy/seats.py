"""In which minimum of the exact loss trained SAEs sit: a table of all minima of a world, and of who ended where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hedgebench.toy.exact import Minimum, minima, nearest
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from hedgebench.toy.recipes import ToyRun
    from hedgebench.toy.worlds import Patterns

COLUMNS = (
    *("scenario", "loss", "minimum", "exact_loss", "is_global", "decoder_f0", "decoder_f1", "b_dec_f0", "b_dec_f1"),
    *("train_seeds", "largest_distance", "largest_excess"),
)
"""One row is one minimum of a scenario's exact loss; `train_seeds` are those of the SAEs that sit in it, comma-separated (empty: none)."""


def seats(saes: Mapping[Path, tuple[str, ToyRun]]) -> pd.DataFrame:
    """All minima, and where trained SAEs sit.

    SAEs that the exact loss is not made for are left out: it is for one ReLU latent on a world of two features. SAEs trained on snap loss
    sit in a minimum of l2.

    Args:
        saes: Folder of each SAE -> (its scenario, its run).

    Returns:
        Columns as in `COLUMNS`; by scenario, loss (of training) and rising exact loss.

    Raises:
        BadInput: An SAE's weights cannot be read.
    """
    groups: dict[tuple[str, str], list[tuple[Path, ToyRun]]] = {}
    for folder, (scenario, run) in saes.items():
        if _fits(run):
            groups.setdefault((scenario, run.recipe.loss), []).append((folder, run))
    rows = [row for (scenario, loss), members in groups.items() for row in _rows(scenario, loss, members)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _fits(run: ToyRun) -> bool:
    recipe = run.recipe
    single = recipe.architecture == "standard" and recipe.width == 1 and recipe.decoder_bias
    rescaled = recipe.rescale_with_loss and recipe.loss != "mse"  # its L1 weight is known after training only
    return single and not rescaled and run.world.n_features == 2 and run.world.patterns() is not None


def _rows(scenario: str, loss: str, members: Sequence[tuple[Path, ToyRun]]) -> list[dict[str, Any]]:
    first = members[0][1]
    found = minima(_patterns(first), "mse" if loss == "mse" else "l2", l1=first.recipe.l1)
    here: list[list[tuple[int, float, float]]] = [[] for _ in found]
    for folder, run in members:
        seat = nearest(found, **_weights(folder))
        index = next(i for i, minimum in enumerate(found) if minimum is seat.minimum)
        here[index].append((run.train_seed, seat.distance, seat.excess))
    return [
        {"scenario": scenario, "loss": loss, "minimum": i, **_facts(minimum, first), **_who(sitting)}
        for i, (minimum, sitting) in enumerate(zip(found, here, strict=True))
    ]


def _patterns(run: ToyRun) -> Patterns:
    patterns = run.world.patterns()
    assert patterns is not None  # `_fits` asked
    return patterns


def _facts(minimum: Minimum, run: ToyRun) -> dict[str, Any]:
    (decoder,), bias = (
        minimum.decoder_cosines(run.world.features).tolist(),
        minimum.bias_projections(run.world.features),
    )
    return {
        "exact_loss": minimum.loss,
        "is_global": minimum.is_global,
        **{f"decoder_f{i}": value for i, value in enumerate(decoder)},
        **{f"b_dec_f{i}": value for i, value in enumerate(bias.tolist())},
    }


def _who(sitting: Sequence[tuple[int, float, float]]) -> dict[str, Any]:
    seeds = ",".join(str(seed) for seed, _, _ in sorted(sitting))
    distance, excess = (max((one[i] for one in sitting), default=None) for i in (1, 2))
    return {"train_seeds": seeds, "largest_distance": distance, "largest_excess": excess}


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / "sae_weights.safetensors")
        return {name: tensors[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    except Exception as error:  # whatever safetensors makes of a damaged file
        raise BadInput(f"{folder}: cannot read the SAE's weights: {' '.join(str(error).split())[:300]}") from None
