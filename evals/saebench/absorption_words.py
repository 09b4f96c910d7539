"""The words whose first letter is asked for, how they are split, and which token of the prompt is a word's last."""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from hedgebench.types import BadInput, CannotMeasure

logger = logging.getLogger(__name__)

TEST_SHARE = 0.2
"""Of the words of a letter, as in SAEBench."""


class Words(NamedTuple):
    """Words that the tokenizer cuts alike, in the order of its vocabulary."""

    words: list[str]
    position: int
    """Of a word's last token in its prompt, from the end."""


def find_words(tokenizer: Any, template: str, position: int | None = None) -> Words:
    """SAEBench's words of letters (`get_alpha_tokens`) for which the prompts have one and the same length, and where they stand.

    SAEBench needs prompts of one length and reads all at one position. A prompt is made of lines; a word stays when its line has as
    many tokens as most words' lines and ends in the same tokens after the word. The position is the last one at which no token is that
    of more than half of the words.

    Args:
        tokenizer: Hugging Face's.
        template: With `{word}` in it.
        position: Takes the place of the one that would be found.

    Raises:
        BadInput: The prompt does not depend on the word, or has no such position.
    """
    from sae_bench.evals.absorption.prompting import first_letter_formatter
    from sae_bench.evals.absorption.vocab import get_alpha_tokens

    answer = first_letter_formatter()
    in_order = dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    everything = get_alpha_tokens(
        SimpleNamespace(vocab=in_order, convert_tokens_to_string=tokenizer.convert_tokens_to_string)
    )
    if not everything:
        raise CannotMeasure("the tokenizer's vocabulary has no word of letters")
    asked = [f"\n{template.format(word=word)}" for word in everything]
    answered = [f"{ask}{answer(word)}{ask}" for ask, word in zip(asked, everything, strict=True)]
    tokens = tokenizer(asked, add_special_tokens=False)["input_ids"]
    lengths = list(map(len, tokenizer(answered, add_special_tokens=False)["input_ids"]))
    usual = Counter(zip(map(len, tokens), lengths, strict=True)).most_common(1)[0][0]
    kept = [i for i in range(len(everything)) if (len(tokens[i]), lengths[i]) == usual]
    table = np.array([tokens[i] for i in kept])
    if position is None:
        position = _last_that_varies(table, template)
        after = table[:, table.shape[1] + position + 1 :]
        common = np.array([np.bincount(column).argmax() for column in after.T])
        kept = [i for i, same in zip(kept, (after == common).all(1), strict=True) if same]
    elif -position > table.shape[1]:
        raise BadInput(
            f"prompt_token_pos {position} is before the word: the line that asks has {table.shape[1]} tokens"
        )
    words = [everything[i] for i in kept]
    if len(words) < len(everything):
        logger.warning("%d of %d words are left out: the tokenizer cuts their prompts differently", len(everything) - len(words), len(everything))  # fmt: skip
    return Words(words, position)


def _last_that_varies(table: np.ndarray, template: str) -> int:
    for position in range(-1, -table.shape[1] - 1, -1):
        if np.bincount(table[:, position]).max() <= len(table) / 2:
            return position
    raise BadInput(f"the prompts of {template!r} do not depend on the word, as this tokenizer reads them")


def fixed_vocabulary(words: Sequence[str]) -> Any:
    """A tokenizer as SAEBench's vocabulary functions see it, whose words are these, always in this order.

    A fast tokenizer's own `vocab` comes in another order at every call.
    """
    ids = {str(i): i for i in range(len(words))}
    return SimpleNamespace(vocab=ids, convert_tokens_to_string=lambda tokens: "".join(words[int(t)] for t in tokens))


def draw(words: Sequence[str], per_letter: int, seed: int) -> tuple[list[str], list[str]]:
    """Up to `per_letter` words of each first letter: those for training, and those for the test, at least one of each letter that has two."""
    generator = random.Random(seed)
    by_letter: dict[str, list[str]] = defaultdict(list)
    for word in words:
        by_letter[word.strip()[0].lower()].append(word)
    train, test = [], []
    for letter in sorted(by_letter):
        own = generator.sample(by_letter[letter], min(per_letter, len(by_letter[letter])))
        n_test = max(1, round(TEST_SHARE * len(own))) if len(own) > 1 else 0
        test += own[:n_test]
        train += own[n_test:]
    return train, test


def split_prompts(words: Words, template: str, per_letter: int | None, seed: int) -> tuple[list[Any], list[Any]]:
    """SAEBench's prompts for the probe, (prompt, letter number) for training and test, by its `create_dataset_probe_training`.

    Draws from Python's global generator, as SAEBench does.

    Raises:
        CannotMeasure: A letter has no word in the training part, or there are too few words for the examples.
    """
    from sae_bench.evals.absorption.probing import create_dataset_probe_training
    from sae_bench.evals.absorption.prompting import first_letter_formatter
    from sae_bench.evals.absorption.vocab import LETTERS

    settings = {"formatter": first_letter_formatter(), "num_prompts_per_token": 1, "base_template": template}
    try:
        if per_letter is None:
            train, test = create_dataset_probe_training(words.words, **settings)
        else:
            for_train, for_test = draw(words.words, per_letter, seed)
            train, _ = create_dataset_probe_training(for_train, **settings, train_test_fraction=1.0)
            _, test = create_dataset_probe_training(for_test, **settings, train_test_fraction=0.0)
    except ValueError as error:  # fewer words than examples, or no set of examples without the word itself
        raise CannotMeasure(f"the tokenizer has {len(words.words)} words of letters, too few for SAEBench's prompts: {error}") from error  # fmt: skip
    absent = sorted(set(LETTERS) - {LETTERS[i] for _, i in train})
    if absent:
        raise CannotMeasure(f"no training word begins with {', '.join(absent)}: SAEBench's absorption needs all 26 letters")  # fmt: skip
    return train, test


def require_one_length(model: Any, prompts: Sequence[str]) -> int:
    """The number of tokens of each of these prompts, with the one at the beginning of the text.

    Raises:
        BadInput: They differ.
        CannotMeasure: They are longer than the model reads.
    """
    lengths = {len(own) for own in model.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]}
    if len(lengths) > 1:
        raise BadInput(f"the prompts have {min(lengths)} to {max(lengths)} tokens, and SAEBench needs one length: choose another prompt_template")  # fmt: skip
    length = int(model.to_tokens(prompts[0], truncate=False).shape[1])
    if length > model.cfg.n_ctx:
        raise CannotMeasure(f"the prompts have {length} tokens, and the model reads {model.cfg.n_ctx}")
    return length
