"""What TPP and SCR do before they see an SAE: texts by concept, the model's activations on them, and probes that tell the concepts apart."""

from __future__ import annotations

from collections.abc import Mapping, ValuesView
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from hedgebench.artifacts import Artifact
from hedgebench.compat import prepare
from hedgebench.isolation import upstream
from hedgebench.types import BadInput

from .class_acts import ClassActs, class_acts

if TYPE_CHECKING:
    from hedgebench.eval import EvalContext

    from .concept_probes_config import ProbeConfig

Texts = Mapping[str, list[str]]
RECIPE = 1
"""Raise when what is stored changes."""
TEST_BATCH = 500
"""SAEBench's batch size for testing probes; no number depends on it."""


@dataclass(frozen=True)
class Task:
    """Concepts to tell apart, in one labelled set."""

    name: str
    """As SAEBench names it: the set, for SCR with the pair of classes."""
    concepts: Mapping[str, str]
    """The groups of texts whose probes are used, in SAEBench's order, and how our slices call them."""
    train: Texts
    """Texts by group; SCR's groups share texts."""
    test: Texts
    source: Mapping[str, Any]
    """What decides the texts, but for the seed: plain JSON."""
    scr: bool


@dataclass(frozen=True)
class Part:
    """The training or the test part of a task's texts: every distinct text once, and the groups they form."""

    acts: ValuesView[ClassActs]
    """Group by group, each read when its turn comes."""
    texts: tuple[str, ...]
    """The distinct texts, in the order of `acts`."""
    rows: Mapping[str, torch.Tensor]
    """By group, the places of its texts among the distinct ones: [texts in the group]."""

    @cached_property
    def means(self) -> torch.Tensor:
        """[distinct texts, d_in]: the mean activation of each text, in the model's numeric type, on the CPU."""
        return torch.cat([a.mean for a in self.acts])

    @cached_property
    def padding(self) -> torch.Tensor:
        """[distinct texts]: padded and special positions per ordinary token."""
        return torch.cat([a.padding / a.counts for a in self.acts])

    def group_means(self, device: str) -> dict[str, torch.Tensor]:
        """By group: [texts in the group, d_in]."""
        means = self.means.to(device)
        return {group: means[rows.to(device)] for group, rows in self.rows.items()}


@dataclass(frozen=True)
class Concepts:
    """A task with its activations and probes: all that does not depend on the SAE."""

    task: Task
    train: Part
    test: Part
    probes: Mapping[str, Any]
    """By concept, SAEBench's `Probe`; the epoch was chosen on a part of the training texts."""
    samples: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    """By concept, a balanced test set: places among the distinct test texts, and labels, 1 where the text has the concept."""
    upstream_probes: Mapping[str, Any]
    """By concept; the epoch was chosen on the test texts."""
    upstream_accuracies: Mapping[str, float]
    """What SAEBench measures of these, under its names."""


def concepts(ctx: EvalContext, cfg: ProbeConfig, task: Task) -> Concepts:
    """Run the model over the texts and train the probes, once for all SAEs of a hook point and seed.

    Raises:
        BadInput: The texts are longer than the model's context, or its activations do not fit the SAE.
    """
    prepare()
    if cfg.context_size > ctx.model.cfg.n_ctx:
        raise BadInput(f"context_size is {cfg.context_size}, but the model reads {ctx.model.cfg.n_ctx} tokens")
    if ctx.artifacts is None or ctx.seed is None:
        raise ValueError("probes need a context with artifacts and a seed")
    train, test = (_part(ctx, cfg, task, part) for part in ("train", "test"))
    names = ("train_batch_size", "epochs", "lr", "l1_penalty")
    settings: dict[str, Any] = {f"probe_{n}": getattr(cfg, f"probe_{n}") for n in names}
    settings |= {"patience": cfg.early_stopping_patience, "validation": cfg.validation_share}
    settings |= {"context": cfg.context_size, "batch": cfg.llm_batch_size, "recipe": RECIPE}
    settings |= {"source": dict(task.source), "concepts": list(task.concepts)}
    stored = ctx.artifacts.get("concept_probes", settings, lambda: _train(ctx, cfg, task, train, test))
    return Concepts(
        task,
        train,
        test,
        probes=_probes(stored, task, "probe", ctx.device),
        samples={c: (stored.tensors[f"rows {c}"], stored.tensors[f"labels {c}"]) for c in task.concepts},
        upstream_probes=_probes(stored, task, "upstream", ctx.device),
        upstream_accuracies=stored.facts["upstream_accuracies"],
    )


