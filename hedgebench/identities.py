"""What a run is: everything that decides its numbers, by content. What models, texts and worlds stand for is looked up once."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.control_cards import MADE_FROM
from hedgebench.eval import Eval
from hedgebench.paths import is_there
from hedgebench.records import make_run_id, package_version
from hedgebench.relatives import Family
from hedgebench.suite import Suite
from hedgebench.types import BadInput, Checkpoint, Run, Unreachable

if TYPE_CHECKING:
    from hedgebench.labelled import LabelledData

logger = logging.getLogger(__name__)

IN_MEMORY = "memory:"
"""Before the identity of a world that is an object, in place of a folder."""
UNREADABLE = "toy:unreadable"
NO_TRUTH = "it needs the true features, and this checkpoint comes with none"


class Truth(NamedTuple):
    """The true features of an SAE."""

    source: str
    """Where they are: a folder, or `memory:IDENTITY`."""
    identity: str
    """What they are called, by content."""


class Identities:
    """Makes the runs of a suite."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._revisions: dict[str, str | BadInput] = {}
        self._text: str | BadInput | None = None
        self._labelled: dict[tuple[str, ...], list[LabelledData] | BadInput] = {}
        self._truths: dict[Path, Truth | BadInput] = {}

    def run(
        self,
        eval_class: type[Eval],
        config: dict[str, Any],
        seed: int | None,
        family: Family,
        uses: frozenset[str] | None = None,
    ) -> tuple[Run, str | None]:
        """A run, and the reason it cannot succeed where that is known already.

        Args:
            eval_class: What to run.
            config: Its settings, defaults included.
            seed: Evaluation seed; None for an eval that draws nothing.
            family: The SAE, and those it is compared with.
            uses: What the eval asks for with these settings, what it needs included. Whatever of it cannot be had, and is not needed, the run goes on without.
        """
        card, needs = family.card, set(eval_class.needs)
        uses = frozenset(needs) if uses is None else uses
        made_from = self.made_from(card)
        needs, wanted = needs | made_from, uses | made_from
        absent = {word: why for word, why in family.absent.items() if word in uses}
        problem = next((family.problems[word] for word in absent if word in needs and word in family.problems), None)
        model = revision = data = source = hook = None
        of_model = {"activations", "model"} | (set() if eval_class.labelled_sets else {"data"})
        reads = bool(uses & {"activations", "data"})
        if why := self.no_model(card, reads) if wanted & of_model and not needs & of_model else None:
            absent |= dict.fromkeys(sorted(uses & of_model), why)
        elif wanted & of_model:
            source, data = self.suite.data, self.text() if reads else None
            model, hook = card.model, card.hook
            found = self.revision(model) if model else None
            if isinstance(found, BadInput):
                problem = problem or str(found)
            else:
                revision = found
        control = family.control if "control" in uses else None
        second = family.second_control if "second_control" in uses else None
        siblings = family.siblings if "siblings" in uses else ()
        labelled: tuple[str, ...] = ()
        if eval_class.labelled_sets:
            labelled = tuple(config["data"])
            opened = self.labelled(labelled)
            problem = problem or (str(opened) if isinstance(opened, BadInput) else None)
            sets = [] if isinstance(opened, BadInput) else opened
            data = " + ".join(d.identity for d in sets) or None
            config = {**config, "data": [d.name for d in sets] or list(labelled)}
        world = calibration = None
        truth = self.truth(card) if "features" in wanted else None
        if "features" in wanted and not isinstance(truth, Truth):
            absent["features"] = str(truth or NO_TRUTH)
            if "features" in made_from:
                absent["sae"] = absent["features"]
        if truth is not None and ("features" in needs or isinstance(truth, Truth)):
            problem = problem or (str(truth) if isinstance(truth, BadInput) else None)
            # a world that cannot be read has a name of its own: mended, or taken away, it is another run
            world, named = (None, UNREADABLE) if isinstance(truth, BadInput) else truth
            if "features" in uses:
                data = f"{data} + {named}" if data else named
            else:
                calibration = named
        identity: dict[str, Any] = {
            "digest": card.digest,
            "control": control.digest if control else None,
            "eval": eval_class.name,
            "version": eval_class.version,
            "config": config,
            "seed": seed,
            "model": model if model is None or not is_there(model) else "folder",
            "revision": revision,
            "hook": hook,
            "data": data,
            "dtype": self.suite.dtype,
            "packages": {name: package_version(name) for name in eval_class.packages},
        }
        if second is not None:
            identity["second_control"] = second.digest
        if siblings and not card.members:  # a group's own digest says who its members are
            identity["siblings"] = sorted(sibling.digest for sibling in siblings)
        on_text = card.control_kind == "random" or "activations" in made_from
        if on_text and model is not None and data != self.text():
            calibration = self.text()
        if calibration is not None:
            identity["calibration"] = calibration
        run_id = make_run_id(identity)
        run = Run(
            run_id,
            card,
            eval_class.name,
            eval_class.version,
            config,
            seed,
            model,
            revision,
            data,
            source,
            self.suite.dtype,
            control,
            labelled,
            world,
            second,
            siblings,
            absent,
            calibration,
        )
        return run, problem

    def made_from(self, card: Checkpoint) -> frozenset[str]:
        """What a control row cannot be made without, whatever the eval reads: its run is named, and told what is wrong, as that of an eval which needs it."""
        word = MADE_FROM.get(card.control_kind or "")
        if word == "activations" and self.truth(card) is not None:
            word = "features"  # samples of its world are the activations of a toy SAE
        return frozenset({word} if word else ())

    def no_model(self, card: Checkpoint, reads: bool) -> str | None:
        """Why an eval that may do without goes on without the activations of an SAE, or None where it need not.

        Args:
            card: The SAE.
            reads: Whether the eval reads text, which has to be there, too.

        Raises:
            BadInput: The suite's text is none.
        """
        if card.model is None or card.hook is None:
            lacking = "model" if card.model is None else "hook point"
            return f"the checkpoint names no {lacking}" + (
                "; give `model:` in the suite, or --model" if card.model is None else ""
            )
        revision = self.revision(card.model)
        if isinstance(revision, BadInput):
            return str(revision)
        try:
            if reads:
                self.text()
        except Unreachable as why:
            return str(why)
        return None

    def truth(self, card: Checkpoint) -> Truth | BadInput | None:
        """The true features of an SAE: what the suite names, else what lies beside the checkpoint. None, or why they cannot be read, where they cannot be had."""
        if card.world is not None and card.world.startswith(IN_MEMORY):
            return Truth(card.world, card.world.removeprefix(IN_MEMORY))
        from hedgebench.world_files import find_world, world_identity

        given, beside = (Path(place) if place is not None else None for place in (card.world, card.ref))
        folder = find_world(given) or given if given is not None else find_world(beside) if beside is not None else None
        if folder is None:
            return None
        if folder not in self._truths:
            try:
                self._truths[folder] = Truth(str(folder), world_identity(folder))
            except BadInput as error:
                self._truths[folder] = error
        return self._truths[folder]

    def n_features(self, card: Checkpoint) -> int | None:
        """How many true features an SAE has; None where its world does not say so, or is in memory."""
        from hedgebench.world_files import n_features

        truth = self.truth(card)
        if not isinstance(truth, Truth) or truth.source.startswith(IN_MEMORY):
            return None
        return n_features(Path(truth.source))

    def one_truth(self, one: Checkpoint, other: Checkpoint) -> bool:
        """Whether two SAEs have the same true features, or none: one SAE beside two worlds is two, to whoever asks for the truth."""
        names = [truth.identity if isinstance(truth, Truth) else str(truth) for truth in map(self.truth, (one, other))]
        return names[0] == names[1]

    def labelled(self, refs: tuple[str, ...]) -> list[LabelledData] | BadInput:
        """The labelled sets of an eval, or why they cannot be had."""
        from hedgebench.labelled_sets import open_labelled

        if refs not in self._labelled:
            try:
                opened = [open_labelled(ref) for ref in refs]
                if twins := [name for name, times in Counter(data.name for data in opened).items() if times > 1]:
                    raise BadInput(f"two labelled sets are called {twins[0]!r}: give one of them another name")
                self._labelled[refs] = opened
            except BadInput as error:
                self._labelled[refs] = error
        return self._labelled[refs]

    def text(self) -> str:
        """What the suite's text is, by content.

        Raises:
            BadInput: It cannot be had.
        """
        if self._text is None:
            from hedgebench.data import open_text

            try:
                self._text = open_text(self.suite.data, "eval").identity
            except BadInput as error:
                self._text = error
                if isinstance(error, Unreachable):
                    logger.warning("%s; an eval that can do without text goes on without", error)
        if isinstance(self._text, BadInput):
            raise self._text
        return self._text

    def revision(self, model: str) -> str | BadInput:
        """What a model's name stands for, or why it cannot be had."""
        from hedgebench.models import check_model_name, model_revision

        if model not in self._revisions:
            try:
                check_model_name(model)
                self._revisions[model] = model_revision(model)
            except BadInput as error:
                self._revisions[model] = error
        return self._revisions[model]
