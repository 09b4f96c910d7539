"""The scores table of a toy study, asked by scenario, loss and metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame


class ToyTable:
    """The scores table of a toy study, asked by scenario, loss and metric; controls are left out."""

    def __init__(self, scores: DataFrame) -> None:
        rows = scores[(scores["eval"] == "toy_recovery") & scores["train_seed"].notna()].copy()
        rows["train_seed"] = rows["train_seed"].astype(int)
        ends = [f"-{loss}-s{seed}" for loss, seed in zip(rows["loss"], rows["train_seed"], strict=True)]
        rows["scenario"] = [name.removesuffix(end) for name, end in zip(rows["sae"], ends, strict=True)]
        self.rows = rows
        self._by_key = rows.groupby(["scenario", "loss", "metric", "params", "slice_by", "slice_value"], observed=True)

    def values(
        self,
        scenario: str,
        loss: str,
        metric: str,
        *,
        params: str = "",
        slice_by: str = "all",
        slice_value: str = "all",
    ) -> NDArray[np.float64]:
        """One number per training seed, in their order.

        Raises:
            CannotMeasure: The table has none.
        """
        key = (scenario, loss, metric, params, slice_by, str(slice_value))
        if key not in self._by_key.groups:
            raise CannotMeasure(f"the table has no {metric} of {scenario} with {loss}")
        rows = self._by_key.get_group(key).sort_values("train_seed")
        return rows["value"].to_numpy(dtype=np.float64)

    def has(self, scenario: str, loss: str) -> bool:
        """Whether there is any row of a scenario with a loss."""
        return bool(((self.rows["scenario"] == scenario) & (self.rows["loss"] == loss)).any())

    def cosine(
        self, scenario: str, loss: str, feature: int, *, encoder: bool = False, latent: int = 0
    ) -> NDArray[np.float64]:
        """Cosine of a latent's decoder row (or encoder column) with a true feature, per training seed."""
        metric = "encoder_cosine" if encoder else "decoder_cosine"
        return self.values(
            scenario, loss, metric, params=f"feature={feature}", slice_by="latent", slice_value=str(latent)
        )

    def bias(self, scenario: str, loss: str, feature: int) -> NDArray[np.float64]:
        """What the decoder bias adds of a true feature, per training seed."""
        return self.values(scenario, loss, "b_dec_projection", slice_by="feature", slice_value=str(feature))

    def tied(self) -> list[tuple[float, str]]:
        """The ratios p1 / p0 of the tied scenarios in the table, rising, and their names."""
        names = {name for name in self.rows["scenario"] if name.startswith("tied-")}
        return sorted((float(name.removeprefix("tied-")), name) for name in names)

    def balanced(self) -> list[tuple[float, str]]:
        """The multipliers of the Matryoshka SAEs in the table, rising, and their scenarios; infinity is a detached one."""
        names = {name for name in self.rows["scenario"] if name.startswith("balanced-")}
        values = {name: name.removeprefix("balanced-").removeprefix("balance") for name in names}
        plain = [(1.0, "matryoshka")] if names and "matryoshka" in set(self.rows["scenario"]) else []
        return sorted([*plain, *((math.inf if v == "detach" else float(v), name) for name, v in values.items())])

    def crowds(self) -> list[tuple[float, str]]:
        """The firing probabilities of the outside features of the crowd scenarios in the table, rising, and their names."""
        names = {name for name in self.rows["scenario"] if name.startswith("crowd-")}
        return sorted((float(name.removeprefix("crowd-")), name) for name in names)
