"""The activations that SAEs are trained on, kept so that they can be read again in any order: to resume, and to train on another order of the same data."""

from __future__ import annotations

import bisect
import itertools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from hedgebench.activations import ActivationSource, activation_folder
from hedgebench.data import TokenSource
from hedgebench.types import BadInput

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

    from hedgebench.data import TextSource
    from hedgebench.training.config import TrainConfig

logger = logging.getLogger(__name__)


class Bank:
    """Ordinary tokens' activations at one hook point, in passes of `sequences_per_pass` sequences each, cached on disk as evaluations' are.

    Args:
        config: What is trained: text, hook point, sizes, and the order of the texts.
        model: The language model.
        text: The training text.
        revision: What the model's name stands for.
        d_in: Width of the activations.

    Raises:
        BadInput: The text is too short for the tokens asked for.
    """

    def __init__(
        self, config: TrainConfig, model: HookedTransformer, text: TextSource, revision: str, d_in: int
    ) -> None:
        source = TokenSource(text, model.tokenizer, config.data_seed)
        folder = activation_folder(revision, text.identity, config.hook, None, config.data_seed, "float32")
        self._source = ActivationSource(model, config.hook, None, source, folder, d_in)
        special = torch.tensor(sorted(source.special_ids))
        self._tokens: list[torch.Tensor] = []
        self.counts: list[int] = []
        """Ordinary tokens of each pass."""
        wanted, per_pass = config.steps * config.batch_tokens, config.sequences_per_pass * config.context_size
        batches = source.batches(2 * wanted // per_pass + 2, config.sequences_per_pass, config.context_size)
        for tokens in batches:
            self._tokens.append(tokens.to(torch.int32))
            self.counts.append(int((~torch.isin(tokens, special)).sum()))
            wanted -= self.counts[-1]
            if wanted <= 0:
                return
        raise BadInput(f"data {config.data!r}: more than half of its tokens are special ones")

    def fill(self) -> None:
        """Run the model over all passes that are not cached yet; where the cache has no room, a pass is computed each time it is wanted."""
        missing = self._missing()
        for i in tqdm(missing, desc="activations", unit="pass", disable=not missing):
            self.rows(i)
        if left := len(self._missing()):
            logger.warning(
                "%d of %d passes of activations find no room in the cache: the model runs again for each order of the data",
                left,
                len(self._tokens),
            )

    def _missing(self) -> list[int]:
        return [i for i in range(len(self._tokens)) if not self._source.is_cached(i, self._tokens[i].shape)]

    def rows(self, i: int) -> torch.Tensor:
        """[counts[i], d_in], the activations of pass i, special tokens left out."""
        batch = self._source.one(i, self._tokens[i].long())
        return batch.acts[batch.mask]


class Stream:
    """Training batches from a bank, each a function of its number alone.

    The passes are taken in the order given and mixed in groups; the steps are given what comes out, `batch` rows each.

    Args:
        bank: Where the activations are.
        passes: Which passes of it, in which order.
        seed: Of the mixing.
        group: Passes that are mixed.
        batch: Tokens per training step.
        begin: Training step of its first batch.
    """

    def __init__(self, bank: Bank, passes: Sequence[int], seed: int, group: int, batch: int, begin: int = 0) -> None:
        self.bank, self.seed, self.size, self.begin = bank, seed, batch, begin
        passes = list(passes)
        self.groups = [passes[i : i + group] for i in range(0, len(passes), group)]
        lengths = [sum(bank.counts[i] for i in members) for members in self.groups]
        self.starts = list(itertools.accumulate(lengths, initial=0))
        """Number of the first row of each group, and of the row after the last."""
        self._mixed: tuple[int, torch.Tensor] = (-1, torch.empty(0))

    def batch(self, step: int) -> torch.Tensor:
        """[batch, d_in], the rows of a training step."""
        first, parts = (step - self.begin) * self.size, []
        end = first + self.size
        while first < end:
            group = bisect.bisect_right(self.starts, first) - 1
            stop = min(end, self.starts[group + 1])
            parts.append(self._rows(group)[first - self.starts[group] : stop - self.starts[group]])
            first = stop
        return torch.cat(parts)

    def _rows(self, group: int) -> torch.Tensor:
        if self._mixed[0] != group:
            rows = torch.cat([self.bank.rows(i) for i in self.groups[group]])
            self._mixed = group, rows[order(len(rows), self.seed, group)]
        return self._mixed[1]


def order(n: int, *seed: int) -> torch.Tensor:
    """A permutation of n things that the numbers in `seed` decide."""
    import numpy as np

    return torch.from_numpy(np.random.default_rng(seed).permutation(n))
