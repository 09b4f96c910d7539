"""The settings that TPP and SCR have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

from hedgebench.types import BadInput


@dataclass(frozen=True)
class ProbeConfig:
    """Which texts, how the probes on the model's activations are trained, and how many latents are ablated. Defaults are SAEBench's."""

    data: tuple[str, ...] = ("offline",)
    """Labelled sets: `offline`, `hub`, or sets by name."""
    train_size: int = 4000
    """Texts in the training set of one probe, of which half have its class; fewer where a set has fewer."""
    test_size: int = 1000
    """The same of its test set."""
    context_size: int = 128
    """Tokens per text at most."""
    llm_batch_size: int = 32
    """Texts per pass of the model."""
    probe_train_batch_size: int = 16
    """Texts per step of a probe's training; SAEBench warns that it decides how much of a spurious correlation is learnt."""
    probe_epochs: int = 20
    """Passes over the training texts; the probe of the best one is kept."""
    probe_lr: float = 1e-3
    """Learning rate of the probes."""
    probe_l1_penalty: float = 1e-3
    """Weight of the L1 norm of a probe's weights in its loss."""
    early_stopping_patience: int = 20
    """Epochs without a better accuracy after which a probe's training ends."""
    validation_share: float = 0.2
    """Part of the training texts on which the best epoch is chosen (SAEBench, and every `upstream_` number: on the test texts)."""
    n_values: tuple[int, ...] = field(default=(2, 5, 10, 20, 50, 100, 500))
    """Numbers of latents to ablate."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", (self.data,) if isinstance(self.data, str) else tuple(self.data))
        object.__setattr__(self, "n_values", tuple(self.n_values))
        least = {"train_size": 16, "test_size": 16, "context_size": 2, "llm_batch_size": 1}
        least |= dict.fromkeys(("probe_train_batch_size", "probe_epochs", "early_stopping_patience"), 1)
        for name, low in least.items():
            if getattr(self, name) < low:
                raise BadInput(f"{name} must be at least {low}, not {getattr(self, name)}")
        if self.probe_lr <= 0 or self.probe_l1_penalty < 0:
            raise BadInput("probe_lr must be above 0, and probe_l1_penalty at least 0")
        if not 0 < self.validation_share <= 0.5:
            raise BadInput(f"validation_share must be above 0 and at most 0.5, not {self.validation_share}")
        if not self.n_values or min(self.n_values) < 1 or len(set(self.n_values)) < len(self.n_values):
            raise BadInput(f"n_values must be different whole numbers from 1, not {list(self.n_values)}")
        if not self.data:
            raise BadInput("data names no labelled set")
