"""Which kinds of control rows there are, what each is made from, and its card. No torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hedgebench.spelling import nearest
from hedgebench.types import BadInput, Checkpoint

MADE_FROM: Mapping[str, str] = {"pca": "activations", "oracle": "features"}
"""Kinds that are computed, not drawn: each with what it cannot be made without, in the words of an eval's `needs`, whatever is measured on it."""
KINDS = ("random", "permuted", *MADE_FROM)
DIALS: Mapping[str, float] = {"dead": 1.0, "permuted": 1.0, "mixed": math.inf, "noise": math.inf}
"""Dials, kinds of control with an amount (`dead=0.25`): each with the most there can be of it. See `hedgebench.dials`."""
CALIBRATION_SEED = 2**31 - 1
"""Seed of the tokens on which a control's L0 is matched, and from which a computed one is made: none of the evaluation's own."""
CALIBRATION_BATCHES = 8
"""Batches of 16 × 128 tokens for it."""
_SUFFIX = "_control"
_RECIPE = f"1 {CALIBRATION_SEED} {CALIBRATION_BATCHES}"
"""All that decides a control beside its SAE, its seed and, where it is computed, the run's data; part of its digest."""


def control_kind(architecture: str) -> str | None:
    """The kind of control that an architecture is of, a dial's without its amount; None where it is no control's. All tables, figures and pages tell controls by it.

    An SAE made elsewhere is a control by its tag in a suite: `tags: {architecture: oracle_control}`.
    """
    return architecture.removesuffix(_SUFFIX) if architecture.endswith(_SUFFIX) else None


def split_kind(kind: str) -> tuple[str, float]:
    """A dial and its amount, from `dead=0.25`; a kind without an amount is the whole of it, 1.

    Raises:
        BadInput: There is no such kind of control, no such dial, or it does not go so far.
    """
    name, is_dial, given = kind.partition("=")
    if not is_dial:
        if name not in KINDS:
            raise BadInput(f"unknown control {kind!r}{nearest(kind, KINDS)}")
        return name, 1.0
    if name not in DIALS:
        raise BadInput(f"{kind!r}: there is no dial {name!r}{nearest(name, DIALS)}")
    try:
        amount = float(given)
    except ValueError:
        amount = math.nan
    if not (0 < amount <= DIALS[name] and math.isfinite(amount)):
        most = "" if math.isinf(DIALS[name]) else f" and at most {DIALS[name]:g}"
        raise BadInput(f"{kind!r}: the amount of a dial is a number above 0{most}")
    return name, amount


def control_card(kind: str, base: Checkpoint, seed: int = 0, n_features: int | None = None) -> Checkpoint:
    """The card of a control row: like its SAE's, with a digest of its own that is known before any weight is.

    Args:
        kind: One of `KINDS`, or one of `DIALS` with its amount.
        base: The card of the SAE it is beside.
        seed: Of what is drawn; a computed control (`MADE_FROM`) is the same whatever it is.
        n_features: How many true features there are, where that is known: the width of an oracle.
    """
    drawn = seed if kind not in MADE_FROM else None
    key = f"control {_RECIPE} {kind} {drawn} {base.digest}"
    return replace(
        base,
        digest=hashlib.sha256(key.encode()).hexdigest()[:32],
        name=f"{base.name}/{kind}",
        architecture=f"{split_kind(kind)[0]}{_SUFFIX}",
        loss=None,
        train_seed=None,
        train_tokens=None,
        prefixes=(),
        objective=None,
        growth=None,
        recipe=None,
        group=None,
        control_of=base.digest,
        control_kind=kind,
        control_seed=drawn,
        tags={**base.tags, "control": kind},
        **_of_its_own(kind, base, n_features),
    )


def _of_its_own(kind: str, base: Checkpoint, n_features: int | None) -> dict[str, Any]:
    """What a computed control does not have from its SAE: a width, a decoder and a bias; and the oracle fires as the features do."""
    if kind == "pca":
        return {"width": min(base.width, 2 * base.d_in), "decoder_row_norm": None, "b_dec_norm": None}
    if kind == "oracle":
        return {"width": n_features or base.width, "decoder_row_norm": None, "b_dec_norm": None, "l0": None, "k": None}
    return {}
