"""How variants look in figures: the same colour, marker and line for the same variant everywhere. No torch, and no knowledge of any eval.

Colour is the loss and the marker the architecture, so that neither alone has to tell two variants apart. Both follow from the names, not from what else is in a table.
"""

from __future__ import annotations

import zlib
from typing import Any

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that people of every colour vision tell apart (Okabe and Ito 2008)."""
MARKERS = "osD^vP*X<>"
_LOSSES = {"mse": OKABE_ITO[0], "l2": OKABE_ITO[1], "snap": OKABE_ITO[2]}
_OTHER_LOSSES = OKABE_ITO[3:6]
_ARCHITECTURES = {
    "batchtopk": ("o", "-"),
    "matryoshka_batchtopk": ("s", "--"),
    "topk": ("^", "-"),
    "standard": ("v", "-."),
    "jumprelu": ("D", "-"),
    "gated": ("P", ":"),
    "random_control": ("x", ":"),
    "permuted_control": ("+", ":"),
    "pca_control": ("1", ":"),
    "oracle_control": ("*", ":"),
}
_OTHER_ARCHITECTURES = (("X", "-"), ("<", "--"), (">", "-."), ("h", ":"))


def look(architecture: str, loss: str) -> dict[str, Any]:
    """Colour, marker and linestyle of a variant, for matplotlib; an empty loss (a control, an SAE of others) is grey."""
    marker, line = _ARCHITECTURES.get(architecture) or _chosen(architecture, _OTHER_ARCHITECTURES)
    colour = "0.4" if not loss else _LOSSES.get(loss) or _chosen(loss, _OTHER_LOSSES)
    return {"color": colour, "marker": marker, "linestyle": line}


def _chosen(name: str, among: tuple[Any, ...]) -> Any:
    """One of a few by name alone; two names may get the same."""
    return among[zlib.crc32(name.encode()) % len(among)]