def _part(ctx: EvalContext, cfg: ProbeConfig, task: Task, part: str) -> Part:
    groups: Texts = getattr(task, part)
    place: dict[str, int] = {}
    fresh: dict[str, list[str]] = {}
    for group, texts in groups.items():
        new = [text for text in dict.fromkeys(texts) if text not in place]
        place |= {text: len(place) + i for i, text in enumerate(new)}
        fresh |= {group: new} if new else {}
    acts = class_acts(ctx, fresh, cfg.context_size, cfg.llm_batch_size)
    rows = {group: torch.tensor([place[text] for text in texts]) for group, texts in groups.items()}
    return Part(acts.values(), tuple(place), rows)


def _train(ctx: EvalContext, cfg: ProbeConfig, task: Task, train: Part, test: Part) -> Artifact:
    """SAEBench's probes as it trains them, and ours, whose epoch is chosen without the test texts."""
    from sae_bench.evals.scr_and_tpp.main import get_probe_test_accuracy
    from sae_bench.evals.sparse_probing import probe_training

    seed = ctx.seed or 0
    options: dict[str, Any] = {"epochs": cfg.probe_epochs, "lr": cfg.probe_lr, "l1_penalty": cfg.probe_l1_penalty}
    options |= {"batch_size": cfg.probe_train_batch_size, "early_stopping_patience": cfg.early_stopping_patience}
    options |= {"select_top_k": None, "use_sklearn": False, "perform_scr": task.scr}
    train_means, test_means = train.group_means(ctx.device), test.group_means(ctx.device)
    with upstream(seed):
        theirs, _ = probe_training.train_probe_on_activations(train_means, test_means, **options)
        accuracies = get_probe_test_accuracy(theirs, list(task.concepts), test_means, TEST_BATCH, task.scr)
    with upstream(seed):
        fitted, validation = _split(
            {group: means.float() for group, means in train_means.items()}, cfg.validation_share
        )
        ours, _ = probe_training.train_probe_on_activations(fitted, validation, **options)
        places = {group: rows[:, None] for group, rows in test.rows.items()}
        samples = {c: probe_training.prepare_probe_data(places, c, task.scr) for c in task.concepts}
    tensors = {f"rows {c}": rows[:, 0] for c, (rows, _) in samples.items()}
    tensors |= {f"labels {c}": labels for c, (_, labels) in samples.items()}
    for kind, probes in (("probe", ours), ("upstream", theirs)):
        for c in task.concepts:
            state = probes[c].state_dict()
            tensors |= {f"{kind} {name} {c}": state[name].detach().cpu() for name in _STATE}
    return Artifact(tensors, {"upstream_accuracies": accuracies})


_STATE = ("net.weight", "net.bias")


def _split(means: Mapping[str, torch.Tensor], share: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Draw from every group the texts on which the epoch is chosen."""
    fitted, validation = {}, {}
    for group, rows in means.items():
        order, held = torch.randperm(len(rows)), max(1, round(share * len(rows)))
        fitted[group], validation[group] = rows[order[held:]], rows[order[:held]]
    return fitted, validation


def _probes(stored: Artifact, task: Task, kind: str, device: str) -> dict[str, Any]:
    """SAEBench's probes from their weights; no start is drawn first, so the random state stays as it is."""
    from sae_bench.evals.sparse_probing.probe_training import Probe

    probes = {}
    for c in task.concepts:
        state = {name: stored.tensors[f"{kind} {name} {c}"].to(device) for name in _STATE}
        with torch.device("meta"):
            probes[c] = Probe(state["net.weight"].shape[1], state["net.weight"].dtype)
        probes[c].load_state_dict(state, assign=True)
        probes[c].requires_grad_(False)
    return probes
