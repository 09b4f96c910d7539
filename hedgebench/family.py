"""A grown SAE and the SAEs it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hedgebench.growth import Movement, against, movement
from hedgebench.types import CannotMeasure

if TYPE_CHECKING:
    from sae_lens import SAE
    from torch import Tensor


@dataclass(frozen=True)
class Family:
    """Control, grown SAE and second control, and the old latents that can be compared: those with no row or column of zeros."""

    members: tuple[SAE, ...]
    """The control, the grown SAE, and the second control if there is one."""
    sides: tuple[str, ...]
    """`decoder`, and `encoder` where all have an encoder matrix."""
    kept: Tensor
    """[old], True for latents that can be compared."""
    added: int
    """New latents."""

    @property
    def old(self) -> int:
        """Latents of the control: the first ones of the grown SAE."""
        return len(self.kept)

    @classmethod
    def of(cls, control: SAE, grown: SAE, second: SAE | None = None) -> Family:
        """Put a family together; a second control of another shape than the control's is left out.

        Raises:
            CannotMeasure: The shapes do not fit, the new latents are as many as there are dimensions, or no latent has a direction.
        """
        import torch

        (width, d), (old, d_control) = grown.W_dec.shape, control.W_dec.shape
        if d != d_control:
            raise CannotMeasure(f"the SAE reads {d} dimensions and its control {d_control}")
        if width <= old:
            raise CannotMeasure(f"the SAE has {width} latents and its control {old}: it has not grown")
        if width - old >= d:
            raise CannotMeasure(f"{width - old} new latents span all {d} dimensions: every change lies inside")
        if second is not None and second.W_dec.shape != control.W_dec.shape:
            second = None
        members = tuple(one for one in (control, grown, second) if one is not None)
        encoders = all(getattr(one, "W_enc", None) is not None for one in members)
        sides = ("decoder", "encoder") if encoders else ("decoder",)
        zeros = [_rows(one, side)[:old].norm(dim=-1) == 0 for one in members for side in sides]
        kept = ~torch.stack(zeros).any(0)
        if not kept.any():
            raise CannotMeasure("every old latent has a row of zeros")
        return cls(members, sides, kept, width - old)

    def rows(self, side: str) -> list[Tensor]:
        """The old latents' decoder rows or encoder columns in each member, [kept, d]."""
        return [_rows(one, side)[: self.old][self.kept] for one in self.members]

    def before_and_after(self, side: str) -> tuple[Tensor, Tensor]:
        """Those of the control and of the grown SAE."""
        control, grown, *_ = self.rows(side)
        return control, grown

    def movement(self, side: str, basis: Tensor, spans: Mapping[str, Sequence[Tensor]] | None = None) -> Movement:
        """What became of the old latents, and of nulls: the spans given, and what the second control changed without new latents (`reordered`)."""
        control, grown, *second = self.rows(side)
        found = movement(control, grown, basis, spans)
        return against(found, control, second[0], basis, "reordered") if second else found


def _rows(sae: SAE, side: str) -> Tensor:
    rows: Tensor = sae.W_dec if side == "decoder" else sae.W_enc.T
    return rows
