"""What the harness hands to an eval, made by hand: the same context from a model and an SAE in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hedgebench.artifacts import Artifacts
from hedgebench.checkpoint import describe
from hedgebench.eval import EvalContext
from hedgebench.labelled import LabelledData, StoredLabels


def make_context(
    sae: Any,
    model: Any,
    *,
    name: str = "sae",
    seed: int = 0,
    labelled: Sequence[LabelledData] = (),
    tokens: Any = None,
    folder: Path | None = None,
) -> EvalContext:
    """A context with artifacts in `folder` (None: in memory only) and the activations of a token source."""
    from hedgebench.activations import ActivationSource

    card = describe(sae, name=name)
    source = ActivationSource(model, str(card.hook), None, tokens, None, card.d_in) if tokens is not None else None
    return EvalContext(
        sae=sae,
        checkpoint=card,
        generator=torch.Generator().manual_seed(seed),
        seed=seed,
        model=model,
        data=tokens,
        labelled=labelled,
        artifacts=Artifacts({"model": "test", "hook": card.hook, "seed": seed}, folder),
        activation_source=source,
    )


def labels(rows: Sequence[tuple[str, ...]], name: str = "made-up", **about: Any) -> StoredLabels:
    """A labelled set of (text, label) or (text, label, second label)."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=["text", "label", "second"][: len(rows[0])])
    return StoredLabels(name, f"{name}@test", load=lambda: frame.assign(second=frame.get("second")), **about)
