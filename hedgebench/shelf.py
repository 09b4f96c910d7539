"""What a process keeps between jobs: the language model, the texts, and the SAEs, each made ready once."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.artifacts import Artifacts, Memory
from hedgebench.control_cards import CALIBRATION_BATCHES, CALIBRATION_SEED, MADE_FROM
from hedgebench.paths import cache_dir
from hedgebench.types import BadInput, Checkpoint, Run

if TYPE_CHECKING:
    import torch
    from sae_lens import SAE

    from hedgebench.activations import ActivationSource
    from hedgebench.data import TextSource
    from hedgebench.labelled import LabelledData
    from hedgebench.toy.worlds import World

SAE_BUDGET = 8 * 2**30
"""Bytes of SAE weights kept."""


class _Kept(NamedTuple):
    sae: SAE
    fingerprint: int
    size: int
    """Bytes of its weights."""


class Shelf:
    """Hands out what runs need, and makes it on first use.

    Args:
        device: Torch device of the model and the SAEs.
        objects: SAEs in memory, by digest; all others are loaded from their references.
        worlds: Toy worlds in memory, by identity; all others are loaded from their folders.
    """

    def __init__(
        self,
        device: str = "cpu",
        objects: Mapping[str, SAE] | None = None,
        worlds: Mapping[str, World] | None = None,
    ) -> None:
        self.device, self.objects = device, dict(objects or {})
        self._worlds = dict(worlds or {})
        self._model: tuple[tuple[str, str], Any] | None = None
        self._texts: dict[str, TextSource] = {}
        self._labelled: dict[str, LabelledData] = {}
        self._memory = Memory()
        self._saes: dict[str, _Kept] = {}
        self._held = 0

    def model(self, run: Run) -> Any:
        """The language model of a run. One is kept at a time.

        Raises:
            BadInput: The run names none, or it cannot be loaded.
        """
        from hedgebench.models import load_model

        if run.model is None:
            raise BadInput(
                f"{run.checkpoint.name}: the checkpoint names no model; give `model:` in the suite, or --model"
            )
        key = (run.model, run.dtype)
        if self._model is None or self._model[0] != key:
            self._model = None  # let go of the old one before the new one takes memory
            self._model = (key, load_model(run.model, device=self.device, dtype=run.dtype))
        return self._model[1]

    def tokens(self, run: Run, seed: int | None) -> Any:
        """The evaluation tokens of a run's text, in the order that `seed` gives."""
        from hedgebench.data import TokenSource

        return TokenSource(self._text(run), self.model(run).tokenizer, seed or 0)

    def _text(self, run: Run) -> TextSource:
        from hedgebench.data import open_text

        name = run.data_source or "offline"
        if name not in self._texts:
            self._texts[name] = open_text(name, "eval")
        return self._texts[name]

    def labelled(self, refs: Sequence[str]) -> list[LabelledData]:
        """The labelled sets of these names.

        Raises:
            BadInput: One is unknown or cannot be read.
        """
        from hedgebench.labelled_sets import open_labelled

        for ref in refs:
            if ref not in self._labelled:
                self._labelled[ref] = open_labelled(ref)
        return [self._labelled[ref] for ref in refs]

    def world(self, run: Run) -> World:
        """The true features of a run's SAE.

        Raises:
            BadInput: They cannot be read, are not what was planned with, or lie in another space than the SAE reads.
        """
        from hedgebench.toy.worlds import load_world

        source, card = str(run.world), run.checkpoint
        named = f"{run.data} {run.calibration}"  # by content: a world that lies beside many checkpoints is loaded once
        world = next((w for identity, w in self._worlds.items() if identity in named), None)
        if world is None:
            world = load_world(Path(source))
            if world.identity not in named:
                raise BadInput(f"{source}: the toy world changed since the run was planned; run again")
            self._worlds[world.identity] = world
        if world.d_in != card.d_in:
            raise BadInput(
                f"{card.name} reads {card.d_in} dimensions, and the toy world {world.name!r} has {world.d_in}"
            )
        return world

    def artifacts(self, run: Run) -> Artifacts:
        """What evals make once for all SAEs of a run's model, hook point and seed."""
        card = run.checkpoint
        where = {"hook": card.hook, "head": card.hook_head_index, "seed": run.seed}
        identity = {"model": run.revision, "dtype": run.dtype, **where}
        return Artifacts(identity, cache_dir().absolute() / "evals", self._memory)

    def activations(self, run: Run, seed: int | None) -> ActivationSource:
        """The model's activations at the hook point of a run's SAE, on these tokens.

        Raises:
            BadInput: The SAE names no hook point, or the model has none of that name.
        """
        from hedgebench.activations import ActivationSource, activation_folder

        card = run.checkpoint
        if card.hook is None:
            raise BadInput(f"{card.name}: the checkpoint names no hook point; give `tags: {{hook: ...}}` in the suite")
        model, tokens = self.model(run), self.tokens(run, seed)
        folder = activation_folder(
            str(run.revision), tokens.text.identity, card.hook, card.hook_head_index, seed, run.dtype
        )
        return ActivationSource(model, card.hook, card.hook_head_index, tokens, folder, card.d_in)

    def sae(self, card: Checkpoint, run: Run, *, calibrated: bool = False) -> SAE:
        """The prepared SAE of a card. A random control's L0 is matched where `calibrated` asks for it, since that takes the model or the toy world.

        Raises:
            BadInput: It cannot be loaded, or its file is not what was planned with.
            CannotMeasure: It is a control row that cannot be made from the run's activations.
        """
        calibrated = card.control_kind in MADE_FROM or (calibrated and card.control_kind == "random")
        key = f"{card.digest} {run.dtype}"
        if calibrated:
            of_world = f"{run.data} {run.calibration}"
            key += f" {run.revision} {of_world if _by_world(card, run) else self._text(run).identity}"
        if key not in self._saes:
            sae = self._make(card, run, calibrated)
            kept = _Kept(sae, _fingerprint(sae), _size(sae))
            while self._saes and self._held + kept.size > SAE_BUDGET:
                self._let_go(next(iter(self._saes)))
            self._saes[key] = kept
            self._held += kept.size
        return self._saes[key].sae

    def _let_go(self, key: str) -> None:
        self._held -= self._saes.pop(key).size

    def release_hooks(self) -> None:
        """Take every hook off the model that an eval left there."""
        if self._model is not None:
            self._model[1].reset_hooks(including_permanent=True)

    def drop_if_changed(self, sae: SAE) -> bool:
        """Whether an SAE that was handed out is no longer what it was. If so, the next run gets a fresh one."""
        found = next((key for key, kept in reversed(self._saes.items()) if kept.sae is sae), None)
        if found is None or _fingerprint(sae) == self._saes[found].fingerprint:
            return False
        self._let_go(found)
        return True

    def _make(self, card: Checkpoint, run: Run, calibrated: bool) -> SAE:
        from hedgebench.checkpoint import digest_of
        from hedgebench.loaders import load_raw, prepare

        if card.control_kind is not None:
            return self._control(card, run, calibrated)
        given = self.objects.get(card.digest)
        raw = given if given is not None else load_raw(str(card.ref))
        if given is None and digest_of(raw) != card.digest:
            raise BadInput(f"{card.ref}: the file changed since the run was planned; run again")
        return prepare(raw, device=self.device, dtype=run.dtype, in_place=given is None, name=card.name)

    def _control(self, card: Checkpoint, run: Run, calibrated: bool) -> SAE:
        from hedgebench.controls import make_control, match_l0, oracle_control, pca_control

        base = replace(card, digest=str(card.control_of), control_of=None, control_kind=None, control_seed=None)
        sae = self.sae(base, run)
        if card.control_kind == "oracle":
            return oracle_control(sae, self.world(run))
        if card.control_kind == "pca":
            return pca_control(sae, self._calibration(card, run))
        control = make_control(str(card.control_kind), sae, card.control_seed or 0)
        if calibrated:
            match_l0(control, sae, self._calibration(card, run))
        return control

    def _calibration(self, card: Checkpoint, run: Run) -> torch.Tensor:
        """Activations [tokens, d_in] of tokens or samples that no evaluation seed draws; fewer where the text is short."""
        import torch

        from hedgebench.controls import calibration_sample

        if _by_world(card, run):
            return calibration_sample(self.world(run)).activations
        context = min(128, self.model(run).cfg.n_ctx)
        source = self.activations(run, CALIBRATION_SEED)
        acts: list[torch.Tensor] = []
        try:
            acts.extend(b.acts[b.mask] for b in source.batches(CALIBRATION_BATCHES, context_size=context))
        except BadInput:
            if not acts:
                raise
        return torch.cat(acts)


def _by_world(card: Checkpoint, run: Run) -> bool:
    """Whether a control row is made from samples of a toy world, or matched on them: a random one only in a run that reads no model."""
    return run.world is not None and (run.model is None or card.control_kind in MADE_FROM)


def _size(sae: SAE) -> int:
    return sum(t.nbytes for t in sae.state_dict().values())


def _fingerprint(sae: SAE) -> int:
    """A quick checksum of weights and config: it tells changes by mistake, not by malice."""
    import torch

    value = zlib.crc32(json.dumps(sae.cfg.to_dict(), sort_keys=True, default=str).encode())
    for tensor in sae.state_dict().values():
        # flat first: a single column counts as contiguous with whatever stride it has, and cannot be viewed as bytes then
        flat = tensor.detach().cpu().reshape(-1).contiguous()
        value = zlib.crc32(flat.view(torch.uint8).numpy().data, value)
    return value
