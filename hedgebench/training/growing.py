"""Train SAEs that grow: at every width a copy stays behind as the control of what grows on, and all see the same batches to the end.

One step trains every member of every series on its batch by SAELens's own `SAETrainer.step`. At a growth the SAE of the series splits in three:

    control          stays as it is: the same SAE, trained on for as long without new latents
    second control   the same, from here on with another order of the same data (`second_controls`)
    grown            gets new decoder rows, random unit vectors times 0.1; encoder their transpose, bias 0, no momentum

All state of a member (weights, Adam, schedules, counts of what fired) is kept through a growth and in the file that a broken-off run resumes from, so
a resumed run is the unbroken one.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from tqdm import tqdm

from hedgebench.formats.files import one_line
from hedgebench.training.bank import Bank, Stream, order
from hedgebench.training.config import SAERecipe, TrainConfig
from hedgebench.training.saes import make_sae
from hedgebench.training.start import start_from
from hedgebench.training.state import grown, load_trainer_state, trainer_state
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from sae_lens.saes.sae import SAE, TrainingSAE

logger = logging.getLogger(__name__)

SAVE_EVERY = 250
"""Steps between two states on disk."""


@dataclass
class Member:
    """One SAE in training."""

    recipe: SAERecipe
    trainer: SAETrainer[Any, Any]
    stream: Stream

    @property
    def sae(self) -> TrainingSAE[Any]:
        """The SAE."""
        sae: TrainingSAE[Any] = self.trainer.sae
        return sae


class Nursery:
    """Series of growing SAEs that learn from one bank.

    Args:
        config: What all have in common.
        recipes: Every member of every series.
        bank: The activations.
        d_in: Their width.
        device: Where the SAEs are trained.
        starts: The trained SAEs that series begin with, from `read_starts`.
    """

    def __init__(
        self,
        config: TrainConfig,
        recipes: list[SAERecipe],
        bank: Bank,
        d_in: int,
        device: str = "cpu",
        starts: Mapping[str, SAE[Any]] | None = None,
    ) -> None:
        self.config, self.bank, self.d_in, self.device = config, bank, d_in, device
        self.starts = starts or {}
        self.recipes = {recipe.name: recipe for recipe in recipes}
        self.main = self._stream(range(len(bank.counts)), config.data_seed)
        self.scale = self._scale() if config.normalize else None
        self.members: dict[str, Member] = {}
        self.step = 0
        self._seconds: dict[int, Stream] = {}

    def train(self, state_file: Path) -> dict[str, TrainingSAE[Any]]:
        """Train all members to the end, from where `state_file` left off if it is there; their scale is folded in.

        Raises:
            BadInput: The state cannot be written, or is damaged.
        """
        if state_file.exists():
            self.load(state_file)
        total = self.config.steps
        with tqdm(total=total, initial=self.step, desc="growing", unit="step") as bar:
            while self.step < total:
                self.grow()
                self.train_step()
                bar.update()
                if self.step % SAVE_EVERY == 0 or self.step == total:
                    self.save(state_file)
        return {name: self._finished(member) for name, member in self.members.items()}

    def train_step(self) -> None:
        """One step of every member, on its own stream's batch."""
        batches: dict[int, torch.Tensor] = {}
        for member in self.members.values():
            key = id(member.stream)
            if key not in batches:
                batches[key] = member.stream.batch(self.step)
            member.trainer.maybe_reset_sparsity()
            member.trainer.step(batches[key])
            member.trainer.n_training_steps += 1
        self.step += 1

    def grow(self) -> None:
        """Make the members that are born at this step."""
        for recipe in self.recipes.values():
            if recipe.name not in self.members and self.step == self.birth(recipe):
                self.members[recipe.name] = self._born(recipe)

    def birth(self, recipe: SAERecipe) -> int:
        """The step before which a member is made: where a mixing group begins, so that what is left can be mixed anew."""
        growing = recipe.grow
        assert growing is not None
        if recipe.reordered:
            # a second control parts from its control when that one grows
            return self._boundary(growing.born_at(recipe.width + growing.add))[0]
        return self._boundary(growing.born_at(recipe.width))[0]

    def _boundary(self, tokens: int) -> tuple[int, int]:
        """The first step at which a group of the main stream begins, `tokens` tokens on or later; and which group."""
        wanted = tokens // self.config.batch_tokens * self.config.batch_tokens
        group = next(g for g, start in enumerate(self.main.starts) if start >= wanted)
        return -(-self.main.starts[group] // self.config.batch_tokens), group

    # --- members ---------------------------------------------------------------------------------------------------------------

    def _born(self, recipe: SAERecipe) -> Member:
        growing = recipe.grow
        assert growing is not None
        if recipe.reordered:
            first = self._of(recipe, recipe.width)
            member = self._member(recipe, trainer_state(first.trainer))
        elif recipe.width > growing.start:
            parent = self._of(recipe, recipe.width - growing.add)
            member = self._member(recipe, grown(trainer_state(parent.trainer), growing.add, recipe.train_seed))
        else:
            member = self._member(recipe, None)
            if recipe.name in self.starts:
                start_from(member.sae, self.starts[recipe.name], self.scale or 1.0)
        logger.info("step %d: %s", self.step, recipe.name)
        return member

    def _of(self, recipe: SAERecipe, width: int) -> Member:
        """The member of the same series that has stayed, or still is, at this width.

        In the order of the recipes a parent is always made before its children, and its state is the one at this step.
        """
        for member in self.members.values():
            other = member.recipe
            if other.width == width and not other.reordered and _series(other) == _series(recipe):
                return member
        raise LookupError(f"{recipe.name}: its series has no member of width {width}")

    def _member(self, recipe: SAERecipe, state: Mapping[str, Any] | None) -> Member:
        sae = make_sae(self.config, recipe, self.d_in)
        sae.to(self.device)
        trainer = SAETrainer(cfg=self._trainer_config(), sae=sae, data_provider=iter(()))
        trainer.activation_scaler.scaling_factor = self.scale
        if state is not None:
            load_trainer_state(trainer, state)
        return Member(recipe, trainer, self._stream_of(recipe))

    def _stream_of(self, recipe: SAERecipe) -> Stream:
        if not recipe.reordered:
            return self.main
        assert recipe.grow is not None
        _, group = self._boundary(recipe.grow.born_at(recipe.width + recipe.grow.add))
        if group not in self._seconds:
            left = [i for members in self.main.groups[group:] for i in members]
            anew = [left[i] for i in order(len(left), self.config.data_seed, 1, group).tolist()]
            self._seconds[group] = self._stream(anew, self.config.data_seed, begin=self.birth(recipe))
        return self._seconds[group]

    def _stream(self, passes: Sequence[int], seed: int, begin: int = 0) -> Stream:
        group = max(1, self.config.buffer_sequences // self.config.sequences_per_pass)
        return Stream(self.bank, passes, seed, group, self.config.batch_tokens, begin)

    def _scale(self) -> float:
        """What activations are multiplied with, so that their mean norm is sqrt(d_in); SAELens's `expected_average_only_in`."""
        batches = min(self.config.norm_batches, self.config.steps)
        norms = torch.cat([self.main.batch(i).norm(dim=-1) for i in range(batches)])
        return math.sqrt(self.d_in) / float(norms.double().mean())

    def _trainer_config(self) -> SAETrainerConfig:
        config = self.config
        return SAETrainerConfig(
            total_training_samples=config.steps * config.batch_tokens,
            train_batch_size_samples=config.batch_tokens,
            lr=config.lr,
            lr_end=config.lr,
            lr_warm_up_steps=int(config.lr_warm_up * config.steps),
            lr_decay_steps=int(config.lr_decay * config.steps),
            device=self.device,
            dead_feature_window=math.ceil(config.dead_after_tokens / config.batch_tokens),
            feature_sampling_window=max(1, config.steps // 10),
        )

    def _finished(self, member: Member) -> TrainingSAE[Any]:
        """The trained SAE, for raw activations, with what SAELens notes at the end and what this series is."""
        trainer, recipe = member.trainer, member.recipe
        if self.scale is not None:
            member.sae.fold_activation_norm_scaling_factor(self.scale)
            trainer.activation_scaler.scaling_factor = None
        trainer.set_final_sae_metadata()
        growing = recipe.grow
        assert growing is not None
        if recipe.width > growing.start and not recipe.reordered:
            parent = self._of(recipe, recipe.width - growing.add).recipe
            second = next((r.name for r in self.recipes.values() if r.reordered and _same_control(r, parent)), None)
            alive = ~trainer.dead_neurons[-growing.add :]
            member.sae.cfg.metadata.growth = {
                "parent": parent.name,
                "parent_width": parent.width,
                "added": growing.add,
                "at_tokens": self.birth(recipe) * self.config.batch_tokens,
                "control": parent.name,
                "second_control": second,
                "live_added": float(alive.double().mean()),
            }
        return member.sae

    # --- to disk and back ------------------------------------------------------------------------------------------------------

    def save(self, file: Path) -> None:
        """Write the state of all members, whole or not at all.

        Raises:
            BadInput: It cannot be written.
        """
        part = file.with_name(f"{file.name}.part")
        state = {name: trainer_state(member.trainer) for name, member in self.members.items()}
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as opened:
                torch.save({"step": self.step, "scale": self.scale, "members": state}, opened)
                opened.flush()
                os.fsync(opened.fileno())
            part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise BadInput(f"cannot write {file}: {error.strerror or error}") from error

    def load(self, file: Path) -> None:
        """Read the state that `save` wrote.

        Raises:
            BadInput: It is damaged.
        """
        try:
            state = torch.load(file, map_location=self.device, weights_only=True)
            self.step, self.scale = int(state["step"]), state["scale"]
            self.members = {name: self._member(self.recipes[name], one) for name, one in state["members"].items()}
            born = {recipe.name for recipe in self.recipes.values() if self.birth(recipe) < self.step}
            if lacking := sorted(born - self.members.keys()):
                raise LookupError(f"no {lacking[0]} in it")
        except Exception as error:  # torch.load raises many types, with paragraphs of advice
            why = one_line(error)[:120]
            raise BadInput(f"{file}: the state to resume from is damaged ({why}); delete it to begin anew") from None
        logger.info("going on from step %d", self.step)


def _series(recipe: SAERecipe) -> tuple[Any, ...]:
    """What the members of one series have in common: of the levels all but the outermost, which grows."""
    shared = (value for key, value in vars(recipe).items() if key not in ("width", "name", "reordered", "levels"))
    return (*shared, recipe.levels[:-1])


def _same_control(second: SAERecipe, control: SAERecipe) -> bool:
    return second.width == control.width and _series(second) == _series(control)
